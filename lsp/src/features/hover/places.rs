//! Stages, here-documents, ports, signals, users, platforms, and the names in comments.

use rbx_dockerfile::{Body, Heredoc, Instruction, Keyword, Span};
use rbx_platform::Platform;
use rbx_project::Source;

use super::images::Asked;
use super::touches;
use crate::documents::Snapshot;
use crate::features::known;
use crate::features::page::Page;
use crate::features::signals;
use crate::platforms::names;

/// A stage, by its number.
pub(super) fn stage(snapshot: &Snapshot, index: usize) -> Option<(Page, Asked)> {
    let file = snapshot.tree();
    let stages = known::stages(file, u32::MAX);
    let stage = stages.get(index)?;
    let name = stage.name.map_or_else(|| format!("stage {index}"), |name| format!("{name}, stage {index}"));
    let count = stage.instructions.len() - 1;
    let mut on: Vec<(Platform, Vec<Platform>)> = Vec::new();
    let mut needed = false;
    for (target, evaluation) in snapshot.evaluations().iter() {
        let Some(stage) = evaluation.stages.get(index) else { continue };
        needed |= stage.reachable;
        match on.iter_mut().find(|(platform, _)| *platform == stage.platform) {
            Some((_, targets)) => targets.push(target.clone()),
            None => on.push((stage.platform.clone(), vec![target.clone()])),
        }
    }
    let instructions = if count == 1 { "1 instruction".to_owned() } else { format!("{count} instructions") };
    let line = file.line_index.line_of(stage.from.span.start);
    let mut about = format!("{instructions}, from line {line} on");
    if !needed {
        about.push_str("; the last stage does not need it");
    }
    let runs = match on.as_slice() {
        [] => String::new(),
        // It runs where the image runs.
        all if all.iter().all(|(own, targets)| targets == std::slice::from_ref(own)) => {
            let all: Vec<Platform> = all.iter().map(|(own, _)| own.clone()).collect();
            format!("Runs on {}.", names(&all))
        }
        all => {
            let each =
                all.iter().map(|(own, targets)| format!("- on {} for {}", own.format_all(), names(targets)));
            format!("Runs\n{}", each.collect::<Vec<_>>().join("\n"))
        }
    };
    let page = Page {
        usage: Some(stage.from.code.clone()),
        paragraphs: vec![format!("**{name}**: {about}"), runs],
        link: None,
    };
    Some((page, Asked::bases(snapshot, stage.from)))
}

/// A here-document.
pub(super) fn heredoc(snapshot: &Snapshot, heredoc: &Heredoc) -> Page {
    let lines = heredoc.content.slice(snapshot.text.as_str()).lines().count();
    let mut text = format!("**{}**: a here-document of {lines} lines", heredoc.name);
    text.push_str(match heredoc.terminator {
        Some(_) => ".",
        None => ", which does not end.",
    });
    let expands = if heredoc.expand {
        "Variables in it are expanded; with quotes around its name they are not."
    } else {
        "Variables in it stay as they are, since its name is quoted."
    };
    let mut page = Page::of(text);
    page.paragraphs.push(expands.to_owned());
    if heredoc.strip_tabs {
        page.paragraphs.push("Tabs at the beginnings of its lines are removed.".to_owned());
    }
    page
}

/// A port, a signal or a user.
pub(super) fn word(instruction: &Instruction, offset: u32) -> Option<(Page, Span)> {
    let word = instruction.words().into_iter().find(|word| touches(word.span, offset))?;
    if word.text.contains('$') {
        return None;
    }
    let page = match &instruction.body {
        Body::Expose(_) => port(&word.text),
        Body::Stopsignal(_) => {
            let (name, text) = signals::meaning(&word.text)?;
            Page::of(format!("**{name}**, {text}."))
        }
        Body::User(_) => user(&word.text),
        Body::Onbuild(inner) => return self::word(inner, offset),
        _ => return None,
    };
    Some((page, word.span))
}

fn port(written: &str) -> Page {
    let (ports, protocol) = written.split_once('/').unwrap_or((written, "tcp"));
    let service = match ports {
        "22" => ": SSH",
        "25" | "587" => ": SMTP",
        "53" => ": DNS",
        "80" | "8080" => ": usually HTTP",
        "443" | "8443" => ": usually HTTPS",
        "3306" => ": usually MySQL",
        "5432" => ": usually PostgreSQL",
        "6379" => ": usually Redis",
        "27017" => ": usually MongoDB",
        _ => "",
    };
    let kind = if ports.contains('-') { "Ports" } else { "Port" };
    let mut page = Page::of(format!("**{kind} {ports}/{}**{service}", protocol.to_lowercase()));
    let publish = format!("`docker run -p <port>:{ports}` makes it reachable; by itself this does not.");
    page.paragraphs.push(publish);
    page
}

fn user(written: &str) -> Page {
    let (user, group) = written.split_once(':').unwrap_or((written, ""));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let looked_up = |text: &str, file: &str| {
        if is_number(text) {
            "a number, which need not exist".to_owned()
        } else {
            format!("looked up in `{file}`")
        }
    };
    let mut text = format!("**{user}**: the user, {}", looked_up(user, "/etc/passwd"));
    if !group.is_empty() {
        text.push_str(&["; **", group, "**: the group, ", &looked_up(group, "/etc/group")].concat());
    }
    text.push('.');
    Page::of(text)
}

/// A platform, and whether the document is built for it.
pub(super) fn platform(snapshot: &Snapshot, written: &str) -> Option<Page> {
    let platform = Platform::parse(written).ok()?.normalized();
    let known = snapshot.platforms();
    let bits = match platform.architecture.as_str() {
        "amd64" => ", x86-64",
        "arm64" => ", 64-bit ARM",
        "arm" => ", 32-bit ARM",
        "386" => ", 32-bit x86",
        "ppc64le" => ", 64-bit POWER",
        "s390x" => ", IBM Z",
        "riscv64" => ", 64-bit RISC-V",
        _ => "",
    };
    let mut page = Page::of(format!("**{}**{bits}", platform.format_all()));
    let is_built = known.list.contains(&platform);
    let who = match &known.source {
        Source::Flag | Source::Configuration => "the settings say".to_owned(),
        Source::Comment => "the comment in it says".to_owned(),
        Source::Workflow(files) => format!("{} says", files.join(", ")),
        Source::Environment => "`DOCKER_DEFAULT_PLATFORM` says".to_owned(),
        Source::Default => "nobody says otherwise, and this machine is".to_owned(),
    };
    page.paragraphs.push(if is_built {
        format!("This file is built for it, as {who}.")
    } else {
        format!("This file is built for {}, as {who}.", names(&known.list))
    });
    Some(page)
}

/// What the word of a comment or directive means that a place is in: a rule, or a platform.
pub(super) fn comment(snapshot: &Snapshot, offset: u32) -> Option<(Page, Span)> {
    let file = snapshot.tree();
    let index = file.comments.partition_point(|comment| comment.span.start <= offset);
    let comment = index.checked_sub(1).and_then(|index| file.comments.get(index)).map(|it| it.span);
    let directive = file.directives.check.as_ref().map(|directive| directive.span);
    let span = [directive, comment].into_iter().flatten().find(|span| touches(*span, offset))?;
    let text = span.slice(&file.text);
    let means_something = ["check", "rbx:", "hadolint"]
        .iter()
        .any(|name| text.trim_start_matches(['#', ' ', '\t']).starts_with(name));
    if !means_something {
        return None;
    }
    let at = (offset - span.start) as usize;
    let ends = |c: char| c.is_whitespace() || ",;=#".contains(c);
    let start = text.get(..at)?.rfind(ends).map_or(0, |at| at + 1);
    let end = at + text.get(at..)?.find(ends).unwrap_or(text.len() - at);
    let word = text.get(start..end)?;
    let number = |n: usize| span.start + u32::try_from(n).unwrap_or(0);
    let place = Span { start: number(start), end: number(end) };
    if let Some(rule) = rbx_lint::rule(word) {
        return Some((Page::rule(rule), place));
    }
    let is_platform = file.platforms().iter().any(|known| known.span == place);
    Some((platform(snapshot, word).filter(|_| is_platform)?, place))
}

/// The platform that a `FROM` asks for, written out.
pub(super) fn platform_flag(
    snapshot: &Snapshot,
    instruction: &Instruction,
    offset: u32,
) -> Option<(Page, Span)> {
    if instruction.keyword != Keyword::From {
        return None;
    }
    let value = instruction.flag_value("platform").filter(|value| touches(value.span, offset))?;
    Some((platform(snapshot, &value.text)?, value.span))
}

/// What rules have found at a place.
pub(super) fn findings(snapshot: &Snapshot, offset: u32) -> Option<(Page, Span)> {
    let here = snapshot.known_findings().iter().filter(|finding| touches(finding.span, offset));
    let here: Vec<_> = here.filter_map(|finding| Some((finding.rule?, finding.span))).collect();
    let (_, span) = here.iter().min_by_key(|(_, span)| span.len())?;
    let paragraphs = here.iter().map(|(rule, _)| format!("**{}**: {}", rule.name, rule.summary)).collect();
    Some((Page { paragraphs, ..Page::default() }, *span))
}

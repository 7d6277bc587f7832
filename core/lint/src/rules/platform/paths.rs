//! `multiarch-libdir` and `java-home-arch`: directories that have an architecture in their names.

use std::ops::Range;

use rbx_dockerfile::{From, Keyword, Op};

use super::RULE;
use super::site::{Piece, Site, asks_itself, chain, instructions_of, is_for, names_its_own, sites};
use crate::arch::{self, Arch, Style};
use crate::finding::{Edit, Fix, Severity, shown};
use crate::rule::{Check, Rule};
use crate::view::{Found, View};

pub(crate) static RULES: &[Rule] = &[
    Rule {
        name: "multiarch-libdir",
        severity: Severity::Info,
        summary: "A path of libraries is one of another architecture",
        explanation: include_str!("../../../rules/platform/multiarch-libdir.md"),
        check: Check::EachPlatform(libraries),
        ..RULE
    },
    Rule {
        name: "java-home-arch",
        severity: Severity::Info,
        summary: "A directory of Java is one of another architecture",
        explanation: include_str!("../../../rules/platform/java-home-arch.md"),
        check: Check::EachPlatform(java),
        ..RULE
    },
];

/// What shows that libraries of other architectures are installed on purpose.
const FOREIGN: [&str; 5] =
    ["--add-architecture", "crossbuild-essential", "gcc-aarch64", "gcc-arm-linux", "gcc-x86-64"];

/// What shows that a script knows that a path may be missing.
const CAREFUL: [&str; 8] = ["|| true", "|| :", "[ -d", "[ -e", "[ -f", "[ -L", "[[ -", "rm -rf /usr/lib"];

fn libraries(view: &View<'_>) -> Vec<Found> {
    let text = &view.file.text;
    let any = ["-linux-gnu", "-linux-musl", "ld-linux", "ld-musl"].iter().any(|part| text.contains(part));
    if !any || FOREIGN.iter().any(|part| text.contains(part)) {
        return Vec::new();
    }
    sites(view).filter_map(|site| library(view, &site)).collect()
}

/// A path in a piece of text, and the architecture's place in it.
struct Path<'a> {
    piece: Piece<'a>,
    word: Range<usize>,
    hit: Range<usize>,
    arch: Arch,
}

impl Path<'_> {
    fn text(&self) -> &str {
        &self.piece.text[self.word.clone()]
    }
}

/// The paths in an instruction that name an architecture.
fn paths<'a>(view: &View<'a>, site: &Site<'a>) -> Vec<Path<'a>> {
    let ends = |c: char| c.is_whitespace() || "\"':=,;()|&<>`".contains(c);
    let mut all = Vec::new();
    for piece in site.pieces(view.file) {
        for hit in arch::find(piece.text) {
            let start = piece.text[..hit.range.start].rfind(ends).map_or(0, |at| at + 1);
            let end =
                piece.text[hit.range.end..].find(ends).map_or(piece.text.len(), |at| hit.range.end + at);
            let is_url = piece.text[..start].ends_with(':') && piece.text[start..].starts_with("//");
            if piece.text[start..end].contains('/') && !is_url && !piece.is_comment(start) {
                all.push(Path { piece, word: start..end, hit: hit.range, arch: hit.arch });
            }
        }
    }
    all
}

fn library(view: &View<'_>, site: &Site<'_>) -> Option<Found> {
    let (Keyword::Copy | Keyword::Env | Keyword::Run) = site.instruction.keyword else { return None };
    let source = match &site.step.op {
        Op::Copy(copy) => match copy.from {
            From::Stage(index) => view.evaluation.stages.get(index),
            _ => None,
        },
        _ => None,
    };
    let platforms = [Some(&site.stage.platform), source.map(|stage| &stage.platform)];
    let is_wrong = |path: &Path<'_>| {
        let (text, rest) = (path.text(), &path.piece.text[path.hit.end..]);
        let spelled = &path.piece.text[path.hit.clone()];
        let before = &path.piece.text[..path.hit.start];
        let triple =
            rest.starts_with("-linux-gnu") || rest.starts_with("-linux-musl") || spelled.contains("-linux-");
        let loader = before.ends_with("/ld-linux-") || before.ends_with("/ld-musl-");
        let in_libraries = ["/lib/", "/lib64/", "/libexec/"].iter().any(|part| text.contains(part));
        in_libraries
            && (triple || loader)
            && !platforms.iter().flatten().any(|platform| path.arch.runs_on(platform))
    };
    let all: Vec<Path<'_>> = paths(view, site).into_iter().filter(is_wrong).collect();
    let path = all.first()?;
    let careful = || {
        let pieces = site.pieces(view.file);
        pieces.iter().any(|piece| CAREFUL.iter().any(|sign| piece.text.contains(sign)))
    };
    if names_its_own(view, site)
        || is_for(view, site.stage, path.arch)
        || source.is_some_and(|source| is_for(view, source, path.arch))
        || site.run().is_some() && (asks_itself(view.file, site.instruction) || careful())
    {
        return None;
    }
    let message = format!("{} is a path of {}", shown(path.text()), path.arch.name());
    let mut found = Found::new(path.piece.span(&path.word), message);
    if let Op::Copy(copy) = &site.step.op
        && arch::find(&copy.destination).is_empty()
    {
        let edits: Vec<Edit> = all.iter().map(|path| any_architecture(path)).collect();
        found.fixes.push(Fix { title: "Match any architecture".to_owned(), safe: false, edits });
    }
    Some(found)
}

/// Puts a pattern in the place of an architecture.
fn any_architecture(path: &Path<'_>) -> Edit {
    let spelled = &path.piece.text[path.hit.clone()];
    let text = if spelled.contains("-linux-") { "*-linux-gnu*" } else { "*" };
    Edit { span: path.piece.span(&path.hit), text: text.to_owned() }
}

fn java(view: &View<'_>) -> Vec<Found> {
    if !view.file.text.contains("/jvm/") {
        return Vec::new();
    }
    // One finding is enough for a stage.
    let mut last = None;
    let mut all = Vec::new();
    for site in sites(view).filter(|site| matches!(site.instruction.keyword, Keyword::Env | Keyword::Run)) {
        if last != Some(site.stage.index)
            && let Some(found) = java_home(view, &site)
        {
            last = Some(site.stage.index);
            all.push(found);
        }
    }
    all
}

fn java_home(view: &View<'_>, site: &Site<'_>) -> Option<Found> {
    let platform = &site.stage.platform;
    let is_wrong = |path: &Path<'_>| path.text().contains("/jvm/") && !path.arch.runs_on(platform);
    let all: Vec<Path<'_>> = paths(view, site).into_iter().filter(is_wrong).collect();
    let path = all.first()?;
    // A script that asks for the architecture may make a link of that name.
    let links = || {
        let mut instructions = chain(view, site.stage).flat_map(|stage| instructions_of(view, stage));
        instructions.any(|instruction| {
            let is_run = instruction.keyword == Keyword::Run && instruction.span != site.instruction.span;
            let about = |word| instruction.span.slice(&view.file.text).contains(word);
            is_run && about("jvm") && (about("ln ") || asks_itself(view.file, instruction))
        })
    };
    if asks_itself(view.file, site.instruction)
        || names_its_own(view, site)
        || is_for(view, site.stage, path.arch)
        || links()
    {
        return None;
    }
    let message = format!("{} is a directory of {}", shown(path.text()), path.arch.name());
    let mut found = Found::new(path.piece.span(&path.word), message);
    let same = |platform| Style::Docker.spell(platform) == Style::Debian.spell(platform);
    let is_debian = |path: &Path<'_>| Style::of(&path.piece.text[path.hit.clone()]) == Some(Style::Docker);
    let expands =
        |path: &Path<'_>| !path.piece.is_quoted(path.hit.start) && (site.run().is_none() || site.is_shell());
    if view.request.platforms.iter().all(same) && all.iter().all(is_debian) && all.iter().all(expands) {
        let edit =
            |path: &Path<'_>| Edit { span: path.piece.span(&path.hit), text: "${TARGETARCH}".to_owned() };
        let mut edits: Vec<Edit> = site.declare(view, &["TARGETARCH"]).into_iter().collect();
        edits.extend(all.iter().map(edit));
        found.fixes.push(Fix {
            title: "Take the architecture from TARGETARCH".to_owned(),
            safe: false,
            edits,
        });
    }
    Some(found)
}

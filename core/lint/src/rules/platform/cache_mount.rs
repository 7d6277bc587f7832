//! `cache-mount-shared-arch`

use std::fmt::Write as _;

use rbx_dockerfile::{
    Command, Evaluation, Flag, From, Instruction, Mount, MountKind, Op, Run, Sharing, Span, Stage, Step,
    platform_arguments,
};
use rbx_platform::Platform;

use super::RULE;
use super::site::Site;
use crate::finding::{Edit, Fix, Related, Severity, shown};
use crate::rule::{Check, Rule};
use crate::view::{Found, View};

pub(crate) static RULES: &[Rule] = &[Rule {
    name: "cache-mount-shared-arch",
    severity: Severity::Warning,
    summary: "Several platforms share a cache that should be for one",
    explanation: include_str!("../../../rules/platform/cache-mount-shared-arch.md"),
    changes: Some("each platform has a cache of its own"),
    check: Check::EachPlatform(check),
    ..RULE
}];

/// Other mounts that are pointed out, at most.
const MAX_RELATED: usize = 20;

/// What goes wrong with a cache of several platforms.
struct Harm {
    severity: Severity,
    why: &'static str,
}

const LOCK: Harm =
    Harm { severity: Severity::Warning, why: "apt fails where the build of another one holds its lock" };
const INDEX: Harm =
    Harm { severity: Severity::Warning, why: "apk takes the index of packages of another one for its own" };
const OUTPUT: Harm = Harm { severity: Severity::Warning, why: "files made for one are taken for another" };
const WASTE: Harm =
    Harm { severity: Severity::Info, why: "what is kept for one is of little use for another" };

/// A cache mount that several platforms share.
struct Shared<'a> {
    mount: &'a Mount,
    flag: &'a Flag,
    instruction: &'a Instruction,
    step: &'a Step,
    /// Its place in the stage.
    number: usize,
    harm: Harm,
}

fn check(view: &View<'_>) -> Vec<Found> {
    if view.evaluations.len() < 2 || !view.file.text.contains("cache") {
        return Vec::new();
    }
    view.stages().filter_map(|(stage, _)| in_stage(view, stage)).collect()
}

/// One finding for a stage: one declaration mends all its mounts.
fn in_stage(view: &View<'_>, stage: &Stage) -> Option<Found> {
    let mut shared: Vec<Shared<'_>> = Vec::new();
    for (number, step) in stage.steps.iter().enumerate().filter(|(_, step)| !step.on_build) {
        let Op::Run(run) = &step.op else { continue };
        if !run.mounts.iter().any(|mount| mount.kind == MountKind::Cache) {
            continue;
        }
        let Some(instruction) = view.file.instruction_at(step.span.start) else { continue };
        let flags = instruction.flags.iter().filter(|flag| flag.name.text == "mount" && flag.value.is_some());
        for (index, (mount, flag)) in run.mounts.iter().zip(flags).enumerate() {
            if is_shared(view, stage, (number, step), (index, mount))
                && let Some(harm) = harm(mount, run)
                && !view.silence.covers(view.file, &RULES[0], instruction.span)
            {
                shared.push(Shared { mount, flag, instruction, step, number, harm });
            }
        }
    }
    // The worst one speaks for all.
    let first = shared.iter().min_by_key(|it| it.harm.severity)?;
    let target = shown(first.mount.target.as_deref().unwrap_or_default());
    let message = format!("Several platforms share the cache {target}: {}", first.harm.why);
    let mut found = Found::new(first.flag.span, message);
    found.severity = Some(first.harm.severity);
    let others = shared.iter().filter(|it| it.flag.span != first.flag.span);
    found.related = others
        .take(MAX_RELATED)
        .map(|it| Related { span: it.flag.span, message: "a cache that they share, too".to_owned() })
        .collect();
    found.fixes.extend(fix(view, stage, &shared));
    Some(found)
}

/// Whether the same step has the same cache in the build of another platform.
fn is_shared(view: &View<'_>, stage: &Stage, step: (usize, &Step), mount: (usize, &Mount)) -> bool {
    // What begins with files of a stage or image is a cache of its own for each of those.
    if mount.1.kind != MountKind::Cache || mount.1.from != From::Scratch {
        return false;
    }
    view.evaluations.iter().any(|other| {
        let Some(theirs) = other.stages.get(stage.index) else { return false };
        // The same step may be done on one platform for both.
        if theirs.platform == stage.platform {
            return false;
        }
        let step_there = theirs.steps.get(step.0).filter(|it| it.span == step.1.span);
        let Some(Op::Run(run)) = step_there.map(|step| &step.op) else { return false };
        run.mounts.get(mount.0).is_some_and(|it| it.kind == MountKind::Cache && it.id == mount.1.id)
    })
}

/// What goes wrong, by what is known to keep such files there. Most caches of downloads are fit to be shared: those of
/// Go, npm, Cargo's registry, Maven.
fn harm(mount: &Mount, run: &Run) -> Option<Harm> {
    let target = mount.target.as_deref()?.trim_end_matches('/');
    let script = match &run.command {
        Command::Shell(text) => text.clone(),
        Command::Exec(argv) => argv.join(" "),
    };
    let is_end =
        |c: char| c.is_whitespace() || matches!(c, ';' | '|' | '&' | '(' | ')' | '=' | '"' | '\'' | '`');
    let says = |words: &[&str]| {
        script.split(is_end).any(|word| words.contains(&word.rsplit('/').next().unwrap_or_default()))
    };
    let below =
        |root: &str| target.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if below("/var/cache/apt") || below("/var/lib/apt") {
        return (mount.sharing == Sharing::Shared && says(&["apt", "apt-get", "aptitude"])).then_some(LOCK);
    }
    if below("/var/cache/apk") || below("/etc/apk/cache") {
        return says(&["apk"]).then_some(INDEX);
    }
    let is_output = match target.rsplit('/').next().unwrap_or_default() {
        // With a target of its own, Cargo has a directory for each.
        "target" => {
            says(&["cargo"]) && !says(&["--target", "CARGO_BUILD_TARGET", "xx-cargo", "zigbuild", "cross"])
        }
        "node_modules" => says(&["npm", "yarn", "pnpm", "bun", "node"]),
        ".venv" | "venv" => says(&["python", "python3", "pip", "pip3", "uv", "poetry", "pdm", "pipenv"]),
        "_build" | "deps" => says(&["mix"]),
        "bundle" => says(&["bundle", "bundler", "gem"]),
        "build" => says(&["cmake", "meson", "ninja"]),
        _ => false,
    };
    if is_output {
        return Some(OUTPUT);
    }
    let is_waste = ["/var/cache/dnf", "/var/cache/yum", "/var/cache/zypp"].iter().any(|root| below(root))
        || [".cache/pip", ".cache/uv", ".ccache", ".cache/ccache", "conda/pkgs"]
            .iter()
            .any(|end| target.ends_with(end));
    is_waste.then_some(WASTE)
}

/// Has the architecture in the name of every cache.
fn fix(view: &View<'_>, stage: &Stage, shared: &[Shared<'_>]) -> Option<Fix> {
    let first = shared.iter().min_by_key(|it| it.instruction.span.start)?;
    // Of one architecture there may be several variants.
    let mut names = vec!["TARGETARCH"];
    let platforms = crate::evaluated::platforms_of(view.request);
    let variants = |(at, one): (usize, &Platform)| {
        platforms.iter().skip(at + 1).any(|other| other.architecture == one.architecture)
    };
    if platforms.iter().enumerate().any(variants) {
        names.push("TARGETVARIANT");
    }
    // A default or a build argument may have made them the same for every platform.
    let is_automatic = |(platform, evaluation): (&Platform, &Evaluation)| {
        let automatic = platform_arguments(platform, &view.request.build_platform);
        let steps = evaluation.stages.get(stage.index).map_or(&[][..], |stage| &stage.steps);
        shared.iter().filter_map(|it| steps.get(it.number)).all(|step| {
            names.iter().all(|name| {
                let value = step.run_env.get(name).or(evaluation.globals.get(*name).map(String::as_str));
                automatic.iter().any(|(known, own)| known == name && value == Some(own.as_str()))
            })
        })
    };
    if !platforms.iter().zip(view.evaluations).all(is_automatic) {
        return None;
    }
    let suffix = names.iter().fold("-".to_owned(), |mut text, name| {
        let _ = write!(text, "${name}");
        text
    });
    let site = Site { stage, instruction: first.instruction, step: first.step };
    let mut edits: Vec<Edit> = site.declare(view, &names).into_iter().collect();
    for it in shared {
        edits.push(name_with(view, it, &suffix)?);
    }
    edits.sort_by_key(|edit| edit.span);
    Some(Fix { title: "Give each architecture a cache of its own".to_owned(), safe: true, edits })
}

/// The edit after which a cache's name ends so.
fn name_with(view: &View<'_>, shared: &Shared<'_>, suffix: &str) -> Option<Edit> {
    let span = shared.flag.value.as_ref()?.span;
    let written = span.slice(&view.file.text);
    // Where the name has the architecture already, and is the same, an `ENV` gives it to all.
    if written.contains(['"', '\'', '\\', '\n', '`']) || written.contains(suffix) {
        return None;
    }
    let mut at = span.start;
    let mut kind_end = None;
    for field in written.split(',') {
        let end = at.checked_add(u32::try_from(field.len()).ok()?)?;
        let key = field.split('=').next().unwrap_or_default();
        if key.eq_ignore_ascii_case("id") {
            return Some(Edit { span: Span { start: end, end }, text: suffix.to_owned() });
        }
        if key.eq_ignore_ascii_case("type") {
            kind_end = Some(end);
        }
        at = end.checked_add(1)?;
    }
    let end = kind_end?;
    let id = shared.mount.id.as_deref()?;
    // What a variable gave stays one.
    if id.contains([',', '$', ' ']) || id.contains('"') {
        return None;
    }
    Some(Edit { span: Span { start: end, end }, text: format!(",id={id}{suffix}") })
}

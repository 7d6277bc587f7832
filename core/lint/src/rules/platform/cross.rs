//! `uname-in-build-stage`, `copy-across-platforms` and `xx-needs-targetplatform`: stages that are not on the image's
//! platform.

use std::collections::HashMap;

use rbx_dockerfile::{Base, Body, From, Op};

use super::RULE;
use super::go::declare;
use super::site::{Site, any_of, is_for, is_for_others, runs, sites, taken};
use crate::arch;
use crate::finding::{Fix, Related, Severity, shown};
use crate::place;
use crate::rule::{Check, Rule};
use crate::shell::{Call, Command, Run};
use crate::view::{Found, View};

pub(crate) static RULES: &[Rule] = &[
    Rule {
        name: "copy-across-platforms",
        severity: Severity::Info,
        summary: "A program is copied from a stage of another platform, where nothing cross-compiles",
        explanation: include_str!("../../../rules/platform/copy-across-platforms.md"),
        check: Check::EachPlatform(copies),
        ..RULE
    },
    Rule {
        name: "uname-in-build-stage",
        severity: Severity::Info,
        summary: "A stage of the build's platform asks itself for the architecture, and means the image's",
        explanation: include_str!("../../../rules/platform/uname-in-build-stage.md"),
        check: Check::EachPlatform(questions),
        ..RULE
    },
    Rule {
        name: "xx-needs-targetplatform",
        severity: Severity::Warning,
        summary: "A command of xx is used where it cannot know the platform",
        explanation: include_str!("../../../rules/platform/xx-needs-targetplatform.md"),
        changes: Some("the argument gets the automatic value"),
        check: Check::EachPlatform(helpers),
        ..RULE
    },
];

/// What shows that a stage makes things for another platform than its own, or may. What Go builds has a rule of its own.
const CROSS: [&str; 23] = [
    "go build",
    "--arch",
    "--cpu",
    "--host",
    "--platform ",
    "--platform=$TARGET",
    "--runtime",
    "--target",
    "-linux-gnu",
    "-linux-musl",
    "CARGO_BUILD_TARGET",
    "CC=",
    "CMAKE_SYSTEM",
    "GOARCH",
    "GOOS",
    "TARGETARCH",
    "TARGETPLATFORM",
    "cross",
    "dotnet",
    "goreleaser",
    "goxx",
    "qemu",
    "xx-",
];

/// Names of files that run, or are read, on every platform.
const PORTABLE: [&str; 26] = [
    ".bash", ".conf", ".crt", ".css", ".html", ".jar", ".js", ".json", ".mjs", ".pem", ".php", ".pl", ".ps1",
    ".py", ".rb", ".sh", ".sql", ".svg", ".toml", ".txt", ".war", ".wasm", ".xml", ".yaml", ".yml", ".zip",
];

fn copies(view: &View<'_>) -> Vec<Found> {
    let mut known = HashMap::new();
    sites(view).filter_map(|site| copy(view, &site, &mut known)).collect()
}

/// `known` has the stages that were looked at, and whether they may make things for another platform than their own.
fn copy(view: &View<'_>, site: &Site<'_>, known: &mut HashMap<usize, bool>) -> Option<Found> {
    let Op::Copy(copy) = &site.step.op else { return None };
    let From::Stage(index) = copy.from else { return None };
    let source = view.evaluation.stages.get(index)?;
    let (from, to) = (&source.platform, &site.stage.platform);
    if is_for_others(view, source) {
        return None;
    }
    // Between stages that both are helpers of the image's, anything goes.
    if !to.matches(view.platform) || to.accepted().iter().any(|accepted| accepted.matches(from)) {
        return None;
    }
    let Base::Image(_) = &view.root(source).base else { return None };
    let Body::Copy(body) = &site.instruction.body else { return None };
    let is_program = |path: &str| {
        let last = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let in_directory =
            path.split('/').any(|part| matches!(part, "bin" | "sbin" | "lib" | "lib64" | "libexec"));
        let portable = PORTABLE.iter().any(|end| last.ends_with(end)) || last.contains("entrypoint");
        in_directory && !portable && !path.contains("node_modules")
    };
    let word = body.sources.iter().find(|word| {
        let portable =
            PORTABLE.iter().any(|end| word.text.ends_with(end)) || word.text.contains("entrypoint");
        !portable && (is_program(&word.text) || is_program(&copy.destination))
    })?;
    let spelled = arch::find(&from.to_string());
    let on_purpose = spelled.iter().any(|hit| is_for(view, source, hit.arch) || hit.arch.is_in(&word.text));
    if on_purpose || *known.entry(index).or_insert_with(|| any_of(view, source, &CROSS)) {
        return None;
    }
    let message = format!("{} is for {from}, as is the stage it comes from", shown(&word.text));
    let mut found = Found::new(word.span, message);
    let flag = view.from(view.root(source)).and_then(|it| it.flag("platform"));
    found.related.extend(
        flag.map(|flag| Related { span: flag.span, message: "the platform of the stage".to_owned() }),
    );
    Some(found)
}

/// Questions for the architecture of where they are asked.
const QUESTIONS: [&str; 5] =
    ["uname -m", "dpkg --print-architecture", "apk --print-arch", "$(arch)", "go env GOARCH"];

/// The question in a text, and where.
fn question(text: &str) -> Option<(usize, &'static str)> {
    QUESTIONS.iter().filter_map(|question| Some((text.find(question)?, *question))).min()
}

fn questions(view: &View<'_>) -> Vec<Found> {
    if question(&view.file.text).is_none() {
        return Vec::new();
    }
    let is_other = |run: &&Run<'_>| run.stage.platform.architecture != view.platform.architecture;
    let copied = copied(view);
    runs(view).filter(is_other).filter_map(|run| asked(run, &copied)).collect()
}

fn asked(run: &Run<'_>, copied: &HashMap<usize, Vec<&str>>) -> Option<Found> {
    let text = &run.script.text;
    let (at, question) = question(text)?;
    if text.contains("TARGET") {
        return None;
    }
    let is_told = ["GOARCH=$(", "GOARCH=\"$(", "GOARCH=`"].iter().any(|part| text.contains(part));
    let fetches = || {
        let fetch =
            |command: &Command| command.call().is_some_and(|call| matches!(call.name, "curl" | "wget"));
        run.script.program.commands.iter().any(fetch)
            && text[at..].contains("://") | text[..at].contains("://")
    };
    if !(is_told || fetches() && is_copied(run, copied)) {
        return None;
    }
    let message = format!("{question} answers for the machine that builds, not for the image");
    Some(Found::new(run.script.span(&(at..at + question.len())), message))
}

/// Paths of a stage that are looked at, at most.
const MAX_PATHS: usize = 100;

/// For each stage the paths that are copied from it into stages of the image's platform.
fn copied<'a>(view: &View<'a>) -> HashMap<usize, Vec<&'a str>> {
    let mut copied: HashMap<usize, Vec<&str>> = HashMap::new();
    for site in sites(view).filter(|site| site.stage.platform.matches(view.platform)) {
        let (Op::Copy(copy), Body::Copy(body)) = (&site.step.op, &site.instruction.body) else { continue };
        if let From::Stage(index) = copy.from {
            let paths = copied.entry(index).or_default();
            paths
                .extend(body.sources.iter().map(|source| source.text.as_str()).take(MAX_PATHS - paths.len()));
        }
    }
    copied
}

/// Whether a file that a script names is copied into a stage of the image's platform.
fn is_copied(run: &Run<'_>, copied: &HashMap<usize, Vec<&str>>) -> bool {
    let Some(copied) = copied.get(&run.stage.index) else { return false };
    let paths: Vec<&str> = run
        .script
        .program
        .commands
        .iter()
        .flat_map(|command| command.words.iter().chain(command.redirections.iter().map(|it| &it.target)))
        .filter_map(|word| word.literal())
        .filter(|word| word.starts_with('/') && !word.starts_with("/tmp") && word.len() > 2)
        .collect();
    let inside = |path: &str, directory: &str| {
        let directory = directory.trim_end_matches('/');
        path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let mut paths = paths.iter().take(MAX_PATHS);
    paths.any(|path| copied.iter().any(|source| inside(source, path)))
}

/// Whether a call is one of a command of `tonistiigi/xx` that makes, or installs, something for the platform.
fn is_helper(call: &Call<'_>) -> bool {
    let builds = |words: &[&str]| {
        let first = call.arguments.iter().find(|word| !word.prefix().starts_with(['-', '+']));
        first.and_then(|word| word.literal()).is_some_and(|word| words.contains(&word))
    };
    // Questions that a build asks them, such as `--print-cmake-defines`.
    if call.arguments.iter().any(|word| word.prefix().starts_with("--print")) {
        return false;
    }
    match call.name {
        "xx-go" | "xx-cargo" => builds(&["build", "install"]),
        "xx-apk" | "xx-apt" | "xx-apt-get" => builds(&["add", "install"]),
        "xx-c++" | "xx-cc" | "xx-clang" | "xx-clang++" | "xx-g++" | "xx-gcc" => true,
        _ => false,
    }
}

fn helpers(view: &View<'_>) -> Vec<Found> {
    if !view.file.text.contains("xx-") {
        return Vec::new();
    }
    let mut all = Vec::new();
    let mut last = None;
    let taken = taken(view);
    for run in runs(view) {
        // The first one of a stage gets the argument for those after it.
        if last == Some(run.stage.index) || run.stage.platform.matches(view.platform) {
            continue;
        }
        let knows = |name| run.step.is_some_and(|step| step.run_env.get(name).is_some());
        let set = ["TARGETPLATFORM", "TARGETPAIR", "TARGETARCH"]
            .into_iter()
            .any(|name| knows(name) || run.script.text.contains(name));
        let mut calls = run.script.program.commands.iter().filter_map(Command::call);
        let Some(call) = calls.find(is_helper).filter(|_| !set && taken[run.stage.index]) else {
            continue;
        };
        last = Some(run.stage.index);
        let message = format!("{} works for the machine that builds without ARG TARGETPLATFORM", call.name);
        let mut found = Found::new(run.script.span(&call.word.range), message);
        let edits = declare(view, run, &["TARGETPLATFORM"]);
        let arg = place::in_case_of(view.file, run.instruction, "ARG");
        if !edits.is_empty() {
            found.fixes.push(Fix { title: format!("Insert {arg} TARGETPLATFORM"), safe: true, edits });
        }
        all.push(found);
    }
    all
}

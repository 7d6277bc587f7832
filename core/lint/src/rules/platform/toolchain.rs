//! `toolchain-target-const` and `cpu-level`: what compilers make code for.

use std::collections::BTreeSet;

use rbx_dockerfile::{Body, Keyword, Span};

use super::RULE;
use super::site::{Site, asks_itself, is_for, names_its_own, runs, sites};
use crate::arch::{self, Arch};
use crate::finding::{Severity, shown};
use crate::rule::{Check, Rule};
use crate::shell::{Command, Run, Word};
use crate::view::{Found, View};

pub(crate) static RULES: &[Rule] = &[
    Rule {
        name: "toolchain-target-const",
        severity: Severity::Info,
        summary: "A compiler or package manager is told one architecture, whatever the image's is",
        explanation: include_str!("../../../rules/platform/toolchain-target-const.md"),
        check: Check::EachPlatform(targets),
        ..RULE
    },
    Rule {
        name: "cpu-level",
        severity: Severity::Info,
        summary: "Code is made for a CPU that not every machine of the platform has",
        explanation: include_str!("../../../rules/platform/cpu-level.md"),
        check: Check::EachPlatform(levels),
        ..RULE
    },
];

/// Programs, and their options that take a target.
const TOOLS: [(&str, &[&str]); 14] = [
    ("bun", &["--target"]),
    ("cargo", &["--target"]),
    ("conda", &["--platform", "--subdir"]),
    ("cross", &["--target"]),
    ("deno", &["--target"]),
    ("dotnet", &["-r", "--runtime", "-a", "--arch"]),
    ("mamba", &["--platform"]),
    ("micromamba", &["--platform"]),
    ("npm", &["--cpu"]),
    ("pip", &["--platform"]),
    ("pip3", &["--platform"]),
    ("pkg", &["-t", "--target", "--targets"]),
    ("rustc", &["--target"]),
    ("zig", &["-target", "--target", "-Dtarget"]),
];

/// Variables that take one.
const VARIABLES: [&str; 6] =
    ["CARGO_BUILD_TARGET", "CC", "CONDA_SUBDIR", "CXX", "npm_config_arch", "npm_config_target_arch"];

/// Parts of targets that are for no Linux.
const OTHERS: [&str; 9] =
    ["android", "apple", "darwin", "freebsd", "mingw", "wasm", "windows", "-none-", "-elf"];

/// The architecture of a target.
fn architecture(target: &str) -> Option<Arch> {
    if OTHERS.iter().any(|part| target.contains(part)) {
        return None;
    }
    match target {
        "linux-64" => Some(Arch::Amd64),
        "linux-32" => Some(Arch::I386),
        _ => arch::find(target).first().map(|hit| hit.arch),
    }
}

/// A target that is written as a constant.
struct Target {
    stage: usize,
    text: String,
    arch: Arch,
    span: Span,
    on_purpose: bool,
}

fn targets(view: &View<'_>) -> Vec<Found> {
    let mut all: Vec<Target> = runs(view).flat_map(|run| in_run(view, run)).collect();
    for site in sites(view).filter(|site| site.instruction.keyword == Keyword::Env) {
        let Body::Env(pairs) = &site.instruction.body else { continue };
        for pair in pairs.iter().filter(|pair| VARIABLES.contains(&pair.name.text.as_str())) {
            let text = pair.value.text.trim_matches(['"', '\'']).to_owned();
            if let Some(arch) = architecture(&text) {
                let on_purpose = is_for(view, site.stage, arch);
                all.push(Target { stage: site.stage.index, text, arch, span: pair.value.span, on_purpose });
            }
        }
    }
    // A stage that makes things for several architectures means to.
    let is_right = |target: &Target| target.arch.runs_on(view.platform);
    let right: BTreeSet<usize> =
        all.iter().filter(|target| is_right(target)).map(|target| target.stage).collect();
    let wrong = all.iter().filter(|it| !it.on_purpose && !is_right(it) && !right.contains(&it.stage));
    wrong
        .map(|it| {
            Found::new(it.span, format!("{} is not for the architecture of the image", shown(&it.text)))
        })
        .collect()
}

fn in_run(view: &View<'_>, run: &Run<'_>) -> Vec<Target> {
    let mut all: Vec<Target> = Vec::new();
    for command in &run.script.program.commands {
        for (word, text) in told(command) {
            let Some(arch) = architecture(text) else { continue };
            let on_purpose = command.context.branch
                || is_for(view, run.stage, arch)
                || asks_itself(view.file, run.instruction);
            let span = run.script.span(&word.range);
            let same = |known: &Target| known.text == text;
            if !all.iter().any(same) {
                all.push(Target { stage: run.stage.index, text: text.to_owned(), arch, span, on_purpose });
            }
        }
    }
    all
}

/// The targets that a command is told, each with its word.
fn told(command: &Command) -> Vec<(&Word, &str)> {
    let mut all: Vec<(&Word, &str)> = Vec::new();
    for assignment in command.assignments.iter().filter(|it| VARIABLES.contains(&it.name.as_str())) {
        let text = assignment.word.literal().and_then(|text| text.split_once('='));
        all.extend(text.map(|(_, value)| (&assignment.word, value)));
    }
    let Some(call) = command.call() else { return all };
    if call.name == "export" {
        let values = call.arguments.iter().filter_map(|word| Some((word, word.literal()?.split_once('=')?)));
        all.extend(
            values.filter(|(_, (name, _))| VARIABLES.contains(name)).map(|(word, (_, value))| (word, value)),
        );
    }
    let Some((_, options)) = TOOLS.iter().find(|(name, _)| *name == call.name) else { return all };
    // Adding a target to a toolchain builds nothing, and a `cargo` may be asked for metadata only.
    let mut words = call.arguments.iter().peekable();
    while let Some(word) = words.next() {
        let Some(text) = word.literal() else { continue };
        if options.contains(&text) {
            all.extend(words.peek().and_then(|next| Some((*next, next.literal()?))));
        } else if let Some((name, value)) = text.split_once('=')
            && options.contains(&name)
        {
            all.push((word, value));
        }
    }
    all
}

/// What asks for the CPU of the machine that builds.
const NATIVE: [&str; 4] = ["-march=native", "-mcpu=native", "target-cpu=native", "-xHost"];

/// What asks for CPUs of the x86 family.
const X86: [&str; 18] = [
    "-march=broadwell",
    "-march=core2",
    "-march=corei7",
    "-march=haswell",
    "-march=ivybridge",
    "-march=nehalem",
    "-march=sandybridge",
    "-march=skylake",
    "-march=westmere",
    "-march=x86-64",
    "-march=znver",
    "-mavx",
    "-mfma",
    "-msse",
    "target-cpu=haswell",
    "target-cpu=skylake",
    "target-cpu=x86-64",
    "target-feature=+avx",
];

/// What asks for a level of amd64, before its number.
const LEVELS: [&str; 3] = ["GOAMD64=v", "-march=x86-64-v", "target-cpu=x86-64-v"];

fn levels(view: &View<'_>) -> Vec<Found> {
    let text = &view.file.text;
    if !["-m", "target-", "GOAMD64", "-xHost"].iter().any(|part| text.contains(part)) {
        return Vec::new();
    }
    let is_set = |site: &Site<'_>| matches!(site.instruction.keyword, Keyword::Env | Keyword::Run);
    sites(view).filter(is_set).filter_map(|site| level(view, &site)).collect()
}

fn level(view: &View<'_>, site: &Site<'_>) -> Option<Found> {
    for piece in site.pieces(view.file) {
        // What stands in a pattern of `sed` is taken away.
        let places = |part: &'static str| piece.text.match_indices(part).map(move |(at, _)| (at, part));
        let is_meant = |(at, _): &(usize, &str)| {
            !piece.text[..*at].ends_with(['/', '|', '#', '@', ',', '!']) && !piece.is_comment(*at)
        };
        if let Some((at, part)) = NATIVE.into_iter().flat_map(places).find(is_meant) {
            let message = format!("{part} makes code for the CPU of the machine that builds");
            return Some(Found::new(piece.span(&(at..at + part.len())), message));
        }
        if asks_itself(view.file, site.instruction) {
            return None;
        }
        let platform = &site.stage.platform;
        if platform.architecture == "amd64" && view.platform.architecture == "amd64" {
            let has =
                view.platform.variant.as_deref().and_then(|variant| variant.strip_prefix('v')).unwrap_or("1");
            let needed = |(at, part): (usize, &'static str)| {
                let level =
                    piece.text[at + part.len()..].get(..1).filter(|level| ["2", "3", "4"].contains(level))?;
                (level > has).then_some((at..at + part.len() + 1, level))
            };
            let found = LEVELS.into_iter().flat_map(places).filter(is_meant).find_map(needed);
            if let Some((range, level)) = found {
                let written = &piece.text[range.clone()];
                let message = format!("{written} makes code that needs linux/amd64/v{level}");
                return Some(Found::new(piece.span(&range), message));
            }
        } else if !matches!(platform.architecture.as_str(), "386" | "amd64")
            && platform.matches(view.platform)
            && !names_its_own(view, site)
            && let Some((at, part)) = X86.into_iter().flat_map(places).find(is_meant)
        {
            let message = format!("{part} is for CPUs of the x86 family");
            return Some(Found::new(piece.span(&(at..at + part.len())), message));
        }
    }
    None
}

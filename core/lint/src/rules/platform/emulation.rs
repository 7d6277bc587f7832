//! `emulated-heavy-run` and `qemu-known-bad`: what is better not emulated.

use rbx_dockerfile::{Base, Span, Stage};

use super::RULE;
use super::site::{is_native, stages, taken};
use crate::finding::{Edit, Fix, Severity};
use crate::rule::{Check, Rule};
use crate::shell::{Call, Command, Run};
use crate::view::{Found, View};

pub(crate) static RULES: &[Rule] = &[
    Rule {
        name: "emulated-heavy-run",
        severity: Severity::Info,
        summary: "A stage compiles under emulation, where it could compile for another platform natively",
        explanation: include_str!("../../../rules/platform/emulated-heavy-run.md"),
        check: Check::EachPlatform(heavy),
        ..RULE
    },
    Rule {
        name: "qemu-known-bad",
        severity: Severity::Info,
        summary: "A step is known to crash under emulation",
        explanation: include_str!("../../../rules/platform/qemu-known-bad.md"),
        changes: Some("the command gets an option"),
        check: Check::EachPlatform(bad),
        ..RULE
    },
];

/// The stages that are emulated.
fn emulated<'a>(view: &View<'a>) -> impl Iterator<Item = &'a Stage> {
    let all: Vec<&'a Stage> = stages(view).map(|(stage, _)| stage).collect();
    let is_emulated: Vec<bool> = all.iter().map(|stage| !is_native(view, &stage.platform)).collect();
    all.into_iter().zip(is_emulated).filter_map(|(stage, emulated)| emulated.then_some(stage))
}

fn heavy(view: &View<'_>) -> Vec<Found> {
    let mut all = Vec::new();
    let taken = taken(view);
    for stage in emulated(view) {
        // One finding is enough for a stage.
        let found = view.runs_of(stage).iter().filter(|run| run.step.is_some()).find_map(|run| {
            run.script.program.commands.iter().filter_map(Command::call).find_map(|call| {
                let (words, weight) = weight(&call)?;
                let counts = match weight {
                    Weight::Compiler => true,
                    Weight::Packages => taken[stage.index],
                };
                counts.then(|| {
                    let last =
                        words.checked_sub(1).and_then(|last| call.arguments.get(last)).unwrap_or(call.word);
                    let range = call.word.range.start..last.range.end;
                    let name = &run.script.text[range.clone()];
                    let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
                    let message = format!("{name} runs under emulation, which takes many times as long");
                    Found::new(run.script.span(&range), message)
                })
            })
        });
        all.extend(found);
    }
    all
}

/// What makes a command heavy.
#[derive(Clone, Copy)]
enum Weight {
    /// It compiles.
    Compiler,
    /// It does so for some packages, or installs for a later stage what is the same on every platform.
    Packages,
}

/// Whether a call is heavy, and how many of its arguments say so.
fn weight(call: &Call<'_>) -> Option<(usize, Weight)> {
    let has = |words: &[&str]| {
        let first = call.arguments.iter().position(|word| !word.prefix().starts_with('-'))?;
        let word = call.arguments.get(first)?.literal()?;
        words.contains(&word).then_some(first + 1)
    };
    let compiles = |words: Option<usize>| words.map(|words| (words, Weight::Compiler));
    match call.name {
        "bazel" | "bazelisk" | "cabal" | "mage" | "stack" | "zig" => compiles(has(&["build", "build-exe"])),
        "cargo" => compiles(has(&["build", "install", "chef", "rustc", "xwin", "zigbuild"])),
        "cmake" => call.arguments.iter().any(|word| word.is("--build")).then_some((1, Weight::Compiler)),
        "c++" | "cc" | "clang" | "clang++" | "g++" | "gcc" | "rustc" => {
            let is_source = |text: &str| [".c", ".cc", ".cpp", ".rs"].iter().any(|end| text.ends_with(end));
            let sources = call.arguments.iter().filter_map(|word| word.literal());
            sources.into_iter().any(is_source).then_some((0, Weight::Compiler))
        }
        "dotnet" => compiles(has(&["build", "publish"])),
        "go" => compiles(has(&["build", "install", "test"])),
        "gradle" | "gradlew" | "mvn" | "mvnw" | "sbt" => {
            let mut words = call.arguments.iter().filter_map(|word| word.literal());
            let goals =
                ["assembly", "bootJar", "build", "compile", "install", "package", "shadowJar", "verify"];
            words.any(|word| goals.contains(&word)).then_some((0, Weight::Compiler))
        }
        "gmake" | "make" => {
            let light = ["clean", "distclean", "install"];
            let targets: Vec<&str> = call
                .arguments
                .iter()
                .filter_map(|word| word.literal())
                .filter(|word| !word.starts_with('-') && !word.contains('='))
                .collect();
            let is_light = !targets.is_empty() && targets.iter().all(|target| light.contains(target));
            (!is_light).then_some((0, Weight::Compiler))
        }
        "ninja" | "samu" => Some((0, Weight::Compiler)),
        "npm" | "pnpm" | "yarn" => {
            has(&["build", "ci", "i", "install", "run"]).map(|words| (words, Weight::Packages))
        }
        "swift" => compiles(has(&["build"])),
        _ => None,
    }
}

fn bad(view: &View<'_>) -> Vec<Found> {
    let mut all = Vec::new();
    for stage in emulated(view) {
        let old_go = is_old_go(view, stage);
        for run in view.runs_of(stage).iter().filter(|run| run.step.is_some()) {
            all.extend(crash(run, old_go));
        }
    }
    all
}

/// The first step of a script that is known to crash.
fn crash(run: &Run<'_>, old_go: bool) -> Option<Found> {
    run.script.program.commands.iter().filter_map(Command::call).find_map(|call| {
        let at = |name: &str| {
            call.arguments.iter().position(|word| {
                word.literal().is_some_and(|it| it == name || it.ends_with(&format!("/{name}")))
            })
        };
        let is_bootsnap = call.name == "bootsnap" || at("bootsnap").is_some();
        if is_bootsnap && let Some(precompile) = at("precompile") {
            let is_alone = call.arguments.windows(2).any(|two| {
                two[0].literal().is_some_and(|word| matches!(word, "-j" | "--jobs")) && two[1].is("1")
                    || two[1].is("0")
            }) || call
                .arguments
                .iter()
                .any(|word| ["-j1", "-j0", "--jobs=1", "--jobs=0"].iter().any(|it| word.is(it)));
            if is_alone {
                return None;
            }
            let word = call.arguments.get(precompile)?;
            let message = "bootsnap precompile with several processes crashes under emulation";
            let span = run.script.span(&word.range);
            let mut found = Found::new(span, message);
            if !run.shell.is_empty() && run.script.is_verbatim(&word.range) {
                let edit = Edit { span: Span { start: span.end, end: span.end }, text: " -j 1".to_owned() };
                found.fixes.push(Fix {
                    title: "Precompile with one process".to_owned(),
                    safe: true,
                    edits: vec![edit],
                });
            }
            return Some(found);
        }
        let is = |words: &[&str]| {
            call.arguments.first().and_then(|word| word.literal()).is_some_and(|word| words.contains(&word))
        };
        if call.name == "mix" && is(&["assets.deploy", "compile", "deps.compile", "phx.digest", "release"])
            || call.name == "rebar3" && is(&["as", "compile", "release", "tar"])
        {
            let flags =
                run.step.is_some_and(|step| step.run_env.get("ERL_FLAGS").is_some_and(|it| !it.is_empty()));
            let is_known =
                flags || run.script.text.contains("ERL_FLAGS") || run.script.text.contains("+JMsingle");
            let message = "The compiler of Erlang's virtual machine crashes under emulation";
            return (!is_known).then(|| Found::new(run.script.span(&call.word.range), message));
        }
        if old_go && call.name == "go" && is(&["build", "get", "install", "mod"]) {
            let message = "Go before 1.18 hangs or crashes under emulation";
            return Some(Found::new(run.script.span(&call.word.range), message));
        }
        None
    })
}

/// Whether a stage stands on an image of Go 1.17 or older.
fn is_old_go(view: &View<'_>, stage: &Stage) -> bool {
    let Base::Image(name) = &view.root(stage).base else { return false };
    let Some((image, tag)) = name.rsplit_once(':') else { return false };
    let minor = tag.strip_prefix("1.").map(|rest| rest.split(['.', '-']).next().unwrap_or_default());
    let is_go = image == "golang" || image.ends_with("/golang");
    is_go && minor.and_then(|minor| minor.parse::<u32>().ok()).is_some_and(|minor| minor < 18)
}

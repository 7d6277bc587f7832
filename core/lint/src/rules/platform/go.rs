//! `goarch-const`, `goarch-missing` and `variant-ignored`: what Go builds for.

use std::collections::BTreeSet;

use rbx_dockerfile::{Body, Keyword, Op, Span};

use super::RULE;
use super::site::{Site, any_of, asks_itself, is_for, runs, sites, stages, taken};
use crate::arch;
use crate::finding::{Edit, Fix, Severity, shown};
use crate::rule::{Check, Rule};
use crate::shell::{Command, Part, Run, Word};
use crate::view::{Found, View};

pub(crate) static RULES: &[Rule] = &[
    Rule {
        name: "goarch-const",
        severity: Severity::Warning,
        summary: "Go builds for one architecture, whatever the image's is",
        explanation: include_str!("../../../rules/platform/goarch-const.md"),
        check: Check::EachPlatform(constant),
        ..RULE
    },
    Rule {
        name: "goarch-missing",
        severity: Severity::Warning,
        summary: "Go builds for the machine that builds, not for the image",
        explanation: include_str!("../../../rules/platform/goarch-missing.md"),
        check: Check::EachPlatform(missing),
        ..RULE
    },
    Rule {
        name: "variant-ignored",
        severity: Severity::Info,
        summary: "Go builds for a newer ARM than the image's",
        explanation: include_str!("../../../rules/platform/variant-ignored.md"),
        check: Check::EachPlatform(variant),
        ..RULE
    },
];

/// What builds with Go.
const BUILDERS: [&str; 6] = ["go build", "go install", "make", "mage", "goreleaser", "xcaddy"];

/// A word `NAME=…` of a command: an assignment, or an argument of `export` or `env`.
fn setting<'c>(command: &'c Command, name: &str) -> Option<&'c Word> {
    let is_it = |word: &&Word| word.prefix().strip_prefix(name).is_some_and(|rest| rest.starts_with('='));
    let assignments = command.assignments.iter().map(|assignment| &assignment.word);
    let call = command.call();
    let sets = call.filter(|call| {
        let is_env = call.name == "go" && call.arguments.first().is_some_and(|word| word.is("env"));
        is_env || matches!(call.name, "declare" | "export" | "local" | "readonly")
    });
    let arguments = sets.map_or(&[][..], |call| call.arguments);
    let prefixes = call.map_or(&[][..], |call| call.prefixes);
    assignments.chain(prefixes).chain(arguments).find(is_it)
}

/// What a word `NAME=value` sets, if it is known.
fn value_of(word: &Word) -> Option<&str> {
    word.literal()?.split_once('=').map(|(_, value)| value)
}

/// Whether it is one of Go's architectures.
fn is_architecture(value: &str) -> bool {
    matches!(
        value,
        "386" | "amd64" | "arm" | "arm64" | "loong64" | "mips64le" | "ppc64le" | "riscv64" | "s390x"
    )
}

/// A constant `GOARCH`.
struct Constant {
    stage: usize,
    value: String,
    span: Span,
    fix: Option<Fix>,
    on_purpose: bool,
}

fn constant(view: &View<'_>) -> Vec<Found> {
    if !view.file.text.contains("GOARCH") {
        return Vec::new();
    }
    let mut all: Vec<Constant> = runs(view).flat_map(|run| in_run(view, run)).collect();
    all.extend(in_variables(view));
    let wanted = view.platform.architecture.as_str();
    let is_right = |value: &str| value == wanted || value == "386" && wanted == "amd64";
    // A stage that builds for several architectures means to.
    let right: BTreeSet<usize> = all.iter().filter(|it| is_right(&it.value)).map(|it| it.stage).collect();
    let wrong =
        all.into_iter().filter(|it| !it.on_purpose && !is_right(&it.value) && !right.contains(&it.stage));
    let found = wrong.map(|it| {
        let message = format!("GOARCH={} is not the architecture of the image", shown(&it.value));
        let mut found = Found::new(it.span, message);
        found.fixes.extend(it.fix);
        found
    });
    found.collect()
}

fn in_run(view: &View<'_>, run: &Run<'_>) -> Vec<Constant> {
    let words =
        run.script.program.commands.iter().filter_map(|command| Some((command, setting(command, "GOARCH")?)));
    let constants = words.filter_map(|(command, word)| {
        let value = value_of(word).filter(|value| is_architecture(value))?.to_owned();
        let other_system =
            setting(command, "GOOS").and_then(value_of).is_some_and(|os| os != view.platform.os);
        let on_purpose = command.context.branch
            || other_system
            || asks_itself(view.file, run.instruction)
            || arch::find(&format!("linux-{value}")).iter().any(|hit| is_for(view, run.stage, hit.arch));
        let fix = run.script.is_verbatim(&word.range).then(|| {
            let text = "GOARCH=$TARGETARCH".to_owned();
            let mut edits = declare(view, run, &["TARGETARCH"]);
            edits.push(Edit { span: run.script.span(&word.range), text });
            Fix { title: "Build for TARGETARCH".to_owned(), safe: false, edits }
        });
        Some(Constant { stage: run.stage.index, value, span: run.script.span(&word.range), fix, on_purpose })
    });
    constants.collect()
}

/// Those that `ENV` and `ARG` set; a build has what an `ARG` sets in its environment, too.
fn in_variables(view: &View<'_>) -> Vec<Constant> {
    let mut all = Vec::new();
    let builds = runs(view).any(|run| {
        let text = run.instruction.span.slice(&view.file.text);
        BUILDERS.iter().any(|builder| text.contains(builder))
    });
    for site in sites(view) {
        let pairs: Vec<(&rbx_dockerfile::Word, &rbx_dockerfile::Word)> = match &site.instruction.body {
            Body::Env(pairs) => pairs.iter().map(|pair| (&pair.name, &pair.value)).collect(),
            Body::Arg(args) => args
                .iter()
                .filter(|arg| !view.request.build_args.contains_key(&arg.name.text))
                .filter_map(|arg| Some((&arg.name, arg.value.as_ref()?)))
                .collect(),
            _ => continue,
        };
        for (name, written) in pairs.iter().copied().filter(|(name, _)| name.text == "GOARCH") {
            let value = written.text.trim_matches(['"', '\'']).to_owned();
            let is_other = |os: &str| os.trim_matches('"') != view.platform.os;
            let other_system = site.value("GOOS").is_some_and(is_other)
                || pairs.iter().any(|(name, value)| name.text == "GOOS" && is_other(&value.text));
            let on_purpose = other_system
                || !builds
                || arch::find(&format!("linux-{value}")).iter().any(|hit| is_for(view, site.stage, hit.arch));
            if is_architecture(&value) {
                let mut edits: Vec<Edit> = site.declare(view, &["TARGETARCH"]).into_iter().collect();
                edits.push(Edit { span: written.span, text: "$TARGETARCH".to_owned() });
                let fix = Some(Fix { title: "Build for TARGETARCH".to_owned(), safe: false, edits });
                let span = name.span.join(written.span);
                all.push(Constant { stage: site.stage.index, value, span, fix, on_purpose });
            }
        }
    }
    all
}

/// Puts before a `RUN` the declarations of arguments that it does not see.
pub(super) fn declare(view: &View<'_>, run: &Run<'_>, names: &[&str]) -> Vec<Edit> {
    Site::of_run(run).and_then(|site| site.declare(view, names)).into_iter().collect()
}

fn missing(view: &View<'_>) -> Vec<Found> {
    if !view.file.text.contains("build") {
        return Vec::new();
    }
    let mut all = Vec::new();
    let taken = taken(view);
    for (stage, _) in stages(view) {
        let other = stage.platform.architecture != view.platform.architecture;
        if !other
            || !taken[stage.index]
            || any_of(view, stage, &["GOARCH", "TARGET", "xx-", "goxx", "goreleaser"])
        {
            continue;
        }
        all.extend(view.runs_of(stage).iter().find_map(|run| without(view, run)));
    }
    all
}

/// A `go build` that nothing tells what for.
fn without(view: &View<'_>, run: &Run<'_>) -> Option<Found> {
    let step = run.step.filter(|step| step.run_env.get("GOARCH").is_none())?;
    let builds = |command: &&Command| {
        let call = command.call();
        call.is_some_and(|call| {
            call.name == "go" && call.arguments.first().is_some_and(|word| word.is("build"))
        })
    };
    let command = run.script.program.commands.iter().find(builds)?;
    let call = command.call()?;
    let end = call.arguments.first().map_or(call.word.range.end, |word| word.range.end);
    let message = "go build is not told what to build for, and takes the machine that builds";
    let mut found = Found::new(run.script.span(&(call.word.range.start..end)), message);
    if run.script.is_verbatim(&command.range)
        && step.run_env.get("TARGETARCH").is_none()
        && !run.shell.is_empty()
    {
        let start = run.script.span(&command.range).start;
        let mut edits = declare(view, run, &["TARGETOS", "TARGETARCH"]);
        let text = "GOOS=$TARGETOS GOARCH=$TARGETARCH ".to_owned();
        edits.push(Edit { span: Span { start, end: start }, text });
        found.fixes.push(Fix { title: "Build for TARGETARCH".to_owned(), safe: false, edits });
    }
    Some(found)
}

const ANY_ARM: &str = "GOARCH=arm without GOARM builds for ARMv7";

fn variant(view: &View<'_>) -> Vec<Found> {
    let platform = view.platform;
    let is_old = platform.architecture == "arm" && arch::version(platform) < 7;
    if !is_old || !view.file.text.contains("GOARCH") {
        return Vec::new();
    }
    let mut all = Vec::new();
    for (stage, instructions) in stages(view) {
        // A Go for this ARM knows it.
        if stage.platform.architecture == "arm"
            || any_of(view, stage, &["GOARM", "xx-", "TARGETVARIANT", "TARGETPLATFORM"])
        {
            continue;
        }
        let of_env = || {
            let is_env = |it: &&rbx_dockerfile::Instruction| it.keyword == Keyword::Env;
            instructions.iter().filter(is_env).find_map(|instruction| {
                let step = stage.steps.iter().find(|step| step.span == instruction.span)?;
                let Op::Env(values) = &step.op else { return None };
                let is_arm = values.iter().any(|(name, value)| name == "GOARCH" && value == "arm");
                is_arm.then(|| Found::new(instruction.span, ANY_ARM))
            })
        };
        let found = view.runs_of(stage).iter().find_map(|run| for_any_arm(view, run)).or_else(of_env);
        all.extend(found);
    }
    all
}

/// A command that builds for any ARM.
fn for_any_arm(view: &View<'_>, run: &Run<'_>) -> Option<Found> {
    let expansions = &run.script.program.expansions;
    let is_arm = |word: &&Word| {
        value_of(word) == Some("arm")
            || word.parts().iter().any(|part| match part {
                Part::Variable(index) => expansions.get(*index).is_some_and(|it| it.name == "TARGETARCH"),
                _ => false,
            })
    };
    let word =
        run.script.program.commands.iter().find_map(|command| setting(command, "GOARCH").filter(is_arm))?;
    let span = run.script.span(&word.range);
    let mut found = Found::new(span, ANY_ARM);
    if !run.shell.is_empty() && run.script.is_verbatim(&word.range) {
        let mut edits = declare(view, run, &["TARGETVARIANT"]);
        let at = Span { start: span.end, end: span.end };
        edits.push(Edit { span: at, text: " GOARM=${TARGETVARIANT#v}".to_owned() });
        found.fixes.push(Fix { title: "Set GOARM from TARGETVARIANT".to_owned(), safe: false, edits });
    }
    Some(found)
}

//! `arg-too-early`

use rbx_dockerfile::{Body, Instruction, Keyword, Stage};

use super::{RULE, has_variable, mentions};
use crate::finding::{Fix, Related, Severity};
use crate::place;
use crate::rule::{Check, Rule};
use crate::shell::{Call, Command, Run, Word};
use crate::view::{Found, View};

pub(crate) static RULES: &[Rule] = &[Rule {
    name: "arg-too-early",
    severity: Severity::Info,
    summary: "ARG TARGETARCH or its like makes steps run once per platform that are the same for all",
    explanation: include_str!("../../../rules/platform/arg-too-early.md"),
    check: Check::Once(check),
    ..RULE
}];

fn check(view: &View<'_>) -> Vec<Found> {
    if view.request.platforms.len() < 2 {
        return Vec::new();
    }
    let mut all = Vec::new();
    for (stage, instructions) in view.stages() {
        let flag = view.from(view.root(stage)).and_then(|from| from.flag_value("platform"));
        if flag.is_some_and(|value| has_variable(&value.text, "BUILDPLATFORM")) {
            all.extend(early(view, stage, instructions));
        }
    }
    all
}

fn early(view: &View<'_>, stage: &Stage, instructions: &[Instruction]) -> Vec<Found> {
    let mut all = Vec::new();
    let runs = view.runs_of(stage);
    let run_of = |it: &Instruction| {
        let at = runs.partition_point(|run| run.instruction.span.start < it.span.start);
        runs.get(at).filter(|run| run.instruction.span == it.span)
    };
    let mut seen: Vec<&str> = Vec::new();
    for (index, instruction) in instructions.iter().enumerate() {
        let Body::Arg(args) = &instruction.body else { continue };
        let is_target = |name: &str| name.starts_with("TARGET") && view.automatic(name).is_some();
        if args.is_empty() || !args.iter().all(|arg| arg.value.is_none() && is_target(&arg.name.text)) {
            continue;
        }
        let names: Vec<&str> = args.iter().map(|arg| arg.name.text.as_str()).collect();
        let again = names.iter().any(|name| seen.contains(name));
        seen.extend(&names);
        if again {
            continue;
        }
        let uses = |it: &Instruction| {
            args.iter().any(|arg| mentions(it, &view.file.text, &arg.name.text))
                || it.keyword == Keyword::Onbuild
                || it.keyword == Keyword::Run && !run_of(it).is_some_and(is_independent)
        };
        let later = instructions.get(index + 1..).unwrap_or_default();
        let Some(user) = later.iter().position(uses) else { continue };
        let passed = later.get(..user).unwrap_or_default();
        let Some(step) = passed.iter().find(|it| run_of(it).is_some_and(is_costly)) else {
            continue;
        };
        let message =
            format!("ARG {} has steps run again for each platform that do not use it", names.join(" "));
        let mut found = Found::new(instruction.span, message);
        found.related.push(Related { span: step.span, message: "runs again for each platform".to_owned() });
        found.fixes.extend(later.get(user).and_then(|user| moved(view, instruction, user)));
        all.push(found);
    }
    all
}

/// Moves an `ARG` before the instruction that uses it.
fn moved(view: &View<'_>, arg: &Instruction, user: &Instruction) -> Option<Fix> {
    let file = view.file;
    if !file.comments_of(arg).is_empty() {
        return None;
    }
    let removal = place::without_lines(file, arg.span)?;
    let text = arg.span.slice(&file.text).to_owned();
    // A byte order mark, or a word in front, stays where it is.
    let is_alone = file.text.get(removal.span.start as usize..arg.span.start as usize)?.trim().is_empty();
    let insertion = place::line_before(file, user, &text);
    (is_alone && removal.span.end <= insertion.span.start).then(|| Fix {
        title: "Move it to where it is used".to_owned(),
        safe: false,
        edits: vec![removal, insertion],
    })
}

/// Whether a script does the same for every platform, whatever it sees.
fn is_independent(run: &Run<'_>) -> bool {
    let mut calls = run.script.program.commands.iter().map(Command::call);
    run.script.program.lost.is_none()
        && calls.all(|call| {
            call.is_some_and(|call| {
                cost(&call)
                    || matches!(
                        call.name,
                        "apt-get" | "cd" | "echo" | "git" | "mkdir" | "rm" | "set" | "true"
                    )
            })
        })
}

fn is_costly(run: &Run<'_>) -> bool {
    is_independent(run)
        && run.script.program.commands.iter().filter_map(Command::call).any(|call| cost(&call))
}

/// Whether a call fetches what is the same for every platform.
fn cost(call: &Call<'_>) -> bool {
    let has =
        |words: &[&str]| call.operand().and_then(Word::literal).is_some_and(|word| words.contains(&word));
    match call.name {
        "apk" => has(&["add"]),
        "apt" | "apt-get" | "dnf" | "microdnf" | "pip" | "pip3" | "yum" => has(&["install"]),
        "go" => call.arguments.first().is_some_and(|word| word.is("mod")),
        "npm" => has(&["ci", "install", "i"]),
        "pnpm" | "yarn" => has(&["install", "fetch"]),
        _ => false,
    }
}

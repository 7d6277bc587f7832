//! `platform-arg-undeclared`

use std::collections::HashMap;
use std::ops::Range;

use rbx_dockerfile::{Body, Instruction, Keyword, Span, Stage, Step};

use super::RULE;
use super::selector;
use crate::finding::{Fix, Related, Severity, shown};
use crate::place;
use crate::rule::{Check, Rule};
use crate::shell::{self, Otherwise, Purpose, Run};
use crate::view::{Found, View};

/// Other reads of the same variable that are pointed out, at most.
const MAX_RELATED: usize = 20;

pub(crate) static RULES: &[Rule] = &[Rule {
    name: "platform-arg-undeclared",
    severity: Severity::Warning,
    summary: "RUN reads TARGETARCH or its like in a stage that does not declare it",
    explanation: include_str!("../../../rules/platform/platform-arg-undeclared.md"),
    changes: Some("the argument gets the automatic value"),
    check: Check::EachPlatform(check),
    ..RULE
}];

fn check(view: &View<'_>) -> Vec<Found> {
    let names: Vec<&'static str> = view.names().collect();
    if !names.iter().any(|name| view.file.text.contains(name)) {
        return Vec::new();
    }
    let mut all = Vec::new();
    for (stage, instructions) in view.stages() {
        all.extend(in_stage(view, stage, &names));
        all.extend(triggers(view, stage, instructions, &names));
    }
    all
}

/// A read that gives something else than it should.
struct Wrong<'a> {
    name: &'static str,
    run: &'a Run<'a>,
    range: Range<usize>,
    /// What it gives.
    value: String,
}

/// What the steps of a stage read.
fn in_stage(view: &View<'_>, stage: &Stage, names: &[&'static str]) -> Vec<Found> {
    let mut wrong = Vec::new();
    let mut environment = Environment { steps: &stage.steps, known: HashMap::new() };
    for run in view.runs_of(stage).iter().filter(|run| run.purpose == Purpose::Run) {
        let Some(step) = run.step else { continue };
        let number = stage.steps.partition_point(|other| other.span.start < step.span.start);
        let found = wrong_reads(view, run, names, &mut |name| environment.has(name, number));
        // With these, the shell runs a file of the image's before the script, which may set anything.
        if !found.is_empty() && !["BASH_ENV", "ENV"].iter().any(|name| environment.has(name, number)) {
            wrong.extend(found);
        }
    }
    // Where the stage below is missing, nobody knows what it would declare.
    if wrong.is_empty() || selector::missing(view, view.root(stage)).is_some() {
        return Vec::new();
    }
    report(view, wrong, "RUN")
}

/// What the triggers of a stage read in the image that is built on it by another Dockerfile.
fn triggers(
    view: &View<'_>,
    stage: &Stage,
    instructions: &[Instruction],
    names: &[&'static str],
) -> Vec<Found> {
    if stage.on_build.is_empty() {
        return Vec::new();
    }
    let mut wrong = Vec::new();
    let mut declared: Vec<&str> = Vec::new();
    // An argument of this stage is one of a stage of this file that is built on it, too.
    for step in &stage.steps {
        declared.extend(names.iter().filter(|name| step.args.get(name).is_some()));
    }
    let mut runs = view.runs_of(stage).iter().filter(|run| run.purpose == Purpose::Trigger).peekable();
    for instruction in instructions {
        let Body::Onbuild(trigger) = &instruction.body else {
            if let Body::Arg(list) = &instruction.body {
                declared.extend(list.iter().map(|arg| arg.name.text.as_str()));
            }
            continue;
        };
        match &trigger.body {
            Body::Arg(list) => declared.extend(list.iter().map(|arg| arg.name.text.as_str())),
            Body::Env(list) => declared.extend(list.iter().map(|pair| pair.name.text.as_str())),
            _ => {}
        }
        if let Some(run) = runs.next_if(|run| run.instruction.span == instruction.span) {
            let mut known = |name: &str| declared.contains(&name) || stage.env.get(name).is_some();
            wrong.extend(wrong_reads(view, run, names, &mut known));
        }
    }
    report(view, wrong, "ONBUILD RUN")
}

/// The reads of a script that give something else than they should.
fn wrong_reads<'a>(
    view: &View<'_>,
    run: &'a Run<'a>,
    names: &[&'static str],
    is_set: &mut dyn FnMut(&'static str) -> bool,
) -> Vec<Wrong<'a>> {
    // Options that let another file be read first are those of a login shell or of an interactive one.
    let option = |word: &String| !word.starts_with("--") && !word.contains(['l', 'i']);
    let plain = |word: &String| option(word) || !word.starts_with(['-', '+']);
    if !run.shell.iter().skip(1).all(plain) {
        return Vec::new();
    }
    let mut reads = shell::reads(&run.script.program, &run.script.text, names);
    for name in names {
        if reads.iter().any(|read| read.name == *name) && is_set(name) {
            reads.retain(|read| read.name != *name);
        }
    }
    let wrong = reads.into_iter().filter_map(|read| {
        let value = match read.otherwise {
            Otherwise::Empty => String::new(),
            Otherwise::Literal(text) => text,
            Otherwise::Unknown => return None,
        };
        (value != view.automatic(read.name).unwrap_or_default()).then_some(Wrong {
            name: read.name,
            run,
            range: read.range,
            value,
        })
    });
    wrong.collect()
}

/// One finding for each variable, at its first read.
fn report(view: &View<'_>, wrong: Vec<Wrong<'_>>, what: &str) -> Vec<Found> {
    let mut all: Vec<(&'static str, Found)> = Vec::new();
    let mut last: Option<(Span, bool)> = None;
    for wrong in wrong {
        // What silences a rule does so for an instruction.
        let own = wrong.run.instruction.span;
        let silent = match last {
            Some((span, silent)) if span == own => silent,
            _ => view.silence.covers(view.file, &RULES[0], own),
        };
        last = Some((own, silent));
        if silent {
            continue;
        }
        if let Some((_, first)) = all.iter_mut().find(|(name, _)| *name == wrong.name) {
            if first.related.len() < MAX_RELATED {
                let span = wrong.run.script.span(&wrong.range);
                first.related.push(Related { span, message: "read here, too".to_owned() });
            }
            continue;
        }
        let name = wrong.name;
        let span = wrong.run.script.span(&wrong.range);
        let written = wrong.run.script.text.get(wrong.range.clone()).unwrap_or(name);
        let written = if written.contains('\n') { name.to_owned() } else { shown(written) };
        let stage = if what == "RUN" { "this stage" } else { "a trigger before it" };
        let value = if wrong.value.is_empty() {
            "which is empty".to_owned()
        } else {
            format!("which is always {:?}", shown(&wrong.value))
        };
        let message = format!("{what} reads {written}, {value} without ARG {name} in {stage}");
        let mut found = Found::new(span, message);
        found.related.extend(global(view, name));
        let arg = if what == "RUN" { "ARG" } else { "ONBUILD ARG" };
        let arg = place::in_case_of(view.file, wrong.run.instruction, arg);
        let edit = place::line_before(view.file, wrong.run.instruction, &format!("{arg} {name}"));
        found.fixes.push(Fix { title: format!("Insert {arg} {name}"), safe: true, edits: vec![edit] });
        all.push((name, found));
    }
    all.into_iter().map(|(_, found)| found).collect()
}

/// The declaration before the first `FROM`, which many take for one that holds in stages.
fn global(view: &View<'_>, name: &str) -> Option<Related> {
    let mut before = view.file.instructions.iter().take_while(|it| it.keyword != Keyword::From);
    let span = before.find_map(|instruction| match &instruction.body {
        Body::Arg(list) => list.iter().find(|arg| arg.name.text == name).map(|arg| arg.name.span),
        _ => None,
    })?;
    Some(Related { span, message: "this ARG is for FROM only".to_owned() })
}

/// The environment of a stage's steps.
struct Environment<'a> {
    steps: &'a [Step],
    /// The first step that has a variable, by its name.
    known: HashMap<&'static str, usize>,
}

impl Environment<'_> {
    /// Whether a step has a variable. What is set stays so to the end of the stage, so that few steps have to be asked.
    fn has(&mut self, name: &'static str, step: usize) -> bool {
        let first = || self.steps.partition_point(|step| step.run_env.get(name).is_none());
        *self.known.entry(name).or_insert_with(first) <= step
    }
}

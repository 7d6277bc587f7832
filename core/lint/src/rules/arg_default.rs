//! `platform-arg-default`

use rbx_dockerfile::{ArgBody, Base, Body, Instruction, Keyword, Op, Span, Stage, Word};

use super::{has_variable, mentions};
use crate::finding::{Edit, Fix};
use crate::view::{Found, View};

pub(crate) fn check(view: &View<'_>) -> Vec<Found> {
    let mut all = globals(view);
    for (stage, instructions) in view.stages() {
        in_stage(view, stage, instructions, &mut all);
    }
    all
}

/// The default of a platform argument, if it is what decides.
fn default<'a>(view: &View<'_>, arg: &'a ArgBody) -> Option<(&'a Word, String)> {
    let automatic = view.automatic(&arg.name.text)?.to_owned();
    let default = arg.value.as_ref()?;
    (!view.request.build_args.contains_key(&arg.name.text)).then_some((default, automatic))
}

fn found(arg: &ArgBody, default: &Word, value: &str) -> Found {
    let name = &arg.name.text;
    let what = if value.is_empty() { "Empty default".to_owned() } else { format!("Default {value:?}") };
    let mut found = Found::new(
        arg.name.span.join(default.span),
        format!("{what} of ARG {name} replaces the automatic value"),
    );
    let span = Span { start: arg.name.span.end, end: default.span.end };
    let edits = vec![Edit { span, text: String::new() }];
    found.fixes.push(Fix { title: format!("Remove the default of {name}"), edits });
    found
}

/// The arguments before the first `FROM`. What they end up with is what counts.
fn globals(view: &View<'_>) -> Vec<Found> {
    let is_global = |instruction: &&Instruction| instruction.keyword != Keyword::From;
    let before: Vec<&Instruction> = view.file.instructions.iter().take_while(is_global).collect();
    let mut all = Vec::new();
    for name in view.names() {
        let mut args = before.iter().enumerate().flat_map(|(index, instruction)| match &instruction.body {
            Body::Arg(list) => list.iter().map(|arg| (index, arg)).collect(),
            _ => Vec::new(),
        });
        let last = args.rfind(|(_, arg)| arg.name.text == name && arg.value.is_some());
        let Some((index, arg)) = last else { continue };
        let (Some((default, automatic)), Some(value)) =
            (default(view, arg), view.evaluation.globals.get(name))
        else {
            continue;
        };
        let later = before.get(index..).unwrap_or_default();
        if *value != automatic && is_used(view, name, later) {
            all.push(found(arg, default, value));
        }
    }
    all
}

/// Whether anything takes a global argument's value.
fn is_used(view: &View<'_>, name: &str, later: &[&Instruction]) -> bool {
    let in_default = |instruction: &&Instruction| match &instruction.body {
        Body::Arg(list) => list.iter().any(|arg| {
            arg.name.text != name && arg.value.as_ref().is_some_and(|it| has_variable(&it.text, name))
        }),
        _ => false,
    };
    let declares = |instruction: &Instruction| match &instruction.body {
        Body::Arg(list) => list.iter().any(|arg| arg.name.text == name && arg.value.is_none()),
        Body::From(_) => has_variable(&instruction.code, name),
        _ => false,
    };
    later.iter().any(in_default) || view.stages().any(|(_, stage)| stage.iter().any(declares))
}

fn in_stage(view: &View<'_>, stage: &Stage, instructions: &[Instruction], all: &mut Vec<Found>) {
    for step in stage.steps.iter().filter(|step| !step.on_build) {
        let Op::Arg(values) = &step.op else { continue };
        let index = instructions.partition_point(|instruction| instruction.span.start < step.span.start);
        let Some(Body::Arg(args)) = instructions.get(index).map(|instruction| &instruction.body) else {
            continue;
        };
        for (arg, (_, value)) in args.iter().zip(values) {
            if let (Some((default, automatic)), Some(value)) = (default(view, arg), value)
                && *value != automatic
                && is_read(view, stage, &instructions[index + 1..], &arg.name.text)
            {
                all.push(found(arg, default, value));
            }
        }
    }
}

/// Whether anything after an argument of a stage can see its value: a `RUN`, which has it in its environment, or
/// what expands it, here or in a stage that is built on this one.
fn is_read(view: &View<'_>, stage: &Stage, later: &[Instruction], name: &str) -> bool {
    let sees = |instruction: &Instruction| {
        instruction.keyword == Keyword::Run || mentions(instruction, &view.file.text, name)
    };
    if later.iter().any(sees) {
        return true;
    }
    let mut above = vec![stage.index];
    for (other, instructions) in view.stages() {
        // A base always comes before.
        if let Base::Stage(base) = other.base
            && above.contains(&base)
        {
            if instructions[1..].iter().any(sees) {
                return true;
            }
            above.push(other.index);
        }
    }
    false
}

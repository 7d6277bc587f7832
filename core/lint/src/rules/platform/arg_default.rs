//! `platform-arg-default`

use std::collections::HashMap;

use rbx_dockerfile::{ArgBody, Base, Body, Instruction, Keyword, Op, Span, Stage, Word};

use super::{RULE, has_variable, mentions};
use crate::finding::{Edit, Fix, Severity, shown};
use crate::rule::{Check, Rule};
use crate::view::{Found, View};

pub(crate) static RULES: &[Rule] = &[Rule {
    name: "platform-arg-default",
    severity: Severity::Warning,
    summary: "A default replaces the value that TARGETARCH and its like have by themselves",
    explanation: include_str!("../../../rules/platform/platform-arg-default.md"),
    changes: Some("the argument gets the automatic value"),
    check: Check::EachPlatform(check),
    ..RULE
}];

fn check(view: &View<'_>) -> Vec<Found> {
    let mut all = globals(view);
    let mut sights = Sights::default();
    for (stage, instructions) in view.stages() {
        in_stage(view, stage, instructions, &mut sights, &mut all);
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
    let what =
        if value.is_empty() { "Empty default".to_owned() } else { format!("Default {:?}", shown(value)) };
    let mut found = Found::new(
        arg.name.span.join(default.span),
        format!("{what} of ARG {name} replaces the automatic value"),
    );
    let edits = without_default(arg).into_iter().collect();
    found.fixes.push(Fix { title: format!("Remove the default of {name}"), safe: true, edits });
    found
}

fn without_default(arg: &ArgBody) -> Option<Edit> {
    let span = Span { start: arg.name.span.end, end: arg.value.as_ref()?.span.end };
    Some(Edit { span, text: String::new() })
}

/// The arguments before the first `FROM`. What they end up with is what counts.
fn globals(view: &View<'_>) -> Vec<Found> {
    let is_global = |instruction: &&Instruction| instruction.keyword != Keyword::From;
    let before: Vec<&Instruction> = view.file.instructions.iter().take_while(is_global).collect();
    let mut all = Vec::new();
    for name in view.names() {
        let args = before.iter().enumerate().flat_map(|(index, instruction)| match &instruction.body {
            Body::Arg(list) => list.iter().map(|arg| (index, arg)).collect(),
            _ => Vec::new(),
        });
        let args: Vec<(usize, &ArgBody)> =
            args.filter(|(_, arg)| arg.name.text == name && arg.value.is_some()).collect();
        let Some((index, arg)) = args.last().copied() else { continue };
        let (Some((default, automatic)), Some(value)) =
            (default(view, arg), view.evaluation.globals.get(name))
        else {
            continue;
        };
        let later = before.get(index..).unwrap_or_default();
        if *value != automatic && is_used(view, name, later) {
            let mut found = found(arg, default, value);
            // A declaration without a default leaves the value of the one before it.
            found.fixes[0].edits = args.iter().filter_map(|(_, arg)| without_default(arg)).collect();
            all.push(found);
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

fn in_stage(
    view: &View<'_>,
    stage: &Stage,
    instructions: &[Instruction],
    sights: &mut Sights,
    all: &mut Vec<Found>,
) {
    for step in stage.steps.iter().filter(|step| !step.on_build) {
        let Op::Arg(values) = &step.op else { continue };
        let index = instructions.partition_point(|instruction| instruction.span.start < step.span.start);
        let Some(Body::Arg(args)) = instructions.get(index).map(|instruction| &instruction.body) else {
            continue;
        };
        for (arg, (_, value)) in args.iter().zip(values) {
            if let (Some((default, automatic)), Some(value)) = (default(view, arg), value)
                && *value != automatic
                && sights.of(view, &arg.name.text).get(stage.index).is_some_and(|last| *last > Some(index))
            {
                all.push(found(arg, default, value));
            }
        }
    }
}

/// Where values of arguments are seen: for each name, for each stage the last instruction that can see it. That is a
/// `RUN`, which has it in its environment, or what expands it; it may stand in a stage that is built on this one.
#[derive(Default)]
struct Sights(HashMap<String, Vec<Option<usize>>>);

impl Sights {
    fn of(&mut self, view: &View<'_>, name: &str) -> &[Option<usize>] {
        self.0.entry(name.to_owned()).or_insert_with(|| {
            let sees = |instruction: &Instruction| {
                instruction.keyword == Keyword::Run || mentions(instruction, &view.file.text, name)
            };
            let mut last = vec![None; view.evaluation.stages.len()];
            let stages: Vec<_> = view.stages().collect();
            // A base always comes before.
            for (stage, instructions) in stages.into_iter().rev() {
                let own = instructions.iter().skip(1).rposition(sees).map(|index| index + 1);
                let seen = own.max(last[stage.index]);
                last[stage.index] = seen;
                if let (Some(_), Base::Stage(base)) = (seen, &stage.base) {
                    last[*base] = Some(usize::MAX);
                }
            }
            last
        })
    }
}

//! Variables of `ENV`.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};

use rbx_dockerfile::{Body, Instruction, Pair, Span, Stage, Step, expand};

use super::USUAL;
use crate::finding::{Edit, Fix, Related, Severity, shown};
use crate::rule::{Check, Rule};
use crate::view::{Found, View};

pub(crate) static RULES: &[Rule] = &[Rule {
    name: "DL3044",
    severity: Severity::Warning,
    summary: "ENV uses a variable that the same ENV sets",
    explanation: include_str!("../../../rules/hadolint/DL3044.md"),
    changes: Some("the variable gets the value that was meant"),
    check: Check::Once(check),
    ..USUAL
}];

/// Variables that images have by themselves: an `ENV` that uses one means the one of the base.
const INHERITED: [&str; 6] = ["HOME", "HOSTNAME", "LANG", "PATH", "PWD", "TERM"];

fn check(view: &View<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for (stage, instructions) in view.all_stages() {
        // BuildKit's check of variables that nobody sets says it where everything about the base is known.
        let told = stage.base_known
            && crate::rule::rule("UndefinedVar")
                .is_some_and(|it| view.request.settings.severity(it).is_some());
        if told {
            continue;
        }
        let mut declared: BTreeSet<&str> = BTreeSet::new();
        for instruction in instructions {
            match &instruction.body {
                Body::Arg(list) => declared.extend(list.iter().map(|arg| arg.name.text.as_str())),
                Body::Env(pairs) if pairs.len() > 1 => {
                    if let Some(step) = step(stage, instruction) {
                        let is_set = |name: &str| declared.contains(name) || step.run_env.get(name).is_some();
                        found.extend(in_env(view, instruction, pairs, &is_set));
                    }
                }
                _ => {}
            }
        }
    }
    found
}

fn step<'a>(stage: &'a Stage, instruction: &Instruction) -> Option<&'a Step> {
    // Triggers of the base come first, and have the place of the `FROM`.
    let index = stage.steps.partition_point(|step| step.span.start < instruction.span.start);
    stage.steps.get(index).filter(|step| step.span == instruction.span)
}

fn in_env(
    view: &View<'_>,
    instruction: &Instruction,
    pairs: &[Pair],
    is_set: &dyn Fn(&str) -> bool,
) -> Vec<Found> {
    let mut all = Vec::new();
    let set: HashMap<&str, usize> =
        pairs.iter().enumerate().rev().map(|(index, pair)| (pair.name.text.as_str(), index)).collect();
    for (index, pair) in pairs.iter().enumerate() {
        for name in reads(view, pair) {
            let number = set.get(name.as_str()).copied().filter(|number| *number != index);
            let Some((number, other)) = number.and_then(|it| Some((it, pairs.get(it)?))) else { continue };
            if is_set(&name) || INHERITED.contains(&name.as_str()) {
                continue;
            }
            let written = shown(&name);
            let message = format!("${written} is not yet what the same ENV sets it to");
            let mut found = Found::new(pair.value.span, message);
            let span = other.name.span;
            found.related.push(Related { span, message: "it is set here".to_owned() });
            if number < index {
                found.fixes.extend(split(view, instruction, pairs, index));
            }
            all.push(found);
        }
    }
    all
}

/// The variables that a value has in it.
fn reads(view: &View<'_>, pair: &Pair) -> BTreeSet<String> {
    let names = RefCell::new(BTreeSet::new());
    let lookup = |name: &str| {
        names.borrow_mut().insert(name.to_owned());
        None
    };
    // A value that makes no sense is a finding of the language.
    drop(expand(&pair.value.text, view.file.escape, &lookup));
    names.into_inner()
}

/// Ends the `ENV` before a pair, and begins another.
fn split(view: &View<'_>, instruction: &Instruction, pairs: &[Pair], index: usize) -> Option<Fix> {
    let (before, pair) = (pairs.get(index.checked_sub(1)?)?, pairs.get(index)?);
    let gap = Span { start: before.value.span.end, end: pair.name.span.start };
    let between = gap.slice(&view.file.text);
    // A comment between them would be lost.
    if between.is_empty() || !between.chars().all(|c| c.is_whitespace() || c == view.file.escape) {
        return None;
    }
    let line = view.file.line_index.line_of(instruction.span.start);
    let line = view.file.line_index.span_of(line)?.slice(&view.file.text);
    let newline = if line.ends_with("\r\n") { "\r\n" } else { "\n" };
    let keyword = instruction.keyword_span.slice(&view.file.text);
    Some(Fix {
        title: format!("Begin another {keyword} before {}", shown(&pair.name.text)),
        safe: true,
        edits: vec![Edit { span: gap, text: format!("{newline}{keyword} ") }],
    })
}

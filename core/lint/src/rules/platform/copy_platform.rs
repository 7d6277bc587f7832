//! `copy-platform-flag`

use std::collections::BTreeSet;

use rbx_dockerfile::{Body, Dockerfile, Flag, Instruction, Keyword, Span, Stage};

use super::RULE;
use crate::finding::{Edit, Fix, Severity, shown};
use crate::place;
use crate::rule::{Check, Rule};
use crate::view::{Found, View};

/// Names that are tried for a new stage, at most.
const MAX_NAMES: usize = 100;

pub(crate) static RULES: &[Rule] = &[Rule {
    name: "copy-platform-flag",
    severity: Severity::Error,
    summary: "COPY and ADD have no --platform",
    explanation: include_str!("../../../rules/platform/copy-platform-flag.md"),
    changes: Some("a build that failed does not"),
    check: Check::Once(check),
    ..RULE
}];

fn check(view: &View<'_>) -> Vec<Found> {
    let mut all = Vec::new();
    let names = names(view.file);
    // Stages that are not built, too: the text is read as a whole.
    for (stage, instructions) in view.evaluation.stages.iter().zip(view.file.stages()) {
        for instruction in instructions {
            if matches!(instruction.keyword, Keyword::Copy | Keyword::Add)
                && let Some(flag) = instruction.flag("platform")
            {
                all.push(found(view, &names, stage, instruction, flag));
            }
        }
    }
    all
}

fn found(
    view: &View<'_>,
    names: &BTreeSet<String>,
    stage: &Stage,
    instruction: &Instruction,
    flag: &Flag,
) -> Found {
    let keyword = instruction.keyword.name();
    let mut found = Found::new(flag.name.span, format!("{keyword} has no --platform, only FROM has"));
    let from = instruction.flag("from");
    found.fixes.extend(from.and_then(|from| through_stage(view, names, stage, flag, from)));
    // Files of the context are the same for every platform.
    let edits = vec![place::without_flag(view.file, flag)];
    found.fixes.push(Fix { title: "Remove --platform".to_owned(), safe: from.is_none(), edits });
    found
}

/// Takes the files from a new stage, which is the image on that platform.
fn through_stage(
    view: &View<'_>,
    taken: &BTreeSet<String>,
    stage: &Stage,
    flag: &Flag,
    from: &Flag,
) -> Option<Fix> {
    let text = &view.file.text;
    let (value, image) = (flag.value.as_ref()?, from.value.as_ref()?);
    let number = image.text.parse::<usize>();
    let is_stage = taken.contains(&image.text.to_lowercase())
        || number.is_ok_and(|number| number < view.evaluation.stages.len());
    let is_context = view.request.named_contexts.contains(&image.text);
    // Of variables, only those that are there by themselves are known to a FROM.
    let names = value.text.match_indices('$').map(|(at, _)| value.text[at + 1..].trim_start_matches('{'));
    let known = names.clone().all(|rest| view.names().any(|name| name_of(rest) == name));
    if is_stage || is_context || !known || image.text.contains('$') || value.text.is_empty() {
        return None;
    }
    let name = new_name(taken, &image.text)?;
    let own = view.from(stage)?;
    let (keyword, r#as) =
        (place::in_case_of(view.file, own, "FROM"), place::in_case_of(view.file, own, "AS"));
    let line = format!("{keyword} --platform={} {} {as} {name}", value.text, image.text);
    let insert = place::line_before(view.file, own, &line);
    let replace = Edit { span: image.span, text: name };
    let mut edits = vec![insert, place::without_flag(view.file, flag), replace];
    edits.sort_by_key(|edit| edit.span);
    // Quotes and line breaks inside a flag are left to whoever wrote them.
    let plain = |span: Span| !span.slice(text).contains(['"', '\'', '\\', '\n', '`']);
    (plain(flag.span) && plain(from.span)).then(|| Fix {
        title: format!(
            "Take {} from a stage of its own, with --platform={}",
            shown(&image.text),
            shown(&value.text)
        ),
        safe: true,
        edits,
    })
}

/// The names of stages.
fn names(file: &Dockerfile) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for instruction in &file.instructions {
        if let Body::From(body) = &instruction.body {
            names.extend(body.name.as_ref().map(|name| name.text.to_lowercase()));
        }
    }
    names
}

/// The name at the start of a text.
fn name_of(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// A name for a stage that is an image: the image's own, without what stands before and behind it.
fn new_name(taken: &BTreeSet<String>, image: &str) -> Option<String> {
    let last = image.split('@').next().unwrap_or_default().rsplit('/').next().unwrap_or_default();
    let base: String =
        last.split(':')
            .next()
            .unwrap_or_default()
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c.to_ascii_lowercase() } else { '-' }
            })
            .collect();
    let base =
        if base.starts_with(|c: char| c.is_ascii_lowercase()) { base } else { format!("image-{base}") };
    let names = std::iter::once(format!("{base}-files"));
    let names = names.chain((2..MAX_NAMES).map(|number| format!("{base}-files-{number}")));
    names.into_iter().find(|name| !taken.contains(name))
}

//! The user that the image runs as.

use rbx_dockerfile::{Body, Op, Span, Stage};

use super::USUAL;
use crate::finding::shown;
use crate::rule::{Check, Rule};
use crate::view::{Found, View};

pub(crate) static RULES: &[Rule] = &[
    Rule {
        name: "DL3002",
        summary: "The image runs as root, because its last USER says so",
        explanation: include_str!("../../../rules/hadolint/DL3002.md"),
        check: Check::Once(root),
        ..USUAL
    },
    Rule {
        name: "DL3066",
        summary: "The image's user is a name rather than a number",
        explanation: include_str!("../../../rules/hadolint/DL3066.md"),
        check: Check::Once(name),
        ..USUAL
    },
];

/// The last `USER` of the image: where the user stands, and what it is without a group.
fn last(view: &View<'_>) -> Option<(Span, String)> {
    let of_stage = |stage: &Stage| {
        stage.steps.iter().rev().find_map(|step| match &step.op {
            Op::User(user) if !step.on_build => Some((step.span, user.clone())),
            _ => None,
        })
    };
    let (span, user) = view.lineage(view.target()?).find_map(of_stage)?;
    let Body::User(word) = &view.file.instruction_at(span.start)?.body else { return None };
    let name = user.split(':').next().unwrap_or_default().to_owned();
    Some((word.span, name))
}

fn is_root(user: &str) -> bool {
    user == "root" || user == "0"
}

fn root(view: &View<'_>) -> Vec<Found> {
    let found = last(view).filter(|(_, user)| is_root(user));
    found.map(|(span, _)| Found::new(span, "The image runs as root")).into_iter().collect()
}

fn name(view: &View<'_>) -> Vec<Found> {
    let is_number = |user: &str| user.chars().all(|c| c.is_ascii_digit());
    let found = last(view).filter(|(_, user)| !is_root(user) && !is_number(user));
    found
        .map(|(span, user)| {
            let message = format!("{} is a name, of which nobody outside knows the number", shown(&user));
            Found::new(span, message)
        })
        .into_iter()
        .collect()
}

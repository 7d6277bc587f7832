//! Comments that silence rules.

use super::USUAL;
use crate::rule::{Check, Rule};
use crate::silence::{Pragma, Scope};
use crate::view::{Found, View};

pub(crate) static RULES: &[Rule] = &[Rule {
    name: "DL1001",
    enabled: false,
    summary: "A comment silences rules for an instruction",
    explanation: include_str!("../../../rules/hadolint/DL1001.md"),
    check: Check::Once(check),
    ..USUAL
}];

fn check(view: &View<'_>) -> Vec<Found> {
    let pragmas =
        view.file.comments.iter().filter_map(|comment| Some((comment, Pragma::read(&comment.text)?)));
    let narrow = pragmas.filter(|(_, pragma)| pragma.scope == Scope::Instruction);
    narrow.map(|(comment, _)| Found::new(comment.span, "This comment silences rules")).collect()
}

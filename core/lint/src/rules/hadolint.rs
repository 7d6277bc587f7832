//! What hadolint looks for, under its numbers. Where BuildKit has the same check, that one is known by the number, too.

mod apt;
mod called;
mod commands;
mod comments;
mod copies;
mod environment;
mod health;
mod images;
mod labels;
mod users;

use crate::finding::Severity;
use crate::rule::{Family, Rule};

pub(crate) static RULES: &[&[Rule]] = &[
    apt::RULES,
    commands::RULES,
    comments::RULES,
    copies::RULES,
    environment::RULES,
    health::RULES,
    images::RULES,
    labels::RULES,
    users::RULES,
];

/// What these rules have in common: most of what they find is often right, or can be lived with.
const USUAL: Rule = Rule { family: Family::Hadolint, severity: Severity::Info, enabled: true, ..Rule::NONE };

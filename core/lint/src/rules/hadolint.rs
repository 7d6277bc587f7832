//! What hadolint looks for, under its numbers. Where BuildKit has the same check, that one is known by the number, too.

mod apt;
mod called;
mod commands;
mod comments;
mod copies;
mod distributions;
mod environment;
mod health;
mod images;
mod labels;
mod languages;
mod layers;
mod managers;
mod shells;
mod users;

use crate::finding::Severity;
use crate::rule::{Family, Rule};

pub(crate) static RULES: &[&[Rule]] = &[
    apt::RULES,
    commands::RULES,
    comments::RULES,
    copies::RULES,
    distributions::RULES,
    environment::RULES,
    health::RULES,
    images::RULES,
    labels::RULES,
    languages::RULES,
    layers::RULES,
    shells::RULES,
    users::RULES,
];

/// What these rules have in common: most of what they find is often right, or can be lived with.
const USUAL: Rule = Rule { family: Family::Hadolint, severity: Severity::Info, enabled: true, ..Rule::NONE };

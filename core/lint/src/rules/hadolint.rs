//! What hadolint looks for, under its numbers. Where BuildKit has the same check, that one is known by the number, too.

mod apt;
mod called;
mod commands;

use crate::rule::Rule;

pub(crate) static RULES: &[&[Rule]] = &[apt::RULES, commands::RULES];

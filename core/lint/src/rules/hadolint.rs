//! What hadolint looks for, under its numbers. Where BuildKit has the same check, that one is known by the number, too.

use crate::rule::Rule;

pub(crate) static RULES: &[&[Rule]] = &[];

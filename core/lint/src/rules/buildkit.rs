//! BuildKit's checks, under its names and in its words.

use crate::rule::Rule;

pub(crate) static RULES: &[&[Rule]] = &[];

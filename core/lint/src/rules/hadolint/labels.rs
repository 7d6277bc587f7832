//! Labels.

use rbx_dockerfile::{Body, Pair};

use super::USUAL;
use crate::finding::{Severity, shown};
use crate::rule::{Check, Rule};
use crate::view::{Found, View};

pub(crate) static RULES: &[Rule] = &[Rule {
    name: "DL3048",
    severity: Severity::Style,
    summary: "A label's name is not as Docker recommends",
    explanation: include_str!("../../../rules/hadolint/DL3048.md"),
    check: Check::Once(names),
    ..USUAL
}];

/// Names that begin so are Docker's own.
const RESERVED: [&str; 3] = ["com.docker.", "io.docker.", "org.dockerproject."];

/// The labels that are set, with their names where those have no variables.
fn labels<'a>(view: &View<'a>) -> impl Iterator<Item = (&'a Pair, String)> {
    let instructions = view.file.instructions.iter();
    let pairs = instructions.filter_map(|instruction| match &instruction.body {
        Body::Label(pairs) => Some(pairs),
        _ => None,
    });
    pairs.flatten().filter_map(|pair| Some((pair, view.literal(&pair.name)?)))
}

fn names(view: &View<'_>) -> Vec<Found> {
    let mut all = Vec::new();
    for (pair, name) in labels(view) {
        if let Some(reason) = wrong_name(&name) {
            all.push(Found::new(pair.name.span, format!("The name of the label {} {reason}", shown(&name))));
        }
    }
    all
}

/// What is wrong with a label's name.
fn wrong_name(name: &str) -> Option<&'static str> {
    let is_end = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if RESERVED.iter().any(|start| name.starts_with(start)) {
        Some("is reserved for Docker")
    } else if name.contains(|c: char| !is_end(c) && !matches!(c, '.' | '-' | '_' | '/')) {
        Some("has other characters than a-z, 0-9, '.', '-', '_' and '/'")
    } else if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        Some("does not begin with a letter")
    } else if !name.ends_with(is_end) {
        Some("ends in neither a letter nor a digit")
    } else if name.contains("..") || name.contains("--") {
        Some("has a part without a name")
    } else {
        None
    }
}

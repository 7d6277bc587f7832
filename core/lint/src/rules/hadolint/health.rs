//! Health checks.

use rbx_dockerfile::Keyword;

use super::USUAL;
use crate::rule::{Check, Rule};
use crate::view::{Found, View};

pub(crate) static RULES: &[Rule] = &[Rule {
    name: "DL3057",
    enabled: false,
    summary: "The image has no HEALTHCHECK",
    explanation: include_str!("../../../rules/hadolint/DL3057.md"),
    check: Check::Once(check),
    ..USUAL
}];

fn check(view: &View<'_>) -> Vec<Found> {
    let Some(target) = view.target() else { return Vec::new() };
    let stages: Vec<_> = view.file.stages().collect();
    let instructions = view.lineage(target).filter_map(|stage| stages.get(stage.index).copied());
    if instructions.flatten().any(|instruction| instruction.keyword == Keyword::Healthcheck) {
        return Vec::new();
    }
    let from = view.from(target).map(|from| Found::new(from.span, "This image has no HEALTHCHECK"));
    from.into_iter().collect()
}

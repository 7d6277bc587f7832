//! `syntax-digest-single-arch`

use super::RULE;
use super::base::{pin_index, short};
use crate::facts::{ImageFacts, accepts, syntax_image};
use crate::finding::Severity;
use crate::rule::{Check, Rule};
use crate::view::{Found, View};

pub(crate) static RULES: &[Rule] = &[Rule {
    name: "syntax-digest-single-arch",
    severity: Severity::Warning,
    summary: "The front end is pinned to the digest of one platform's image",
    explanation: include_str!("../../../rules/platform/syntax-digest-single-arch.md"),
    check: Check::Once(check),
    ..RULE
}];

fn check(view: &View<'_>) -> Vec<Found> {
    found(view).into_iter().collect()
}

fn found(view: &View<'_>) -> Option<Found> {
    let name = syntax_image(view.file).filter(|name| name.contains('@'))?;
    let ImageFacts::Manifest { digest, platform: Some(only) } = view.facts.images.get(name)? else {
        return None;
    };
    let span = view.file.directives.syntax.as_ref()?.value_span;
    let mut found = Found::new(
        span,
        format!("{} is one image, and only builders of {only} run this front end", short(name)),
    );
    // On this machine it may be fine.
    found.severity = accepts(&view.request.build_platform, only).then_some(Severity::Info);
    found.fixes.extend(pin_index(view, name, digest, span));
    Some(found)
}

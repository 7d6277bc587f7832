//! Names of base images.

use rbx_dockerfile::{Base, Body, Word};

use super::USUAL;
use crate::finding::shown;
use crate::rule::{Check, Rule};
use crate::view::{Found, View};

pub(crate) static RULES: &[Rule] = &[
    Rule {
        name: "DL3006",
        summary: "FROM names an image without a tag",
        explanation: include_str!("../../../rules/hadolint/DL3006.md"),
        check: Check::Once(untagged),
        ..USUAL
    },
    Rule {
        name: "DL3007",
        summary: "FROM names an image with the tag latest",
        explanation: include_str!("../../../rules/hadolint/DL3007.md"),
        check: Check::Once(latest),
        ..USUAL
    },
];

/// The images that stages begin with, as written, which have no digest.
fn images<'a>(view: &View<'a>) -> impl Iterator<Item = &'a Word> {
    let stages = view.evaluation.stages.iter().filter(|stage| matches!(stage.base, Base::Image(_)));
    let images = stages.filter_map(|stage| match &view.from(stage)?.body {
        Body::From(body) => Some(&body.image),
        _ => None,
    });
    images.filter(|image| !image.text.contains('@'))
}

/// What follows the last slash: a registry may have a colon of its own.
fn last(image: &Word) -> &str {
    image.text.rsplit('/').next().unwrap_or_default()
}

fn untagged(view: &View<'_>) -> Vec<Found> {
    let found = images(view).filter(|image| !last(image).contains([':', '$']));
    found
        .map(|image| {
            let message = format!("{} has no tag, so that it is whatever is newest", shown(&image.text));
            Found::new(image.span, message)
        })
        .collect()
}

fn latest(view: &View<'_>) -> Vec<Found> {
    let found = images(view).filter(|image| last(image).ends_with(":latest"));
    found
        .map(|image| {
            let message = format!("{} is another image from time to time", shown(&image.text));
            Found::new(image.span, message)
        })
        .collect()
}

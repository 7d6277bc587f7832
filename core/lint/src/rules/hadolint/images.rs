//! Names of base images.

use rbx_dockerfile::{Base, Body, From, Op, Span, Word};

use super::USUAL;
use crate::finding::{Severity, shown};
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
    Rule {
        name: "DL3026",
        severity: Severity::Warning,
        summary: "An image is not from a registry that the configuration trusts",
        explanation: include_str!("../../../rules/hadolint/DL3026.md"),
        check: Check::EachPlatform(untrusted),
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

fn untrusted(view: &View<'_>) -> Vec<Found> {
    let trusted = &view.request.settings.trusted_registries;
    if trusted.is_empty() {
        return Vec::new();
    }
    let mut all = Vec::new();
    let mut look = |image: &str, written: &str, span: Span| {
        let registry = registry(image);
        if !trusted.iter().any(|pattern| is_covered(pattern, registry)) {
            let message = format!("{} is from {}, which is not trusted", shown(written), shown(registry));
            all.push(Found::new(span, message));
        }
    };
    for (stage, _) in view.stages() {
        if let (Base::Image(image), Some(Body::From(body))) =
            (&stage.base, view.from(stage).map(|it| &it.body))
        {
            look(image, &body.image.text, body.image.span);
        }
        for step in stage.steps.iter().filter(|step| !step.on_build) {
            let sources: Vec<&From> = match &step.op {
                Op::Copy(copy) => vec![&copy.from],
                Op::Run(run) => run.mounts.iter().map(|mount| &mount.from).collect(),
                _ => Vec::new(),
            };
            for source in sources {
                if let From::Image(image) = source {
                    look(image, image, step.span);
                }
            }
        }
    }
    all
}

/// The registry that an image comes from.
fn registry(image: &str) -> &str {
    match image.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => match first {
            "index.docker.io" | "registry-1.docker.io" | "hub.docker.com" => "docker.io",
            other => other,
        },
        _ => "docker.io",
    }
}

/// Whether a pattern with a `*` at one of its ends has a registry in it.
fn is_covered(pattern: &str, registry: &str) -> bool {
    if let Some(end) = pattern.strip_prefix('*') {
        registry.ends_with(end)
    } else if let Some(start) = pattern.strip_suffix('*') {
        registry.starts_with(start)
    } else {
        pattern == registry || (pattern == "hub.docker.com" && registry == "docker.io")
    }
}

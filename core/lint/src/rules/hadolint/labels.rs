//! Labels.

use std::collections::BTreeSet;

use jiff::Timestamp;
use rbx_dockerfile::{Body, Instruction, Pair};

use super::USUAL;
use crate::finding::{Severity, shown};
use crate::rule::{Check, Rule};
use crate::settings::LabelKind;
use crate::view::{Found, View};

pub(crate) static RULES: &[Rule] = &[
    Rule {
        name: "DL3048",
        severity: Severity::Style,
        summary: "A label's name is not as Docker recommends",
        explanation: include_str!("../../../rules/hadolint/DL3048.md"),
        check: Check::Once(names),
        ..USUAL
    },
    Rule {
        name: "DL3049",
        summary: "The image lacks a label that the configuration asks for",
        explanation: include_str!("../../../rules/hadolint/DL3049.md"),
        check: Check::Once(missing),
        ..USUAL
    },
    Rule {
        name: "DL3050",
        summary: "There is a label that the configuration does not name",
        explanation: include_str!("../../../rules/hadolint/DL3050.md"),
        check: Check::Once(superfluous),
        ..USUAL
    },
    Rule {
        name: "DL3051",
        summary: "A label that the configuration asks for is empty",
        explanation: include_str!("../../../rules/hadolint/DL3051.md"),
        check: Check::Once(empty),
        ..ASKED
    },
    Rule {
        name: "DL3052",
        summary: "A label is to be a URL, and is none",
        explanation: include_str!("../../../rules/hadolint/DL3052.md"),
        check: Check::Once(|view| wrong(view, LabelKind::Url)),
        ..ASKED
    },
    Rule {
        name: "DL3053",
        summary: "A label is to be a time, and is none",
        explanation: include_str!("../../../rules/hadolint/DL3053.md"),
        check: Check::Once(|view| wrong(view, LabelKind::Time)),
        ..ASKED
    },
    Rule {
        name: "DL3054",
        summary: "A label is to be a licence, and is none",
        explanation: include_str!("../../../rules/hadolint/DL3054.md"),
        check: Check::Once(|view| wrong(view, LabelKind::License)),
        ..ASKED
    },
    Rule {
        name: "DL3055",
        summary: "A label is to be the hash of a commit, and is none",
        explanation: include_str!("../../../rules/hadolint/DL3055.md"),
        check: Check::Once(|view| wrong(view, LabelKind::Commit)),
        ..ASKED
    },
    Rule {
        name: "DL3056",
        summary: "A label is to be a version, and is none",
        explanation: include_str!("../../../rules/hadolint/DL3056.md"),
        check: Check::Once(|view| wrong(view, LabelKind::Version)),
        ..ASKED
    },
    Rule {
        name: "DL3058",
        summary: "A label is to be an e-mail address, and is none",
        explanation: include_str!("../../../rules/hadolint/DL3058.md"),
        check: Check::Once(|view| wrong(view, LabelKind::Email)),
        ..ASKED
    },
];

/// Rules that find what somebody asked for in so many words.
const ASKED: Rule = Rule { severity: Severity::Warning, ..USUAL };

/// Names that begin so are Docker's own.
const RESERVED: [&str; 3] = ["com.docker.", "io.docker.", "org.dockerproject."];

/// The labels that are set, with their names where those have no variables.
fn labels<'a>(view: &View<'a>) -> impl Iterator<Item = (&'a Pair, String)> {
    in_instructions(view, &view.file.instructions)
}

fn in_instructions<'a>(
    view: &View<'a>,
    instructions: &'a [Instruction],
) -> impl Iterator<Item = (&'a Pair, String)> {
    let pairs = instructions.iter().filter_map(|instruction| match &instruction.body {
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

fn missing(view: &View<'_>) -> Vec<Found> {
    let wanted = &view.request.settings.labels;
    let Some(target) = view.target().filter(|_| !wanted.is_empty()) else { return Vec::new() };
    let stages: Vec<_> = view.file.stages().collect();
    let of_image = view.lineage(target).filter_map(|stage| stages.get(stage.index).copied());
    let there: BTreeSet<String> =
        of_image.flat_map(|instructions| in_instructions(view, instructions)).map(|(_, name)| name).collect();
    let Some(from) = view.from(target) else { return Vec::new() };
    let missing = wanted.keys().filter(|name| !there.contains(*name));
    missing.map(|name| Found::new(from.span, format!("This image has no label {}", shown(name)))).collect()
}

fn superfluous(view: &View<'_>) -> Vec<Found> {
    let settings = &view.request.settings;
    if !settings.strict_labels {
        return Vec::new();
    }
    let others = labels(view).filter(|(_, name)| !settings.labels.contains_key(name));
    others
        .map(|(pair, name)| {
            let message = format!("The configuration does not name the label {}", shown(&name));
            Found::new(pair.name.span, message)
        })
        .collect()
}

fn empty(view: &View<'_>) -> Vec<Found> {
    let wanted = labels(view).filter(|(_, name)| view.request.settings.labels.contains_key(name));
    let empty = wanted.filter(|(pair, _)| view.literal(&pair.value).is_some_and(|value| value.is_empty()));
    empty
        .map(|(pair, name)| Found::new(pair.name.span, format!("The label {} is empty", shown(&name))))
        .collect()
}

/// What is not of the kind that it is to be. Of what has variables in it nobody knows, and what is empty is found by
/// another rule.
fn wrong(view: &View<'_>, kind: LabelKind) -> Vec<Found> {
    let mut all = Vec::new();
    for (pair, name) in labels(view).filter(|(_, name)| view.request.settings.labels.get(name) == Some(&kind))
    {
        let value = view.literal(&pair.value).filter(|value| !value.is_empty());
        if let Some(value) = value.filter(|value| !is_kind(kind, value)) {
            let message = format!("{} of the label {} is not {}", shown(&value), shown(&name), what(kind));
            all.push(Found::new(pair.value.span, message));
        }
    }
    all
}

fn what(kind: LabelKind) -> &'static str {
    match kind {
        LabelKind::Text => "a text",
        LabelKind::Url => "a URL",
        LabelKind::Time => "a time such as 2026-01-31T12:00:00Z",
        LabelKind::License => "a licence of SPDX",
        LabelKind::Commit => "a commit of git, 40 or 7 digits and letters from a to f",
        LabelKind::Version => "a version such as 1.2.3",
        LabelKind::Email => "an e-mail address",
    }
}

fn is_kind(kind: LabelKind, value: &str) -> bool {
    match kind {
        LabelKind::Text => true,
        LabelKind::Url => is_url(value),
        LabelKind::Time => is_time(value),
        LabelKind::License => spdx::Expression::parse(value).is_ok(),
        LabelKind::Commit => {
            matches!(value.len(), 7 | 40) && value.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'))
        }
        LabelKind::Version => semver::Version::parse(value).is_ok(),
        LabelKind::Email => is_email(value),
    }
}

/// A scheme, and something after it.
fn is_url(value: &str) -> bool {
    let Some((scheme, rest)) = value.split_once(':') else { return false };
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
        && !rest.trim_start_matches('/').is_empty()
        && rest.chars().all(|c| c.is_ascii_graphic())
}

/// RFC 3339, of which other notations of ISO 8601 are no part.
fn is_time(value: &str) -> bool {
    let bytes = value.as_bytes();
    let mark = |at: usize, marks: &[u8]| bytes.get(at).is_some_and(|byte| marks.contains(byte));
    mark(4, b"-")
        && mark(7, b"-")
        && mark(10, b"Tt ")
        && mark(13, b":")
        && mark(16, b":")
        && value.parse::<Timestamp>().is_ok()
}

/// A name, `@` and a domain.
fn is_email(value: &str) -> bool {
    let Some((name, domain)) = value.rsplit_once('@') else { return false };
    let is_text = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '@' | ',' | '<' | '>');
    !name.is_empty()
        && name.chars().all(is_text)
        && domain.split('.').all(|label| {
            !label.is_empty()
                && label.chars().all(|c| c.is_alphanumeric() || c == '-')
                && !label.starts_with('-')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_labels_are_told() {
        for (kind, right, wrong) in [
            (
                LabelKind::Url,
                &["https://example.com", "mailto:a@b"][..],
                &["example.com", "https://", "a b:c", ":a"][..],
            ),
            (
                LabelKind::Time,
                &["2026-01-31T12:00:00Z", "2026-01-31t12:00:00.5+02:00"],
                &["2026-01-31", "20260131T120000Z", "2026-13-31T12:00:00Z", "2026-01-31T12:00:00", "é"],
            ),
            (LabelKind::License, &["MIT", "Apache-2.0 OR MIT"], &["Apache 2", "none"]),
            (
                LabelKind::Commit,
                &["0123456789abcdef0123456789abcdef01234567", "abcdef0"],
                &["abcdef", "ABCDEF0"],
            ),
            (LabelKind::Version, &["1.2.3", "1.2.3-rc.1+x"], &["1.2", "v1.2.3"]),
            (LabelKind::Email, &["a.b+c@example.com", "a@localhost"], &["a", "@b", "a@", "a b@c", "a@b..c"]),
        ] {
            for text in right {
                assert!(is_kind(kind, text), "{kind:?} {text}");
            }
            for text in wrong {
                assert!(!is_kind(kind, text), "{kind:?} {text}");
            }
        }
    }
}

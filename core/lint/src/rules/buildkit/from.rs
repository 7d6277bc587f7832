//! What BuildKit warns of when it expands a `FROM`: `InvalidDefaultArgInFrom`, `UndefinedArgInFrom`,
//! `RedundantTargetPlatform`, `FromPlatformFlagConstDisallowed`, `InvalidBaseImagePlatform`

use rbx_dockerfile::{Base, Body, Instruction, Keyword, Stage, Undefined, go_quoted};
use rbx_oci::Reference;
use rbx_platform::Platform;

use super::{Checked, Places, RULE, Turn, Warning, respelt};
use crate::finding::Fix;
use crate::place;
use crate::rule::Rule;
use crate::view::Found;

const DEFAULT: &str = "InvalidDefaultArgInFrom";
const UNDEFINED: &str = "UndefinedArgInFrom";
const REDUNDANT: &str = "RedundantTargetPlatform";
const CONSTANT: &str = "FromPlatformFlagConstDisallowed";
const BASE: &str = "InvalidBaseImagePlatform";

pub(crate) static RULES: &[Rule] = &[
    Rule {
        name: DEFAULT,
        summary: "Default value for global ARG results in an empty or invalid base image name",
        explanation: include_str!("../../../rules/buildkit/InvalidDefaultArgInFrom.md"),
        ..RULE
    },
    Rule {
        name: UNDEFINED,
        summary: "FROM command must use declared ARGs",
        explanation: include_str!("../../../rules/buildkit/UndefinedArgInFrom.md"),
        ..RULE
    },
    Rule {
        name: REDUNDANT,
        aliases: &["DL3065"],
        summary: "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
        explanation: include_str!("../../../rules/buildkit/RedundantTargetPlatform.md"),
        ..RULE
    },
    Rule {
        name: CONSTANT,
        aliases: &["DL3029"],
        summary: "FROM --platform flag should not use a constant value",
        explanation: include_str!("../../../rules/buildkit/FromPlatformFlagConstDisallowed.md"),
        ..RULE
    },
    Rule {
        name: BASE,
        summary: "Base image platform does not match expected target platform",
        explanation: include_str!("../../../rules/buildkit/InvalidBaseImagePlatform.md"),
        ..RULE
    },
];

pub(super) fn walk(checked: &Checked<'_>, all: &mut Vec<Warning>) {
    for (stage, instructions) in checked.stages() {
        let from = &instructions[0];
        let (Some(name), Body::From(body)) = (&stage.from.default_base, &from.body) else { continue };
        if Reference::parse(name).is_err() {
            let message = format!(
                "Default value for ARG {} results in empty or invalid base image name",
                body.image.text
            );
            let found = Found::new(body.image.span, message);
            all.push(Warning::new(DEFAULT, Turn::Defaults, from.span, found).regardless());
        }
    }
    let mut places = Places::default();
    for (stage, instructions) in checked.stages() {
        let from = &instructions[0];
        let add = |rule, found| Warning::new(rule, Turn::From(stage.index), from.span, found);
        for undefined in &stage.from.undeclared {
            all.push(add(UNDEFINED, undeclared(checked, undefined, &mut places)));
        }
        all.extend(redundant(checked, stage, from).map(|found| add(REDUNDANT, found)));
        all.extend(constant(stage, from).map(|found| add(CONSTANT, found)));
    }
    for (stage, instructions) in checked.stages() {
        if let Some(found) = base(checked, stage, &instructions[0]) {
            all.push(Warning::new(BASE, Turn::Bases, instructions[0].span, found).regardless());
        }
    }
}

fn undeclared(checked: &Checked<'_>, undefined: &Undefined, places: &mut Places) -> Found {
    let mut message = format!("FROM argument '{}' is not declared", undefined.name);
    if let Some(nearest) = &undefined.nearest {
        message = format!("{message} (did you mean {nearest}?)");
    }
    let places = places.of(checked.file, undefined.span, &undefined.name);
    let mut found = Found::new(places.first().copied().unwrap_or(undefined.span), message);
    found.fixes.extend(respelt(places, undefined.nearest.as_deref()));
    found
}

fn redundant(checked: &Checked<'_>, stage: &Stage, from: &Instruction) -> Option<Found> {
    const NAME: &str = "TARGETPLATFORM";
    let expanded = stage.from.platform.as_ref()?;
    let flag = from.flag("platform")?;
    let alone = expanded.missing.is_empty() && matches!(expanded.found.as_slice(), [one] if one == NAME);
    if !alone || checked.evaluation.globals.get(NAME) != Some(&expanded.text) {
        return None;
    }
    let message = format!(
        "Setting platform to predefined {} in FROM is redundant as this is the default behavior",
        flag.value.as_ref().map_or("", |value| value.text.as_str())
    );
    let mut found = Found::new(flag.span, message);
    // An ARG before may set it to the platform of this evaluation, and to no other's.
    let file = checked.file;
    let mut before = file.instructions.iter().take_while(|before| before.keyword != Keyword::From);
    found.fixes.push(Fix {
        title: "Remove the flag".to_owned(),
        safe: !before.any(|before| before.span.slice(&file.text).contains(NAME)),
        edits: vec![place::without_flag(checked.file, flag)],
    });
    Some(found)
}

fn constant(stage: &Stage, from: &Instruction) -> Option<Found> {
    let expanded = stage.from.platform.as_ref()?;
    let flag = from.flag("platform")?;
    if !expanded.found.is_empty() || !expanded.missing.is_empty() {
        return None;
    }
    let platform = Platform::parse(&expanded.text).ok()?;
    let name = stage.name.as_deref().unwrap_or_default();
    if name.contains(&platform.os) || name.contains(&platform.architecture) {
        return None;
    }
    let message = format!("FROM --platform flag should not use constant value {}", go_quoted(&expanded.text));
    Some(Found::new(flag.span, message))
}

fn base(checked: &Checked<'_>, stage: &Stage, from: &Instruction) -> Option<Found> {
    let Base::Image(name) = &stage.base else { return None };
    if !checked.covers(stage) {
        return None;
    }
    let (expected, actual) =
        (&stage.platform, checked.facts.images.get(name)?.platform_for(&stage.platform)?);
    if expected.os == actual.os && expected.architecture == actual.architecture {
        return None;
    }
    let message = format!(
        "Base image {name} was pulled with platform {}, expected {} for current build",
        go_quoted(&actual.normalized().format_all()),
        go_quoted(&expected.normalized().format_all())
    );
    let Body::From(body) = &from.body else { return None };
    Some(Found::new(body.image.span, message))
}

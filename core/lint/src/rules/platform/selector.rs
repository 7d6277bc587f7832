//! `stage-selector-missing`

use rbx_dockerfile::{Base, Body, Stage, StageOutline};

use super::RULE;
use crate::finding::{Related, Severity, shown};
use crate::rule::{Check, Rule};
use crate::view::{Found, View};

/// Official images whose names end like a platform's: what is no stage may be one of them.
const OFFICIAL: [&str; 8] =
    ["almalinux", "amazonlinux", "archlinux", "clearlinux", "euleros", "oraclelinux", "rockylinux", "swarm"];

pub(crate) static RULES: &[Rule] = &[Rule {
    name: "stage-selector-missing",
    severity: Severity::Error,
    summary: "FROM picks a stage by platform, and has none for this one",
    explanation: include_str!("../../../rules/platform/stage-selector-missing.md"),
    check: Check::EachPlatform(check),
    ..RULE
}];

fn check(view: &View<'_>) -> Vec<Found> {
    view.stages().filter_map(|(stage, _)| missing(view, stage)).collect()
}

/// The finding for a stage, if the one it is built on is missing.
pub(super) fn missing(view: &View<'_>, stage: &Stage) -> Option<Found> {
    let Base::Image(name) = &stage.base else { return None };
    let Body::From(body) = &view.from(stage)?.body else { return None };
    if !body.image.text.contains('$') || !is_no_image(view, name) {
        return None;
    }
    // A stage for one platform means that the name is one of a stage for all of them.
    let base = |outline: &Vec<StageOutline>| match outline.get(stage.index).map(|stage| &stage.base) {
        Some(Base::Stage(base)) => Some(*base),
        _ => None,
    };
    let mut stages: Vec<usize> = view.outlines.iter().filter_map(base).collect();
    if stages.is_empty() {
        return None;
    }
    stages.sort_unstable();
    stages.dedup();
    let (name, written) = (shown(name), shown(&body.image.text));
    let mut found = Found::new(body.image.span, format!("No stage {name:?} for FROM {written}"));
    found.related.extend(stages.into_iter().filter_map(|index| {
        let stage = view.evaluation.stages.get(index)?;
        let Body::From(body) = &view.from(stage)?.body else { return None };
        let name = body.name.as_ref()?;
        Some(Related { span: name.span, message: "a stage for another platform".to_owned() })
    }));
    Some(found)
}

/// Whether no registry has an image of that name: without a slash, a tag or a digest it would be an official one, and
/// none of those has a platform in its name.
fn is_no_image(view: &View<'_>, name: &str) -> bool {
    let platform = view.platform;
    let parts = [Some(&platform.os), Some(&platform.architecture), platform.variant.as_ref()];
    !name.contains(['/', ':', '@'])
        && !OFFICIAL.contains(&name)
        && parts.into_iter().flatten().any(|part| name.contains(part.as_str()))
}

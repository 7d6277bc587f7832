//! `platform-flag-on-stage`

use rbx_dockerfile::{Base, Body, Stage, expand};
use rbx_platform::Platform;

use super::RULE;
use crate::finding::{Edit, Fix, Related, Severity, shown};
use crate::place;
use crate::rule::{Check, Rule};
use crate::view::{Found, View};

pub(crate) static RULES: &[Rule] = &[Rule {
    name: "platform-flag-on-stage",
    severity: Severity::Warning,
    summary: "FROM --platform is ignored where the base is a stage",
    explanation: include_str!("../../../rules/platform/platform-flag-on-stage.md"),
    changes: Some("the platform of the stage's image"),
    check: Check::EachPlatform(check),
    ..RULE
}];

fn check(view: &View<'_>) -> Vec<Found> {
    view.stages().filter_map(|(stage, _)| ignored(view, stage)).collect()
}

fn ignored(view: &View<'_>, stage: &Stage) -> Option<Found> {
    let Base::Stage(base) = stage.base else { return None };
    let base = view.evaluation.stages.get(base)?;
    let root = view.root(base);
    // What stands on nothing has no platform that a flag could change.
    if matches!(root.base, Base::Scratch | Base::Unresolved) {
        return None;
    }
    let flag = view.from(stage)?.flag("platform")?;
    let value = flag.value.as_ref().filter(|value| !value.text.is_empty())?;
    let globals = &view.evaluation.globals;
    let wanted = expand(&value.text, view.file.escape, &|name| globals.get(name).cloned()).ok()?;
    let wanted = Platform::parse(&wanted).ok()?;
    if wanted.matches(&stage.platform) {
        return None;
    }
    let whole = flag.span.slice(&view.file.text);
    let written = shown(whole);
    let Body::From(body) = &view.from(stage)?.body else { return None };
    let name = shown(body.image.span.slice(&view.file.text));
    let mut found = Found::new(flag.span, format!("{written} is ignored, because {name:?} is a stage"));
    let Body::From(below) = &view.from(root)?.body else { return None };
    let message = "the platform is that of this stage".to_owned();
    found.related.push(Related { span: below.image.span, message });
    let without = place::without_flag(view.file, flag);
    if is_alone(view, stage, base) && !is_final(view, stage) {
        let span = rbx_dockerfile::Span { start: below.image.span.start, end: below.image.span.start };
        let edits = vec![Edit { span, text: format!("{whole} ") }, without.clone()];
        found.fixes.push(Fix { title: format!("Move {written} to the stage {name:?}"), safe: true, edits });
    }
    let title = format!("Remove {written}, which has no effect");
    found.fixes.push(Fix { title, safe: true, edits: vec![without] });
    Some(found)
}

/// Whether the flag can go to the base's own `FROM` without changing any other stage.
fn is_alone(view: &View<'_>, stage: &Stage, base: &Stage) -> bool {
    matches!(base.base, Base::Image(_))
        && view.from(base).is_some_and(|from| from.flag("platform").is_none())
        && view.evaluation.target != Some(base.index)
        && view.only_needed_by(base, stage)
}

/// Whether the image is built on the stage: then the platform that the flag asks for would be wrong for it.
fn is_final(view: &View<'_>, stage: &Stage) -> bool {
    let mut at = view.evaluation.target;
    while let Some(index) = at {
        if index == stage.index {
            return true;
        }
        at = match view.evaluation.stages.get(index).map(|stage| &stage.base) {
            Some(Base::Stage(base)) => Some(*base),
            _ => None,
        };
    }
    false
}

//! `stage-selector-variant`

use rbx_dockerfile::{Base, Body, Evaluation, From, Op, Source, Span, Stage};
use rbx_platform::Platform;

use super::architectures::{runs, spelled};
use super::{RULE, has_variable, mentions};
use crate::evaluated::platforms_of;
use crate::finding::{Edit, Fix, Related, Severity, shown};
use crate::rule::{Check, Rule};
use crate::view::{Found, View};

pub(crate) static RULES: &[Rule] = &[Rule {
    name: "stage-selector-variant",
    severity: Severity::Warning,
    summary: "FROM picks one stage for several variants of an architecture",
    explanation: include_str!("../../../rules/platform/stage-selector-variant.md"),
    check: Check::EachPlatform(check),
    ..RULE
}];

/// Variables that tell variants apart.
const VARIANT: [&str; 2] = ["TARGETVARIANT", "TARGETPLATFORM"];

fn check(view: &View<'_>) -> Vec<Found> {
    if view.evaluations.len() < 2 || !view.file.text.contains("TARGETARCH") {
        return Vec::new();
    }
    view.stages().filter_map(|(stage, _)| one_for_several(view, stage)).collect()
}

fn one_for_several(view: &View<'_>, stage: &Stage) -> Option<Found> {
    let Base::Stage(picked) = stage.base else { return None };
    let Body::From(body) = &view.from(stage)?.body else { return None };
    let written = &body.image.text;
    if !has_variable(written, "TARGETARCH") || VARIANT.iter().any(|name| has_variable(written, name)) {
        return None;
    }
    let own = view.platform;
    let platforms = platforms_of(view.request);
    let shares = |(platform, evaluation): (&Platform, &Evaluation)| {
        platform.os == own.os
            && platform.architecture == own.architecture
            && evaluation.stages.get(stage.index).is_some_and(|it| it.base == stage.base)
    };
    let sharing = platforms.iter().zip(view.evaluations).filter(|it| shares(*it));
    let sharing: Vec<&Platform> = sharing.map(|(platform, _)| platform).collect();
    if sharing.len() < 2 {
        return None;
    }
    // What the stage takes from elsewhere by a name that has the architecture is the same for all.
    let picked = view.evaluation.stages.get(picked)?;
    let (path, span) = taken(view, picked)?;
    let spelled = spelled(&path);
    let is_unfit = |platform: &Platform| {
        spelled.iter().any(|it| it.architecture == platform.architecture && !runs(platform, it))
    };
    let unfit = is_unfit(own);
    if !unfit && sharing.into_iter().any(is_unfit) {
        return None;
    }
    let name = shown(picked.name.as_deref().unwrap_or_default());
    let message = if unfit {
        format!(
            "Stage {name:?} is taken for every variant, and has {}, which this one does not run",
            shown(&path)
        )
    } else {
        format!("Stage {name:?} is taken for every variant, and all get the same {}", shown(&path))
    };
    let mut found = Found::new(body.image.span, message);
    found.severity = Some(if unfit { Severity::Warning } else { Severity::Info });
    found.related.push(Related { span, message: "it comes from here".to_owned() });
    found.fixes.extend(fix(view, body.image.span));
    Some(found)
}

/// What a stage takes from the context or an address that is for its architecture, if nothing in the stage depends on
/// the variant.
fn taken(view: &View<'_>, stage: &Stage) -> Option<(String, Span)> {
    let instructions = view.file.stages().nth(stage.index)?;
    let text = &view.file.text;
    if instructions.iter().any(|it| VARIANT.iter().any(|name| mentions(it, text, name))) {
        return None;
    }
    stage.steps.iter().filter(|step| !step.on_build).find_map(|step| {
        let Op::Copy(copy) = &step.op else { return None };
        let is_own =
            |path: &String| spelled(path).iter().any(|it| it.architecture == view.platform.architecture);
        let paths = copy.sources.iter().filter(|_| copy.from == From::Context);
        let mut paths = paths.filter_map(|source| match source {
            Source::Path(path) => Some(path),
            Source::Heredoc(_) => None,
        });
        Some((paths.find(|path| is_own(path))?.clone(), step.span))
    })
}

/// Has the variant in the name of the stage.
fn fix(view: &View<'_>, span: Span) -> Option<Fix> {
    let written = span.slice(&view.file.text);
    let (at, name) =
        ["${TARGETARCH}", "$TARGETARCH"].into_iter().find_map(|name| Some((written.find(name)?, name)))?;
    let at = span.start.checked_add(u32::try_from(at + name.len()).ok()?)?;
    Some(Fix {
        title: "Pick the stage by the variant, too".to_owned(),
        safe: false,
        edits: vec![Edit { span: Span { start: at, end: at }, text: "${TARGETVARIANT}".to_owned() }],
    })
}

//! `final-stage-build-platform`

use rbx_dockerfile::Base;
use rbx_platform::Platform;

use super::RULE;
use crate::finding::{Fix, Related, Severity, shown};
use crate::place;
use crate::rule::{Check, Rule};
use crate::view::{Found, View};

pub(crate) static RULES: &[Rule] = &[Rule {
    name: "final-stage-build-platform",
    severity: Severity::Warning,
    summary: "The image has files of another platform, because of its stage's --platform",
    explanation: include_str!("../../../rules/platform/final-stage-build-platform.md"),
    changes: Some("the image gets files of its own platform"),
    check: Check::EachPlatform(check),
    ..RULE
}];

fn check(view: &View<'_>) -> Vec<Found> {
    found(view).into_iter().collect()
}

fn found(view: &View<'_>) -> Option<Found> {
    let stage = view.evaluation.stages.get(view.evaluation.target?)?;
    let root = view.root(stage);
    // Nothing comes from `scratch`, and a context is whatever it is given.
    let runs = |accepted: &Platform| accepted.matches(&root.platform);
    if !matches!(root.base, Base::Image(_)) || view.platform.accepted().iter().any(runs) {
        return None;
    }
    let flag = view.from(root)?.flag("platform")?;
    let written = shown(flag.value.as_ref()?.span.slice(&view.file.text));
    let files = root.platform.format_all();
    let from = view.from(stage)?;
    let own = root.index == stage.index;
    let mut found = Found::new(
        if own { flag.span } else { from.span },
        format!("The image gets files of {files}, because its stage has --platform={written}"),
    );
    if own {
        let edits = vec![place::without_flag(view.file, flag)];
        found.fixes.push(Fix { title: "Remove --platform".to_owned(), safe: true, edits });
    } else {
        let message = "the platform is that of this stage".to_owned();
        found.related.push(Related { span: flag.span, message });
    }
    Some(found)
}

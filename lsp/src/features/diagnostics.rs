//! What is wrong with a document.

use rbx_dockerfile::Span;
use rbx_lint::{Facts, Finding, Severity, lint_evaluated, wanted_sources};
use rbx_platform::Platform;
use tower_lsp::ls_types::{
    CodeDescription, Diagnostic, DiagnosticRelatedInformation, DiagnosticSeverity, DiagnosticTag, Location,
    NumberOrString,
};

use crate::commands;
use crate::documents::Snapshot;
use crate::failures::Failure;
use crate::platforms::names;

/// Who finds it.
const SOURCE: &str = "rbx";
/// The code of a step that failed when it was built.
const BUILD_FAILED: &str = "build-failed";
/// Rules that find what has no effect.
const WITHOUT_EFFECT: [&str; 4] = [
    "platform-flag-on-stage",
    "MultipleInstructionsDisallowed",
    "NoEmptyContinuation",
    "RedundantTargetPlatform",
];
/// Rules that find what will be no part of the language some day.
const DEPRECATED: [&str; 2] = ["LegacyKeyValueFormat", "MaintainerDeprecated"];

/// What the language and the rules find wrong with a document for each of its platforms. Nothing, as soon as `stop` says
/// that nobody wants to know any more.
pub(crate) fn check(snapshot: &Snapshot, stop: impl Fn() -> bool) -> Option<Vec<Finding>> {
    if snapshot.config().as_ref().is_ok_and(|config| config.ignored) {
        return Some(Vec::new());
    }
    let facts = facts(snapshot);
    lint_evaluated(snapshot.tree(), snapshot.request(), &facts, snapshot.evaluations(), stop)
}

/// What is known of the world: what registries said before, and the files beside the document.
pub(crate) fn facts(snapshot: &Snapshot) -> Facts {
    let (file, request) = (snapshot.tree(), snapshot.request());
    let mut facts = snapshot.recalled().clone();
    if snapshot.shellcheck.is_some() {
        facts.scripts = (*snapshot.scripts).clone();
    }
    if let Some(path) = commands::path(&snapshot.uri)
        && let Some(directory) = path.parent()
    {
        // An ignore file that makes no sense is for builds to complain of.
        facts.context = rbx_facts::context(directory, Some(&path), &wanted_sources(file, request)).ok();
    }
    facts
}

/// The findings in the order of the text, then what builds failed at. Nothing if the document has changed in the
/// meantime, unless they are wanted `anyway`.
pub(crate) fn diagnostics(snapshot: &Snapshot, anyway: bool) -> Option<Vec<Diagnostic>> {
    let found = if anyway { snapshot.findings() } else { snapshot.findings_unless_outdated()? };
    let found = found.iter().map(|finding| diagnostic(snapshot, finding));
    let wrong = snapshot.platforms().wrong;
    let wrong = wrong.into_iter().map(|(span, message)| Diagnostic {
        range: snapshot.range(span),
        severity: Some(DiagnosticSeverity::WARNING),
        source: Some(SOURCE.to_owned()),
        message,
        ..Diagnostic::default()
    });
    // What is wrong with the file of its project is shown on top of each document that it is for.
    let config = snapshot.config().as_ref().err().map(|reason| Diagnostic {
        range: snapshot.range(Span::default()),
        severity: Some(DiagnosticSeverity::WARNING),
        source: Some(SOURCE.to_owned()),
        message: reason.clone(),
        ..Diagnostic::default()
    });
    let failures = snapshot.failures.iter().map(|failure| failed(snapshot, failure));
    Some(config.into_iter().chain(found).chain(wrong).chain(failures).collect())
}

/// A finding as clients have them.
pub(crate) fn diagnostic(snapshot: &Snapshot, finding: &Finding) -> Diagnostic {
    let abilities = snapshot.abilities;
    let related = finding.related.iter().map(|related| DiagnosticRelatedInformation {
        location: Location::new(snapshot.uri.clone(), snapshot.range(related.span)),
        message: related.message.clone(),
    });
    let related: Vec<_> = related.filter(|_| abilities.related).collect();
    let is_of = |rules: &[&str]| finding.rule.is_some_and(|rule| rules.contains(&rule.name));
    let tags = [
        (is_of(&WITHOUT_EFFECT) && abilities.unnecessary, DiagnosticTag::UNNECESSARY),
        (is_of(&DEPRECATED) && abilities.deprecated, DiagnosticTag::DEPRECATED),
    ];
    let tags: Vec<_> = tags.into_iter().filter(|(is_so, _)| *is_so).map(|(_, tag)| tag).collect();
    let page = finding.rule.filter(|_| abilities.pages).and_then(|rule| rule.url()?.parse().ok());
    Diagnostic {
        range: snapshot.range(finding.span),
        severity: Some(match finding.severity {
            Severity::Error => DiagnosticSeverity::ERROR,
            Severity::Warning => DiagnosticSeverity::WARNING,
            Severity::Info => DiagnosticSeverity::INFORMATION,
            Severity::Style => DiagnosticSeverity::HINT,
        }),
        code: finding.rule.map(|rule| NumberOrString::String(rule.name.to_owned())),
        source: Some(SOURCE.to_owned()),
        message: finding.to_string(),
        related_information: (!related.is_empty()).then_some(related),
        code_description: page.map(|href| CodeDescription { href }),
        tags: (!tags.is_empty()).then_some(tags),
        data: Some(data(&finding.platforms)),
    }
}

/// A step that failed.
fn failed(snapshot: &Snapshot, failure: &Failure) -> Diagnostic {
    let text = &snapshot.text.as_str()[failure.place.clone()];
    let indented = text.len() - text.trim_start().len();
    let place = failure.place.start + indented..failure.place.end;
    let mut message = format!("{} (built for {})", failure.reason, names(&failure.platforms));
    if let Some(hint) = &failure.hint {
        message.push('\n');
        message.push_str(hint);
    }
    for line in &failure.output {
        message.push_str("\n  ");
        message.push_str(line);
    }
    Diagnostic {
        range: snapshot.text.range(place, snapshot.abilities.encoding),
        severity: Some(DiagnosticSeverity::ERROR),
        code: Some(NumberOrString::String(BUILD_FAILED.to_owned())),
        source: Some(SOURCE.to_owned()),
        message,
        data: Some(data(&failure.platforms)),
        ..Diagnostic::default()
    }
}

/// What clients can read of a finding beside its text.
fn data(platforms: &[Platform]) -> serde_json::Value {
    let names: Vec<String> = platforms.iter().map(Platform::format_all).collect();
    serde_json::json!({ "platforms": names })
}

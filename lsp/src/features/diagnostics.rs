//! What is wrong with a document.

use rbx_dockerfile::Severity;
use tower_lsp::ls_types::{Diagnostic, DiagnosticSeverity, NumberOrString};

use crate::documents::Snapshot;
use crate::failures::Failure;
use crate::platforms::names;

/// Who finds it.
const SOURCE: &str = "rbx";
/// The code of a step that failed when it was built.
const BUILD_FAILED: &str = "build-failed";

/// The findings of the parser, in the order of the text, then what builds failed at.
pub(crate) fn diagnostics(snapshot: &Snapshot) -> Vec<Diagnostic> {
    let found = snapshot.tree().diagnostics.iter().map(|finding| Diagnostic {
        range: snapshot.range(finding.span),
        severity: Some(match finding.severity {
            Severity::Error => DiagnosticSeverity::ERROR,
            Severity::Warning => DiagnosticSeverity::WARNING,
        }),
        source: Some(SOURCE.to_owned()),
        message: finding.to_string(),
        ..Diagnostic::default()
    });
    let wrong = snapshot.platforms().wrong;
    let wrong = wrong.into_iter().map(|(span, message)| Diagnostic {
        range: snapshot.range(span),
        severity: Some(DiagnosticSeverity::WARNING),
        source: Some(SOURCE.to_owned()),
        message,
        ..Diagnostic::default()
    });
    let failures = snapshot.failures.iter().map(|failure| failed(snapshot, failure));
    found.chain(wrong).chain(failures).collect()
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
fn data(platforms: &[rbx_platform::Platform]) -> serde_json::Value {
    let names: Vec<String> = platforms.iter().map(rbx_platform::Platform::format_all).collect();
    serde_json::json!({ "platforms": names })
}

//! What is wrong with a document.

use rbx_dockerfile::Severity;
use tower_lsp::ls_types::{Diagnostic, DiagnosticSeverity};

use crate::documents::Snapshot;

/// The findings of the parser, in the order of the text.
pub(crate) fn diagnostics(snapshot: &Snapshot) -> Vec<Diagnostic> {
    let found = snapshot.tree.diagnostics.iter();
    found
        .map(|finding| Diagnostic {
            range: snapshot.range(finding.span),
            severity: Some(match finding.severity {
                Severity::Error => DiagnosticSeverity::ERROR,
                Severity::Warning => DiagnosticSeverity::WARNING,
            }),
            source: Some("rbx".to_owned()),
            message: finding.to_string(),
            ..Diagnostic::default()
        })
        .collect()
}

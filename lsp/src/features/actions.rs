//! What can be done about findings.

use rbx_lint::{Finding, Fix};
use tower_lsp::ls_types::{
    CodeAction, CodeActionContext, CodeActionKind, CodeActionOrCommand, DocumentChanges, OneOf,
    OptionalVersionedTextDocumentIdentifier, Range, TextDocumentEdit, TextEdit, WorkspaceEdit,
};

use crate::documents::Snapshot;
use crate::features::diagnostics::diagnostic;

/// The remedies for findings that touch a range. The only one that there is for a finding is preferred: editors may
/// apply it without asking which.
pub(crate) fn actions(
    snapshot: &Snapshot,
    range: Range,
    context: &CodeActionContext,
) -> Vec<CodeActionOrCommand> {
    let wanted =
        |kinds: &Vec<CodeActionKind>| kinds.iter().any(|kind| contains(kind, &CodeActionKind::QUICKFIX));
    if !context.only.as_ref().is_none_or(wanted) {
        return Vec::new();
    }
    let (start, end) = (snapshot.offset(range.start), snapshot.offset(range.end));
    let touched =
        snapshot.findings().iter().filter(|finding| finding.span.start <= end && start <= finding.span.end);
    touched
        .flat_map(|finding| finding.fixes.iter().map(move |fix| action(snapshot, finding, fix)))
        .map(CodeActionOrCommand::CodeAction)
        .collect()
}

/// Whether a kind of actions holds another: `quickfix` holds `quickfix.x`.
fn contains(outer: &CodeActionKind, inner: &CodeActionKind) -> bool {
    let rest = inner.as_str().strip_prefix(outer.as_str());
    rest.is_some_and(|rest| outer.as_str().is_empty() || rest.is_empty() || rest.starts_with('.'))
}

fn action(snapshot: &Snapshot, finding: &Finding, fix: &Fix) -> CodeAction {
    CodeAction {
        title: fix.title.clone(),
        kind: Some(CodeActionKind::QUICKFIX),
        diagnostics: Some(vec![diagnostic(snapshot, finding)]),
        edit: Some(edit(snapshot, fix)),
        is_preferred: (finding.fixes.len() == 1).then_some(true),
        ..CodeAction::default()
    }
}

fn edit(snapshot: &Snapshot, fix: &Fix) -> WorkspaceEdit {
    let edits = fix.edits.iter().map(|edit| TextEdit::new(snapshot.range(edit.span), edit.text.clone()));
    workspace_edit(snapshot, edits.collect())
}

/// Edits of a document, of this version of it where the client knows versions.
pub(crate) fn workspace_edit(snapshot: &Snapshot, edits: Vec<TextEdit>) -> WorkspaceEdit {
    if !snapshot.abilities.versioned_edits {
        let changes = std::iter::once((snapshot.uri.clone(), edits));
        return WorkspaceEdit { changes: Some(changes.collect()), ..WorkspaceEdit::default() };
    }
    let text_document = OptionalVersionedTextDocumentIdentifier {
        uri: snapshot.uri.clone(),
        version: Some(snapshot.version),
    };
    let edits = edits.into_iter().map(OneOf::Left).collect();
    WorkspaceEdit {
        document_changes: Some(DocumentChanges::Edits(vec![TextDocumentEdit { text_document, edits }])),
        ..WorkspaceEdit::default()
    }
}

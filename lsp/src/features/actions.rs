//! What can be done to a document: remedies for findings, comments that silence them, other ways to write it.

mod mend;
mod refactor;

use rbx_lint::{Edit, Finding, suppressions};
use serde::{Deserialize, Serialize};
use tower_lsp::ls_types::{
    CodeAction, CodeActionContext, CodeActionKind, CodeActionOrCommand, CodeActionTriggerKind,
    DocumentChanges, OneOf, OptionalVersionedTextDocumentIdentifier, Range, TextDocumentEdit, TextEdit, Uri,
    WorkspaceEdit,
};

use crate::documents::Snapshot;
use crate::features::diagnostics::diagnostic;

pub(crate) use mend::FIX_ALL;

/// A comment that silences a finding.
const SUPPRESS: &str = "quickfix.suppress.rbx";

/// All kinds of actions.
pub(crate) fn kinds() -> Vec<CodeActionKind> {
    let own = [SUPPRESS, FIX_ALL].map(CodeActionKind::from);
    let refactorings = [CodeActionKind::REFACTOR_REWRITE, CodeActionKind::REFACTOR_EXTRACT];
    [CodeActionKind::QUICKFIX].into_iter().chain(own).chain(refactorings).collect()
}

/// An action whose edits are worked out when it is chosen.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Later {
    /// The document.
    pub(crate) uri: Uri,
    /// What it was when the action was offered.
    version: i32,
}

/// Which kinds of actions are asked for.
struct Wanted<'a> {
    only: Option<&'a [CodeActionKind]>,
    /// Nobody asked: the cursor has moved.
    automatic: bool,
}

impl Wanted<'_> {
    fn has(&self, kind: &CodeActionKind) -> bool {
        self.only.is_none_or(|only| only.iter().any(|wanted| contains(wanted, kind)))
    }
}

/// The actions for a range.
pub(crate) fn actions(
    snapshot: &Snapshot,
    range: Range,
    context: &CodeActionContext,
) -> Vec<CodeActionOrCommand> {
    let automatic = context.trigger_kind == Some(CodeActionTriggerKind::AUTOMATIC);
    let wanted = Wanted { only: context.only.as_deref(), automatic };
    let (start, end) = (snapshot.offset(range.start), snapshot.offset(range.end));
    let touched: Vec<&Finding> = snapshot
        .findings()
        .iter()
        .filter(|finding| finding.span.start <= end && start <= finding.span.end)
        .collect();
    let mut all = Vec::new();
    if wanted.has(&CodeActionKind::QUICKFIX) {
        all.extend(touched.iter().flat_map(|finding| fixes(snapshot, finding)));
        all.extend(mend::of_rules(snapshot, &touched));
    }
    if wanted.has(&SUPPRESS.into()) {
        all.extend(touched.iter().flat_map(|finding| silences(snapshot, finding)));
    }
    if wanted.has(&FIX_ALL.into()) && (!wanted.automatic || wanted.only.is_some()) {
        all.extend(mend::all(snapshot));
    }
    all.extend(refactor::refactorings(snapshot, start..end, &wanted));
    all.into_iter().map(CodeActionOrCommand::CodeAction).collect()
}

/// An action with the edits that were left for later. Nothing is changed of one that was offered for another text.
pub(crate) fn resolved(snapshot: &Snapshot, later: &Later, mut action: CodeAction) -> CodeAction {
    if later.version == snapshot.version && action.edit.is_none() {
        action.edit = mend::edit(snapshot);
    }
    action
}

/// Whether a kind of actions holds another: `quickfix` holds `quickfix.x`.
fn contains(outer: &CodeActionKind, inner: &CodeActionKind) -> bool {
    let rest = inner.as_str().strip_prefix(outer.as_str());
    rest.is_some_and(|rest| outer.as_str().is_empty() || rest.is_empty() || rest.starts_with('.'))
}

/// The remedies for a finding. The only one that there is, is preferred if nobody has to look at what it does: editors
/// may apply it without asking which.
fn fixes(snapshot: &Snapshot, finding: &Finding) -> impl Iterator<Item = CodeAction> {
    finding.fixes.iter().map(|fix| CodeAction {
        title: fix.title.clone(),
        kind: Some(CodeActionKind::QUICKFIX),
        diagnostics: Some(vec![diagnostic(snapshot, finding)]),
        edit: Some(edit(snapshot, &fix.edits)),
        is_preferred: (finding.fixes.len() == 1 && fix.safe).then_some(true),
        ..CodeAction::default()
    })
}

/// The comments that silence a finding.
fn silences(snapshot: &Snapshot, finding: &Finding) -> Vec<CodeAction> {
    let action = |fix: rbx_lint::Fix| CodeAction {
        title: fix.title,
        kind: Some(SUPPRESS.into()),
        diagnostics: Some(vec![diagnostic(snapshot, finding)]),
        edit: Some(edit(snapshot, &fix.edits)),
        ..CodeAction::default()
    };
    suppressions(snapshot.tree(), finding).into_iter().map(action).collect()
}

fn edit(snapshot: &Snapshot, edits: &[Edit]) -> WorkspaceEdit {
    let edits = edits.iter().map(|edit| TextEdit::new(snapshot.range(edit.span), edit.text.clone()));
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

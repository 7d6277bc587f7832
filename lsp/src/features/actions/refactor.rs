//! Other ways to write what is at a place.

use std::ops::Range;

use rbx_dockerfile::Span;
use rbx_lint::RefactoringKind;
use tower_lsp::ls_types::{CodeAction, CodeActionDisabled, CodeActionKind};

use super::{Wanted, edit};
use crate::documents::Snapshot;

/// The changes that may be made to the instructions of a range. Those that cannot be made now say why, if somebody
/// asked for actions whose client shows such ones.
pub(super) fn refactorings(snapshot: &Snapshot, range: Range<u32>, wanted: &Wanted<'_>) -> Vec<CodeAction> {
    let of_kind = |kind| match kind {
        RefactoringKind::Rewrite => CodeActionKind::REFACTOR_REWRITE,
        RefactoringKind::Extract => CodeActionKind::REFACTOR_EXTRACT,
    };
    let kinds = [RefactoringKind::Rewrite, RefactoringKind::Extract];
    if !kinds.into_iter().any(|kind| wanted.has(&of_kind(kind))) {
        return Vec::new();
    }
    let span = Span { start: range.start, end: range.end };
    let offered = rbx_lint::refactorings(snapshot.tree(), span, snapshot.recalled(), snapshot.evaluations());
    let offered = offered.into_iter().filter(|it| wanted.has(&of_kind(it.kind)));
    let action = |it: rbx_lint::Refactoring| {
        let action = CodeAction { title: it.title, kind: Some(of_kind(it.kind)), ..CodeAction::default() };
        match it.edits {
            Ok(edits) => Some(CodeAction { edit: Some(edit(snapshot, &edits)), ..action }),
            Err(reason) => (snapshot.abilities.disabled_actions && !wanted.automatic)
                .then(|| CodeAction { disabled: Some(CodeActionDisabled { reason }), ..action }),
        }
    };
    offered.filter_map(action).collect()
}

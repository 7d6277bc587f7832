//! Many remedies at once.

use std::collections::BTreeSet;

use rbx_dockerfile::{LineIndex, Span};
use rbx_lint::{Edit, Finding, mend, together};
use similar::{DiffOp, TextDiff};
use tower_lsp::ls_types::{CodeAction, CodeActionKind, WorkspaceEdit};

use super::Later;
use crate::documents::Snapshot;
use crate::features::diagnostics::facts;
use crate::text::number;

/// All remedies of a document that nobody has to look at.
pub(crate) const FIX_ALL: &str = "source.fixAll.rbx";

/// The action for all remedies of a document, if there is one. What it changes is worked out when it is chosen, where
/// the client can ask for that.
pub(super) fn all(snapshot: &Snapshot) -> Option<CodeAction> {
    let is_safe = |finding: &Finding| finding.fixes.iter().any(|fix| fix.safe);
    if !snapshot.findings().iter().any(is_safe) {
        return None;
    }
    let later = Later { uri: snapshot.uri.clone(), version: snapshot.version };
    let later = snapshot.abilities.resolves_edits.then(|| serde_json::to_value(later).ok()).flatten();
    let edit = if later.is_some() { None } else { edit(snapshot) };
    (later.is_some() || edit.is_some()).then(|| CodeAction {
        title: "Fix all that can be fixed safely".to_owned(),
        kind: Some(FIX_ALL.into()),
        edit,
        data: later,
        ..CodeAction::default()
    })
}

/// What all remedies change, and those for what they uncover: the lines that differ in the end.
pub(super) fn edit(snapshot: &Snapshot) -> Option<WorkspaceEdit> {
    let file = snapshot.tree();
    let mended = mend(file.clone(), snapshot.request(), &facts(snapshot), false);
    let edits = differences(&file.text, &mended.file.text);
    (!edits.is_empty()).then(|| super::edit(snapshot, &edits))
}

/// The edits of whole lines that make one text of another.
fn differences(before: &str, after: &str) -> Vec<Edit> {
    let (lines, new) = (LineIndex::new(before), LineIndex::new(after));
    let at = |index: &LineIndex, text: &str, line: usize| {
        let line = u32::try_from(line + 1).ok().and_then(|line| index.span_of(line));
        line.map_or(text.len(), |line| line.start as usize)
    };
    let parts = |text| str::split_inclusive(text, '\n').collect::<Vec<_>>();
    let (old_lines, new_lines) = (parts(before), parts(after));
    let diff = TextDiff::from_slices(&old_lines, &new_lines);
    let changed = diff.ops().iter().filter(|op| !matches!(op, DiffOp::Equal { .. }));
    changed
        .map(|op| {
            let (old, now) = (op.old_range(), op.new_range());
            let text = after.get(at(&new, after, now.start)..at(&new, after, now.end)).unwrap_or_default();
            let span = Span {
                start: number(at(&lines, before, old.start)),
                end: number(at(&lines, before, old.end)),
            };
            Edit { span, text: text.to_owned() }
        })
        .collect()
}

/// For each rule that has found more of the same, an action for all of it.
pub(super) fn of_rules(snapshot: &Snapshot, touched: &[&Finding]) -> Vec<CodeAction> {
    let fixable = touched.iter().filter(|finding| finding.fixes.iter().any(|fix| fix.safe));
    let names: BTreeSet<&str> = fixable.filter_map(|finding| Some(finding.rule?.name)).collect();
    let action = |name: &str| {
        let of_rule = snapshot.findings().iter().filter(|finding| finding.name() == name);
        let (edits, count) = together(of_rule);
        (count > 1).then(|| CodeAction {
            title: format!("Fix all {count} of {name} in this file"),
            kind: Some(CodeActionKind::QUICKFIX),
            edit: Some(super::edit(snapshot, &edits)),
            ..CodeAction::default()
        })
    };
    names.into_iter().filter_map(action).collect()
}

#[cfg(test)]
mod tests {
    use rbx_lint::apply;

    use super::*;

    #[test]
    fn lines_that_differ_are_edited() {
        for (before, after) in [
            ("a\nb\nc\n", "a\nx\nc\n"),
            ("a\nb\nc", "b\nc\nd"),
            ("a\r\nb\r\n", "a\r\n🐳\r\nb\r\nd"),
            ("", "a\n"),
            ("a\nb\n", ""),
            ("a\rb\n", "a\rc\n"),
        ] {
            let edits = differences(before, after);
            assert_eq!(apply(before, &edits), after, "{before:?}");
        }
        assert_eq!(differences("a\nb\nc\n", "a\nx\nc\n").len(), 1);
        assert_eq!(differences("a\nb\nc\n", "a\nx\nc\n")[0].text, "x\n");
    }
}

//! What can be folded: stages, instructions, heredocs, comments and regions.

use rbx_dockerfile::{Comment, Dockerfile, Instruction, LineKind, Span};
use tower_lsp::ls_types::{FoldingRange, FoldingRangeKind};

use crate::documents::Snapshot;

/// The parts of a document of more than one line. They are whole lines, for every client knows these. If it wants
/// fewer, it gets the outer ones.
pub(crate) fn folding(snapshot: &Snapshot) -> Vec<FoldingRange> {
    let tree = snapshot.tree();
    let line = |offset: u32| snapshot.text.position(offset as usize, snapshot.abilities.encoding).line;
    let mut ranges: Vec<(Span, Option<FoldingRangeKind>)> = Vec::new();
    for stage in tree.stages() {
        let whole = stage.iter().map(|instruction| instruction.span).reduce(Span::join);
        ranges.extend(whole.map(|span| (span, None)));
    }
    ranges.extend(regions(&tree.comments).into_iter().map(|span| (span, Some(FoldingRangeKind::Region))));
    for instruction in &tree.instructions {
        ranges.extend(parts(tree, instruction).into_iter().map(|span| (span, None)));
    }
    ranges.extend(comments(tree).into_iter().map(|span| (span, Some(FoldingRangeKind::Comment))));

    let mut folds: Vec<FoldingRange> = Vec::new();
    for (span, kind) in ranges {
        let (start_line, end_line) = (line(span.start), line(span.end));
        if start_line < end_line {
            let (start_character, end_character, collapsed_text) = (None, None, None);
            folds.push(FoldingRange {
                start_line,
                start_character,
                end_line,
                end_character,
                kind,
                collapsed_text,
            });
        }
    }
    folds.truncate(snapshot.abilities.folds.map_or(usize::MAX, |limit| limit as usize));
    folds.sort_by_key(|fold| (fold.start_line, std::cmp::Reverse(fold.end_line)));
    folds.dedup_by_key(|fold| (fold.start_line, fold.end_line));
    folds
}

/// An instruction up to its heredocs, and each of these with the line before it.
fn parts(tree: &Dockerfile, instruction: &Instruction) -> Vec<Span> {
    let Some(first) = instruction.heredocs.first() else { return vec![instruction.span] };
    // The end of the line before.
    let last_before = |offset: u32| offset.saturating_sub(1);
    let mut parts = vec![Span { start: instruction.span.start, end: last_before(first.content.start) }];
    for heredoc in &instruction.heredocs {
        let end = heredoc.terminator.unwrap_or(heredoc.content).end;
        let end =
            if heredoc.terminator.is_some() { end } else { last_before(end).max(heredoc.content.start) };
        parts.push(Span { start: last_before(heredoc.content.start), end });
    }
    let length = tree.text.len();
    parts.retain(|part| (part.end as usize) <= length && part.start <= part.end);
    parts
}

/// Comments on lines that follow one another, without those that begin and end regions.
fn comments(tree: &Dockerfile) -> Vec<Span> {
    let mut runs: Vec<Span> = Vec::new();
    let mut open = false;
    for line in &tree.lines {
        let text = line.span.slice(&tree.text).trim();
        let is_comment = line.kind == LineKind::Comment
            && Mark::of(text.strip_prefix('#').unwrap_or_default().trim()).is_none();
        let length = u32::try_from(line.span.slice(&tree.text).trim_end().len()).unwrap_or(0);
        let end = line.span.start + length;
        match runs.last_mut() {
            Some(run) if open && is_comment => run.end = end,
            _ if is_comment => runs.push(Span { start: line.span.start, end }),
            _ => {}
        }
        open = is_comment;
    }
    runs
}

/// What a comment says of regions.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    Begin,
    End,
}

impl Mark {
    fn of(comment: &str) -> Option<Self> {
        match comment.split(|c: char| c.is_whitespace() || c == ':').next()? {
            "region" => Some(Self::Begin),
            "endregion" => Some(Self::End),
            _ => None,
        }
    }
}

fn regions(comments: &[Comment]) -> Vec<Span> {
    let mut open: Vec<Span> = Vec::new();
    let mut regions = Vec::new();
    for comment in comments {
        match Mark::of(&comment.text) {
            Some(Mark::Begin) => open.push(comment.span),
            Some(Mark::End) => regions.extend(open.pop().map(|begin| begin.join(comment.span))),
            None => {}
        }
    }
    regions.sort_unstable();
    regions
}

//! What a selection grows to: word, argument, flag, instruction, stage, file.

use rbx_dockerfile::{Body, Instruction, Span};
use tower_lsp::ls_types::{Position, SelectionRange};

use crate::documents::Snapshot;
use crate::text::number;

/// For each place what encloses it, from the inside out.
pub(crate) fn selection(snapshot: &Snapshot, positions: &[Position]) -> Vec<SelectionRange> {
    let tree = snapshot.tree();
    let stages: Vec<Span> = tree
        .stages()
        .filter_map(|stage| stage.iter().map(|instruction| instruction.span).reduce(Span::join))
        .collect();
    positions.iter().map(|&position| around(snapshot, &stages, position)).collect()
}

fn around(snapshot: &Snapshot, stages: &[Span], position: Position) -> SelectionRange {
    let (tree, text) = (snapshot.tree(), snapshot.text.as_str());
    let offset = snapshot.offset(position);
    let mut spans = vec![Span { start: 0, end: u32::try_from(text.len()).unwrap_or(u32::MAX) }];
    let stage = stages.partition_point(|stage| stage.start <= offset).checked_sub(1);
    spans.extend(stage.and_then(|stage| stages.get(stage)));
    if let Some(instruction) = tree.instruction_at(offset) {
        let comments = tree.comments_of(instruction).first().map(|comment| comment.span);
        spans.extend(comments.map(|comment| comment.join(instruction.span)));
        parts(instruction, &mut spans);
    }
    let comment = tree.comments.partition_point(|comment| comment.span.start <= offset).checked_sub(1);
    spans.extend(comment.and_then(|comment| tree.comments.get(comment)).map(|comment| comment.span));
    if let Some(mention) = snapshot.names().at(offset) {
        spans.extend([mention.whole, mention.span()]);
    }
    let at = text.floor_char_boundary(offset as usize);
    let is_line_end = |c: char| c == '\n' || c == '\r';
    spans.push(trimmed(text, run(text, at, |c| !is_line_end(c))));
    spans.push(run(text, at, |c| !c.is_whitespace()));
    spans.push(run(text, at, |c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.')));
    spans.push(run(text, at, |c| c.is_alphanumeric() || c == '_'));

    spans.retain(|span| span.start <= offset && offset <= span.end && !span.is_empty());
    spans.sort_by_key(|span| (std::cmp::Reverse(span.len()), span.start));
    let mut chain: Option<(Span, SelectionRange)> = None;
    for span in spans {
        let fits = chain.as_ref().is_none_or(|(outer, _)| outer.encloses(span) && *outer != span);
        if fits {
            let parent = chain.map(|(_, outer)| Box::new(outer));
            chain = Some((span, SelectionRange { range: snapshot.range(span), parent }));
        }
    }
    let nothing =
        || SelectionRange { range: snapshot.range(Span { start: offset, end: offset }), parent: None };
    chain.map_or_else(nothing, |(_, innermost)| innermost)
}

/// The parts of an instruction that mean something by themselves.
fn parts(instruction: &Instruction, spans: &mut Vec<Span>) {
    spans.extend([instruction.span, instruction.keyword_span]);
    for flag in &instruction.flags {
        spans.extend([flag.span, flag.name.span]);
        spans.extend(flag.value.as_ref().map(|value| value.span));
    }
    for heredoc in &instruction.heredocs {
        spans.push(heredoc.content);
        spans.extend(heredoc.terminator.map(|end| heredoc.content.join(end)));
    }
    match &instruction.body {
        Body::Onbuild(trigger) => parts(trigger, spans),
        Body::Arg(list) => {
            let with_value =
                |arg: &rbx_dockerfile::ArgBody| Some(arg.name.span.join(arg.value.as_ref()?.span));
            spans.extend(list.iter().filter_map(with_value));
        }
        Body::Env(pairs) | Body::Label(pairs) => {
            spans.extend(pairs.iter().map(|pair| pair.name.span.join(pair.value.span)));
        }
        _ => {}
    }
    let words = instruction.words();
    spans.extend(words.iter().map(|word| word.span));
    spans.extend(words.iter().map(|word| word.span).reduce(Span::join));
}

/// The characters around a place of which something holds.
fn run(text: &str, at: usize, holds: impl Fn(char) -> bool) -> Span {
    let (before, after) = text.split_at(at);
    let start = before.trim_end_matches(&holds).len();
    let end = at + (after.len() - after.trim_start_matches(&holds).len());
    Span { start: number(start), end: number(end) }
}

/// A span without white space at both ends.
fn trimmed(text: &str, span: Span) -> Span {
    let slice = span.slice(text);
    let start = span.start + number(slice.len() - slice.trim_start().len());
    Span { start, end: (start + number(slice.trim().len())).min(span.end) }
}

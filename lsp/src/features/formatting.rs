//! How a document is to look.

use rbx_dockerfile::{Edit, Indent, LineKind, Style, format, indent_at};
use tower_lsp::ls_types::{FormattingOptions, Position, Range, TextEdit};

use crate::documents::Snapshot;

/// The characters after which lines are looked at: the end of a line, and what may continue one.
pub(crate) const TYPED: [&str; 3] = ["\n", "\\", "`"];

/// The edits after which all of a document looks as it should.
pub(crate) fn document(snapshot: &Snapshot, options: &FormattingOptions) -> Vec<TextEdit> {
    written(snapshot, format(snapshot.tree(), &style(options)))
}

/// The edits after which some lines look as they should. None is outside of them.
pub(crate) fn range(snapshot: &Snapshot, range: Range, options: &FormattingOptions) -> Vec<TextEdit> {
    let (start, end) = (snapshot.offset(range.start), snapshot.offset(range.end));
    let lines = &snapshot.tree().line_index;
    let mut last = lines.line_of(end);
    // A selection of whole lines ends where the next one begins.
    if start < end && lines.span_of(last).is_some_and(|line| line.start == end) {
        last -= 1;
    }
    let mut edits = format(snapshot.tree(), &style(options));
    edits.retain(|edit| (lines.line_of(start)..=last).contains(&lines.line_of(edit.span.start)));
    written(snapshot, edits)
}

/// The edits after a character was typed: a new line of an instruction is indented, and so is the line that an escape
/// character makes a part of one.
pub(crate) fn typed(
    snapshot: &Snapshot,
    position: Position,
    character: &str,
    options: &FormattingOptions,
) -> Vec<TextEdit> {
    let file = snapshot.tree();
    let style = style(options);
    let line = file.line_index.line_of(snapshot.offset(position));
    let is_instruction = |line: u32| {
        let line = file.line_index.span_of(line).unwrap_or_default();
        file.lines
            .binary_search_by_key(&line.start, |line| line.span.start)
            .is_ok_and(|index| file.lines[index].kind == LineKind::Instruction)
    };
    if character == "\n" {
        if let Some(edit) = indent_at(file, &style, line) {
            return written(snapshot, vec![edit]);
        }
        return written(
            snapshot,
            leads(snapshot, &style, line..=line).filter(|_| is_instruction(line)).collect(),
        );
    }
    // Only at its end does it continue a line.
    let content = file.line_index.span_of(line).unwrap_or_default().slice(&file.text);
    if !character.starts_with(file.escape)
        || !content.trim_end().ends_with(file.escape)
        || !is_instruction(line)
    {
        return Vec::new();
    }
    let mut before = format(file, &style)
        .into_iter()
        .filter(|edit| file.line_index.line_of(edit.span.start) == line && edit.text == " ");
    let last = before.next_back().filter(|edit| edit.span.slice(&file.text).is_empty());
    let next = leads(snapshot, &style, line + 1..=line + 1);
    written(snapshot, last.into_iter().chain(next).collect())
}

/// The edits of what some lines begin with.
fn leads(
    snapshot: &Snapshot,
    style: &Style,
    lines: std::ops::RangeInclusive<u32>,
) -> impl Iterator<Item = Edit> {
    let file = snapshot.tree();
    let at = |edit: &Edit| {
        let line = file.line_index.line_of(edit.span.start);
        let start = file.line_index.span_of(line).unwrap_or_default().start;
        let blank = |text: &str| text.bytes().all(|byte| matches!(byte, b' ' | b'\t'));
        lines.contains(&line)
            && edit.span.start == start
            && blank(&edit.text)
            && blank(edit.span.slice(&file.text))
    };
    let edits: Vec<Edit> = format(file, style).into_iter().filter(at).collect();
    edits.into_iter()
}

fn style(options: &FormattingOptions) -> Style {
    Style {
        indent: Indent { width: options.tab_size, tabs: !options.insert_spaces },
        trim_lines: options.trim_trailing_whitespace.unwrap_or(true),
        final_newline: options.insert_final_newline.unwrap_or(true),
        trim_end: options.trim_final_newlines.unwrap_or(true),
    }
}

fn written(snapshot: &Snapshot, edits: Vec<Edit>) -> Vec<TextEdit> {
    edits.into_iter().map(|edit| TextEdit::new(snapshot.range(edit.span), edit.text)).collect()
}

//! Places in the text where fixes change it.

use rbx_dockerfile::{Dockerfile, Flag, Instruction, Span};

use crate::finding::Edit;

/// Puts a line before an instruction and the comments that belong to it.
pub(crate) fn line_before(file: &Dockerfile, instruction: &Instruction, line: &str) -> Edit {
    let first = file.comments_of(instruction).first().map_or(instruction.span, |comment| comment.span);
    let text_line = |offset| file.line_index.span_of(file.line_index.line_of(offset));
    let start = text_line(first.start).map_or(first.start, |line| line.start);
    // A byte order mark stays first.
    let start = if start == 0 && file.text.starts_with('\u{feff}') { first.start } else { start };
    let own = text_line(instruction.span.start).unwrap_or(instruction.span);
    let before = Span { start: own.start, end: instruction.span.start };
    let indent: String = before.slice(&file.text).chars().filter(|c| matches!(c, ' ' | '\t')).collect();
    let newline = if own.slice(&file.text).ends_with("\r\n") { "\r\n" } else { "\n" };
    Edit { span: Span { start, end: start }, text: format!("{indent}{line}{newline}") }
}

/// Takes a flag away, with the space after it.
pub(crate) fn without_flag(file: &Dockerfile, flag: &Flag) -> Edit {
    let rest = file.text.get(flag.span.end as usize..).unwrap_or_default();
    let spaces = rest.len() - rest.trim_start_matches([' ', '\t']).len();
    let end = flag.span.end.saturating_add(u32::try_from(spaces).unwrap_or(0));
    Edit { span: Span { start: flag.span.start, end }, text: String::new() }
}

/// Takes an instruction away, with its lines.
pub(crate) fn without_lines(file: &Dockerfile, instruction: Span) -> Option<Edit> {
    let (first, last) = file.line_index.lines_of(instruction);
    let span = file.line_index.span_of(first)?.join(file.line_index.span_of(last)?);
    Some(Edit { span, text: String::new() })
}

/// `word` in the case of an instruction's keyword.
pub(crate) fn in_case_of(file: &Dockerfile, instruction: &Instruction, word: &str) -> String {
    let keyword = instruction.keyword_span.slice(&file.text);
    if keyword == keyword.to_lowercase() { word.to_lowercase() } else { word.to_owned() }
}

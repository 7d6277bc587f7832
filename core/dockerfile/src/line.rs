//! Physical lines, and the logical lines they make up.

use std::ops::Range;

use crate::instruction::Word;
use crate::span::Span;

/// What a physical line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LineKind {
    /// White space only.
    Blank,
    /// A comment, inside an instruction or not.
    Comment,
    /// A parser directive.
    Directive,
    /// A line of an instruction.
    Instruction,
    /// A line of a heredoc's content.
    HeredocContent,
    /// The line that ends a heredoc.
    HeredocEnd,
}

/// A physical line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Line {
    /// The line with its newline. The spans of all lines make up the whole text.
    pub span: Span,
    /// What it is.
    pub kind: LineKind,
}

/// Reads physical lines one after another.
pub(crate) struct Lines<'a> {
    pub(crate) text: &'a str,
    pub(crate) position: usize,
}

/// A physical line as read: its place and its text with and without the newline.
#[derive(Clone, Copy)]
pub(crate) struct RawLine<'a> {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// Without `\r` and `\n` at the end.
    pub(crate) content: &'a str,
}

impl RawLine<'_> {
    pub(crate) fn span(&self) -> Span {
        Span::of(self.start, self.end)
    }

    pub(crate) fn content_span(&self) -> Span {
        Span::of(self.start, self.start + self.content.len())
    }

    pub(crate) fn is_blank(&self) -> bool {
        self.content.trim_start().is_empty()
    }

    pub(crate) fn is_comment(&self) -> bool {
        self.content.trim_start().starts_with('#')
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = RawLine<'a>;

    fn next(&mut self) -> Option<RawLine<'a>> {
        let rest = &self.text[self.position..];
        if rest.is_empty() {
            return None;
        }
        let length = rest.find('\n').map_or(rest.len(), |at| at + 1);
        let line = &rest[..length];
        let start = self.position;
        self.position += length;
        Some(RawLine { start, end: start + length, content: line.trim_end_matches(['\r', '\n']) })
    }
}

/// Length of `content`, a line without its newline, up to the continuation at its end; `None` where the line is not
/// continued. An escape character right before the last one takes the continuation back, as in BuildKit.
pub fn continuation(content: &str, escape: char) -> Option<usize> {
    let body = content.trim_end_matches([' ', '\t']).strip_suffix(escape)?;
    if body.ends_with(escape) { None } else { Some(body.len()) }
}

/// An instruction's physical lines joined to one, with the way back to the text.
#[derive(Default)]
pub(crate) struct Logical {
    pub(crate) text: String,
    /// Where each piece begins: here and in the Dockerfile.
    pieces: Vec<(usize, usize)>,
}

impl Logical {
    /// Appends a piece that stands at `source` in the Dockerfile.
    pub(crate) fn push(&mut self, piece: &str, source: usize) {
        if !piece.is_empty() || self.pieces.is_empty() {
            self.pieces.push((self.text.len(), source));
            self.text.push_str(piece);
        }
    }

    /// Where the byte at `offset` stands in the Dockerfile.
    fn source(&self, offset: usize) -> usize {
        let index = self.pieces.partition_point(|&(start, _)| start <= offset);
        match index.checked_sub(1).and_then(|index| self.pieces.get(index)) {
            Some(&(start, source)) => source + (offset - start),
            None => offset,
        }
    }

    /// Where a range of the joined text stands in the Dockerfile.
    pub(crate) fn span(&self, range: &Range<usize>) -> Span {
        if range.is_empty() {
            // After the byte before, so that an empty word does not jump to the next line.
            let at = match range.start.checked_sub(1) {
                Some(before) => self.source(before) + 1,
                None => self.source(0),
            };
            return Span::of(at, at);
        }
        Span::of(self.source(range.start), self.source(range.end - 1) + 1)
    }

    /// Where each piece of a range begins: in that range and in the Dockerfile.
    pub(crate) fn pieces(&self, range: &Range<usize>) -> Vec<(u32, u32)> {
        let first = self.pieces.partition_point(|&(start, _)| start <= range.start).saturating_sub(1);
        let pieces = self.pieces[first..].iter().take_while(|&&(start, _)| start < range.end);
        pieces
            .map(|&(start, source)| {
                let skipped = range.start.saturating_sub(start);
                let place = Span::of(start.saturating_sub(range.start), source + skipped);
                (place.start, place.end)
            })
            .collect()
    }

    /// The word at a range.
    pub(crate) fn word(&self, range: Range<usize>) -> Word {
        Word { span: self.span(&range), text: self.text[range].to_owned() }
    }
}

/// White space between a keyword and its arguments, and between plain words.
pub(crate) fn is_separator(c: char) -> bool {
    matches!(c, '\t' | '\x0b' | '\x0c' | '\r' | ' ')
}

/// `range` without white space at both ends.
pub(crate) fn trim(text: &str, range: Range<usize>) -> Range<usize> {
    let slice = &text[range.clone()];
    let start = range.start + (slice.len() - slice.trim_start().len());
    start..start + slice.trim().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_continuations() {
        assert_eq!(continuation(r"a \", '\\'), Some(2));
        assert_eq!(continuation("a \\ \t ", '\\'), Some(2));
        assert_eq!(continuation(r"\", '\\'), Some(0));
        assert_eq!(continuation(r"a \\", '\\'), None);
        assert_eq!(continuation("a", '\\'), None);
        assert_eq!(continuation("a `", '`'), Some(2));
        assert_eq!(continuation(r"a \", '`'), None);
    }

    #[test]
    fn maps_back_over_pieces() {
        let mut logical = Logical::default();
        logical.push("RUN a", 10);
        logical.push(" b", 30);
        assert_eq!(logical.text, "RUN a b");
        assert_eq!(logical.span(&(4..5)), Span::of(14, 15));
        assert_eq!(logical.span(&(4..7)), Span::of(14, 32));
        assert_eq!(logical.span(&(5..7)), Span::of(30, 32));
        assert_eq!(logical.span(&(7..7)), Span::of(32, 32));
    }
}

//! Places in a Dockerfile's text.

use std::ops::Range;

/// A half-open range of bytes of the Dockerfile's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    /// Offset of the first byte.
    pub start: u32,
    /// Offset after the last byte.
    pub end: u32,
}

impl Span {
    /// The span of the bytes `start..end`. The parser takes no text whose offsets do not fit.
    pub(crate) fn of(start: usize, end: usize) -> Self {
        let clamp = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
        Self { start: clamp(start), end: clamp(end) }
    }

    /// Number of bytes.
    pub fn len(self) -> usize {
        (self.end.saturating_sub(self.start)) as usize
    }

    /// Whether the span holds no byte.
    pub fn is_empty(self) -> bool {
        self.end <= self.start
    }

    /// Whether `offset` lies inside, the end excluded.
    pub fn contains(self, offset: u32) -> bool {
        self.start <= offset && offset < self.end
    }

    /// Whether `other` lies wholly inside.
    pub fn encloses(self, other: Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    /// The smallest span holding both.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    /// The span as a range of byte indexes.
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// The bytes of `text` this span covers; empty where the span does not belong to `text`.
    pub fn slice(self, text: &str) -> &str {
        text.get(self.range()).unwrap_or("")
    }
}

/// Where each line of a text begins: offsets to lines and back. Lines count from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineIndex {
    starts: Vec<u32>,
    end: u32,
}

impl LineIndex {
    /// Finds the lines of `text`. A line ends after its `\n`.
    pub fn new(text: &str) -> Self {
        let mut starts = vec![0];
        starts.extend(text.match_indices('\n').map(|(at, _)| Span::of(at + 1, at + 1).start));
        Self { starts, end: Span::of(0, text.len()).end }
    }

    /// The line that holds the byte at `offset`.
    pub fn line_of(&self, offset: u32) -> u32 {
        Span::of(0, self.starts.partition_point(|&start| start <= offset)).end
    }

    /// First and last line a span touches.
    pub fn lines_of(&self, span: Span) -> (u32, u32) {
        let last = span.end.saturating_sub(1).max(span.start);
        (self.line_of(span.start), self.line_of(last))
    }

    /// The bytes of a line with its newline; `None` past the last line.
    pub fn span_of(&self, line: u32) -> Option<Span> {
        let index = (line as usize).checked_sub(1)?;
        let start = *self.starts.get(index)?;
        Some(Span { start, end: self.starts.get(index + 1).copied().unwrap_or(self.end) })
    }

    /// Number of lines. A text that ends in a newline has an empty last line.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Always false: even the empty text has one line.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }
}

//! The texts that names stand in, and the way from there to the Dockerfile.

use std::borrow::Cow;
use std::ops::Range;

use crate::instruction::{Flag, Instruction, Word};
use crate::span::Span;
use crate::words::{flag_chars, json_chars};

/// A text as the language reads it, with the way back.
pub(super) struct Source<'a> {
    pub(super) text: Cow<'a, str>,
    instruction: &'a Instruction,
    map: Map,
}

enum Map {
    /// It stands in [`Instruction::code`] as it is, from there on.
    Code(usize),
    /// Where each of its bytes stands in [`Instruction::code`]; and its end.
    Bytes(Vec<usize>),
}

impl<'a> Source<'a> {
    /// A word of the body.
    pub(super) fn word(instruction: &'a Instruction, word: &'a Word) -> Self {
        let range = instruction.code_of(word.span);
        let raw = instruction.code.get(range.clone()).unwrap_or_default();
        if raw == word.text {
            return Self { text: Cow::Borrowed(&word.text), instruction, map: Map::Code(range.start) };
        }
        // A string of JSON.
        let mut decoded = Decoded::default();
        json_chars(raw, |at, c| decoded.push((raw, range.start), at, c));
        Self { text: Cow::Owned(decoded.text), instruction, map: Map::Bytes(decoded.map) }
    }

    /// The value of a flag.
    pub(super) fn value(instruction: &'a Instruction, flag: &'a Flag, escape: char) -> Option<Self> {
        let word = flag.value.as_ref()?;
        let range = instruction.code_of(word.span);
        let raw = instruction.code.get(range.clone()).unwrap_or_default();
        if raw == word.text {
            return Some(Self { text: Cow::Borrowed(raw), instruction, map: Map::Code(range.start) });
        }
        // What stands before it may have opened a quote.
        let whole = instruction.code_of(flag.span);
        let raw = instruction.code.get(whole.clone())?;
        let mut decoded = Decoded::default();
        flag_chars(raw, escape, |at, c| decoded.push((raw, whole.start), at, c));
        let cut = decoded.text.len().checked_sub(word.text.len())?;
        let map = decoded.map.get(cut..)?.to_vec();
        let text = decoded.text.get(cut..)?.to_owned();
        Some(Self { text: Cow::Owned(text), instruction, map: Map::Bytes(map) })
    }

    /// Where a part of the text stands.
    pub(super) fn pieces(&self, range: &Range<usize>) -> Vec<Span> {
        match &self.map {
            Map::Code(start) => self.instruction.spans_of(start + range.start..start + range.end),
            Map::Bytes(map) => {
                let mut spans: Vec<Span> = Vec::new();
                for at in range.clone() {
                    let Some(&code) = map.get(at) else { break };
                    let start = self.instruction.source_of(code);
                    match spans.last_mut().filter(|last| last.end == start) {
                        Some(last) => last.end += 1,
                        None => spans.push(Span { start, end: start + 1 }),
                    }
                }
                spans
            }
        }
    }

    /// From its first byte to its last.
    pub(super) fn span(&self, range: &Range<usize>) -> Span {
        let pieces = self.pieces(range);
        match (pieces.first(), pieces.last()) {
            (Some(first), Some(last)) => first.join(*last),
            _ => Span { start: self.instruction.span.start, end: self.instruction.span.start },
        }
    }
}

/// A text as it is put together of characters, and where each of its bytes stands.
#[derive(Default)]
struct Decoded {
    text: String,
    map: Vec<usize>,
}

impl Decoded {
    /// A character that stands at `at` of `raw`, which begins at `base`.
    fn push(&mut self, (raw, base): (&str, usize), at: usize, c: char) {
        // One that is written as an escape has one place for all of its bytes.
        let step = usize::from(raw.get(at..).is_some_and(|rest| rest.starts_with(c)));
        self.map.extend((0..c.len_utf8()).map(|byte| base + at + byte * step));
        self.text.push(c);
    }
}

impl Instruction {
    /// Where a part of [`code`](Self::code) stands: one span, and more where the line is continued within it.
    pub fn spans_of(&self, range: Range<usize>) -> Vec<Span> {
        let mut spans = Vec::new();
        let mut at = range.start;
        let mut next = self.pieces.partition_point(|&(start, _)| start as usize <= at);
        while at < range.end {
            let end = self.pieces.get(next).map_or(range.end, |&(start, _)| range.end.min(start as usize));
            let start = self.source_of(at);
            let length = u32::try_from(end - at).unwrap_or(0);
            spans.push(Span { start, end: start.saturating_add(length) });
            at = end;
            next += 1;
        }
        spans
    }

    /// The part of [`code`](Self::code) that stands at a span which begins and ends in it.
    pub fn code_of(&self, span: Span) -> Range<usize> {
        let offset = |source: u32| {
            let index = self.pieces.partition_point(|&(_, start)| start <= source).saturating_sub(1);
            let (code, start) = self.pieces.get(index).copied().unwrap_or_default();
            code as usize + source.saturating_sub(start) as usize
        };
        let start = offset(span.start);
        if span.is_empty() { start..start } else { start..offset(span.end - 1) + 1 }
    }
}

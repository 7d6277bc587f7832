//! The text of a document, and places in it as the protocol counts them.

use std::ops::Range;

use tower_lsp::ls_types::{Position, Range as LspRange, TextDocumentContentChangeEvent};

/// In what units the columns of positions are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Encoding {
    /// Bytes of UTF-8.
    Utf8,
    /// Code units of UTF-16, which every client knows.
    #[default]
    Utf16,
}

impl Encoding {
    fn width(self, c: char) -> usize {
        match self {
            Self::Utf8 => c.len_utf8(),
            Self::Utf16 => c.len_utf16(),
        }
    }
}

/// A text and where its lines begin. Lines end, as the protocol has it, with `\n`, `\r\n` or `\r`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text {
    content: String,
    starts: Vec<usize>,
}

impl Text {
    pub(crate) fn new(content: String) -> Self {
        let mut starts = vec![0];
        line_starts(&content, 0, &mut starts);
        Self { content, starts }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.content
    }

    /// The place of a byte. One within a character counts as the character's first.
    pub(crate) fn position(&self, offset: usize, encoding: Encoding) -> Position {
        let offset = self.content.floor_char_boundary(offset);
        let line = self.starts.partition_point(|&start| start <= offset) - 1;
        let column: usize = self.content[self.starts[line]..offset].chars().map(|c| encoding.width(c)).sum();
        Position::new(number(line), number(column))
    }

    /// The byte at a place. Columns after the end of a line mean its end, lines after the last the end of the
    /// text, and columns within a character its beginning.
    pub(crate) fn offset(&self, position: Position, encoding: Encoding) -> usize {
        let Some(&start) = self.starts.get(position.line as usize) else {
            return self.content.len();
        };
        let end = self.starts.get(position.line as usize + 1).copied().unwrap_or(self.content.len());
        let line = self.content[start..end].trim_end_matches(['\r', '\n']);
        let mut left = position.character as usize;
        for (at, c) in line.char_indices() {
            let width = encoding.width(c);
            if left < width {
                return start + at;
            }
            left -= width;
        }
        start + line.len()
    }

    /// The places of a range of bytes.
    pub(crate) fn range(&self, range: Range<usize>, encoding: Encoding) -> LspRange {
        LspRange::new(self.position(range.start, encoding), self.position(range.end, encoding))
    }

    /// A way through the text from its beginning, for many places in their order: each step costs what it passes over.
    pub(crate) fn walk(&self, encoding: Encoding) -> Walk<'_> {
        Walk { text: self, encoding, line: 0, at: 0, column: 0 }
    }

    /// Makes a change that the client made: of a range, or of everything.
    pub(crate) fn change(&mut self, change: TextDocumentContentChangeEvent, encoding: Encoding) {
        let Some(range) = change.range else {
            *self = Self::new(change.text);
            return;
        };
        let start = self.offset(range.start, encoding);
        let end = self.offset(range.end, encoding).max(start);
        self.replace(start..end, &change.text);
    }

    /// Replaces a range of bytes and finds the lines around it anew.
    fn replace(&mut self, range: Range<usize>, with: &str) {
        // The line before may end in a carriage return that the change joins with a line feed, and the line
        // after may begin with such a line feed.
        let first = self.starts.partition_point(|&start| start <= range.start).saturating_sub(2);
        let last = (self.starts.partition_point(|&start| start <= range.end) + 1).min(self.starts.len());
        let from = self.starts[first];
        let old_end = self.starts.get(last).copied().unwrap_or(self.content.len());

        self.content.replace_range(range.clone(), with);
        let moved = |offset: usize| offset - range.len() + with.len();
        let mut starts = Vec::new();
        line_starts(&self.content[from..moved(old_end)], from, &mut starts);
        // A line that begins where the examined part ends is among the old ones.
        if last < self.starts.len() {
            starts.pop_if(|start| *start == moved(old_end));
        }
        for start in &mut self.starts[last..] {
            *start = moved(*start);
        }
        self.starts.splice(first + 1..last, starts);
    }
}

/// A place in a text that moves on.
pub(crate) struct Walk<'a> {
    text: &'a Text,
    encoding: Encoding,
    line: usize,
    at: usize,
    column: usize,
}

impl Walk<'_> {
    /// The place of a byte. One before the last that was asked for counts as that.
    pub(crate) fn position(&mut self, offset: usize) -> Position {
        let offset = self.text.content.floor_char_boundary(offset).max(self.at);
        while let Some(&start) = self.text.starts.get(self.line + 1).filter(|&&start| start <= offset) {
            (self.line, self.at, self.column) = (self.line + 1, start, 0);
        }
        let passed = self.text.content.get(self.at..offset).unwrap_or_default();
        self.column += match self.encoding {
            Encoding::Utf8 => passed.len(),
            Encoding::Utf16 => passed.chars().map(char::len_utf16).sum(),
        };
        self.at = offset;
        Position::new(number(self.line), number(self.column))
    }
}

/// Appends where lines begin within `text`, which itself begins at `base`; not `base` itself.
fn line_starts(text: &str, base: usize, starts: &mut Vec<usize>) {
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        if *byte == b'\n' || (*byte == b'\r' && bytes.get(at + 1) != Some(&b'\n')) {
            starts.push(base + at + 1);
        }
    }
}

/// A count as the protocol and spans have it; one that does not fit is the largest.
pub(crate) fn number(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn position(text: &str, offset: usize, encoding: Encoding) -> (u32, u32) {
        let position = Text::new(text.into()).position(offset, encoding);
        (position.line, position.character)
    }

    fn offset(text: &str, line: u32, character: u32, encoding: Encoding) -> usize {
        Text::new(text.into()).offset(Position::new(line, character), encoding)
    }

    #[test]
    fn columns_are_counted_in_units() {
        let text = "a🐳ü\nb";
        assert_eq!(position(text, 5, Encoding::Utf16), (0, 3));
        assert_eq!(position(text, 5, Encoding::Utf8), (0, 5));
        assert_eq!(position(text, 3, Encoding::Utf8), (0, 1), "within a character");
        assert_eq!(position(text, 99, Encoding::Utf16), (1, 1));
        assert_eq!(offset(text, 0, 3, Encoding::Utf16), 5);
        assert_eq!(offset(text, 0, 2, Encoding::Utf16), 1, "between surrogates");
        assert_eq!(offset(text, 0, 5, Encoding::Utf8), 5);
        assert_eq!(offset(text, 0, 99, Encoding::Utf16), 7, "the end of the line");
        assert_eq!(offset(text, 7, 0, Encoding::Utf16), 9, "the end of the text");
    }

    #[test]
    fn lines_end_in_three_ways() {
        let text = "a\r\nb\rc\nd";
        let starts: Vec<usize> = (0..5).map(|line| offset(text, line, 0, Encoding::Utf16)).collect();
        assert_eq!(starts, [0, 3, 5, 7, 8]);
        assert_eq!(offset(text, 0, 9, Encoding::Utf16), 1);
    }

    #[test]
    fn a_change_may_join_lines_ends() {
        let mut text = Text::new("a\rb\nc".into());
        text.replace(2..3, "");
        assert_eq!(text, Text::new("a\r\nc".into()));
        text.replace(2..2, "x");
        assert_eq!(text, Text::new("a\rx\nc".into()));
        text.replace(0..4, "");
        assert_eq!(text, Text::new("c".into()));
    }

    proptest! {
        /// The client's own idea of its text: lines, and columns in them.
        #[test]
        fn edits_give_the_clients_text(
            start in "[a🐳ü\r\n]{0,20}",
            edits in proptest::collection::vec((0..30usize, 0..10usize, "[b🐬ö\r\n]{0,6}"), 0..12),
            utf8: bool,
        ) {
            let encoding = if utf8 { Encoding::Utf8 } else { Encoding::Utf16 };
            let mut client: Vec<char> = start.chars().collect();
            let mut server = Text::new(start);
            for (at, length, insert) in edits {
                let from = at.min(client.len());
                let to = (from + length).min(client.len());
                // An editor's cursor does not stand between the two characters of a line end.
                let splits = |i: usize| i > 0 && i < client.len() && client[i - 1] == '\r' && client[i] == '\n';
                if splits(from) || splits(to) {
                    continue;
                }
                let range = LspRange::new(place(&client, from, encoding), place(&client, to, encoding));
                client.splice(from..to, insert.chars());
                let change = TextDocumentContentChangeEvent { range: Some(range), range_length: None, text: insert };
                server.change(change, encoding);
                let wanted: String = client.iter().collect();
                prop_assert_eq!(server.as_str(), wanted.as_str());
                prop_assert_eq!(&server, &Text::new(wanted));
            }
        }

        #[test]
        fn a_walk_finds_the_same_places(text in "[ab🐳ü\r\n]{0,30}", mut at in proptest::collection::vec(0..130usize, 0..9), utf8: bool) {
            let encoding = if utf8 { Encoding::Utf8 } else { Encoding::Utf16 };
            let text = Text::new(text);
            let mut walk = text.walk(encoding);
            at.sort_unstable();
            for at in at {
                prop_assert_eq!(walk.position(at), text.position(at, encoding));
            }
        }

        #[test]
        fn places_lead_back(text in "[ab🐳ü\r\n]{0,30}", at in 0..120usize, utf8: bool) {
            let encoding = if utf8 { Encoding::Utf8 } else { Encoding::Utf16 };
            let text = Text::new(text);
            let at = text.as_str().floor_char_boundary(at);
            let within_line_end = text.as_str()[..at].ends_with('\r') && text.as_str()[at..].starts_with('\n');
            if !within_line_end {
                prop_assert_eq!(text.offset(text.position(at, encoding), encoding), at);
            }
        }
    }

    fn place(chars: &[char], at: usize, encoding: Encoding) -> Position {
        let (mut line, mut column) = (0, 0);
        for i in 0..at {
            let ends = chars[i] == '\n' || (chars[i] == '\r' && chars.get(i + 1) != Some(&'\n'));
            if ends {
                (line, column) = (line + 1, 0);
            } else {
                column += encoding.width(chars[i]);
            }
        }
        Position::new(line, number(column))
    }
}

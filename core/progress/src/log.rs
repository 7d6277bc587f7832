//! Output of a step as lines that are safe to print.
//!
//! Steps write what they like. Here their bytes become lines of text in which only colours (SGR sequences) are
//! left of all escape sequences, so that no output can move the cursor, clear the screen, set the clipboard or
//! hide what another step wrote.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt::Write as _;

use jiff::SignedDuration;

/// Longest line in bytes; longer ones are broken.
const LINE_LIMIT: usize = 64 * 1024;
/// Bytes handed to a parser at a time: its search for escapes in text that is not UTF-8 is quadratic in this.
const CHUNK: usize = 4096;

/// What a line takes besides its text, about: of empty lines, too, only so many are kept.
const LINE_OVERHEAD: usize = 64;

const RESET: &str = "\x1b[0m";

/// One line of output.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// When its first byte was written, from the start of the step.
    pub(crate) at: SignedDuration,
    /// The text without its line end, ending with a reset if it holds colours and is complete.
    pub(crate) text: String,
}

/// The output of one step, of which the oldest lines may have been dropped.
#[derive(Default)]
pub(crate) struct Log {
    parser: vte::Parser,
    lines: Lines,
}

#[derive(Default)]
struct Lines {
    kept: VecDeque<Line>,
    dropped: u64,
    /// The last line has no line end yet.
    open: bool,
    /// The last line has colours that were not reset.
    styled: bool,
    /// A carriage return came last: the line ends there unless a line feed follows, which belongs to it.
    returned: bool,
    bytes: usize,
    now: SignedDuration,
}

impl Log {
    /// Takes what the step wrote at a time since its start. A character that is cut between two writes has
    /// been put together already, see [`Carry`].
    pub(crate) fn write(&mut self, data: &[u8], at: SignedDuration) {
        self.lines.now = at;
        for chunk in chunks(data) {
            self.parser.advance(&mut self.lines, chunk);
        }
    }

    /// How many lines there were in all, the last of which may be incomplete.
    pub(crate) fn count(&self) -> u64 {
        self.lines.dropped + self.lines.kept.len() as u64
    }

    /// Whether the last line has no line end yet.
    pub(crate) fn is_open(&self) -> bool {
        self.lines.open
    }

    /// How many lines were dropped.
    pub(crate) fn dropped(&self) -> u64 {
        self.lines.dropped
    }

    /// Bytes held, about.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.lines.bytes
    }

    /// The lines from a number on, counted from 0 at the first ever written.
    pub(crate) fn lines_from(&self, number: u64) -> impl Iterator<Item = &Line> {
        let skip = usize::try_from(number.saturating_sub(self.lines.dropped)).unwrap_or(usize::MAX);
        self.lines.kept.iter().skip(skip)
    }

    /// Drops the oldest lines until no more than so many bytes are held, but keeps so many lines.
    pub(crate) fn trim(&mut self, bytes: usize, lines: usize) {
        while self.lines.bytes > bytes && self.lines.kept.len() > lines {
            if let Some(line) = self.lines.kept.pop_front() {
                self.lines.bytes -= line.text.len() + LINE_OVERHEAD;
                self.lines.dropped += 1;
            }
        }
    }

    /// The last lines, without colours.
    pub(crate) fn tail(&self, lines: usize) -> Vec<String> {
        let skip = self.lines.kept.len().saturating_sub(lines);
        self.lines.kept.iter().skip(skip).map(|line| without_colors(&line.text)).collect()
    }
}

/// The bytes of a character that was cut between two writes, until the rest comes.
///
/// The parsers put characters together themselves, but lose what follows some of them.
#[derive(Default)]
pub(crate) struct Carry(Vec<u8>);

impl Carry {
    /// What can be used of the bytes held and those that came now.
    pub(crate) fn take<'a>(&mut self, data: &'a [u8]) -> Cow<'a, [u8]> {
        let mut whole = if self.0.is_empty() {
            Cow::Borrowed(data)
        } else {
            self.0.extend_from_slice(data);
            Cow::Owned(std::mem::take(&mut self.0))
        };
        let cut = cut_character(&whole);
        match &mut whole {
            Cow::Borrowed(bytes) => {
                let (head, tail) = bytes.split_at(cut);
                self.0 = tail.to_vec();
                *bytes = head;
            }
            Cow::Owned(bytes) => self.0 = bytes.split_off(cut),
        }
        whole
    }
}

/// Where the character begins of which only the first bytes stand at the end; the length if there is none.
fn cut_character(bytes: &[u8]) -> usize {
    let end = bytes.len();
    for back in 1..=end.min(3) {
        let needed = match bytes[end - back] {
            0x80..=0xbf => continue,
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => 1,
        };
        return if needed > back { end - back } else { end };
    }
    end
}

/// Output in pieces for a parser, none of which ends within a character.
pub(crate) fn chunks(mut data: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let end = if data.len() > CHUNK { cut_character(&data[..CHUNK]) } else { data.len() };
        let (chunk, rest) = data.split_at(end);
        data = rest;
        (!chunk.is_empty()).then_some(chunk)
    })
}

/// A log line without its colour sequences, the only ones it can hold.
pub(crate) fn without_colors(line: &str) -> String {
    let mut pieces = line.split("\x1b[");
    let mut text = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        text.push_str(piece.split_once('m').map_or("", |(_, rest)| rest));
    }
    text
}

impl Lines {
    fn push(&mut self, text: &str) {
        if self.returned {
            self.end();
        }
        let full = self.kept.back().is_some_and(|line| line.text.len() + text.len() > LINE_LIMIT);
        if self.open && full {
            self.end();
        }
        if !self.open {
            self.kept.push_back(Line { at: self.now, text: String::new() });
            self.bytes += LINE_OVERHEAD;
            self.open = true;
        }
        if let Some(line) = self.kept.back_mut() {
            line.text.push_str(text);
            self.bytes += text.len();
        }
    }

    fn end(&mut self) {
        self.returned = false;
        if !self.open {
            self.push("");
        }
        if self.styled
            && let Some(line) = self.kept.back_mut()
        {
            line.text.push_str(RESET);
            self.bytes += RESET.len();
        }
        self.styled = false;
        self.open = false;
    }
}

impl vte::Perform for Lines {
    fn print(&mut self, c: char) {
        if !c.is_control() {
            self.push(c.encode_utf8(&mut [0; 4]));
        }
    }

    fn execute(&mut self, byte: u8) {
        match byte {
            b'\n' => self.end(),
            // A step that draws over its line, such as a progress bar, gets a line for each picture.
            b'\r' => {
                if self.returned {
                    return;
                }
                self.returned = self.open;
            }
            b'\t' => self.push("\t"),
            _ => {}
        }
    }

    fn csi_dispatch(&mut self, params: &vte::Params, intermediates: &[u8], ignore: bool, action: char) {
        if action != 'm' || ignore || !intermediates.is_empty() {
            return;
        }
        let mut sequence = String::from("\x1b[");
        let mut last: &[u16] = &[];
        for (i, param) in params.iter().enumerate() {
            if i > 0 {
                sequence.push(';');
            }
            for (j, number) in param.iter().enumerate() {
                let colon = if j > 0 { ":" } else { "" };
                let _ = write!(sequence, "{colon}{number}");
            }
            last = param;
        }
        sequence.push('m');
        let styled = last != [0];
        self.push(&sequence);
        self.styled = styled;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(chunks: &[&[u8]]) -> Vec<String> {
        let mut log = Log::default();
        let mut carry = Carry::default();
        for chunk in chunks {
            log.write(&carry.take(chunk), SignedDuration::ZERO);
        }
        log.lines_from(0).map(|line| line.text.clone()).collect()
    }

    #[test]
    fn lines_end_at_line_feeds_and_returns() {
        assert_eq!(lines(&[b"a\nb\r\nc\r", b"\nd\re\r\r\n\n", b"f"]), ["a", "b", "c", "d", "e", "", "f"]);
    }

    #[test]
    fn characters_may_be_cut_between_writes() {
        assert_eq!(lines(&[b"gr\xc3", b"\xbcn \xf0\x9f", b"\x90\xb3 \xff\n"]), ["grün 🐳 \u{fffd}"]);
    }

    #[test]
    fn colors_stay_and_are_reset() {
        assert_eq!(
            lines(&[b"\x1b[1;31mred\nplain \x1b[32mok\x1b[m\n"]),
            ["\x1b[1;31mred\x1b[0m", "plain \x1b[32mok\x1b[0m"]
        );
        assert_eq!(without_colors("plain \x1b[32mok\x1b[0m!"), "plain ok!");
    }

    #[test]
    fn other_sequences_go() {
        let hostile: &[&[u8]] = &[
            b"\x1b[2J\x1b[1;1Hup\x1b[3A\x1b]0;title\x07\x1b]52;c;aGk=\x1b\\",
            b"\x1bP$q\"p\x1b\\\x1bc\x1b7\x1b(0\x0e\x07\x08\xc2\x9b5A\x9b5A\x7f!\x1b[?25l\x1b[>4;2m\n",
        ];
        assert_eq!(lines(hostile), ["up5A5A!"]);
    }

    #[test]
    fn endless_lines_and_strings_are_bounded() {
        let mut log = Log::default();
        for _ in 0..300 {
            log.write(&[b'x'; 1000], SignedDuration::ZERO);
        }
        assert_eq!(log.count(), 5);
        assert!(log.lines_from(0).all(|line| line.text.len() <= LINE_LIMIT));
        log.write(b"\x1b]", SignedDuration::ZERO);
        for _ in 0..300 {
            log.write(&[b'x'; 1000], SignedDuration::ZERO);
        }
        assert_eq!(log.bytes(), 300_000 + 5 * LINE_OVERHEAD);
        log.trim(100_000, 1);
        assert_eq!((log.count(), log.dropped()), (5, 4));
        log.trim(0, 2);
        assert_eq!(log.lines_from(0).count(), 1);
        // The parser keeps an endless string in a buffer of its own: it must be the one of a fixed size, which is
        // what it has without its feature "std".
        assert!(size_of::<vte::Parser>() > 1024);
    }

    #[test]
    fn empty_lines_are_bounded() {
        let mut log = Log::default();
        for _ in 0..1000 {
            log.write(&[b'\n'; 1000], SignedDuration::ZERO);
            log.trim(64 * 1024, 10);
            assert!(log.lines_from(0).count() <= 2000);
        }
        assert_eq!(log.count(), 1_000_000);
    }

    proptest! {
        #[test]
        fn no_output_escapes(chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..20)) {
            let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
            for line in lines(&chunks) {
                prop_assert!(without_colors(&line).chars().all(|c| c == '\t' || !c.is_control()), "{:?}", line);
            }
        }

        #[test]
        fn where_writes_are_cut_does_not_matter(text in "[ a-cü構🐳\r\n\x1b\\[;m0-3]{0,60}", at in 0..60usize) {
            let bytes = text.as_bytes();
            let (head, tail) = bytes.split_at(at.min(bytes.len()));
            prop_assert_eq!(lines(&[head, tail]), lines(&[bytes]));
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(lines(&single), lines(&[bytes]));
            let long = text.repeat(200);
            prop_assert_eq!(chunks(long.as_bytes()).collect::<Vec<_>>().concat(), long.as_bytes());
            prop_assert!(chunks(long.as_bytes()).all(|chunk| std::str::from_utf8(chunk).is_ok()));
        }
    }
}

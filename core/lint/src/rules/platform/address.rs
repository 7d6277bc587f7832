//! URLs in the text of an instruction.

use std::collections::HashMap;
use std::ops::Range;

use super::site::{Piece, Site, is_about_platforms};
use crate::arch::Style;

/// A URL as it stands in a piece of text.
pub(super) struct Address<'a> {
    pub(super) piece: Piece<'a>,
    /// Where in the piece.
    pub(super) range: Range<usize>,
    parts: Vec<(Range<usize>, Part<'a>)>,
}

/// A part of a URL.
enum Part<'a> {
    Text,
    Variable(&'a str),
    Command(&'a str),
    Other,
}

/// What a part of a URL is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Known(String),
    /// The architecture of the platform, spelled in this way; where it is asked for.
    Asked(Style, Range<usize>),
    /// It may be anything.
    Unknown,
    /// It is likely to depend on the architecture.
    Depends,
}

/// What the variables of a script are set to; one that is set twice may be anything.
pub(super) type Assigned = HashMap<String, Value>;

/// A URL with what its variables are known to be.
pub(super) struct Expanded {
    pub(super) text: String,
    /// Where the parts begin in `text`, and where they stand in the piece; of a text itself, it is moved.
    parts: Vec<(usize, Range<usize>, bool)>,
    /// It has a part that may depend on the architecture.
    pub(super) depends: bool,
    /// The architecture of the platform is in it.
    pub(super) asked: Vec<(Style, Range<usize>)>,
}

/// What stands in an expanded URL for what is not known.
const UNKNOWN: char = '\u{fffc}';

/// The URLs in a piece, those in comments of a script excluded.
pub(super) fn addresses<'a>(piece: Piece<'a>) -> Vec<Address<'a>> {
    let text = piece.text;
    let mut all: Vec<Address<'a>> = Vec::new();
    for (at, _) in text.match_indices("://") {
        let scheme = text[..at].trim_end_matches(|c: char| c.is_ascii_alphanumeric() || c == '+');
        let start = scheme.len();
        let is_next = all.last().is_none_or(|last| last.range.end <= start);
        if start < at && is_next && !piece.is_comment(start) {
            let (parts, end) = parts(text, start);
            all.push(Address { piece, range: start..end, parts });
        }
    }
    all
}

/// The parts of a word from a place on, and its end.
fn parts(text: &str, start: usize) -> (Vec<(Range<usize>, Part<'_>)>, usize) {
    let mut parts = Vec::new();
    let (mut at, mut from) = (start, start);
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        let part = if let Some(inner) = rest.strip_prefix("$(") {
            close(inner).map(|end| (end + 3, Part::Command(&inner[..end])))
        } else if let Some(inner) = rest.strip_prefix("${") {
            inner.find('}').map(|end| {
                let name = &inner[..end];
                (end + 3, if is_name(name) { Part::Variable(name) } else { Part::Other })
            })
        } else if let Some(inner) = rest.strip_prefix('$') {
            let end = inner.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(inner.len());
            (end > 0).then(|| (end + 1, Part::Variable(&inner[..end])))
        } else if let Some(inner) = rest.strip_prefix('`') {
            inner.find('`').map(|end| (end + 2, Part::Command(&inner[..end])))
        } else {
            None
        };
        if let Some((length, part)) = part {
            if from < at {
                parts.push((from..at, Part::Text));
            }
            parts.push((at..at + length, part));
            at += length;
            from = at;
        } else if c.is_whitespace() || "\"'`;|<>()\\^".contains(c) || rest.starts_with("&&") {
            break;
        } else {
            at += c.len_utf8();
        }
    }
    if from < at {
        parts.push((from..at, Part::Text));
    }
    (parts, at)
}

/// Where the parenthesis closes that is open at the beginning of a text.
fn close(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' if depth == 0 => return Some(at),
            ')' => depth -= 1,
            _ => {}
        }
    }
    None
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The spelling that a command prints.
fn asked(command: &str) -> Option<Style> {
    match command.split_whitespace().collect::<Vec<_>>().as_slice() {
        ["uname", "-m" | "-p" | "-i" | "--machine"] | ["arch"] => Some(Style::Kernel),
        ["dpkg", "--print-architecture"] => Some(Style::Debian),
        ["apk", "--print-arch"] => Some(Style::Alpine),
        _ => None,
    }
}

/// What the variables are set to in pieces of a script.
pub(super) fn assigned(pieces: &[Piece<'_>]) -> Assigned {
    let mut all = Assigned::new();
    for piece in pieces {
        let text = piece.text;
        for (at, _) in text.match_indices('=') {
            let before = text[..at].trim_end_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
            let name = &text[before.len()..at];
            let is_first =
                before.is_empty() || before.ends_with(|c: char| c.is_whitespace() || ";&|(".contains(c));
            if !is_first || !is_name(name) || name.starts_with(|c: char| c.is_ascii_digit()) {
                continue;
            }
            let value = value(text, at + 1);
            let known = all.entry(name.to_owned());
            known.and_modify(|known| *known = Value::Depends).or_insert(value);
        }
    }
    all
}

/// The value that begins at a place.
fn value(text: &str, at: usize) -> Value {
    let quote = text[at..].chars().next().filter(|c| matches!(c, '"' | '\''));
    let start = at + quote.map_or(0, char::len_utf8);
    let (parts, end) = parts(text, start);
    let whole = match quote {
        Some(quote) => text[end..].starts_with(quote),
        None => !text[end..].starts_with(['"', '\'']),
    };
    match parts.as_slice() {
        [(range, Part::Text)] if whole => Value::Known(text[range.clone()].to_owned()),
        [(range, Part::Command(command))] if whole => match asked(command) {
            Some(style) => Value::Asked(style, range.clone()),
            None => Value::Depends,
        },
        [(range, Part::Variable("TARGETARCH"))] if whole => Value::Asked(Style::Docker, range.clone()),
        _ => Value::Depends,
    }
}

impl<'a> Address<'a> {
    /// The URL as it is for the platform.
    pub(super) fn expand(&self, site: &Site<'a>, set: &Assigned) -> Expanded {
        let mut expanded =
            Expanded { text: String::new(), parts: Vec::new(), depends: false, asked: Vec::new() };
        for (range, part) in &self.parts {
            let value = match part {
                Part::Text => Value::Known(self.piece.text[range.clone()].to_owned()),
                Part::Variable(name) => variable(site, set, name, range),
                Part::Command(command) => match asked(command) {
                    Some(style) => Value::Asked(style, range.clone()),
                    None if command.contains("arch") || command.contains("uname") => Value::Depends,
                    None => Value::Unknown,
                },
                Part::Other => Value::Depends,
            };
            expanded.parts.push((expanded.text.len(), range.clone(), matches!(part, Part::Text)));
            match value {
                Value::Known(text) => expanded.text.push_str(&text),
                Value::Asked(style, place) => {
                    expanded.text.push(UNKNOWN);
                    expanded.asked.push((style, place));
                }
                Value::Unknown => expanded.text.push(UNKNOWN),
                Value::Depends => {
                    expanded.text.push(UNKNOWN);
                    expanded.depends = true;
                }
            }
        }
        expanded
    }
}

/// What a variable of a script is.
fn variable(site: &Site<'_>, set: &Assigned, name: &str, range: &Range<usize>) -> Value {
    if let Some(value) = set.get(name) {
        return match value {
            Value::Depends if !is_about_platforms(name) => Value::Unknown,
            value => value.clone(),
        };
    }
    match site.value(name) {
        Some(_) if name == "TARGETARCH" => Value::Asked(Style::Docker, range.clone()),
        Some(value) => Value::Known(value.to_owned()),
        None if is_about_platforms(name) => Value::Depends,
        None => Value::Unknown,
    }
}

impl Expanded {
    /// Where the path begins that tells files of a server apart; of a repository of a forge what is in it.
    pub(super) fn path(&self) -> usize {
        let host = self.text.find("://").map_or(0, |at| at + 3);
        let rest = &self.text[host..];
        let forge = ["github.com/", "gitlab.com/", "raw.githubusercontent.com/", "codeload.github.com/"];
        let is_forge = forge.iter().any(|forge| rest.starts_with(forge));
        let slashes = if is_forge { 3 } else { 1 };
        rest.match_indices('/').nth(slashes - 1).map_or(self.text.len(), |(at, _)| host + at)
    }

    /// Where a part stands in the piece, and whether it is written there as it is.
    pub(super) fn source(&self, range: &Range<usize>) -> (Range<usize>, bool) {
        let index = self.parts.partition_point(|(start, ..)| *start <= range.start);
        let Some((start, source, literal)) = index.checked_sub(1).and_then(|index| self.parts.get(index))
        else {
            return (0..0, false);
        };
        if !literal {
            return (source.clone(), false);
        }
        let at = source.start + (range.start - start);
        let end = (source.start + (range.end - start)).min(source.end);
        (at..end.max(at), range.len() == end.saturating_sub(at))
    }
}

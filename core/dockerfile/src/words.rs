//! Cutting the arguments of an instruction into words.

use std::ops::Range;

use crate::instruction::{Flag, Word};
use crate::line::{Logical, is_separator};

/// Words between white space, quotes without meaning.
pub(crate) fn plain(text: &str, range: Range<usize>) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    let mut start = None;
    for (at, c) in text[range.clone()].char_indices() {
        let at = range.start + at;
        if is_separator(c) {
            words.extend(start.take().map(|start| start..at));
        } else {
            start.get_or_insert(at);
        }
    }
    words.extend(start.map(|start| start..range.end));
    words
}

/// Words between white space that is neither quoted nor escaped. Quotes and escapes stay in the words; an escape
/// character at the very end is dropped.
pub(crate) fn quoted(text: &str, range: Range<usize>, escape: char) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    let mut start: Option<usize> = None;
    let mut quote: Option<char> = None;
    let mut end = range.end;
    let mut chars = text[range.clone()].char_indices().map(|(at, c)| (range.start + at, c));
    while let Some((at, c)) = chars.next() {
        if quote.is_none() && c.is_whitespace() {
            words.extend(start.take().map(|start| start..at));
            continue;
        }
        start.get_or_insert(at);
        if c == escape && quote != Some('\'') {
            if chars.next().is_none() {
                end = at;
            }
            continue;
        }
        match quote {
            Some(open) if c == open => quote = None,
            None if matches!(c, '\'' | '"') => quote = Some(c),
            _ => {}
        }
    }
    words.extend(start.filter(|&start| start < end).map(|start| start..end));
    words
}

/// The flags at the beginning of `range`, and where the arguments after them begin.
pub(crate) fn flags(line: &Logical, range: Range<usize>, escape: char) -> (Vec<Flag>, usize) {
    let text = &line.text;
    let mut flags = Vec::new();
    let mut position = range.start;
    loop {
        let rest = &text[position..range.end];
        position += rest.len() - rest.trim_start().len();
        if !text[position..range.end].starts_with("--") {
            return (flags, position);
        }
        let start = position;
        let mut value = String::new();
        let mut equals = None;
        position = start
            + flag_chars(&text[start..range.end], escape, |at, c| {
                // Escaped or quoted, it parts the name from the value.
                if c == '=' && equals.is_none() {
                    equals = Some((value.len(), start + at));
                }
                value.push(c);
            });
        if value == "--" {
            return (flags, position);
        }
        let span = line.span(&(start..position));
        let (name, value) = match equals {
            Some((cut, at)) => (
                Word { span: line.span(&(start + 2..at.max(start + 2))), text: cut_name(&value[..cut]) },
                Some(Word { span: line.span(&(at + 1..position)), text: value[cut + 1..].to_owned() }),
            ),
            None => (Word { span: line.span(&(start + 2..position)), text: cut_name(&value) }, None),
        };
        flags.push(Flag { span, name, value });
    }
}

/// Reads a flag up to the white space after it, and tells of each of its characters, without quotes and escapes, where
/// it stands. Answers its length.
pub(crate) fn flag_chars(text: &str, escape: char, mut each: impl FnMut(usize, char)) -> usize {
    let mut quote: Option<char> = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        if quote.is_none() && c.is_whitespace() {
            return at;
        }
        if quote == Some(c) {
            quote = None;
            continue;
        }
        if quote.is_none() && matches!(c, '\'' | '"') {
            quote = Some(c);
            continue;
        }
        let Some((at, c)) = (if c == escape { chars.next() } else { Some((at, c)) }) else { continue };
        each(at, c);
    }
    text.len()
}

fn cut_name(flag: &str) -> String {
    flag.strip_prefix("--").unwrap_or(flag).to_owned()
}

/// What a text that may be a JSON array of strings is.
pub(crate) enum Json {
    /// No JSON array.
    No,
    /// A JSON array with something else than strings in it.
    NotStrings,
    /// Its strings.
    Strings(Vec<Word>),
}

/// Reads `range` as a JSON array of strings.
pub(crate) fn json(line: &Logical, range: Range<usize>) -> Json {
    let slice = &line.text[range.clone()];
    if !slice.starts_with('[') {
        return Json::No;
    }
    if let Some(words) = json_strings(line, range) {
        return Json::Strings(words);
    }
    match serde_json::from_str::<Vec<serde::de::IgnoredAny>>(slice) {
        Ok(items) if !items.is_empty() => Json::NotStrings,
        _ => Json::No,
    }
}

fn json_strings(line: &Logical, range: Range<usize>) -> Option<Vec<Word>> {
    let text = &line.text[..range.end];
    let skip =
        |at: usize| at + (text[at..].len() - text[at..].trim_start_matches([' ', '\t', '\r', '\n']).len());
    let mut words = Vec::new();
    let mut position = skip(range.start + 1);
    if text[position..].starts_with(']') {
        return (skip(position + 1) == range.end).then_some(words);
    }
    loop {
        let start = position;
        let (value, length) = json_string(&text[position..])?;
        position += length;
        words.push(Word { span: line.span(&(start..position)), text: value });
        position = skip(position);
        match text[position..].chars().next()? {
            ',' => position = skip(position + 1),
            ']' => return (skip(position + 1) == range.end).then_some(words),
            _ => return None,
        }
    }
}

/// The JSON string `text` begins with, decoded, and its length as written. A lone surrogate becomes U+FFFD.
fn json_string(text: &str) -> Option<(String, usize)> {
    let mut value = String::new();
    let length = json_chars(text, |_, c| value.push(c))?;
    Some((value, length))
}

/// Reads the JSON string `text` begins with, and tells of each of its characters where it stands. Answers the length.
pub(crate) fn json_chars(text: &str, mut each: impl FnMut(usize, char)) -> Option<usize> {
    let mut chars = text.char_indices();
    if chars.next()?.1 != '"' {
        return None;
    }
    let hex = |at: usize| {
        let digits = text.get(at..at + 4).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
        u16::from_str_radix(digits, 16).ok()
    };
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some(at + 1),
            '\\' => match chars.next()?.1 {
                c @ ('"' | '\\' | '/') => each(at, c),
                'b' => each(at, '\x08'),
                'f' => each(at, '\x0c'),
                'n' => each(at, '\n'),
                'r' => each(at, '\r'),
                't' => each(at, '\t'),
                'u' => {
                    let first = hex(at + 2)?;
                    chars.nth(3)?;
                    let second = text[at + 6..].starts_with("\\u").then(|| hex(at + 8)).flatten();
                    let pair = second.map(|second| char::decode_utf16([first, second]).next());
                    match pair {
                        Some(Some(Ok(c))) if c.len_utf16() == 2 => {
                            chars.nth(5)?;
                            each(at, c);
                        }
                        _ => each(at, char::from_u32(first.into()).unwrap_or(char::REPLACEMENT_CHARACTER)),
                    }
                }
                _ => return None,
            },
            c if c < ' ' => return None,
            c => each(at, c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logical(text: &str) -> Logical {
        let mut line = Logical::default();
        line.push(text, 0);
        line
    }

    fn strings(text: &str) -> Option<Vec<String>> {
        match json(&logical(text), 0..text.len()) {
            Json::Strings(words) => Some(words.into_iter().map(|word| word.text).collect()),
            Json::No | Json::NotStrings => None,
        }
    }

    #[test]
    fn reads_json_arrays_of_strings() {
        assert_eq!(strings(r#"["a", "b c"]"#).unwrap(), ["a", "b c"]);
        assert_eq!(strings("[ ]").unwrap(), [""; 0]);
        assert_eq!(strings(r#"["\u00e9\n\"\ud83d\ude00\ud800"]"#).unwrap(), ["é\n\"😀\u{fffd}"]);
        for text in [r#"["a",]"#, r#"["a"] x"#, "['a']", r#"["a"#, r#"["\x"]"#, r#"["\u12"]"#, "[a]", "["] {
            assert!(matches!(json(&logical(text), 0..text.len()), Json::No), "{text}");
        }
        for text in ["[1]", r#"["a", {"b": []}]"#, "[null]"] {
            assert!(matches!(json(&logical(text), 0..text.len()), Json::NotStrings), "{text}");
        }
    }

    #[test]
    fn splits_words_with_quotes() {
        let split = |text: &'static str, escape| {
            quoted(text, 0..text.len(), escape).into_iter().map(|range| &text[range]).collect::<Vec<_>>()
        };
        assert_eq!(split(r#"a="b c" d=e\ f g='h\' i"#, '\\'), [r#"a="b c""#, r"d=e\ f", r"g='h\'", "i"]);
        assert_eq!(split("a=b` c d", '`'), ["a=b` c", "d"]);
        assert_eq!(split(r"a \", '\\'), ["a"]);
        assert_eq!(split(r#"a="b c"#, '\\'), [r#"a="b c"#]);
    }

    #[test]
    fn takes_flags_off_the_front() {
        let text = r#"--a --b="c d" --e=f\ g -- --h i"#;
        let (flags, rest) = flags(&logical(text), 0..text.len(), '\\');
        let shown: Vec<_> = flags
            .iter()
            .map(|flag| (flag.name.text.as_str(), flag.value.as_ref().map(|v| v.text.as_str())))
            .collect();
        assert_eq!(shown, [("a", None), ("b", Some("c d")), ("e", Some("f g"))]);
        assert_eq!(&text[rest..], " --h i");
        assert_eq!(flags[1].span.slice(text), r#"--b="c d""#);
        assert_eq!(flags[1].value.as_ref().unwrap().span.slice(text), r#""c d""#);
    }
}

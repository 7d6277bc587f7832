//! The syntax line of texts that are no Dockerfiles: BuildKit looks for it in other comments and in JSON, too.

use crate::dockerfile::Directive;
use crate::line::{Lines, trim};
use crate::span::Span;

/// The directives that may stand before `syntax`.
const KNOWN: [&str; 3] = ["syntax", "escape", "check"];

/// Finds `// syntax=…` in the first lines, else `{"syntax": "…"}`. A first line that begins with `#!` is left out.
pub(crate) fn elsewhere(text: &str) -> Option<Directive> {
    let mut start = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    if text[start..].starts_with("#!") {
        start += text[start..].find('\n')? + 1;
    }
    slashes(text, start).or_else(|| json(text, start))
}

fn slashes(text: &str, start: usize) -> Option<Directive> {
    let mut seen = Vec::new();
    for line in (Lines { text, position: start }) {
        let found = assignment(text, line.start, line.start + line.content.len())?;
        let name = found.name_span.slice(text).to_ascii_lowercase();
        if name == "syntax" {
            return Some(found);
        }
        if !KNOWN.contains(&name.as_str()) || seen.contains(&name) {
            return None;
        }
        seen.push(name);
    }
    None
}

/// Reads `// name = value`.
fn assignment(text: &str, start: usize, end: usize) -> Option<Directive> {
    let rest = text[start..end].strip_prefix("//")?;
    let name = trim(text, end - rest.len()..end);
    let length = text[name.clone()].find(|c: char| !c.is_ascii_alphanumeric())?;
    let equals = trim(text, name.start + length..end);
    let value = trim(text, end - text[equals].strip_prefix('=').map_or(0, str::len)..end);
    let named = text[name.start..].starts_with(|c: char| c.is_ascii_alphabetic());
    (named && !value.is_empty()).then(|| Directive {
        span: Span::of(start, end),
        name_span: Span::of(name.start, name.start + length),
        value_span: Span::of(value.start, value.end),
        value: text[value].to_owned(),
    })
}

fn json(text: &str, start: usize) -> Option<Directive> {
    let whole = trim(text, start..text.len());
    if !text[whole.clone()].starts_with('{') {
        return None;
    }
    let object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(&text[whole.clone()]).ok()?;
    let span = Span::of(whole.start, whole.end);
    let value = object.get("syntax")?.as_str()?.to_owned();
    Some(Directive { span, name_span: span, value_span: span, value })
}

#[cfg(test)]
mod tests {
    use super::elsewhere;

    #[test]
    fn finds_the_line_in_other_languages() {
        for (text, value) in [
            ("// syntax=a/b:1", Some("a/b:1")),
            ("//syntax = a/b:1 --x \r\nx", Some("a/b:1 --x")),
            ("\u{feff}#!/usr/bin/x\n// check=skip=all\n// SYNTAX=a\n", Some("a")),
            ("// escape=`\n// escape=`\n// syntax=a", None),
            ("// other=x\n// syntax=a", None),
            ("\n// syntax=a", None),
            (" // syntax=a", None),
            ("// syntax=", None),
            ("// syntax", None),
            ("// 1=x", None),
            ("#! syntax=a", None),
            ("{\"x\": 1, \"syntax\": \"a/b:1 --x\"}\n", Some("a/b:1 --x")),
            (" #!x\n{\"syntax\": \"a\"}", None),
            ("#!x\n\n{\"syntax\": \"a\"}", Some("a")),
            ("{\"syntax\": 1}", None),
            ("{\"syntax\": \"a\"} x", None),
            ("[\"syntax\"]", None),
        ] {
            let found = elsewhere(text);
            assert_eq!(found.as_ref().map(|found| found.value.as_str()), value, "{text:?}");
            if let Some(found) = found {
                assert!(found.span.encloses(found.value_span) && text.get(found.span.range()).is_some());
            }
        }
    }
}

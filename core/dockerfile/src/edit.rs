//! Changes of a text.

use crate::span::Span;

/// A change of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// What is replaced; nothing, where it is empty.
    pub span: Span,
    /// What comes there.
    pub text: String,
}

/// The text after edits that do not overlap and are in order.
pub fn apply(text: &str, edits: &[Edit]) -> String {
    let mut result = String::with_capacity(text.len());
    let mut at = 0;
    for edit in edits {
        let range = edit.span.range();
        result.push_str(text.get(at..range.start).unwrap_or_default());
        result.push_str(&edit.text);
        at = range.end.max(at);
    }
    result.push_str(text.get(at..).unwrap_or_default());
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_applied_in_order() {
        let edit = |start, end, text: &str| Edit { span: Span { start, end }, text: text.to_owned() };
        assert_eq!(apply("abcdef", &[edit(0, 1, "x"), edit(3, 3, "-"), edit(5, 6, "")]), "xbc-de");
        assert_eq!(apply("", &[edit(0, 0, "x")]), "x");
    }
}

//! Where a word has variables in it.
//!
//! The grammar is that of [`expand`](crate::expand()), which works values out and stops at the first error; this finds
//! places and goes on.

use std::ops::Range;

use crate::expand::{ExpandOptions, is_name};

/// Substitutions inside substitutions, at most. What is deeper is read as if it stood by itself.
const MAX_DEPTH: usize = 100;

/// A variable in a word. Ranges are of the word's text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Substitution {
    /// Its name: letters, digits and `_`, or a parameter of a shell, such as `1` or `@`.
    pub name: Range<usize>,
    /// All of it, from the `$`.
    pub whole: Range<usize>,
    /// What follows the name in braces: `-`, `+`, `?`, `#`, `%` or `/`.
    pub operator: Option<char>,
    /// There is a `:` before the operator.
    pub colon: bool,
    /// It stands in braces that are closed, or in none.
    pub closed: bool,
}

/// The variables in a word, in the order in which they begin.
pub fn substitutions(text: &str, options: ExpandOptions) -> Vec<Substitution> {
    if !text.contains('$') {
        return Vec::new();
    }
    let mut scanner = Scanner { text, at: 0, depth: 0, options, found: Vec::new() };
    while scanner.text(None) {}
    scanner.found
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    options: ExpandOptions,
    found: Vec<Substitution>,
}

impl Scanner<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn next_if(&mut self, wanted: impl Fn(char) -> bool) -> Option<char> {
        self.peek().filter(|&c| wanted(c)).inspect(|c| self.at += c.len_utf8())
    }

    /// Reads up to `stop`, which is consumed; answers whether it was there.
    fn text(&mut self, stop: Option<char>) -> bool {
        while let Some(c) = self.next() {
            if Some(c) == stop {
                return true;
            }
            match c {
                '$' => self.dollar(),
                '\'' if !self.options.ignore_quotes => {
                    // One that nothing closes is wrong, and what follows it is looked at all the same.
                    if let Some(length) = self.rest().find('\'') {
                        self.at += length + 1;
                    }
                }
                '"' if !self.options.ignore_quotes => self.double_quoted(),
                _ if c == self.options.escape => drop(self.next()),
                _ => {}
            }
        }
        false
    }

    /// After the opening quote.
    fn double_quoted(&mut self) {
        let escape = self.options.escape;
        while let Some(c) = self.next() {
            match c {
                '"' => return,
                '$' => self.dollar(),
                _ if c == escape => drop(self.next_if(|c| c == '"' || c == '$' || c == escape)),
                _ => {}
            }
        }
    }

    /// After a `$`.
    fn dollar(&mut self) {
        let start = self.at - 1;
        let braces = self.next_if(|c| c == '{').is_some();
        let name = self.name();
        if name.is_empty() {
            return;
        }
        let index = self.found.len();
        let whole = start..self.at;
        self.found.push(Substitution { name, whole, operator: None, colon: false, closed: !braces });
        if !braces {
            return;
        }
        let (mut colon, mut operator, mut closed) = (false, None, false);
        match self.peek() {
            Some('}') => {
                self.next();
                closed = true;
            }
            Some(':' | '+' | '-' | '?' | '#' | '%' | '/') if self.depth < MAX_DEPTH => {
                colon = self.next_if(|c| c == ':').is_some();
                operator = self.next();
                self.depth += 1;
                closed = operator != Some('/') || {
                    self.next_if(|c| c == '/');
                    self.text(Some('/'))
                };
                closed = closed && (operator == Some('}') || self.text(Some('}')));
                self.depth -= 1;
            }
            _ => {}
        }
        if let Some(found) = self.found.get_mut(index) {
            found.whole.end = self.at;
            (found.colon, found.operator, found.closed) = (colon, operator.filter(|c| *c != '}'), closed);
        }
    }

    fn name(&mut self) -> Range<usize> {
        let start = self.at;
        if self.next_if(|c| c.is_ascii_digit()).is_some() {
            while self.next_if(|c| c.is_ascii_digit()).is_some() {}
        } else if self.next_if(|c| matches!(c, '@' | '*' | '#' | '?' | '-' | '$' | '!')).is_none() {
            while self.next_if(is_name).is_some() {}
        }
        start..self.at
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use proptest::prelude::*;

    use super::*;
    use crate::expand::expand_with;

    fn found(text: &str) -> String {
        let options = ExpandOptions::new('\\');
        let show = |it: &Substitution| {
            let colon = if it.colon { ":" } else { "" };
            let operator = it.operator.map(String::from).unwrap_or_default();
            let open = if it.closed { "" } else { "…" };
            format!("{}{colon}{operator}{open}@{}-{}", &text[it.name.clone()], it.whole.start, it.whole.end)
        };
        substitutions(text, options).iter().map(show).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn finds_variables() {
        assert_eq!(found("a$b.${c}$d_1é"), "b@1-3 c@4-8 d_1é@8-14");
        assert_eq!(found(r#"'$a' "$b '$c'" \$d "\$e \f$g""#), r"b@6-8 c@10-12 g@26-28");
        assert_eq!(
            found("${a:-${b-$c}}${d#*/}${e//x/$f}"),
            "a:-@0-13 b-@5-12 c@9-11 d#@13-20 e/@20-30 f@27-29"
        );
        assert_eq!(found("$$ $1a ${@} $é"), "$@0-2 1@3-5 @@7-11 é@12-15");
    }

    #[test]
    fn goes_on_where_it_is_wrong() {
        assert_eq!(found("${a $b"), "a…@0-3 b@4-6");
        assert_eq!(found("${a:-$b"), "a:-…@0-7 b@5-7");
        assert_eq!(found("${} ${:-x} $ $b '$c"), "b@13-15 c@17-19");
        assert_eq!(found("\"$a ${b"), "a@1-3 b…@4-7");
        assert_eq!(found("${a/b} $c"), "a/…@0-9 c@7-9");
    }

    #[test]
    fn what_is_deep_is_found_too() {
        let deep = "${a:-".repeat(100_000);
        assert_eq!(substitutions(&deep, ExpandOptions::new('\\')).len(), 100_000);
    }

    proptest! {
        /// What can be expanded reads the variables that are found, in the same order.
        #[test]
        fn finds_what_is_expanded(text in "([$]|[$]\\{|\\}|a|b|:-|:[+]|/|#|\"|'|\\\\| ){0,16}", body: bool) {
            let options = if body { ExpandOptions::heredoc_body() } else { ExpandOptions::new('\\') };
            let read = RefCell::new(Vec::new());
            let result = expand_with(&text, options, &|name| {
                read.borrow_mut().push(name.to_owned());
                None
            });
            let found = substitutions(&text, options);
            for it in &found {
                prop_assert!(text.get(it.whole.clone()).is_some_and(|it| it.starts_with('$')));
                prop_assert!(it.whole.start < it.name.start && it.name.end <= it.whole.end);
            }
            if result.is_ok() {
                let mut read = read.into_inner();
                let mut names: Vec<_> = found.iter().map(|it| text[it.name.clone()].to_owned()).collect();
                // The operand is read before the variable.
                read.sort();
                names.sort();
                prop_assert_eq!(names, read);
            }
        }
    }
}

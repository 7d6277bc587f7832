//! Shell words of a Dockerfile: quotes, escapes and `$variable` substitution.
//!
//! The rules are those of BuildKit's Dockerfile lexer, which is close to a POSIX shell's but not one: `${x:-w}`,
//! `${x:+w}`, `${x:?w}` (each also without the colon), `${x#p}`, `${x##p}`, `${x%p}`, `${x%%p}`, `${x/p/r}` and
//! `${x//p/r}`, with words that hold substitutions themselves. Patterns know `*` and `?`, neither of which matches
//! a line break, and no `[…]`. Errors have BuildKit's texts.

use std::iter::Peekable;
use std::str::Chars;

use self::wildcard::Wildcard;
use crate::go::quoted;

mod wildcard;

/// Substitutions inside substitutions, at most.
const MAX_DEPTH: usize = 100;
/// Bytes that substitution may add to one word, at most. Variables that double themselves get there in 22 lines.
const MAX_ADDED: usize = 4 << 20;

/// Why a word cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to process {}: {reason}", quoted(word))]
pub struct ExpandError {
    /// The whole word, as written.
    pub word: String,
    /// What is wrong with it, in BuildKit's words.
    pub reason: String,
}

/// How a word is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpandOptions {
    /// The escape character of the file: `\` or `` ` ``.
    pub escape: char,
    /// Quotes stay in the result.
    pub raw_quotes: bool,
    /// Escape characters stay in the result.
    pub raw_escapes: bool,
    /// Quotes mean nothing: they are characters as any other. For the bodies of heredocs.
    pub ignore_quotes: bool,
    /// Substitutions of unset variables stay as they are.
    pub keep_unset: bool,
}

impl ExpandOptions {
    /// The usual way: quotes and escapes are removed, unset variables are empty.
    pub fn new(escape: char) -> Self {
        Self { escape, raw_quotes: false, raw_escapes: false, ignore_quotes: false, keep_unset: false }
    }

    /// How the body of a heredoc is read in `COPY` and `ADD`: variables and escapes, but no quotes. The escape
    /// character is always a backslash.
    pub fn heredoc_body() -> Self {
        Self { ignore_quotes: true, ..Self::new('\\') }
    }

    /// How a command is made readable for progress output: quotes and unset variables stay.
    pub fn display(escape: char) -> Self {
        Self { raw_quotes: true, keep_unset: true, ..Self::new(escape) }
    }
}

/// Expands a word; white space in it stays. A variable that `lookup` does not know is unset.
pub fn expand(
    word: &str,
    escape: char,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<String, ExpandError> {
    expand_with(word, ExpandOptions::new(escape), lookup)
}

/// Expands a text and splits it at white space that is neither quoted nor escaped; white space that comes out of
/// a variable splits too. Empty words are dropped, even quoted ones; and as in BuildKit, what stands in a word before
/// a substitution with an operand is lost: `80${x:-81}` is `81`.
pub fn expand_words(
    text: &str,
    escape: char,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<String>, ExpandError> {
    expand_words_with(text, ExpandOptions::new(escape), lookup)
}

/// Expands variables that are set, and leaves quotes and unset variables as they are: [`ExpandOptions::display`].
pub fn expand_keep_quotes(
    text: &str,
    escape: char,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<String, ExpandError> {
    expand_with(text, ExpandOptions::display(escape), lookup)
}

/// [`expand`] with other options.
pub fn expand_with(
    word: &str,
    options: ExpandOptions,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<String, ExpandError> {
    let mut words = Words::default();
    Lexer::new(word, options, lookup)
        .text(None, options.raw_escapes, &mut words)
        .map_err(|reason| ExpandError { word: word.to_owned(), reason })
}

/// [`expand_words`] with other options.
pub fn expand_words_with(
    text: &str,
    options: ExpandOptions,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<String>, ExpandError> {
    let mut words = Words { wanted: true, ..Words::default() };
    match Lexer::new(text, options, lookup).text(None, options.raw_escapes, &mut words) {
        Ok(_) => Ok(words.finish()),
        Err(reason) => Err(ExpandError { word: text.to_owned(), reason }),
    }
}

/// The words of a text while it is being read.
#[derive(Default)]
struct Words {
    wanted: bool,
    done: Vec<String>,
    current: String,
}

impl Words {
    /// A character that splits if it is white space.
    fn push(&mut self, c: char) {
        if self.wanted && c.is_whitespace() {
            self.cut();
        } else {
            self.push_raw(c);
        }
    }

    /// A character that does not split.
    fn push_raw(&mut self, c: char) {
        if self.wanted {
            self.current.push(c);
        }
    }

    fn cut(&mut self) {
        if !self.current.is_empty() {
            self.done.push(std::mem::take(&mut self.current));
        }
    }

    fn finish(mut self) -> Vec<String> {
        self.cut();
        self.done
    }
}

/// What is wrong, without the word it is in.
type Reason = String;

const MISSING_BRACE: &str = "syntax error: missing '}'";

struct Lexer<'a> {
    rest: Peekable<Chars<'a>>,
    options: ExpandOptions,
    lookup: &'a dyn Fn(&str) -> Option<String>,
    raw_escapes: bool,
    depth: usize,
    added: usize,
    /// A substitution with an operand has been read since [`Lexer::forget`].
    had_operand: bool,
}

impl<'a> Lexer<'a> {
    fn new(word: &'a str, options: ExpandOptions, lookup: &'a dyn Fn(&str) -> Option<String>) -> Self {
        let rest = word.strip_prefix('\u{feff}').unwrap_or(word).chars().peekable();
        Self {
            rest,
            options,
            lookup,
            raw_escapes: options.raw_escapes,
            depth: 0,
            added: 0,
            had_operand: false,
        }
    }

    fn peek(&mut self) -> Option<char> {
        self.rest.peek().copied()
    }

    fn next(&mut self) -> Option<char> {
        self.rest.next()
    }

    /// Reads up to `stop`, which is consumed, or to the end.
    fn text(&mut self, stop: Option<char>, raw_escapes: bool, words: &mut Words) -> Result<String, Reason> {
        let outer = std::mem::replace(&mut self.raw_escapes, raw_escapes);
        let result = self.text_inner(stop, words);
        self.raw_escapes = outer;
        result
    }

    fn text_inner(&mut self, stop: Option<char>, words: &mut Words) -> Result<String, Reason> {
        let mut result = String::new();
        while let Some(c) = self.next() {
            if Some(c) == stop {
                return Ok(result);
            }
            match c {
                '$' => {
                    let value = self.dollar()?;
                    self.forget(words);
                    if words.wanted {
                        value.chars().for_each(|c| words.push(c));
                    }
                    result.push_str(&value);
                }
                '\'' | '"' if !self.options.ignore_quotes => {
                    let start = result.len();
                    if c == '\'' {
                        self.single_quoted(&mut result)?;
                    } else {
                        self.double_quoted(&mut result)?;
                        self.forget(words);
                    }
                    result[start..].chars().for_each(|c| words.push_raw(c));
                }
                '<' => {
                    // `<< EOF` is one word: the start of a heredoc.
                    result.push('<');
                    words.push_raw('<');
                    if self.peek() == Some('<') {
                        let mut c = self.next();
                        while let Some(space) = c {
                            result.push(space);
                            words.push_raw(space);
                            c = self.rest.next_if(|c| matches!(c, ' ' | '\t' | '\r'));
                        }
                    }
                }
                _ if c == self.options.escape => {
                    if self.raw_escapes {
                        result.push(c);
                        words.push_raw(c);
                    }
                    if let Some(escaped) = self.next() {
                        result.push(escaped);
                        words.push_raw(escaped);
                    }
                }
                _ => {
                    result.push(c);
                    words.push(c);
                }
            }
        }
        match stop {
            None => Ok(result),
            Some(stop) => Err(format!("unexpected end of statement while looking for matching {stop}")),
        }
    }

    /// Drops the word before a substitution that had an operand: BuildKit reads the operand where it keeps the word.
    fn forget(&mut self, words: &mut Words) {
        if std::mem::take(&mut self.had_operand) {
            words.current.clear();
        }
    }

    /// After the opening quote.
    fn single_quoted(&mut self, result: &mut String) -> Result<(), Reason> {
        if self.options.raw_quotes {
            result.push('\'');
        }
        loop {
            match self.next() {
                None => {
                    return Err("unexpected end of statement while looking for matching single-quote".into());
                }
                Some('\'') => break,
                Some(c) => result.push(c),
            }
        }
        if self.options.raw_quotes {
            result.push('\'');
        }
        Ok(())
    }

    /// After the opening quote.
    fn double_quoted(&mut self, result: &mut String) -> Result<(), Reason> {
        if self.options.raw_quotes {
            result.push('"');
        }
        loop {
            match self.next() {
                None => {
                    return Err("unexpected end of statement while looking for matching double-quote".into());
                }
                Some('"') => break,
                Some('$') => result.push_str(&self.dollar()?),
                Some(c) if c == self.options.escape => {
                    if self.raw_escapes {
                        result.push(c);
                    }
                    match self.peek() {
                        None => {}
                        Some(escaped) if matches!(escaped, '"' | '$') || escaped == c => {
                            self.next();
                            result.push(escaped);
                        }
                        // Before any other character it stays; kept escapes are therefore doubled, as in BuildKit.
                        Some(_) => result.push(c),
                    }
                }
                Some(c) => result.push(c),
            }
        }
        if self.options.raw_quotes {
            result.push('"');
        }
        Ok(())
    }

    /// After a `$`: what the substitution stands for.
    fn dollar(&mut self) -> Result<String, Reason> {
        if self.depth == MAX_DEPTH {
            return Err("syntax error: substitutions are nested too deeply".into());
        }
        self.depth += 1;
        let value = if self.rest.next_if_eq(&'{').is_some() { self.braces() } else { Ok(self.bare()) };
        self.depth -= 1;

        let value = value?;
        self.added = self.added.saturating_add(value.len());
        if self.added > MAX_ADDED { Err(too_long()) } else { Ok(value) }
    }

    /// `$name`.
    fn bare(&mut self) -> String {
        let name = self.name();
        if name.is_empty() {
            return "$".to_owned();
        }
        match (self.lookup)(&name) {
            Some(value) => value,
            None if self.options.keep_unset => format!("${name}"),
            None => String::new(),
        }
    }

    /// After `${`.
    fn braces(&mut self) -> Result<String, Reason> {
        match self.peek() {
            None => return Err(MISSING_BRACE.into()),
            Some('{' | '}' | ':') => return Err("syntax error: bad substitution".into()),
            Some(_) => {}
        }
        let name = self.name();
        match self.next() {
            Some('}') => Ok(match (self.lookup)(&name) {
                Some(value) => value,
                None if self.options.keep_unset => format!("${{{name}}}"),
                None => String::new(),
            }),
            Some(':') => {
                // At the end of the text the operand is missing too, and that is what is said.
                let operator = self.next().unwrap_or(char::REPLACEMENT_CHARACTER);
                if matches!(operator, '#' | '%') {
                    return Err(unsupported(&format!(":{operator}")));
                }
                self.operand(&name, operator, true)
            }
            Some(operator @ ('+' | '-' | '?' | '#' | '%')) => self.operand(&name, operator, false),
            Some('/') => self.replace(&name),
            other => Err(unsupported(&other.unwrap_or(char::REPLACEMENT_CHARACTER).to_string())),
        }
    }

    /// After `${name` and an operator that has one operand.
    fn operand(&mut self, name: &str, operator: char, empty_is_unset: bool) -> Result<String, Reason> {
        let pattern = matches!(operator, '#' | '%');
        let word = self.part('}', pattern, MISSING_BRACE)?;
        let value = (self.lookup)(name);
        let colon = if empty_is_unset { ":" } else { "" };
        if self.options.keep_unset && value.is_none() {
            return Ok(format!("${{{name}{colon}{operator}{word}}}"));
        }
        let present = value.as_ref().is_some_and(|value| !(empty_is_unset && value.is_empty()));
        match operator {
            '-' => Ok(if present { value.unwrap_or_default() } else { word }),
            '+' => Ok(if present { word } else { String::new() }),
            '?' if present => Ok(value.unwrap_or_default()),
            '?' if !word.is_empty() => Err(format!("{name}: {word}")),
            '?' if value.is_none() => Err(format!("{name}: is not allowed to be unset")),
            '?' => Err(format!("{name}: is not allowed to be empty")),
            '#' | '%' => {
                let (longest, pattern) = match word.strip_prefix(operator) {
                    Some(pattern) => (true, pattern),
                    None => (false, word.as_str()),
                };
                let value = value.unwrap_or_default();
                if operator == '#' {
                    let end =
                        Wildcard::new(pattern).map_err(|e| invalid(pattern, &e))?.prefix(&value, longest);
                    Ok(end.map_or(value.as_str(), |end| &value[end..]).to_owned())
                } else {
                    // The shortest match at the end is found from the end.
                    let pattern = reversed_pattern(pattern);
                    let mirrored: String = value.chars().rev().collect();
                    let end = Wildcard::new(&pattern)
                        .map_err(|e| invalid(&pattern, &e))?
                        .prefix(&mirrored, longest);
                    Ok(value[..value.len() - end.unwrap_or(0)].to_owned())
                }
            }
            _ => Err(unsupported(&format!("{colon}{operator}"))),
        }
    }

    /// After `${name/`.
    fn replace(&mut self, name: &str) -> Result<String, Reason> {
        let all = self.rest.next_if_eq(&'/').is_some();
        let pattern = self.part('/', true, "syntax error: missing '/' in ${}")?;
        let replacement = self.part('}', true, MISSING_BRACE)?;
        let value = match (self.lookup)(name) {
            None if self.options.keep_unset => return Ok(format!("${{{name}/{pattern}/{replacement}}}")),
            value => value.unwrap_or_default(),
        };
        let wildcard = Wildcard::new(&pattern).map_err(|e| invalid(&pattern, &e))?;
        if all {
            wildcard.replace_all(&value, &replacement, MAX_ADDED).ok_or_else(too_long)
        } else {
            Ok(wildcard.replace_first(&value, &replacement))
        }
    }

    /// A part of a substitution, up to `stop`. If the text ends before, that is the error, whatever else was wrong.
    fn part(&mut self, stop: char, raw_escapes: bool, at_end: &str) -> Result<String, Reason> {
        let part = self.text(Some(stop), raw_escapes, &mut Words::default());
        self.had_operand = true;
        match part {
            Err(_) if self.peek().is_none() => Err(at_end.to_owned()),
            part => part,
        }
    }

    /// A variable's name: letters, digits and `_`; or digits alone; or one special parameter of the shell.
    fn name(&mut self) -> String {
        let mut name = String::new();
        match self.peek() {
            Some(c) if c.is_ascii_digit() => {
                while let Some(digit) = self.rest.next_if(char::is_ascii_digit) {
                    name.push(digit);
                }
            }
            Some(c @ ('@' | '*' | '#' | '?' | '-' | '$' | '!')) => {
                self.next();
                name.push(c);
            }
            _ => {
                while let Some(c) = self.rest.next_if(|c| is_name(*c)) {
                    name.push(c);
                }
            }
        }
        name
    }
}

/// Whether a character may stand in a name: letters of any script, digits, and `_`. Numerals such as `²` do not.
pub(crate) fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c.is_alphabetic() && !c.is_numeric()
}

fn unsupported(operator: &str) -> Reason {
    format!("unsupported modifier ({operator}) in substitution")
}

fn invalid(pattern: &str, reason: &str) -> Reason {
    format!("invalid pattern ({pattern}) in substitution: {reason}")
}

fn too_long() -> Reason {
    format!("substitution adds more than {MAX_ADDED} bytes")
}

/// The pattern that matches a mirrored text: escapes stay before the character they escape.
fn reversed_pattern(pattern: &str) -> String {
    let mut units = Vec::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        let escaped = if c == '\\' { chars.next() } else { None };
        units.push((c, escaped));
    }
    units.iter().rev().flat_map(|&(c, escaped)| std::iter::once(c).chain(escaped)).collect()
}

#[cfg(test)]
mod tests;

//! Words: quotes, and what is substituted.

use super::parse::{End, Lost, Parser};
use super::{Context, Part, Word};

/// Where a word stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// In a command.
    Command,
    /// Between `[[` and `]]`, where operators are words.
    Test,
}

/// A word while it is being read.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) text: String,
    parts: Vec<Part>,
    pub(super) quoted: bool,
}

impl Draft {
    pub(super) fn push(&mut self, part: Part) {
        if !self.text.is_empty() {
            self.parts.push(Part::Literal(std::mem::take(&mut self.text)));
        }
        self.parts.push(part);
    }

    /// Whether the word is `NAME=` so far; `raw` is how it is written.
    fn is_array_start(&self, raw: Option<&str>) -> bool {
        self.parts.is_empty()
            && raw == Some(&self.text)
            && self.text.ends_with('=')
            && assigned(&self.text).is_some()
    }
}

fn special(c: char, mode: Mode) -> bool {
    match c {
        ' ' | '\t' | '\r' | '\n' | ';' | '\'' | '"' | '`' | '$' | '\\' => true,
        '&' | '|' | '<' | '>' | '(' | ')' => mode == Mode::Command,
        _ => false,
    }
}

/// The variable that a word sets: `NAME=value`, `NAME+=value`, `NAME[0]=value`.
pub(super) fn assigned(word: &str) -> Option<&str> {
    let (left, _) = word.split_once('=')?;
    let left = left.strip_suffix('+').unwrap_or(left);
    let name = match left.split_once('[') {
        Some((name, index)) if index.ends_with(']') => name,
        Some(_) => return None,
        None => left,
    };
    is_name(name).then_some(name)
}

pub(super) fn is_name_start(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_'
}

pub(super) fn is_name(text: &str) -> bool {
    text.starts_with(is_name_start) && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

impl Parser<'_, '_> {
    /// Reads a word; an empty one where none begins.
    pub(super) fn word(&mut self, mode: Mode) -> Result<Word, Lost> {
        let start = self.at;
        let mut draft = Draft::default();
        loop {
            self.plain(&mut draft, |c| special(c, mode));
            let here = self.at;
            let Some(c) = self.peek() else { break };
            match c {
                '\'' => {
                    self.next();
                    self.single_quoted(&mut draft)?;
                }
                '"' => {
                    self.next();
                    self.double_quoted(&mut draft)?;
                }
                '`' => {
                    // The end of the list, or the beginning of another one.
                    if self.in_backticks {
                        break;
                    }
                    self.next();
                    self.backticks(&mut draft)?;
                }
                '$' => {
                    self.next();
                    self.dollar(here, false, &mut draft)?;
                }
                '\\' => {
                    self.next();
                    match self.next() {
                        Some('\n') => {}
                        Some('\r') if self.eat("\n") => {}
                        Some(c) => {
                            draft.text.push(c);
                            draft.quoted = true;
                        }
                        None => draft.text.push('\\'),
                    }
                }
                '<' | '>'
                    if mode == Mode::Command && self.at == start && self.rest()[1..].starts_with('(') =>
                {
                    self.at += 2;
                    self.commands(End::Parenthesis, &mut draft)?;
                }
                '(' if mode == Mode::Command && draft.is_array_start(self.text.get(start..self.at)) => {
                    self.next();
                    self.array(&mut draft)?;
                }
                '(' if mode == Mode::Command && draft.text.ends_with(['?', '*', '+', '@', '!']) => {
                    self.glob(&mut draft)?;
                }
                _ => break,
            }
        }
        let Draft { text, parts, quoted } = draft;
        Ok(Word::new(start..self.at, text, parts, quoted))
    }

    /// Reads characters that are nothing but themselves.
    fn plain(&mut self, draft: &mut Draft, ends: impl Fn(char) -> bool) {
        let rest = self.rest();
        let length = rest.find(ends).unwrap_or(rest.len());
        draft.text.push_str(rest.get(..length).unwrap_or_default());
        self.at += length;
    }

    /// After the opening quote.
    pub(super) fn single_quoted(&mut self, draft: &mut Draft) -> Result<(), Lost> {
        draft.quoted = true;
        let length = self.rest().find('\'').ok_or(Lost)?;
        draft.text.push_str(self.rest().get(..length).unwrap_or_default());
        self.at += length + 1;
        Ok(())
    }

    /// After the opening quote.
    pub(super) fn double_quoted(&mut self, draft: &mut Draft) -> Result<(), Lost> {
        draft.quoted = true;
        loop {
            self.plain(draft, |c| matches!(c, '"' | '\\' | '$' | '`'));
            let start = self.at;
            match self.next().ok_or(Lost)? {
                '"' => return Ok(()),
                '\\' => match self.next() {
                    Some('\n') => {}
                    Some(c @ ('"' | '\\' | '$' | '`')) => draft.text.push(c),
                    Some(c) => draft.text.extend(['\\', c]),
                    None => return Err(Lost),
                },
                '$' => self.dollar(start, true, draft)?,
                _ => self.backticks(draft)?,
            }
        }
    }

    /// After the opening backtick.
    pub(super) fn backticks(&mut self, draft: &mut Draft) -> Result<(), Lost> {
        let outer = std::mem::replace(&mut self.in_backticks, true);
        self.commands(End::Backtick, draft)?;
        self.in_backticks = outer;
        Ok(())
    }

    /// After what opens a substitution.
    pub(super) fn commands(&mut self, end: End, draft: &mut Draft) -> Result<(), Lost> {
        let outer = std::mem::replace(&mut self.in_backticks, end == End::Backtick);
        let first = self.out.commands.len();
        self.list(end, Context { subshell: true, ..Context::default() })?;
        draft.push(Part::Commands(first..self.out.commands.len()));
        self.in_backticks = outer;
        Ok(())
    }

    /// After `NAME=(`.
    fn array(&mut self, draft: &mut Draft) -> Result<(), Lost> {
        self.enter()?;
        loop {
            let start = self.at;
            self.word(Mode::Command)?;
            if self.at > start {
                continue;
            }
            match self.next().ok_or(Lost)? {
                ')' => break,
                '#' => {
                    self.at += self.rest().find('\n').unwrap_or(self.rest().len());
                }
                _ => {}
            }
        }
        draft.push(Part::Other);
        self.depth -= 1;
        Ok(())
    }

    /// At the parenthesis of a pattern such as `!(a|b)`.
    fn glob(&mut self, draft: &mut Draft) -> Result<(), Lost> {
        let start = self.at;
        let mut depth = 0_usize;
        loop {
            match self.next().ok_or(Lost)? {
                '(' => depth += 1,
                ')' if depth <= 1 => break,
                ')' => depth -= 1,
                '\n' => return Err(Lost),
                _ => {}
            }
        }
        draft.text.push_str(self.text.get(start..self.at).unwrap_or_default());
        Ok(())
    }
}

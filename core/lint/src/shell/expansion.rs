//! Variables, arithmetic and here-documents.

use super::parse::{End, Lost, Parser};
use super::word::{Draft, is_name_start};
use super::{Expansion, Part, Word};

impl Parser<'_, '_> {
    /// After a `$` that stands at `start`.
    pub(super) fn dollar(&mut self, start: usize, quoted: bool, draft: &mut Draft) -> Result<(), Lost> {
        match self.peek() {
            Some('(') => {
                self.next();
                if !self.eat("(") {
                    return self.commands(End::Parenthesis, draft);
                }
                self.enter()?;
                self.arithmetic()?;
                self.depth -= 1;
                draft.push(Part::Other);
            }
            Some('{') => {
                self.next();
                self.enter()?;
                let index = self.braces(start, quoted)?;
                draft.push(Part::Variable(index));
                self.depth -= 1;
            }
            Some('\'') if !quoted => {
                self.next();
                self.escaped(draft)?;
            }
            Some('"') if !quoted => {
                self.next();
                self.double_quoted(draft)?;
            }
            Some(c) if is_name_start(c) => {
                let name = self.name();
                let index = self.read(start, name);
                draft.push(Part::Variable(index));
            }
            Some(c) if c.is_ascii_digit() || matches!(c, '@' | '*' | '#' | '?' | '$' | '!' | '-') => {
                self.next();
                let index = self.read(start, c.to_string());
                draft.push(Part::Variable(index));
            }
            _ => draft.text.push('$'),
        }
        Ok(())
    }

    /// A variable is read that stands from `start` to here.
    fn read(&mut self, start: usize, name: String) -> usize {
        self.out.expansions.push(Expansion {
            name,
            range: start..self.at,
            name_end: self.at,
            operator: None,
            colon: false,
            operand: self.at..self.at,
            command: self.command,
        });
        self.out.expansions.len() - 1
    }

    /// After `$'`.
    fn escaped(&mut self, draft: &mut Draft) -> Result<(), Lost> {
        draft.quoted = true;
        loop {
            match self.next().ok_or(Lost)? {
                '\'' => return Ok(()),
                '\\' => match self.next().ok_or(Lost)? {
                    'n' => draft.text.push('\n'),
                    't' => draft.text.push('\t'),
                    c @ ('\'' | '"' | '\\') => draft.text.push(c),
                    c => draft.text.extend(['\\', c]),
                },
                c => draft.text.push(c),
            }
        }
    }

    /// After `((` or `$((`.
    pub(super) fn arithmetic(&mut self) -> Result<(), Lost> {
        let mut depth = 0_usize;
        let mut draft = Draft::default();
        loop {
            let start = self.at;
            match self.next().ok_or(Lost)? {
                '(' => depth += 1,
                ')' if depth > 0 => depth -= 1,
                // Else it was a subshell that begins with another one.
                ')' => return if self.eat(")") { Ok(()) } else { Err(Lost) },
                '$' => self.dollar(start, true, &mut draft)?,
                '`' => self.backticks(&mut draft)?,
                '\'' | '"' | '\\' => return Err(Lost),
                _ => {}
            }
        }
    }

    fn name(&mut self) -> String {
        let rest = self.rest();
        let length = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let name = rest.get(..length).unwrap_or_default().to_owned();
        self.at += length;
        name
    }

    /// After `${`.
    fn braces(&mut self, start: usize, quoted: bool) -> Result<usize, Lost> {
        // `${#A}` is a length, `${!A}` a variable that A names.
        if matches!(self.peek(), Some('#' | '!')) {
            self.next();
        }
        let name = self.name();
        let index = self.read(start, name);
        let colon = self.eat(":");
        let operator = self.peek();
        let operand = self.at + operator.map_or(0, char::len_utf8);
        self.operand(quoted)?;
        let end = self.at;
        if let Some(expansion) = self.out.expansions.get_mut(index) {
            expansion.range.end = end;
            expansion.operator = operator.filter(|c| *c != '}');
            expansion.colon = colon;
            // The brace at the end may be the operator.
            expansion.operand = operand.min(end - 1)..end - 1;
        }
        Ok(index)
    }

    /// The rest of a `${`, up to its `}`, which is consumed.
    fn operand(&mut self, quoted: bool) -> Result<(), Lost> {
        let mut draft = Draft::default();
        loop {
            let start = self.at;
            match self.next().ok_or(Lost)? {
                '}' => return Ok(()),
                '\\' => drop(self.next()),
                '\'' if !quoted => self.single_quoted(&mut draft)?,
                '"' => self.double_quoted(&mut draft)?,
                '$' => self.dollar(start, quoted, &mut draft)?,
                '`' => self.backticks(&mut draft)?,
                _ => {}
            }
        }
    }

    /// The rest of the text as a here-document has it: nothing but substitutions.
    pub(super) fn expansions(&mut self) -> Result<(), Lost> {
        let mut draft = Draft::default();
        loop {
            let start = self.at;
            match self.next() {
                None => return Ok(()),
                Some('\\') => drop(self.next()),
                Some('$') => self.dollar(start, true, &mut draft)?,
                Some('`') => self.backticks(&mut draft)?,
                Some(_) => {}
            }
        }
    }

    /// After `<<`: the word that ends the here-document, and whether its content is expanded.
    pub(super) fn delimiter(&mut self) -> Result<(Word, bool), Lost> {
        let start = self.at;
        let (mut name, mut expand) = (String::new(), true);
        while let Some(c) = self.peek() {
            match c {
                ' ' | '\t' | '\r' | '\n' | ';' | '&' | '|' | '<' | '>' | '(' | ')' => break,
                '\'' | '"' => {
                    self.next();
                    expand = false;
                    let length = self.rest().find(c).ok_or(Lost)?;
                    name.push_str(self.rest().get(..length).unwrap_or_default());
                    self.at += length + c.len_utf8();
                }
                '\\' => {
                    self.next();
                    expand = false;
                    name.extend(self.next());
                }
                _ => name.extend(self.next()),
            }
        }
        Ok((Word::new(start..self.at, name, Vec::new(), !expand), expand))
    }
}

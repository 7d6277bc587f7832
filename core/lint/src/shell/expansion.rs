//! Quotes, and what is substituted in words.

use super::{End, Lost, Otherwise, Scanner, is_name_start};

impl Scanner<'_> {
    /// After the opening quote.
    pub(super) fn single_quoted(&mut self) -> Result<(), Lost> {
        let length = self.rest().find('\'').ok_or(Lost)?;
        self.at += length + 1;
        Ok(())
    }

    /// After the opening quote.
    pub(super) fn double_quoted(&mut self) -> Result<(), Lost> {
        loop {
            let start = self.at;
            match self.next().ok_or(Lost)? {
                '"' => return Ok(()),
                '\\' => drop(self.next()),
                '$' => self.dollar(start, true)?,
                '`' => self.commands(End::Backtick)?,
                _ => {}
            }
        }
    }

    /// After `((` or `$((`.
    pub(super) fn arithmetic(&mut self) -> Result<(), Lost> {
        let mut depth = 0_usize;
        loop {
            let start = self.at;
            match self.next().ok_or(Lost)? {
                '(' => depth += 1,
                ')' if depth > 0 => depth -= 1,
                // Else it was a subshell that begins with another one.
                ')' => return if self.eat(")") { Ok(()) } else { Err(Lost) },
                '$' => self.dollar(start, true)?,
                '`' => self.commands(End::Backtick)?,
                '\'' | '"' | '\\' => return Err(Lost),
                _ => {}
            }
        }
    }

    /// After a `$` that stands at `start`.
    pub(super) fn dollar(&mut self, start: usize, quoted: bool) -> Result<(), Lost> {
        match self.peek() {
            Some('(') => {
                self.next();
                if self.eat("(") { self.nested_arithmetic() } else { self.commands(End::Parenthesis) }
            }
            Some('{') => {
                self.next();
                self.enter()?;
                self.braces(start, quoted)?;
                self.depth -= 1;
                Ok(())
            }
            Some('\'') if !quoted => {
                self.next();
                loop {
                    match self.next().ok_or(Lost)? {
                        '\'' => return Ok(()),
                        '\\' => drop(self.next()),
                        _ => {}
                    }
                }
            }
            Some(c) if is_name_start(c) => {
                let name = self.name();
                self.read(&name, start, Otherwise::Empty);
                Ok(())
            }
            Some(c) if c.is_ascii_digit() || matches!(c, '@' | '*' | '#' | '?' | '$' | '!' | '-') => {
                self.next();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn nested_arithmetic(&mut self) -> Result<(), Lost> {
        self.enter()?;
        self.arithmetic()?;
        self.depth -= 1;
        Ok(())
    }

    fn name(&mut self) -> String {
        let rest = self.rest();
        let length = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let name = rest.get(..length).unwrap_or_default().to_owned();
        self.at += length;
        name
    }

    /// After `${`.
    fn braces(&mut self, start: usize, quoted: bool) -> Result<(), Lost> {
        // `${#A}` is a length, `${!A}` a variable that A names.
        if matches!(self.peek(), Some('#' | '!')) {
            self.next();
        }
        let name = self.name();
        let colon = self.eat(":");
        let operator = self.peek();
        let operand = self.at + operator.map_or(0, char::len_utf8);
        self.operand(quoted)?;
        let operand = self.text.get(operand..self.at - 1).unwrap_or_default();
        match operator {
            Some('-') => self.read(&name, start, literal(operand)),
            Some('=') => {
                self.read(&name, start, literal(operand));
                // It sets the variable for what follows, but is a read itself.
                self.set(&name, start + 1);
            }
            // `${A+x}` asks whether there is such a variable.
            Some('+') if !colon => self.set(&name, 0),
            _ => self.read(&name, start, Otherwise::Empty),
        }
        Ok(())
    }

    /// The rest of a `${`, up to its `}`, which is consumed.
    fn operand(&mut self, quoted: bool) -> Result<(), Lost> {
        loop {
            let start = self.at;
            match self.next().ok_or(Lost)? {
                '}' => return Ok(()),
                '\\' => drop(self.next()),
                '\'' if !quoted => self.single_quoted()?,
                '"' => self.double_quoted()?,
                '$' => self.dollar(start, quoted)?,
                '`' => self.commands(End::Backtick)?,
                _ => {}
            }
        }
    }
}

/// The text of an operand in which nothing is substituted.
fn literal(operand: &str) -> Otherwise {
    let inner = |quote| operand.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    let text = inner('"').or_else(|| inner('\'')).unwrap_or(operand);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.' | '(' | ')');
    if text.chars().all(plain) { Otherwise::Literal(text.to_owned()) } else { Otherwise::Unknown }
}

//! Commands made of commands: `if`, loops, `case`, functions, parentheses, `[[`.

use super::parse::{End, Kind, List, Lost, Mark, Parser};
use super::word::Mode;
use super::{Context, Join, Word};

impl Parser<'_, '_> {
    pub(super) fn push_frame(list: &mut List, kind: Kind, context: Context) {
        list.frames.push((kind, list.context));
        list.context = context;
        if std::mem::take(&mut list.function) {
            list.context.function = true;
        }
        list.closed = false;
        if kind == Kind::Parenthesis {
            list.parentheses += 1;
        }
    }

    /// Ends the innermost compound command of that kind, if there is one, and those inside of it.
    pub(super) fn pop_frame(list: &mut List, kind: Kind) {
        let open = match kind {
            Kind::Parenthesis => list.parentheses > 0,
            _ => list.frames.last().is_some_and(|(last, _)| *last == kind),
        };
        while let Some((last, context)) = list.frames.pop_if(|_| open) {
            list.context = context;
            if last == Kind::Parenthesis {
                list.parentheses -= 1;
            }
            if last == kind {
                break;
            }
        }
        list.closed = true;
        list.join = Join::None;
    }

    /// At a `(`.
    pub(super) fn opened(&mut self, list: &mut List) -> Result<(), Lost> {
        let start = self.at;
        self.next();
        if list.pattern {
            return Ok(());
        }
        let head = self.current().map(|command| {
            let others = command.assignments.len() + command.redirections.len();
            let lone = command.words.len() == 1 && others == 0 && !command.keyword;
            let name = command.words.first().and_then(Word::literal).filter(|_| lone);
            (name.map(str::to_owned), command.keyword)
        });
        match head {
            Some((_, true)) | None if self.peek() == Some('(') && !self.no_arithmetic => {
                let mark = Mark::of(self.out);
                let mut inner = self.within(self.at + 1..self.text.len());
                if inner.arithmetic().is_ok() {
                    self.at = inner.at;
                    list.closed = head.is_none();
                    return Ok(());
                }
                mark.reset(self.out);
                self.no_arithmetic = true;
                if head.is_some() {
                    return Err(Lost);
                }
                Self::subshell(list);
            }
            None => Self::subshell(list),
            Some((Some(name), false)) if self.rest().trim_start_matches([' ', '\t']).starts_with(')') => {
                self.at += self.rest().find(')').map_or(0, |at| at + 1);
                if let Some(index) = self.command.take() {
                    self.out.commands.truncate(index);
                }
                self.out.functions.push(name);
                list.function = true;
            }
            Some(_) => {
                // No shell takes it.
                self.at = start + 1;
                self.separate(list, Join::Then);
                Self::subshell(list);
            }
        }
        Ok(())
    }

    fn subshell(list: &mut List) {
        let context = Context { subshell: true, ..list.context };
        Self::push_frame(list, Kind::Parenthesis, context);
    }

    /// At a `)`; answers whether the list goes on.
    pub(super) fn closed(&mut self, list: &mut List) -> bool {
        self.next();
        if std::mem::take(&mut list.pattern) {
            list.join = Join::None;
            return true;
        }
        self.separate(list, Join::None);
        if list.parentheses > 0 {
            Self::pop_frame(list, Kind::Parenthesis);
        } else if list.end == End::Parenthesis {
            return false;
        }
        true
    }

    /// After the variable of a `for`, or the word of a `case`: at `in` or `do`.
    pub(super) fn after_head(&mut self, list: &mut List) -> Result<(), Lost> {
        let word = self.word(Mode::Command)?;
        let command = self.begin(list);
        let words = command.words.len();
        let case = command.words.first().is_some_and(|word| word.is("case"));
        if case && words >= 2 && word.is("in") {
            self.separate(list, Join::None);
            let context = Context { branch: true, ..list.context };
            Self::push_frame(list, Kind::Case, context);
            list.pattern = true;
        } else if word.is("do") && words == 2 {
            self.separate(list, Join::None);
            Self::to_branch(list, Kind::Loop);
        } else {
            command.range.end = word.range.end;
            command.words.push(word);
        }
        Ok(())
    }

    /// Reads a reserved word where the name of a command could stand; answers whether there was one.
    pub(super) fn keyword(&mut self, list: &mut List) -> Result<bool, Lost> {
        let word = self.reserved();
        let condition = Context { condition: true, ..list.context };
        match word {
            "!" => {
                self.at += word.len();
                return Ok(true);
            }
            "{" => Self::push_frame(list, Kind::Brace, list.context),
            "}" => Self::pop_frame(list, Kind::Brace),
            "if" => Self::push_frame(list, Kind::If, condition),
            "then" | "else" => Self::to_branch(list, Kind::If),
            "elif" => {
                Self::to_branch(list, Kind::If);
                list.context.branch = true;
                list.context.condition = true;
            }
            "fi" => Self::pop_frame(list, Kind::If),
            "while" | "until" => Self::push_frame(list, Kind::Loop, condition),
            "do" => Self::to_branch(list, Kind::Loop),
            "done" => Self::pop_frame(list, Kind::Loop),
            "esac" => Self::pop_frame(list, Kind::Case),
            "for" | "select" | "case" => {
                let start = self.at;
                let range = start..start + word.len();
                let command = self.begin(list);
                command.keyword = true;
                command.words.push(Word::of_text(range, word.to_owned()));
                if word != "case" {
                    Self::push_frame(list, Kind::Loop, list.context);
                }
            }
            "function" => {
                self.at += word.len();
                self.blanks();
                let name = self.word(Mode::Command)?;
                self.out.functions.push(name.prefix().to_owned());
                self.blanks();
                if self.eat("(") {
                    self.blanks();
                    self.eat(")");
                }
                list.function = true;
                return Ok(true);
            }
            "[[" => {
                self.test(list)?;
                return Ok(true);
            }
            _ => return Ok(false),
        }
        self.at += word.len();
        Ok(true)
    }

    /// From the condition of a compound command to what is done under it.
    fn to_branch(list: &mut List, kind: Kind) {
        if let Some((last, context)) = list.frames.last()
            && *last == kind
        {
            let function = list.context.function;
            list.context = Context { branch: true, function, ..*context };
        }
        list.join = Join::None;
        list.closed = false;
    }

    /// At `[[`: a command that ends with `]]`.
    fn test(&mut self, list: &mut List) -> Result<(), Lost> {
        let mut parentheses = 0_usize;
        let start = self.at;
        self.at += "[[".len();
        let word = Word::of_text(start..self.at, "[[".to_owned());
        self.begin(list).words.push(word);
        loop {
            self.blanks();
            while self.eat("\n") {
                self.blanks();
            }
            let start = self.at;
            match self.peek().ok_or(Lost)? {
                ';' => break,
                '`' if list.end == End::Backtick => break,
                ')' if parentheses == 0 && list.end == End::Parenthesis => break,
                '(' => parentheses += 1,
                ')' => parentheses = parentheses.saturating_sub(1),
                _ => {}
            }
            let last = self.reserved() == "]]";
            let word = if last {
                self.at += "]]".len();
                Word::of_text(start..self.at, "]]".to_owned())
            } else {
                self.word(Mode::Test)?
            };
            if self.at == start {
                return Err(Lost);
            }
            let end = self.at;
            let command = self.begin(list);
            command.range.end = end;
            command.words.push(word);
            if last {
                break;
            }
        }
        Ok(())
    }
}

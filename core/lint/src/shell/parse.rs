//! Lists of commands.

use std::ops::Range;

use super::word::{Mode, assigned};
use super::{Assignment, Command, Context, Join, Program};

/// Scripts and substitutions in one another, at most. What is deeper is not read.
const MAX_DEPTH: usize = 100;

impl Program {
    /// Reads a script.
    pub(crate) fn parse(text: &str) -> Self {
        let mut program = Self::default();
        let mut parser = Parser::new(text, 0, &mut program);
        if parser.list(End::Text, Context::default()).is_err() {
            let at = parser.at;
            program.lost = Some(at);
        }
        program
    }
}

/// A shell that reads commands as the POSIX shell does.
pub(crate) fn is_shell(program: &str) -> bool {
    let name = program.rsplit('/').next().unwrap_or_default();
    matches!(name, "sh" | "ash" | "bash" | "dash" | "ksh" | "mksh" | "zsh")
}

/// The thread is lost.
pub(super) struct Lost;

/// Where a list of commands ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Text,
    Parenthesis,
    Backtick,
}

/// A here-document whose content begins on the next line.
pub(super) struct Pending {
    pub(super) name: String,
    pub(super) expand: bool,
    pub(super) strip_tabs: bool,
    /// Its command and the number of its redirection.
    pub(super) of: Option<(usize, usize)>,
}

/// Reads a text; what it finds goes to `out`.
pub(super) struct Parser<'t, 'o> {
    pub(super) text: &'t str,
    pub(super) at: usize,
    pub(super) depth: usize,
    pub(super) out: &'o mut Program,
    pub(super) pending: Vec<Pending>,
    /// The command whose words are being read.
    pub(super) command: Option<usize>,
    /// A `((` was no arithmetic: none is.
    pub(super) no_arithmetic: bool,
    /// A backtick ends what is being read.
    pub(super) in_backticks: bool,
}

/// How much of a program there is.
pub(super) struct Mark([usize; 4]);

impl Mark {
    pub(super) fn of(program: &Program) -> Self {
        let Program { commands, expansions, functions, pipes, .. } = program;
        Self([commands.len(), expansions.len(), functions.len(), pipes.len()])
    }

    /// Forgets what has come since.
    pub(super) fn reset(self, program: &mut Program) {
        let Self([commands, expansions, functions, pipes]) = self;
        program.commands.truncate(commands);
        program.expansions.truncate(expansions);
        program.functions.truncate(functions);
        program.pipes.truncate(pipes);
    }
}

/// A compound command while it is being read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Parenthesis,
    Brace,
    If,
    Loop,
    Case,
}

/// A list of commands while it is being read.
pub(super) struct List {
    pub(super) end: End,
    /// What contains it.
    pub(super) parent: Option<usize>,
    /// Compound commands that are open, with the context before them.
    pub(super) frames: Vec<(Kind, Context)>,
    pub(super) parentheses: usize,
    pub(super) context: Context,
    pub(super) join: Join,
    /// A compound command has just ended.
    pub(super) closed: bool,
    /// The patterns of a `case` come next.
    pub(super) pattern: bool,
    /// The head of a function has been read.
    pub(super) function: bool,
}

impl<'t, 'o> Parser<'t, 'o> {
    fn new(text: &'t str, at: usize, out: &'o mut Program) -> Self {
        Self {
            text,
            at,
            depth: 0,
            out,
            pending: Vec::new(),
            command: None,
            no_arithmetic: false,
            in_backticks: false,
        }
    }

    /// Another one for a part of the text.
    pub(super) fn within(&mut self, range: Range<usize>) -> Parser<'t, '_> {
        Parser {
            text: self.text.get(..range.end).unwrap_or_default(),
            at: range.start,
            depth: self.depth,
            out: self.out,
            pending: Vec::new(),
            command: self.command,
            no_arithmetic: self.no_arithmetic,
            in_backticks: false,
        }
    }

    pub(super) fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    pub(super) fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    pub(super) fn eat(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        if found {
            self.at += text.len();
        }
        found
    }

    /// Spaces, and line ends that are escaped.
    pub(super) fn blanks(&mut self) {
        loop {
            let rest = self.rest();
            self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\r']).len();
            if !self.eat("\\\n") && !self.eat("\\\r\n") {
                break;
            }
        }
    }

    pub(super) fn enter(&mut self) -> Result<(), Lost> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(Lost) } else { Ok(()) }
    }

    /// Reads commands up to `end`, which is consumed.
    pub(super) fn list(&mut self, end: End, context: Context) -> Result<(), Lost> {
        self.enter()?;
        let parent = self.command.take();
        let mut list = List {
            end,
            parent,
            frames: Vec::new(),
            parentheses: 0,
            context,
            join: Join::None,
            closed: false,
            pattern: false,
            function: false,
        };
        while self.step(&mut list)? {}
        self.command = parent;
        self.depth -= 1;
        Ok(())
    }

    /// Reads one thing of a list; answers whether it goes on.
    fn step(&mut self, list: &mut List) -> Result<bool, Lost> {
        self.blanks();
        let Some(c) = self.peek() else {
            self.separate(list, Join::None);
            return if list.end == End::Text { Ok(false) } else { Err(Lost) };
        };
        match c {
            '\n' => {
                self.next();
                self.separate(list, Join::Then);
                self.contents(list)?;
            }
            '#' => {
                let stop = |c| c == '\n' || list.end == End::Backtick && c == '`';
                self.at += self.rest().find(stop).unwrap_or(self.rest().len());
            }
            ';' => {
                self.next();
                if self.eat(";") || self.eat("&") {
                    self.eat("&");
                    self.separate(list, Join::Then);
                    list.pattern = list.frames.last().is_some_and(|(kind, _)| *kind == Kind::Case);
                } else {
                    self.separate(list, Join::Then);
                }
            }
            '&' if self.rest().starts_with("&>") => self.redirection(list, None)?,
            '&' => {
                self.next();
                let join = if self.eat("&") { Join::And } else { Join::Background };
                self.separate(list, join);
            }
            '|' if list.pattern => drop(self.next()),
            '|' => {
                let at = self.at;
                self.next();
                if self.eat("|") {
                    self.separate(list, Join::Or);
                } else {
                    self.eat("&");
                    self.out.pipes.push(at);
                    self.separate(list, Join::Pipe);
                }
            }
            '<' | '>' if !self.rest().starts_with("<(") && !self.rest().starts_with(">(") => {
                self.redirection(list, None)?;
            }
            '(' => self.opened(list)?,
            ')' => return Ok(self.closed(list)),
            '`' if list.end == End::Backtick => {
                self.separate(list, Join::None);
                self.next();
                return Ok(false);
            }
            _ => self.word_of(list)?,
        }
        Ok(true)
    }

    /// Ends the command that is being read. `join` is what stands after it.
    pub(super) fn separate(&mut self, list: &mut List, join: Join) {
        let Some(index) = self.command.take() else {
            // An empty line after `&&` is none.
            if std::mem::take(&mut list.closed) || join != Join::Then {
                list.join = join;
            }
            return;
        };
        list.join = join;
        list.closed = false;
        if let Some(command) = self.out.commands.get_mut(index) {
            command.after = join;
        }
        self.nested(index);
    }

    /// The command that is being read; a new one if there is none.
    pub(super) fn begin(&mut self, list: &mut List) -> &mut Command {
        let index = *self.command.get_or_insert_with(|| {
            let command = Command::of_words(self.at..self.at, Vec::new());
            let before = std::mem::take(&mut list.join);
            let (context, parent) = (list.context, list.parent);
            self.out.commands.push(Command { before, context, parent, ..command });
            list.closed = false;
            self.out.commands.len() - 1
        });
        &mut self.out.commands[index]
    }

    pub(super) fn current(&self) -> Option<&Command> {
        self.out.commands.get(self.command?)
    }

    /// Reads a word of a command, of a pattern, or that has to do with a compound command.
    fn word_of(&mut self, list: &mut List) -> Result<(), Lost> {
        if list.pattern {
            let start = self.at;
            if self.reserved() == "esac" {
                self.at += "esac".len();
                list.pattern = false;
                Self::pop_frame(list, Kind::Case);
            } else {
                self.word(Mode::Command)?;
            }
            return if self.at == start { Err(Lost) } else { Ok(()) };
        }
        let at_name = self.current().is_none_or(|command| command.words.is_empty());
        if at_name && self.command.is_none() && self.keyword(list)? {
            return Ok(());
        }
        self.begin(list);
        let start = self.at;
        if self.current().is_some_and(|command| command.keyword) && matches!(self.reserved(), "in" | "do") {
            return self.after_head(list);
        }
        let word = self.word(Mode::Command)?;
        let descriptor = self.text.get(word.range.clone()).unwrap_or_default();
        if matches!(self.peek(), Some('<' | '>')) && descriptor.bytes().all(|byte| byte.is_ascii_digit()) {
            return self.redirection(list, Some((word.range.start, descriptor)));
        }
        if self.at == start {
            return Err(Lost);
        }
        let name = assigned(word.prefix()).filter(|_| at_name).map(str::to_owned);
        let end = self.at;
        let command = self.begin(list);
        command.range.end = end;
        match name {
            Some(name) => command.assignments.push(Assignment { name, word }),
            None => command.words.push(word),
        }
        Ok(())
    }

    /// The word that begins here, if it may be a reserved one.
    pub(super) fn reserved(&self) -> &'t str {
        let rest = self.rest();
        let ends = |c: char| c.is_whitespace() || matches!(c, ';' | '&' | '|' | '<' | '>' | '(' | ')' | '`');
        let end = rest.bytes().take(9).position(|byte| ends(char::from(byte)));
        rest.get(..end.unwrap_or(rest.len().min(9))).unwrap_or_default()
    }
}

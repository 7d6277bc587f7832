//! Which variables a shell script reads before it sets them.
//!
//! This is no shell: it follows quotes, comments, substitutions, here-documents and simple commands of the POSIX shell
//! and bash as far as it takes to tell a read from a text that looks like one. Where it loses the thread it says that
//! nothing is read.

mod expansion;

use std::collections::BTreeMap;
use std::ops::Range;

/// Substitutions in one another, at most. A script that goes deeper reads nothing.
const MAX_DEPTH: usize = 100;

/// A variable read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Read {
    /// Which.
    pub(crate) name: &'static str,
    /// Where, the `$` included.
    pub(crate) range: Range<usize>,
    /// What there is if it is empty.
    pub(crate) otherwise: Otherwise,
}

/// What a read gives where the variable is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Otherwise {
    /// Nothing, or an error.
    Empty,
    /// This text.
    Literal(String),
    /// It depends.
    Unknown,
}

/// The reads of variables in a script that nobody sets before: neither the script itself, nor a file that it may read
/// commands from. A script that asks whether a variable is empty knows what it does, and reads it nowhere.
/// `strip_tabs` is for the content of a `<<-` of the Dockerfile.
pub(crate) fn reads(script: &str, names: &[&'static str], strip_tabs: bool) -> Vec<Read> {
    if !names.iter().any(|name| script.contains(name)) {
        return Vec::new();
    }
    let mut scanner = Scanner {
        text: script,
        at: 0,
        depth: 0,
        names,
        strip_tabs,
        reads: Vec::new(),
        set: BTreeMap::new(),
        opaque: None,
        functions: false,
        test: Test::default(),
        word_end: 0,
        pending: Vec::new(),
    };
    if scanner.commands(End::Text).is_err() {
        return Vec::new();
    }
    let Scanner { mut reads, set, opaque, functions, .. } = scanner;
    let limit = match opaque {
        Some(_) if functions => 0,
        Some(at) => at,
        None => usize::MAX,
    };
    reads.retain(|read| {
        let start = read.range.start;
        // What stands in a function may run after all that follows it.
        let is_set = set.get(read.name).is_some_and(|&at| functions || start >= at);
        start < limit && !is_set
    });
    reads
}

/// Where a list of commands ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Text,
    Parenthesis,
    Backtick,
}

/// The thread is lost.
struct Lost;

struct Heredoc {
    name: String,
    expand: bool,
    strip_tabs: bool,
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    names: &'a [&'static str],
    strip_tabs: bool,
    reads: Vec<Read>,
    /// From where on a variable is set, or known to be asked for.
    set: BTreeMap<&'static str, usize>,
    /// Where the first command stands that reads commands from elsewhere.
    opaque: Option<usize>,
    /// There are functions: what stands first need not run first.
    functions: bool,
    /// The test that is being read.
    test: Test,
    /// Where the word ends that is being finished.
    word_end: usize,
    /// Here-documents whose content begins on the next line.
    pending: Vec<Heredoc>,
}

/// A `[`, `[[` or `test` while it is being read.
#[derive(Default)]
struct Test {
    /// The word before the current one, if it is one of the test's.
    previous: String,
    /// How many words there are, the command included.
    words: usize,
    /// The variables that its words read.
    reads: Vec<&'static str>,
}

/// A list of commands while it is being read.
struct Commands {
    /// The next word is a command's name.
    at_command: bool,
    /// The name of the command whose words are being read; empty where it is not plain.
    command: String,
    /// The next word is where a redirection goes.
    redirected: bool,
    parentheses: usize,
    cases: usize,
    word: Option<Word>,
}

/// A word while it is being read.
#[derive(Default)]
struct Word {
    /// Its characters up to the first that is quoted or substituted.
    prefix: String,
    /// It has such characters.
    mixed: bool,
    /// Where it begins.
    start: usize,
}

/// Commands that set the variables that are their arguments.
const SETTERS: [&str; 14] = [
    "declare",
    "export",
    "for",
    "getopts",
    "let",
    "local",
    "mapfile",
    "printf",
    "read",
    "readarray",
    "readonly",
    "select",
    "typeset",
    "unset",
];

/// Words after which a command's name follows.
const BEFORE_COMMANDS: [&str; 13] = [
    "!", "builtin", "command", "coproc", "do", "elif", "else", "exec", "if", "then", "time", "until", "while",
];

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

    fn eat(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        if found {
            self.at += text.len();
        }
        found
    }

    fn enter(&mut self) -> Result<(), Lost> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(Lost) } else { Ok(()) }
    }

    /// Reads commands up to `end`, which is consumed.
    fn commands(&mut self, end: End) -> Result<(), Lost> {
        self.enter()?;
        let outer = std::mem::take(&mut self.test);
        let mut commands = Commands {
            at_command: true,
            command: String::new(),
            redirected: false,
            parentheses: 0,
            cases: 0,
            word: None,
        };
        loop {
            let start = self.at;
            self.word_end = start;
            let Some(c) = self.next() else {
                if end != End::Text {
                    return Err(Lost);
                }
                self.finish_word(&mut commands);
                break;
            };
            match c {
                ' ' | '\t' | '\r' => self.finish_word(&mut commands),
                '\n' => {
                    self.finish_word(&mut commands);
                    self.separate(&mut commands);
                    self.heredocs()?;
                }
                '#' if commands.word.is_none() => {
                    let stop = |c| c == '\n' || end == End::Backtick && c == '`';
                    self.at += self.rest().find(stop).unwrap_or(self.rest().len());
                }
                '&' if self.peek() == Some('>') => self.finish_word(&mut commands),
                ';' | '&' | '|' => {
                    self.finish_word(&mut commands);
                    self.separate(&mut commands);
                }
                '<' | '>' => self.redirection(c, &mut commands)?,
                '(' => {
                    let function = commands.word.as_ref().is_some_and(|word| !word.mixed)
                        || commands.word.is_none() && !commands.command.is_empty() && !commands.at_command;
                    if function && self.rest().trim_start_matches([' ', '\t']).starts_with(')') {
                        self.functions = true;
                    }
                    let first = commands.word.is_none() && commands.at_command;
                    self.finish_word(&mut commands);
                    if first && self.eat("(") {
                        self.arithmetic()?;
                    } else {
                        commands.parentheses += 1;
                        self.separate(&mut commands);
                    }
                }
                ')' => {
                    self.finish_word(&mut commands);
                    if commands.parentheses > 0 {
                        commands.parentheses -= 1;
                        commands.at_command = commands.cases > 0 || commands.command.is_empty();
                        self.end_test();
                    } else if end == End::Parenthesis && commands.cases == 0 {
                        break;
                    } else {
                        self.separate(&mut commands);
                    }
                }
                '`' if end == End::Backtick => {
                    self.finish_word(&mut commands);
                    break;
                }
                '\'' => {
                    commands.mix(start);
                    self.single_quoted()?;
                }
                '"' => {
                    commands.mix(start);
                    self.double_quoted()?;
                }
                '`' => {
                    commands.mix(start);
                    self.commands(End::Backtick)?;
                }
                '$' => {
                    commands.mix(start);
                    self.dollar(start, false)?;
                }
                '\\' => {
                    if self.next() != Some('\n') {
                        commands.mix(start);
                    }
                }
                _ => commands.push(c, start),
            }
        }
        self.test = outer;
        self.depth -= 1;
        Ok(())
    }

    /// Begins a new command.
    fn separate(&mut self, commands: &mut Commands) {
        commands.at_command = true;
        commands.command.clear();
        commands.redirected = false;
        self.end_test();
    }

    fn finish_word(&mut self, commands: &mut Commands) {
        let Some(word) = commands.word.take() else { return };
        if std::mem::take(&mut commands.redirected) {
            return;
        }
        let raw = self.text.get(word.start..self.word_end).unwrap_or_default();
        let text = word.prefix;
        let plain = !word.mixed;
        let assigned = text.split_once('=').map(|(name, _)| name);
        let assigned = assigned.map(|name| name.split(['[', '+']).next().unwrap_or_default());
        if commands.at_command {
            if let Some(assigned) = assigned.filter(|name| is_name(name)) {
                return self.set(assigned, 0);
            }
            if plain {
                match text.as_str() {
                    "case" => commands.cases += 1,
                    "esac" => commands.cases = commands.cases.saturating_sub(1),
                    "function" => self.functions = true,
                    "." | "source" | "eval" | "trap" | "alias" => {
                        self.opaque.get_or_insert(self.at);
                    }
                    "{" => return,
                    word if BEFORE_COMMANDS.contains(&word) => return,
                    _ => {}
                }
            }
            commands.at_command = false;
            commands.command = if plain { text.clone() } else { String::new() };
        } else if SETTERS.contains(&commands.command.as_str()) {
            let bare = Some(text.as_str()).filter(|_| plain && commands.command != "export");
            if let Some(name) = assigned.or(bare) {
                self.set(name, 0);
            }
        }
        // Inside `[[`, an operator can be where a command's name could.
        if !matches!(commands.command.as_str(), "[" | "[[" | "test" | "-n" | "-v" | "-z") {
            return;
        }
        if self.test.previous == "-v" {
            self.set(&text, 0);
        }
        if matches!(raw, "\"\"" | "''") {
            // Compared with nothing.
            self.asks();
        }
        self.test.previous = if plain { text } else { String::new() };
        if !matches!(self.test.previous.as_str(), "]" | "]]" | "!") {
            self.test.words += 1;
        }
    }

    /// Ends a test. One of a lone word asks whether that is empty.
    fn end_test(&mut self) {
        if self.test.words == 2 {
            self.asks();
        }
        self.test = Test::default();
    }

    /// The test asks whether the variables that it reads are empty.
    fn asks(&mut self) {
        for name in std::mem::take(&mut self.test.reads) {
            self.set.insert(name, 0);
        }
    }

    /// The script sets a variable from a place on, or knows from the start whether it is set.
    fn set(&mut self, name: &str, from: usize) {
        if let Some(&name) = self.names.iter().find(|known| **known == name) {
            let known = self.set.entry(name).or_insert(from);
            *known = from.min(*known);
        }
    }

    /// After a `<` or `>`.
    fn redirection(&mut self, c: char, commands: &mut Commands) -> Result<(), Lost> {
        // A number right before it is a descriptor, no word.
        let descriptor = |word: &Word| !word.mixed && word.prefix.chars().all(|c| c.is_ascii_digit());
        if commands.word.as_ref().is_some_and(descriptor) {
            commands.word = None;
        }
        self.finish_word(commands);
        if c == '<' && self.eat("<<") {
            commands.redirected = true;
        } else if c == '<' && self.eat("<") {
            let strip_tabs = self.eat("-");
            self.heredoc(strip_tabs)?;
        } else if self.eat("(") {
            commands.mix(self.at);
            self.commands(End::Parenthesis)?;
        } else {
            if let Some('<' | '>' | '&' | '|') = self.peek() {
                self.next();
            }
            commands.redirected = true;
        }
        Ok(())
    }

    /// After `<<`: the word that ends the here-document.
    fn heredoc(&mut self, strip_tabs: bool) -> Result<(), Lost> {
        while matches!(self.peek(), Some(' ' | '\t')) {
            self.next();
        }
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
        if name.is_empty() {
            return Err(Lost);
        }
        self.pending.push(Heredoc { name, expand, strip_tabs: strip_tabs || self.strip_tabs });
        Ok(())
    }

    /// At the beginning of a line: the contents of the here-documents that were opened before it.
    fn heredocs(&mut self) -> Result<(), Lost> {
        for heredoc in std::mem::take(&mut self.pending) {
            let start = self.at;
            let (mut end, mut after) = (self.text.len(), self.text.len());
            let mut line_start = start;
            for line in self.rest().split_inclusive('\n') {
                let content = line.trim_end_matches('\n');
                let content = if heredoc.strip_tabs { content.trim_start_matches('\t') } else { content };
                if content == heredoc.name {
                    (end, after) = (line_start, line_start + line.len());
                    break;
                }
                line_start += line.len();
            }
            if heredoc.expand {
                while self.at < end {
                    let start = self.at;
                    match self.next() {
                        Some('\\') => drop(self.next()),
                        Some('$') => self.dollar(start, true)?,
                        Some('`') => self.commands(End::Backtick)?,
                        _ => {}
                    }
                }
                if self.at > end {
                    return Err(Lost);
                }
            }
            self.at = after;
        }
        Ok(())
    }

    fn read(&mut self, name: &str, start: usize, otherwise: Otherwise) {
        let Some(&name) = self.names.iter().find(|known| **known == name) else { return };
        if matches!(self.test.previous.as_str(), "-z" | "-n") {
            return self.set(name, 0);
        }
        if !self.test.previous.is_empty() || self.test.words > 0 {
            self.test.reads.push(name);
        }
        self.reads.push(Read { name, range: start..self.at, otherwise });
    }
}

impl Commands {
    /// A plain character of a word, which begins at `start` if it is the first.
    fn push(&mut self, c: char, start: usize) {
        let word = self.word.get_or_insert_with(|| Word { start, ..Word::default() });
        if !word.mixed {
            word.prefix.push(c);
        }
    }

    /// The same with something that is no plain character.
    fn mix(&mut self, start: usize) {
        self.word.get_or_insert_with(|| Word { start, ..Word::default() }).mixed = true;
    }
}

fn is_name_start(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_'
}

fn is_name(text: &str) -> bool {
    text.starts_with(is_name_start) && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests;

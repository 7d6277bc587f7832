//! Which variables a script reads before it sets them.

use std::collections::BTreeMap;
use std::ops::Range;

use super::word::assigned;
use super::{Command, Expansion, Program, Word};

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

/// Commands that set the variables that are their arguments.
pub(super) const SETTERS: [&str; 14] = [
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

/// The reads of variables in a script that nobody sets before: neither the script itself, nor a file that it may read
/// commands from. A script that asks whether a variable is empty knows what it does, and reads it nowhere. One of which
/// something could not be made out reads nothing.
pub(crate) fn reads(program: &Program, text: &str, names: &[&'static str]) -> Vec<Read> {
    let is_known = |expansion: &Expansion| names.contains(&expansion.name.as_str());
    if program.lost.is_some() || !program.expansions.iter().any(is_known) {
        return Vec::new();
    }
    let mut reader = Reader {
        program,
        text,
        names,
        set: BTreeMap::new(),
        opaque: None,
        asked: vec![false; program.expansions.len()],
    };
    let mut of_commands = vec![Vec::new(); program.commands.len()];
    for (index, expansion) in program.expansions.iter().enumerate().filter(|(_, it)| is_known(it)) {
        if let Some(list) = expansion.command.and_then(|command| of_commands.get_mut(command)) {
            list.push(index);
        }
    }
    for (command, expansions) in program.commands.iter().zip(&of_commands) {
        reader.command(command, expansions);
    }
    reader.finish()
}

struct Reader<'a> {
    program: &'a Program,
    text: &'a str,
    names: &'a [&'static str],
    /// From where on a variable is set, or known to be asked for.
    set: BTreeMap<&'static str, usize>,
    /// Where the first command ends that reads commands from elsewhere.
    opaque: Option<usize>,
    /// The expansions that ask for a variable rather than read it.
    asked: Vec<bool>,
}

impl Reader<'_> {
    /// The script sets a variable from a place on, or knows from the start whether it is set.
    fn set(&mut self, name: &str, from: usize) {
        if let Some(&name) = self.names.iter().find(|known| **known == name) {
            let known = self.set.entry(name).or_insert(from);
            *known = from.min(*known);
        }
    }

    /// What a command sets and asks for. `expansions` are those in its words.
    fn command(&mut self, command: &Command, expansions: &[usize]) {
        for assignment in &command.assignments {
            self.set(&assignment.name, 0);
        }
        let Some(name) = command.words.first().and_then(Word::literal) else { return };
        let (name, words) = match command.call() {
            Some(call) => (call.name, call.arguments),
            None => (name, command.words.get(1..).unwrap_or_default()),
        };
        match name {
            "." | "source" | "eval" | "trap" | "alias" => {
                self.opaque.get_or_insert(command.words.last().map_or(0, |word| word.range.start));
            }
            "[" | "[[" | "test" => self.test(words, expansions),
            name if SETTERS.contains(&name) => {
                for word in words {
                    let bare = word.literal().filter(|_| name != "export");
                    if let Some(set) = assigned(word.prefix()).or(bare) {
                        self.set(set, 0);
                    }
                }
            }
            _ => {}
        }
    }

    /// What a test asks for.
    fn test(&mut self, words: &[Word], expansions: &[usize]) {
        let mut previous = "";
        let mut count = 0;
        let mut read: Vec<usize> = Vec::new();
        let mut left = expansions.iter().copied().peekable();
        let start = |index: usize| self.program.expansions.get(index).map_or(0, |it| it.range.start);
        let mut asked = Vec::new();
        for word in words {
            let mut here = Vec::new();
            while let Some(index) = left.next_if(|&index| start(index) < word.range.end) {
                here.push(index);
            }
            if matches!(previous, "-z" | "-n") {
                asked.extend(here);
            } else {
                read.extend(here);
            }
            let literal = word.literal();
            if previous == "-v"
                && let Some(name) = literal
            {
                self.set(name, 0);
            }
            if literal == Some("") {
                // Compared with nothing.
                asked.append(&mut read);
            }
            previous = literal.unwrap_or_default();
            match previous {
                "]" | "]]" | "!" => {}
                "&&" | "||" | "(" | ")" => {
                    // One of a lone word asks whether that is empty.
                    if count == 1 {
                        asked.append(&mut read);
                    }
                    read.clear();
                    count = 0;
                }
                _ => count += 1,
            }
        }
        if count == 1 {
            asked.append(&mut read);
        }
        for index in asked {
            if let Some(expansion) = self.program.expansions.get(index) {
                self.set(&expansion.name, 0);
            }
            if let Some(asked) = self.asked.get_mut(index) {
                *asked = true;
            }
        }
    }

    fn finish(mut self) -> Vec<Read> {
        let mut reads = Vec::new();
        for (expansion, asked) in self.program.expansions.iter().zip(std::mem::take(&mut self.asked)) {
            let Some(&name) = self.names.iter().find(|known| **known == expansion.name) else { continue };
            if asked {
                continue;
            }
            let operand = self.text.get(expansion.operand.clone()).unwrap_or_default();
            let otherwise = match expansion.operator {
                Some('-' | '=') => literal(operand),
                // `${A+x}` asks whether there is such a variable.
                Some('+') if !expansion.colon => {
                    self.set(name, 0);
                    continue;
                }
                _ => Otherwise::Empty,
            };
            reads.push(Read { name, range: expansion.range.clone(), otherwise });
            if expansion.operator == Some('=') {
                // It sets the variable for what follows, but is a read itself.
                self.set(name, expansion.range.start + 1);
            }
        }
        let functions = !self.program.functions.is_empty();
        let limit = match self.opaque {
            Some(_) if functions => 0,
            Some(at) => at,
            None => usize::MAX,
        };
        reads.retain(|read| {
            let start = read.range.start;
            // What stands in a function may run after all that follows it.
            let is_set = self.set.get(read.name).is_some_and(|&at| functions || start >= at);
            start < limit && !is_set
        });
        // A word that is the script of another shell is read twice.
        reads.sort_by_key(|read| read.range.start);
        reads.dedup_by_key(|read| read.range.start);
        reads
    }
}

/// The text of an operand in which nothing is substituted.
fn literal(operand: &str) -> Otherwise {
    let inner = |quote| operand.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    let text = inner('"').or_else(|| inner('\'')).unwrap_or(operand);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.' | '(' | ')');
    if text.chars().all(plain) { Otherwise::Literal(text.to_owned()) } else { Otherwise::Unknown }
}

//! A script as data.

use std::ops::Range;

use super::Call;

/// What a script does. Ranges are of its text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Program {
    /// Its simple commands in the order in which they begin. What a command's words substitute comes after it.
    pub(crate) commands: Vec<Command>,
    /// Where variables are read, in order.
    pub(crate) expansions: Vec<Expansion>,
    /// The names of functions that it defines.
    pub(crate) functions: Vec<String>,
    /// Where each `|` stands.
    pub(crate) pipes: Vec<usize>,
    /// Where nothing more could be made out: a shell would refuse the script.
    pub(crate) lost: Option<usize>,
}

/// A simple command. The head of `for`, `select` and `case` is one, too, and a redirection of a compound command is
/// one without words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Command {
    /// From its first word, assignment or redirection to its last.
    pub(crate) range: Range<usize>,
    /// What stands before its name.
    pub(crate) assignments: Vec<Assignment>,
    /// Its name and arguments. Of `[[` the last is `]]`.
    pub(crate) words: Vec<Word>,
    pub(crate) redirections: Vec<Redirection>,
    /// The head of a `for`, `select` or `case`.
    pub(crate) keyword: bool,
    /// How it follows what is before it.
    pub(crate) before: Join,
    /// How what is after it follows.
    pub(crate) after: Join,
    /// What it is a part of.
    pub(crate) context: Context,
    /// The command that has it in its words: as a substitution, or as the script of another shell.
    pub(crate) parent: Option<usize>,
}

/// What stands between two commands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Join {
    /// The beginning or the end of a list.
    #[default]
    None,
    /// `;` or a new line.
    Then,
    /// `&`
    Background,
    /// `&&`
    And,
    /// `||`
    Or,
    /// `|`
    Pipe,
}

/// What a command is a part of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Context {
    /// A condition of `if`, `while` or `until`.
    pub(crate) condition: bool,
    /// What is done under a condition: of `if` and `case`, and the body of a loop.
    pub(crate) branch: bool,
    /// `( … )` or a substitution.
    pub(crate) subshell: bool,
    pub(crate) function: bool,
    /// The script of another shell: `sh -c '…'`.
    pub(crate) nested: bool,
}

/// `NAME=value`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Assignment {
    /// The variable, without an index.
    pub(crate) name: String,
    /// All of it. The literal text of the word has the `NAME=`, too.
    pub(crate) word: Word,
}

/// A redirection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Redirection {
    /// `<`, `>`, `>>`, `<<`, `<<-`, `<<<`, `>&`, `<&`, `&>`, `&>>`, `>|` or `<>`.
    pub(crate) operator: String,
    /// The number before it.
    pub(crate) descriptor: Option<u32>,
    /// Where to or from; of a here-document the word that ends it.
    pub(crate) target: Word,
    /// What a here-document holds.
    pub(crate) content: Option<Range<usize>>,
}

/// A word.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) range: Range<usize>,
    /// Its text without quotes if nothing is substituted in it.
    text: String,
    parts: Vec<Part>,
    /// A part of it is quoted.
    pub(crate) quoted: bool,
}

/// A part of a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// Text, quotes removed. Where it is not quoted, patterns, `~` and braces stand as they are written.
    Literal(String),
    /// A variable: an index into [`Program::expansions`].
    Variable(usize),
    /// What commands print: indexes into [`Program::commands`].
    Commands(Range<usize>),
    /// Something else that is worked out: arithmetic, an array.
    Other,
}

/// A variable that is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expansion {
    /// Which.
    pub(crate) name: String,
    /// All of it, the `$` included.
    pub(crate) range: Range<usize>,
    /// Where the name ends.
    pub(crate) name_end: usize,
    /// What follows the name in braces: `-`, `=`, `+`, `?`, `#`, `%`, `/` and others.
    pub(crate) operator: Option<char>,
    /// There is a `:` before the operator.
    pub(crate) colon: bool,
    /// What follows the operator.
    pub(crate) operand: Range<usize>,
    /// The command that has it in its words.
    pub(crate) command: Option<usize>,
}

impl Expansion {
    /// Where its name stands. Between the `$` and the name there may be a brace, and `#` or `!`.
    pub(crate) fn name_range(&self) -> Range<usize> {
        let end = self.name_end;
        end - self.name.len()..end
    }
}

impl Word {
    /// Of its parts; `parts` is not empty if something is substituted.
    pub(super) fn new(range: Range<usize>, text: String, mut parts: Vec<Part>, quoted: bool) -> Self {
        if parts.is_empty() {
            return Self { range, text, parts, quoted };
        }
        if !text.is_empty() {
            parts.push(Part::Literal(text));
        }
        Self { range, text: String::new(), parts, quoted }
    }

    /// A word that is this text.
    pub(super) fn of_text(range: Range<usize>, text: String) -> Self {
        Self { range, text, parts: Vec::new(), quoted: true }
    }

    /// Its text without quotes. `None` if something is substituted in it.
    pub(crate) fn literal(&self) -> Option<&str> {
        self.parts.is_empty().then_some(self.text.as_str())
    }

    /// Whether it is this text.
    pub(crate) fn is(&self, text: &str) -> bool {
        self.literal() == Some(text)
    }

    /// Its text up to the first thing that is substituted.
    pub(crate) fn prefix(&self) -> &str {
        match self.parts.first() {
            None => &self.text,
            Some(Part::Literal(text)) => text,
            Some(_) => "",
        }
    }

    /// What it is made of; empty if nothing is substituted.
    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Its literal texts, in order.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        let whole = self.parts.is_empty().then_some(self.text.as_str());
        let parts = self.parts().iter().filter_map(|part| match part {
            Part::Literal(text) => Some(text.as_str()),
            _ => None,
        });
        whole.into_iter().chain(parts)
    }
}

impl Command {
    /// What it calls. `None` if that is worked out, or it calls nothing.
    pub(crate) fn call(&self) -> Option<Call<'_>> {
        if self.keyword { None } else { Call::of(&self.words) }
    }
}

impl Command {
    /// A command that is known as its words.
    pub(super) fn of_words(range: Range<usize>, words: Vec<Word>) -> Self {
        Self {
            range,
            assignments: Vec::new(),
            words,
            redirections: Vec::new(),
            keyword: false,
            before: Join::None,
            after: Join::None,
            context: Context::default(),
            parent: None,
        }
    }
}

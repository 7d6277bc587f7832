//! What an expansion came to that its result no longer tells: what is no error, and yet worth a word.

use std::cell::RefCell;
use std::collections::HashSet;

use crate::span::Span;

/// Assignments that are looked at for proposals in an evaluation, at most.
const MAX_LOOKED_AT: usize = 1 << 20;

/// What the `FROM` of a stage came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FromNotes {
    /// The name of the base if no build argument were given, only the automatic ones. `None` where it, or that of a
    /// stage before, cannot be expanded.
    pub default_base: Option<String>,
    /// The arguments in the name of the base, then those in `--platform`, that no `ARG` declares.
    pub undeclared: Vec<Undefined>,
    /// `--platform`, expanded.
    pub platform: Option<Expanded>,
}

/// A word that was expanded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expanded {
    /// What it came to.
    pub text: String,
    /// The variables that were found, each once.
    pub found: Vec<String>,
    /// The variables that were not, each once.
    pub missing: Vec<String>,
}

/// A variable that was not found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undefined {
    /// Its name.
    pub name: String,
    /// A known one that is spelt nearly like it.
    pub nearest: Option<String>,
    /// The word it is in; for a trigger the `FROM`.
    pub span: Span,
}

/// What a command of a stage came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The command's number in the stage from 0, triggers of the base first.
    pub command: usize,
    /// What it came to.
    pub kind: NoteKind,
}

/// What a command of a stage came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoteKind {
    /// A word has a variable that is neither set nor declared by an `ARG`. Words that a shell expands are not among
    /// these.
    Undefined(Undefined),
    /// The path of a `WORKDIR`, expanded, not joined to the one before.
    Workdir(String),
    /// A port of an `EXPOSE`, expanded.
    Port(String),
}

/// Names, each once, in order. An expansion is given a function that must not change anything.
#[derive(Default)]
pub(crate) struct Names(RefCell<(HashSet<String>, Vec<String>)>);

impl Names {
    pub(crate) fn add(&self, name: &str) {
        let (known, list) = &mut *self.0.borrow_mut();
        if !known.contains(name) {
            known.insert(name.to_owned());
            list.push(name.to_owned());
        }
    }

    pub(crate) fn list(self) -> Vec<String> {
        self.0.into_inner().1
    }
}

/// Finds names that are spelt like others, as long as that does not take too much time.
#[derive(Default)]
pub(crate) struct Proposals {
    looked_at: usize,
}

impl Proposals {
    /// The nearest of `known`, which answers how many assignments it has looked at, too.
    pub(crate) fn nearest<'a>(
        &mut self,
        name: &str,
        known: impl FnOnce() -> (Vec<&'a str>, usize),
    ) -> Option<String> {
        if self.looked_at > MAX_LOOKED_AT {
            return None;
        }
        let (known, looked_at) = known();
        self.looked_at += looked_at;
        crate::suggest::nearest(name, known, false)
    }
}

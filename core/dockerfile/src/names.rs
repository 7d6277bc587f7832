//! Every name in a Dockerfile: where it is given, where it is used, and what a use means.
//!
//! Three things have names: stages, variables and heredocs. [`names`] finds them without a platform, a builder or
//! anything else that is known of a build only, and in a file that is wrong as in one that is right. What a use
//! means is what [`evaluate`](crate::evaluate()) makes of it where no build argument is given: `FROM` sees the stages
//! before it and the arguments before the first `FROM`, `COPY --from` and mounts see the last stage of a name, and a
//! stage on another one begins with that one's variables.

mod scan;
mod scope;
mod text;

use crate::dockerfile::Dockerfile;
use crate::evaluate::{PROXIES, TARGET_STAGE};
use crate::span::Span;

pub use self::scan::{Substitution, substitutions};

/// Every name in a Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Names {
    /// What has a name, in the order of first mention.
    pub subjects: Vec<Subject>,
    /// Where it is named, in order of the text. No two have a byte in common.
    pub mentions: Vec<Mention>,
    /// Bases with a variable in them that may be a stage, in order of the text.
    pub guesses: Vec<Guess>,
}

/// Something that has a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// What it is.
    pub kind: SubjectKind,
    /// Its name: of a stage in lower case, empty where it has none.
    pub name: String,
    /// Where it is named, as indexes into [`Names::mentions`], in order of the text.
    pub mentions: Vec<usize>,
}

/// What a name is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SubjectKind {
    /// A stage.
    Stage {
        /// Its number from 0.
        index: usize,
        /// The keyword of its `FROM`.
        from: Span,
    },
    /// A variable: every `ARG` of that name in the file, since one build argument sets them all, and every `ENV` that
    /// may stand in its place. Variables of one name in stages that have nothing to do with one another are several.
    Variable,
    /// A heredoc.
    Heredoc {
        /// The index of its instruction.
        instruction: usize,
        /// Its number in that.
        number: usize,
    },
}

/// A place where something is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mention {
    /// What, as an index into [`Names::subjects`].
    pub subject: usize,
    /// What it does to it.
    pub role: Role,
    /// Where the name stands: one span, and more only where the line is continued within the name.
    pub pieces: Vec<Span>,
    /// All of a substitution, such as `${x:-y}`; of everything else the name.
    pub whole: Span,
    /// The definition that is meant, as an index into [`Names::mentions`]. Of an `ARG` without a value it is the one
    /// before the first `FROM`, whose value it takes. `None` of other definitions, of stages without a name, and of
    /// variables that nothing in the file sets.
    pub target: Option<usize>,
    /// The index of the instruction.
    pub instruction: usize,
}

/// What a mention does to what it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// It gives the name: `AS name`, `ARG name`, `ENV name=value`, `<<name`.
    Definition,
    /// The language reads it: `FROM name`, `--from=name`, `$name`.
    Reference,
    /// It names a stage by its number.
    Number,
    /// The line that ends a heredoc.
    End,
    /// A shell reads the variable while the image is built.
    Shell,
    /// A shell reads the variable, or one of its own: it sets one of that name, too.
    PerhapsShell,
    /// A shell reads the variable in a container: `CMD`, `ENTRYPOINT`, `HEALTHCHECK`.
    Container,
}

/// A base that has variables in its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guess {
    /// The word.
    pub span: Span,
    /// The stages that it may mean, as indexes into [`Names::subjects`].
    pub subjects: Vec<usize>,
}

/// A variable that the script of a shell reads, as somebody found it who knows shells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShellRead {
    /// The variable.
    pub name: String,
    /// Where its name stands.
    pub pieces: Vec<Span>,
    /// All of the substitution.
    pub whole: Span,
    /// It may be one that the shell has set itself.
    pub perhaps: bool,
}

/// Finds the names of a Dockerfile. `shell` is what the scripts in it read, in order of the text: this crate knows no
/// shell. Takes time linear in the length of the text, or nearly.
pub fn names(file: &Dockerfile, shell: &[ShellRead]) -> Names {
    scope::Walk::new(file, shell).run()
}

/// Whether a build sets the variable by itself, or sets it for every step: the platforms, the proxies, and what
/// BuildKit looks for among build arguments.
pub fn is_predefined(name: &str) -> bool {
    let of_platform = |rest| matches!(rest, "PLATFORM" | "OS" | "OSVERSION" | "ARCH" | "VARIANT");
    let one_case = || name == name.to_uppercase() || name == name.to_lowercase();
    name.strip_prefix("TARGET").or_else(|| name.strip_prefix("BUILD")).is_some_and(of_platform)
        || name == TARGET_STAGE
        || name == "SOURCE_DATE_EPOCH"
        || name.starts_with("BUILDKIT_")
        || PROXIES.iter().any(|proxy| proxy.eq_ignore_ascii_case(name)) && one_case()
}

impl Mention {
    /// From the first byte of the name to the last.
    pub fn span(&self) -> Span {
        let first = self.pieces.first().copied().unwrap_or(self.whole);
        self.pieces.last().map_or(first, |last| first.join(*last))
    }

    /// Whether it gives the name.
    pub fn is_definition(&self) -> bool {
        self.role == Role::Definition
    }
}

impl Names {
    /// The mention that holds `offset`: in its name, right after it, or in the `$` or `${` before it.
    pub fn at(&self, offset: u32) -> Option<&Mention> {
        let begins = |mention: &Mention| mention.whole.start.min(mention.span().start);
        let end = self.mentions.partition_point(|mention| begins(mention) <= offset);
        // Where one ends as the other begins, it is the other.
        self.mentions.get(..end)?.last().filter(|mention| offset <= mention.span().end)
    }

    /// What a mention names.
    pub fn subject(&self, mention: &Mention) -> Option<&Subject> {
        self.subjects.get(mention.subject)
    }

    /// Where something is named, in order of the text.
    pub fn mentions_of(&self, subject: usize) -> impl Iterator<Item = &Mention> {
        let indexes = self.subjects.get(subject).map_or(&[][..], |subject| &subject.mentions);
        indexes.iter().filter_map(|&index| self.mentions.get(index))
    }

    /// The definition that a mention means: itself, if it is one and means no other.
    pub fn definition<'a>(&'a self, mention: &'a Mention) -> Option<&'a Mention> {
        match mention.target {
            Some(target) => self.mentions.get(target),
            None => Some(mention).filter(|mention| mention.is_definition()),
        }
    }

    /// The base with variables that holds `offset`, its end included, if it may be a stage.
    pub fn guess_at(&self, offset: u32) -> Option<&Guess> {
        let end = self.guesses.partition_point(|guess| guess.span.start <= offset);
        self.guesses.get(..end)?.last().filter(|guess| offset <= guess.span.end)
    }
}

#[cfg(test)]
mod tests;

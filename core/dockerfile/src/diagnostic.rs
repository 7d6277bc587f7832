//! What is wrong with a Dockerfile, and where.

use std::fmt;

use crate::span::Span;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The build cannot go on.
    Error,
    /// The build goes on. A finding in a stage the target does not need is one of these.
    Warning,
}

/// When BuildKit would find it. BuildKit stops at the first error; [`Dockerfile::first_error`] keeps its order.
///
/// [`Dockerfile::first_error`]: crate::Dockerfile::first_error
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// While lines are cut into words. Shown bare.
    Syntax,
    /// While one instruction is read. Shown after `dockerfile parse error on line N: `.
    Instruction,
    /// While instructions are ordered into stages. Shown bare.
    Structure,
    /// While the file is evaluated for a platform. Shown bare.
    Evaluation,
}

/// How far BuildKit has come when it finds something. What it warns of before that, it has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Moment {
    /// The text is read.
    #[default]
    Reading,
    /// The `ARG`s before the first `FROM` are expanded.
    Globals,
    /// The `FROM` of the stage of that index is expanded.
    From(usize),
    /// It is found out which stage needs which.
    Needs,
    /// A command of a stage is carried out.
    Command {
        /// The stage's index.
        stage: usize,
        /// The command's number in the stage from 0, triggers of the base first.
        command: usize,
    },
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Diagnostic {
    /// Where. For a trigger of the base image this is the `FROM`.
    pub span: Span,
    /// How bad.
    pub severity: Severity,
    /// When BuildKit finds it.
    pub phase: Phase,
    /// How far BuildKit has come then.
    pub moment: Moment,
    /// What, in BuildKit's words where it has them, without `dockerfile parse error on line N: `.
    pub message: String,
    /// A remedy, such as `did you mean RUN?`.
    pub hint: Option<String>,
    /// The word the hint proposes in place of the wrong one.
    pub replacement: Option<String>,
}

impl Diagnostic {
    pub(crate) fn error(phase: Phase, span: Span, message: impl Into<String>) -> Self {
        Self {
            span,
            severity: Severity::Error,
            phase,
            moment: Moment::Reading,
            message: message.into(),
            hint: None,
            replacement: None,
        }
    }

    pub(crate) fn at(self, moment: Moment) -> Self {
        Self { moment, ..self }
    }

    /// Proposes a word in the place of the wrong one.
    pub(crate) fn propose(mut self, word: Option<String>) -> Self {
        self.hint = word.as_ref().map(|word| format!("did you mean {word}?"));
        self.replacement = word;
        self
    }

    /// Proposes the word of `options` nearest to `wrong`, if one is near.
    pub(crate) fn suggest<'a>(
        self,
        wrong: &str,
        options: impl IntoIterator<Item = &'a str>,
        fold_case: bool,
    ) -> Self {
        self.propose(crate::suggest::nearest(wrong, options, fold_case))
    }
}

/// The message as BuildKit prints it: with the proposal in parentheses.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.replacement, &self.hint) {
            (Some(_), Some(hint)) => write!(f, "{} ({hint})", self.message),
            _ => f.write_str(&self.message),
        }
    }
}

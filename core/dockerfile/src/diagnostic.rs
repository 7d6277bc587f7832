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

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Diagnostic {
    /// Where. For a trigger of the base image this is the `FROM`.
    pub span: Span,
    /// How bad.
    pub severity: Severity,
    /// When BuildKit finds it.
    pub phase: Phase,
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
            message: message.into(),
            hint: None,
            replacement: None,
        }
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

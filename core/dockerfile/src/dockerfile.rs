//! A parsed Dockerfile.

use crate::diagnostic::{Diagnostic, Phase, Severity};
use crate::instruction::{Instruction, Keyword};
use crate::line::Line;
use crate::span::{LineIndex, Span};

/// A parsed Dockerfile: everything in it, right or wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dockerfile {
    /// The whole text, to which every span belongs.
    pub text: String,
    /// The parser directives.
    pub directives: Directives,
    /// The escape character in force: `\` or `` ` ``.
    pub escape: char,
    /// The instructions in order. Triggers of `ONBUILD` stand inside their `ONBUILD`.
    pub instructions: Vec<Instruction>,
    /// The comments in order, those inside instructions included, parser directives excluded.
    pub comments: Vec<Comment>,
    /// What is wrong, in order of the text; within an instruction in the order in which BuildKit would come upon it.
    pub diagnostics: Vec<Diagnostic>,
    /// The physical lines. Their spans, one after another, are the text.
    pub lines: Vec<Line>,
    /// From offsets to line numbers and back.
    pub line_index: LineIndex,
}

impl Dockerfile {
    /// The error BuildKit would stop at.
    pub fn first_error(&self) -> Option<&Diagnostic> {
        let errors = || self.diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error);
        errors().find(|diagnostic| diagnostic.phase == Phase::Syntax).or_else(|| errors().next())
    }

    /// A finding's text as BuildKit prints it, `dockerfile parse error on line N: ` included where it has that.
    pub fn error_text(&self, diagnostic: &Diagnostic) -> String {
        if diagnostic.phase == Phase::Instruction {
            let span = self.instruction_at(diagnostic.span.start).map_or(diagnostic.span, |found| found.span);
            let line = self.line_index.line_of(span.start);
            format!("dockerfile parse error on line {line}: {diagnostic}")
        } else {
            diagnostic.to_string()
        }
    }

    /// The instruction whose span holds `offset`, its end included; for `ONBUILD` the outer one.
    pub fn instruction_at(&self, offset: u32) -> Option<&Instruction> {
        let index = self.instructions.partition_point(|instruction| instruction.span.start <= offset);
        self.instructions[..index].last().filter(|instruction| offset <= instruction.span.end)
    }

    /// Whether keywords are to be in lower case: most of those in stages are, of those that have one case. BuildKit
    /// counts so.
    pub fn is_lower_case(&self) -> bool {
        let (mut lower, mut upper) = (0_usize, 0_usize);
        let known = |instruction: &&Instruction| instruction.keyword != Keyword::Unknown;
        for instruction in self.stages().flatten().filter(known) {
            let word = instruction.keyword_span.slice(&self.text);
            if word == word.to_lowercase() {
                lower += 1;
            } else if word == word.to_uppercase() {
                upper += 1;
            }
        }
        lower > upper
    }

    /// The comments right before an instruction.
    pub fn comments_of(&self, instruction: &Instruction) -> &[Comment] {
        self.comments.get(instruction.comments.clone()).unwrap_or(&[])
    }

    /// What the comments before an instruction say about `name`: the rest of the first that begins with it and a
    /// space. BuildKit shows it for targets and arguments.
    pub fn description(&self, instruction: &Instruction, name: &str) -> Option<&str> {
        if name.is_empty() {
            return None;
        }
        self.comments_of(instruction)
            .iter()
            .find_map(|comment| comment.text.strip_prefix(name)?.strip_prefix(' '))
    }

    /// The instructions of each stage, its `FROM` first. What stands before the first `FROM` is not among them.
    pub fn stages(&self) -> impl Iterator<Item = &[Instruction]> {
        let is_from = |instruction: &Instruction| instruction.keyword == Keyword::From;
        let first = self.instructions.iter().position(is_from).unwrap_or(self.instructions.len());
        let rest = &self.instructions[first..];
        let mut at = 0;
        std::iter::from_fn(move || {
            let stage = rest.get(at..).filter(|stage| !stage.is_empty())?;
            let length = stage[1..].iter().position(is_from).map_or(stage.len(), |next| next + 1);
            at += length;
            Some(&stage[..length])
        })
    }
}

/// A comment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Comment {
    /// From its `#` to the end of the line.
    pub span: Span,
    /// What follows the `#`, white space at both ends removed.
    pub text: String,
}

/// The parser directives at the top of a file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Directives {
    /// `# syntax=`: the image of the front end, to which options may be added after a space. As in BuildKit it is
    /// also found as `// syntax=` and in JSON (`{"syntax": "…"}`), which are no Dockerfiles.
    pub syntax: Option<Directive>,
    /// `# escape=`
    pub escape: Option<Directive>,
    /// `# check=`
    pub check: Option<Directive>,
}

/// A parser directive.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Directive {
    /// From its `#` to the end of the line.
    pub span: Span,
    /// The name as written.
    pub name_span: Span,
    /// Where the value stands.
    pub value_span: Span,
    /// The value, white space at both ends removed.
    pub value: String,
}

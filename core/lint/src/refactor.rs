//! Changes of a Dockerfile that nothing asks for, and that somebody may want.

mod images;
mod pairs;
mod scripts;

use rbx_dockerfile::{Dockerfile, Evaluation, Instruction, Span};

use crate::evaluated::Evaluated;
use crate::facts::Facts;
use crate::finding::Edit;
use crate::shell::{Run, Scripts, runs};

/// A change that may be made. It keeps what is built, or its title says what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refactoring {
    /// What it does.
    pub title: String,
    /// What sort of change it is.
    pub kind: RefactoringKind,
    /// What it changes, in order of the text; or why it cannot be made now.
    pub edits: Result<Vec<Edit>, String>,
}

/// A sort of changes, as editors name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefactoringKind {
    /// `refactor.rewrite`: the same in other words.
    Rewrite,
    /// `refactor.extract`: a part gets a name.
    Extract,
}

impl Refactoring {
    fn rewrite(title: impl Into<String>, edits: Vec<Edit>) -> Self {
        Self { title: title.into(), kind: RefactoringKind::Rewrite, edits: Ok(edits) }
    }
}

/// What a place is looked at with.
struct Place<'a> {
    file: &'a Dockerfile,
    evaluation: &'a Evaluation,
    facts: &'a Facts,
    /// The instructions that the span touches.
    instructions: &'a [Instruction],
    runs: Vec<Run<'a>>,
}

/// The changes that may be made where a span is: at the instructions that it touches. `evaluated` is what the file
/// means with `facts`.
pub fn refactorings(file: &Dockerfile, span: Span, facts: &Facts, evaluated: &Evaluated) -> Vec<Refactoring> {
    let Some(evaluation) = evaluated.evaluations.first() else { return Vec::new() };
    let first = file.instructions.partition_point(|it| it.span.end < span.start);
    let last = file.instructions.partition_point(|it| it.span.start <= span.end).max(first);
    let instructions = &file.instructions[first..last];
    let scripts = Scripts::new(file);
    let touched = |run: &Run<'_>| instructions.iter().any(|it| it.span == run.instruction.span);
    let runs = runs(&scripts, evaluation).into_iter().filter(touched).collect();
    let place = Place { file, evaluation, facts, instructions, runs };
    let mut all = images::changes(&place);
    all.extend(scripts::changes(&place));
    all.extend(pairs::changes(&place, first));
    all
}

/// Puts a text in the place of a span.
fn replace(span: Span, text: impl Into<String>) -> Edit {
    Edit { span, text: text.into() }
}

fn insert(at: u32, text: impl Into<String>) -> Edit {
    replace(Span { start: at, end: at }, text)
}

/// The line end of the line that a place is in.
fn newline(file: &Dockerfile, at: u32) -> &'static str {
    let line = file.line_index.span_of(file.line_index.line_of(at)).unwrap_or_default();
    if line.slice(&file.text).ends_with("\r\n") { "\r\n" } else { "\n" }
}

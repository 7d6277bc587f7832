//! What BuildKit's own check answers.

use std::collections::{BTreeMap, BTreeSet};

use rbx_dockerfile::{Diagnostic, Dockerfile, Evaluation, Moment, Severity, Span};

use crate::facts::Facts;
use crate::rule::{Rule, rule};
use crate::rules::buildkit::{Checked, Stages, Turn, walk};
use crate::silence::{ARGUMENT, Silence};

/// What BuildKit's check says of a Dockerfile for a platform.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckAnswer {
    /// What it warns of, in its order, which is not that of the text. Nothing is left out that it says twice.
    pub warnings: Vec<CheckWarning>,
    /// Why the Dockerfile cannot be built. What it would have warned of after that is not among the warnings.
    pub error: Option<CheckError>,
}

/// What BuildKit warns of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CheckWarning {
    /// Its rule. BuildKit's description of it is [`Rule::summary`], its place for more is [`Rule::url`].
    pub rule: &'static Rule,
    /// BuildKit's message.
    pub message: String,
    /// The first and the last line that BuildKit points at, from 1.
    pub lines: (u32, u32),
    /// BuildKit says it before it looks for base images.
    pub before_bases: bool,
}

/// Why a Dockerfile cannot be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckError {
    /// BuildKit's message.
    pub message: String,
    /// The first and the last line it is about, from 1.
    pub lines: Option<(u32, u32)>,
    /// It is because there are warnings, and the file or `BUILDKIT_DOCKERFILE_CHECK` has `error=true`.
    pub by_warnings: bool,
}

/// What BuildKit's check (`docker buildx build --check`) says of a Dockerfile for the platform that `evaluation` is
/// for. With `all_stages`, all are checked, as BuildKit does without a target; else those that the target needs, as
/// builds do. Only comments count that BuildKit knows, and `BUILDKIT_DOCKERFILE_CHECK` of the build arguments. What is
/// to be known of base images and `.dockerignore` is in `facts`.
pub fn buildkit(
    file: &Dockerfile,
    evaluation: &Evaluation,
    build_args: &BTreeMap<String, String>,
    facts: &Facts,
    all_stages: bool,
) -> CheckAnswer {
    let silence = Silence::of_buildkit(file, build_args.get(ARGUMENT).map(String::as_str));
    if let (Some(invalid), false) = (&silence.invalid, file.text.is_empty()) {
        let message = invalid.message.clone();
        let error = CheckError { message, lines: None, by_warnings: false };
        return CheckAnswer { warnings: Vec::new(), error: Some(error) };
    }
    let stops = |found: &&Diagnostic| match found.severity {
        Severity::Error => true,
        // It is in a stage that the target does not need, of which BuildKit does not look at triggers.
        Severity::Warning => all_stages && found.moment != Moment::Needs,
    };
    let error = file.first_error().or_else(|| evaluation.diagnostics.iter().find(stops));
    let stages = if all_stages { Stages::All } else { Stages::Needed };
    let mut warnings = Vec::new();
    let end = error.map(|error| Turn::of_error(file, error));
    if end != Some(None) {
        let end = end.flatten();
        for warning in walk(&Checked { file, evaluation, facts, stages, knows_bases: true }) {
            let Some(rule) = rule(warning.rule) else { continue };
            let found = &warning.found;
            if end.is_none_or(|end| warning.turn <= end)
                && !silence.covers_by(file, rule, found.span, found.comments)
            {
                let lines = file.line_index.lines_of(warning.place);
                let before_bases = warning.turn < Turn::Bases;
                warnings.push(CheckWarning { rule, message: warning.found.message, lines, before_bases });
            }
        }
    }
    let error = match error {
        Some(error) => Some(CheckError {
            message: file.error_text(error),
            lines: lines_of(file, error.span),
            by_warnings: false,
        }),
        None if silence.errors && !warnings.is_empty() => {
            let rules: BTreeSet<&str> = warnings.iter().map(|warning| warning.rule.name).collect();
            let rules: Vec<&str> = rules.into_iter().collect();
            let message = format!("lint violation found for rules: {}", rules.join(", "));
            Some(CheckError { message, lines: None, by_warnings: true })
        }
        None => None,
    };
    CheckAnswer { warnings, error }
}

/// As in BuildKit the place of an error is the whole instruction. What is at no place is at the very beginning.
fn lines_of(file: &Dockerfile, span: Span) -> Option<(u32, u32)> {
    let instruction = file.instruction_at(span.start);
    let whole = instruction.map_or(span, |instruction| instruction.span.join(span));
    (span.end > 0).then(|| file.line_index.lines_of(whole))
}

//! BuildKit's checks, under its names, in its words and in its order.
//!
//! They are made in one walk, which goes over a file as BuildKit's front end does: what it warns of first comes first.
//! What depends on an expansion is taken from the evaluation, which notes it.

mod commands;
mod from;
mod reading;
mod stages;

use std::collections::HashMap;

use rbx_dockerfile::{Diagnostic, Dockerfile, Evaluation, Instruction, Moment, Phase, Span, Stage};

use crate::facts::Facts;
use crate::finding::{Edit, Fix, Severity};
use crate::rule::{Check, Family, Rule};
use crate::silence::Comments;
use crate::view::{Found, View};

pub(crate) static RULES: &[&[Rule]] = &[commands::RULES, from::RULES, reading::RULES, stages::RULES];

/// What the rules of BuildKit have in common.
const RULE: Rule = Rule {
    family: Family::BuildKit,
    severity: Severity::Warning,
    enabled: true,
    check: Check::BuildKit,
    ..Rule::NONE
};

/// What is checked.
pub(crate) struct Checked<'a> {
    pub(crate) file: &'a Dockerfile,
    pub(crate) evaluation: &'a Evaluation,
    pub(crate) facts: &'a Facts,
    pub(crate) stages: Stages<'a>,
    /// Of a base image that is not among the facts, there is nothing to know.
    pub(crate) knows_bases: bool,
}

/// The stages whose commands are checked.
#[derive(Clone, Copy)]
pub(crate) enum Stages<'a> {
    All,
    /// By their indexes.
    These(&'a [bool]),
    /// Those that the target needs.
    Needed,
}

impl<'a> Checked<'a> {
    pub(crate) fn of(view: &View<'a>, stages: Stages<'a>) -> Self {
        let (file, evaluation, facts) = (view.file, view.evaluation, view.facts);
        Self { file, evaluation, facts, stages, knows_bases: false }
    }

    /// Every stage with its instructions, the `FROM` first.
    fn stages(&self) -> impl Iterator<Item = (&'a Stage, &'a [Instruction])> {
        self.evaluation.stages.iter().zip(self.file.stages())
    }

    fn covers(&self, stage: &Stage) -> bool {
        match self.stages {
            Stages::All => true,
            Stages::These(these) => these.get(stage.index).copied().unwrap_or(false),
            Stages::Needed => stage.reachable,
        }
    }

    /// An instruction's name as it is written.
    fn keyword(&self, instruction: &Instruction) -> &'a str {
        instruction.keyword_span.slice(&self.file.text)
    }
}

/// When BuildKit warns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Turn {
    /// After all lines have been joined to instructions.
    Lines,
    /// When it reads the instruction that begins there; `late` is after all that may be wrong with it.
    Reading { start: u32, late: bool },
    /// When all stages are known.
    Stages,
    /// When each `FROM` has been expanded without build arguments.
    Defaults,
    /// When it expands the `FROM` of a stage.
    From(usize),
    /// When it has the configurations of base images.
    Bases,
    /// When it carries out a command of a stage.
    Command(usize, usize),
}

impl Turn {
    /// When BuildKit stops at an error; `None` is before it warns of anything.
    pub(crate) fn of_error(file: &Dockerfile, error: &Diagnostic) -> Option<Self> {
        let start = file.instruction_at(error.span.start).map_or(u32::MAX, |found| found.span.start);
        match (error.phase, error.moment) {
            (Phase::Syntax, _) => None,
            (Phase::Instruction, _) => Some(Self::Reading { start, late: false }),
            (Phase::Structure, _) if file.instructions.is_empty() => None,
            (Phase::Structure, _) => Some(Self::Reading { start, late: true }),
            (Phase::Evaluation, Moment::Command { stage, command }) => Some(Self::Command(stage, command)),
            (Phase::Evaluation, Moment::From(stage)) => Some(Self::From(stage)),
            (Phase::Evaluation, Moment::Needs) => Some(Self::From(usize::MAX)),
            (Phase::Evaluation, Moment::Globals | Moment::Reading) => Some(Self::Defaults),
        }
    }
}

/// What BuildKit warns of.
pub(crate) struct Warning {
    pub(crate) rule: &'static str,
    pub(crate) turn: Turn,
    /// What BuildKit points at: whole lines.
    pub(crate) place: Span,
    /// What is pointed at here, and why.
    pub(crate) found: Found,
}

impl Warning {
    fn new(rule: &'static str, turn: Turn, place: Span, found: Found) -> Self {
        Self { rule, turn, place, found }
    }

    /// BuildKit reads no comments but those on top of the file.
    fn regardless(mut self) -> Self {
        self.found.comments = Comments::Unread;
        self
    }
}

/// All that BuildKit could warn of, in its order, what comments silence included.
pub(crate) fn walk(checked: &Checked<'_>) -> Vec<Warning> {
    let mut all = Vec::new();
    walk_text(checked, &mut all);
    walk_evaluation(checked, &mut all);
    all
}

/// What the text alone decides.
fn walk_text(checked: &Checked<'_>, all: &mut Vec<Warning>) {
    reading::walk(checked, all);
    stages::walk(checked, all);
}

/// What the evaluation for a platform decides.
fn walk_evaluation(checked: &Checked<'_>, all: &mut Vec<Warning>) {
    from::walk(checked, all);
    commands::walk(checked, all);
}

/// What is found by each rule.
pub(crate) type ByRule = HashMap<&'static str, Vec<Found>>;

/// What is found on every platform.
pub(crate) fn found_in_text(checked: &Checked<'_>) -> ByRule {
    by_rule(checked, walk_text)
}

/// What more is found on the platform of the evaluation.
pub(crate) fn found_in_evaluation(checked: &Checked<'_>) -> ByRule {
    by_rule(checked, walk_evaluation)
}

fn by_rule<'a>(checked: &Checked<'a>, walk: fn(&Checked<'a>, &mut Vec<Warning>)) -> ByRule {
    let (mut all, mut found) = (Vec::new(), ByRule::new());
    walk(checked, &mut all);
    for warning in all {
        found.entry(warning.rule).or_default().push(warning.found);
    }
    found
}

fn replace(title: impl Into<String>, safe: bool, span: Span, text: impl Into<String>) -> Fix {
    Fix { title: title.into(), safe, edits: vec![Edit { span, text: text.into() }] }
}

/// Where variables stand in a part of the text, found once for all that are looked for in it.
#[derive(Default)]
struct Places {
    span: Span,
    by_name: HashMap<String, Vec<Span>>,
}

impl Places {
    /// Where `$name` or `${name` stands: the names alone.
    fn of(&mut self, file: &Dockerfile, span: Span, name: &str) -> Vec<Span> {
        if self.span != span {
            *self = Self { span, by_name: HashMap::new() };
            for place in variables(file, span) {
                self.by_name.entry(place.slice(&file.text).to_owned()).or_default().push(place);
            }
        }
        self.by_name.get(name).cloned().unwrap_or_default()
    }
}

fn variables(file: &Dockerfile, span: Span) -> Vec<Span> {
    let text = span.slice(&file.text);
    let places = text.match_indices('$').filter_map(|(at, _)| {
        let rest = text.get(at + 1..)?;
        let brace = usize::from(rest.starts_with('{'));
        let rest = rest.get(brace..)?;
        let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let start = span.start + u32::try_from(at + 1 + brace).ok()?;
        Some(Span { start, end: start + u32::try_from(length).ok()? })
    });
    places.collect()
}

/// The remedy for a variable that is nearly spelt like another.
fn respelt(places: Vec<Span>, nearest: Option<&str>) -> Option<Fix> {
    let nearest = nearest.filter(|_| !places.is_empty())?;
    let edits = places.into_iter().map(|span| Edit { span, text: nearest.to_owned() }).collect();
    Some(Fix { title: format!("Replace it with {nearest}"), safe: false, edits })
}

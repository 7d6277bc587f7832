//! Comments that silence rules.
//!
//! Three kinds of them are read: BuildKit's ([`buildkit`]), hadolint's and this program's own ([`pragma`]). A name may
//! be another name of a rule; `all` stands for every rule.

pub(crate) mod buildkit;
mod pragma;

use std::collections::HashMap;

use rbx_dockerfile::{Dockerfile, Keyword, Span};

use crate::rule::{Family, Rule};
use crate::settings::Settings;

pub(crate) use buildkit::ARGUMENT;
use buildkit::{Check, Invalid};
pub(crate) use pragma::{Pragma, Scope};

/// Which rules are silent where.
#[derive(Debug, Default)]
pub(crate) struct Silence {
    /// What BuildKit reads on top of the file.
    check: Check,
    /// What it reads above instructions, by where these begin.
    checks: HashMap<u32, Check>,
    /// Why BuildKit reads nothing there.
    pub(crate) invalid: Option<Invalid>,
    /// In the whole file.
    file: Names,
    /// In instructions, by where they begin.
    instructions: HashMap<u32, Names>,
    /// In parts of the text, in order: from a comment to the end of its stage.
    stages: Vec<(Span, Names)>,
    /// `error=true`: a warning is an error.
    pub(crate) errors: bool,
    /// Rules that are asked whatever comments say of experimental ones.
    wanted: Vec<&'static str>,
    /// Rules have no names but their own.
    exact: bool,
}

/// Of which instruction BuildKit reads the comments before it says what a check of its has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Comments {
    /// Of the one that the finding is in.
    #[default]
    Here,
    /// Of the one that begins there.
    Of(u32),
    /// Of none.
    Unread,
}

/// Names of rules.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    all: bool,
    list: Vec<String>,
}

impl Names {
    /// Reads names with commas between them. What follows a name after white space is a remark.
    pub(crate) fn read(text: &str) -> Self {
        let mut names = Self::default();
        for item in text.split(',') {
            let mut words = item.split_whitespace();
            if let Some(name) = words.next() {
                names.all |= name == "all";
                names.list.push(name.to_owned());
            }
            if words.next().is_some() {
                break;
            }
        }
        names
    }

    fn add(&mut self, more: Self) {
        self.all |= more.all;
        self.list.extend(more.list);
    }

    fn has(&self, rule: &Rule) -> bool {
        self.all || self.list.iter().any(|name| rule.is_called(name))
    }

    /// Whether a rule is named by its own name, if that is what counts.
    fn has_as(&self, rule: &Rule, exact: bool) -> bool {
        if exact { self.all || self.list.iter().any(|name| rule.name == name) } else { self.has(rule) }
    }
}

impl Silence {
    /// Reads the comments of a file that BuildKit knows, or in the place of that on top the build argument.
    pub(crate) fn of_buildkit(file: &Dockerfile, argument: Option<&str>) -> Self {
        let mut silence = Self { exact: true, ..Self::default() };
        match buildkit::of_file(file, argument) {
            Ok(check) => {
                silence.errors = check.errors;
                silence.check = check;
            }
            Err(invalid) => silence.invalid = Some(invalid),
        }
        for instruction in &file.instructions {
            if let Some(check) = buildkit::of_comments(file, file.comments_of(instruction)) {
                silence.checks.insert(instruction.span.start, check);
            }
        }
        silence
    }

    /// Reads the comments of a file, other programs' only where they shall count.
    pub(crate) fn new(file: &Dockerfile, argument: Option<&str>, settings: &Settings) -> Self {
        let mut silence = Self { exact: false, ..Self::of_buildkit(file, argument) };
        let wanted = crate::rules().iter().filter(|rule| settings.wants_rule(rule));
        silence.wanted = wanted.map(|rule| rule.name).collect();
        if settings.inline_ignores {
            silence.read_pragmas(file);
        }
        silence
    }

    /// Whether a comment of BuildKit's asks a rule that is not asked by itself.
    pub(crate) fn asks(&self, rule: &Rule) -> bool {
        let mut checks = std::iter::once(&self.check).chain(self.checks.values());
        is_experimental(rule) && checks.any(|check| check.experimental.has(rule))
    }

    fn read_pragmas(&mut self, file: &Dockerfile) {
        for (index, comment) in file.comments.iter().enumerate() {
            let Some(pragma) = Pragma::read(&comment.text) else { continue };
            // The instruction that the comment stands before, or within.
            let next = file.instructions.partition_point(|it| it.span.end < comment.span.start);
            let above = file.instructions.get(next).filter(|it| it.comments.contains(&index));
            match pragma.scope {
                Scope::File => self.file.add(pragma.names),
                Scope::Instruction => {
                    if let Some(instruction) = above {
                        self.instructions.entry(instruction.span.start).or_default().add(pragma.names);
                    }
                }
                Scope::Stage => {
                    let is_from = above.is_some_and(|it| it.keyword == Keyword::From);
                    let rest = file.instructions.get(next + usize::from(is_from)..).unwrap_or_default();
                    let end = rest.iter().find(|it| it.keyword == Keyword::From).map(|it| it.span.start);
                    let end = end.unwrap_or(u32::MAX);
                    self.stages.push((Span { start: comment.span.start, end }, pragma.names));
                }
            }
        }
    }

    /// Whether a comment silences a rule at a place.
    pub(crate) fn covers(&self, file: &Dockerfile, rule: &Rule, span: Span) -> bool {
        self.covers_by(file, rule, span, Comments::Here)
    }

    /// Whether a comment silences a rule at a place, or none asks an experimental one there.
    pub(crate) fn covers_by(&self, file: &Dockerfile, rule: &Rule, span: Span, comments: Comments) -> bool {
        // Neither where they begin nor where they end goes back.
        let in_stage = || {
            let first = self.stages.partition_point(|(part, _)| part.end <= span.start);
            let end = self.stages.partition_point(|(part, _)| part.start <= span.start);
            self.stages.get(first..end).unwrap_or_default()
        };
        let here = file.instruction_at(span.start).map(|instruction| instruction.span.start);
        let of = |start: Option<u32>| self.checks.get(&start?);
        let check = match comments {
            Comments::Here => of(here),
            Comments::Of(start) => of(Some(start)),
            Comments::Unread => None,
        };
        let mut checks = std::iter::once(&self.check).chain(check);
        let by_buildkit = if is_experimental(rule) {
            // Nothing else says anything of these to BuildKit.
            !self.wanted.contains(&rule.name)
                && !checks.any(|check| check.experimental.has_as(rule, self.exact))
        } else {
            checks.any(|check| check.skipped.has_as(rule, self.exact))
        };
        by_buildkit
            || self.file.has(rule)
            || in_stage().iter().any(|(_, names)| names.has(rule))
            || here.and_then(|start| self.instructions.get(&start)).is_some_and(|names| names.has(rule))
    }
}

fn is_experimental(rule: &Rule) -> bool {
    rule.family == Family::BuildKit && !rule.enabled
}

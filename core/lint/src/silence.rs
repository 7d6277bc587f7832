//! Comments that silence rules.
//!
//! Three kinds of them are read: BuildKit's ([`buildkit`]), hadolint's and this program's own ([`pragma`]). A name may
//! be another name of a rule; `all` stands for every rule.

mod buildkit;
mod pragma;

use std::collections::HashMap;

use rbx_dockerfile::{Dockerfile, Keyword, Span};

use crate::rule::Rule;

pub(crate) use pragma::{Pragma, Scope};

/// Which rules are silent where.
#[derive(Debug, Default)]
pub(crate) struct Silence {
    /// In the whole file.
    file: Names,
    /// In instructions, by where they begin.
    instructions: HashMap<u32, Names>,
    /// In parts of the text, in order: from a comment to the end of its stage.
    stages: Vec<(Span, Names)>,
    /// `error=true`: a warning is an error.
    pub(crate) errors: bool,
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
}

impl Silence {
    /// Reads the comments of a file; only those that BuildKit knows, too, where others shall not count.
    pub(crate) fn new(file: &Dockerfile, own: bool) -> Self {
        let mut silence = Self::default();
        if let Some(check) = buildkit::of_file(file) {
            silence.file = check.skipped;
            silence.errors = check.errors;
        }
        for instruction in &file.instructions {
            for comment in file.comments_of(instruction) {
                if let Some(names) = buildkit::of_comment(&comment.text) {
                    silence.instructions.entry(instruction.span.start).or_default().add(names);
                }
            }
        }
        if own {
            silence.read_pragmas(file);
        }
        silence
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
        // Neither where they begin nor where they end goes back.
        let in_stage = || {
            let first = self.stages.partition_point(|(part, _)| part.end <= span.start);
            let end = self.stages.partition_point(|(part, _)| part.start <= span.start);
            self.stages.get(first..end).unwrap_or_default()
        };
        let above = || {
            let instruction = file.instruction_at(span.start)?;
            self.instructions.get(&instruction.span.start)
        };
        self.file.has(rule)
            || in_stage().iter().any(|(_, names)| names.has(rule))
            || above().is_some_and(|names| names.has(rule))
    }
}

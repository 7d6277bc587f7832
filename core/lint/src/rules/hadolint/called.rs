//! Programs that steps call.

use rbx_dockerfile::Span;

use crate::finding::{Edit, Fix, shown};
use crate::shell::{Call, Command, Join, Purpose, Run, Word};
use crate::view::{Found, View};

/// A program that a `RUN` or a trigger calls.
pub(super) struct Called<'a> {
    pub(super) run: &'a Run<'a>,
    pub(super) command: &'a Command,
    pub(super) call: Call<'a>,
}

/// What `RUN`s and triggers of all stages call, in order.
pub(super) fn calls<'a>(view: &'a View<'_>) -> impl Iterator<Item = Called<'a>> {
    steps(view).flat_map(calls_of)
}

/// `RUN`s and triggers.
pub(super) fn steps<'a>(view: &'a View<'_>) -> impl Iterator<Item = &'a Run<'a>> {
    view.runs.iter().filter(|run| run.purpose != Purpose::Check)
}

/// What one calls.
pub(super) fn calls_of<'a>(run: &'a Run<'a>) -> impl Iterator<Item = Called<'a>> {
    let commands = run.script.program.commands.iter();
    commands.filter_map(move |command| Some(Called { run, command, call: command.call()? }))
}

impl<'a> Called<'a> {
    /// A finding at the program's name and its first operand.
    pub(super) fn found(&self, message: impl Into<String>) -> Found {
        let end = self.call.operand().unwrap_or(self.call.word).range.end;
        Found::new(self.run.script.span(&(self.call.word.range.start..end)), message)
    }

    /// A finding at a word.
    pub(super) fn found_at(&self, word: &Word, message: impl Into<String>) -> Found {
        Found::new(self.run.script.span(&word.range), message)
    }

    /// Right after a word; `None` where the script is not written in the Dockerfile as it is.
    pub(super) fn end_of(&self, word: &Word) -> Option<Span> {
        let span = self.run.script.span(&word.range);
        self.run.script.is_verbatim(&word.range).then_some(Span { start: span.end, end: span.end })
    }

    /// Puts a text in the place of a word.
    pub(super) fn replace(&self, word: &Word, text: &str) -> Option<Edit> {
        let verbatim = self.run.script.is_verbatim(&word.range);
        verbatim.then(|| Edit { span: self.run.script.span(&word.range), text: text.to_owned() })
    }

    /// A fix that puts an option after a word.
    pub(super) fn with_option(&self, after: &Word, option: &str, safe: bool) -> Option<Fix> {
        let edits = vec![Edit { span: self.end_of(after)?, text: format!(" {option}") }];
        Some(Fix { title: format!("Add {option}"), safe, edits })
    }

    /// Whether it is given something to read.
    pub(super) fn has_input(&self) -> bool {
        self.command.before == Join::Pipe
            || self.command.redirections.iter().any(|redirection| redirection.operator.starts_with('<'))
    }

    /// A finding for what is installed in whatever version there is: at the first of the packages, which it names.
    pub(super) fn unpinned(
        &self,
        packages: &[&'a Word],
        is_pinned: impl Fn(&str) -> bool,
        how: &str,
    ) -> Option<Found> {
        let mut left = packages.iter().filter_map(|word| Some((word, word.literal()?)));
        let mut left = left.by_ref().filter(|(_, name)| !name.is_empty() && !is_pinned(name));
        let (word, name) = left.next()?;
        let others = left.count();
        let program = self.call.name;
        let name = shown(name);
        let more = match others {
            0 => String::new(),
            1 => " and another package".to_owned(),
            others => format!(" and {others} other packages"),
        };
        let message = format!("{program} takes any version of {name}{more}; {how} says which");
        Some(self.found_at(word, message))
    }
}

/// What is decided once for each step, however many calls it has.
pub(super) fn once_for_each<'a>(decide: impl Fn(&'a Run<'a>) -> bool) -> impl FnMut(&'a Run<'a>) -> bool {
    let mut last: Option<(&Run<'_>, bool)> = None;
    move |run| match last {
        Some((known, answer)) if std::ptr::eq(known, run) => answer,
        _ => last.insert((run, decide(run))).1,
    }
}

/// Whether a step calls a program with this as its first operand: `yum clean`, for one.
pub(super) fn does(run: &Run<'_>, programs: &[&str], actions: &[&str]) -> bool {
    calls_of(run).any(|called| {
        programs.contains(&called.call.name)
            && called
                .call
                .arguments
                .iter()
                .any(|word| word.literal().is_some_and(|text| actions.contains(&text)))
    })
}

/// Whether a step removes a directory or what it has.
pub(super) fn removes(run: &Run<'_>, directory: &str) -> bool {
    let within = |text: &str| {
        text.strip_prefix('/').is_some()
            && (directory.starts_with(text.trim_end_matches(['*', '/'])) && text.len() > 1
                || text.starts_with(directory))
    };
    calls_of(run).any(|called| {
        let removes = matches!(called.call.name, "rm" | "find");
        removes && called.call.arguments.iter().any(|word| word.texts().any(within))
    })
}

/// Whether a file's name ends in a dot and this.
pub(super) fn has_extension(name: &str, extension: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, end)| end == extension)
}

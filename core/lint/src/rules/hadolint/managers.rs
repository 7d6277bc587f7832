//! Calls of package managers.

use super::called::{Called, calls};
use crate::shell::{Arguments, Word};
use crate::view::{Found, View};

/// A call of a package manager.
pub(super) struct Manager<'a> {
    pub(super) called: Called<'a>,
    pub(super) arguments: Arguments<'a>,
    /// `install`, for one.
    pub(super) action: &'a Word,
}

impl<'a> Manager<'a> {
    /// Reads the words of a call, if its first operand is one of these actions. `with_value` are the options that have
    /// a word after them.
    pub(super) fn read(
        called: Called<'a>,
        words: &'a [Word],
        actions: &[&str],
        with_value: &[&str],
    ) -> Option<Self> {
        let arguments = Arguments::read(words, with_value);
        let action = *arguments.operands.first()?;
        let is_meant = action.literal().is_some_and(|action| actions.contains(&action));
        is_meant.then_some(Self { called, arguments, action })
    }

    /// What comes after the action.
    pub(super) fn operands(&self) -> &[&'a Word] {
        self.arguments.operands.get(1..).unwrap_or_default()
    }

    /// A finding for packages that are installed in whatever version there is.
    pub(super) fn unpinned(&self, is_pinned: impl Fn(&str) -> bool, how: &str) -> Option<Found> {
        self.called.unpinned(self.operands(), is_pinned, how)
    }

    /// A finding if none of these options answers what it asks, nor what is piped in.
    pub(super) fn asks(&self, answers: &[&str], fix: &str) -> Option<Found> {
        if self.arguments.has(answers) || self.arguments.unsure || self.called.has_input() {
            return None;
        }
        let action = self.action.prefix();
        let message =
            format!("{} {action} asks before it goes on, and nobody answers", self.called.call.name);
        let mut found = self.called.found(message);
        found.fixes.extend(self.called.with_option(self.action, fix, true));
        Some(found)
    }
}

/// The calls of these programs for these actions.
pub(super) fn managers<'a>(
    view: &'a View<'_>,
    programs: &'a [&str],
    actions: &'a [&str],
    with_value: &'a [&str],
) -> impl Iterator<Item = Manager<'a>> {
    calls(view).filter(|called| programs.contains(&called.call.name)).filter_map(|called| {
        let words = called.call.arguments;
        Manager::read(called, words, actions, with_value)
    })
}

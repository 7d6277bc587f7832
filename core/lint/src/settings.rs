//! What a user wants of rules.

use std::collections::BTreeMap;

use crate::finding::Severity;
use crate::rule::Rule;

/// What a user wants of rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// How rules count that shall not count as they do by themselves, by their own names.
    pub levels: BTreeMap<String, Level>,
    /// Only what is as bad as this, or worse, is looked for; everything, if there is none.
    pub threshold: Option<Severity>,
}

/// How a rule counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Not at all.
    Off,
    /// As it does by itself, even if it does not look for anything without being told to.
    On,
    /// With this severity.
    At(Severity),
}

impl Settings {
    /// With these rules and no others.
    pub fn only(names: &[&str]) -> Self {
        let level = |rule: &Rule| {
            if names.iter().any(|name| rule.is_called(name)) { Level::On } else { Level::Off }
        };
        let levels = crate::rules().iter().map(|rule| (rule.name.to_owned(), level(rule)));
        Self { levels: levels.collect(), ..Self::default() }
    }

    /// Whether findings of that severity are wanted.
    pub(crate) fn wants(&self, severity: Severity) -> bool {
        self.threshold.is_none_or(|least| severity <= least)
    }

    /// How bad the findings of a rule are; `None` where it is not asked.
    pub(crate) fn severity(&self, rule: &Rule) -> Option<Severity> {
        match self.levels.get(rule.name) {
            Some(Level::Off) => None,
            Some(Level::On) => Some(rule.severity),
            Some(Level::At(severity)) => Some(*severity),
            None => rule.enabled.then_some(rule.severity),
        }
    }
}

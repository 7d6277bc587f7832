//! What a user wants of rules.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::finding::Severity;
use crate::rule::{Family, Rule};

/// What a user wants of rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How rules count that shall not count as they do by themselves, by their own names.
    pub levels: BTreeMap<String, Level>,
    /// Only what is as bad as this, or worse, is looked for; everything, if there is none.
    pub threshold: Option<Severity>,
    /// Comments of hadolint and of this program silence rules. BuildKit's do so in any case.
    pub inline_ignores: bool,
    /// The registries that images may come from, such as `docker.io` or `*.example.com`; empty is any.
    pub trusted_registries: Vec<String>,
    /// What labels of the image are to hold, by their names.
    pub labels: BTreeMap<String, LabelKind>,
    /// There are to be no other labels than these.
    pub strict_labels: bool,
}

/// Rules count as they do by themselves, and what is no warning is not looked for.
impl Default for Settings {
    fn default() -> Self {
        Self {
            levels: BTreeMap::new(),
            threshold: Some(Severity::Warning),
            inline_ignores: true,
            trusted_registries: Vec::new(),
            labels: BTreeMap::new(),
            strict_labels: false,
        }
    }
}

/// What a label holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LabelKind {
    /// Any text.
    #[serde(alias = "")]
    Text,
    /// A URL.
    Url,
    /// A time as in RFC 3339.
    #[serde(rename = "rfc3339")]
    Time,
    /// A licence expression of SPDX.
    #[serde(rename = "spdx")]
    License,
    /// The hash of a commit of git.
    #[serde(rename = "hash")]
    Commit,
    /// A version as semver.org has it.
    #[serde(rename = "semver")]
    Version,
    /// An address of e-mail.
    Email,
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
        let all = crate::rules().iter().copied().chain(crate::rule(Family::ShellCheck.name()));
        let levels = all.map(|rule| (rule.name.to_owned(), level(rule)));
        Self { levels: levels.collect(), threshold: None, ..Self::default() }
    }

    /// Whether findings of that severity are wanted.
    pub(crate) fn wants(&self, severity: Severity) -> bool {
        self.threshold.is_none_or(|least| severity <= least)
    }

    /// What is said of a rule, or of all that are shellcheck's.
    fn level(&self, rule: &Rule) -> Option<&Level> {
        let of_family = || self.levels.get(rule.family.name()).filter(|_| rule.family == Family::ShellCheck);
        self.levels.get(rule.name).or_else(of_family)
    }

    /// Whether the severity of a rule is the user's choice.
    pub(crate) fn sets_severity(&self, rule: &Rule) -> bool {
        matches!(self.level(rule), Some(Level::At(_)))
    }

    /// Whether a rule is to be asked by the user's choice.
    pub(crate) fn wants_rule(&self, rule: &Rule) -> bool {
        matches!(self.levels.get(rule.name), Some(Level::On | Level::At(_)))
    }

    /// How bad the findings of a rule are; `None` where it is not asked.
    pub(crate) fn severity(&self, rule: &Rule) -> Option<Severity> {
        match self.level(rule) {
            Some(Level::Off) => None,
            Some(Level::On) => Some(rule.severity),
            Some(Level::At(severity)) => Some(*severity),
            None => rule.enabled.then_some(rule.severity),
        }
    }
}

//! The rules.

use crate::finding::Severity;
use crate::rules;
use crate::view::{Found, View};

/// A rule.
pub struct Rule {
    /// Its name, such as `platform-arg-default`.
    pub name: &'static str,
    /// How bad its findings are.
    pub severity: Severity,
    /// What it finds, in a line.
    pub summary: &'static str,
    /// A page of Markdown: what is wrong, what happens, what to do.
    pub explanation: &'static str,
    /// Finds it for a platform.
    pub(crate) check: fn(&View<'_>) -> Vec<Found>,
}

/// Every rule, in the order of their names.
pub static RULES: [Rule; 5] = [
    Rule {
        name: "final-stage-build-platform",
        severity: Severity::Warning,
        summary: "The image has files of another platform, because of its stage's --platform",
        explanation: include_str!("../rules/final-stage-build-platform.md"),
        check: rules::final_stage::check,
    },
    Rule {
        name: "platform-arg-default",
        severity: Severity::Warning,
        summary: "A default replaces the value that TARGETARCH and its like have by themselves",
        explanation: include_str!("../rules/platform-arg-default.md"),
        check: rules::arg_default::check,
    },
    Rule {
        name: "platform-arg-undeclared",
        severity: Severity::Warning,
        summary: "RUN reads TARGETARCH or its like in a stage that does not declare it",
        explanation: include_str!("../rules/platform-arg-undeclared.md"),
        check: rules::arg_undeclared::check,
    },
    Rule {
        name: "platform-flag-on-stage",
        severity: Severity::Warning,
        summary: "FROM --platform is ignored where the base is a stage",
        explanation: include_str!("../rules/platform-flag-on-stage.md"),
        check: rules::flag_on_stage::check,
    },
    Rule {
        name: "stage-selector-missing",
        severity: Severity::Error,
        summary: "FROM picks a stage by platform, and has none for this one",
        explanation: include_str!("../rules/stage-selector-missing.md"),
        check: rules::selector::check,
    },
];

/// The rule of that name.
pub fn rule(name: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.name == name)
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Rule {}

impl std::fmt::Debug for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_in_order_and_explained_under_their_names() {
        assert!(RULES.is_sorted_by_key(|rule| rule.name));
        for rule in &RULES {
            let title = format!("# {}\n\n", rule.name);
            assert!(rule.explanation.starts_with(&title), "{}", rule.name);
            assert!(rule.explanation.contains("\n```dockerfile\n"), "{}", rule.name);
        }
        assert_eq!(super::rule("no-such-rule"), None);
    }
}

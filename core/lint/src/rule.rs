//! The rules.

use std::sync::LazyLock;

use rbx_dockerfile::nearest;

use crate::finding::Severity;
use crate::rules::all;
use crate::shellcheck;
use crate::view::{Found, View};

/// A rule.
pub struct Rule {
    /// Its name, such as `platform-arg-default`, `StageNameCasing` or `DL3008`.
    pub name: &'static str,
    /// Other names of it: the numbers of hadolint's rules that look for the same.
    pub aliases: &'static [&'static str],
    /// Where it comes from.
    pub family: Family,
    /// How bad its findings are, unless [`Settings`](crate::Settings) say otherwise.
    pub severity: Severity,
    /// It looks for something without being told to.
    pub enabled: bool,
    /// What it finds, in a line.
    pub summary: &'static str,
    /// A page of Markdown: what is wrong, what happens, what to do.
    pub explanation: &'static str,
    /// What its safe fixes change of what is built; `None` where that stays as it is.
    pub changes: Option<&'static str>,
    /// Finds it.
    pub(crate) check: Check,
}

/// Where a rule comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// The checks of BuildKit's front end, which `docker buildx build --check` shows.
    BuildKit,
    /// What goes wrong on some platforms only.
    Platform,
    /// The rules that hadolint numbers.
    Hadolint,
    /// What shellcheck finds in scripts. Its rules have its numbers, and are not among [`rules`].
    ShellCheck,
}

impl Family {
    /// All of them, in order.
    pub const ALL: [Self; 4] = [Self::BuildKit, Self::Platform, Self::Hadolint, Self::ShellCheck];

    /// `buildkit`, `platform`, `hadolint` or `shellcheck`.
    pub fn name(self) -> &'static str {
        match self {
            Self::BuildKit => "buildkit",
            Self::Platform => "platform",
            Self::Hadolint => "hadolint",
            Self::ShellCheck => "shellcheck",
        }
    }
}

/// How a rule looks for what it finds.
pub(crate) enum Check {
    /// Once for all platforms: what it finds is the same on each. It is given the first one.
    Once(fn(&View<'_>) -> Vec<Found>),
    /// On each platform.
    EachPlatform(fn(&View<'_>) -> Vec<Found>),
    /// It is a check of BuildKit's, which are made together in BuildKit's order.
    BuildKit,
}

impl Rule {
    /// A rule that finds nothing; others are made from it.
    pub(crate) const NONE: Self = Self {
        name: "",
        aliases: &[],
        family: Family::Platform,
        severity: Severity::Info,
        enabled: false,
        summary: "",
        explanation: "",
        changes: None,
        check: Check::Once(|_| Vec::new()),
    };

    /// Where BuildKit says that its own check is documented.
    pub fn url(&self) -> Option<String> {
        // This one has no page.
        if self.family != Family::BuildKit || self.name == "InvalidBaseImagePlatform" {
            return None;
        }
        let mut path = String::new();
        let mut before = ' ';
        for c in self.name.chars() {
            // A row of capitals is one word, the last of them begins the next: `JSONArgs`.
            if c.is_uppercase() && before.is_lowercase() {
                path.push('-');
            }
            path.push(c.to_ascii_lowercase());
            before = c;
        }
        let path = path.replace("jsonargs", "json-args");
        Some(format!("https://docs.docker.com/go/dockerfile/rule/{path}/"))
    }

    /// Whether that is its name, or another name of it.
    pub fn is_called(&self, name: &str) -> bool {
        self.name == name
            || self.aliases.contains(&name)
            || self.family == Family::ShellCheck && name == Family::ShellCheck.name()
    }
}

/// Every rule, by family, in the order of their names.
pub fn rules() -> &'static [&'static Rule] {
    static RULES: LazyLock<Vec<&'static Rule>> = LazyLock::new(|| {
        let mut rules: Vec<_> = all().collect();
        rules.sort_by_key(|rule| (rule.family, rule.name));
        rules
    });
    &RULES
}

/// The rule of that name. `SC2086` is one of shellcheck's, and `shellcheck` stands for all of those.
pub fn rule(name: &str) -> Option<&'static Rule> {
    rules().iter().copied().find(|rule| rule.is_called(name)).or_else(|| shellcheck::rule(name))
}

/// The name of a rule that may be meant by one that no rule has.
pub fn proposal(name: &str) -> Option<&'static str> {
    let plain = |name: &str| name.replace(['-', '_'], "").to_lowercase();
    let names = || rules().iter().flat_map(|rule| rule.aliases.iter().chain([&rule.name])).copied();
    let same = names().find(|known| plain(known) == plain(name));
    same.or_else(|| {
        // Numbers that are near each other have nothing to do with each other.
        let words = names().filter(|name| !name.ends_with(|c: char| c.is_ascii_digit()));
        let found = nearest(name, words, false)?;
        names().find(|name| *name == found)
    })
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Rule {}

impl std::hash::Hash for Rule {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl std::fmt::Debug for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn checks_of_buildkit_have_pages() {
        let url = |name: &str| rule(name).unwrap().url().unwrap_or_default();
        assert_eq!(
            url("JSONArgsRecommended"),
            "https://docs.docker.com/go/dockerfile/rule/json-args-recommended/"
        );
        assert_eq!(
            url("SecretsUsedInArgOrEnv"),
            "https://docs.docker.com/go/dockerfile/rule/secrets-used-in-arg-or-env/"
        );
        assert_eq!(url("InvalidBaseImagePlatform"), "");
        assert_eq!(url("platform-arg-default"), "");
    }

    #[test]
    fn rules_are_explained_under_their_names() {
        let mut names = BTreeSet::new();
        for rule in rules() {
            let title = format!("# {}\n\n", rule.name);
            assert!(rule.explanation.starts_with(&title), "{}", rule.name);
            assert!(rule.explanation.contains("\n```dockerfile\n"), "{}", rule.name);
            assert!(!rule.summary.is_empty(), "{}", rule.name);
            // BuildKit's are its own.
            assert!(rule.family == Family::BuildKit || !rule.summary.ends_with('.'), "{}", rule.name);
            for name in rule.aliases.iter().chain([&rule.name]) {
                assert!(names.insert(name), "two rules are called {name}");
            }
        }
        assert_eq!(super::rule("no-such-rule"), None);
    }

    #[test]
    fn rules_are_proposed_by_what_is_near() {
        assert_eq!(proposal("platform-arg-defualt"), Some("platform-arg-default"));
        assert_eq!(proposal("PlatformArgDefault"), Some("platform-arg-default"));
        assert_eq!(proposal("no-such-rule"), None);
        assert_eq!(proposal("DL1"), None);
    }
}

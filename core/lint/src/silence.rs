//! Comments that silence rules.
//!
//! `# check=skip=NAME,…` on top of a file holds for all of it, and right above an instruction for that, as BuildKit
//! reads them; `# rbx: ignore=NAME,…` does so above an instruction. `all` stands for every rule.

use rbx_dockerfile::{Dockerfile, Span};

use crate::rule::Rule;

/// What the top of a file says about rules.
#[derive(Debug, Default)]
pub(crate) struct Silence {
    skipped: Names,
    /// `error=true`: a warning is an error.
    pub(crate) errors: bool,
}

/// Names of rules.
#[derive(Debug, Default)]
struct Names {
    all: bool,
    list: Vec<String>,
}

impl Names {
    fn read(text: &str) -> Self {
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        let list: Vec<String> = names.map(str::to_owned).collect();
        Self { all: list.iter().any(|name| name == "all"), list }
    }

    fn has(&self, rule: &Rule) -> bool {
        self.all || self.list.iter().any(|name| rule.is_called(name))
    }
}

impl Silence {
    pub(crate) fn new(file: &Dockerfile) -> Self {
        file.directives.check.as_ref().and_then(|directive| check(&directive.value)).unwrap_or_default()
    }

    /// Whether a comment silences a rule at a place.
    pub(crate) fn covers(&self, file: &Dockerfile, rule: &Rule, span: Span) -> bool {
        if self.skipped.has(rule) {
            return true;
        }
        let Some(instruction) = file.instruction_at(span.start) else { return false };
        file.comments_of(instruction).iter().any(|comment| {
            let assignment = |text: &str, name| {
                Some(text.strip_prefix(name)?.trim_start().strip_prefix('=')?.trim().to_owned())
            };
            if let Some(own) = comment.text.strip_prefix("rbx:") {
                return assignment(own.trim_start(), "ignore")
                    .is_some_and(|names| Names::read(&names).has(rule));
            }
            // BuildKit reads up to the first space.
            let value = assignment(&comment.text, "check");
            let options =
                value.as_deref().and_then(|value| check(value.split(' ').next().unwrap_or_default()));
            options.is_some_and(|options| options.skipped.has(rule))
        })
    }
}

/// Reads `skip=A,B;error=true`; `None` where BuildKit would not take it.
fn check(text: &str) -> Option<Silence> {
    let mut silence = Silence::default();
    for part in text.trim().splitn(3, ';').filter(|part| !part.is_empty()) {
        let (key, value) = part.split_once('=')?;
        match key.trim() {
            "skip" => silence.skipped = Names::read(value),
            "experimental" => {}
            "error" => {
                silence.errors = matches!(value.trim(), "1" | "t" | "T" | "TRUE" | "true" | "True");
            }
            _ => return None,
        }
    }
    Some(silence)
}

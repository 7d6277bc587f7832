//! What a rule finds.

use std::fmt;

use rbx_dockerfile::Span;
pub use rbx_dockerfile::{Edit, apply};
use rbx_platform::Platform;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::rule::Rule;

/// Characters of a Dockerfile's text in a message, at most.
const MAX_SHOWN: usize = 60;

/// How bad a finding is, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The build fails.
    Error,
    /// The build succeeds, and its result is wrong or soon will be.
    Warning,
    /// Something that is often wrong, or could be better.
    Info,
    /// A matter of taste.
    Style,
}

impl Severity {
    /// All of them, the worst first.
    pub const ALL: [Self; 4] = [Self::Error, Self::Warning, Self::Info, Self::Style];

    /// The one of that [`name`](Self::name).
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.name() == name)
    }

    /// `error`, `warning`, `info` or `style`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
            Self::Style => "style",
        }
    }
}

/// Something wrong with a Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The rule that found it. `None` is the language: the text makes no sense, or none for a platform.
    pub rule: Option<&'static Rule>,
    /// How bad.
    pub severity: Severity,
    /// What, in a sentence without a full stop and without platforms.
    pub message: String,
    /// Where.
    pub span: Span,
    /// Other places that have to do with it.
    pub related: Vec<Related>,
    /// The platforms it is true for, in the order of [`Request::platforms`](crate::Request::platforms).
    pub platforms: Vec<Platform>,
    /// The platforms it is not true for, in the same order.
    pub fine_on: Vec<Platform>,
    /// Remedies, the best one first. Any one of them is enough.
    pub fixes: Vec<Fix>,
}

impl Finding {
    /// The rule's name; `syntax` for what the language finds wrong.
    pub fn name(&self) -> &'static str {
        self.rule.map_or("syntax", |rule| rule.name)
    }

    /// On which platforms it is true, such as `on linux/arm64 (fine on linux/amd64)`. `None` where that is all.
    pub fn label(&self) -> Option<String> {
        let list = |platforms: &[Platform]| {
            platforms.iter().map(Platform::format_all).collect::<Vec<_>>().join(", ")
        };
        (!self.fine_on.is_empty())
            .then(|| format!("on {} (fine on {})", list(&self.platforms), list(&self.fine_on)))
    }
}

/// The message with the platforms after it.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match self.label() {
            Some(label) => write!(f, " {label}"),
            None => Ok(()),
        }
    }
}

/// Another place that has to do with a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Related {
    /// Where.
    pub span: Span,
    /// What is there.
    pub message: String,
}

/// A remedy. Its edits do not overlap, and are in order of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fix {
    /// What it does, such as `Remove the default`.
    pub title: String,
    /// Nobody has to look at what it does: the image stays as it is, or changes in what the finding complains about.
    pub safe: bool,
    /// What it changes.
    pub edits: Vec<Edit>,
}

/// Text of a Dockerfile as messages show it: a long one ends in dots.
pub(crate) fn shown(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

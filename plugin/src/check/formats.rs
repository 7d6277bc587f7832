//! The answer of `check` for programs.

mod github;
mod gitlab;
mod json;
mod junit;
mod sarif;

use rbx_dockerfile::Span;
use rbx_platform::Platform;

use super::Done;
use crate::errors::CliError;

pub(super) use github::github;
pub(super) use gitlab::gitlab;
pub(super) use json::json;
pub(super) use junit::junit;
pub(super) use sarif::sarif;

/// How the answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Text,
    Json,
    Sarif,
    GitHub,
    GitLab,
    JUnit,
}

impl Format {
    const ALL: [(&str, Self); 6] = [
        ("text", Self::Text),
        ("json", Self::Json),
        ("sarif", Self::Sarif),
        ("github", Self::GitHub),
        ("gitlab", Self::GitLab),
        ("junit", Self::JUnit),
    ];

    pub(super) fn parse(name: &str) -> Result<Self, CliError> {
        let found = Self::ALL.into_iter().find(|(known, _)| *known == name);
        found.map(|(_, format)| format).ok_or_else(|| {
            let names = Self::ALL.map(|(name, _)| format!("{name:?}")).join(", ");
            CliError::new(format!("invalid format {name:?}")).hint(format!("there are {names}"))
        })
    }
}

/// A place in a text: line and column count from 1, the column in characters.
struct Place {
    line: u32,
    column: usize,
}

impl Done {
    fn place(&self, offset: u32) -> Place {
        let line = self.lines.line_of(offset);
        let start = self.lines.span_of(line).map_or(offset, |line| line.start);
        let before = Span { start, end: offset }.slice(&self.text);
        Place { line, column: before.chars().count() + 1 }
    }

    /// The first and the last place of a span; the last is that of what follows it.
    fn places(&self, span: Span) -> (Place, Place) {
        (self.place(span.start), self.place(span.end))
    }
}

/// The names of platforms.
pub(super) fn names(platforms: &[Platform]) -> Vec<String> {
    platforms.iter().map(Platform::format_all).collect()
}

/// A path as programs expect it: without what does not say anything.
fn path(name: &str) -> &str {
    name.strip_prefix("./").unwrap_or(name)
}

#[cfg(test)]
pub(super) mod tests {
    use rbx_dockerfile::parse;
    use rbx_lint::{Facts, Request, Settings, lint};

    use rbx_project::{Platforms, Source};

    use super::super::Checked;
    use super::*;

    fn platforms() -> Platforms {
        let list = ["linux/amd64", "linux/arm64"].map(|name| Platform::parse(name).unwrap());
        Platforms { list: list.to_vec(), source: Source::Flag, wrong: Vec::new() }
    }

    /// A file of that name after a check by the rules about platforms.
    pub(in crate::check) fn checked(name: &str, text: &str) -> Checked {
        let mut request = Request::new(platforms().list, platforms().list[0].clone());
        request.settings = Settings::only(&[
            "platform-arg-undeclared",
            "platform-arg-default",
            "final-stage-build-platform",
        ]);
        let file = parse(text);
        let findings = lint(&file, &request, &Facts::default());
        let result = if findings.is_empty() {
            Done::nothing()
        } else {
            Done { text: file.text, lines: file.line_index, findings, ..Done::nothing() }
        };
        Checked { name: name.to_owned(), platforms: platforms(), result: Ok(result) }
    }

    /// A file with a finding, a file with a hostile name and text, one with nothing, and one that was not read.
    pub(super) fn several() -> Vec<Checked> {
        vec![
            checked("./app/Dockerfile", "FROM alpine\nRUN é $TARGETARCH\n"),
            checked(
                "a,b:c%\n::error::x]]>&<\"'\u{1b}\u{fffe}/d e",
                "FROM a\nARG TARGETARCH=\"%,::error::]]>&<'\u{1b}[31m\u{fffe}\"\nRUN x $TARGETARCH\n",
            ),
            checked("fine", "FROM alpine\n"),
            Checked {
                name: "absent".to_owned(),
                platforms: Platforms { list: Vec::new(), source: Source::Default, wrong: Vec::new() },
                result: Err("no such file\n: failed".to_owned()),
            },
        ]
    }
}

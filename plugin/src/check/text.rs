//! The answer of `check` for people.

use std::fmt::Write as _;

use rbx_lint::{Finding, Severity};
use rbx_project::{Platforms, Source};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::fix::{Fixing, summary as fixed};
use super::formats::names;
use super::{Checked, Done};
use crate::env::Env;

/// What a terminal can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Look {
    colors: bool,
    /// Columns. `None` is as many as are needed.
    width: Option<usize>,
}

impl Look {
    /// Colours and no more columns than there are on a terminal; plain text elsewhere.
    pub(super) fn of(env: &Env) -> Self {
        if !env.stdout_is_terminal {
            return Self::default();
        }
        let colors = env.filled("NO_COLOR").is_none() && env.var("TERM") != Some("dumb");
        Self { colors, width: Some(crate::help::width(env)) }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colors { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// A text with line ends where it is too wide.
    fn wrap(self, text: &str) -> String {
        let Some(width) = self.width else { return text.to_owned() };
        let (mut wrapped, mut used) = (String::new(), 0);
        for word in text.split(' ') {
            if used > 0 {
                let fits = used + 1 + word.width() <= width;
                wrapped.push(if fits { ' ' } else { '\n' });
                used = if fits { used + 1 } else { 0 };
            }
            wrapped.push_str(word);
            used += word.width();
        }
        wrapped
    }

    /// A line with dots in place of what is too wide.
    fn cut(self, line: &str) -> String {
        let Some(width) = self.width.filter(|width| line.width() > *width) else { return line.to_owned() };
        let mut used = 0;
        let fits = |c: &char| {
            used += c.width().unwrap_or(0);
            used < width
        };
        line.chars().take_while(fits).chain(['…']).collect()
    }
}

/// Each finding as buildx shows that of a check, and how many there are.
pub(super) fn report(checked: &[Checked], fixing: Fixing, look: &Look) -> String {
    let mut text = String::new();
    let alike = checked.windows(2).all(|two| two[0].platforms == two[1].platforms);
    for file in checked {
        if let Ok(done) = &file.result {
            if !alike && !done.findings.is_empty() {
                let line = format!("{}{}", rbx_progress::clean(&file.name), origin(&file.platforms));
                let _ = writeln!(text, "{}\n", look.paint("1", &look.wrap(&line)));
            }
            for finding in &done.findings {
                one(&mut text, &file.name, done, finding, *look);
            }
        }
    }
    text.push_str(&fixed(checked, fixing));
    let platforms = checked.first().filter(|_| alike).map(|file| origin(&file.platforms));
    let _ = writeln!(text, "{}", look.wrap(&summary(checked, &platforms.unwrap_or_default())));
    if fixing == Fixing::No {
        text.push_str(&fixable(checked));
    }
    text
}

fn one(text: &mut String, name: &str, done: &Done, finding: &Finding, look: Look) {
    let clean = rbx_progress::clean;
    let severity = finding.severity.name().to_uppercase();
    let _ = writeln!(text, "{}: {}", look.paint(color(finding.severity), &severity), finding.name());
    let _ = writeln!(text, "{}", look.paint("1", &look.wrap(&clean(&finding.to_string()))));
    let lines = [done.lines.lines_of(finding.span)];
    for line in rbx_progress::snippet(name, &done.text, &lines).lines() {
        let marked = line.contains(" | >>> ");
        let line = look.cut(line);
        let _ = writeln!(text, "{}", if marked { look.paint("1", &line) } else { line });
    }
    for related in &finding.related {
        let line = done.lines.line_of(related.span.start);
        let _ = writeln!(text, "{}", look.wrap(&format!("Line {line}: {}", clean(&related.message))));
    }
    if let Some(fix) = finding.fixes.first() {
        let _ = writeln!(text, "{}", look.paint("32", &look.wrap(&format!("Fix: {}", clean(&fix.title)))));
    }
    text.push('\n');
}

fn color(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "1;31",
        Severity::Warning => "1;33",
        Severity::Info => "1;36",
        Severity::Style => "1;35",
    }
}

/// `1 file`, `2 files`.
pub(super) fn plural(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}

fn findings(checked: &[Checked]) -> impl Iterator<Item = &Finding> {
    checked.iter().filter_map(|file| file.result.as_ref().ok()).flat_map(|done| &done.findings)
}

fn summary(checked: &[Checked], platforms: &str) -> String {
    let count = |severity| findings(checked).filter(|finding| finding.severity == severity).count();
    let unread = checked.iter().filter(|file| file.result.is_err()).count();
    let kinds = [
        (count(Severity::Error), "error"),
        (count(Severity::Warning), "warning"),
        (count(Severity::Info), "remark"),
        (count(Severity::Style), "nit"),
        (unread, "unreadable file"),
    ];
    let found: Vec<String> = kinds.iter().filter(|(n, _)| *n > 0).map(|(n, what)| plural(*n, what)).collect();
    let total: usize = kinds.iter().map(|(count, _)| count).sum();
    let result = match found.split_last() {
        None => "no warnings found.".to_owned(),
        Some((one, [])) if total == 1 => format!("{one} has been found!"),
        Some((one, [])) => format!("{one} have been found!"),
        Some((last, rest)) => format!("{} and {last} have been found!", rest.join(", ")),
    };
    let files = if checked.len() == 1 { String::new() } else { format!(" of {} files", checked.len()) };
    format!("Check{files}{platforms} complete, {result}")
}

/// What a file was checked for, and who says so.
fn origin(platforms: &Platforms) -> String {
    if platforms.list.is_empty() {
        return String::new();
    }
    let by = match &platforms.source {
        Source::Flag => String::new(),
        Source::Comment => " (by its comment)".to_owned(),
        Source::Configuration => " (by the configuration)".to_owned(),
        Source::Workflow(paths) => format!(" (by {})", rbx_progress::clean(&paths.join(", "))),
        Source::Environment => " (by DOCKER_DEFAULT_PLATFORM)".to_owned(),
        Source::Default => " (by default)".to_owned(),
    };
    format!(" for {}{by}", names(&platforms.list).join(", "))
}

/// How many findings there are fixes for.
fn fixable(checked: &[Checked]) -> String {
    let count = |safe| {
        let of = |finding: &&Finding| {
            !finding.fixes.is_empty() && finding.fixes.iter().any(|fix| fix.safe) == safe
        };
        findings(checked).filter(of).count()
    };
    match (count(true), count(false)) {
        (0, 0) => String::new(),
        (safe, 0) => format!("{safe} can be fixed by --fix.\n"),
        (0, other) => format!("{other} can be fixed by --fix --unsafe-fixes.\n"),
        (safe, other) => {
            format!("{safe} can be fixed by --fix, {other} more by --fix --unsafe-fixes.\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::super::formats::tests::checked;
    use super::*;

    fn text(checked: &[Checked]) -> String {
        report(checked, Fixing::No, &Look::default())
    }

    #[test]
    fn people_read_the_place_and_the_platforms() {
        let files =
            [checked("app/Dockerfile", "ARG TARGETARCH\nFROM alpine\nRUN fetch é$TARGETARCH\nRUNN x\n")];
        assert_snapshot!(text(&files), @"
        WARNING: platform-arg-undeclared
        RUN reads $TARGETARCH, which is empty without ARG TARGETARCH in this stage
        app/Dockerfile:3
        --------------------
           1 |     ARG TARGETARCH
           2 |     FROM alpine
           3 | >>> RUN fetch é$TARGETARCH
           4 |     RUNN x
           5 |     
        --------------------
        Line 1: this ARG is for FROM only
        Fix: Insert ARG TARGETARCH

        ERROR: syntax
        unknown instruction: RUNN (did you mean RUN?)
        app/Dockerfile:4
        --------------------
           2 |     FROM alpine
           3 |     RUN fetch é$TARGETARCH
           4 | >>> RUNN x
           5 |     
        --------------------
        Fix: Replace RUNN with RUN

        Check for linux/amd64, linux/arm64 complete, 1 error and 1 warning have been found!
        1 can be fixed by --fix, 1 more by --fix --unsafe-fixes.
        ");
        let mut files = [
            checked("app/Dockerfile", "FROM alpine\n"),
            checked("Dockerfile", "FROM --platform=linux/arm64 alpine\n"),
        ];
        assert_snapshot!(text(&files), @"
        WARNING: final-stage-build-platform
        The image gets files of linux/arm64, because its stage has --platform=linux/arm64 on linux/amd64 (fine on linux/arm64)
        Dockerfile:1
        --------------------
           1 | >>> FROM --platform=linux/arm64 alpine
           2 |     
        --------------------
        Fix: Remove --platform

        Check of 2 files for linux/amd64, linux/arm64 complete, 1 warning has been found!
        1 can be fixed by --fix.
        ");
        assert_snapshot!(text(&files[..1]), @"Check for linux/amd64, linux/arm64 complete, no warnings found.");
        files[0].result = Err("no such file".to_owned());
        files[0].platforms.list.clear();
        assert_snapshot!(text(&files), @"
        Dockerfile for linux/amd64, linux/arm64

        WARNING: final-stage-build-platform
        The image gets files of linux/arm64, because its stage has --platform=linux/arm64 on linux/amd64 (fine on linux/arm64)
        Dockerfile:1
        --------------------
           1 | >>> FROM --platform=linux/arm64 alpine
           2 |     
        --------------------
        Fix: Remove --platform

        Check of 2 files complete, 1 warning and 1 unreadable file have been found!
        1 can be fixed by --fix.
        ");
    }

    #[test]
    fn fixes_are_counted() {
        let mut files = [checked("a", "FROM alpine\nRUN x\n")];
        if let Ok(done) = &mut files[0].result {
            done.fixed = 3;
        }
        let write = Fixing::Write { unsafe_too: false };
        assert_snapshot!(report(&files, write, &Look::default()), @"
        Fixed 3 findings in 1 file.
        Check for linux/amd64, linux/arm64 complete, no warnings found.
        ");
        assert_snapshot!(fixed(&files, Fixing::Diff { unsafe_too: false }), @"Would fix 3 findings in 1 file.");
    }

    #[test]
    fn a_terminal_has_colours_and_an_end() {
        let files =
            [checked("Dockerfile", "FROM alpine\nRUN fetch $TARGETARCH and a long, long line of words\n")];
        let look = Look { colors: true, width: Some(30) };
        assert_snapshot!(report(&files, Fixing::No, &look).replace('\u{1b}', "^"), @"
        ^[1;33mWARNING^[0m: platform-arg-undeclared
        ^[1mRUN reads $TARGETARCH, which
        is empty without ARG
        TARGETARCH in this stage^[0m
        Dockerfile:2
        --------------------
           1 |     FROM alpine
        ^[1m   2 | >>> RUN fetch $TARGETA…^[0m
           3 |     
        --------------------
        ^[32mFix: Insert ARG TARGETARCH^[0m

        Check for linux/amd64,
        linux/arm64 complete, 1
        warning has been found!
        1 can be fixed by --fix.
        ");
    }

    #[test]
    fn nothing_in_a_dockerfile_directs_the_terminal() {
        let text = text(&[checked(
            "\u{1b}]0;x\u{7}",
            "FROM alpine\nARG TARGETARCH=\u{1b}[31m\nRUN \u{1b}]0;x\u{7} $TARGETARCH\n",
        )]);
        assert!(!text.contains(['\u{1b}', '\u{7}']));
    }
}

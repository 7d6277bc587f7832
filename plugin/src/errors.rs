//! What ends a command early, and how it is told: words, order and exit codes are those of buildx.

use std::io::{self, Write};
use std::sync::Arc;

use rbx_engine::BuildError;
use rbx_request::{BuildFailure, Cancelled, FailureKind, SourceRange};

use crate::cli::Arguments;

/// The exit code of wrong flags when docker runs the program.
const USAGE: u8 = 125;
/// What the message of a build's failure begins with.
const OF_BUILD: &str = "failed to build: ";
/// The exit code of a command that the user interrupted.
pub(crate) const INTERRUPTED: u8 = 130;
/// The exit code of a builder that failed where it should not have, and of one that has too little of something.
const INTERNAL: u8 = 100;
const EXHAUSTED: u8 = 102;

/// Why a command did not succeed.
#[derive(Debug, Clone)]
pub(crate) enum CliError {
    /// A flag is wrong.
    Flag {
        /// What is wrong with it.
        message: String,
        /// The command, as the user calls it: `docker rbx build`.
        path: String,
        /// What follows the command in its usage line.
        operands: String,
        /// docker runs the program.
        plugin: bool,
    },
    /// Anything else.
    Failed(Box<Failure>),
}

/// Why something failed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Failure {
    /// The reason, first of all.
    pub(crate) message: String,
    /// What might help.
    pub(crate) hint: Option<String>,
    /// The places in Dockerfiles, the innermost first.
    pub(crate) sources: Vec<SourceRange>,
    /// The step that failed, as progress names it.
    pub(crate) step: Option<String>,
    /// What kind of failure it is, if it is a build's.
    pub(crate) kind: Option<FailureKind>,
    /// The exit code, where it is another than that of the kind.
    pub(crate) code: Option<u8>,
}

impl Failure {
    fn exit_code(&self) -> u8 {
        self.code.unwrap_or(match self.kind {
            Some(FailureKind::Cancelled) => INTERRUPTED,
            Some(FailureKind::Internal) => INTERNAL,
            Some(FailureKind::Exhausted) => EXHAUSTED,
            _ => 1,
        })
    }
}

impl CliError {
    /// An error that is its message.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self::Failed(Box::new(Failure { message: message.into(), ..Failure::default() }))
    }

    /// The wrong number of operands; `wanted` says which it had to be.
    pub(crate) fn operands(binary: &str, path: &str, operands: &str, wanted: Arguments) -> Self {
        Self::new(format!("{binary}: '{path}' requires {wanted}\n\n{}", usage(path, operands)))
    }

    /// What it says, without what might help.
    pub(crate) fn message(&self) -> &str {
        match self {
            Self::Flag { message, .. } => message,
            Self::Failed(failure) => &failure.message,
        }
    }

    /// Says what the user can do.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        if let Self::Failed(failure) = &mut self {
            failure.hint = Some(hint.into());
        }
        self
    }

    /// Says how the program ends.
    pub(crate) fn with_code(mut self, code: u8) -> Self {
        if let Self::Failed(failure) = &mut self {
            failure.code = Some(code);
        }
        self
    }

    /// The same as a failure of the build itself.
    pub(crate) fn of_build(mut self) -> Self {
        if let Self::Failed(failure) = &mut self {
            failure.message.insert_str(0, OF_BUILD);
        }
        self
    }

    /// Writes it where the user reads it; answers the exit code.
    pub(crate) fn report(&self, out: &mut dyn Write) -> io::Result<u8> {
        match self {
            Self::Flag { message, path, operands, plugin: true } => {
                writeln!(out, "{}\n\n{}", tame(message), usage(path, operands))?;
                Ok(USAGE)
            }
            Self::Flag { message, .. } => {
                writeln!(out, "ERROR: {}", tame(message))?;
                Ok(1)
            }
            Self::Failed(failure) => {
                // Places in one text are shown together.
                let one = |left: &SourceRange, right: &SourceRange| Arc::ptr_eq(&left.text, &right.text);
                for sources in failure.sources.chunk_by(one) {
                    let lines: Vec<_> = sources.iter().map(|source| (source.first, source.last)).collect();
                    let SourceRange { file, text, .. } = &sources[0];
                    write!(out, "{}", rbx_progress::snippet(file, text, &lines))?;
                }
                writeln!(out, "ERROR: {}", tame(&failure.message))?;
                if let Some(hint) = &failure.hint {
                    writeln!(out, "Hint: {}", tame(hint))?;
                }
                Ok(failure.exit_code())
            }
        }
    }
}

impl From<&CliError> for BuildFailure {
    fn from(error: &CliError) -> Self {
        match error {
            CliError::Flag { message, .. } => Self { reason: tame(message), ..Self::default() },
            CliError::Failed(failure) => Self {
                reason: tame(failure.message.strip_prefix(OF_BUILD).unwrap_or(&failure.message)),
                hint: failure.hint.as_deref().map(tame),
                step: failure.step.clone(),
                file: failure.sources.first().map(|source| source.file.clone()),
                lines: failure.sources.first().map(|source| (source.first, source.last)),
                cancelled: failure.kind == Some(FailureKind::Cancelled),
            },
        }
    }
}

/// A message without what could direct a terminal: names of files, registries and Dockerfiles are in it.
fn tame(message: &str) -> String {
    rbx_request::in_words(message).split('\n').map(rbx_progress::clean).collect::<Vec<_>>().join("\n")
}

/// The lines about usage that follow an error.
fn usage(path: &str, operands: &str) -> String {
    let space = if operands.is_empty() { "" } else { " " };
    format!("Usage:  {path}{space}{operands}\n\nRun '{path} --help' for more information")
}

impl From<BuildError> for CliError {
    fn from(error: BuildError) -> Self {
        rbx_request::Failure::from(error).into()
    }
}

impl From<Cancelled> for CliError {
    fn from(error: Cancelled) -> Self {
        rbx_request::Failure::from(error).into()
    }
}

impl From<rbx_request::Failure> for CliError {
    fn from(error: rbx_request::Failure) -> Self {
        Self::Failed(Box::new(Failure {
            message: error.reason,
            hint: error.hint,
            sources: error.source_range.map(|range| *range).into_iter().chain(error.more_ranges).collect(),
            step: error.step,
            kind: Some(error.kind),
            code: None,
        }))
        .of_build()
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    fn report(error: &CliError) -> String {
        let mut text = Vec::new();
        let code = error.report(&mut text).unwrap();
        format!("{}exit code {code}", String::from_utf8(text).unwrap())
    }

    fn flag(plugin: bool) -> CliError {
        CliError::Flag {
            message: "unknown flag: --foo".to_owned(),
            path: if plugin { "docker rbx build" } else { "docker-rbx build" }.to_owned(),
            operands: "[OPTIONS] PATH | URL | -".to_owned(),
            plugin,
        }
    }

    #[test]
    fn wrong_flags_show_the_usage_where_docker_runs_the_program() {
        assert_snapshot!(report(&flag(true)), @r"
        unknown flag: --foo

        Usage:  docker rbx build [OPTIONS] PATH | URL | -

        Run 'docker rbx build --help' for more information
        exit code 125
        ");
        assert_snapshot!(report(&flag(false)), @r"
        ERROR: unknown flag: --foo
        exit code 1
        ");
    }

    #[test]
    fn names_do_not_direct_the_terminal() {
        let error = CliError::new("\"\x1b]0;title\x07\u{202e}a\u{9b}31m\": not found\nmore").hint("\x1b[2J");
        assert_snapshot!(report(&error), @r#"
        ERROR: "]0;titlea31m": not found
        more
        Hint: [2J
        exit code 1
        "#);
    }

    #[test]
    fn all_places_are_shown() {
        let range = |text: &Arc<str>, line| SourceRange {
            file: "Dockerfile".to_owned(),
            text: text.clone(),
            first: line,
            last: line,
        };
        let [one, other] = ["FROM a\nRUN b\nFROM a\nRUN b\n", "RUN c"].map(Arc::from);
        let failure = rbx_request::Failure {
            source_range: Some(Box::new(range(&one, 2))),
            more_ranges: vec![range(&one, 4), range(&other, 1)],
            ..rbx_request::Failure::new(FailureKind::Failed, "no")
        };
        assert_snapshot!(report(&failure.into()), @r"
        Dockerfile:2
        --------------------
           1 |     FROM a
           2 | >>> RUN b
           3 |     FROM a
           4 | >>> RUN b
           5 |     
        --------------------
        Dockerfile:1
        --------------------
           1 | >>> RUN c
        --------------------
        ERROR: failed to build: no
        exit code 1
        ");
    }

    #[test]
    fn the_place_comes_before_the_reason_and_the_hint_after() {
        let error = BuildError::from(rbx_request::Failure {
            kind: FailureKind::Invalid,
            reason: "no such stage".to_owned(),
            source_range: Some(Box::new(SourceRange {
                file: "Dockerfile".to_owned(),
                text: "FROM a\nCOPY --from=b / /\n".into(),
                first: 2,
                last: 2,
            })),
            more_ranges: Vec::new(),
            step: Some("[2/2] COPY".to_owned()),
            hint: Some("stages have names".to_owned()),
        });
        assert_snapshot!(report(&error.clone().into()), @r"
        Dockerfile:2
        --------------------
           1 |     FROM a
           2 | >>> COPY --from=b / /
           3 |     
        --------------------
        ERROR: failed to build: no such stage
        Hint: stages have names
        exit code 1
        ");
        let failure = serde_json::to_string(&BuildFailure::from(&CliError::from(error))).unwrap();
        assert_snapshot!(failure, @r#"{"reason":"no such stage","hint":"stages have names","step":"[2/2] COPY","file":"Dockerfile","lines":[2,2]}"#);
        for (kind, code) in
            [(FailureKind::Internal, 100), (FailureKind::Exhausted, 102), (FailureKind::Failed, 1)]
        {
            let error = CliError::from(rbx_request::Failure::new(kind, "no"));
            assert_eq!(report(&error), format!("ERROR: failed to build: no\nexit code {code}"));
        }
        let cancelled = BuildError::cancelled();
        assert!(BuildFailure::from(&CliError::from(cancelled.clone())).cancelled);
        assert_snapshot!(report(&cancelled.into()), @r"
        ERROR: failed to build: context canceled
        exit code 130
        ");
    }
}

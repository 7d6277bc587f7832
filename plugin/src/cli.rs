//! The commands, and which of them a command line means.

pub(crate) mod build;
pub(crate) mod builders;
pub(crate) mod check;
pub(crate) mod doctor;
pub(crate) mod flags;
mod options;
pub(crate) mod storage;

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue};
use clap::{Command, CommandFactory, Parser};

pub(crate) use options::{Common, DockerOptions, LspOptions, Root};

use crate::cli::flags::{Line, Mixed};
use crate::docker::{self, Called};
use crate::env::Env;
use crate::errors::CliError;
use crate::{completion, help, version};

/// What the program does, in a line.
pub(crate) const ABOUT: &str = "Build images for many platforms, with or without a daemon";

/// A command of the program.
pub(crate) struct Entry {
    /// Its name.
    pub(crate) name: &'static str,
    /// Another name.
    pub(crate) alias: Option<&'static str>,
    /// What it does, in a line.
    pub(crate) about: &'static str,
    /// What follows it in its usage line.
    pub(crate) operands: &'static str,
    /// How many operands it takes.
    pub(crate) arguments: Arguments,
    /// Left out of the list of commands.
    pub(crate) hidden: bool,
    /// Its flags.
    pub(crate) definition: fn() -> Command,
    run: fn(&Context<'_>, &Line) -> Result<ExitCode, CliError>,
}

/// How many operands a command takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arguments {
    /// So many.
    Exactly(usize),
    /// So many or fewer.
    AtMost(usize),
    /// As many as there are.
    Any,
}

impl Arguments {
    /// Whether so many are right.
    fn fit(self, count: usize) -> bool {
        match self {
            Self::Exactly(wanted) => count == wanted,
            Self::AtMost(most) => count <= most,
            Self::Any => true,
        }
    }

    /// Whether one more can follow so many.
    pub(crate) fn more_than(self, count: usize) -> bool {
        match self {
            Self::Exactly(most) | Self::AtMost(most) => count < most,
            Self::Any => true,
        }
    }
}

impl fmt::Display for Arguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at_most, count) = match self {
            Self::Exactly(count) => ("", *count),
            Self::AtMost(count) => ("at most ", *count),
            Self::Any => return f.write_str("any arguments"),
        };
        let plural = if count == 1 { "" } else { "s" };
        write!(f, "{at_most}{count} argument{plural}")
    }
}

/// The commands, in the order of their names.
pub(crate) static ENTRIES: [Entry; 18] = [
    Entry {
        name: "build",
        alias: Some("b"),
        about: "Build an image from a Dockerfile",
        operands: "[OPTIONS] PATH | URL | -",
        arguments: Arguments::Exactly(1),
        hidden: false,
        definition: build::BuildArgs::command,
        run: |context, line| crate::build::run(context, &parse(context, "build", line)?),
    },
    Entry {
        name: "check",
        alias: None,
        about: "Check Dockerfiles for each platform they are built for",
        operands: "[OPTIONS] [PATH...]",
        arguments: Arguments::Any,
        hidden: false,
        definition: check::CheckArgs::command,
        run: |context, line| crate::check::run(context, &parse(context, "check", line)?),
    },
    Entry {
        name: "completion",
        alias: None,
        about: "Print a script that completes command lines in bash, zsh or fish",
        operands: "SHELL",
        arguments: Arguments::Exactly(1),
        hidden: true,
        definition: options::NoOptions::command,
        run: |context, line| completion::script(context, line),
    },
    Entry {
        name: "create",
        alias: None,
        about: "Create a builder, or change one",
        operands: "[OPTIONS] [CONTEXT|ENDPOINT]",
        arguments: Arguments::AtMost(1),
        hidden: false,
        definition: builders::CreateArgs::command,
        run: |context, line| crate::builders::create(context, &parse(context, "create", line)?),
    },
    Entry {
        name: "dial-stdio",
        alias: None,
        about: "Connect standard input and output to a builder's BuildKit",
        operands: "[OPTIONS]",
        arguments: Arguments::Exactly(0),
        hidden: false,
        definition: builders::DialStdioArgs::command,
        run: |context, line| crate::builders::dial_stdio(context, &parse(context, "dial-stdio", line)?),
    },
    Entry {
        name: "doctor",
        alias: None,
        about: "Show what can be built here, and what is missing",
        operands: "[OPTIONS]",
        arguments: Arguments::Exactly(0),
        hidden: false,
        definition: doctor::DoctorArgs::command,
        run: |context, line| crate::doctor::run(context, &parse(context, "doctor", line)?),
    },
    Entry {
        name: "du",
        alias: None,
        about: "Show what the builder keeps and what that takes",
        operands: "[OPTIONS]",
        arguments: Arguments::Exactly(0),
        hidden: false,
        definition: storage::DuArgs::command,
        run: |context, line| crate::storage::du(context, &parse(context, "du", line)?),
    },
    Entry {
        name: crate::collection::COMMAND,
        alias: None,
        about: "Remove from the store what its limits leave no room for",
        operands: "",
        arguments: Arguments::Exactly(0),
        hidden: true,
        definition: options::NoOptions::command,
        run: |context, _| crate::collection::run(context),
    },
    Entry {
        name: "inspect",
        alias: None,
        about: "Show a builder",
        operands: "[NAME]",
        arguments: Arguments::AtMost(1),
        hidden: false,
        definition: builders::InspectArgs::command,
        run: |context, line| crate::builders::inspect(context, &parse(context, "inspect", line)?),
    },
    Entry {
        name: "install",
        alias: None,
        about: "Make 'docker build' this plugin's",
        operands: "",
        arguments: Arguments::Exactly(0),
        hidden: true,
        definition: options::NoOptions::command,
        run: |context, _| crate::alias::install(context),
    },
    Entry {
        name: "ls",
        alias: None,
        about: "List builders",
        operands: "",
        arguments: Arguments::Exactly(0),
        hidden: false,
        definition: builders::LsArgs::command,
        run: |context, line| crate::builders::ls(context, &parse(context, "ls", line)?),
    },
    Entry {
        name: "lsp",
        alias: None,
        about: "Run the language server for Dockerfiles",
        operands: "[OPTIONS]",
        arguments: Arguments::Exactly(0),
        hidden: false,
        definition: options::LspOptions::command,
        run: |context, line| crate::editor::serve(context, &parse(context, "lsp", line)?),
    },
    Entry {
        name: "prune",
        alias: None,
        about: "Remove what the builder keeps",
        operands: "[OPTIONS]",
        arguments: Arguments::Exactly(0),
        hidden: false,
        definition: storage::PruneArgs::command,
        run: |context, line| crate::storage::prune(context, &parse(context, "prune", line)?),
    },
    Entry {
        name: "rm",
        alias: None,
        about: "Remove builders",
        operands: "[OPTIONS] [NAME...]",
        arguments: Arguments::Any,
        hidden: false,
        definition: builders::RmArgs::command,
        run: |context, line| crate::builders::rm(context, &parse(context, "rm", line)?),
    },
    Entry {
        name: "stop",
        alias: None,
        about: "Stop a builder",
        operands: "[NAME]",
        arguments: Arguments::AtMost(1),
        hidden: false,
        definition: builders::StopArgs::command,
        run: |context, line| crate::builders::stop(context, &parse(context, "stop", line)?),
    },
    Entry {
        name: "uninstall",
        alias: None,
        about: "Make 'docker build' buildx's again",
        operands: "",
        arguments: Arguments::Exactly(0),
        hidden: true,
        definition: options::NoOptions::command,
        run: |context, _| crate::alias::uninstall(context),
    },
    Entry {
        name: "use",
        alias: None,
        about: "Choose the builder that is used",
        operands: "[OPTIONS] NAME",
        arguments: Arguments::AtMost(1),
        hidden: false,
        definition: builders::UseArgs::command,
        run: |context, line| crate::builders::use_builder(context, &parse(context, "use", line)?),
    },
    Entry {
        name: "version",
        alias: None,
        about: "Show version information",
        operands: "",
        arguments: Arguments::Exactly(0),
        hidden: false,
        definition: options::NoOptions::command,
        run: |_, _| print(&version::line()),
    },
];

/// The entry of a command, by either of its names.
pub(crate) fn entry(name: &str) -> Option<&'static Entry> {
    ENTRIES.iter().find(|entry| entry.name == name || entry.alias == Some(name))
}

/// What a command is run with.
pub(crate) struct Context<'a> {
    /// The surroundings.
    pub(crate) env: &'a Env,
    /// How the program was called.
    pub(crate) called: &'a Called,
    /// Flags before the command's name.
    pub(crate) common: Common,
}

/// Runs the command that `args` mean: the words after the program's name.
pub(crate) fn run(args: &[String], env: &Env) -> ExitCode {
    let result = match docker::called(args, env) {
        Ok(called) => dispatch(&called, env),
        Err(error) => Err(error),
    };
    match result {
        Ok(code) => code,
        Err(error) => error.report(&mut io::stderr()).map_or(ExitCode::FAILURE, ExitCode::from),
    }
}

fn dispatch(called: &Called, env: &Env) -> Result<ExitCode, CliError> {
    if called.args.first().is_some_and(|arg| arg == docker::METADATA_COMMAND) {
        return print(&docker::metadata());
    }
    let line = flags::read(&Root::command(), &called.args, Mixed::No)
        .map_err(|message| called.flag_error(message, "", ""))?;
    let root: Root = parse_line(&line.flags, &[]).map_err(|message| called.flag_error(message, "", ""))?;
    let Some(name) = line.operands.first() else {
        return if root.version {
            print(&version::line())
        } else {
            print(&help::root(called, help::width(env)))
        };
    };
    match name.as_str() {
        "help" => return explain(called, env, &line.rest),
        "__complete" | "__completeNoDesc" => {
            let builders = || crate::builders::names(called, env);
            return print_completion(&completion::answer(&line.rest, name == "__complete", &builders));
        }
        _ => {}
    }
    let Some(entry) = entry(name) else {
        print(&help::root(called, help::width(env)))?;
        return Err(CliError::new(format!("unknown command: {name:?}")));
    };
    let flag_error = |message| called.flag_error(message, entry.name, entry.operands);
    let line = flags::read(&(entry.definition)(), &line.rest, Mixed::Yes).map_err(flag_error)?;
    if root.common.help || line.flags.iter().any(|flag| flag == "--help") {
        return print(&help::command(called, entry, help::width(env)));
    }
    if !entry.arguments.fit(line.operands.len()) {
        let path = called.path_to(entry.name);
        return Err(CliError::operands(&called.binary, &path, entry.operands, entry.arguments));
    }
    (entry.run)(&Context { env, called, common: root.common }, &line)
}

/// `help`, alone or with the name of a command.
fn explain(called: &Called, env: &Env, topics: &[String]) -> Result<ExitCode, CliError> {
    let width = help::width(env);
    match topics {
        [] => print(&help::root(called, width)),
        [name] if entry(name).is_some() => {
            entry(name).map_or(Ok(ExitCode::SUCCESS), |entry| print(&help::command(called, entry, width)))
        }
        topics => Err(CliError::new(format!("unknown help topic: {}", topics.join(" ")))),
    }
}

fn print_completion(answer: &completion::Answer) -> Result<ExitCode, CliError> {
    // Shells discard it; people who try it out see what the number means.
    let _ = writeln!(io::stderr(), "Completion ended with directive: {}", answer.directive_name());
    print(&answer.to_string())
}

/// Writes to standard output. That nobody reads it any more is no error.
pub(crate) fn print(text: &str) -> Result<ExitCode, CliError> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CliError::new(format!("{error}: failed to write to standard output")))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Gives clap what [`flags::read`] read.
fn parse<T: Parser>(context: &Context<'_>, name: &str, line: &Line) -> Result<T, CliError> {
    parse_line(&line.flags, &line.operands).map_err(|message| {
        let operands = entry(name).map_or("", |entry| entry.operands);
        context.called.flag_error(message, name, operands)
    })
}

/// Gives clap flags and operands; an error is its message in pflag's words.
pub(crate) fn parse_line<T: Parser>(flags: &[String], operands: &[String]) -> Result<T, String> {
    let separator = if operands.is_empty() { &[][..] } else { &["--".to_owned()] };
    let words = flags.iter().chain(separator).chain(operands);
    T::try_parse_from(words).map_err(|error| {
        // All else that clap checks was checked already: only values are left to be wrong.
        let name = match error.get(ContextKind::InvalidArg) {
            Some(ContextValue::String(name)) => name.as_str(),
            _ => "",
        };
        let long = name.split([' ', '=']).next().unwrap_or_default().trim_start_matches("--");
        let value = match error.get(ContextKind::InvalidValue) {
            Some(ContextValue::String(value)) => value.as_str(),
            _ => "",
        };
        let command = T::command();
        let definition = command.get_arguments().find(|definition| definition.get_long() == Some(long));
        match (definition, std::error::Error::source(&error)) {
            (Some(definition), Some(reason)) => flags::invalid(definition, value, &reason.to_string()),
            _ => error.to_string().trim_end().to_owned(),
        }
    })
}

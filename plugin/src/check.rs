//! `check`: what is wrong with Dockerfiles, for each platform that they are built for.

mod files;
mod show;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rbx_dockerfile::{Dockerfile, parse};
use rbx_lint::{Facts, Finding, Request, Settings, Severity, lint, rules};
use rbx_platform::Platform;
use rbx_request::{parse_contexts, parse_pairs, parse_platforms};

use crate::cli::Context;
use crate::cli::check::CheckArgs;
use crate::env::Env;
use crate::errors::CliError;

/// Bytes of a Dockerfile that are read, at most: one more than the parser takes.
const MAX_BYTES: u64 = (64 << 20) + 1;

/// How the answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Text,
    Json,
}

/// A Dockerfile that was checked, or could not be.
struct Checked {
    /// As the user would name it.
    name: String,
    /// What it was checked for.
    platforms: Vec<Platform>,
    result: Result<(Dockerfile, Vec<Finding>), String>,
}

/// Checks Dockerfiles. The exit code is 1 if anything is wrong with one of them, or it could not be read.
pub(crate) fn run(context: &Context<'_>, args: &CheckArgs) -> Result<ExitCode, CliError> {
    if let Some(rule) = &args.explain {
        return crate::cli::print(&explain(rule)?);
    }
    let format = match args.format.as_str() {
        "text" => Format::Text,
        "json" => Format::Json,
        other => {
            return Err(
                CliError::new(format!("invalid format {other:?}")).hint("there are \"text\" and \"json\"")
            );
        }
    };
    let request = request(args, context.env)?;
    let sources = sources(args, context.env)?;
    let checked: Vec<Checked> = sources.iter().map(|source| check(source, &request, context.env)).collect();
    let failed = checked.iter().any(|file| file.result.as_ref().map_or(true, |(_, found)| !found.is_empty()));
    let text = match format {
        Format::Text => show::text(&checked),
        Format::Json => show::json(&checked),
    };
    crate::cli::print(&text)?;
    for file in &checked {
        if let (Err(reason), Format::Text) = (&file.result, format) {
            let _ = writeln!(io::stderr(), "ERROR: {}", rbx_progress::clean(reason));
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What is known of a rule, or a line about each.
fn explain(name: &str) -> Result<String, CliError> {
    if name == "all" {
        let column = rules().iter().map(|rule| rule.name.len()).max().unwrap_or(0);
        return Ok(rules().iter().fold(String::new(), |mut text, rule| {
            let _ = writeln!(text, "{:column$}  {:7}  {}", rule.name, rule.severity.name(), rule.summary);
            text
        }));
    }
    rbx_lint::rule(name).map(|rule| rule.explanation.to_owned()).ok_or_else(|| {
        let names: Vec<&str> = rules().iter().map(|rule| rule.name).collect();
        CliError::new(format!("no rule {name:?}")).hint(format!("there are {}", names.join(", ")))
    })
}

/// What is asked for. The platforms are those of the flags, if there are any.
fn request(args: &CheckArgs, env: &Env) -> Result<Request, CliError> {
    let grammar = |error: rbx_request::GrammarError| CliError::new(error.to_string());
    let host = Platform::host();
    let mut platforms = parse_platforms(&args.platform, &host).map_err(grammar)?;
    deduplicate(&mut platforms);
    let lookup = |name: &str| env.var(name).map(str::to_owned);
    Ok(Request {
        platforms,
        build_platform: host,
        build_args: parse_pairs(&args.build_arg, Some(&lookup)).map_err(grammar)?,
        target: args.target.clone().filter(|target| !target.is_empty()),
        named_contexts: parse_contexts(&args.build_context)
            .map_err(grammar)?
            .into_keys()
            .collect::<BTreeSet<String>>(),
        settings: Settings::default(),
    })
}

/// The platforms of a file that no flag names any for: those of its own comment, else the default of builds. Names in
/// the comment that are none are findings.
fn platforms(file: &Dockerfile, host: &Platform, env: &Env) -> Result<(Vec<Platform>, Vec<Finding>), String> {
    let (mut platforms, mut wrong) = (Vec::new(), Vec::new());
    for word in file.platforms() {
        match parse_platforms(&[&word.text], host) {
            Ok(named) => platforms.extend(named),
            Err(error) => wrong.push(Finding {
                rule: None,
                severity: Severity::Warning,
                message: error.to_string(),
                span: word.span,
                related: Vec::new(),
                platforms: Vec::new(),
                fine_on: Vec::new(),
                fixes: Vec::new(),
            }),
        }
    }
    if let (true, Some(default)) = (platforms.is_empty(), env.filled("DOCKER_DEFAULT_PLATFORM")) {
        platforms = parse_platforms(&[default], host).map_err(|error| error.to_string())?;
    }
    if platforms.is_empty() {
        platforms.push(host.clone());
    }
    deduplicate(&mut platforms);
    Ok((platforms, wrong))
}

fn deduplicate(platforms: &mut Vec<Platform>) {
    let mut seen = BTreeSet::new();
    platforms.retain(|platform| seen.insert(platform.clone()));
}

/// Where Dockerfiles come from.
#[derive(Debug, PartialEq, Eq)]
enum Source {
    Stdin,
    /// A file, and what the user would call it.
    File(PathBuf, String),
}

fn sources(args: &CheckArgs, env: &Env) -> Result<Vec<Source>, CliError> {
    let one = |name: &str| match name {
        "-" => Source::Stdin,
        name => Source::File(env.cwd.join(name), name.to_owned()),
    };
    if let Some(file) = &args.file {
        // The command line of a build: the path is its context.
        return match args.paths.as_slice() {
            [] => Ok(vec![one(file)]),
            [path] if env.cwd.join(path).is_dir() => Ok(vec![one(file)]),
            _ => Err(CliError::new("with --file there can be one PATH, and it must be a directory")),
        };
    }
    let here = [".".to_owned()];
    let paths = if args.paths.is_empty() { &here[..] } else { &args.paths };
    let mut sources: Vec<Source> = Vec::new();
    for path in paths {
        let full = env.cwd.join(path);
        let found = if path != "-" && full.is_dir() {
            let found = files::dockerfiles(&full).map_err(CliError::new)?;
            if found.is_empty() {
                let hint =
                    "Dockerfiles are called Dockerfile, Containerfile, Dockerfile.NAME or NAME.Dockerfile";
                return Err(CliError::new(format!("no Dockerfile in {path}")).hint(hint));
            }
            let name = |file: &PathBuf| {
                let inside = file.strip_prefix(&full).unwrap_or(file);
                let name = if path == "." { inside.to_owned() } else { Path::new(path).join(inside) };
                name.to_string_lossy().into_owned()
            };
            found.into_iter().map(|file| Source::File(file.clone(), name(&file))).collect()
        } else {
            vec![one(path)]
        };
        for source in found {
            if !sources.contains(&source) {
                sources.push(source);
            }
        }
    }
    Ok(sources)
}

fn check(source: &Source, request: &Request, env: &Env) -> Checked {
    let (name, bytes) = match source {
        Source::Stdin => ("-".to_owned(), read(io::stdin())),
        Source::File(path, name) => (name.clone(), std::fs::File::open(env.cwd.join(path)).and_then(read)),
    };
    let mut request = request.clone();
    let result = bytes.map_err(|error| format!("{error}: failed to read {name}")).and_then(|bytes| {
        let file = parse(&String::from_utf8_lossy(&bytes));
        let mut findings = Vec::new();
        if request.platforms.is_empty() {
            (request.platforms, findings) = platforms(&file, &request.build_platform, env)?;
        }
        findings.extend(lint(&file, &request, &Facts::default()));
        findings.sort_by_key(|finding| finding.span.start);
        Ok((file, findings))
    });
    Checked { name, platforms: request.platforms, result }
}

fn read(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

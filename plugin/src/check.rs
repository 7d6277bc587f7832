//! `check`: what is wrong with Dockerfiles, for each platform that they are built for.

mod files;
mod fix;
mod formats;
mod parallel;
mod project;
mod rules;
mod text;
mod world;

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use rbx_dockerfile::{Dockerfile, LineIndex, parse};
use rbx_facts::ShellCheck;
use rbx_lint::{Config, Facts, Finding, Mended, Request, Severity, lint, mend};
use rbx_platform::Platform;
use rbx_project::{Platforms, Projects, Said};
use rbx_request::{parse_contexts, parse_pairs, parse_platforms};

use crate::cli::Context;
use crate::cli::check::CheckArgs;
use crate::errors::CliError;
use files::Source;
use fix::Fixing;
use formats::Format;
use project::Asked;
use world::World;

/// Bytes of a Dockerfile that are read, at most: one more than the parser takes.
const MAX_BYTES: u64 = (64 << 20) + 1;
/// The exit code where something was found.
const FOUND: u8 = 1;
/// The exit code where something could not be checked.
const UNCHECKED: u8 = 2;

/// A Dockerfile that was checked, or could not be.
struct Checked {
    /// As the user would name it.
    name: String,
    /// What it was checked for.
    platforms: Platforms,
    result: Result<Done, String>,
}

/// A Dockerfile that was checked.
struct Done {
    /// What it is, after fixes. Nothing, if nothing is wrong with it.
    text: String,
    /// The lines of `text`.
    lines: LineIndex,
    /// What is wrong with it.
    findings: Vec<Finding>,
    /// How many findings were fixed, or would be.
    fixed: usize,
    /// What fixes change, or would change; for a text from standard input, that text after them.
    change: String,
}

impl Done {
    /// A file with which nothing is wrong.
    fn nothing() -> Self {
        let (text, lines) = (String::new(), LineIndex::new(""));
        Self { text, lines, findings: Vec::new(), fixed: 0, change: String::new() }
    }
}

/// Checks Dockerfiles.
pub(crate) fn run(context: &Context<'_>, args: &CheckArgs) -> Result<ExitCode, CliError> {
    checked(context, args).map_err(|error| error.with_code(UNCHECKED))
}

fn checked(context: &Context<'_>, args: &CheckArgs) -> Result<ExitCode, CliError> {
    let env = context.env;
    if let Some(rule) = &args.explain {
        return crate::cli::print(&rules::explain(rule)?);
    }
    if args.schema {
        return crate::cli::print(&Config::schema());
    }
    let format = Format::parse(&args.format)?;
    let fixing = Fixing::of(args)?;
    let job = job(context, args, fixing)?;
    let sources = files::sources(args, env)?;
    let is_stdin = sources == [Source::Stdin];
    let asked = project::asked(sources, &job.request, args, env)?;
    let checked = parallel::map(&asked, |asked| job.check(asked));

    let changes: String = checked
        .iter()
        .filter_map(|file| file.result.as_ref().ok())
        .map(|done| done.change.as_str())
        .collect();
    let from_stdin = fixing == (Fixing::Write { unsafe_too: args.unsafe_fixes }) && is_stdin;
    if fixing.is_diff() || from_stdin {
        // What is printed is for programs that go on with it.
        crate::cli::print(&changes)?;
        let words = if fixing.is_diff() {
            fix::summary(&checked, fixing)
        } else {
            text::report(&checked, fixing, &text::Look::default())
        };
        tell(&words);
    } else {
        let look = text::Look::of(env);
        crate::cli::print(&match format {
            Format::Text => text::report(&checked, fixing, &look),
            Format::Json => formats::json(&checked),
            Format::Sarif => formats::sarif(&checked),
            Format::GitHub => formats::github(&checked),
            Format::GitLab => formats::gitlab(&checked),
            Format::JUnit => formats::junit(&checked)?,
        })?;
    }
    for file in &checked {
        if let Err(reason) = &file.result {
            tell(&format!("ERROR: {}\n", rbx_progress::clean(reason)));
        }
    }
    for problem in job.world.problems() {
        tell(&format!("WARNING: {}\n", rbx_progress::clean(&problem)));
    }
    Ok(ExitCode::from(exit_code(&checked, fixing, args.exit_zero)))
}

/// Writes to standard error.
fn tell(words: &str) {
    let _ = io::stderr().write_all(words.as_bytes());
}

/// How the command ends: what could not be checked counts more than what was found.
fn exit_code(checked: &[Checked], fixing: Fixing, zero: bool) -> u8 {
    let is_wrong = |done: &Done| if fixing.is_diff() { done.fixed > 0 } else { !done.findings.is_empty() };
    if checked.iter().any(|file| file.result.is_err()) {
        UNCHECKED
    } else if !zero && checked.iter().filter_map(|file| file.result.as_ref().ok()).any(is_wrong) {
        FOUND
    } else {
        0
    }
}

/// What the flags ask for.
fn job(context: &Context<'_>, args: &CheckArgs, fixing: Fixing) -> Result<Job, CliError> {
    let env = context.env;
    let grammar = |error: rbx_request::GrammarError| CliError::new(error.to_string());
    let host = Platform::host();
    let flag = parse_platforms(&args.platform, &host).map_err(grammar)?;
    let default = env.filled("DOCKER_DEFAULT_PLATFORM").filter(|_| flag.is_empty());
    let environment = parse_platforms(default.as_slice(), &host).map_err(grammar)?;
    let lookup = |name: &str| env.var(name).map(str::to_owned);
    let contexts = parse_contexts(&args.build_context).map_err(grammar)?;
    let request = Request {
        build_args: parse_pairs(&args.build_arg, Some(&lookup)).map_err(grammar)?,
        target: args.target.clone().filter(|target| !target.is_empty()),
        named_contexts: contexts.into_keys().collect(),
        settings: rules::settings(args)?,
        ..Request::new(Vec::new(), host)
    };
    let world = World::new(context, args)?;
    let shellcheck = env.filled("PATH").and_then(|path| ShellCheck::find(path.as_ref()));
    Ok(Job { request, fixing, flag, environment, projects: Projects::default(), world, shellcheck })
}

/// What is named in a file's comment and is no platform.
fn no_platforms(platforms: &Platforms) -> Vec<Finding> {
    let finding = |(span, reason): &(_, String)| Finding {
        rule: None,
        severity: Severity::Warning,
        message: reason.clone(),
        span: *span,
        related: Vec::new(),
        platforms: Vec::new(),
        fine_on: Vec::new(),
        fixes: Vec::new(),
    };
    platforms.wrong.iter().map(finding).collect()
}

/// What is asked about every file.
struct Job {
    /// Without platforms: each file has its own.
    request: Request,
    fixing: Fixing,
    /// `--platform`
    flag: Vec<Platform>,
    /// `DOCKER_DEFAULT_PLATFORM`
    environment: Vec<Platform>,
    projects: Projects,
    world: World,
    /// What looks at scripts, where it is installed.
    shellcheck: Option<ShellCheck>,
}

impl Job {
    fn check(&self, asked: &Asked) -> Checked {
        let (name, path, bytes) = match &asked.source {
            Source::Stdin => ("-".to_owned(), None, read(io::stdin())),
            Source::File(path, name) => {
                (name.clone(), Some(path.as_path()), std::fs::File::open(path).and_then(read))
            }
        };
        let mut platforms =
            Platforms { list: Vec::new(), source: rbx_project::Source::Default, wrong: Vec::new() };
        let result = bytes
            .map_err(|error| format!("{}: failed to read {name}", rbx_request::reason(&error)))
            .and_then(|bytes| self.done(&bytes, &name, path, asked, &mut platforms));
        Checked { name, platforms, result }
    }

    /// Learns what shellcheck says of a file's scripts.
    fn learn(&self, file: &Dockerfile, request: &Request, facts: &mut Facts) {
        let program = self.shellcheck.as_ref();
        if let Some(Err(reason)) = program.map(|program| program.learn(file, request, facts, || true)) {
            tell(&format!("WARNING: {reason}\n"));
        }
    }

    /// Checks the bytes of a file, and fixes what is to be fixed.
    fn done(
        &self,
        bytes: &[u8],
        name: &str,
        path: Option<&Path>,
        asked: &Asked,
        platforms: &mut Platforms,
    ) -> Result<Done, String> {
        let text = String::from_utf8_lossy(bytes);
        let file = parse(&text);
        let known = |file: &Dockerfile| {
            let said = Said {
                flag: &self.flag,
                configured: &asked.configured,
                projects: path.map(|path| (&self.projects, path)),
                environment: &self.environment,
                host: &self.request.build_platform,
            };
            Platforms::of(file, &said)
        };
        *platforms = known(&file);
        let request = Request { platforms: platforms.list.clone(), ..asked.request.clone() };
        let mut facts = self.world.facts(&file, &request, path);
        self.learn(&file, &request, &mut facts);
        // Bytes that are no text would not be the same again.
        let unsafe_too = self.fixing.unsafe_too().filter(|_| text.as_bytes() == bytes);
        let mended = match unsafe_too {
            None => Mended { findings: lint(&file, &request, &facts), file, fixed: 0 },
            Some(unsafe_too) => mend(file, &request, &facts, unsafe_too),
        };
        let Mended { file, mut findings, fixed } = mended;
        if fixed > 0 && self.shellcheck.is_some() {
            // Scripts that were changed are others to it.
            self.learn(&file, &request, &mut facts);
            findings = lint(&file, &request, &facts);
        }
        if request.settings.threshold.is_none_or(|least| Severity::Warning <= least) {
            let wrong = if fixed > 0 { known(&file) } else { platforms.clone() };
            findings.extend(no_platforms(&wrong));
            findings.sort_by_key(|finding| finding.span.start);
        }
        let mut change = String::new();
        match (self.fixing, path) {
            (Fixing::Diff { .. }, _) => change = fix::diff(name, &text, &file.text),
            (Fixing::Write { .. }, Some(path)) if fixed > 0 => {
                fix::write(path, bytes, &file.text)
                    .map_err(|error| format!("{error}: failed to fix {name}"))?;
            }
            (Fixing::Write { .. }, None) => change.clone_from(&file.text),
            _ => {}
        }
        if findings.is_empty() {
            return Ok(Done { fixed, change, ..Done::nothing() });
        }
        Ok(Done { text: file.text, lines: file.line_index, findings, fixed, change })
    }
}

fn read(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

//! `--dry-run`: what a build would do, for people and, with `--call=dry-run,format=json`, for programs.

use std::fmt::Write as _;
use std::process::ExitCode;

use rbx_engine::{BuildError, Engine, Probe, ProbedStep, Runner, StepKind, StepState};
use rbx_platform::Platform;
use rbx_request::Call;
use serde::Serialize;

use super::Job;
use super::interrupt::Interrupt;
use crate::errors::CliError;

/// What it is called as a call.
pub(super) const NAME: &str = "dry-run";

/// The answer for programs.
#[derive(Serialize)]
struct Answer<'a> {
    /// The builder, and its driver.
    builder: &'a str,
    driver: String,
    /// What it would be built for, if the builder can be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    platforms: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    steps: Option<Vec<Step<'a>>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Step<'a> {
    name: &'a str,
    digest: &'a str,
    kind: &'static str,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    /// Its first and last line, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    lines: Option<(u32, u32)>,
    /// Those that need it.
    platforms: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    runs_on: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    runner: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    emulator: Option<&'a str>,
    /// What to do where nothing runs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<&'a str>,
}

impl<'a> Step<'a> {
    fn of(step: &'a ProbedStep) -> Self {
        let runner = step.run.as_ref().map(|(_, runner)| runner);
        Self {
            name: &step.name,
            digest: &step.digest,
            kind: match step.kind {
                StepKind::Image => "image",
                StepKind::Fetch => "fetch",
                StepKind::Copy => "copy",
                StepKind::Directory => "directory",
                StepKind::Run => "run",
            },
            state: state(step),
            reason: step.reason.as_deref(),
            lines: step.source.as_ref().map(|source| (source.first, source.last)),
            platforms: names(&step.platforms),
            runs_on: step.run.as_ref().map(|(platform, _)| platform.format_all()),
            runner: runner.map(|runner| match runner {
                Runner::Native => "native",
                Runner::Emulated(_) => "emulated",
                Runner::Nothing { .. } => "nothing",
            }),
            emulator: match runner {
                Some(Runner::Emulated(emulator)) => Some(emulator),
                _ => None,
            },
            remedy: match runner {
                Some(Runner::Nothing { remedy, .. }) => Some(remedy),
                _ => None,
            },
        }
    }
}

fn names(platforms: &[Platform]) -> Vec<String> {
    platforms.iter().map(Platform::format_all).collect()
}

/// Asks the engine what it would do, and prints that. The exit code tells whether the build would get to its end, as
/// far as is known.
pub(super) async fn run(
    job: &Job<'_>,
    engine: &Engine,
    call: &Call,
    interrupt: &Interrupt,
) -> Result<ExitCode, CliError> {
    let (events, receiver) = rbx_request::events();
    let display = job.show.start(receiver);
    let probed = tokio::select! {
        done = engine.probe(&job.prepared.request, &events, interrupt.engine()) => done.map_err(CliError::from),
        () = interrupt.overdue() => Err(BuildError::cancelled().into()),
    };
    events.end();
    let summary = display.await.unwrap_or_default();
    job.show.warnings(&summary);
    let probe = probed?;
    crate::cli::print(&if for_programs(call) { json(job, Some(&probe)) } else { text(&probe) })?;
    let stuck = probe.steps.iter().any(|step| step.state == StepState::Fails || is_run_by_nothing(step));
    Ok(ExitCode::from(u8::from(stuck && !call.ignore_status)))
}

/// Says that a builder cannot be asked.
pub(super) fn refuse(job: &Job<'_>, call: &Call) -> Result<ExitCode, CliError> {
    if for_programs(call) {
        crate::cli::print(&json(job, None))?;
    }
    let (name, driver) = (&job.selected.builder.name, job.selected.driver);
    let reason = format!(
        "builder {name:?} ({driver}) cannot be asked what is cached: BuildKit finds that out while it builds"
    );
    Err(CliError::new(reason)
        .hint("a build with --progress=plain says CACHED of each step; --builder embedded can be asked"))
}

fn for_programs(call: &Call) -> bool {
    call.format.as_deref() == Some("json")
}

fn is_run_by_nothing(step: &ProbedStep) -> bool {
    matches!(step.run, Some((_, Runner::Nothing { .. })))
}

fn state(step: &ProbedStep) -> &'static str {
    match (step.state, step.kind) {
        (StepState::Cached, _) => "cached",
        (StepState::Run, StepKind::Image) => "fetch",
        (StepState::Run, _) => "run",
        (StepState::Unknown, _) => "unknown",
        (StepState::Fails, _) => "fails",
    }
}

fn json(job: &Job<'_>, probe: Option<&Probe>) -> String {
    let answer = Answer {
        builder: &job.selected.builder.name,
        driver: job.selected.driver.to_string(),
        platforms: probe.map(|probe| names(&probe.platforms)),
        steps: probe.map(|probe| probe.steps.iter().map(Step::of).collect()),
    };
    let text = serde_json::to_string_pretty(&answer).unwrap_or_default();
    format!("{text}\n")
}

/// A line for each step, those that are no simple matter explained below them, and all of it in a line.
fn text(probe: &Probe) -> String {
    let runs = |step: &ProbedStep| match &step.run {
        Some((_, Runner::Native)) => "native",
        Some((_, Runner::Emulated(_))) => "emulated",
        Some((_, Runner::Nothing { .. })) => "by nothing",
        None => "",
    };
    let clean = rbx_progress::clean;
    let mut out = format!("{:8} {:10} STEP\n", "CACHE", "RUNS");
    for step in &probe.steps {
        let _ = writeln!(out, "{:8} {:10} {}", state(step), runs(step), clean(&step.name));
        let uncertain = matches!(step.state, StepState::Unknown | StepState::Fails);
        let reason = step.reason.as_deref().filter(|_| uncertain);
        let nothing = match &step.run {
            Some((_, Runner::Nothing { reason, .. })) => Some(reason.as_str()),
            _ => None,
        };
        for why in reason.into_iter().chain(nothing) {
            let _ = writeln!(out, "{:19} {}", "", clean(why));
        }
    }
    let count = |wanted: StepState| probe.steps.iter().filter(|step| step.state == wanted).count();
    let all = probe.steps.len();
    let plural = if all == 1 { "" } else { "s" };
    let _ = write!(out, "\n{} of {all} step{plural} cached", count(StepState::Cached));
    for (state, words) in
        [(StepState::Run, "to run"), (StepState::Unknown, "unknown"), (StepState::Fails, "cannot be done")]
    {
        let count = count(state);
        if count > 0 {
            let _ = write!(out, ", {count} {words}");
        }
    }
    out.push('\n');
    let mut said: Vec<String> = Vec::new();
    for (platform, runner) in probe.steps.iter().filter_map(|step| step.run.as_ref()) {
        let line = match runner {
            Runner::Native => continue,
            Runner::Emulated(emulator) => format!("{platform}: emulated by {emulator}"),
            Runner::Nothing { reason, remedy } => format!("{platform}: {reason}; {remedy}"),
        };
        if !said.contains(&line) {
            said.push(line);
        }
    }
    for line in said {
        let _ = writeln!(out, "{}", clean(&line));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(
        name: &str,
        kind: StepKind,
        state: StepState,
        reason: &str,
        runner: Option<Runner>,
    ) -> ProbedStep {
        ProbedStep {
            digest: String::new(),
            name: name.to_owned(),
            kind,
            source: None,
            platforms: Vec::new(),
            state,
            reason: Some(reason.to_owned()).filter(|reason| !reason.is_empty()),
            run: runner.map(|runner| (Platform::parse("linux/arm64").unwrap(), runner)),
        }
    }

    #[test]
    fn a_table_for_people() {
        let emulated = || Some(Runner::Emulated("/usr/bin/qemu-aarch64".to_owned()));
        let nothing = Runner::Nothing { reason: "no QEMU".to_owned(), remedy: "install it".to_owned() };
        let steps = vec![
            step("[1/4] FROM a", StepKind::Image, StepState::Run, "its layers are not here", None),
            step("[2/4] RUN b\u{1b}[31m", StepKind::Run, StepState::Cached, "", emulated()),
            step("[3/4] RUN c", StepKind::Run, StepState::Run, "it comes after x", emulated()),
            step("[4/4] COPY d /", StepKind::Copy, StepState::Fails, "\"/d\": not found", None),
            step("[x 1/1] COPY --from=y /", StepKind::Copy, StepState::Unknown, "that depends on y", None),
            step("[z 1/1] RUN e", StepKind::Run, StepState::Cached, "", Some(nothing)),
        ];
        insta::assert_snapshot!(text(&Probe { platforms: Vec::new(), steps }), @r#"
        CACHE    RUNS       STEP
        fetch               [1/4] FROM a
        cached   emulated   [2/4] RUN b[31m
        run      emulated   [3/4] RUN c
        fails               [4/4] COPY d /
                            "/d": not found
        unknown             [x 1/1] COPY --from=y /
                            that depends on y
        cached   by nothing [z 1/1] RUN e
                            no QEMU

        2 of 6 steps cached, 2 to run, 1 unknown, 1 cannot be done
        linux/arm64: emulated by /usr/bin/qemu-aarch64
        linux/arm64: no QEMU; install it
        "#);
        insta::assert_snapshot!(text(&Probe { platforms: Vec::new(), steps: Vec::new() }), @"
        CACHE    RUNS       STEP

        0 of 0 steps cached
        ");
    }
}

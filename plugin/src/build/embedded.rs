//! Builds by this program's own engine.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use rbx_engine::{BuildError, Config, Engine, Limits, LogLimits, Outcome, Steps};
use rbx_oci::Reference;
use rbx_request::{BuildResult, Call, CallAnswer, EventSender, Metadata, Stdout};
use rbx_sandbox::{Rights, SandboxError};
use rbx_source::GitConfig;

use super::calls;
use super::daemon::dockerfile_name;
use super::interrupt::Interrupt;
use super::load::{self, Found, Loaded};
use super::request::Prepared;
use super::{Job, dry_run, steps, store_root, warn};
use crate::cli::Context;
use crate::collection;
use crate::docker::{collection_limits, emulation_settings, git_config, registry_config};
use crate::env::Env;
use crate::errors::CliError;
use crate::rights::become_root;
use crate::threads;

/// Builds.
pub(super) fn build(job: Job<'_>) -> Result<ExitCode, CliError> {
    let (context, env, debug) = (job.context, job.context.env, job.debug);
    let config_dir = context.called.config_dir(env);
    let steps = steps::steps(job.args, env)?;
    let store = store_root(env)?;
    let registry = registry_config(config_dir.as_deref(), env)?;
    let git = git_config(env, &registry);
    let emulation = emulation_settings(config_dir.as_deref(), env)?;
    let limits = collection_limits(config_dir.as_deref())?;

    let rights = become_root(env);
    let runtime = threads::many()?;
    let mut due = false;
    let build = Build { job, store: store.clone(), registry, git, steps, emulation, limits, rights };
    let ended = runtime.block_on(build.run(&mut due));
    // Nothing that is still at work after an interruption is waited for: the store is safe at every instant.
    runtime.shutdown_background();
    if due {
        collection::start(context, &store, debug);
    }
    ended
}

/// All that one build needs.
struct Build<'a> {
    job: Job<'a>,
    store: PathBuf,
    registry: rbx_registry::Config,
    git: GitConfig,
    steps: Steps,
    emulation: rbx_emulation::Settings,
    limits: Option<Limits>,
    rights: Result<Rights, SandboxError>,
}

impl Build<'_> {
    /// Builds, and finds out whether the store is to be collected after that.
    async fn run(self, due: &mut bool) -> Result<ExitCode, CliError> {
        let Self { job, store, registry, git, steps, emulation, limits, rights } = self;
        let (context, prepared) = (job.context, &job.prepared);
        let interrupt = Interrupt::listen(context.env)?;
        let dry = prepared.call.as_ref().filter(|call| call.name == dry_run::NAME);
        let find = async { if dry.is_some() { Ok(Vec::new()) } else { load::find(prepared, context).await } };
        let loads = tokio::select! {
            found = find => found?,
            () = interrupt.happened() => return Err(BuildError::cancelled().into()),
        };
        let warnings = prepared.warning.clone().into_iter();
        warnings.chain(loads.iter().filter_map(Found::warning)).for_each(|warning| warn(&warning));
        let log_limits = log_limits(context.env);
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let config =
            Config { root: store.clone(), registry, git, steps, emulation, threads, log_limits, rights };
        let engine = Arc::new(Engine::open(config)?);
        if let Some(call) = dry {
            return dry_run::run(&job, &engine, call, &interrupt).await;
        }
        if let Some(call) = &prepared.call {
            return answer(&job, &engine, call, &interrupt).await;
        }

        let (events, receiver) = rbx_request::events();
        let display = job.show.start(receiver);
        let built = build_and_load(&engine, prepared, loads, &events, &interrupt).await;
        // Whoever is still at work after an interruption is not waited for.
        events.end();
        let summary = display.await.unwrap_or_default();
        job.show.warnings(&summary);
        // Whatever came of it: where space is short, builds fail.
        *due = limits.is_some_and(|limits| engine.collection_due(&limits).unwrap_or(false));

        let (outcome, loaded) = built?;
        job.finish(&summary, outcome.result, &loaded)?;
        if let Some(why) = &loaded.left_out {
            job.show.note(&kept(context, prepared, &store, why));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Answers what is called for in the place of a build.
async fn answer(
    job: &Job<'_>,
    engine: &Engine,
    call: &Call,
    interrupt: &Interrupt,
) -> Result<ExitCode, CliError> {
    let request = &job.prepared.request;
    let (events, receiver) = rbx_request::events();
    let display = job.show.start(receiver);
    let answered = tokio::select! {
        done = engine.call(&call.name, request, &events, interrupt.engine()) => done.map_err(CliError::from),
        () = interrupt.overdue() => Err(BuildError::cancelled().into()),
    };
    events.end();
    let summary = display.await.unwrap_or_default();
    job.show.warnings(&summary);
    let answer = answered?;
    job.finish(
        &summary,
        BuildResult { metadata: metadata(&answer), ..BuildResult::default() },
        &Loaded::default(),
    )?;
    let printed = calls::print(call, &answer, &dockerfile_name(job))?;
    crate::cli::print(&printed.text)?;
    printed.ended.map(ExitCode::from)
}

/// What files of metadata have of an answer, as with `BuildKit`.
fn metadata(answer: &CallAnswer) -> Metadata {
    let json = answer.json.as_deref().and_then(|json| serde_json::from_str(json).ok());
    let text = answer.text.clone().map(Into::into);
    let parts = [("result.json", json), ("result.txt", text), ("version", Some("1.0.0".into()))];
    parts.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
}

/// The part of a build that progress is shown of.
async fn build_and_load(
    engine: &Arc<Engine>,
    prepared: &Prepared,
    loads: Vec<Found>,
    events: &EventSender,
    interrupt: &Interrupt,
) -> Result<(Outcome, Loaded), CliError> {
    let stdout: Stdout = Arc::new(Mutex::new(io::stdout()));
    let outcome = tokio::select! {
        done = engine.build(&prepared.request, events, interrupt.engine(), &stdout) => done?,
        () = interrupt.overdue() => return Err(BuildError::cancelled().into()),
    };
    let mut loaded = Loaded::default();
    for found in loads {
        let work = load::load(engine, &outcome, found, events, &mut loaded);
        tokio::select! {
            done = work => done?,
            () = interrupt.happened() => return Err(BuildError::cancelled().into()),
        }
    }
    Ok((outcome, loaded))
}

/// Where the image is that no Engine took, and how to take it out.
fn kept(context: &Context<'_>, prepared: &Prepared, store: &Path, why: &str) -> String {
    let names: Vec<String> = prepared.request.tags.iter().map(Reference::familiar).collect();
    let (is, it) = if names.len() > 1 { ("are", "them") } else { ("is", "it") };
    let kind = if prepared.request.platforms.len() > 1 { "oci" } else { "docker" };
    let words = context.called.args.iter().map(|word| quoted(word));
    let command: Vec<String> = std::iter::once(context.called.path.clone()).chain(words).collect();
    format!(
        "{} {is} in the image store at {} ({why}); take {it} out with: {} -o type={kind},dest=image.tar",
        names.join(", "),
        store.display(),
        command.join(" "),
    )
}

/// A word as a shell reads it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+./:,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// How much of its output a step may show. As for `BuildKit`, what is no number is passed over.
fn log_limits(env: &Env) -> LogLimits {
    let limit = |name: &str, standard: Option<u64>| match env.filled(name).map(str::parse::<i32>) {
        Some(Ok(number)) => u64::try_from(number).ok(),
        Some(Err(_)) | None => standard,
    };
    let standard = LogLimits::default();
    LogLimits {
        size: limit("BUILDKIT_STEP_LOG_MAX_SIZE", standard.size),
        speed: limit("BUILDKIT_STEP_LOG_MAX_SPEED", standard.speed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_output_are_those_of_buildkit() {
        let limits = |size: &str, speed: &str| {
            let env =
                Env::with(&[("BUILDKIT_STEP_LOG_MAX_SIZE", size), ("BUILDKIT_STEP_LOG_MAX_SPEED", speed)]);
            let LogLimits { size, speed } = log_limits(&env);
            (size, speed)
        };
        assert_eq!(limits("", "much"), (Some(2 << 20), Some(200 << 10)));
        assert_eq!(limits("-1", "99999999999"), (None, Some(200 << 10)));
        assert_eq!(limits("1000", "-1"), (Some(1000), None));
    }
}

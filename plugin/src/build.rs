//! `build`: from flags to a request, to the builder, to the files and lines that are left behind.

mod archives;
mod caches;
mod calls;
mod context;
mod daemon;
mod dry_run;
mod embedded;
mod foreign;
pub(crate) mod interrupt;
mod layers;
mod load;
mod outputs;
mod policies;
mod request;
mod results;
mod show;
mod steps;
mod vcs;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use rbx_driver::DriverKind;
use rbx_progress::Summary;
use rbx_request::BuildResult;

use crate::build::load::Loaded;
use crate::build::outputs::Target;
use crate::build::request::Prepared;
use crate::build::show::Show;
pub(crate) use crate::build::show::mode as progress_mode;
use crate::builders::{Selected, select, with_hint};
use crate::cli::Context;
use crate::cli::build::BuildArgs;
use crate::docker::Proxies;
use crate::env::Env;
use crate::errors::CliError;

/// Builds.
pub(crate) fn run(context: &Context<'_>, args: &BuildArgs) -> Result<ExitCode, CliError> {
    let ended = build(context, args);
    if let Err(error) = &ended {
        results::write_failure(error, args, context.env);
    }
    ended
}

/// What every builder needs to build.
struct Job<'a> {
    context: &'a Context<'a>,
    args: &'a BuildArgs,
    selected: Selected,
    prepared: Prepared,
    results: results::Files,
    show: Show,
    /// The program tells what it does.
    debug: bool,
}

fn build(context: &Context<'_>, args: &BuildArgs) -> Result<ExitCode, CliError> {
    let (env, called) = (context.env, context.called);
    for warning in args.old.warnings() {
        warn(warning);
    }
    let entries = request::parse(args, env)?;
    let results = results::Files::new(args, env)?;
    let selected = select(context, &args.common).map_err(with_hint)?;
    let debug = args.common.debug || context.common.debug || called.debug();
    let show = Show::new(args, env, &selected, debug)?;
    let proxies = Proxies::of(called, env)?;
    let target = Target { driver: selected.driver, default_load: selected.default_load() };
    let mut prepared = request::prepare(args, env, entries, &proxies, target, Box::new(io::stdin()))
        .map_err(CliError::of_build)?;
    if debug {
        log_debug();
    }
    prepared.request.labels.extend(vcs::labels(&prepared.request, env));
    let job = Job { context, args, selected, prepared, results, show, debug };
    match (job.selected.driver, &job.prepared.call) {
        (DriverKind::Embedded, _) => embedded::build(job),
        (_, Some(call)) if call.name == dry_run::NAME => dry_run::refuse(&job, call),
        _ => daemon::build(&job),
    }
}

impl Job<'_> {
    /// Writes what was asked for besides the outputs.
    fn finish(&self, summary: &Summary, mut result: BuildResult, loaded: &Loaded) -> Result<(), CliError> {
        if loaded.image_id.is_some() && loaded.image_id == result.image_digest {
            // Engines with containerd's store know the image by this digest alone.
            result.config_digest = None;
            result.metadata.remove("containerimage.config.digest");
        }
        // The ID that an Engine knows is of use there, and it knows no index that it did not take.
        let in_engine = loaded.image_id.as_deref().filter(|_| loaded.partial);
        let id = in_engine.or(result.config_digest.as_deref()).or(result.image_digest.as_deref());
        let id = id.unwrap_or_default();
        for note in &result.notes {
            self.show.note(note);
        }
        if self.prepared.print_id && self.prepared.call.is_none() {
            crate::cli::print(&format!("{id}\n"))?;
        }
        self.results.write(id, result.metadata.clone(), summary)
    }
}

/// Where the engine keeps everything.
pub(crate) fn store_root(env: &Env) -> Result<PathBuf, CliError> {
    let data = || env.path("XDG_DATA_HOME").or_else(|| env.home().map(|home| home.join(".local/share")));
    env.path("RBX_ROOT").or_else(|| data().map(|data| data.join("rbx"))).ok_or_else(|| {
        CliError::new("no directory for the image store").hint("set RBX_ROOT, XDG_DATA_HOME or HOME")
    })
}

/// Says something on standard error that is no part of progress.
pub(crate) fn warn(warning: &str) {
    let _ = writeln!(io::stderr(), "WARNING: {warning}");
}

/// Writes what the program does to standard error.
pub(crate) fn log_debug() {
    let filter = tracing_subscriber::EnvFilter::new(
        "warn,rbx_engine=debug,rbx_store=debug,rbx_registry=debug,rbx_driver=debug,rbx_sandbox=debug",
    );
    let _ =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(false).try_init();
}

//! Automatic collection of the store, after builds.
//!
//! A build asks whether there is something to do, which takes no time. If there is, another process does it, which
//! nobody waits for; it is the same program with a hidden command.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use rbx_engine::Storage;

use crate::build::{log_debug, store_root};
use crate::cli::Context;
use crate::docker::{RUN_BY_DOCKER, collection_limits};
use crate::errors::CliError;
use crate::rights::become_root;

/// The hidden command.
pub(crate) const COMMAND: &str = "gc";

/// Collects the store.
pub(crate) fn run(context: &Context<'_>) -> Result<ExitCode, CliError> {
    if context.common.debug || context.called.debug() {
        log_debug();
    }
    // Without these rights, what belongs to other ids of the user's stays.
    let _ = become_root(context.env);
    collect(context)?;
    Ok(ExitCode::SUCCESS)
}

fn collect(context: &Context<'_>) -> Result<(), CliError> {
    if let Some(limits) = collection_limits(context.called.config_dir(context.env).as_deref())? {
        let collect = |root: &Path| Storage::open(root)?.collect(&limits);
        collect(&store_root(context.env)?).map_err(crate::storage::failed)?;
    }
    Ok(())
}

/// Has the store collected by another process. With debugging it is done here and now, so that its log is seen.
/// What fails is no failure of the build.
pub(crate) fn start(context: &Context<'_>, root: &Path, debug: bool) {
    if debug {
        if let Err(error) = collect(context) {
            tracing::warn!(?error, "failed to collect the store");
        }
        return;
    }
    // By its path it may not be found: an ordinary user's build is in a mount namespace of its own.
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0(&context.env.program)
        .arg(COMMAND)
        .env_remove(RUN_BY_DOCKER)
        .env("RBX_ROOT", root)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // The user's Ctrl-C is for what comes next.
        .process_group(0);
    if let Some(directory) = context.called.config_dir(context.env) {
        command.env("DOCKER_CONFIG", directory);
    }
    if let Err(error) = command.spawn() {
        tracing::debug!(%error, "failed to start a collection of the store");
    }
}

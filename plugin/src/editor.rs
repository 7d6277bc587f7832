//! `lsp`: the language server, which builds with this very program.

use std::path::PathBuf;
use std::process::ExitCode;

use rbx_lsp::Surroundings;

use crate::cli::Context;
use crate::docker::registry_setup;

/// Runs the server on standard input and output.
pub(crate) fn serve(context: &Context<'_>) -> ExitCode {
    // By its path another version may be found one day.
    let own = if cfg!(target_os = "linux") {
        Some(PathBuf::from("/proc/self/exe"))
    } else {
        std::env::current_exe().ok()
    };
    let config = context.called.docker.config.as_ref().map(|path| context.env.cwd.join(path));
    let setup = registry_setup(context.called.config_dir(context.env).as_deref(), context.env);
    rbx_lsp::run(Surroundings { program: own, docker_config: config, setup, ..Surroundings::gather() })
}

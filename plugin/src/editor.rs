//! `lsp`: the language server, which builds with this very program.

use std::path::PathBuf;
use std::process::ExitCode;

use rbx_lsp::{Options, Surroundings};

use crate::cli::{Context, LspOptions};
use crate::docker::registry_setup;
use crate::errors::CliError;

/// Serves one client.
pub(crate) fn serve(context: &Context<'_>, args: &LspOptions) -> Result<ExitCode, CliError> {
    let wrong = |(text, _): (String, bool)| {
        let reason = text.lines().next().unwrap_or_default();
        CliError::new(reason.strip_prefix("ERROR: ").unwrap_or(reason))
    };
    let options = Options::read(args.words()).map_err(wrong)?;
    // By its path another version may be found one day.
    let own = if cfg!(target_os = "linux") {
        Some(PathBuf::from("/proc/self/exe"))
    } else {
        std::env::current_exe().ok()
    };
    let config = context.called.docker.config.as_ref().map(|path| context.env.cwd.join(path));
    let setup = registry_setup(context.called.config_dir(context.env).as_deref(), context.env);
    let surroundings = Surroundings { program: own, docker_config: config, setup, ..Surroundings::gather() };
    Ok(rbx_lsp::run(&options, surroundings))
}

//! What booting a builder takes from where this program runs.

use rbx_driver::Surroundings;

use super::github;
use crate::cli::Context;
use crate::docker::{emulation_settings, registry_config};
use crate::errors::CliError;

/// Gathers it from settings and environment.
pub(crate) fn surroundings(context: &Context<'_>) -> Result<Surroundings, CliError> {
    let env = context.env;
    let config_dir = context.called.config_dir(env);
    Ok(Surroundings {
        credentials: Some(registry_config(config_dir.as_deref(), env)?.credentials),
        qemu_directories: emulation_settings(config_dir.as_deref(), env)?.qemu_directories,
        wsl: env.filled("WSL_DISTRO_NAME").is_some(),
        github_context: github::context(env)?,
        ..Surroundings::default()
    })
}

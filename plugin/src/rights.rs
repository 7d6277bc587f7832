//! The rights that the store's files and steps need.

use rbx_sandbox::{Rights, SandboxError};

use crate::env::Env;

/// Where programs are where no `PATH` says so.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Becomes root as far as this user may: see [`rbx_sandbox::become_root`]. For commands that build or use the store,
/// before they start a thread.
pub(crate) fn become_root(env: &Env) -> Result<Rights, SandboxError> {
    rbx_sandbox::become_root(env.filled("PATH").unwrap_or(DEFAULT_PATH))
}

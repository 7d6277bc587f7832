//! `version`.

use rbx_platform::Platform;

/// The version of the program.
pub(crate) const VERSION: &str = concat!("v", env!("CARGO_PKG_VERSION"));

/// What `version` prints: the program, its version and what it was built for.
pub(crate) fn line() -> String {
    format!("docker-rbx {VERSION} {}\n", Platform::host())
}

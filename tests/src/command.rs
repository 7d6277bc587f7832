//! Commands in an environment of their own.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::parts::target_directory;
use crate::{Parts, User};

/// A program with nothing of the caller's environment but a `PATH` that has the parts first.
pub(crate) fn isolated(program: &Path, parts: &Parts, home: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", parts.path()).env("HOME", home).env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
    // Kept so that programs under test can be made to report coverage or more of what they do.
    for name in ["LLVM_PROFILE_FILE", "RUST_BACKTRACE", "TMPDIR"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// `docker-rbx` with a home, a configuration and a store of its own under `home`, and no Engine configured. Its
/// builder is the embedded one.
pub fn rbx(parts: &Parts, home: &Path) -> Command {
    let mut command = isolated(&rbx_program(), parts, home);
    embedded(command.env("DOCKER_CONFIG", home.join("config")), &home.join("store"));
    command
}

/// The same, run by a user; `home` is another directory of the user's.
pub fn rbx_as(user: &User, parts: &Parts, home: &Path) -> Command {
    let mut command = isolated(&User::runner(), parts, home);
    embedded(command.env("DOCKER_CONFIG", home.join("config")), &home.join("store"));
    user.run(&mut command, &rbx_program());
    command
}

/// Makes a command build with the embedded builder, whichever Engine is configured.
pub fn embedded<'a>(command: &'a mut Command, store: &Path) -> &'a mut Command {
    command.env("BUILDX_BUILDER", "embedded").env("RBX_ROOT", store)
}

/// The program docker-rbx: `$RBX_BIN`, else the one that was built beside the running test.
///
/// # Panics
///
/// If it was not built; the message has the command that does.
pub fn rbx_program() -> PathBuf {
    let program = std::env::var_os("RBX_BIN").map_or_else(
        || {
            let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
            target_directory().join(profile).join("docker-rbx")
        },
        PathBuf::from,
    );
    assert!(program.exists(), "{} is not built: run `cargo build -p docker-rbx`", program.display());
    program
}

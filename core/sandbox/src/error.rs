//! Why a step did not run.

use std::io;

/// Why a step did not run. A command that ran and failed is no error but an [`Exit`](crate::Exit).
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// This system or CPU has no sandbox.
    #[error("steps run in a sandbox only on Linux, on x86-64, arm64 and riscv64")]
    Unsupported,
    /// The system refuses what a sandbox needs.
    #[error("{reason}\n{remedy}")]
    Refused {
        /// What is refused, and by which setting where that can be told.
        reason: String,
        /// What to do about it: one line for the user.
        remedy: String,
    },
    /// An emulator cannot be registered: it is missing, no static program, or the kernel does not take it.
    #[error("an emulator cannot be used: {0}")]
    Emulator(String),
    /// The helper process could not be started.
    #[error("the sandbox helper did not start: {0}")]
    Start(#[source] io::Error),
    /// The helper process ended while steps were running or before they could be sent.
    #[error("the sandbox helper ended unexpectedly")]
    Lost,
    /// The step cannot be sent to the helper: a path that is not UTF-8.
    #[error("the step cannot be described: {0}")]
    Describe(#[source] serde_json::Error),
    /// The user or group of the step is not known in its root, in the words of BuildKit.
    #[error("{0}")]
    User(String),
    /// The step needs a user or group id that this process's user namespace does not have.
    #[error("{0}")]
    Ids(String),
    /// The command could not be executed, in the words of runc; BuildKit counts it as exit code 1.
    #[error("{0}")]
    Exec(String),
    /// A mount is to show a part of its source that is not there, in the words of BuildKit.
    #[error("{0}")]
    Source(String),
    /// The step's namespaces, mounts or limits could not be set up.
    #[error("{0}")]
    Setup(String),
}

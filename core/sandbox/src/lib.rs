//! Runs one build step in a sandbox of its own.
//!
//! A program that runs steps calls [`enter`] as the first thing in its `main` and starts a [`Helper`] when it has
//! something to run. The helper is the program's own executable, started again: a single-threaded process, first in
//! a PID namespace of its own, that takes [`Step`]s over a socket. For each it clones a process into new
//! namespaces, which mounts the step's root, gives up what Docker's default profile takes away and executes the
//! command. No daemon, no bundle on disk, no second executable.
//!
//! A helper that is given emulators runs steps for other CPUs, too: it registers them in a user namespace of its own,
//! and nothing of that is seen on the host.
//!
//! A process that is not root calls [`become_root`] before, while it has one thread.
//!
//! Everything in a root file system is hostile here: paths are resolved inside it one component at a time or by
//! `openat2`, through descriptors, and nothing of the host stays open when the command starts.

mod error;
mod run;
mod step;

pub use error::SandboxError;
pub use run::{Capabilities, Exit, Output, Rights};
pub use step::{
    ControlGroup, DeviceKind, Mount, MountKind, Network, Resources, Rlimit, RootFs, Security, Step,
};

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
mod seccomp;
#[cfg(target_os = "linux")]
pub use linux::{Helper, Killer, Running, become_root, enter, probe};

#[cfg(not(target_os = "linux"))]
mod unsupported;
#[cfg(not(target_os = "linux"))]
pub use unsupported::{Helper, Killer, Running, become_root, enter, probe};

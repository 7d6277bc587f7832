//! The sandbox on Linux, 5.15 or newer.
//!
//! [`owner`] is the caller's side, [`helper`] the process that takes steps, [`child`] what a step's own process does
//! before it becomes the command; [`root`] builds what it sees.

mod cgroup;
mod child;
mod command;
mod emulators;
mod failure;
mod first;
mod group;
mod helper;
mod identity;
mod limits;
mod mount;
mod oci;
mod owner;
mod probe;
mod protocol;
mod resolve;
mod root;
mod rootless;
mod sys;
mod user;

pub use helper::enter;
pub use owner::{Helper, Killer, Running};
pub use probe::probe;
pub use rootless::become_root;

/// The name a helper is started by; no other program is.
const MARKER: &str = "rbx-sandbox-helper";

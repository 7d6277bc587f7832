//! The `BuildKit` protocol: a client of its daemon, and the services that a daemon asks of its client.
//!
//! It knows no Docker. How a daemon is reached is handed in, as a [`Dial`].

mod client;
mod content;
mod details;
mod dial;
mod error;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod gateway;
mod id;
mod network;
mod proto;
mod solve;
mod status;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod usage;

pub mod build;
pub mod session;

pub use client::{Client, Device, GcPolicy, Version, Worker};
pub use dial::{Dial, Io};
pub use error::{Error, ErrorKind};
pub use usage::{PruneOptions, Usage};

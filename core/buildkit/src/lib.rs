//! The `BuildKit` protocol: a client of its daemon, and the services that a daemon asks of its client.
//!
//! It knows no Docker. How a daemon is reached is handed in, as a [`Dial`].

mod dial;
mod proto;

pub mod session;

pub use dial::{Dial, Io};

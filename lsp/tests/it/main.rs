//! The server as clients see it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod builds;
mod client;
mod findings;
mod hover;
mod neovim;
mod platforms;
mod protocol;

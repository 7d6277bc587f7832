//! The server as clients see it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod actions;
mod agreement;
mod builds;
mod client;
mod completion;
mod edits;
mod findings;
mod formatting;
mod hover;
mod neovim;
mod online;
mod outlook;
mod places;
mod platforms;
mod protocol;
mod pull;
mod renames;
mod robust;
mod scripts;
#[path = "../../../core/registry/tests/registry/server.rs"]
#[expect(dead_code, reason = "the tests of the client need more of it")]
mod server;
mod shapes;
mod tokens;
mod transports;
mod workspace;

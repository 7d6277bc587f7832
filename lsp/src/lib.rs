//! The language server for Dockerfiles.
//!
//! One task owns the documents ([`documents`]); the handlers ([`server`]) hand it what the client says, in the
//! order in which it was said, and answer from snapshots that it gives them. What is answered is worked out in
//! [`features`], which are functions of a snapshot. Builds ([`builds`]) are processes of their own, and nothing waits
//! for them.

mod builds;
mod capabilities;
mod checker;
mod commands;
mod configuration;
mod connection;
mod documents;
mod failures;
mod features;
mod files;
#[cfg(test)]
mod manifest;
mod meaning;
mod newest;
mod online;
mod outlook;
mod platforms;
mod publish;
mod pull;
mod scripts;
mod server;
mod surroundings;
mod text;

pub use connection::{Connection, Options};
pub use server::{Ended, run, serve};
pub use surroundings::Surroundings;

//! The language server for Dockerfiles.
//!
//! One task owns the documents ([`documents`]); the handlers ([`server`]) hand it what the client says, in the
//! order in which it was said, and answer from snapshots that it gives them. What is answered is worked out in
//! [`features`], which are functions of a snapshot. Builds ([`builds`]) are processes of their own, and nothing waits
//! for them.

mod builds;
mod capabilities;
mod commands;
mod configuration;
mod documents;
mod failures;
mod features;
#[cfg(test)]
mod manifest;
mod meaning;
mod online;
mod outlook;
mod platforms;
mod publish;
mod server;
mod surroundings;
mod text;

pub use server::{Ended, run, serve};
pub use surroundings::Surroundings;

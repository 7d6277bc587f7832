//! The language server for Dockerfiles.
//!
//! One task owns the documents ([`documents`]); the handlers ([`server`]) hand it what the client says, in the
//! order in which it was said, and answer from snapshots that it gives them. What is answered is worked out in
//! [`features`], which are functions of a snapshot.

mod documents;
mod features;
mod server;
mod text;

pub use server::{Ended, run, serve};

//! What is asked of a builder and what it answers: one request, one event stream.
//!
//! The command line, bake and the editor all make a [`BuildRequest`]; every driver takes it, emits the same
//! [`Event`]s while it works and ends with a [`BuildResult`]. The grammars of `--output`, `--cache-*`,
//! `--secret` and the others live beside the types they make, so that flags, bake files and editor settings
//! share them.

mod event;
mod request;
mod result;

pub use event::{Metadata, Event, EventSender, Log, ProgressGroup, Stream, Vertex, VertexStatus, Warning, events};
pub use request::{
    AddHost, Attestation, BuildRequest, CacheEntry, ContextSource, DockerfileSource, Network, NoCache, Output,
    OutputDestination, OutputKind, Secret, SecretSource, SshForward, Ulimit,
};
pub use result::BuildResult;

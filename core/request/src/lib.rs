//! What is asked of a builder and what it answers: one request, one event stream.
//!
//! The command line, bake and the editor all make a [`BuildRequest`]; every driver takes it, emits the same
//! [`Event`]s while it works and ends with a [`BuildResult`]. The grammars of `--output`, `--cache-*`,
//! `--secret` and the others live beside the types they make, so that flags, bake files and editor settings
//! share them.

mod cancel;
mod destination;
mod event;
mod failure;
mod features;
mod grammar;
mod received;
mod request;
mod result;
mod status;
mod stream;
mod words;

pub use cancel::{Cancel, Cancelled, Listening};
pub use destination::{DestinationError, NewFile, check_destination};
pub use event::{Event, Log, Metadata, ProgressGroup, Stream, Vertex, VertexStatus, Warning};
pub use failure::{Failure, FailureKind};
pub use features::Features;
pub use grammar::{
    Annotation, AnnotationKind, Call, FieldsError, GrammarError, LOCAL_DELETE, LayoutAddress, Lookup,
    MAX_SECRET_LEN, NumberError, OutputEntry, SecretEntry, SshEntry, fields, parse_bool, parse_contexts,
    parse_entitlements, parse_pairs, parse_platforms, parse_resources, parse_size,
};
pub use received::parse_status;
pub use request::{
    AddHost, ArchiveStream, Attestation, BuildRequest, CacheEntry, ContextSource, DockerfileSource, Network,
    NoCache, Output, OutputDestination, OutputKind, Secret, SecretSource, SshForward, Stdout, Ulimit,
};
pub use result::{BuildFailure, BuildResult, CallAnswer, SourceRange};
pub use status::{SolveStatus, solve_status};
pub use stream::{EventReceiver, EventSender, events};
pub use words::{in_words, reason};

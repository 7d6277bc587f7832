//! Why a build failed.

use crate::cancel::Cancelled;
use crate::result::SourceRange;
use crate::words::in_words;

/// Why a build failed: the reason, where in the Dockerfile, and what might help.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{reason}")]
pub struct Failure {
    /// What kind of failure it is.
    pub kind: FailureKind,
    /// The reason, in one line.
    pub reason: String,
    /// The part of the Dockerfile it is about.
    pub source_range: Option<Box<SourceRange>>,
    /// Other parts that it is about: of the same text, or of others, such as where one step stands in two places.
    pub more_ranges: Vec<SourceRange>,
    /// The step that failed, as progress names it.
    pub step: Option<String>,
    /// What the user can do about it.
    pub hint: Option<String>,
}

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The request, the Dockerfile or the context is wrong, or asks for what the builder cannot do.
    Invalid,
    /// A step ended with this exit code.
    Step(i32),
    /// The machine, a daemon, the store or a registry failed.
    Failed,
    /// The daemon that builds is gone, or the connection to it.
    Lost,
    /// A daemon failed where it should not have (gRPC's `Internal`).
    Internal,
    /// A daemon has too little of something (gRPC's `ResourceExhausted`).
    Exhausted,
    /// The build was cancelled.
    Cancelled,
}

impl From<Cancelled> for Failure {
    fn from(error: Cancelled) -> Self {
        Self::new(FailureKind::Cancelled, error.to_string())
    }
}

impl Failure {
    /// A failure that is its reason, in which the system's words are as Go has them.
    pub fn new(kind: FailureKind, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        // What a step says is its own.
        let reason = match kind {
            FailureKind::Step(_) => reason,
            _ => in_words(&reason).into_owned(),
        };
        Self { kind, reason, source_range: None, more_ranges: Vec::new(), step: None, hint: None }
    }
}

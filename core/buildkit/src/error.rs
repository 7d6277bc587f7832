//! What goes wrong between a client and a daemon.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use prost::Message;
use rbx_request::{Failure, FailureKind};
use tonic::{Code, Status};

use crate::details::Details;
use crate::proto::rpc;

/// The most that is taken of a daemon's message.
const REASON: usize = 64 << 10;

/// What goes wrong between a client and a daemon: the daemon cannot be reached, does not answer, is lost, or
/// answers with an error.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{reason}")]
pub struct Error {
    kind: ErrorKind,
    reason: String,
    /// The daemon's own words, to be passed on.
    status: rpc::Status,
    details: Box<Details>,
}

/// What kind of error it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The daemon could not be reached.
    Unreachable,
    /// The daemon did not answer in time.
    Silent,
    /// The connection to the daemon was lost.
    Lost,
    /// The daemon answered with an error of this code.
    Answer(Code),
}

impl Error {
    fn new(kind: ErrorKind, reason: String) -> Self {
        let code = if let ErrorKind::Answer(code) = kind { code } else { Code::Unavailable };
        let status = rpc::Status { code: code.into(), message: reason.clone(), details: Vec::new() };
        Self { kind, reason, status, details: Box::default() }
    }

    pub(crate) fn dial(error: &io::Error) -> Self {
        Self::new(ErrorKind::Unreachable, root(error))
    }

    /// The channel could not be made.
    pub(crate) fn transport(error: impl StdError + 'static) -> Self {
        Self::new(ErrorKind::Unreachable, root(&error))
    }

    pub(crate) fn session(error: &hyper::Error) -> Self {
        Self::lost_by(error)
    }

    pub(crate) fn lost(reason: &str) -> Self {
        Self::new(ErrorKind::Lost, reason.to_owned())
    }

    /// The connection ended by this.
    fn lost_by(error: &(dyn StdError + 'static)) -> Self {
        let is_end = |error| end_of_connection(error).is_some_and(is_hung_up);
        let closed = causes(error).any(is_end);
        let cause = if closed { "it was closed at the other end".to_owned() } else { root(error) };
        Self::lost(&format!("lost the connection to the builder: {cause}"))
    }

    /// What a daemon answered makes no sense.
    pub(crate) fn answer(reason: &str) -> Self {
        Self::new(ErrorKind::Answer(Code::DataLoss), reason.to_owned())
    }

    pub(crate) fn silent(patience: Duration) -> Self {
        let reason = format!("the builder does not answer: nothing came in {} s", patience.as_secs());
        Self::new(ErrorKind::Silent, reason)
    }

    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether the daemon does not know what it was asked.
    pub(crate) fn is_unimplemented(&self) -> bool {
        self.kind == ErrorKind::Answer(Code::Unimplemented)
    }

    /// Whether these are the daemon's own words.
    pub(crate) fn is_answer(&self) -> bool {
        matches!(self.kind, ErrorKind::Answer(_))
    }

    /// What the daemon said about it besides its message.
    pub(crate) fn details(&self) -> &Details {
        &self.details
    }

    /// The error as it is passed on to a daemon.
    pub(crate) fn into_status(self) -> rpc::Status {
        self.status
    }

    /// The end of a build. `step` names a vertex by its digest.
    pub(crate) fn into_failure(self, step: impl Fn(&str) -> Option<String>) -> Failure {
        let kind = match self.kind {
            ErrorKind::Answer(Code::Internal) => FailureKind::Internal,
            ErrorKind::Answer(Code::ResourceExhausted) => FailureKind::Exhausted,
            ErrorKind::Answer(Code::InvalidArgument) => FailureKind::Invalid,
            ErrorKind::Answer(_) => match self.details.exit_code.or_else(|| exit_code(&self.reason)) {
                Some(code) => FailureKind::Step(code),
                None => FailureKind::Failed,
            },
            ErrorKind::Unreachable | ErrorKind::Silent | ErrorKind::Lost => FailureKind::Lost,
        };
        let step = self.details.vertex.as_deref().and_then(step);
        let mut sources = self.details.sources.into_iter();
        Failure {
            source_range: sources.next().map(Box::new),
            more_ranges: sources.collect(),
            step,
            ..Failure::new(kind, self.reason)
        }
    }
}

/// What ends a build before the daemon knows of it.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        error.into_failure(|_| None)
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        // What a daemon answers has no source; what the connection met has one.
        if let Some(source) = status.source() {
            if causes(source).any(<dyn StdError>::is::<tonic::ConnectError>) {
                return Self::new(ErrorKind::Unreachable, root(source));
            }
            return Self::lost_by(source);
        }
        let mut full = rpc::Status::decode(status.details()).unwrap_or_default();
        if full.message.is_empty() {
            status.message().clone_into(&mut full.message);
        }
        full.code = status.code().into();
        let mut error = Self::new(ErrorKind::Answer(status.code()), plain(status.message()));
        if error.reason.is_empty() {
            error.reason = status.code().description().to_lowercase();
        }
        error.details = Box::new(Details::read(&full));
        error.status = full;
        error
    }
}

/// An error and what it came from.
fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

/// What the system said of a connection, where that is this error.
fn end_of_connection(error: &(dyn StdError + 'static)) -> Option<io::ErrorKind> {
    let of_http = error.downcast_ref::<h2::Error>().and_then(h2::Error::get_io);
    of_http.or_else(|| error.downcast_ref::<io::Error>()).map(io::Error::kind)
}

/// Whether a connection that is no more ends like this: each kind of connection says it in words of its own.
fn is_hung_up(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(kind, BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

/// The innermost reason of an error: those around it say only that something did not work.
fn root(error: &(dyn StdError + 'static)) -> String {
    causes(error).last().unwrap_or(error).to_string()
}

/// A daemon's message as people read it: the reason first, without what programs put before it, and without
/// characters that do something to a terminal.
fn plain(message: &str) -> String {
    let message =
        without_codes(message.get(..message.floor_char_boundary(REASON)).unwrap_or_default().to_owned());
    let mut rest = message.as_str();
    while let Some(inner) = unwrapped(rest) {
        rest = inner;
    }
    let harmless = |char: &char| !char.is_control() || matches!(char, '\n' | '\t');
    rest.trim_end().chars().filter(harmless).collect()
}

/// A message without what gRPC puts before each one that went through a connection.
pub(crate) fn without_codes(mut message: String) -> String {
    while let Some(start) = message.find("rpc error: code = ") {
        let Some(end) = message[start..].find(" desc = ").map(|at| start + at + " desc = ".len()) else {
            break;
        };
        message.replace_range(start..end, "");
    }
    message
}

/// What comes after words that say nothing but that something went wrong.
fn unwrapped(message: &str) -> Option<&str> {
    const WRAPPINGS: [&str; 5] = [
        "failed to solve: ",
        "failed to run Build function: ",
        "failed to compute cache key: ",
        "failed to load cache key: ",
        "failed to build LLB: ",
    ];
    if let Some(rest) = WRAPPINGS.iter().find_map(|wrapping| message.strip_prefix(wrapping)) {
        return Some(rest);
    }
    let (_, rest) = message.strip_prefix("failed to calculate checksum of ref ")?.split_once(": ")?;
    Some(rest)
}

/// The exit code of a step, which older daemons say in their message only.
fn exit_code(reason: &str) -> Option<i32> {
    let (_, code) = reason.split_once("did not complete successfully: exit code: ")?;
    let end = code.find(|char: char| !char.is_ascii_digit()).unwrap_or(code.len());
    code[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn messages_begin_with_the_reason() {
        let cases = [
            ("no", "no"),
            ("failed to solve: failed to compute cache key: \"/x\": not found", "\"/x\": not found"),
            ("failed to calculate checksum of ref a::b: \"/x\": not found", "\"/x\": not found"),
            (
                "failed to load cache key: rpc error: code = Unknown desc = failed to solve: a: rpc error: code = \
                 NotFound desc = b",
                "a: b",
            ),
            ("rpc error: code = Unknown", "rpc error: code = Unknown"),
            ("a\u{1b}[31mb\r\n\tc\n", "a[31mb\n\tc"),
        ];
        for (message, expected) in cases {
            assert_eq!(plain(message), expected);
        }
        assert_eq!(Error::from(Status::not_found("")).to_string(), "some requested entity was not found");
    }

    #[test]
    fn codes_become_kinds() {
        let kind = |code, message: &str| Error::from(Status::new(code, message)).into_failure(|_| None).kind;
        let ended = "process \"/bin/sh -c x\" did not complete successfully: exit code: 3: no";
        assert_eq!(kind(Code::Unknown, ended), FailureKind::Step(3));
        assert_eq!(kind(Code::Unknown, "no"), FailureKind::Failed);
        assert_eq!(kind(Code::Internal, "no"), FailureKind::Internal);
        assert_eq!(kind(Code::ResourceExhausted, "no"), FailureKind::Exhausted);
        assert_eq!(kind(Code::InvalidArgument, "no"), FailureKind::Invalid);
    }

    proptest! {
        #[test]
        fn any_message_is_made_plain(message in "(rpc error: code = | desc = |failed to solve: |.){0,20}") {
            let plain = plain(&message);
            prop_assert!(!plain.chars().any(|char| char.is_control() && char != '\n' && char != '\t'));
        }
    }
}

//! What can go wrong between us and a registry.

use std::error::Error;
use std::time::Duration;

use rbx_oci::DocumentError;

/// Why a registry did not give what was asked for. Texts begin with the reason and name what was asked, the host
/// that answered, and the credentials that were used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The registry has no such repository, tag, manifest or blob.
    #[error("not found: {what} at {host}{}", detail(message))]
    NotFound {
        /// What was asked for, such as `docker.io/library/alpine:latest`.
        what: String,
        /// The host that answered.
        host: String,
        /// What the registry said; may be empty.
        message: String,
    },
    /// The registry wants other credentials than it was given, or hides that there is no such repository.
    #[error(
        "{access} access denied, repository does not exist or may require authorization: {what} at {host}{} ({credentials})",
        detail(message)
    )]
    Denied {
        /// `pull` or `push`.
        access: &'static str,
        /// What was asked for.
        what: String,
        /// The host that answered.
        host: String,
        /// What the registry said; may be empty.
        message: String,
        /// Which credentials were used, in words.
        credentials: String,
    },
    /// The registry's token server refused the credentials themselves.
    #[error("incorrect username or password: {host} answered {status}{} ({credentials})", detail(message))]
    BadCredentials {
        /// The host of the token server.
        host: String,
        /// The HTTP status.
        status: u16,
        /// What the server said; may be empty.
        message: String,
        /// Which credentials were used, in words.
        credentials: String,
    },
    /// Too many requests, and waiting as long as is sensible did not help.
    #[error("too many requests: {what} at {host}{}{} ({credentials})", detail(message), later(*.retry_after))]
    RateLimited {
        /// What was asked for.
        what: String,
        /// The host that answered.
        host: String,
        /// What the registry said; may be empty.
        message: String,
        /// When the registry said to come again.
        retry_after: Option<Duration>,
        /// Which credentials were used, in words.
        credentials: String,
    },
    /// An answer the distribution protocol does not foresee, or an error of the registry's own.
    #[error("unexpected status {status}: {what} at {host}{}", detail(message))]
    Status {
        /// What was asked for.
        what: String,
        /// The host that answered; after a redirect, not the registry's own.
        host: String,
        /// The HTTP status.
        status: u16,
        /// What the server said; may be empty.
        message: String,
    },
    /// No answer: the name does not resolve, nobody listens, the connection broke, TLS failed, time ran out.
    #[error("cannot reach {host}: {}: {what}", root_cause(source.as_ref()))]
    Unreachable {
        /// What was asked for.
        what: String,
        /// The host.
        host: String,
        /// The cause.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The bytes are not those that were asked for.
    #[error("digest mismatch: {what} at {host}: got {actual}")]
    DigestMismatch {
        /// What was asked for.
        what: String,
        /// The host that answered.
        host: String,
        /// The digest of what came.
        actual: String,
    },
    /// More or fewer bytes than the descriptor says.
    #[error("size mismatch: {what} at {host}: expected {expected} bytes, got {actual}")]
    SizeMismatch {
        /// What was asked for.
        what: String,
        /// The host that answered.
        host: String,
        /// Bytes by the descriptor.
        expected: u64,
        /// Bytes that came, or were announced; where too many came, those until it was noticed.
        actual: u64,
    },
    /// The transfer broke off again and again.
    #[error("transfer cut short: {what} at {host}: {received} of {size} bytes")]
    CutShort {
        /// What was asked for.
        what: String,
        /// The host that answered.
        host: String,
        /// Bytes that came.
        received: u64,
        /// Bytes by the descriptor.
        size: u64,
        /// Why the last attempt ended, if not by a regular end of the answer.
        source: Option<Box<dyn Error + Send + Sync>>,
    },
    /// A manifest larger than the 4 MiB that registries allow.
    #[error("manifest too large: {what} at {host}: more than {limit} bytes")]
    TooLarge {
        /// What was asked for.
        what: String,
        /// The host that answered.
        host: String,
        /// The bound in bytes.
        limit: u64,
    },
    /// A manifest that is none.
    #[error("{source}: {what} at {host}")]
    InvalidManifest {
        /// What was asked for.
        what: String,
        /// The host that answered.
        host: String,
        /// What is wrong with it.
        source: DocumentError,
    },
    /// The registry asks for an authentication that cannot be done, or its token server does not follow the protocol.
    #[error("cannot authenticate: {reason}: {host}")]
    Authentication {
        /// The host that asked, or the token server.
        host: String,
        /// What is wrong.
        reason: String,
    },
    /// The origin failed, and so did every mirror before it.
    #[error("{origin}; mirrors tried first: {}", mirrors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Mirrors {
        /// The origin's error.
        #[source]
        origin: Box<Self>,
        /// The mirrors' errors, in the order they were tried.
        mirrors: Vec<Self>,
    },
    /// What was to be pushed cannot be read, or is not what its descriptor says.
    #[error("{source}: failed to read what was to be pushed: {what}")]
    Content {
        /// The repository and the digest.
        what: String,
        /// What is wrong.
        source: std::io::Error,
    },
    /// Something in [`Config`](crate::Config) or in a reference cannot be used.
    #[error("invalid configuration: {reason}")]
    Configuration {
        /// What is wrong.
        reason: String,
    },
}

impl RegistryError {
    /// Whether the registry answered that it has no such thing.
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::NotFound { .. } => true,
            Self::Mirrors { origin, .. } => origin.is_not_found(),
            _ => false,
        }
    }
}

/// What a server said, ready to be appended.
fn detail(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

fn later(retry_after: Option<Duration>) -> String {
    retry_after.map_or_else(String::new, |wait| format!(", try again in {} s", wait.as_secs()))
}

/// The innermost cause, which is the one that tells people something: `Connection refused`, not `error sending
/// request for url`.
pub(crate) fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// Why credentials could not be read.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// The file is there and cannot be read.
    #[error("{reason}: {path}")]
    Read {
        /// The file.
        path: String,
        /// What the system says.
        reason: String,
    },
    /// The content is not docker's `config.json`.
    #[error("invalid credentials configuration: {reason}: {origin}")]
    Parse {
        /// The file, or `DOCKER_AUTH_CONFIG`.
        origin: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A credential helper is not there, failed, or does not follow the protocol.
    #[error("{reason}: credential helper {helper}")]
    Helper {
        /// The program's name, `docker-credential-…`.
        helper: String,
        /// What is wrong.
        reason: String,
    },
}

/// Why it cannot be read how registries are reached.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The credentials cannot be read.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The settings of registries cannot be read.
    #[error("{reason}: failed to read {path}")]
    Settings {
        /// What the system says, or what is wrong with the content.
        reason: String,
        /// The file.
        path: String,
    },
}

//! What can go wrong with a driver.

use std::error::Error;
use std::path::PathBuf;

/// Why a driver could not do what was asked. The wording is that of docker's CLI where it has one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DriverError {
    /// `--host` and `--context` both name an endpoint.
    #[error("conflicting options: cannot specify both --host and --context")]
    Conflict,
    /// There is no such context.
    #[error("context {name:?}: context not found: {path}", path = path.display())]
    ContextNotFound {
        /// The context.
        name: String,
        /// The file that should describe it.
        path: PathBuf,
    },
    /// A file of docker's configuration cannot be read, or is not what it should be.
    #[error("{reason}: {path}", path = path.display())]
    Configuration {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The context has no Docker endpoint.
    #[error("cannot find docker endpoint in context {0:?}")]
    NoEndpoint(String),
    /// Not the address of an Engine.
    #[error("invalid bind address format: {0}")]
    InvalidHost(String),
    /// The address of an Engine, in a way that this program cannot go.
    #[error("{reason}: {host}")]
    UnsupportedHost {
        /// The address.
        host: String,
        /// What is not supported.
        reason: &'static str,
    },
    /// Nobody answers.
    #[error("Cannot connect to the Docker daemon at {host}. Is the docker daemon running?")]
    Unavailable {
        /// The address.
        host: String,
        /// The cause.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The socket is not this user's.
    #[error("permission denied while trying to connect to the Docker daemon socket at {host}")]
    PermissionDenied {
        /// The address.
        host: String,
        /// The cause.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The Engine answered that it cannot.
    #[error("{message}: Docker daemon at {host}")]
    Engine {
        /// The address.
        host: String,
        /// What it said.
        message: String,
    },
    /// The archive to load could not be read or sent to its end.
    #[error("cannot load the image: {cause}: Docker daemon at {host}")]
    Load {
        /// The address.
        host: String,
        /// Why, in words.
        cause: String,
        /// The cause.
        source: Box<dyn Error + Send + Sync>,
    },
}

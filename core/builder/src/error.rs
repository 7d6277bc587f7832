//! What can go wrong with builders.

use std::io;
use std::path::{Path, PathBuf};

use rbx_driver::{DriverError, DriverKind};

/// Why something could not be done with a builder. The words are buildx's where it has words.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuilderError {
    /// There is no builder of that name.
    #[error("no builder {0:?} found")]
    NotFound(String),
    /// There is no builder of that name among those that were created.
    #[error("failed to find instance {name:?}: open {path}: no such file or directory", path = path.display())]
    NoInstance {
        /// The name.
        name: String,
        /// The file it would be in.
        path: PathBuf,
    },
    /// Not a name for builders and nodes.
    #[error("invalid name {0}, name needs to start with a letter and may not contain symbols, except ._-")]
    InvalidName(String),
    /// What was asked for makes no sense, or not with what is there; the message says which and why.
    #[error("{0}")]
    Refused(String),
    /// A node cannot be as it was described.
    #[error("failed to initialize builder {builder} ({node}): {reason}")]
    Node {
        /// The builder.
        builder: String,
        /// The node.
        node: String,
        /// What is wrong with it.
        reason: String,
    },
    /// This program does not have the driver for it yet.
    #[error("the {driver} driver cannot {what} yet")]
    NotThere {
        /// The driver.
        driver: DriverKind,
        /// What it would have to do.
        what: &'static str,
    },
    /// A file of the state cannot be read or written, or is not what it should be.
    #[error("{reason}: {path}", path = path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// docker's configuration or an Engine.
    #[error(transparent)]
    Driver(#[from] DriverError),
}

impl BuilderError {
    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self::Refused(message.into())
    }

    pub(crate) fn io(path: &Path, error: &io::Error) -> Self {
        Self::State { path: path.to_owned(), reason: error.to_string() }
    }
}

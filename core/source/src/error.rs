//! What can go wrong on the way to a source.

use std::error::Error;
use std::io;

/// Why a file or a repository could not be brought here. Texts begin with the reason and name the address, without
/// the password that may be in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// An address that no request can be made of.
    #[error("invalid address: {reason}: {url}")]
    Address {
        /// The address.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The server could not be reached, or the transfer broke off.
    #[error("{}: failed to fetch {url}", root_cause(source))]
    Transfer {
        /// The address.
        url: String,
        /// Why.
        source: reqwest::Error,
    },
    /// The server answered with a status that is no success.
    #[error("invalid response status {status}: failed to fetch {url}")]
    Status {
        /// The HTTP status.
        status: u16,
        /// The address.
        url: String,
    },
    /// The file is larger than is taken, or than there is space for.
    #[error("file is too large, {reason}: {url}")]
    TooLarge {
        /// What it does not fit into.
        reason: String,
        /// The address.
        url: String,
    },
    /// What was fetched could not be written, or not be unpacked as its encoding says.
    #[error("{reason}: failed to write {url}", reason = plain(source))]
    Write {
        /// The address.
        url: String,
        /// Why.
        source: io::Error,
    },
    /// There is no git to run.
    #[error("git is not installed: failed to fetch remote {remote}")]
    NoGit {
        /// The repository.
        remote: String,
    },
    /// A command of git's failed.
    #[error("{reason}: {task}")]
    Git {
        /// What it was for, in words.
        task: String,
        /// What git said, in one line.
        reason: String,
        /// All that git said.
        stderr: String,
    },
    /// git answered with what no repository has, or was silent for too long.
    #[error("{reason}: {remote}")]
    Repository {
        /// What is wrong.
        reason: String,
        /// The repository.
        remote: String,
    },
}

impl SourceError {
    /// Whether what was fetched before is the reason: a repository that is damaged, or whose references stand in the
    /// way of new ones. With an empty one the same may succeed.
    pub fn blames_repository(&self) -> bool {
        const SIGNS: [&str; 12] = [
            "bad object",
            "cannot lock ref",
            "corrupt",
            "could not be updated",
            "loose object",
            "missing blob",
            "missing tree",
            "not a git repository",
            "shallow file",
            "unable to read",
            "unable to update local ref",
            "would clobber",
        ];
        matches!(self, Self::Git { stderr, .. } if SIGNS.iter().any(|sign| stderr.contains(sign)))
    }
}

pub(crate) fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    match cause.downcast_ref::<io::Error>() {
        Some(error) => plain(error),
        None => cause.to_string(),
    }
}

/// An error of the system without its number, in lower case.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let reason = text.split_once(" (os error ").map_or(text.as_str(), |(reason, _)| reason);
    reason.to_lowercase()
}

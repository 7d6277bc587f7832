//! What a build names by address, brought here: files over HTTP, and git repositories.
//!
//! This knows no Dockerfile, no plan and no store. It asks servers, writes into files and directories that it is
//! given, and says what it found; who calls it decides what is kept, under which name, and for how long.
//!
//! - [`Http`] fetches a file, or learns that the one at hand is still the same.
//! - [`GitAddress`] is an address of a repository in any form that BuildKit takes; [`Git`] finds out which commit it
//!   means, brings that commit into a bare repository, and lays its files out.
//!
//! Servers and repositories are hostile: sizes and times are bounded, git runs without any configuration but the one
//! given here, and no address or name of a reference can become an option of a command.

mod address;
mod error;
mod git;
mod http;

pub use address::{GitAddress, GitAddressError};
pub use error::SourceError;
pub use git::{Checkout, Git, GitAccess, GitCommit, GitConfig, SshAccess};
pub use http::{Authorization, Http, HttpAnswer, HttpFile, MAX_SIZE, Saved, file_name, redacted};

//! What can go wrong in the store.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rbx_oci::Digest;
use rusqlite::ErrorCode;
use rustix::io::Errno;

use crate::LayerId;

/// A failure of the store. Cached things that are missing are no failure: look-ups say `None`.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system refused.
    #[error("{action} {}", path.display())]
    Io {
        /// What was tried, such as `cannot create`.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The database refused or is damaged.
    #[error("cannot use the store's database {}", path.display())]
    Database {
        /// The database.
        path: PathBuf,
        /// Why not.
        #[source]
        source: rusqlite::Error,
    },
    /// Another version of the program made the store.
    #[error("the store is of another format ({found}, this program knows {known}): {}", path.display())]
    Format {
        /// The database.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The format known here.
        known: i64,
    },
    /// The store belongs to another user.
    #[error("the store belongs to user {owner}, this is user {user}: {}", path.display())]
    Owner {
        /// The store's directory.
        path: PathBuf,
        /// Who made it.
        owner: u32,
        /// Who asks.
        user: u32,
    },
    /// The store's trees were made under other user and group ids.
    #[error("the store's trees have the ids of another id map ({recorded}, now {given}): {}", path.display())]
    IdMap {
        /// The store's directory.
        path: PathBuf,
        /// The map recorded at first use.
        recorded: String,
        /// The map asked for.
        given: String,
    },
    /// A file of the store is not what was written.
    #[error("damaged: {reason}: {}", path.display())]
    Damaged {
        /// The file, or the database.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// What arrived is not what was announced.
    #[error("got {actual} ({actual_size} bytes), expected {expected} ({expected_size} bytes)")]
    Mismatch {
        /// The digest announced.
        expected: Digest,
        /// The size announced.
        expected_size: u64,
        /// The digest of what arrived.
        actual: Digest,
        /// Its size.
        actual_size: u64,
    },
    /// A blob larger than its reader allows.
    #[error("{size} bytes where at most {limit} are allowed: {digest}")]
    TooLarge {
        /// The blob.
        digest: Digest,
        /// Its size.
        size: u64,
        /// The reader's limit.
        limit: u64,
    },
    /// A layer that is not, or no longer, in the store.
    #[error("no such layer in the store: {0}")]
    NoLayer(LayerId),
    /// Members that a layer is said to consist of are not in the store.
    #[error("{missing} of {total} members are not in the store, of layer {layer}")]
    NoMembers {
        /// The layer.
        layer: LayerId,
        /// How many members are missing.
        missing: usize,
        /// Of how many.
        total: usize,
    },
}

impl StoreError {
    /// Whether the database is no database any more.
    pub fn is_damage(&self) -> bool {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        let Self::Database { source, .. } = self else { return false };
        matches!(source.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
    }

    /// Whether the store may not be written here, or not by this user.
    pub fn is_refusal(&self) -> bool {
        use rusqlite::ErrorCode::{CannotOpen, PermissionDenied, ReadOnly};
        match self {
            Self::Database { source, .. } => {
                matches!(source.sqlite_error_code(), Some(CannotOpen | PermissionDenied | ReadOnly))
            }
            Self::Io { source, .. } => {
                matches!(source.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied)
            }
            _ => false,
        }
    }

    pub(crate) fn io(action: &'static str, path: impl AsRef<Path>, source: impl Into<io::Error>) -> Self {
        Self::Io { action, path: path.as_ref().to_owned(), source: source.into() }
    }

    /// A failure of the database, which has words of its own for a disk that is full, or none.
    pub(crate) fn database(path: &Path, source: rusqlite::Error) -> Self {
        let full = match source.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => true,
            Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) => is_full(path),
            _ => false,
        };
        if full {
            return Self::io("cannot use the store's database", path, Errno::NOSPC);
        }
        Self::Database { path: path.to_owned(), source }
    }

    /// Whether the disk is full, or the user's part of it.
    pub fn is_no_space(&self) -> bool {
        matches!(self, Self::Io { source, .. }
            if matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded))
    }

    pub(crate) fn damaged(path: impl AsRef<Path>, reason: impl Into<String>) -> Self {
        Self::Damaged { path: path.as_ref().to_owned(), reason: reason.into() }
    }
}

/// Whether nothing more can be written or created beside a file.
fn is_full(path: &Path) -> bool {
    let directory = path.parent().unwrap_or(path);
    rustix::fs::statvfs(directory).is_ok_and(|disk| {
        disk.f_bavail.saturating_mul(disk.f_frsize) < 1 << 16 || disk.f_files > 0 && disk.f_favail == 0
    })
}

/// A failure inside a transaction, which does not know the database's path.
#[derive(Debug)]
pub(crate) enum TxError {
    Sql(rusqlite::Error),
    Store(StoreError),
}

impl From<rusqlite::Error> for TxError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<StoreError> for TxError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl TxError {
    pub(crate) fn at(self, path: &Path) -> StoreError {
        match self {
            Self::Sql(source) => StoreError::database(path, source),
            Self::Store(error) => error,
        }
    }
}

//! Why a build failed.

use std::io;
use std::ops::Deref;
use std::path::Path;

use rbx_request::{Cancelled, Failure, FailureKind, SourceRange, in_words, reason};
use rbx_store::{LayerId, StoreError};

/// A layer could not be made, read or laid out.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// A file of the context or of a stage could not be read, or changed meanwhile.
    #[error("{}: failed to read /{path}", reason(source))]
    Read {
        /// The file, inside its root.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A file could not be written into the store.
    #[error("{}: failed to write /{path}", reason(source))]
    Write {
        /// The file, inside its root.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A layer's archive could not be read.
    #[error("{reason}: failed to unpack layer {layer}")]
    Archive {
        /// The layer's digest.
        layer: String,
        /// Why.
        reason: String,
    },
    /// The store lost what a record of it speaks of.
    #[error("a layer is no longer in the store, build again to have it made anew: {0}")]
    Missing(LayerId),
    /// Something in the store does not say what it should.
    #[error("a layer in the store is damaged, build again to have it made anew")]
    Damaged,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The build was cancelled.
    #[error("context canceled")]
    Cancelled,
}

impl LayerError {
    pub(crate) fn read(path: &[u8], source: io::Error) -> Self {
        Self::Read { path: String::from_utf8_lossy(path).into_owned(), source }
    }

    pub(crate) fn write(path: &[u8], source: io::Error) -> Self {
        Self::Write { path: String::from_utf8_lossy(path).into_owned(), source }
    }
}

/// Why a build failed: the reason, where in the Dockerfile, and what might help.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", .0.reason)]
pub struct BuildError(Box<Failure>);

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        *error.0
    }
}

impl From<Failure> for BuildError {
    fn from(failure: Failure) -> Self {
        Self(Box::new(failure))
    }
}

impl Deref for BuildError {
    type Target = Failure;

    fn deref(&self) -> &Failure {
        &self.0
    }
}

/// What systems say of a full disk, and what everybody else does.
const SYSTEM_FULL: &str = "No space left on device";
const FULL: &str = "no space left on device";

/// What is said where this engine cannot do a thing yet.
pub(crate) const INSTEAD: &str = "`docker buildx build` can do this, with a BuildKit builder";

impl From<Cancelled> for BuildError {
    fn from(_: Cancelled) -> Self {
        Self::cancelled()
    }
}

impl BuildError {
    /// The user asked for something that cannot be.
    pub(crate) fn invalid(reason: impl Into<String>) -> Self {
        Self::new(FailureKind::Invalid, reason)
    }

    /// Something failed that the user did not ask for.
    pub(crate) fn failed(reason: impl std::fmt::Display) -> Self {
        Self::new(FailureKind::Failed, reason.to_string())
    }

    /// The build was ended before it was done.
    pub fn cancelled() -> Self {
        Self::new(FailureKind::Cancelled, Cancelled.to_string())
    }

    pub(crate) fn new(kind: FailureKind, reason: impl Into<String>) -> Self {
        let mut reason = reason.into();
        if !matches!(kind, FailureKind::Step(_)) && reason.contains(SYSTEM_FULL) {
            reason = reason.replace(SYSTEM_FULL, FULL);
        }
        Self(Box::new(Failure::new(kind, reason)))
    }

    /// Names the lines it is about, unless something nearer did already.
    pub(crate) fn at(mut self, range: Option<SourceRange>) -> Self {
        if self.0.source_range.is_none() {
            self.0.source_range = range.map(Box::new);
        }
        self
    }

    /// Names the step that failed, unless that was done nearer to it.
    pub(crate) fn of_step(mut self, step: &str) -> Self {
        self.0.step.get_or_insert_with(|| step.to_owned());
        self
    }

    /// Says what the user can do.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }
}

impl BuildError {
    /// Says what the user can do, where that is known.
    pub(crate) fn hint_if(self, hint: Option<String>) -> Self {
        match hint {
            Some(hint) => self.hint(hint),
            None => self,
        }
    }

    /// Says what can be done about a full disk, if the reason speaks of one.
    pub(crate) fn hint_if_disk_is_full(self) -> Self {
        // What the system says, for the disk or for the user's share of it, and what SQLite says.
        let texts = [FULL, "Disk quota exceeded", "disk is full"];
        let full = self.0.hint.is_none() && texts.iter().any(|text| self.0.reason.contains(text));
        self.hint_if(full.then(|| DISK_FULL.to_owned()))
    }
}

impl From<rbx_ssh::AgentError> for BuildError {
    fn from(error: rbx_ssh::AgentError) -> Self {
        Self::invalid(error.to_string()).hint_if(error.hint())
    }
}

impl From<LayerError> for BuildError {
    fn from(error: LayerError) -> Self {
        match error {
            LayerError::Cancelled => Self::cancelled(),
            LayerError::Read { .. } => Self::invalid(error.to_string()),
            LayerError::Store(error) => error.into(),
            _ => Self::failed(error),
        }
    }
}

impl From<StoreError> for BuildError {
    fn from(error: StoreError) -> Self {
        let hint = match &error {
            StoreError::Format { path, found, known } if found < known => path.parent().map(|store| {
                format!(
                    "an older version made it; all that it holds can be made again: remove {}",
                    store.display()
                )
            }),
            StoreError::Format { .. } => {
                Some("update docker-rbx, or name another directory by RBX_ROOT".to_owned())
            }
            StoreError::Owner { .. } => Some("name a directory of your own by RBX_ROOT".to_owned()),
            StoreError::Database { path, .. } if error.is_damage() => path.parent().map(|store| {
                format!("all that the store holds can be made again: remove {}", store.display())
            }),
            StoreError::Damaged { .. } => Some("build again: what is damaged is made anew".to_owned()),
            _ if error.is_refusal() => Some("name a directory that can be written by RBX_ROOT".to_owned()),
            _ => None,
        };
        let failed = Self::failed(match &error {
            // Its source says the same in other words.
            StoreError::Database { source, .. } => format!("{source}: {error}"),
            _ => reasons(&error),
        });
        match hint {
            Some(hint) => failed.hint(hint),
            None => failed,
        }
    }
}

/// An error and all that led to it, the first reason first.
pub(crate) fn reasons(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{}: {error}", reasons(source)),
        None => in_words(&error.to_string()).into_owned(),
    }
}

/// What can be done about a full disk.
pub(crate) const DISK_FULL: &str = "the disk is full: `docker rbx prune` makes room by removing what can be built again, \
    `docker rbx prune -a` all that is not in use; `docker rbx du` lists it";

/// A path and why it could not be read.
pub(crate) fn unreadable(path: &Path, error: &io::Error) -> BuildError {
    BuildError::invalid(format!("{}: failed to read {}", reason(error), path.display()))
}

/// A path and why it could not be written.
pub(crate) fn unwritable(path: &Path, error: &io::Error) -> BuildError {
    BuildError::invalid(format!("{}: failed to write {}", reason(error), path.display()))
}

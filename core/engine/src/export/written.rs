//! Archives that were written before: one that is there and unchanged is not written again.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rbx_store::{Key, Store};

use crate::error::BuildError;

/// An archive at its place.
pub(crate) struct Written {
    path: PathBuf,
    note: String,
    /// All that the archive depends on.
    content: String,
}

impl Written {
    pub(crate) fn new(path: &Path, content: &str) -> Self {
        let mut hasher = Key::hasher("written archive");
        hasher.field(path.as_os_str().as_encoded_bytes());
        Self {
            path: path.to_owned(),
            note: format!("written {}", hasher.finish()),
            content: content.to_owned(),
        }
    }

    /// Whether the file is what was written last, and that was the same content.
    pub(crate) fn is_there(&self, store: &Store) -> bool {
        let known = store.note(&self.note).ok().flatten();
        known.is_some_and(|known| self.stamp().is_some_and(|now| known == now.as_bytes()))
    }

    pub(crate) fn remember(&self, store: &Store) -> Result<(), BuildError> {
        Ok(store.set_note(&self.note, self.stamp().as_deref().map(str::as_bytes))?)
    }

    fn stamp(&self) -> Option<String> {
        // Behind a link is the file that was written; a device or a pipe keeps nothing.
        let found = std::fs::metadata(&self.path).ok().filter(std::fs::Metadata::is_file)?;
        let (device, inode, size) = (found.dev(), found.ino(), found.size());
        let modified = (found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec());
        Some(format!("{device} {inode} {size} {modified:?} {}", self.content))
    }
}

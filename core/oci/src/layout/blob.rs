//! Blobs that come into a layout piece by piece.

use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};

use super::blob_path;
use crate::digest::Digest;

/// How the names of blobs end that are not complete.
const SUFFIX: &str = ".partial";
/// How long what nobody writes to stays: more than it takes from a file's making to its lock.
const LEFT_BEHIND: Duration = Duration::from_mins(1);

/// A blob on its way into a layout. It has a temporary name until [`commit`](Self::commit), and is gone if that never
/// comes.
#[derive(Debug)]
pub struct BlobWriter {
    root: PathBuf,
    path: PathBuf,
    /// Locked as long as somebody writes to it.
    file: File,
    hasher: Sha256,
    written: u64,
}

/// Why a blob did not get into a layout.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The layout has it already.
    #[error("content {0}: already exists")]
    Exists(Digest),
    /// The content is not what was said.
    #[error("unexpected commit digest {found}, expected {expected}")]
    WrongDigest {
        /// What was said.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
    /// There is more of it, or less, than was said.
    #[error("unexpected commit size {found}, expected {expected}")]
    WrongSize {
        /// What was said, in bytes.
        expected: u64,
        /// What there is, in bytes.
        found: u64,
    },
    /// The file system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl BlobWriter {
    pub(super) fn create(root: &Path) -> io::Result<Self> {
        let folder = root.join(FOLDER);
        loop {
            let name = RandomState::new().hash_one(std::process::id());
            let path = folder.join(format!(".{name:016x}{SUFFIX}"));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => {
                    let root = root.to_owned();
                    let blob = Self { root, path, file, hasher: Sha256::new(), written: 0 };
                    blob.file.lock()?;
                    return Ok(blob);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Bytes so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// The digest of the bytes so far.
    pub fn digest(&self) -> Digest {
        Digest::from_hasher(self.hasher.clone())
    }

    /// Forgets all bytes.
    pub fn restart(&mut self) -> io::Result<()> {
        self.file.rewind()?;
        self.file.set_len(0)?;
        self.hasher = Sha256::new();
        self.written = 0;
        Ok(())
    }

    /// Gives the blob its name, if it is what was expected.
    pub fn commit(self, expected: Option<Digest>, size: Option<u64>) -> Result<Digest, CommitError> {
        let found = self.digest();
        if let Some(expected) = size.filter(|size| *size != self.written) {
            return Err(CommitError::WrongSize { expected, found: self.written });
        }
        if let Some(expected) = expected.filter(|expected| *expected != found) {
            return Err(CommitError::WrongDigest { expected, found });
        }
        let target = self.root.join(blob_path(found));
        if fs::symlink_metadata(&target).is_ok_and(|there| there.is_file() && there.len() == self.written) {
            return Err(CommitError::Exists(found));
        }
        fs::rename(&self.path, &target)?;
        Ok(found)
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        // After a commit it has another name.
        let _ = fs::remove_file(&self.path);
    }
}

/// Where blobs are, relative to the layout.
pub(super) const FOLDER: &str = "blobs/sha256";

/// Removes what writers that were killed left behind. What cannot be removed stays.
pub(super) fn sweep(root: &Path) {
    let Ok(entries) = fs::read_dir(root.join(FOLDER)) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().to_str().is_some_and(|name| name.starts_with('.') && name.ends_with(SUFFIX)) {
            continue;
        }
        let Ok(file) = File::open(entry.path()) else { continue };
        let changed = file.metadata().and_then(|metadata| metadata.modified());
        let age = changed.map(|changed| SystemTime::now().duration_since(changed).unwrap_or_default());
        if age.is_ok_and(|age| age > LEFT_BEHIND) && file.try_lock().is_ok() {
            let _ = fs::remove_file(entry.path());
        }
    }
}

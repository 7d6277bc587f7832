//! Who may change a layout's table of contents.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// The file that BuildKit's client locks, too.
const LOCK_FILE: &str = "index.json.lock";
/// How long others may take for what takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(10);

/// The right to read and replace `index.json`, until it is dropped.
#[derive(Debug)]
pub(super) struct IndexLock {
    path: PathBuf,
    _file: File,
}

impl IndexLock {
    pub(super) fn take(root: &Path) -> io::Result<Self> {
        let path = root.join(LOCK_FILE);
        let begun = Instant::now();
        loop {
            let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path)?;
            match file.try_lock() {
                // Whoever had it before has removed it: the file that was waited for may be no longer the lock.
                Ok(()) if is_at(&file, &path) => return Ok(Self { path, _file: file }),
                Ok(()) => {}
                Err(fs::TryLockError::WouldBlock) if begun.elapsed() < PATIENCE => thread::sleep(PAUSE),
                Err(fs::TryLockError::WouldBlock) => {
                    return Err(io::Error::other(format!("could not lock {}", path.display())));
                }
                Err(fs::TryLockError::Error(error)) => return Err(error),
            }
        }
    }
}

impl Drop for IndexLock {
    fn drop(&mut self) {
        // As BuildKit's client does, and while it is still locked.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), fs::metadata(path)) {
        (Ok(file), Ok(path)) => identity(file) == identity(path),
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> bool {
    // A file that is open cannot be removed.
    true
}

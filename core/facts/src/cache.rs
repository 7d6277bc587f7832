//! What registries said, on disk: documents by their digests, and what names stood for, with the time.
//!
//! ```text
//! <root>/documents/<hex of the digest>   manifests, indexes, configurations, as they came
//! <root>/names/<hex of the name's own>   what a name stood for, and when it was asked
//! ```
//!
//! Files are written under other names and renamed. What cannot be read or written counts as not there.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rbx_oci::Digest;
use serde::{Deserialize, Serialize};

/// How long a file is kept that nobody asked for.
const LIFE: Duration = Duration::from_hours(30 * 24);
/// Bytes of a document, at most: more than registries are read for.
const MAX_DOCUMENT: u64 = 8 << 20;
/// Bytes of what is known of a name.
const MAX_NAME: u64 = 4096;

#[derive(Debug)]
pub(crate) struct Cache {
    root: PathBuf,
}

/// What a name stood for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answer {
    name: String,
    /// `None` where the registry had nothing.
    digest: Option<String>,
    /// Seconds since the epoch.
    asked: u64,
}

impl Cache {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Whether anything was ever kept.
    pub(crate) fn exists(&self) -> bool {
        self.names().is_dir()
    }

    fn documents(&self) -> PathBuf {
        self.root.join("documents")
    }

    fn names(&self) -> PathBuf {
        self.root.join("names")
    }

    pub(crate) fn document(&self, digest: &Digest) -> Option<Vec<u8>> {
        let bytes = read(&self.documents().join(digest.hex()), MAX_DOCUMENT)?;
        (Digest::sha256_of(&bytes) == *digest).then_some(bytes)
    }

    pub(crate) fn keep(&self, bytes: &[u8]) {
        let name = Digest::sha256_of(bytes).hex();
        written(write(&self.documents(), &name, bytes));
    }

    /// What a name stood for not longer ago than that; `Some(None)` is nothing.
    #[expect(clippy::option_option, reason = "not known, and known to be nothing")]
    pub(crate) fn answer(&self, name: &str, life: Duration) -> Option<Option<Digest>> {
        let bytes = read(&self.names().join(Digest::sha256_of(name.as_bytes()).hex()), MAX_NAME)?;
        let answer: Answer = serde_json::from_slice(&bytes).ok()?;
        let age = now().checked_sub(answer.asked)?;
        if answer.name != name || age > life.as_secs() {
            return None;
        }
        match answer.digest {
            Some(digest) => Some(Some(Digest::parse(&digest).ok()?)),
            None => Some(None),
        }
    }

    pub(crate) fn remember(&self, name: &str, digest: Option<&Digest>) {
        let answer = Answer { name: name.to_owned(), digest: digest.map(ToString::to_string), asked: now() };
        let Ok(bytes) = serde_json::to_vec(&answer) else { return };
        written(write(&self.names(), &Digest::sha256_of(name.as_bytes()).hex(), &bytes));
    }

    /// Removes what was not written for a month.
    pub(crate) fn sweep(&self) {
        for directory in [self.documents(), self.names()] {
            let Ok(entries) = fs::read_dir(directory) else { continue };
            for entry in entries.flatten() {
                let modified = entry.metadata().and_then(|metadata| metadata.modified());
                let is_old = modified.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > LIFE));
                if is_old {
                    written(fs::remove_file(entry.path()));
                }
            }
        }
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn read(path: &Path, most: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path).ok()?.take(most + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= most).then_some(bytes)
}

fn write(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(bytes)?;
    file.persist(directory.join(name)).map_err(|error| error.error)?;
    Ok(())
}

/// What cannot be kept is asked for again.
fn written(result: io::Result<()>) {
    if let Err(error) = result {
        tracing::debug!(%error, "an answer of a registry is not kept");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_grow_old_and_documents_are_checked() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::new(directory.path().join("facts"));
        let digest = Digest::sha256_of(b"document");
        assert_eq!((cache.document(&digest), cache.answer("a", Duration::MAX)), (None, None));

        cache.keep(b"document");
        cache.remember("a", Some(&digest));
        cache.remember("b", None);
        assert_eq!(cache.document(&digest).unwrap(), b"document");
        assert_eq!(cache.answer("a", Duration::from_mins(1)), Some(Some(digest)));
        assert_eq!(cache.answer("b", Duration::from_mins(1)), Some(None));

        let path = cache.names().join(Digest::sha256_of(b"a").hex());
        let mut old: Answer = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        old.asked -= 100;
        fs::write(&path, serde_json::to_vec(&old).unwrap()).unwrap();
        assert_eq!(cache.answer("a", Duration::from_mins(1)), None);
        // A clock that was put back makes nothing fresh.
        old.asked += 1000;
        fs::write(&path, serde_json::to_vec(&old).unwrap()).unwrap();
        assert_eq!(cache.answer("a", Duration::from_mins(1)), None);

        fs::write(cache.documents().join(digest.hex()), "documenz").unwrap();
        assert_eq!(cache.document(&digest), None);
        fs::write(&path, "{").unwrap();
        assert_eq!(cache.answer("a", Duration::MAX), None);
    }

    #[test]
    fn old_files_are_removed() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::new(directory.path().to_owned());
        cache.keep(b"old");
        cache.keep(b"new");
        let old = cache.documents().join(Digest::sha256_of(b"old").hex());
        let long_ago = SystemTime::now() - LIFE - Duration::from_mins(1);
        fs::File::options().write(true).open(old).unwrap().set_modified(long_ago).unwrap();
        cache.sweep();
        assert_eq!(cache.document(&Digest::sha256_of(b"old")), None);
        assert!(cache.document(&Digest::sha256_of(b"new")).is_some());
    }
}

//! Blobs: files under their SHA-256 digest.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rbx_oci::{Digest, Sha256Writer};
use rusqlite::OptionalExtension;

use crate::leases::Pinned;
use crate::store::{Inner, USE_INTERVAL, from_db, now, to_db};
use crate::{Store, StoreError};

/// A blob of the store, open for reading.
#[derive(Debug)]
pub struct Blob {
    /// The open file; it stays readable whatever happens to the store.
    pub file: File,
    /// Its size in bytes.
    pub size: u64,
    /// Where it is.
    pub path: PathBuf,
}

impl Store {
    /// Starts a blob. It is there once [`BlobWriter::commit`] has returned.
    pub fn blob_writer(&self) -> Result<BlobWriter, StoreError> {
        let temporary = Temporary::new(&self.inner)?;
        let file = create_new(&temporary.path)?;
        Ok(BlobWriter { writer: Sha256Writer::new(BufWriter::with_capacity(1 << 16, file)), temporary })
    }

    /// Stores a small blob.
    pub fn put_blob(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::sha256_of(bytes);
        if self.blob(&digest)?.is_some() {
            return Ok(digest);
        }
        let temporary = Temporary::new(&self.inner)?;
        let written = create_new(&temporary.path)?.write_all(bytes);
        written.map_err(|source| StoreError::io("cannot write", &temporary.path, source))?;
        self.inner.publish_blob(&temporary, &digest, bytes.len() as u64)?;
        Ok(digest)
    }

    /// Finds a blob and keeps it from being collected while this store is open. A file of another size than was
    /// written counts as missing. The content is not hashed here.
    pub fn blob(&self, digest: &Digest) -> Result<Option<Blob>, StoreError> {
        let inner = &self.inner;
        let session = inner.session()?;
        let id = digest.as_bytes();
        let select = "SELECT size, last_used FROM blobs WHERE digest = ?1";
        let size = if session.knows(Pinned::Blob, id) {
            inner.read(|db| Ok(db.prepare_cached(select)?.query_row([id], |row| row.get(0)).optional()?))?
        } else {
            let size = inner.write(|tx| {
                let found: Option<(i64, i64)> = tx
                    .prepare_cached(select)?
                    .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
                    .optional()?;
                let Some((size, last_used)) = found else { return Ok(None) };
                session.pin(tx, Pinned::Blob, id)?;
                let now = now();
                if now - last_used > USE_INTERVAL {
                    tx.prepare_cached("UPDATE blobs SET last_used = ?2 WHERE digest = ?1")?
                        .execute((id, now))?;
                }
                Ok(Some(size))
            })?;
            if size.is_some() {
                session.remember(Pinned::Blob, id);
            }
            size
        };
        let Some(size) = size.map(from_db) else { return Ok(None) };
        let path = inner.blob_path(digest);
        let opened = File::open(&path).and_then(|file| Ok((file.metadata()?.len(), file)));
        match opened {
            Ok((length, file)) if length == size => Ok(Some(Blob { file, size, path })),
            Ok((length, _)) => {
                tracing::warn!(path = %path.display(), length, size, "a blob has another size than was written");
                Ok(None)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io("cannot open", &path, error)),
        }
    }

    /// Reads a small blob and checks its digest: one whose content is damaged is removed and counts as missing. A
    /// blob of more than `limit` bytes is an error.
    pub fn read_blob(&self, digest: &Digest, limit: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(blob) = self.blob(digest)? else { return Ok(None) };
        if blob.size > limit {
            return Err(StoreError::TooLarge { digest: *digest, size: blob.size, limit });
        }
        let mut bytes = Vec::with_capacity(usize::try_from(blob.size).unwrap_or(0));
        let read = blob.file.take(blob.size + 1).read_to_end(&mut bytes);
        read.map_err(|source| StoreError::io("cannot read", &blob.path, source))?;
        if Digest::sha256_of(&bytes) == *digest {
            return Ok(Some(bytes));
        }
        tracing::warn!(path = %blob.path.display(), "a damaged blob is removed");
        self.remove_blob(digest)?;
        Ok(None)
    }

    /// Removes a blob whose content was found to be damaged, so that it is fetched or made again.
    pub fn remove_blob(&self, digest: &Digest) -> Result<(), StoreError> {
        let path = self.inner.blob_path(digest);
        self.inner.write(|tx| {
            tx.execute("DELETE FROM blobs WHERE digest = ?1", [digest.as_bytes()])?;
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    Err(StoreError::io("cannot remove", &path, error).into())
                }
                _ => Ok(()),
            }
        })
    }
}

/// A blob being written. Dropped without [`BlobWriter::commit`], it leaves nothing.
pub struct BlobWriter {
    writer: Sha256Writer<BufWriter<File>>,
    temporary: Temporary,
}

impl fmt::Debug for BlobWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobWriter").field("written", &self.written()).finish_non_exhaustive()
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl BlobWriter {
    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.writer.written()
    }

    /// Completes the blob and gives its digest. If it is not the expected content, nothing is stored. That another
    /// process has stored the same blob meanwhile is fine.
    pub fn commit(self, expected: Option<(&Digest, u64)>) -> Result<Digest, StoreError> {
        let (writer, actual, actual_size) = self.writer.finish();
        if let Some((&expected, expected_size)) = expected
            && (expected, expected_size) != (actual, actual_size)
        {
            return Err(StoreError::Mismatch { expected, expected_size, actual, actual_size });
        }
        writer
            .into_inner()
            .map_err(|error| StoreError::io("cannot write", &self.temporary.path, error.into_error()))?;
        self.temporary.store.publish_blob(&self.temporary, &actual, actual_size)?;
        Ok(actual)
    }
}

impl Inner {
    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.v1.join("blobs/sha256").join(digest.hex())
    }

    /// Renames a complete file to its blob's name and records it, pinned.
    fn publish_blob(&self, temporary: &Temporary, digest: &Digest, size: u64) -> Result<(), StoreError> {
        let session = self.session()?;
        let id = digest.as_bytes();
        let path = self.blob_path(digest);
        self.write(|tx| {
            temporary.rename(&path)?;
            let now = now();
            tx.prepare_cached(
                "INSERT INTO blobs (digest, size, created, last_used) VALUES (?1, ?2, ?3, ?3)
                 ON CONFLICT (digest) DO UPDATE SET size = ?2, last_used = ?3",
            )?
            .execute((id, to_db(size), now))?;
            session.pin(tx, Pinned::Blob, id)
        })?;
        session.remember(Pinned::Blob, id);
        self.count(size);
        Ok(())
    }
}

/// A temporary file or directory, removed when dropped unless it was renamed.
pub(crate) struct Temporary {
    pub(crate) path: PathBuf,
    pub(crate) store: Arc<Inner>,
    /// Whether `path` is still to be removed.
    armed: AtomicBool,
}

impl fmt::Debug for Temporary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Temporary").field(&self.path).finish()
    }
}

impl Temporary {
    /// A path nothing is at yet.
    pub(crate) fn new(store: &Arc<Inner>) -> Result<Self, StoreError> {
        Ok(Self { path: store.temporary_path()?, store: store.clone(), armed: true.into() })
    }

    /// Gives what is at the path its lasting name.
    pub(crate) fn rename(&self, to: &Path) -> Result<(), StoreError> {
        std::fs::rename(&self.path, to).map_err(|source| StoreError::io("cannot rename to", to, source))?;
        self.armed.store(false, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if self.armed.load(Ordering::Relaxed) {
            self.store.remove(&self.path);
        }
    }
}

/// Creates a file that only its owner may read.
pub(crate) fn create_new(path: &Path) -> Result<File, StoreError> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.map_err(|source| StoreError::io("cannot create", path, source))
}

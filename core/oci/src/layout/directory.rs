//! Layouts as directories.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::blob::{self, BlobWriter};
use super::lock::IndexLock;
use super::read::{open_file, read_file};
use super::{INDEX_FILE, LayoutImage, OCI_LAYOUT, OCI_LAYOUT_FILE, blob_path, index_of, merge};
use crate::descriptor::Descriptor;
use crate::digest::{Digest, VerifiedReader};
use crate::manifest::Index;

/// Writes an OCI layout into a directory, which may be one already: its images stay, but for those whose names are
/// taken by new ones.
///
/// Every file is complete from the moment it has its name, and `index.json` is written last: whoever reads the
/// directory meanwhile, or after a crash, finds a valid layout.
#[derive(Debug)]
pub struct DirectoryWriter {
    root: PathBuf,
}

impl DirectoryWriter {
    /// Starts writing into `root`, which is made if it does not exist.
    pub fn create(root: impl Into<PathBuf>) -> io::Result<DirectoryWriter> {
        let root = root.into();
        fs::create_dir_all(root.join(blob::FOLDER))?;
        blob::sweep(&root);
        Ok(DirectoryWriter { root })
    }

    /// Opens a blob for reading, whose size goes with it. Nothing is checked.
    pub fn open_blob(&self, digest: Digest) -> io::Result<(File, u64)> {
        open_file(&self.path_of(digest))
    }

    /// The digests and sizes of all blobs, in no order.
    pub fn blobs(&self) -> io::Result<Vec<(Digest, u64)>> {
        let mut blobs = Vec::new();
        for entry in fs::read_dir(self.root.join(blob::FOLDER))? {
            let entry = entry?;
            let digest = entry.file_name().to_str().map(|hex| Digest::parse(&format!("sha256:{hex}")));
            if let (Some(Ok(digest)), Ok(metadata)) = (digest, entry.metadata())
                && metadata.is_file()
            {
                blobs.push((digest, metadata.len()));
            }
        }
        Ok(blobs)
    }

    /// Begins a blob whose content comes piece by piece.
    pub fn blob_writer(&self) -> io::Result<BlobWriter> {
        BlobWriter::create(&self.root)
    }

    /// Whether the layout has a blob of this digest and size.
    pub fn contains(&self, blob: &Descriptor) -> bool {
        fs::symlink_metadata(self.path_of(blob.digest))
            .is_ok_and(|metadata| metadata.is_file() && metadata.len() == blob.size)
    }

    /// Adds the content `blob` describes. Returns whether it was added: one that is there already is not read again.
    /// Content of another digest or size is an error and leaves nothing behind.
    pub fn add_blob(&self, blob: &Descriptor, content: impl Read) -> io::Result<bool> {
        if self.contains(blob) {
            return Ok(false);
        }
        replace(&self.path_of(blob.digest), |file| {
            io::copy(&mut VerifiedReader::new(content, blob.digest, blob.size), file).map(drop)
        })?;
        Ok(true)
    }

    /// Lists `images` in the layout's table of contents.
    pub fn finish(&self, images: &[LayoutImage]) -> io::Result<()> {
        // Two writers must not both read the old index.
        let _lock = IndexLock::take(&self.root)?;
        let index = self.root.join(INDEX_FILE);
        let new = index_of(images);
        let merged = match read_file(&index) {
            Ok(bytes) => {
                let mut merged =
                    Index::parse(&bytes).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
                merge(&mut merged, new);
                merged
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => new,
            Err(error) => return Err(error),
        };
        replace(&self.root.join(OCI_LAYOUT_FILE), |file| file.write_all(OCI_LAYOUT))?;
        replace(&index, |file| file.write_all(&merged.to_compact_bytes()))
    }

    fn path_of(&self, digest: Digest) -> PathBuf {
        self.root.join(blob_path(digest))
    }
}

/// Gives `path` new content at once or not at all.
fn replace(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    name.push(format!(".{}-{count}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = File::create(&temporary).and_then(|mut file| write(&mut file));
    written.and_then(|()| fs::rename(&temporary, path)).inspect_err(|_| {
        // What stays of a failed attempt has a name no reader looks at.
        let _ = fs::remove_file(&temporary);
    })
}

//! Layouts as tar archives.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};

use super::{
    DOCKER_MANIFEST_FILE, DockerImage, INDEX_FILE, LayoutImage, OCI_LAYOUT, OCI_LAYOUT_FILE, blob_path,
    index_of,
};
use crate::descriptor::Descriptor;
use crate::digest::{Digest, VerifiedReader};
use crate::entry::{Entry, EntryKind};
use crate::{json, tar};

/// Bytes that are copied at once.
const COPY_BUFFER: usize = 256 << 10;

/// Writes an OCI layout as a tar archive, blob after blob without holding any in memory.
///
/// The members are those of `BuildKit`'s `oci` and `docker` exporters with the same headers: directories `0755`,
/// blobs and `oci-layout` `0444`, the rest `0644`, all of user 0. They come in the order they are added, so the
/// archive is the same to the byte if that order is; it is `BuildKit`'s if blobs are added in the order of their
/// digests.
#[derive(Debug)]
pub struct ArchiveWriter<W> {
    out: W,
    mtime: i64,
    written: BTreeSet<Digest>,
    header: Vec<u8>,
}

impl<W: Write> ArchiveWriter<W> {
    /// Starts an archive whose members are all from `mtime`, in seconds since 1970: 0 as `BuildKit` has it, or the
    /// time asked for by `SOURCE_DATE_EPOCH`.
    pub fn new(out: W, mtime: i64) -> io::Result<ArchiveWriter<W>> {
        let mut writer = ArchiveWriter { out, mtime, written: BTreeSet::new(), header: Vec::new() };
        writer.member("blobs", EntryKind::Directory, 0o755)?;
        writer.member("blobs/sha256", EntryKind::Directory, 0o755)?;
        Ok(writer)
    }

    /// Whether a blob is in the archive already.
    pub fn contains(&self, digest: Digest) -> bool {
        self.written.contains(&digest)
    }

    /// Adds the content `blob` describes. Returns whether it was added: one that is in the archive already is not
    /// read again. Content of another digest or size is an error, after which the archive is useless.
    pub fn add_blob(&mut self, blob: &Descriptor, content: impl Read) -> io::Result<bool> {
        if !self.written.insert(blob.digest) {
            return Ok(false);
        }
        self.member(&blob_path(blob.digest), EntryKind::File { size: blob.size }, 0o444)?;
        io::copy(&mut VerifiedReader::new(content, blob.digest, blob.size), &mut self.out)?;
        self.pad(blob.size)?;
        Ok(true)
    }

    /// Adds content whose digest the caller knows to be right, having computed it from the same bytes: it is not
    /// computed again. Otherwise as [`ArchiveWriter::add_blob`]; another size is an error.
    pub fn add_known_blob(&mut self, blob: &Descriptor, content: impl Read) -> io::Result<bool> {
        if !self.written.insert(blob.digest) {
            return Ok(false);
        }
        self.member(&blob_path(blob.digest), EntryKind::File { size: blob.size }, 0o444)?;
        let mut buffer = vec![0; COPY_BUFFER];
        let mut content = content.take(blob.size + 1);
        let mut copied = 0;
        loop {
            let length = content.read(&mut buffer)?;
            if length == 0 {
                break;
            }
            self.out.write_all(&buffer[..length])?;
            copied += length as u64;
        }
        if copied != blob.size {
            return Err(io::Error::other(format!(
                "{} has not the {} bytes it should have",
                blob.digest, blob.size
            )));
        }
        self.pad(blob.size)?;
        Ok(true)
    }

    /// Ends the archive with its table of contents. With `docker` not empty it has a `manifest.json` too, which older
    /// Docker Engines load instead.
    pub fn finish(mut self, images: &[LayoutImage], docker: &[DockerImage]) -> io::Result<W> {
        self.file(INDEX_FILE, 0o644, &index_of(images).to_compact_bytes())?;
        if !docker.is_empty() {
            self.file(DOCKER_MANIFEST_FILE, 0o644, &json::compact(&docker))?;
        }
        self.file(OCI_LAYOUT_FILE, 0o444, OCI_LAYOUT)?;
        self.out.write_all(&tar::TRAILER)?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        let size = content.len() as u64;
        self.member(path, EntryKind::File { size }, mode)?;
        self.out.write_all(content)?;
        self.pad(size)
    }

    fn member(&mut self, path: &str, kind: EntryKind, mode: u32) -> io::Result<()> {
        self.header.clear();
        tar::write_header(&mut self.header, &Entry { mode, mtime: self.mtime, ..Entry::new(path, kind) });
        self.out.write_all(&self.header)
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        self.out.write_all(&tar::TRAILER[..tar::padding(size)])
    }
}

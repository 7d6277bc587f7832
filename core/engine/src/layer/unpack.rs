//! A layer's archive as a tree and an index.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use rbx_oci::{Digest, Entry, EntryKind, Sha256Reader, decompress, tar};
use rbx_store::{IndexEntry, LayerIndex, PreparedTree, Store};
use rustix::fs::{AtFlags, Mode, OFlags};

use super::materialise::{set_metadata, write_special};
use super::origin::open_root;
use crate::error::LayerError;
use crate::tree::{Tree, base_name, compare_paths, join, parent, resolve};

/// A layer that was unpacked by itself: what it says of directories it does not name is not known yet.
pub(crate) struct Unpacked {
    pub(crate) tree: PreparedTree,
    pub(crate) diff_id: Digest,
    entries: BTreeMap<Vec<u8>, Entry>,
    opaque: BTreeSet<Vec<u8>>,
    /// Directories that something lies in but that the archive does not name.
    implied: BTreeSet<Vec<u8>>,
}

/// Reads a layer's archive, compressed in whatever way, into a new tree of the store.
pub(crate) fn unpack(
    store: &Store,
    archive: impl Read + Send + 'static,
    name: &str,
) -> Result<Unpacked, LayerError> {
    let tree = store.new_tree()?;
    let root = open_root(tree.fs()).map_err(|error| LayerError::write(b"", error))?;
    let failed = |reason: String| LayerError::Archive { layer: name.to_owned(), reason };
    let plain = plain(archive).map_err(|error| failed(error.to_string()))?;
    let mut reader = Sha256Reader::new(plain);
    let mut writer =
        Writer { root: &root, entries: BTreeMap::new(), opaque: BTreeSet::new(), implied: BTreeSet::new() };
    tar::read_layer(&mut reader, &tar::Limits::default(), |entry, content| writer.entry(entry, content))
        .map_err(|error| failed(describe(&error)))?;
    let Writer { entries, opaque, implied, .. } = writer;
    let (_, diff_id, _) = reader.finish();
    Ok(Unpacked { tree, diff_id, entries, opaque, implied })
}

/// Whether a file is an archive that `ADD` unpacks: a tar, compressed or not. What begins with a whole tar header is
/// one, even where something is wrong with it later on.
pub(crate) fn is_archive(file: impl Read + Send + 'static) -> bool {
    let Ok(plain) = plain(file) else { return false };
    let mut found = false;
    let _ = tar::read_layer(plain, &tar::Limits::default(), |_, _| {
        found = true;
        Err(io::Error::other("the first entry is enough"))
    });
    found
}

/// Memory that the decompression of an archive may take. `xz -9` wants 65 MiB.
const MEMORY_LIMIT: u64 = 256 << 20;

/// Reads an archive decompressed, all streams of it: besides the ways that layers are compressed by, archives for
/// `ADD` come as bzip2 and xz.
fn plain(mut archive: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
    let mut start = Vec::with_capacity(6);
    archive.by_ref().take(6).read_to_end(&mut start)?;
    let whole = |start: Vec<u8>| Cursor::new(start).chain(archive);
    match &*start {
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => {
            let whole = BufReader::with_capacity(64 << 10, whole(start));
            Ok(Box::new(bzip2::bufread::MultiBzDecoder::new(whole)))
        }
        [0xfd, b'7', b'z', b'X', b'Z', 0] => {
            let whole = BufReader::with_capacity(64 << 10, whole(start));
            let stream =
                liblzma::stream::Stream::new_stream_decoder(MEMORY_LIMIT, liblzma::stream::CONCATENATED)?;
            Ok(Box::new(liblzma::bufread::XzDecoder::new_stream(whole, stream)))
        }
        _ => Ok(decompress(whole(start))?.1),
    }
}

fn describe(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{}: {error}", describe(source)),
        None => error.to_string(),
    }
}

struct Writer<'a> {
    root: &'a OwnedFd,
    entries: BTreeMap<Vec<u8>, Entry>,
    opaque: BTreeSet<Vec<u8>>,
    implied: BTreeSet<Vec<u8>>,
}

impl Writer<'_> {
    fn entry(&mut self, mut entry: Entry, content: &mut dyn Read) -> io::Result<()> {
        if entry.path.is_empty() {
            return Ok(());
        }
        entry.path = self.inside(&entry.path)?;
        let directory = parent(&entry.path).unwrap_or_default().to_vec();
        self.imply(&directory)?;
        match &mut entry.kind {
            EntryKind::Whiteout => return self.whiteout(entry),
            EntryKind::OpaqueDirectory => {
                self.imply(&entry.path.clone())?;
                self.opaque.insert(entry.path);
                return Ok(());
            }
            EntryKind::Hardlink { target } => *target = resolve_in(&self.entries, target)?,
            _ => {}
        }
        self.make_room(&entry)?;
        match &entry.kind {
            EntryKind::Directory => {
                if !self.entries.get(&entry.path).is_some_and(Entry::is_directory) {
                    rustix::fs::mkdirat(self.root, &*entry.path, Mode::from_raw_mode(0o700))?;
                }
                self.implied.remove(&entry.path);
            }
            EntryKind::File { size } => {
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = rustix::fs::openat(self.root, &*entry.path, flags, Mode::from_raw_mode(0o600))?;
                if io::copy(content, &mut File::from(file))? != *size {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                set_metadata(self.root, &entry)?;
            }
            EntryKind::Hardlink { target } => match self.entries.get(target) {
                Some(first) if matches!(first.kind, EntryKind::File { .. }) => {
                    write_special(self.root, &entry)?;
                }
                // The inode of a lower layer cannot be shared with it; who needs that wrote the file again.
                _ => return Err(io::Error::other("a hard link to a file that the layer does not hold")),
            },
            _ => write_special(self.root, &entry)?,
        }
        self.entries.insert(entry.path.clone(), entry);
        Ok(())
    }

    /// The place of a path once links of this layer above it are followed.
    fn inside(&self, path: &[u8]) -> io::Result<Vec<u8>> {
        let directory = resolve_in(&self.entries, parent(path).unwrap_or_default())?;
        Ok(join(&directory, base_name(path)))
    }

    /// Makes the directories that the archive has not named before what lies in them.
    fn imply(&mut self, directory: &[u8]) -> io::Result<()> {
        let mut missing = Vec::new();
        let mut at = directory;
        while !at.is_empty() {
            match self.entries.get(at) {
                Some(entry) if entry.is_directory() => break,
                Some(_) => return Err(io::Error::other("a file is used as a directory")),
                None => missing.push(at.to_vec()),
            }
            at = parent(at).unwrap_or_default();
        }
        for path in missing.into_iter().rev() {
            rustix::fs::mkdirat(self.root, &*path, Mode::from_raw_mode(0o700))?;
            let entry = Entry { mode: 0o755, ..Entry::new(path.clone(), EntryKind::Directory) };
            self.implied.insert(path.clone());
            self.entries.insert(path, entry);
        }
        Ok(())
    }

    fn whiteout(&mut self, entry: Entry) -> io::Result<()> {
        // A deletion is about lower layers: what this one has under the name stays.
        if !self.entries.contains_key(&entry.path) {
            write_special(self.root, &entry)?;
            self.entries.insert(entry.path.clone(), entry);
        }
        Ok(())
    }

    /// Removes what has the path of an entry that comes later, unless both are directories.
    fn make_room(&mut self, entry: &Entry) -> io::Result<()> {
        let Some(old) = self.entries.get(&entry.path) else { return Ok(()) };
        if old.is_directory() && entry.is_directory() {
            return Ok(());
        }
        if matches!(old.kind, EntryKind::Whiteout) {
            // Deleted and made again: what lower layers have in a directory of that name stays deleted.
            if entry.is_directory() {
                self.opaque.insert(entry.path.clone());
            }
        }
        if old.is_directory() {
            let below: Vec<Vec<u8>> = self
                .entries
                .keys()
                .filter(|path| path.starts_with(&entry.path) && path.get(entry.path.len()) == Some(&b'/'))
                .cloned()
                .collect();
            for path in below.into_iter().rev() {
                self.remove(&path)?;
            }
        }
        self.remove(&entry.path)
    }

    fn remove(&mut self, path: &[u8]) -> io::Result<()> {
        let Some(old) = self.entries.remove(path) else { return Ok(()) };
        self.implied.remove(path);
        self.opaque.remove(path);
        let flags = if old.is_directory() { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        Ok(rustix::fs::unlinkat(self.root, path, flags)?)
    }
}

fn resolve_in(entries: &BTreeMap<Vec<u8>, Entry>, path: &[u8]) -> io::Result<Vec<u8>> {
    resolve(path, true, |path| entries.get(path)).ok_or_else(|| rustix::io::Errno::LOOP.into())
}

impl Unpacked {
    /// Settles the layer over what lies below it: directories that the archive does not name are as they are there,
    /// and what lies below a name that is a link there goes where the link leads.
    pub(crate) fn settle(mut self, below: &Tree) -> Result<(PreparedTree, LayerIndex), LayerError> {
        let root = open_root(self.tree.fs()).map_err(|error| LayerError::write(b"", error))?;
        let at = |path: &[u8], error: io::Error| LayerError::write(path, error);
        for path in self.implied.clone() {
            let Some(node) = below.get(&path) else { continue };
            if node.is_directory() {
                self.entries.insert(path, node.entry.clone());
            } else if matches!(node.entry.kind, EntryKind::Symlink { .. }) {
                self.follow_link(&root, &path, below).map_err(|error| at(&path, error))?;
            }
        }
        for path in &self.opaque {
            let mark = Entry::new(path.clone(), EntryKind::OpaqueDirectory);
            write_special(&root, &mark).map_err(|error| at(path, error))?;
        }
        let mut entries: Vec<Entry> = self.entries.into_values().collect();
        entries.sort_by(|a, b| compare_paths(&a.path, &b.path));
        // Last, and the innermost first: writing into a directory changes its time.
        for entry in entries.iter().rev().filter(|entry| entry.is_directory()) {
            set_metadata(&root, entry).map_err(|error| at(&entry.path, error))?;
        }
        let opaque = self.opaque.into_iter().map(|path| Entry::new(path, EntryKind::OpaqueDirectory));
        entries.extend(opaque);
        // Stable: a directory's mark comes after the directory.
        entries.sort_by(|a, b| compare_paths(&a.path, &b.path));
        let entries = entries.into_iter().map(|entry| IndexEntry { entry, content: None }).collect();
        Ok((self.tree, LayerIndex { entries }))
    }

    /// Moves what lies in an implied directory to where the link of that name below leads.
    fn follow_link(&mut self, root: &OwnedFd, link: &[u8], below: &Tree) -> io::Result<()> {
        let Some(target) = resolve(link, true, |path| below.get(path).map(|node| &node.entry)) else {
            return Err(rustix::io::Errno::LOOP.into());
        };
        let inside: Vec<Vec<u8>> = self
            .entries
            .keys()
            .filter(|path| path.starts_with(link) && path.get(link.len()) == Some(&b'/'))
            .cloned()
            .collect();
        self.imply_at(root, &target, below)?;
        for path in inside {
            let Some(entry) = self.entries.remove(&path) else { continue };
            let moved = join(&target, &path[link.len() + 1..]);
            if entry.is_directory() {
                let implied = self.implied.remove(&path);
                match rustix::fs::mkdirat(root, &*moved, Mode::from_raw_mode(0o700)) {
                    Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
                if implied && !self.entries.contains_key(&moved) {
                    self.implied.insert(moved.clone());
                }
            } else {
                rustix::fs::renameat(root, &*path, root, &*moved)?;
            }
            self.entries.insert(moved.clone(), Entry { path: moved, ..entry });
        }
        // Only directories are left of it.
        std::fs::remove_dir_all(self.tree.fs().join(OsStr::from_bytes(link)))?;
        self.entries.remove(link);
        self.implied.remove(link);
        Ok(())
    }

    fn imply_at(&mut self, root: &OwnedFd, directory: &[u8], below: &Tree) -> io::Result<()> {
        if directory.is_empty() || self.entries.contains_key(directory) {
            return Ok(());
        }
        self.imply_at(root, parent(directory).unwrap_or_default(), below)?;
        rustix::fs::mkdirat(root, directory, Mode::from_raw_mode(0o700))?;
        let entry = match below.get(directory) {
            Some(node) => node.entry.clone(),
            None => Entry { mode: 0o755, ..Entry::new(directory, EntryKind::Directory) },
        };
        self.entries.insert(directory.to_vec(), entry);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// A tar of one file.
    fn archive(content: &[u8]) -> Vec<u8> {
        let mut tar = Vec::new();
        tar::write_header(&mut tar, &Entry::new("file", EntryKind::File { size: content.len() as u64 }));
        tar.extend_from_slice(content);
        tar.resize(tar.len() + tar::padding(content.len() as u64), 0);
        tar.extend_from_slice(&tar::TRAILER);
        tar
    }

    fn bzip2(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn xz(bytes: &[u8], dictionary: u32) -> Vec<u8> {
        let mut options = liblzma::stream::LzmaOptions::new_preset(1).unwrap();
        options.dict_size(dictionary);
        let mut filters = liblzma::stream::Filters::new();
        filters.lzma2(&options);
        let check = liblzma::stream::Check::Crc64;
        let stream = liblzma::stream::Stream::new_stream_encoder(&filters, check).unwrap();
        let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn all(bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        plain(Cursor::new(bytes))?.read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn streams_one_after_the_other_are_one_archive() {
        let tar = archive(&b"content ".repeat(1000));
        let (one, two) = tar.split_at(700);
        for packed in
            [tar.clone(), [bzip2(one), bzip2(two)].concat(), [xz(one, 1 << 20), xz(two, 1 << 16)].concat()]
        {
            assert_eq!(all(packed.clone()).unwrap(), tar);
            assert!(is_archive(Cursor::new(packed)));
        }
    }

    #[test]
    fn cut_and_damaged_streams_are_errors() {
        let tar = archive(&b"content ".repeat(1000));
        for packed in [bzip2(&tar), xz(&tar, 1 << 20)] {
            assert!(all(packed[..packed.len() - 1].to_vec()).is_err());
            let mut damaged = packed.clone();
            damaged[packed.len() / 2] ^= 0xff;
            assert!(all(damaged).is_err());
        }
    }

    #[test]
    fn memory_is_bounded() {
        // What is compressed is small; what it asks for is not.
        let mut packed = xz(b"x", 1 << 20);
        assert!(all(packed.clone()).is_ok());
        // The dictionary's size is a byte of the block header, which begins after the 12 bytes of the stream header.
        let (header, at) = (12..24, 16);
        assert_eq!(packed[at], 16, "a dictionary of 1 MiB");
        packed[at] = 40;
        let sum = crc32(&packed[header.start..header.end - 4]);
        packed[header.end - 4..header.end].copy_from_slice(&sum.to_le_bytes());
        let error = all(packed).unwrap_err().to_string();
        assert!(error.contains("memory"), "{error}");
    }

    fn crc32(bytes: &[u8]) -> u32 {
        bytes.iter().fold(!0, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1)))
        }) ^ !0
    }

    #[test]
    fn other_files_are_no_archives() {
        for other in
            [&b""[..], b"BZh9 is a text", b"just text", &[0; 2048], &bzip2(b"text"), &xz(b"text", 4096)]
        {
            assert!(!is_archive(Cursor::new(other.to_vec())), "{other:?}");
        }
        let mut old = archive(b"");
        old[257..265].fill(0);
        let sum: u32 = old[..512].iter().map(|byte| u32::from(*byte)).sum();
        let written: u32 = old[148..156].iter().map(|byte| u32::from(*byte)).sum();
        old[148..156].copy_from_slice(format!("{:06o}\0 ", sum - written + 8 * u32::from(b' ')).as_bytes());
        assert!(is_archive(Cursor::new(old)), "of a tar older than ustar");
    }
}

//! A root file system as files, and as one tar.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rbx_oci::{Entry, EntryKind, tar};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps};

use crate::error::BuildError;
use crate::tree::{Node, Tree};

fn failed(what: &[u8], error: &io::Error) -> BuildError {
    BuildError::failed(format!("{error}: failed to export /{}", String::from_utf8_lossy(what)))
}

/// Writes a file system below a directory, over what is there. Links in the directory are replaced, not followed,
/// and everything belongs to who runs this. With `epoch`, it is the time of everything.
pub(crate) fn write_directory(tree: &Tree, path: &Path, epoch: Option<i64>) -> Result<(), BuildError> {
    let unusable = |error: io::Error| {
        BuildError::invalid(format!("{error}: failed to write to directory {}", path.display()))
    };
    if path.is_file() {
        return Err(BuildError::invalid(format!("destination directory {} is a file", path.display())));
    }
    // Only for its owner: there may be programs in it that run as another user.
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable)?;
    let root = open_directory(CWD, path).map_err(unusable)?;
    let mut writer = Writer { root: &root, epoch, written: BTreeMap::new() };
    for node in tree.nodes() {
        writer.node(node).map_err(|error| failed(&node.entry.path, &error))?;
    }
    for node in tree.nodes().iter().rev().filter(|node| node.is_directory()) {
        writer.directory_metadata(&node.entry).map_err(|error| failed(&node.entry.path, &error))?;
    }
    Ok(())
}

/// Makes the directory that holds the files of one platform among several.
pub(crate) fn write_platform_directory(
    tree: &Tree,
    path: &Path,
    prefix: &str,
    epoch: Option<i64>,
) -> Result<(), BuildError> {
    let full = path.join(prefix);
    write_directory(tree, &full, epoch)?;
    let set = || -> io::Result<()> {
        let root = open_directory(CWD, path)?;
        let entry = platform_directory(prefix, epoch);
        Writer { root: &root, epoch, written: BTreeMap::new() }.directory_metadata(&entry)
    };
    set().map_err(|error| failed(prefix.as_bytes(), &error))
}

/// The directory of one platform.
fn platform_directory(prefix: &str, epoch: Option<i64>) -> Entry {
    Entry { mode: 0o755, mtime: epoch.unwrap_or(0), ..Entry::new(prefix, EntryKind::Directory) }
}

fn open_directory(at: impl std::os::fd::AsFd, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(at, path, flags, Mode::empty())?)
}

struct Writer<'a> {
    root: &'a OwnedFd,
    epoch: Option<i64>,
    /// The first path of each inode that has several.
    written: BTreeMap<Arc<[u8]>, Vec<u8>>,
}

/// A path's directory, opened without following a link, and its last part.
fn open_parent<'p>(root: &OwnedFd, path: &'p [u8]) -> io::Result<(OwnedFd, &'p OsStr)> {
    let path = Path::new(OsStr::from_bytes(path));
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    // What was written before is directories, and nobody is asked to follow a link.
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    Ok((rustix::fs::openat2(root, parent, flags, Mode::empty(), resolve)?, name))
}

/// A path that names what an opened directory holds, wherever that has been moved to.
fn below(directory: &OwnedFd, name: &OsStr) -> PathBuf {
    Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name)
}

impl Writer<'_> {
    fn node(&mut self, node: &Node) -> io::Result<()> {
        let entry = &node.entry;
        let (parent, name) = open_parent(self.root, &entry.path)?;
        let there = match rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Some(FileType::from_raw_mode(stat.st_mode)),
            Err(rustix::io::Errno::NOENT) => None,
            Err(error) => return Err(error.into()),
        };
        match there {
            Some(FileType::Directory) if node.is_directory() => return Ok(()),
            // As buildx: what is in the way goes, whatever it holds.
            Some(FileType::Directory) => std::fs::remove_dir_all(below(&parent, name))?,
            Some(_) => rustix::fs::unlinkat(&parent, name, AtFlags::empty())?,
            None => {}
        }
        if let Some(group) = &node.link_group {
            if let Some(first) = self.written.get(group) {
                let (directory, first) = open_parent(self.root, first)?;
                return Ok(rustix::fs::linkat(&directory, first, &parent, name, AtFlags::empty())?);
            }
            self.written.insert(group.clone(), entry.path.clone());
        }
        let special =
            |kind, device| rustix::fs::mknodat(&parent, name, kind, Mode::from_raw_mode(entry.mode), device);
        match &entry.kind {
            EntryKind::Directory => {
                return Ok(rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755))?);
            }
            EntryKind::File { .. } => {
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o600))?;
                let mut file = File::from(file);
                let source = node.source().ok_or(io::ErrorKind::NotFound)?;
                io::copy(&mut source.open()?, &mut file)?;
                rustix::fs::fchmod(&file, Mode::from_raw_mode(entry.mode))?;
            }
            EntryKind::Symlink { target } => rustix::fs::symlinkat(&**target, &parent, name)?,
            EntryKind::Fifo => special(FileType::Fifo, 0)?,
            EntryKind::CharDevice { major, minor } => {
                special(FileType::CharacterDevice, rustix::fs::makedev(*major, *minor))?;
            }
            EntryKind::BlockDevice { major, minor } => {
                special(FileType::BlockDevice, rustix::fs::makedev(*major, *minor))?;
            }
            EntryKind::Hardlink { .. } | EntryKind::Whiteout | EntryKind::OpaqueDirectory => return Ok(()),
        }
        if matches!(
            entry.kind,
            EntryKind::Fifo | EntryKind::CharDevice { .. } | EntryKind::BlockDevice { .. }
        ) {
            // Without what the umask took.
            rustix::fs::chmodat(&parent, name, Mode::from_raw_mode(entry.mode), AtFlags::empty())?;
        }
        Ok(rustix::fs::utimensat(&parent, name, &self.times(entry), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn directory_metadata(&self, entry: &Entry) -> io::Result<()> {
        rustix::fs::chmodat(self.root, &*entry.path, Mode::from_raw_mode(entry.mode), AtFlags::empty())?;
        let times = self.times(entry);
        Ok(rustix::fs::utimensat(self.root, &*entry.path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn times(&self, entry: &Entry) -> Timestamps {
        let time = Timespec { tv_sec: self.epoch.unwrap_or(entry.mtime), tv_nsec: 0 };
        Timestamps { last_access: time, last_modification: time }
    }
}

/// Writes file systems as one tar archive, each in the directory of its name, or at the top if that is empty. With
/// `epoch`, it is the time of everything.
pub(crate) fn write_tar(
    trees: &[(String, Tree)],
    epoch: Option<i64>,
    out: &mut dyn Write,
) -> Result<(), BuildError> {
    for (prefix, tree) in trees {
        write_members(tree, prefix, epoch, out)?;
    }
    out.write_all(&tar::TRAILER).and_then(|()| out.flush()).map_err(|error| failed(b"", &error))
}

fn write_members(
    tree: &Tree,
    prefix: &str,
    epoch: Option<i64>,
    out: &mut dyn Write,
) -> Result<(), BuildError> {
    let mut header = Vec::new();
    let mut written: BTreeMap<Arc<[u8]>, Vec<u8>> = BTreeMap::new();
    let mut put = |entry: Entry, node: Option<&Node>, out: &mut dyn Write| -> io::Result<()> {
        header.clear();
        tar::write_header(&mut header, &entry);
        out.write_all(&header)?;
        if let (EntryKind::File { size }, Some(node)) = (&entry.kind, node) {
            let source = node.source().ok_or(io::ErrorKind::NotFound)?;
            if io::copy(&mut source.open()?, out)? != *size {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            out.write_all(&vec![0; tar::padding(*size)])?;
        }
        Ok(())
    };
    if !prefix.is_empty() {
        put(platform_directory(prefix, epoch), None, out)
            .map_err(|error| failed(prefix.as_bytes(), &error))?;
    }
    for node in tree.nodes() {
        let path = crate::tree::join(prefix.as_bytes(), &node.entry.path);
        let mut entry = Entry { path, mtime: epoch.unwrap_or(node.entry.mtime), ..node.entry.clone() };
        if let Some(group) = &node.link_group {
            match written.get(group) {
                Some(first) => entry.kind = EntryKind::Hardlink { target: first.clone() },
                None => {
                    written.insert(group.clone(), entry.path.clone());
                }
            }
        }
        put(entry, Some(node), out).map_err(|error| failed(&node.entry.path, &error))?;
    }
    Ok(())
}

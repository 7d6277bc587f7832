//! A root file system as files, and as one tar.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use rbx_oci::{Entry, EntryKind, tar};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps};

use crate::error::BuildError;
use crate::tree::{Node, Tree};

fn failed(what: &[u8], error: &io::Error) -> BuildError {
    BuildError::failed(format!("{error}: failed to export /{}", String::from_utf8_lossy(what)))
}

/// Writes a file system below a directory, over what is there. Links in the directory are replaced, not followed,
/// and everything belongs to who runs this.
pub(crate) fn write_directory(tree: &Tree, path: &Path) -> Result<(), BuildError> {
    let unusable = |error: io::Error| {
        BuildError::invalid(format!("{error}: failed to write to directory {}", path.display()))
    };
    if path.is_file() {
        return Err(BuildError::invalid(format!("destination directory {} is a file", path.display())));
    }
    std::fs::create_dir_all(path).map_err(unusable)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(|error| unusable(error.into()))?;
    for node in tree.nodes() {
        write_node(&root, node).map_err(|error| failed(&node.entry.path, &error))?;
    }
    for node in tree.nodes().iter().rev().filter(|node| node.is_directory()) {
        set_metadata(&root, &node.entry).map_err(|error| failed(&node.entry.path, &error))?;
    }
    Ok(())
}

fn write_node(root: &OwnedFd, node: &Node) -> io::Result<()> {
    let entry = &node.entry;
    let path = Path::new(OsStr::from_bytes(&entry.path));
    // What was written before is directories, and nobody is asked to follow a link.
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let parent = rustix::fs::openat2(root, parent, flags, Mode::empty(), resolve)?;
    let there = match rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Some(FileType::from_raw_mode(stat.st_mode)),
        Err(rustix::io::Errno::NOENT) => None,
        Err(error) => return Err(error.into()),
    };
    match there {
        Some(FileType::Directory) if node.is_directory() => return Ok(()),
        Some(FileType::Directory) => return Err(io::ErrorKind::IsADirectory.into()),
        Some(_) => rustix::fs::unlinkat(&parent, name, AtFlags::empty())?,
        None => {}
    }
    match &entry.kind {
        EntryKind::Directory => rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755))?,
        EntryKind::File { .. } => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut file = File::from(rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o600))?);
            let source = node.source().ok_or(io::ErrorKind::NotFound)?;
            io::copy(&mut source.open()?, &mut file)?;
            rustix::fs::fchmod(&file, Mode::from_raw_mode(entry.mode))?;
            rustix::fs::futimens(&file, &times(entry))?;
        }
        EntryKind::Symlink { target } => rustix::fs::symlinkat(&**target, &parent, name)?,
        EntryKind::Fifo => {
            rustix::fs::mknodat(&parent, name, FileType::Fifo, Mode::from_raw_mode(entry.mode), 0)?;
        }
        EntryKind::CharDevice { major, minor } => {
            let device = rustix::fs::makedev(*major, *minor);
            let mode = Mode::from_raw_mode(entry.mode);
            rustix::fs::mknodat(&parent, name, FileType::CharacterDevice, mode, device)?;
        }
        EntryKind::BlockDevice { major, minor } => {
            let device = rustix::fs::makedev(*major, *minor);
            let mode = Mode::from_raw_mode(entry.mode);
            rustix::fs::mknodat(&parent, name, FileType::BlockDevice, mode, device)?;
        }
        EntryKind::Hardlink { .. } | EntryKind::Whiteout | EntryKind::OpaqueDirectory => {}
    }
    Ok(())
}

fn set_metadata(root: &OwnedFd, entry: &Entry) -> io::Result<()> {
    rustix::fs::chmodat(root, &*entry.path, Mode::from_raw_mode(entry.mode), AtFlags::empty())?;
    Ok(rustix::fs::utimensat(root, &*entry.path, &times(entry), AtFlags::SYMLINK_NOFOLLOW)?)
}

fn times(entry: &Entry) -> Timestamps {
    let time = Timespec { tv_sec: entry.mtime, tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

/// Writes file systems as one tar archive, each in the directory of its name, or at the top if that is empty.
pub(crate) fn write_tar(trees: &[(String, Tree)], out: &mut dyn Write) -> Result<(), BuildError> {
    for (prefix, tree) in trees {
        write_members(tree, prefix, out)?;
    }
    out.write_all(&tar::TRAILER).and_then(|()| out.flush()).map_err(|error| failed(b"", &error))
}

fn write_members(tree: &Tree, prefix: &str, out: &mut dyn Write) -> Result<(), BuildError> {
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
        let directory = Entry { mode: 0o755, ..Entry::new(prefix, EntryKind::Directory) };
        put(directory, None, out).map_err(|error| failed(prefix.as_bytes(), &error))?;
    }
    for node in tree.nodes() {
        let path = crate::tree::join(prefix.as_bytes(), &node.entry.path);
        let mut entry = Entry { path, ..node.entry.clone() };
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

//! A tree that is written below a directory.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rbx_request::reason;
use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::mode::{kind, permissions};
use super::packet::{Stat, Xattr};
use super::root::{Root, split, to_path, within};
use crate::id::new_id;

/// Bytes that may be remembered of a tree, in all: of each directory, link and waiting file what is said of it.
const MAX_REMEMBERED: usize = 1 << 30;

/// Writes files over what is there. Nothing is followed: what is in a file's way is replaced, and a directory stays
/// with what else it holds, unless that is to go. A file has its name only when it is whole. Everything belongs to
/// who runs this, as with buildx.
#[derive(Debug)]
pub(super) struct Writer {
    root: Root,
    /// The directory that was last written to.
    parent: Option<(Vec<u8>, Arc<OwnedFd>)>,
    /// Directories get their metadata last, since writing to them changes it, and may be forbidden by it.
    directories: Vec<Stat>,
    /// Links are made last, when what they name is there.
    links: Vec<Stat>,
    /// All paths, if everything else is to go.
    keep: Option<HashSet<Vec<u8>>>,
    remembered: usize,
    owner: (Uid, Gid),
}

/// A file of which a part is there, under a name that does not stay.
#[derive(Debug)]
pub(super) struct Part {
    stat: Stat,
    place: Option<Place>,
}

#[derive(Debug)]
struct Place {
    directory: Arc<OwnedFd>,
    temporary: String,
    file: File,
    kept: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.kept {
            let _ = rustix::fs::unlinkat(&self.directory, &*self.temporary, AtFlags::empty());
        }
    }
}

impl Part {
    pub(super) fn new(stat: Stat) -> Self {
        Self { stat, place: None }
    }
}

impl Writer {
    /// With `delete`, what is in the directory and not in the tree is removed in the end.
    pub(super) fn new(root: Root, delete: bool) -> Self {
        Self {
            root,
            parent: None,
            directories: Vec::new(),
            links: Vec::new(),
            keep: delete.then(HashSet::new),
            remembered: 0,
            owner: (rustix::process::getuid(), rustix::process::getgid()),
        }
    }

    /// Takes the next file of the tree. Answers it if its content is still needed.
    pub(super) fn entry(&mut self, stat: Stat) -> Result<Option<Stat>, String> {
        if let Some(keep) = &mut self.keep {
            keep.insert(stat.path.clone());
            self.remembered += stat.path.len() + 128;
        }
        let kind = kind(stat.mode);
        if kind == FileType::Directory {
            self.make_directory(&stat).map_err(|error| self.failed(&stat.path, &error))?;
            self.remember(&stat)?;
            self.directories.push(stat);
        } else if kind != FileType::Symlink && !stat.link.is_empty() {
            self.remember(&stat)?;
            self.links.push(stat);
        } else if kind == FileType::RegularFile {
            self.remember(&stat)?;
            return Ok(Some(stat));
        } else {
            self.make_special(&stat, kind).map_err(|error| self.failed(&stat.path, &error))?;
        }
        Ok(None)
    }

    /// Adds to the content of a file.
    pub(super) fn write(&mut self, part: &mut Part, content: &[u8]) -> Result<(), String> {
        let written = self.place(part).and_then(|place| place.file.write_all(content));
        written.map_err(|error| self.failed(&part.stat.path, &error))
    }

    /// A file's content is complete.
    pub(super) fn complete(&mut self, mut part: Part) -> Result<(), String> {
        self.forget(&part.stat);
        self.put_in_place(&mut part).map_err(|error| self.failed(&part.stat.path, &error))
    }

    fn put_in_place(&mut self, part: &mut Part) -> io::Result<()> {
        let (user, group) = self.owner;
        self.place(part)?;
        let Part { stat, place: Some(place) } = part else { return Ok(()) };
        set_xattrs(&stat.xattrs, |name, value| {
            rustix::fs::fsetxattr(&place.file, name, value, XattrFlags::empty())
        });
        rustix::fs::fchown(&place.file, Some(user), Some(group))?;
        rustix::fs::fchmod(&place.file, Mode::from_raw_mode(permissions(stat.mode)))?;
        rustix::fs::futimens(&place.file, &times(stat.mtime))?;
        let (_, name) = split(&stat.path);
        if is_directory(&place.directory, name)? {
            std::fs::remove_dir_all(within(&place.directory, name))?;
        }
        rustix::fs::renameat(&place.directory, &*place.temporary, &place.directory, name)?;
        place.kept = true;
        Ok(())
    }

    /// The tree is complete.
    pub(super) fn finish(&mut self) -> Result<(), String> {
        for link in std::mem::take(&mut self.links) {
            self.make_link(&link).map_err(|error| self.failed(&link.path, &error))?;
        }
        let directories = std::mem::take(&mut self.directories);
        if let Some(keep) = self.keep.take() {
            let all = [&[][..]].into_iter().chain(directories.iter().map(|stat| &*stat.path));
            for path in all {
                self.remove_others(path, &keep).map_err(|error| self.failed(path, &error))?;
            }
        }
        for directory in directories.iter().rev() {
            self.set_metadata(directory).map_err(|error| self.failed(&directory.path, &error))?;
        }
        Ok(())
    }

    fn failed(&self, path: &[u8], error: &io::Error) -> String {
        format!("{}: failed to write {}", reason(error), self.root.shown(path).display())
    }

    fn remember(&mut self, stat: &Stat) -> Result<(), String> {
        self.remembered += size(stat);
        if self.remembered > MAX_REMEMBERED { Err("too many files".to_owned()) } else { Ok(()) }
    }

    fn forget(&mut self, stat: &Stat) {
        self.remembered -= size(stat);
    }

    /// A path's directory, which came before it.
    fn parent(&mut self, path: &[u8]) -> io::Result<Arc<OwnedFd>> {
        let (directory, _) = split(path);
        if let Some((_, descriptor)) = self.parent.as_ref().filter(|(open, _)| open == directory) {
            return Ok(descriptor.clone());
        }
        let descriptor = Arc::new(self.root.open_beneath(directory, OFlags::PATH | OFlags::DIRECTORY)?);
        self.parent = Some((directory.to_vec(), descriptor.clone()));
        Ok(descriptor)
    }

    /// The place of a file, which begins to exist here.
    fn place<'p>(&mut self, part: &'p mut Part) -> io::Result<&'p mut Place> {
        if part.place.is_none() {
            let directory = self.parent(&part.stat.path)?;
            let temporary = format!(".rbx.{}", new_id());
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = rustix::fs::openat(&directory, &*temporary, flags, Mode::from_raw_mode(0o600))?;
            part.place = Some(Place { directory, temporary, file: file.into(), kept: false });
        }
        part.place.as_mut().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn make_directory(&mut self, stat: &Stat) -> io::Result<()> {
        let parent = self.parent(&stat.path)?;
        let (_, name) = split(&stat.path);
        if !is_directory(&parent, name)? {
            remove(&parent, name)?;
            rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o700))?;
        }
        Ok(())
    }

    fn make_special(&mut self, stat: &Stat, kind: FileType) -> io::Result<()> {
        let parent = self.parent(&stat.path)?;
        let (_, name) = split(&stat.path);
        remove(&parent, name)?;
        match kind {
            FileType::Symlink => rustix::fs::symlinkat(&*stat.link, &parent, name)?,
            FileType::Fifo | FileType::CharacterDevice | FileType::BlockDevice => {
                let number = |number: i64| u32::try_from(number).map_err(|_| io::ErrorKind::InvalidInput);
                let device = if kind == FileType::Fifo {
                    0
                } else {
                    rustix::fs::makedev(number(stat.device_major)?, number(stat.device_minor)?)
                };
                rustix::fs::mknodat(&parent, name, kind, Mode::from_raw_mode(0o600), device)?;
            }
            _ => return Err(io::Error::new(io::ErrorKind::Unsupported, "unknown type of file")),
        }
        self.set_metadata(stat)
    }

    fn make_link(&mut self, stat: &Stat) -> io::Result<()> {
        let (first_directory, first) = split(&stat.link);
        let first_parent = self.root.open_beneath(first_directory, OFlags::PATH | OFlags::DIRECTORY)?;
        let parent = self.parent(&stat.path)?;
        let (_, name) = split(&stat.path);
        remove(&parent, name)?;
        Ok(rustix::fs::linkat(first_parent, first, &parent, name, AtFlags::empty())?)
    }

    /// Sets what is said of anything but a regular file.
    fn set_metadata(&mut self, stat: &Stat) -> io::Result<()> {
        let parent = self.parent(&stat.path)?;
        let (_, name) = split(&stat.path);
        if !stat.xattrs.is_empty() {
            let path = within(&parent, name);
            set_xattrs(&stat.xattrs, |name, value| {
                rustix::fs::lsetxattr(&path, name, value, XattrFlags::empty())
            });
        }
        let (user, group) = self.owner;
        rustix::fs::chownat(&parent, name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)?;
        if kind(stat.mode) != FileType::Symlink {
            let mode = Mode::from_raw_mode(permissions(stat.mode));
            rustix::fs::chmodat(&parent, name, mode, AtFlags::empty())?;
        }
        Ok(rustix::fs::utimensat(&parent, name, &times(stat.mtime), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Removes what a directory holds besides these paths.
    fn remove_others(&self, path: &[u8], keep: &HashSet<Vec<u8>>) -> io::Result<()> {
        let directory = self.root.open_beneath(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        for item in Dir::read_from(&directory)? {
            let item = item?;
            let name = item.file_name().to_bytes();
            if name != b"." && name != b".." && !keep.contains(&super::root::join(path, name)) {
                remove(&directory, name)?;
            }
        }
        Ok(())
    }
}

/// What is remembered of a file, in bytes, about.
fn size(stat: &Stat) -> usize {
    let xattrs = stat.xattrs.iter().map(|xattr| xattr.name.len() + xattr.value.len() + 64);
    stat.path.len() + stat.link.len() + xattrs.sum::<usize>() + 256
}

/// Whether a name in a directory is that of another directory.
fn is_directory(parent: impl AsFd, name: &[u8]) -> io::Result<bool> {
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Removes what is there, whatever it holds.
fn remove(parent: impl AsFd, name: &[u8]) -> io::Result<()> {
    match rustix::fs::unlinkat(&parent, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => std::fs::remove_dir_all(within(&parent, name)),
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Sets attributes as far as that is allowed, as fsutil.
fn set_xattrs(xattrs: &[Xattr], set: impl Fn(&std::path::Path, &[u8]) -> rustix::io::Result<()>) {
    for xattr in xattrs {
        let _ = set(to_path(&xattr.name), &xattr.value);
    }
}

fn times(mtime: i64) -> Timestamps {
    let time = Timespec { tv_sec: mtime.div_euclid(1_000_000_000), tv_nsec: mtime.rem_euclid(1_000_000_000) };
    Timestamps { last_access: time, last_modification: time }
}

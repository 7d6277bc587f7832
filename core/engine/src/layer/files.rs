//! The files of an archive, as they are written: what lies on disk and the list of it stay the same at every entry,
//! whatever comes in whatever order.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::ops::Bound;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use rbx_oci::{Entry, EntryKind};
use rbx_store::IdMap;
use rustix::fs::{AtFlags, Mode, OFlags};

use super::materialise::{set_metadata, write_special};
use super::origin::{open_beneath, open_root};
use crate::tree::{base_name, parent, resolve};

/// A tree that is being written. Every path of an entry is one that this has resolved: the directories it lies in are
/// entries too, and no links.
pub(super) struct Files {
    pub(super) root: OwnedFd,
    /// The ids that files can have.
    pub(super) ids: Arc<IdMap>,
    /// An empty directory beside it.
    pub(super) aside: OwnedFd,
    pub(super) entries: BTreeMap<Vec<u8>, Entry>,
    /// Directories in which nothing of lower layers is seen.
    pub(super) opaque: BTreeSet<Vec<u8>>,
    /// Directories that something lies in but that the archive does not name.
    pub(super) implied: BTreeSet<Vec<u8>>,
    /// The hard links to each file.
    pub(super) links: BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>>,
    /// The directory that was written into last: the next entry often lies there too.
    pub(super) last: Option<(Vec<u8>, OwnedFd)>,
    /// How many directories were moved aside.
    pub(super) moved: usize,
}

fn refused(reason: &str) -> io::Error {
    io::Error::other(reason.to_owned())
}

impl Files {
    pub(super) fn new(root: &Path, aside: &Path, ids: Arc<IdMap>) -> io::Result<Files> {
        Ok(Files {
            root: open_root(root)?,
            ids,
            aside: open_root(aside)?,
            entries: BTreeMap::new(),
            opaque: BTreeSet::new(),
            implied: BTreeSet::new(),
            links: BTreeMap::new(),
            last: None,
            moved: 0,
        })
    }

    /// Writes a member of an archive.
    pub(super) fn add(&mut self, entry: Entry, content: &mut dyn Read) -> io::Result<()> {
        let path = entry.path.clone();
        self.write(entry, content).map_err(|error| {
            let path = String::from_utf8_lossy(&path);
            io::Error::new(error.kind(), format!("{}: {path:?}", rbx_request::reason(&error)))
        })
    }

    fn write(&mut self, mut entry: Entry, content: &mut dyn Read) -> io::Result<()> {
        // The root has no entry, and nothing below it is hidden from here.
        if entry.path.is_empty() {
            return Ok(());
        }
        let followed = matches!(entry.kind, EntryKind::OpaqueDirectory);
        entry.path = self.resolved(&entry.path, followed)?;
        if followed {
            return self.hide_below(&entry.path);
        }
        self.imply(parent(&entry.path).unwrap_or_default())?;
        harmless(&mut entry);
        match &entry.kind {
            EntryKind::Whiteout => return self.whiteout(entry),
            EntryKind::Hardlink { target } => {
                let target = self.resolved(target, false)?;
                return self.hard_link(entry.path, &target);
            }
            _ => {}
        }
        self.make_room(&entry)?;
        match &entry.kind {
            EntryKind::Directory => {
                self.implied.remove(&entry.path);
                if !self.entries.contains_key(&entry.path) {
                    self.make_directory(&entry.path)?;
                }
            }
            EntryKind::File { size } => {
                let ids = self.ids.clone();
                let (directory, name) = self.place(&entry.path)?;
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(0o600))?;
                if io::copy(content, &mut File::from(file))? != *size {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                set_metadata(directory, name, &entry, &ids)?;
            }
            _ => self.write_special(&entry)?,
        }
        self.entries.insert(entry.path.clone(), entry);
        Ok(())
    }

    /// The directory of a path, and its name there. No link is on the way, whatever the list says.
    pub(super) fn place<'p>(&mut self, path: &'p [u8]) -> io::Result<(&OwnedFd, &'p [u8])> {
        let directory = parent(path).unwrap_or_default();
        let name = base_name(path);
        if directory.is_empty() {
            return Ok((&self.root, name));
        }
        if self.last.as_ref().is_none_or(|(last, _)| last != directory) {
            let opened =
                open_beneath(&self.root, directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC)?;
            self.last = Some((directory.to_vec(), opened));
        }
        let (_, opened) = self.last.as_ref().expect("it was opened above");
        Ok((opened, name))
    }

    pub(super) fn write_special(&mut self, entry: &Entry) -> io::Result<()> {
        let ids = self.ids.clone();
        let (directory, name) = self.place(&entry.path)?;
        write_special(directory, name, entry, &ids)
    }

    pub(super) fn make_directory(&mut self, path: &[u8]) -> io::Result<()> {
        let (directory, name) = self.place(path)?;
        Ok(rustix::fs::mkdirat(directory, name, Mode::from_raw_mode(0o700))?)
    }

    /// The place of a path once the links of this layer in it are followed; the last name's only if `last`.
    fn resolved(&self, path: &[u8], last: bool) -> io::Result<Vec<u8>> {
        let entries = &self.entries;
        resolve(path, last, |path| entries.get(path)).ok_or_else(|| rustix::io::Errno::LOOP.into())
    }

    /// Makes the directories that the archive has not named before what lies in them.
    pub(super) fn imply(&mut self, directory: &[u8]) -> io::Result<()> {
        let mut missing = Vec::new();
        let mut at = directory;
        while !at.is_empty() {
            match self.entries.get(at).map(|entry| &entry.kind) {
                Some(EntryKind::Directory) => break,
                None => missing.push((at.to_vec(), false)),
                // Deleted and made again.
                Some(EntryKind::Whiteout) => missing.push((at.to_vec(), true)),
                Some(_) => return Err(refused("a file is used as a directory")),
            }
            at = parent(at).unwrap_or_default();
        }
        for (path, deleted) in missing.into_iter().rev() {
            if deleted {
                self.remove(&path)?;
                self.opaque.insert(path.clone());
            } else {
                self.implied.insert(path.clone());
            }
            self.make_directory(&path)?;
            let entry = Entry { mode: 0o755, ..Entry::new(path.clone(), EntryKind::Directory) };
            self.entries.insert(path, entry);
        }
        Ok(())
    }

    /// Hides what lower layers have in a directory. The root's is always seen: an overlay cannot hide it.
    pub(super) fn hide_below(&mut self, directory: &[u8]) -> io::Result<()> {
        self.imply(directory)?;
        if !directory.is_empty() {
            self.opaque.insert(directory.to_vec());
        }
        Ok(())
    }

    /// A deletion is about lower layers: what this one has under the name stays.
    fn whiteout(&mut self, entry: Entry) -> io::Result<()> {
        match self.entries.get(&entry.path) {
            None => {
                self.write_special(&entry)?;
                self.entries.insert(entry.path.clone(), entry);
            }
            Some(there) if there.is_directory() => drop(self.opaque.insert(entry.path)),
            Some(_) => {}
        }
        Ok(())
    }

    fn hard_link(&mut self, path: Vec<u8>, target: &[u8]) -> io::Result<()> {
        let first = |files: &Files| match files.entries.get(target).map(|entry| &entry.kind) {
            Some(EntryKind::Hardlink { target }) => target.clone(),
            _ => target.to_vec(),
        };
        if first(self) == path {
            return Ok(());
        }
        self.make_room(&Entry::new(path.clone(), EntryKind::Hardlink { target: Vec::new() }))?;
        let target = first(self);
        // The inode of a lower layer cannot be shared with it; who needs that wrote the file again.
        let missing = || refused("a hard link to a file that the layer does not hold");
        let there = self.entries.get(&target).ok_or_else(missing)?;
        let mut entry = Entry { path: path.clone(), ..there.clone() };
        match there.kind {
            EntryKind::File { .. } => {
                let from =
                    open_beneath(&self.root, &target, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC)?;
                let (directory, name) = self.place(&path)?;
                link(&from, directory, name)?;
                entry.kind = EntryKind::Hardlink { target: target.clone() };
                self.links.entry(target).or_default().insert(path.clone());
            }
            EntryKind::Directory | EntryKind::Whiteout => return Err(missing()),
            // Of all else a second one is as good.
            _ => self.write_special(&entry)?,
        }
        self.entries.insert(path, entry);
        Ok(())
    }

    /// Removes what has the path of an entry that comes later, unless both are directories.
    fn make_room(&mut self, entry: &Entry) -> io::Result<()> {
        let Some(old) = self.entries.get(&entry.path) else { return Ok(()) };
        match (old.is_directory(), entry.is_directory()) {
            (true, true) => {}
            (true, false) => {
                for path in self.below(&entry.path).into_iter().rev() {
                    self.remove(&path)?;
                }
                self.remove(&entry.path)?;
            }
            (false, true) => {
                self.remove(&entry.path)?;
                // What was replaced, or deleted, had already hidden the lower layers' directory of that name.
                self.opaque.insert(entry.path.clone());
            }
            (false, false) => self.remove(&entry.path)?,
        }
        Ok(())
    }

    /// The paths of everything in a directory, parents first.
    pub(super) fn below(&self, directory: &[u8]) -> Vec<Vec<u8>> {
        let prefix = [directory, b"/"].concat();
        let range = (Bound::Included(prefix.clone()), Bound::Unbounded);
        let inside = self.entries.range(range).map(|(path, _)| path);
        inside.take_while(|path| path.starts_with(&prefix)).cloned().collect()
    }

    fn remove(&mut self, path: &[u8]) -> io::Result<()> {
        let Some(old) = self.entries.remove(path) else { return Ok(()) };
        self.implied.remove(path);
        self.opaque.remove(path);
        match &old.kind {
            EntryKind::Hardlink { target } => {
                if let Some(links) = self.links.get_mut(target) {
                    links.remove(path);
                }
            }
            EntryKind::File { .. } => self.pass_on(path, &old),
            // The open directory may be this one.
            EntryKind::Directory => self.last = None,
            _ => {}
        }
        if !self.ids.shows(&old) {
            return Ok(());
        }
        let flags = if old.is_directory() { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        let (directory, name) = self.place(path)?;
        Ok(rustix::fs::unlinkat(directory, name, flags)?)
    }

    /// Makes the first hard link to a file that file: its first name goes.
    fn pass_on(&mut self, path: &[u8], file: &Entry) {
        let mut links = self.links.remove(path).unwrap_or_default();
        let Some(heir) = links.pop_first() else { return };
        self.entries.insert(heir.clone(), Entry { path: heir.clone(), ..file.clone() });
        for link in &links {
            if let Some(entry) = self.entries.get_mut(link) {
                entry.kind = EntryKind::Hardlink { target: heir.clone() };
            }
        }
        self.links.insert(heir, links);
    }
}

/// Gives an open file another name.
fn link(file: &OwnedFd, directory: &OwnedFd, name: &[u8]) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    // An empty path instead would need a capability.
    let file = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(rustix::fs::linkat(rustix::fs::CWD, file, directory, name, AtFlags::SYMLINK_FOLLOW)?)
}

/// Takes out of an entry what would mean something else on disk than in an image.
fn harmless(entry: &mut Entry) {
    // The overlay's own marks are made here alone. Other attributes of users exist on files and directories only.
    let plain = matches!(entry.kind, EntryKind::File { .. } | EntryKind::Directory);
    entry.xattrs.retain(|name, _| {
        !name.starts_with("user.overlay.")
            && !name.starts_with("trusted.overlay.")
            && (plain || !name.starts_with("user."))
    });
    // The device that stands for a deletion in a tree.
    if matches!(entry.kind, EntryKind::CharDevice { major: 0, minor: 0 }) {
        *entry = Entry::new(std::mem::take(&mut entry.path), EntryKind::Whiteout);
    }
}

#[cfg(test)]
mod tests;

//! Layers as directories: what an overlay mounts.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use rbx_oci::{Entry, EntryKind};
use rbx_store::{IdMap, Key, LayerId, LayerIndex, Lease, Store};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};

use super::describe::or_forget;
use super::difference::Difference;
use super::origin::open_root;
use super::pack::{Packing, SectionPlan, split_section};
use crate::error::LayerError;
use crate::tree::compare_paths;

/// The directories of a chain of layers, topmost first. Layers that are only in the store as members are laid
/// out as files now.
pub(crate) fn lower_directories(
    store: &Store,
    lease: &Lease,
    layers: &[LayerId],
    threads: usize,
) -> Result<Vec<PathBuf>, LayerError> {
    let mut found = Vec::with_capacity(layers.len());
    for (at, &id) in layers.iter().enumerate().rev() {
        let below = at.checked_sub(1).map(|at| layers[at]);
        found.extend(directories(store, lease, id, below, threads)?);
    }
    Ok(found)
}

/// The directories of one layer, topmost first: one, or the differences to an earlier version of it and then that
/// version's. `below` is the layer it lies on.
pub(crate) fn directories(
    store: &Store,
    lease: &Lease,
    id: LayerId,
    below: Option<LayerId>,
    threads: usize,
) -> Result<Vec<PathBuf>, LayerError> {
    if store.tree(id).is_none() {
        or_forget(store, id, materialise(store, lease, id, below, threads))?;
    }
    let mut found = vec![store.tree(id).ok_or(LayerError::Missing(id))?];
    if let Some(version) = store.tree_base(id)? {
        found.extend(directories(store, lease, version, below, threads)?);
    }
    Ok(found)
}

/// Whether a layer is laid out as files.
pub(crate) fn is_laid_out(store: &Store, id: LayerId) -> Result<bool, LayerError> {
    let mut at = Some(id);
    while let Some(layer) = at {
        if store.tree(layer).is_none() {
            return Ok(false);
        }
        at = store.tree_base(layer)?;
    }
    Ok(true)
}

fn materialise(
    store: &Store,
    lease: &Lease,
    id: LayerId,
    below: Option<LayerId>,
    threads: usize,
) -> Result<(), LayerError> {
    let layer = store.layer(lease, id)?.ok_or(LayerError::Missing(id))?;
    let index = store.layer_index(id)?;
    let members = store.layer_members(id, &Packing::STORE.name())?.ok_or(LayerError::Missing(id))?;
    let tree = store.new_tree()?;
    let root = open_root(tree.fs()).map_err(|error| LayerError::write(b"", error))?;
    // A layer whose parent is not what it lies on was made as a new version of that parent.
    let version = layer.parent.filter(|parent| Some(*parent) != below && store.tree(*parent).is_some());
    let difference = match version {
        Some(version) => {
            Difference::between(&*store.layer_index(version)?, &index).map(|found| (version, found))
        }
        None => None,
    };
    let ids = store.id_map();
    if let Some((version, difference)) = difference {
        let wanted = difference.index(&index);
        write_tree(store, &ids, &wanted, &index, &members, &root, threads)?;
        tree.set_unshown(&ids, &wanted.entries)?;
        tree.set_base(version)?;
    } else {
        write_tree(store, &ids, &index, &index, &members, &root, threads)?;
        tree.set_unshown(&ids, &index.entries)?;
    }
    store.commit_tree(lease, id, tree)?;
    Ok(())
}

/// Writes the `wanted` entries of a layer below `root`: directories, then files on `threads` threads, then links and
/// special files, and directories' times last, since writing into one changes its own.
fn write_tree(
    store: &Store,
    ids: &IdMap,
    wanted: &LayerIndex,
    index: &LayerIndex,
    members: &[Key],
    root: &OwnedFd,
    threads: usize,
) -> Result<(), LayerError> {
    let entries = || wanted.entries.iter().map(|item| &item.entry);
    for entry in entries().filter(|entry| matches!(entry.kind, EntryKind::Directory)) {
        rustix::fs::mkdirat(root, &*entry.path, Mode::from_raw_mode(0o700))
            .map_err(|error| LayerError::write(&entry.path, error.into()))?;
    }
    write_files(store, ids, wanted, index, members, root, threads)?;
    for entry in entries() {
        match &entry.kind {
            EntryKind::File { .. } | EntryKind::Directory => continue,
            _ => write_special(root, &entry.path, entry, ids),
        }
        .map_err(|error| LayerError::write(&entry.path, error))?;
    }
    for entry in entries().filter(|entry| matches!(entry.kind, EntryKind::Directory)).rev() {
        set_metadata(root, &entry.path, entry, ids).map_err(|error| LayerError::write(&entry.path, error))?;
    }
    Ok(())
}

fn write_files(
    store: &Store,
    ids: &IdMap,
    wanted: &LayerIndex,
    index: &LayerIndex,
    members: &[Key],
    root: &OwnedFd,
    threads: usize,
) -> Result<(), LayerError> {
    let plan = SectionPlan::new(index);
    let is_wanted = |entry: &Entry| {
        wanted.entries.binary_search_by(|item| compare_paths(&item.entry.path, &entry.path)).is_ok()
    };
    let next = AtomicUsize::new(0);
    let failure: Mutex<Option<LayerError>> = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                let mut tar = Vec::new();
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(key) = members.get(at) else { return };
                    if !plan.entries(index, at).any(&is_wanted) {
                        continue;
                    }
                    let written = store.member(key).map_err(LayerError::from).and_then(|packed| {
                        tar.clear();
                        Packing::STORE.decompress(&packed.ok_or(LayerError::Damaged)?, &mut tar)?;
                        split_section(index, at, &plan, &tar, |entry, offset, bytes| {
                            if !is_wanted(entry) {
                                return Ok(());
                            }
                            write_chunk(root, entry, ids, offset, bytes)
                                .map_err(|error| LayerError::write(&entry.path, error))
                        })
                    });
                    if let Err(error) = written {
                        failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                        next.store(members.len(), Ordering::Relaxed);
                        return;
                    }
                }
            });
        }
    });
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// Writes one chunk of a file. Chunks of one file may come in any order and from several threads; the metadata
/// is set with each, so that the last one to come leaves it right.
fn write_chunk(root: &OwnedFd, entry: &Entry, ids: &IdMap, offset: u64, bytes: &[u8]) -> io::Result<()> {
    let EntryKind::File { size } = entry.kind else { return Ok(()) };
    let whole = offset == 0 && bytes.len() as u64 == size;
    let create = if whole { OFlags::EXCL } else { OFlags::empty() };
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | create;
    let mut file =
        File::from(rustix::fs::openat(root, &*entry.path, flags, Mode::from_raw_mode(entry.mode & 0o600))?);
    if whole {
        file.write_all(bytes)?;
    } else {
        file.write_all_at(bytes, offset)?;
    }
    own(&file, entry, ids)?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(entry.mode))?;
    for (name, value) in &entry.xattrs {
        rustix::fs::fsetxattr(&file, name.as_str(), value, XattrFlags::empty())?;
    }
    rustix::fs::futimens(&file, &times(entry))?;
    Ok(())
}

fn own(file: &File, entry: &Entry, ids: &IdMap) -> io::Result<()> {
    let current = rustix::fs::fstat(file)?;
    let (user, group) = owner(entry, ids);
    if (current.st_uid, current.st_gid) != (user.as_raw(), group.as_raw()) {
        rustix::fs::fchown(file, Some(user), Some(group))?;
    }
    Ok(())
}

/// The owner that a tree shows for an entry.
fn owner(entry: &Entry, ids: &IdMap) -> (Uid, Gid) {
    (Uid::from_raw(ids.user_or_root(entry.uid)), Gid::from_raw(ids.group_or_root(entry.gid)))
}

fn times(entry: &Entry) -> Timestamps {
    let time = Timespec { tv_sec: entry.mtime, tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

/// Makes a link, device, FIFO or whiteout at a path below `root`, which is also where a hard link's target is.
///
/// A device that this process may not make is left out.
pub(crate) fn write_special(root: &OwnedFd, path: &[u8], entry: &Entry, ids: &IdMap) -> io::Result<()> {
    if !ids.shows(entry) {
        return Ok(());
    }
    let node = |kind, device| rustix::fs::mknodat(root, path, kind, Mode::from_raw_mode(0o600), device);
    match &entry.kind {
        EntryKind::Symlink { target } => rustix::fs::symlinkat(&**target, root, path)?,
        EntryKind::Hardlink { target } => {
            rustix::fs::linkat(root, &**target, root, path, AtFlags::empty())?;
            return Ok(());
        }
        EntryKind::CharDevice { major, minor } => {
            node(FileType::CharacterDevice, rustix::fs::makedev(*major, *minor))?;
        }
        EntryKind::BlockDevice { major, minor } => {
            node(FileType::BlockDevice, rustix::fs::makedev(*major, *minor))?;
        }
        EntryKind::Fifo => node(FileType::Fifo, 0)?,
        EntryKind::Whiteout => {
            node(FileType::CharacterDevice, 0)?;
            return Ok(());
        }
        EntryKind::OpaqueDirectory => {
            rustix::fs::setxattr(
                descriptor_path(root, path),
                "user.overlay.opaque",
                b"y",
                XattrFlags::empty(),
            )?;
            return Ok(());
        }
        EntryKind::File { .. } | EntryKind::Directory => return Ok(()),
    }
    set_metadata(root, path, entry, ids)
}

/// Sets owner, mode, extended attributes and times of what a path below `root` names, links not followed.
pub(crate) fn set_metadata(root: &OwnedFd, path: &[u8], entry: &Entry, ids: &IdMap) -> io::Result<()> {
    let nofollow = AtFlags::SYMLINK_NOFOLLOW;
    let (user, group) = owner(entry, ids);
    rustix::fs::chownat(root, path, Some(user), Some(group), nofollow)?;
    if !matches!(entry.kind, EntryKind::Symlink { .. }) {
        rustix::fs::chmodat(root, path, Mode::from_raw_mode(entry.mode), AtFlags::empty())?;
    }
    for (name, value) in &entry.xattrs {
        let path = descriptor_path(root, path);
        rustix::fs::lsetxattr(path, name.as_str(), value, XattrFlags::empty())?;
    }
    rustix::fs::utimensat(root, path, &times(entry), nofollow)?;
    Ok(())
}

/// A path of a directory descriptor for calls that take none: `/proc/self/fd/N/path`.
fn descriptor_path(root: &OwnedFd, path: &[u8]) -> Vec<u8> {
    use std::os::fd::AsRawFd;
    let mut full = format!("/proc/self/fd/{}/", root.as_fd().as_raw_fd()).into_bytes();
    full.extend_from_slice(path);
    full
}

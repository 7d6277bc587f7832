//! Mounts made and moved by descriptor.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::{Errno, Result};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags};

use super::failure::{During, Failure, Stage};
use super::{failure, sys};

/// Nothing but data: no set-user-ID, no devices, nothing to execute.
pub(super) const INERT: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC);
pub(super) const READ_ONLY: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_RDONLY;
pub(super) const NO_DEVICES: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NODEV;
pub(super) const NO_SETUID: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID;

/// What every overlay is mounted with, by root too: native, emulated and rootless steps share trees, and two ways to
/// write "deleted" would bring files back.
const OVERLAY: &str = "userxattr,redirect_dir=nofollow,metacopy=off,index=off,xino=off";

/// The kernel's limit on the lower layers of an overlay.
const MOST_LAYERS: usize = 500;

/// Opens `path` as a place in the file system, symbolic links followed.
pub(super) fn place(dir: impl AsFd, path: impl rustix::path::Arg) -> Result<OwnedFd> {
    rustix::fs::openat(dir, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}

/// Makes a file system that is not mounted anywhere yet. Options without a value are flags.
pub(super) fn filesystem(
    kind: &str,
    options: &[(&str, &str)],
    attributes: MountAttrFlags,
) -> Result<OwnedFd> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    if !options.iter().any(|(key, _)| *key == "source") {
        // What `mount` and `df` show in the first column.
        rustix::mount::fsconfig_set_string(&context, "source", kind)?;
    }
    for (key, value) in options {
        if value.is_empty() {
            rustix::mount::fsconfig_set_flag(&context, *key)?;
        } else {
            rustix::mount::fsconfig_set_string(&context, *key, *value)?;
        }
    }
    rustix::mount::fsconfig_create(&context)?;
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// A mount of what `path` in `dir` shows, with what is mounted below it.
pub(super) fn bind(
    dir: impl AsFd,
    path: impl rustix::path::Arg,
    attributes: MountAttrFlags,
) -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::AT_EMPTY_PATH;
    let mount = rustix::mount::open_tree(dir, path, flags)?;
    if !attributes.is_empty() {
        sys::mount_setattr(&mount, attributes.bits().into(), true)?;
    }
    Ok(mount)
}

/// Mounts `mount` on the place `target`.
pub(super) fn attach(mount: impl AsFd, target: impl AsFd) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(mount, c"", target, c"", flags)
}

/// Trees to merge, as paths; see [`crate::RootFs`].
pub(super) struct Layers<'a> {
    pub(super) lower: &'a [PathBuf],
    /// The tree for changes and the overlay's work directory; without them the merged tree is read-only.
    pub(super) writable: Option<(&'a Path, &'a Path)>,
}

/// Mounts the merged tree on the place `target`. `empty` is an empty directory: an overlay wants a lower tree, and
/// two if it has no upper one.
///
/// By `mount(2)` and with descriptors' numbers for paths, seen from `/proc/self/fd`: the new interface can append
/// layers one by one only from Linux 6.7 on, and takes no path above 255 bytes. This way a page of options holds the
/// 500 layers that the kernel merges, and `/proc/self/mountinfo` tells a step nothing of the host.
pub(super) fn overlay(
    layers: &Layers<'_>,
    empty: BorrowedFd<'_>,
    target: &OwnedFd,
    no_devices: bool,
) -> failure::Result<()> {
    if layers.lower.len() > MOST_LAYERS {
        let message = format!("{} layers: the kernel merges at most {MOST_LAYERS}", layers.lower.len());
        return Err(Failure::new(Stage::Overlay, message));
    }
    let directory = |path: &Path| {
        rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .during(Stage::Overlay, || format!("opening the tree {}", path.display()))
    };
    let lower = layers.lower.iter().map(|path| directory(path)).collect::<failure::Result<Vec<_>>>()?;
    let mut numbers: Vec<String> = lower.iter().map(|fd| fd.as_raw_fd().to_string()).collect();
    let enough = if layers.writable.is_some() { 1 } else { 2 };
    // The same directory twice is refused, so a tree without layers is the directory itself.
    if numbers.len() < enough {
        numbers.push(empty.as_raw_fd().to_string());
    }
    let mut options = format!("{OVERLAY},lowerdir={}", numbers.join(":"));
    let mut held = lower;
    if let Some((upper, work)) = layers.writable {
        let (upper, work) = (directory(upper)?, directory(work)?);
        options = format!("{options},volatile,upperdir={},workdir={}", upper.as_raw_fd(), work.as_raw_fd());
        held.extend([upper, work]);
    }
    let what = || match layers.writable {
        Some((upper, _)) => format!("mounting an overlay of {} trees on {}", held.len(), upper.display()),
        None => format!("mounting an overlay of {} trees", held.len()),
    };
    let options = std::ffi::CString::new(options).map_err(|_| Errno::INVAL).during(Stage::Overlay, what)?;
    let flags = if no_devices { MountFlags::NODEV } else { MountFlags::empty() };
    let target = target.as_raw_fd().to_string();
    rustix::process::chdir(c"/proc/self/fd")
        .and_then(|()| rustix::mount::mount(c"overlay", target, c"overlay", flags, options.as_c_str()))
        .during(Stage::Overlay, what)
}

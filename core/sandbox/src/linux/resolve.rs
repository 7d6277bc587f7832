//! Finding, and making, places inside a root whose content is hostile.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid};
use rustix::io::{Errno, Result};

/// As many symbolic links as the kernel follows in one path.
const MOST_LINKS: usize = 40;

/// What to do about a place that does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// Make a directory, and those above it.
    Directory,
    /// Make an empty file, and the directories above it.
    File,
    /// Make directories that belong to a user.
    Owned { uid: u32, gid: u32 },
}

/// A place inside the root.
pub(super) struct Found {
    pub(super) fd: OwnedFd,
    /// The paths from the root, free of links, of what had to be made: outermost first.
    pub(super) made: Vec<Vec<u8>>,
}

/// Finds `path` inside `root`, making what is missing.
///
/// The walk takes one component at a time from descriptor to descriptor and interprets links itself, dangling ones
/// too: `/etc/resolv.conf` is one in many images, and what it points to has to be made. `..` goes back along the way
/// taken, never past the root.
pub(super) fn find_or_make(root: BorrowedFd<'_>, path: &str, missing: Missing) -> Result<Found> {
    let mut pending: VecDeque<Vec<u8>> = components(path.as_bytes()).collect();
    // Directories from the root to the current one, with their names.
    let mut way: Vec<(OwnedFd, Vec<u8>)> = vec![(rustix::io::fcntl_dupfd_cloexec(root, 0)?, Vec::new())];
    let mut made = Vec::new();
    let mut links = 0;

    while let Some(name) = pending.pop_front() {
        if name == b".." {
            if way.len() > 1 {
                way.pop();
            }
            continue;
        }
        let last = pending.is_empty();
        let here = &way.last().ok_or(Errno::NOENT)?.0;
        let entry = match open(here, &name) {
            Err(Errno::NOENT) => {
                make(here, &name, missing, last)?;
                let trail = way.iter().skip(1).map(|(_, name)| &name[..]).chain([&name[..]]);
                made.push(trail.collect::<Vec<_>>().join(&b'/'));
                open(here, &name)?
            }
            entry => entry?,
        };
        match FileType::from_raw_mode(rustix::fs::fstat(&entry)?.st_mode) {
            FileType::Symlink => {
                links += 1;
                if links > MOST_LINKS {
                    return Err(Errno::LOOP);
                }
                let target = rustix::fs::readlinkat(&entry, c"", Vec::new())?.into_bytes();
                if target.first() == Some(&b'/') {
                    way.truncate(1);
                }
                for component in components(&target).collect::<Vec<_>>().into_iter().rev() {
                    pending.push_front(component);
                }
            }
            FileType::Directory => way.push((entry, name)),
            _ if last => return Ok(Found { fd: entry, made }),
            _ => return Err(Errno::NOTDIR),
        }
    }
    let (fd, _) = way.pop().ok_or(Errno::NOENT)?;
    Ok(Found { fd, made })
}

fn components(path: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    path.split(|&byte| byte == b'/').filter(|name| !name.is_empty() && *name != b".").map(<[u8]>::to_vec)
}

fn open(dir: &OwnedFd, name: &[u8]) -> Result<OwnedFd> {
    rustix::fs::openat(dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// Makes `name` in `dir` and gives `dir` its times back, so that two runs of a step leave the same tree.
fn make(dir: &OwnedFd, name: &[u8], missing: Missing, last: bool) -> Result<()> {
    let before = rustix::fs::fstat(dir)?;
    let mode = Mode::from_raw_mode(0o755);
    match missing {
        Missing::File if last => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            drop(rustix::fs::openat(dir, name, flags, mode)?);
        }
        Missing::Directory | Missing::File => rustix::fs::mkdirat(dir, name, mode)?,
        Missing::Owned { uid, gid } => {
            rustix::fs::mkdirat(dir, name, mode)?;
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            rustix::fs::chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        }
    }
    rustix::fs::utimensat(dir, c".", &times(&before), AtFlags::empty())
}

fn times(stat: &Stat) -> Timestamps {
    let time = |seconds: i64, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or_default(),
    };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

/// Opens `path` inside `root`; links stay inside it, and magic links of `/proc` are refused.
pub(super) fn open_inside(root: impl AsFd, path: &str, flags: OFlags) -> Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let path = if path.is_empty() { "." } else { path };
    // EAGAIN: something was renamed meanwhile, and the kernel will not say whether the result was inside.
    for _ in 0..32 {
        match rustix::fs::openat2(&root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            result => return result,
        }
    }
    Err(Errno::AGAIN)
}

/// Removes from `upper`, the tree of a step that has ended, the mount points that were made for it, unless something
/// is in them by now.
pub(super) fn remove_stubs(upper: &Path, stubs: &[Vec<u8>]) -> Result<()> {
    if stubs.is_empty() {
        return Ok(());
    }
    let upper = rustix::fs::open(upper, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    for stub in stubs.iter().rev() {
        // A step may move a directory with a mount point in it away; then its stub stays, as in BuildKit.
        let _ = remove_stub(&upper, stub);
    }
    Ok(())
}

fn remove_stub(upper: &OwnedFd, stub: &[u8]) -> Result<()> {
    let (parent, name) = match stub.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&stub[..slash], &stub[slash + 1..]),
        None => (&b"."[..], stub),
    };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = rustix::fs::openat2(upper, OsStr::from_bytes(parent), flags, Mode::empty(), resolve)?;
    let before = rustix::fs::fstat(&parent)?;
    let entry = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    match FileType::from_raw_mode(entry.st_mode) {
        FileType::Directory => rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR)?,
        FileType::RegularFile if entry.st_size == 0 => {
            rustix::fs::unlinkat(&parent, name, AtFlags::empty())?;
        }
        _ => return Ok(()),
    }
    rustix::fs::futimens(&parent, &times(&before))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn root() -> (tempfile::TempDir, OwnedFd) {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir_all(dir.path().join("root/etc")).expect("etc");
        let fd = rustix::fs::open(dir.path().join("root"), OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        (dir, fd.expect("the root"))
    }

    fn made(root: &OwnedFd, path: &str, missing: Missing) -> Vec<String> {
        let found = find_or_make(root.as_fd(), path, missing).expect(path);
        found.made.into_iter().map(|path| String::from_utf8(path).expect("UTF-8")).collect()
    }

    #[test]
    fn missing_places_are_made_and_listed() {
        let (dir, root) = root();
        assert_eq!(made(&root, "/a/b/c", Missing::Directory), ["a", "a/b", "a/b/c"]);
        assert_eq!(made(&root, "a/./b//c/", Missing::Directory), [""; 0]);
        assert_eq!(made(&root, "/etc/hosts", Missing::File), ["etc/hosts"]);
        let hosts = std::fs::metadata(dir.path().join("root/etc/hosts")).expect("hosts");
        assert!(hosts.is_file());
    }

    #[test]
    fn links_and_dots_stay_inside() {
        let (dir, root) = root();
        symlink("/../../outside", dir.path().join("root/abs")).expect("a link");
        symlink("../../../outside", dir.path().join("root/etc/up")).expect("a link");
        assert_eq!(made(&root, "/abs/x", Missing::Directory), ["outside", "outside/x"]);
        assert_eq!(made(&root, "/etc/up/y", Missing::Directory), ["outside/y"]);
        assert_eq!(made(&root, "/../../../z", Missing::Directory), ["z"]);
        assert!(!dir.path().join("outside").exists());
        assert!(!dir.path().join("z").exists());
    }

    #[test]
    fn dangling_links_are_followed() {
        let (dir, root) = root();
        symlink("../run/resolve/stub.conf", dir.path().join("root/etc/resolv.conf")).expect("a link");
        assert_eq!(
            made(&root, "/etc/resolv.conf", Missing::File),
            ["run", "run/resolve", "run/resolve/stub.conf"]
        );
    }

    #[test]
    fn circular_links_end() {
        let (dir, root) = root();
        symlink("b", dir.path().join("root/a")).expect("a link");
        symlink("a", dir.path().join("root/b")).expect("a link");
        assert_eq!(find_or_make(root.as_fd(), "/a/x", Missing::Directory).err(), Some(Errno::LOOP));
        assert_eq!(
            find_or_make(root.as_fd(), "/a", Missing::Directory).err(),
            Some(Errno::LOOP),
            "as the last component too"
        );
    }

    #[test]
    fn a_file_is_no_directory() {
        let (dir, root) = root();
        std::fs::write(dir.path().join("root/f"), "x").expect("a file");
        assert_eq!(find_or_make(root.as_fd(), "/f/x", Missing::Directory).err(), Some(Errno::NOTDIR));
    }

    #[test]
    fn making_leaves_the_times_of_the_directory_above() {
        let (dir, root) = root();
        let etc = dir.path().join("root/etc");
        let before = std::fs::metadata(&etc).and_then(|etc| etc.modified()).expect("a time");
        std::thread::sleep(std::time::Duration::from_millis(20));
        made(&root, "/etc/hosts", Missing::File);
        assert_eq!(std::fs::metadata(&etc).and_then(|etc| etc.modified()).expect("a time"), before);
    }

    #[test]
    fn stubs_go_unless_used_or_reached_through_a_link() {
        let (dir, root) = root();
        let upper = dir.path().join("root");
        let mut stubs = Vec::new();
        for path in ["/a/b", "/used/x", "/moved/y"] {
            stubs.extend(find_or_make(root.as_fd(), path, Missing::Directory).expect(path).made);
        }
        stubs.extend(find_or_make(root.as_fd(), "/etc/hosts", Missing::File).expect("hosts").made);
        std::fs::write(upper.join("used/kept"), "").expect("a file");
        std::fs::rename(upper.join("moved"), dir.path().join("outside")).expect("a rename");
        symlink(dir.path().join("outside"), upper.join("moved")).expect("a link");

        remove_stubs(&upper, &stubs).expect("removal");
        assert!(!upper.join("a").exists());
        assert!(!upper.join("etc/hosts").exists());
        assert!(upper.join("used/kept").exists() && !upper.join("used/x").exists());
        assert!(dir.path().join("outside/y").exists(), "never through a link");
        assert!(upper.join("moved").is_symlink());
    }

    #[test]
    fn owned_directories_have_their_mode() {
        let (dir, root) = root();
        let ids = Missing::Owned {
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
        };
        assert_eq!(made(&root, "/work/dir", ids), ["work", "work/dir"]);
        let mode = std::fs::metadata(dir.path().join("root/work")).expect("work").permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
    }
}

//! A walk over a directory in the order that the protocol demands: each directory before what it holds, and names
//! by their bytes. Threads read ahead, within bounds.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::vec;

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Dir, FileType, OFlags};
use rustix::io::Errno;

use super::filter::{Filter, FilterState};
use super::mode::to_go;
use super::packet::{Stat, Xattr};
use super::root::{Root, go_error, join, to_path, within};

/// Threads that read ahead.
const HELPERS: usize = 3;
/// Files that were read ahead and not sent yet, at most, about.
const AHEAD: usize = 1 << 15;

/// Walks what a filter keeps, and hands each file on, in order. Files belong to root; several names of one file are
/// links to its first, as long as they are on one device. The walk ends at the first error, and when `send` fails.
///
/// What vanishes meanwhile was not there.
pub(super) fn walk<E: From<String>>(
    root: &Root,
    filter: &Filter,
    mut send: impl FnMut(Stat) -> Result<(), E>,
) -> Result<(), E> {
    let walk =
        Walk { root, filter, stack: Mutex::default(), changed: Condvar::new(), ahead: AtomicUsize::new(0) };
    let first = Arc::new(Pending::new(Vec::new(), FilterState::default()));
    std::thread::scope(|scope| {
        let _stop = Stop(&walk);
        let items = walk.listing(&first)?;
        if items.iter().filter(|item| item.below.is_some()).nth(1).is_some() {
            for _ in 0..HELPERS {
                scope.spawn(|| walk.help());
            }
        }
        walk.in_order(items, &mut send)
    })
}

struct Walk<'a> {
    root: &'a Root,
    filter: &'a Filter,
    stack: Mutex<Stack>,
    /// There is more to read, or room for it, or the walk ended.
    changed: Condvar,
    /// Files that were read ahead.
    ahead: AtomicUsize,
}

/// Directories to read, the next one last.
#[derive(Default)]
struct Stack {
    waiting: Vec<Arc<Pending>>,
    stopped: bool,
}

/// A directory whose files come later.
struct Pending {
    path: Vec<u8>,
    state: FilterState,
    slot: Mutex<Slot>,
    read: Condvar,
}

enum Slot {
    Waiting,
    Taken,
    Read(Result<Vec<Item>, String>),
}

/// A file of a directory.
struct Item {
    stat: Stat,
    kept: bool,
    /// Its device and inode, if it has other names.
    inode: Option<(u64, u64)>,
    /// If it is a directory to walk.
    below: Option<Arc<Pending>>,
}

impl Pending {
    fn new(path: Vec<u8>, state: FilterState) -> Self {
        Self { path, state, slot: Mutex::new(Slot::Waiting), read: Condvar::new() }
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims the reading of it; `false` if somebody else has.
    fn take(&self) -> bool {
        let mut slot = self.slot();
        let waiting = matches!(*slot, Slot::Waiting);
        if waiting {
            *slot = Slot::Taken;
        }
        waiting
    }
}

/// Ends the helpers.
struct Stop<'a>(&'a Walk<'a>);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.stack().stopped = true;
        self.0.changed.notify_all();
    }
}

/// A directory in the middle of being handed on.
struct Level {
    items: vec::IntoIter<Item>,
    /// The directory itself, which is sent only if something in it is.
    unsent: Option<Stat>,
}

impl Walk<'_> {
    fn stack(&self) -> MutexGuard<'_, Stack> {
        self.stack.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn in_order<E: From<String>>(
        &self,
        items: Vec<Item>,
        send: &mut impl FnMut(Stat) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut levels = vec![Level { items: items.into_iter(), unsent: None }];
        let mut first_names: HashMap<(u64, u64), Vec<u8>> = HashMap::new();
        while let Some(level) = levels.last_mut() {
            let Some(item) = level.items.next() else {
                levels.pop();
                continue;
            };
            let Item { mut stat, kept, inode, below } = item;
            let mut unsent = None;
            if kept {
                for level in &mut levels {
                    if let Some(stat) = level.unsent.take() {
                        send(stat)?;
                    }
                }
                if let Some(inode) = inode {
                    match first_names.get(&inode) {
                        Some(first) if stat.link.is_empty() => stat.link.clone_from(first),
                        Some(_) => {}
                        None => drop(first_names.insert(inode, stat.path.clone())),
                    }
                }
                send(stat)?;
            } else {
                unsent = Some(stat);
            }
            if let Some(below) = below {
                levels.push(Level { items: self.listing(&below)?.into_iter(), unsent });
            }
        }
        Ok(())
    }

    /// What a directory holds: read here, unless a helper has read it or is about to.
    fn listing(&self, pending: &Pending) -> Result<Vec<Item>, String> {
        if pending.take() {
            return self.read(pending);
        }
        let taken = |slot: &mut Slot| matches!(slot, Slot::Taken);
        let mut slot = pending.read.wait_while(pending.slot(), taken).unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *slot, Slot::Taken) {
            Slot::Read(items) => {
                let items = items?;
                self.ahead.fetch_sub(items.len(), Ordering::Relaxed);
                self.changed.notify_all();
                Ok(items)
            }
            // It is asked for once, by the one that hands on.
            Slot::Waiting | Slot::Taken => Ok(Vec::new()),
        }
    }

    /// Reads directories ahead until the walk ends.
    fn help(&self) {
        let mut stack = self.stack();
        while !stack.stopped {
            let next = if self.ahead.load(Ordering::Relaxed) < AHEAD { stack.waiting.pop() } else { None };
            let Some(pending) = next else {
                stack = self.changed.wait(stack).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(stack);
            if pending.take() {
                let items = self.read(&pending);
                self.ahead.fetch_add(items.as_ref().map_or(0, Vec::len), Ordering::Relaxed);
                *pending.slot() = Slot::Read(items);
                pending.read.notify_all();
            }
            stack = self.stack();
        }
    }

    /// Reads what a directory holds, in order.
    fn read(&self, directory: &Pending) -> Result<Vec<Item>, String> {
        let failed = |error: Errno| go_error("open", &self.root.shown(&directory.path), &error.into());
        let descriptor = match self.root.open_beneath(&directory.path, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(descriptor) => descriptor,
            // Removed or replaced since its own directory was read.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) if !directory.path.is_empty() => {
                return Ok(Vec::new());
            }
            Err(error) => return Err(failed(error)),
        };
        let mut items = Vec::new();
        let mut buffer = Vec::new();
        for item in Dir::read_from(&descriptor).map_err(failed)? {
            let item = item.map_err(failed)?;
            let name = item.file_name().to_bytes();
            if name != b"." && name != b".." {
                let path = join(&directory.path, name);
                items.extend(self.item(&descriptor, name, path, &directory.state, &mut buffer)?);
            }
        }
        items.sort_unstable_by(|a, b| a.stat.path.cmp(&b.stat.path));
        let below: Vec<_> = items.iter().rev().filter_map(|item| item.below.clone()).collect();
        if !below.is_empty() {
            self.stack().waiting.extend(below);
            self.changed.notify_all();
        }
        Ok(items)
    }

    fn item(
        &self,
        directory: &OwnedFd,
        name: &[u8],
        path: Vec<u8>,
        state: &FilterState,
        buffer: &mut Vec<u8>,
    ) -> Result<Option<Item>, String> {
        let judgement = self.filter.judge(state, &path);
        if !judgement.kept && !judgement.descend {
            return Ok(None);
        }
        let failed = |operation, error: Errno| go_error(operation, &self.root.shown(&path), &error.into());
        let found = match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => found,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(failed("lstat", error)),
        };
        let kind = FileType::from_raw_mode(found.st_mode);
        let is_directory = kind == FileType::Directory;
        if !judgement.kept && !is_directory {
            return Ok(None);
        }
        let mut stat = Stat {
            mode: to_go(found.st_mode),
            size: if is_directory { 0 } else { found.st_size },
            mtime: found
                .st_mtime
                .saturating_mul(1_000_000_000)
                .saturating_add(i64::try_from(found.st_mtime_nsec).unwrap_or(0)),
            ..Stat::default()
        };
        match kind {
            FileType::Symlink => match rustix::fs::readlinkat(directory, name, Vec::new()) {
                Ok(target) => stat.link = target.into_bytes(),
                Err(Errno::NOENT | Errno::INVAL) => return Ok(None),
                Err(error) => return Err(failed("readlink", error)),
            },
            FileType::CharacterDevice | FileType::BlockDevice => {
                stat.device_major = rustix::fs::major(found.st_rdev).into();
                stat.device_minor = rustix::fs::minor(found.st_rdev).into();
            }
            _ => {}
        }
        match xattrs(directory, name, buffer) {
            Ok(xattrs) => stat.xattrs = xattrs,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => {
                let error = go_error("failed to xattr", &self.root.shown(&path), &error.into());
                return Err(error);
            }
        }
        let below = (is_directory && judgement.descend)
            .then(|| Arc::new(Pending::new(path.clone(), judgement.state)));
        stat.path = path;
        let inode = (!is_directory && found.st_nlink > 1).then_some((found.st_dev, found.st_ino));
        Ok(Some(Item { stat, kept: judgement.kept, inode, below }))
    }
}

/// The extended attributes of a file in an opened directory. One that cannot be read is left out.
fn xattrs(directory: &OwnedFd, name: &[u8], buffer: &mut Vec<u8>) -> rustix::io::Result<Vec<Xattr>> {
    let path = within(directory, name);
    buffer.resize(buffer.len().max(1 << 10), 0);
    let names = loop {
        match rustix::fs::llistxattr(&path, &mut **buffer) {
            Ok(0) | Err(Errno::NOTSUP) => return Ok(Vec::new()),
            Ok(length) => break buffer[..length].to_vec(),
            // The kernel lists 64 KiB at most.
            Err(Errno::RANGE) if buffer.len() < 1 << 17 => buffer.resize(buffer.len() * 4, 0),
            Err(error) => return Err(error),
        }
    };
    let mut xattrs = Vec::new();
    for name in
        names.split(|&byte| byte == 0).filter(|name| !name.is_empty() && !name.starts_with(b"com.apple."))
    {
        // Values have 64 KiB at most, too.
        buffer.resize(1 << 16, 0);
        if let Ok(length) = rustix::fs::lgetxattr(&path, to_path(name), &mut **buffer) {
            xattrs.push(Xattr { name: name.to_vec(), value: buffer[..length].to_vec() });
        }
    }
    Ok(xattrs)
}

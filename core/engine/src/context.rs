//! A directory on this machine as the source of `COPY` and `ADD`: read in place, each file once.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use rbx_dockerfile::{DirState, Ignore};
use rbx_oci::{Entry, EntryKind};
use rbx_store::{FileStat, StatCache, Store};
use rustix::fs::{AtFlags, CWD, Dir, FileType, OFlags, Stat};

use crate::error::LayerError;
use crate::layer::{Origin, file_digest, hash_chunks, open_beneath, remember_chunks};
use crate::tree::{Node, Tree, base_name, compare_paths, join, resolve, to_path};

/// Rounds of following links that lead out of what was asked for.
const LINK_ROUNDS: usize = 40;

/// The part of a directory that a build asks for, without what its ignore file excludes.
#[derive(Debug)]
pub(crate) struct Context {
    tree: Tree,
    cache: StatCache,
    root: PathBuf,
}

impl Context {
    /// Walks the parts of `root` that lie at or below the `wanted` paths, following links among them; an empty
    /// path wants everything.
    pub(crate) fn scan(
        store: &Store,
        root: &Path,
        ignore: &Ignore,
        wanted: &[Vec<u8>],
        threads: usize,
    ) -> Result<Self, LayerError> {
        let cache = store.stat_cache(root);
        let origin = Origin::directory(root).map_err(|error| LayerError::read(b"", error))?;
        let mut wanted = wanted.to_vec();
        for _ in 0..LINK_ROUNDS {
            let walk = Walk { origin: &origin, ignore, cache: &cache, wanted: &wanted };
            let tree = walk.run(threads)?;
            let lookup = |path: &[u8]| tree.get(path).map(|node| &node.entry);
            let elsewhere: Vec<Vec<u8>> = wanted
                .iter()
                .filter_map(|path| resolve(path, true, lookup))
                .filter(|path| !wanted.iter().any(|known| covers(known, path)))
                .collect();
            if elsewhere.is_empty() {
                return Ok(Self { tree, cache, root: root.to_owned() });
            }
            wanted.extend(elsewhere);
        }
        Err(LayerError::read(b"", rustix::io::Errno::LOOP.into()))
    }

    /// A context that holds nothing.
    pub(crate) fn empty(store: &Store) -> Self {
        let root = PathBuf::new();
        Self { tree: Tree::default(), cache: store.stat_cache(&root), root }
    }

    pub(crate) fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Remembers the digests of files that still are what they were when the walk met them. The digest must be
    /// set in the tree, and must have been computed since.
    pub(crate) fn remember(&self, paths: &[Vec<u8>]) {
        for path in paths {
            let Some(node) = self.tree.get(path) else { continue };
            let (Some(stamp), Some(&content)) = (&node.stamp, node.content.get()) else { continue };
            let full = self.root.join(to_path(path));
            let now = rustix::fs::statat(CWD, &full, AtFlags::SYMLINK_NOFOLLOW);
            if node.entry.xattrs.is_empty() && now.is_ok_and(|now| file_stat(&now) == *stamp) {
                self.cache.insert(path, stamp, content);
            }
        }
    }

    /// Writes what was learned for the next build.
    pub(crate) fn save(&self) -> Result<(), LayerError> {
        Ok(self.cache.save()?)
    }
}

/// Computes the digests of files that have none yet, on `threads` threads. Answers the paths it read.
pub(crate) fn hash_files(
    store: &Store,
    nodes: &[&Node],
    threads: usize,
    cancelled: &AtomicBool,
) -> Result<Vec<Vec<u8>>, LayerError> {
    let missing: Vec<&Node> = nodes
        .iter()
        .copied()
        .filter(|node| matches!(node.entry.kind, EntryKind::File { .. }) && node.content.get().is_none())
        .collect();
    let next = AtomicUsize::new(0);
    let failure: Mutex<Option<LayerError>> = Mutex::new(None);
    let work = || {
        let mut buffer = Vec::new();
        while let Some(node) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
            let hashed = if cancelled.load(Ordering::Relaxed) {
                Err(LayerError::Cancelled)
            } else {
                hash_file(store, node, &mut buffer)
            };
            if let Err(error) = hashed {
                failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                next.store(missing.len(), Ordering::Relaxed);
            }
        }
    };
    // A thread costs more than hashing a handful of files.
    if missing.len() < 16 {
        work();
    } else {
        std::thread::scope(|scope| {
            for _ in 0..threads.max(1) {
                scope.spawn(work);
            }
        });
    }
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(missing.into_iter().map(|node| node.entry.path.clone()).collect()),
    }
}

fn hash_file(store: &Store, node: &Node, buffer: &mut Vec<u8>) -> Result<(), LayerError> {
    let path = &node.entry.path;
    let source = node.source().ok_or(LayerError::Damaged)?;
    let file = source.open().map_err(|error| LayerError::read(path, error))?;
    let chunks =
        hash_chunks(file, node.entry.size(), buffer).map_err(|error| LayerError::read(path, error))?;
    remember_chunks(store, &chunks)?;
    let _ = node.content.set(file_digest(&chunks));
    Ok(())
}

/// Whether `path` is `known` or lies below it.
fn covers(known: &[u8], path: &[u8]) -> bool {
    known.is_empty() || (path.starts_with(known) && (path.len() == known.len() || path[known.len()] == b'/'))
}

fn file_stat(stat: &Stat) -> FileStat {
    FileStat {
        dev: stat.st_dev,
        ino: stat.st_ino,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        mode: stat.st_mode,
        mtime_ns: nanoseconds(stat.st_mtime, stat.st_mtime_nsec),
        ctime_ns: nanoseconds(stat.st_ctime, stat.st_ctime_nsec),
    }
}

fn nanoseconds(seconds: i64, rest: u64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(i64::try_from(rest).unwrap_or(0))
}

/// One walk over a directory.
struct Walk<'a> {
    origin: &'a Origin,
    ignore: &'a Ignore,
    cache: &'a StatCache,
    wanted: &'a [Vec<u8>],
}

/// A directory still to be read.
struct Pending {
    path: Vec<u8>,
    state: DirState,
}

/// What one thread found.
#[derive(Default)]
struct Found {
    nodes: Vec<Node>,
    /// Directories that are excluded themselves but may hold what is not.
    doubtful: Vec<Node>,
}

impl Walk<'_> {
    fn run(&self, threads: usize) -> Result<Tree, LayerError> {
        let queue = Queue::new(Pending { path: Vec::new(), state: self.ignore.root() });
        let found: Mutex<Vec<Result<Found, LayerError>>> = Mutex::new(Vec::new());
        let work = || {
            let mut mine = Found::default();
            let mut outcome = Ok(());
            while let Some(directory) = queue.take() {
                let read = self.directory(&directory, &mut mine, &queue);
                queue.done();
                if let Err(error) = read {
                    queue.stop();
                    outcome = Err(error);
                    break;
                }
            }
            found.lock().unwrap_or_else(PoisonError::into_inner).push(outcome.map(|()| mine));
        };
        std::thread::scope(|scope| {
            for _ in 1..threads.max(1) {
                scope.spawn(work);
            }
            work();
        });
        let mut nodes = Vec::new();
        let mut doubtful = Vec::new();
        for part in found.into_inner().unwrap_or_else(PoisonError::into_inner) {
            let part = part?;
            nodes.extend(part.nodes);
            doubtful.extend(part.doubtful);
        }
        nodes.sort_unstable_by(|a, b| compare_paths(&a.entry.path, &b.entry.path));
        keep_parents(&mut nodes, doubtful);
        Ok(Tree::from_sorted(nodes))
    }

    /// Whether a path is wanted, lies below a wanted one, or leads to one.
    fn is_wanted(&self, path: &[u8]) -> bool {
        self.wanted.iter().any(|wanted| covers(wanted, path) || covers(path, wanted))
    }

    fn directory(&self, directory: &Pending, found: &mut Found, queue: &Queue) -> Result<(), LayerError> {
        let failed = |error: io::Error| LayerError::read(&directory.path, error);
        let Origin::Directories(roots) = self.origin else { return Err(LayerError::Damaged) };
        let descriptor = open_directory(&roots[0], &directory.path).map_err(failed)?;
        let mut reader = Dir::read_from(&descriptor).map_err(|error| failed(error.into()))?;
        while let Some(item) = reader.read() {
            let item = item.map_err(|error| failed(error.into()))?;
            let name = item.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let path = join(&directory.path, name);
            if self.is_wanted(&path) {
                self.entry(&descriptor, name, path, &directory.state, found, queue)?;
            }
        }
        Ok(())
    }

    fn entry(
        &self,
        directory: &OwnedFd,
        name: &[u8],
        path: Vec<u8>,
        state: &DirState,
        found: &mut Found,
        queue: &Queue,
    ) -> Result<(), LayerError> {
        // Patterns are text; a name that is none matches as it is shown.
        let verdict = self.ignore.child(state, &String::from_utf8_lossy(&path));
        if verdict.excluded && !verdict.descend {
            return Ok(());
        }
        let failed = |error: io::Error| LayerError::read(&path, error);
        let stat = match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // Removed since the directory was read.
            Err(rustix::io::Errno::NOENT) => return Ok(()),
            Err(error) => return Err(failed(error.into())),
        };
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => EntryKind::File { size: u64::try_from(stat.st_size).unwrap_or(0) },
            FileType::Directory => EntryKind::Directory,
            FileType::Symlink => {
                let target =
                    rustix::fs::readlinkat(directory, name, Vec::new()).map_err(|e| failed(e.into()))?;
                EntryKind::Symlink { target: target.into_bytes() }
            }
            FileType::Fifo => EntryKind::Fifo,
            // Sockets have no place in an image, and devices of a context none in a container.
            _ => return Ok(()),
        };
        if matches!(kind, EntryKind::Directory) {
            if verdict.descend || !verdict.excluded {
                queue.push(Pending { path: path.clone(), state: verdict.state });
            }
        } else if verdict.excluded {
            return Ok(());
        }
        let mut node =
            Node::new(Entry { mode: stat.st_mode & 0o7777, mtime: stat.st_mtime, ..Entry::new(path, kind) });
        match node.entry.kind {
            EntryKind::File { .. } => self.file(directory, &stat, &mut node)?,
            EntryKind::Directory => node.entry.xattrs = xattrs(directory, &node.entry.path)?,
            _ => {}
        }
        if verdict.excluded {
            found.doubtful.push(node);
        } else {
            found.nodes.push(node);
        }
        Ok(())
    }

    fn file(&self, directory: &OwnedFd, stat: &Stat, node: &mut Node) -> Result<(), LayerError> {
        let stamp = file_stat(stat);
        let path = &node.entry.path;
        node.origin = Some(self.origin.clone());
        if stat.st_nlink > 1 {
            let inode = [stamp.dev.to_le_bytes(), stamp.ino.to_le_bytes()].concat();
            node.link_group = Some(Arc::from(inode));
        }
        // Only files without extended attributes are remembered, so that a hit spares asking for them.
        if let Some(content) = self.cache.lookup(path, &stamp) {
            node.content = content.into();
        } else {
            node.entry.xattrs = xattrs(directory, path)?;
        }
        node.stamp = Some(stamp);
        Ok(())
    }
}

/// The attributes of what lies at `path`, in the directory that is open, wherever that may have been moved to.
fn xattrs(directory: &OwnedFd, path: &[u8]) -> Result<BTreeMap<String, Vec<u8>>, LayerError> {
    let in_directory = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string());
    read_xattrs(&in_directory.join(to_path(base_name(path)))).map_err(|error| LayerError::read(path, error))
}

/// The only extended attribute that layers hold, as containerd and BuildKit have it.
pub(crate) const CAPABILITY: &str = "security.capability";

/// The extended attributes of a path that enter a layer, links not followed.
pub(crate) fn read_xattrs(path: &Path) -> io::Result<BTreeMap<String, Vec<u8>>> {
    // Twenty bytes in today's form.
    let mut value = [0_u8; 256];
    match rustix::fs::lgetxattr(path, CAPABILITY, &mut value) {
        Ok(length) => Ok(BTreeMap::from([(CAPABILITY.to_owned(), value[..length].to_vec())])),
        Err(rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP) => Ok(BTreeMap::new()),
        Err(error) => Err(error.into()),
    }
}

fn open_directory(root: &OwnedFd, path: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    open_beneath(root, if path.is_empty() { b"." } else { path }, flags)
}

/// Adds those excluded directories that something kept lies in.
fn keep_parents(nodes: &mut Vec<Node>, mut doubtful: Vec<Node>) {
    doubtful.sort_unstable_by(|a, b| compare_paths(&a.entry.path, &b.entry.path));
    let kept: Vec<Node> = doubtful
        .into_iter()
        .filter(|directory| {
            let path = &directory.entry.path;
            let next = nodes.partition_point(|node| compare_paths(&node.entry.path, path).is_lt());
            nodes.get(next).is_some_and(|node| covers(path, &node.entry.path))
        })
        .collect();
    if !kept.is_empty() {
        nodes.extend(kept);
        nodes.sort_unstable_by(|a, b| compare_paths(&a.entry.path, &b.entry.path));
    }
}

/// Directories waiting to be read, and how many are being read.
struct Queue {
    state: Mutex<QueueState>,
    changed: Condvar,
}

struct QueueState {
    waiting: Vec<Pending>,
    busy: usize,
    stopped: bool,
}

impl Queue {
    fn new(first: Pending) -> Self {
        let state = QueueState { waiting: vec![first], busy: 0, stopped: false };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn push(&self, directory: Pending) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).waiting.push(directory);
        self.changed.notify_one();
    }

    /// The next directory; `None` once none waits and none is being read.
    fn take(&self) -> Option<Pending> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if state.stopped {
                return None;
            }
            if let Some(directory) = state.waiting.pop() {
                state.busy += 1;
                return Some(directory);
            }
            if state.busy == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn done(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.busy -= 1;
        if state.busy == 0 && state.waiting.is_empty() {
            self.changed.notify_all();
        }
    }

    fn stop(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).stopped = true;
        self.changed.notify_all();
    }
}

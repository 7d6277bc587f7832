//! The stat cache: what files of a build context held when they were last read, one file for each context root.
//!
//! A file whose device, inode, size, mode, mtime and ctime are what they were has the content it had, if it was not
//! changed again within the clock tick in which it was last changed before it was read. So what was changed about
//! when the cache was opened is not remembered at all. What cannot be seen this way is a store through an existing
//! writable mapping that the kernel has not written back.

use std::collections::HashMap;
use std::fs::Metadata;
use std::hash::{BuildHasher, RandomState};
use std::io::{ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::blobs::{Temporary, create_new};
use crate::store::{Inner, now};
use crate::{ContentDigest, Store, StoreError};

/// What `fstat` says of a file, as far as it tells whether the file is still the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStat {
    /// Device the file is on.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Size in bytes.
    pub size: u64,
    /// Type and permission bits.
    pub mode: u32,
    /// Last change of the content: nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Last change of the inode: nanoseconds since 1970.
    pub ctime_ns: i64,
}

impl From<&Metadata> for FileStat {
    fn from(metadata: &Metadata) -> Self {
        Self {
            dev: metadata.dev(),
            ino: metadata.ino(),
            size: metadata.size(),
            mode: metadata.mode(),
            mtime_ns: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            ctime_ns: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

fn nanoseconds(seconds: i64, nanoseconds: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
}

/// What the files under one context root held when they were last read. Shared by the threads that read them.
#[derive(Debug)]
pub struct StatCache {
    store: Arc<Inner>,
    path: PathBuf,
    root: Vec<u8>,
    trust: Trust,
    /// As it was read; never changed, so that look-ups take no lock.
    loaded: HashMap<Vec<u8>, Cached>,
    /// What was read in this build, spread over several locks.
    inserted: Vec<Mutex<Inserted>>,
    shard: RandomState,
}

type Inserted = HashMap<Vec<u8>, (FileStat, ContentDigest)>;

#[derive(Debug)]
struct Cached {
    stat: FileStat,
    content: ContentDigest,
    /// How many saves the path was not looked up before.
    age: u8,
    seen: AtomicBool,
}

/// Which files' times can be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// None: the file system's times or inodes are another machine's.
    Never,
    /// Those on this device, last changed before this time: nanoseconds since 1970.
    Before { device: u64, time: i64 },
}

impl Trust {
    fn covers(self, stat: &FileStat) -> bool {
        let Self::Before { device, time } = self else { return false };
        // A time of whole seconds may come from a file system that keeps no more; FAT keeps every second one.
        let coarse = |stamp: i64| if stamp % SECOND == 0 { 2 * SECOND } else { 0 };
        let old = |stamp: i64| stamp.saturating_add(coarse(stamp)) < time;
        stat.dev == device && old(stat.mtime_ns) && old(stat.ctime_ns)
    }
}

const SECOND: i64 = 1_000_000_000;
/// More than a tick of the kernel's coarse clock, 10 ms at the most.
const TICK: i64 = 20_000_000;
/// A path that this many saves in a row have not seen is dropped. Builds of several Dockerfiles over one context see
/// different files, and should not drop one another's.
const MOST_AGE: u8 = 16;
const SHARDS: usize = 16;

const MAGIC: &[u8; 8] = b"rbxstat1";
/// Magic, number of entries, half a BLAKE3 of what follows.
const HEADER: usize = 8 + 8 + 16;
/// What an entry takes beside its path: length of the path, device, inode, size, mtime, ctime, mode, age, digest.
const ENTRY: usize = 2 + 5 * 8 + 4 + 1 + 32;

/// File systems whose files others change unseen: FUSE (virtiofs too), 9p, NFS, SMB (three), Ceph, AFS, Coda,
/// `VirtualBox`, `VMware`.
const REMOTE: [u64; 11] = [
    0x6573_5546,
    0x0102_1997,
    0x6969,
    0x517b,
    0xff53_4d42,
    0xfe53_4d42,
    0x00c3_6400,
    0x5346_414f,
    0x7375_7245,
    0x786f_4256,
    0xbacb_acbc,
];

impl Store {
    /// Opens the stat cache of a context. `context_root` is its canonical path. Open it anew for each build, before
    /// the first file is read: what is changed after that is not remembered. A missing or damaged cache is empty.
    pub fn stat_cache(&self, context_root: &Path) -> StatCache {
        let root = context_root.as_os_str().as_bytes().to_vec();
        let name = ContentDigest::of(&root).to_string();
        let path = self.inner.v1.join("stat").join(name);
        let trust = trust(&self.inner, context_root);
        let loaded = if trust == Trust::Never { HashMap::new() } else { load(&path, &root) };
        let inserted = (0..SHARDS).map(|_| Mutex::default()).collect();
        StatCache {
            store: self.inner.clone(),
            path,
            root,
            trust,
            loaded,
            inserted,
            shard: RandomState::new(),
        }
    }
}

impl StatCache {
    /// What the file at `path`, relative to the context root, holds if it is the one that was read before.
    pub fn lookup(&self, path: &[u8], stat: &FileStat) -> Option<ContentDigest> {
        if let Some(cached) = self.loaded.get(path)
            && cached.stat == *stat
            && self.trust.covers(stat)
        {
            cached.seen.store(true, Ordering::Relaxed);
            return Some(cached.content);
        }
        let shard = self.shard(path).lock().unwrap_or_else(PoisonError::into_inner);
        shard.get(path).filter(|(inserted, _)| inserted == stat).map(|(_, content)| *content)
    }

    /// Notes what a file was read to hold. `stat` is of the open file, and was the same before and after the reading.
    pub fn insert(&self, path: &[u8], stat: &FileStat, content: ContentDigest) {
        if self.trust.covers(stat) && u16::try_from(path.len()).is_ok() {
            let mut shard = self.shard(path).lock().unwrap_or_else(PoisonError::into_inner);
            shard.insert(path.to_vec(), (*stat, content));
        }
    }

    /// Writes the cache for the next build, if files were read that it did not know. Of two builds that save at the
    /// same time, the later one's is kept.
    pub fn save(&self) -> Result<(), StoreError> {
        let mut entries: Vec<(Vec<u8>, FileStat, u8, ContentDigest)> = Vec::new();
        for shard in &self.inserted {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            entries.extend(shard.iter().map(|(path, (stat, content))| (path.clone(), *stat, 0, *content)));
        }
        if entries.is_empty() {
            return Ok(());
        }
        entries.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        let new = entries.len();
        let mut kept: Vec<_> = self
            .loaded
            .iter()
            .filter(|(path, _)| entries.binary_search_by(|entry| entry.0.cmp(path)).is_err())
            .filter_map(|(path, cached)| {
                let age = if cached.seen.load(Ordering::Relaxed) { 0 } else { cached.age + 1 };
                (age < MOST_AGE).then(|| (path.clone(), cached.stat, age, cached.content))
            })
            .collect();
        entries.append(&mut kept);
        tracing::debug!(path = %self.path.display(), new, entries = entries.len(), "saving the stat cache");
        let temporary = Temporary::new(&self.store)?;
        create_new(&temporary.path)?
            .write_all(&encode(&self.root, &entries))
            .map_err(|source| StoreError::io("cannot write", &temporary.path, source))?;
        temporary.rename(&self.path)
    }

    fn shard(&self, path: &[u8]) -> &Mutex<Inserted> {
        let hash = usize::try_from(self.shard.hash_one(path) % SHARDS as u64).unwrap_or(0);
        &self.inserted[hash]
    }
}

/// How far times on a context's file system can be relied on from now on.
fn trust(store: &Arc<Inner>, context_root: &Path) -> Trust {
    let Ok(kind) = rustix::fs::statfs(context_root) else { return Trust::Never };
    // The field's type is not the same everywhere; magic numbers have 32 bits.
    #[expect(clippy::cast_sign_loss, reason = "magic numbers are bit patterns")]
    if REMOTE.contains(&(kind.f_type as u64 & 0xffff_ffff)) {
        return Trust::Never;
    }
    let Ok(root) = std::fs::metadata(context_root) else { return Trust::Never };
    let time = match file_system_time(store) {
        Ok((device, time)) if device == root.dev() => time - TICK,
        // Another file system may have coarser times, and another clock.
        _ => now() - 2 * SECOND,
    };
    Trust::Before { device: root.dev(), time }
}

/// The time that the store's file system gives to a change made now, and its device.
fn file_system_time(store: &Arc<Inner>) -> Result<(u64, i64), StoreError> {
    let temporary = Temporary::new(store)?;
    let mut file = create_new(&temporary.path)?;
    let stat = file.write_all(b"now").and_then(|()| file.metadata());
    let stat = stat.map_err(|source| StoreError::io("cannot write", &temporary.path, source))?;
    Ok((stat.dev(), FileStat::from(&stat).mtime_ns))
}

/// Reads a cache; one that is damaged, or of another root, is empty.
fn load(path: &Path, root: &[u8]) -> HashMap<Vec<u8>, Cached> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            if error.kind() != ErrorKind::NotFound {
                tracing::warn!(path = %path.display(), %error, "cannot read a stat cache");
            }
            return HashMap::new();
        }
    };
    let Some(loaded) = decode(&bytes, root) else {
        tracing::warn!(path = %path.display(), "a damaged stat cache is not used");
        return HashMap::new();
    };
    touch_daily(path);
    loaded
}

/// Caches that have not been used for long are collected by their modification time.
fn touch_daily(path: &Path) {
    const DAY: Duration = Duration::from_hours(24);
    let touch = || {
        let file = std::fs::File::options().append(true).open(path)?;
        let now = SystemTime::now();
        if file.metadata()?.modified()?.elapsed().is_ok_and(|age| age > DAY) {
            file.set_modified(now)?;
        }
        Ok(())
    };
    if let Err::<_, std::io::Error>(error) = touch() {
        tracing::debug!(path = %path.display(), %error, "cannot touch a stat cache");
    }
}

fn encode(root: &[u8], entries: &[(Vec<u8>, FileStat, u8, ContentDigest)]) -> Vec<u8> {
    let paths: usize = entries.iter().map(|entry| entry.0.len()).sum();
    let mut out = Vec::with_capacity(HEADER + 8 + root.len() + entries.len() * ENTRY + paths);
    out.resize(HEADER, 0);
    out.extend_from_slice(&(root.len() as u64).to_le_bytes());
    out.extend_from_slice(root);
    for (path, stat, age, content) in entries {
        // `insert` takes no longer ones.
        let Ok(length) = u16::try_from(path.len()) else { continue };
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(path);
        for number in [stat.dev, stat.ino, stat.size] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for time in [stat.mtime_ns, stat.ctime_ns] {
            out.extend_from_slice(&time.to_le_bytes());
        }
        out.extend_from_slice(&stat.mode.to_le_bytes());
        out.push(*age);
        out.extend_from_slice(content.as_bytes());
    }
    let (header, body) = out.split_at_mut(HEADER);
    header[..8].copy_from_slice(MAGIC);
    header[8..16].copy_from_slice(&(entries.len() as u64).to_le_bytes());
    header[16..].copy_from_slice(&blake3::hash(body).as_bytes()[..16]);
    out
}

fn decode(bytes: &[u8], root: &[u8]) -> Option<HashMap<Vec<u8>, Cached>> {
    let (header, mut body) = bytes.split_at_checked(HEADER)?;
    if header[..8] != *MAGIC || blake3::hash(body).as_bytes()[..16] != header[16..] {
        return None;
    }
    let count = usize::try_from(u64::from_le_bytes(header[8..16].try_into().ok()?)).ok()?;
    let length = usize::try_from(u64::from_le_bytes(array(&mut body)?)).ok()?;
    if take(&mut body, length)? != root || count > body.len() / ENTRY {
        return None;
    }
    let mut loaded = HashMap::with_capacity(count);
    for _ in 0..count {
        let length = u16::from_le_bytes(array(&mut body)?);
        let path = take(&mut body, usize::from(length))?.to_vec();
        let stat = FileStat {
            dev: u64::from_le_bytes(array(&mut body)?),
            ino: u64::from_le_bytes(array(&mut body)?),
            size: u64::from_le_bytes(array(&mut body)?),
            mtime_ns: i64::from_le_bytes(array(&mut body)?),
            ctime_ns: i64::from_le_bytes(array(&mut body)?),
            mode: u32::from_le_bytes(array(&mut body)?),
        };
        let [age] = array(&mut body)?;
        let content = ContentDigest::from_bytes(array(&mut body)?);
        let age = age.min(MOST_AGE);
        loaded.insert(path, Cached { stat, content, age, seen: AtomicBool::new(false) });
    }
    body.is_empty().then_some(loaded)
}

fn take<'a>(body: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = body.split_at_checked(length)?;
    *body = rest;
    Some(taken)
}

fn array<const N: usize>(body: &mut &[u8]) -> Option<[u8; N]> {
    take(body, N)?.try_into().ok()
}

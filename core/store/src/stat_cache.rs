//! The stat cache: what files of a build context held when they were last read, one file for each context root.
//!
//! A file whose device, inode, size, mode, mtime and ctime are what they were has the content it had, if it was not
//! changed again within the clock tick in which it was last changed before it was read. So what was changed about
//! when the cache was opened is not remembered at all. What cannot be seen this way is a store through an existing
//! writable mapping that the kernel has not written back.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind, Read, Write};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
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
    loaded: Loaded,
    /// What was read in this build, spread over several locks.
    inserted: Vec<Mutex<Inserted>>,
    /// Hashes paths. Random, since contexts are hostile.
    hasher: RandomState,
}

type Inserted = HashMap<Vec<u8>, (FileStat, ContentDigest)>;

/// A cache file in memory: a hash table over the file's own bytes, which is there sooner than a map of copied paths.
#[derive(Debug, Default)]
struct Loaded {
    bytes: Vec<u8>,
    entries: Vec<Cached>,
    /// Positions in `entries`, [`EMPTY`] where there is none: twice as many as entries at least, and a power of two.
    slots: Vec<u32>,
}

const EMPTY: u32 = u32::MAX;

#[derive(Debug)]
struct Cached {
    path: Range<usize>,
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
        let hasher = RandomState::new();
        let loaded = if trust == Trust::Never { None } else { load(&path, &root, &hasher) };
        let loaded = loaded.unwrap_or_default();
        let inserted = (0..SHARDS).map(|_| Mutex::default()).collect();
        StatCache { store: self.inner.clone(), path, root, trust, loaded, inserted, hasher }
    }
}

impl StatCache {
    /// What the file at `path`, relative to the context root, holds if it is the one that was read before.
    pub fn lookup(&self, path: &[u8], stat: &FileStat) -> Option<ContentDigest> {
        if let Some(cached) = self.loaded.get(path, &self.hasher)
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
            .entries
            .iter()
            .map(|cached| (self.loaded.path(cached), cached))
            .filter(|(path, _)| entries.binary_search_by(|entry| entry.0.as_slice().cmp(path)).is_err())
            .filter_map(|(path, cached)| {
                let age = if cached.seen.load(Ordering::Relaxed) { 0 } else { cached.age + 1 };
                (age < MOST_AGE).then(|| (path.to_vec(), cached.stat, age, cached.content))
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
        let hash = usize::try_from(self.hasher.hash_one(path) % SHARDS as u64).unwrap_or(0);
        &self.inserted[hash]
    }
}

/// How far times on a context's file system can be relied on from now on.
fn trust(store: &Inner, context_root: &Path) -> Trust {
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
fn file_system_time(store: &Inner) -> io::Result<(u64, i64)> {
    let path = store.v1.join("clock");
    let mut file = File::options().create(true).write(true).truncate(false).mode(0o600).open(path)?;
    file.write_all(b"now")?;
    let stat = file.metadata()?;
    Ok((stat.dev(), FileStat::from(&stat).mtime_ns))
}

/// Reads a cache, unless it is damaged or of another root.
fn load(path: &Path, root: &[u8], hasher: &RandomState) -> Option<Loaded> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            if error.kind() != ErrorKind::NotFound {
                tracing::warn!(path = %path.display(), %error, "cannot read a stat cache");
            }
            return None;
        }
    };
    let loaded = decode(bytes, root, hasher);
    if loaded.is_some() {
        touch_daily(path);
    } else {
        tracing::warn!(path = %path.display(), "a damaged stat cache is not used");
    }
    loaded
}

impl Loaded {
    fn path(&self, cached: &Cached) -> &[u8] {
        &self.bytes[cached.path.clone()]
    }

    fn get(&self, path: &[u8], hasher: &RandomState) -> Option<&Cached> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut slot = first_slot(path, hasher, mask);
        loop {
            let cached = self.entries.get(usize::try_from(self.slots[slot]).ok()?)?;
            if self.path(cached) == path {
                return Some(cached);
            }
            slot = (slot + 1) & mask;
        }
    }

    /// Makes the table. Fails if there are more entries than slots can name.
    fn index(&mut self, hasher: &RandomState) -> Option<()> {
        let mask = (self.entries.len() * 2).next_power_of_two() - 1;
        self.slots = vec![EMPTY; mask + 1];
        for number in 0..self.entries.len() {
            let mut slot = first_slot(self.path(&self.entries[number]), hasher, mask);
            while self.slots[slot] != EMPTY {
                slot = (slot + 1) & mask;
            }
            self.slots[slot] = u32::try_from(number).ok().filter(|number| *number != EMPTY)?;
        }
        Some(())
    }
}

fn first_slot(path: &[u8], hasher: &RandomState, mask: usize) -> usize {
    // The mask has no more bits than either type.
    usize::try_from(hasher.hash_one(path) & mask as u64).unwrap_or(0)
}

/// Caches that have not been used for long are collected by their modification time.
fn touch_daily(path: &Path) {
    const DAY: Duration = Duration::from_hours(24);
    let touch = || {
        let file = File::options().append(true).open(path)?;
        let now = SystemTime::now();
        if file.metadata()?.modified()?.elapsed().is_ok_and(|age| age > DAY) {
            file.set_modified(now)?;
        }
        Ok(())
    };
    if let Err::<_, io::Error>(error) = touch() {
        tracing::debug!(path = %path.display(), %error, "cannot touch a stat cache");
    }
}

/// The context root that a cache is of, if that can be told.
pub(crate) fn root_of(path: &Path) -> Option<String> {
    const LONGEST: u64 = 4096;
    let mut file = File::open(path).ok()?;
    let mut header = [0; HEADER + 8];
    file.read_exact(&mut header).ok()?;
    let length = u64::from_le_bytes(header[HEADER..].try_into().ok()?);
    if header[..8] != *MAGIC || length > LONGEST {
        return None;
    }
    let mut root = Vec::new();
    file.take(length).read_to_end(&mut root).ok()?;
    Some(String::from_utf8_lossy(&root).into_owned())
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

fn decode(bytes: Vec<u8>, root: &[u8], hasher: &RandomState) -> Option<Loaded> {
    let entries = decode_entries(&bytes, root)?;
    let mut loaded = Loaded { bytes, entries, slots: Vec::new() };
    loaded.index(hasher)?;
    Some(loaded)
}

fn decode_entries(bytes: &[u8], root: &[u8]) -> Option<Vec<Cached>> {
    let (header, mut body) = bytes.split_at_checked(HEADER)?;
    if header[..8] != *MAGIC || blake3::hash(body).as_bytes()[..16] != header[16..] {
        return None;
    }
    let count = usize::try_from(u64::from_le_bytes(header[8..16].try_into().ok()?)).ok()?;
    let length = usize::try_from(u64::from_le_bytes(array(&mut body)?)).ok()?;
    if take(&mut body, length)? != root || count > body.len() / ENTRY {
        return None;
    }
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        let length = u16::from_le_bytes(array(&mut body)?);
        let start = bytes.len() - body.len();
        let path = start..start + take(&mut body, usize::from(length))?.len();
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
        entries.push(Cached { path, stat, content, age, seen: AtomicBool::new(false) });
    }
    body.is_empty().then_some(entries)
}

fn take<'a>(body: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = body.split_at_checked(length)?;
    *body = rest;
    Some(taken)
}

fn array<const N: usize>(body: &mut &[u8]) -> Option<[u8; N]> {
    take(body, N)?.try_into().ok()
}

//! What a step wrote: the upper directory of its overlay as a list of entries.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rbx_oci::{Entry, EntryKind};
use rbx_store::{IdMap, IndexEntry, LayerIndex};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat};

use crate::context::read_xattrs;
use crate::error::LayerError;
use crate::tree::{base_name, compare_paths, join, parent, to_path};

/// The mark of a directory whose lower contents are hidden.
const OPAQUE: &str = "user.overlay.opaque";

/// Lists what the upper directory of an overlay changes in `lowers` (topmost first). What was copied up without
/// being changed is left out, and an opaque directory becomes the deletions it stands for.
///
/// Where the layers below have a file, or other entry of the same kind, whose owner or group is none of `ids`, and
/// the step left root's in its place, which is what it saw, then the entry keeps the owner or group from below.
pub(crate) fn scan_upper(upper: &Path, lowers: &[PathBuf], ids: &IdMap) -> Result<LayerIndex, LayerError> {
    let below = Below::new(lowers, ids)?;
    let mut scan = Scan { upper, below, entries: Vec::new(), links: BTreeMap::new() };
    scan.directory(b"", false)?;
    let mut entries = scan.entries;
    entries.sort_by(|a, b| compare_paths(&a.entry.path, &b.entry.path));
    let first_names = first_names(&entries, &scan.links);
    for item in &mut entries {
        if let Some(inode) = scan.links.get(&item.entry.path)
            && let Some(first) = first_names.get(inode)
            && *first != item.entry.path
        {
            item.entry.kind = EntryKind::Hardlink { target: first.clone() };
        }
    }
    Ok(LayerIndex { entries })
}

/// The first path of each inode that has several.
fn first_names(
    entries: &[IndexEntry],
    links: &BTreeMap<Vec<u8>, (u64, u64)>,
) -> BTreeMap<(u64, u64), Vec<u8>> {
    let mut first = BTreeMap::new();
    for item in entries {
        if let Some(inode) = links.get(&item.entry.path) {
            first.entry(*inode).or_insert_with(|| item.entry.path.clone());
        }
    }
    first
}

struct Scan<'a> {
    upper: &'a Path,
    below: Below<'a>,
    entries: Vec<IndexEntry>,
    /// Inode of each path whose file has several names.
    links: BTreeMap<Vec<u8>, (u64, u64)>,
}

impl Scan<'_> {
    /// Lists what is in a directory; answers whether it holds any change. With `hidden`, nothing of the lower
    /// layers shows here any more.
    fn directory(&mut self, path: &[u8], hidden: bool) -> Result<bool, LayerError> {
        let full = self.upper.join(to_path(path));
        let failed = |error: io::Error| LayerError::read(path, error);
        let mut changed = false;
        let mut names: Vec<Vec<u8>> = Vec::new();
        for (name, stat) in read_directory(&full).map_err(failed)? {
            changed |= self.entry(join(path, &name), &stat, hidden)?;
            names.push(name);
        }
        if hidden {
            // The deletions that the mark stands for: what is below and is not here again.
            names.sort();
            let mut below: BTreeSet<Vec<u8>> = self.below.names(path).map_err(failed)?.into_iter().collect();
            below.extend(self.below.unshown_names(path));
            for name in below {
                if names.binary_search(&name).is_err() {
                    self.push(Entry::new(join(path, &name), EntryKind::Whiteout));
                    changed = true;
                }
            }
        }
        Ok(changed)
    }

    fn entry(&mut self, path: Vec<u8>, stat: &Stat, hidden: bool) -> Result<bool, LayerError> {
        let full = self.upper.join(to_path(&path));
        let failed = |error: io::Error| LayerError::read(&path, error);
        let lower = self.below.stat(&path).map_err(failed)?;
        let Some(kind) = kind_of(&full, stat).map_err(failed)? else { return Ok(false) };
        if kind == EntryKind::Whiteout {
            // A name that the lower layers do not have needs no deletion.
            if lower.is_some() {
                self.push(Entry::new(path, kind));
            }
            return Ok(lower.is_some());
        }
        let mut entry = Entry {
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: stat.st_mtime,
            xattrs: read_xattrs(&full).map_err(failed)?,
            ..Entry::new(path.clone(), kind)
        };
        let same = match &lower {
            Some(lower) => Below::same(&entry, &full, stat, lower).map_err(failed)?,
            None => false,
        };
        if let Some((lower, _)) = &lower {
            self.below.restore_owner(&mut entry, lower);
        }
        if !entry.is_directory() {
            if same {
                return Ok(false);
            }
            if stat.st_nlink > 1 {
                self.links.insert(path, (stat.st_dev, stat.st_ino));
            }
            self.push(entry);
            return Ok(true);
        }
        let lower_is_directory = lower
            .as_ref()
            .is_some_and(|(_, lower)| FileType::from_raw_mode(lower.st_mode) == FileType::Directory);
        let opaque = lower_is_directory && is_opaque(&full).map_err(failed)?;
        let at = self.entries.len();
        self.push(entry);
        let changed = self.directory(&path, (hidden || opaque) && lower_is_directory)?;
        if same && !changed {
            // Copied up because something was looked at or undone in it.
            self.entries.truncate(at);
            return Ok(false);
        }
        Ok(true)
    }

    fn push(&mut self, entry: Entry) {
        self.entries.push(IndexEntry { entry, content: None });
    }
}

fn read_directory(path: &Path) -> io::Result<Vec<(Vec<u8>, Stat)>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory: OwnedFd = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
    let mut found = Vec::new();
    for item in Dir::read_from(&directory)? {
        let item = item?;
        let name = item.file_name().to_bytes();
        if name != b"." && name != b".." {
            let stat = rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
            found.push((name.to_vec(), stat));
        }
    }
    Ok(found)
}

/// What a path is; `None` for sockets, which no layer holds.
fn kind_of(full: &Path, stat: &Stat) -> io::Result<Option<EntryKind>> {
    let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    Ok(Some(match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => EntryKind::File { size: u64::try_from(stat.st_size).unwrap_or(0) },
        FileType::Directory => EntryKind::Directory,
        FileType::Symlink => {
            EntryKind::Symlink { target: rustix::fs::readlinkat(CWD, full, Vec::new())?.into_bytes() }
        }
        FileType::CharacterDevice if (major, minor) == (0, 0) => EntryKind::Whiteout,
        FileType::CharacterDevice => EntryKind::CharDevice { major, minor },
        FileType::BlockDevice => EntryKind::BlockDevice { major, minor },
        FileType::Fifo => EntryKind::Fifo,
        _ => return Ok(None),
    }))
}

fn is_opaque(full: &Path) -> io::Result<bool> {
    let mut value = [0_u8; 1];
    match rustix::fs::lgetxattr(full, OPAQUE, &mut value) {
        Ok(length) => Ok(length == 1 && value == *b"y"),
        Err(rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::RANGE) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The lower directories of an overlay, asked path by path: a step writes little compared with what lies below.
struct Below<'a> {
    /// Topmost first.
    lowers: &'a [PathBuf],
    ids: &'a IdMap,
    /// What each of them does not show as it is, by path.
    unshown: Vec<BTreeMap<Vec<u8>, Entry>>,
}

impl<'a> Below<'a> {
    fn new(lowers: &'a [PathBuf], ids: &'a IdMap) -> Result<Self, LayerError> {
        let by_path = |lower: &PathBuf| -> Result<BTreeMap<Vec<u8>, Entry>, LayerError> {
            let entries = rbx_store::unshown(lower)?.entries.into_iter();
            Ok(entries.map(|item| (item.entry.path.clone(), item.entry)).collect())
        };
        let unshown = if ids.is_whole() {
            Vec::new()
        } else {
            lowers.iter().map(by_path).collect::<Result<_, LayerError>>()?
        };
        Ok(Self { lowers, ids, unshown })
    }

    /// Gives an entry the owner and group of what lies below at its path, at the place `found`, if root stands there
    /// for an id that there is none for.
    fn restore_owner(&self, entry: &mut Entry, found: &Path) {
        let unshown = || {
            let at = self.lowers.iter().position(|lower| found.starts_with(lower))?;
            self.unshown.get(at)?.get(&entry.path)
        };
        let Some(below) = unshown().filter(|below| is_alike(&below.kind, &entry.kind)) else { return };
        if entry.uid == 0 && !self.ids.has_user(below.uid) {
            entry.uid = below.uid;
        }
        if entry.gid == 0 && !self.ids.has_group(below.gid) {
            entry.gid = below.gid;
        }
    }

    /// The names of device nodes that a directory has in the lower layers and not in their trees.
    fn unshown_names(&self, path: &[u8]) -> impl Iterator<Item = Vec<u8>> {
        let entries = self.unshown.iter().flatten();
        let missing = entries.filter(|(_, entry)| !self.ids.shows(entry));
        missing.filter(move |(at, _)| parent(at) == Some(path)).map(|(at, _)| base_name(at).to_vec())
    }

    /// What a path is in the lower layers, and where.
    fn stat(&self, path: &[u8]) -> io::Result<Option<(PathBuf, Stat)>> {
        for lower in self.lowers {
            match lookup(lower, path)? {
                Lookup::Found(full, stat) => return Ok(Some((full, stat))),
                Lookup::Hidden => return Ok(None),
                Lookup::Absent => {}
            }
        }
        Ok(None)
    }

    /// The names that a directory has in the lower layers.
    fn names(&self, path: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        let mut names: BTreeMap<Vec<u8>, bool> = BTreeMap::new();
        for lower in self.lowers {
            match lookup(lower, path)? {
                Lookup::Found(full, stat) => {
                    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                        break;
                    }
                    for (name, stat) in read_directory(&full)? {
                        names.entry(name).or_insert(!is_whiteout(&stat));
                    }
                    if is_opaque(&full)? {
                        break;
                    }
                }
                Lookup::Hidden => break,
                Lookup::Absent => {}
            }
        }
        Ok(names.into_iter().filter_map(|(name, there)| there.then_some(name)).collect())
    }

    /// Whether what was copied up is still what it was. Files are told apart by their times as BuildKit does it,
    /// and by their bytes where a time has no fraction, as those from archives have none.
    fn same(entry: &Entry, full: &Path, stat: &Stat, lower: &(PathBuf, Stat)) -> io::Result<bool> {
        let (lower_path, lower) = lower;
        let metadata = stat.st_mode == lower.st_mode
            && (stat.st_uid, stat.st_gid, stat.st_rdev) == (lower.st_uid, lower.st_gid, lower.st_rdev)
            && entry.xattrs == read_xattrs(lower_path)?;
        if !metadata || entry.is_directory() {
            return Ok(metadata);
        }
        let times = (stat.st_mtime, stat.st_mtime_nsec) == (lower.st_mtime, lower.st_mtime_nsec);
        if !times || stat.st_size != lower.st_size {
            return Ok(false);
        }
        match &entry.kind {
            EntryKind::Symlink { target } => {
                Ok(rustix::fs::readlinkat(CWD, lower_path, Vec::new())?.as_bytes() == target)
            }
            EntryKind::File { .. } if stat.st_mtime_nsec == 0 => same_bytes(full, lower_path),
            _ => Ok(true),
        }
    }
}

/// Whether two entries are of one kind, be one of them another name of a file.
fn is_alike(one: &EntryKind, other: &EntryKind) -> bool {
    let file = |kind: &EntryKind| matches!(kind, EntryKind::File { .. } | EntryKind::Hardlink { .. });
    std::mem::discriminant(one) == std::mem::discriminant(other) || (file(one) && file(other))
}

fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

fn same_bytes(a: &Path, b: &Path) -> io::Result<bool> {
    let hash = |path: &Path| -> io::Result<blake3::Hash> {
        let mut hasher = blake3::Hasher::new();
        io::copy(&mut std::fs::File::open(path)?, &mut hasher)?;
        Ok(hasher.finalize())
    };
    Ok(hash(a)? == hash(b)?)
}

/// What one lower directory says of a path.
enum Lookup {
    Found(PathBuf, Stat),
    /// It is deleted here, or a directory above it is, or hides what lies below.
    Hidden,
    Absent,
}

fn lookup(lower: &Path, path: &[u8]) -> io::Result<Lookup> {
    let full = lower.join(to_path(path));
    match rustix::fs::statat(CWD, &full, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if is_whiteout(&stat) => return Ok(Lookup::Hidden),
        // Through a link above it a path would name something else.
        Ok(stat) if !above_is_link(lower, path)? => return Ok(Lookup::Found(full, stat)),
        Ok(_) | Err(rustix::io::Errno::NOTDIR) => return Ok(Lookup::Hidden),
        Err(rustix::io::Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let mut at = path;
    while let Some(above) = parent(at).filter(|above| !above.is_empty()) {
        let directory = lower.join(to_path(above));
        match rustix::fs::statat(CWD, &directory, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => {
                let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
                let hides = !is_directory || is_opaque(&directory)?;
                return Ok(if hides { Lookup::Hidden } else { Lookup::Absent });
            }
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => at = above,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Lookup::Absent)
}

fn above_is_link(lower: &Path, path: &[u8]) -> io::Result<bool> {
    let mut at = path;
    while let Some(above) = parent(at).filter(|above| !above.is_empty()) {
        let stat = rustix::fs::statat(CWD, lower.join(to_path(above)), AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
            return Ok(true);
        }
        at = above;
    }
    Ok(false)
}

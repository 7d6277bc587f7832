//! Layer indexes: what a layer holds, without the content.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use rbx_oci::{Entry, EntryKind};

use crate::{ContentDigest, LayerId};

/// What a layer holds, in the order of its archive: parents before children, hard links after what they link to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LayerIndex {
    /// The members of the layer.
    pub entries: Vec<IndexEntry>,
}

/// A member of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexEntry {
    /// What it is.
    pub entry: Entry,
    /// The digest of a regular file's bytes, where it is known.
    pub content: Option<ContentDigest>,
}

/// Why an index cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// The bytes do not begin as an index of this format does.
    #[error("not a layer index of this format")]
    Format,
    /// Bytes are missing or too many.
    #[error("{found} bytes of an index of {expected}")]
    Length {
        /// How many there should be.
        expected: u64,
        /// How many there are.
        found: u64,
    },
    /// The bytes are not those that were written.
    #[error("the checksum is wrong")]
    Checksum,
    /// An entry is malformed, which a right checksum makes a fault of the writer.
    #[error("entry {number} is malformed")]
    Entry {
        /// Its position, from 0.
        number: usize,
    },
    /// A path that is absolute, leads out of the layer or is not in its simplest form.
    #[error("not a path inside a layer: {0:?}")]
    Path(String),
}

const MAGIC: &[u8; 8] = b"rbxindx1";
/// Magic, length of the body, number of entries, half a BLAKE3 of the body.
const HEADER: usize = 8 + 8 + 8 + 16;
/// The fewest bytes an entry takes: one each for path, kind, mode, uid, gid, mtime and the number of attributes.
const SMALLEST_ENTRY: usize = 7;
const HAS_CONTENT: u8 = 0x80;

impl LayerIndex {
    /// The sum of the sizes of its regular files.
    pub fn size(&self) -> u64 {
        self.entries.iter().fold(0, |size, entry| size.saturating_add(entry.entry.size()))
    }

    /// Writes the index as bytes, the same for the same index. Fails with [`IndexError::Path`] only.
    pub fn encode(&self) -> Result<Vec<u8>, IndexError> {
        let mut out = Vec::with_capacity(HEADER + self.entries.len() * 96);
        out.resize(HEADER, 0);
        for entry in &self.entries {
            encode_entry(&mut out, entry)?;
        }
        let (header, body) = out.split_at_mut(HEADER);
        header[..8].copy_from_slice(MAGIC);
        header[8..16].copy_from_slice(&(body.len() as u64).to_le_bytes());
        header[16..24].copy_from_slice(&(self.entries.len() as u64).to_le_bytes());
        header[24..].copy_from_slice(&blake3::hash(body).as_bytes()[..16]);
        Ok(out)
    }

    /// Reads an index from bytes, trusting nothing in them.
    pub fn decode(bytes: &[u8]) -> Result<Self, IndexError> {
        let Some((header, body)) = bytes.split_at_checked(HEADER) else { return Err(IndexError::Format) };
        let number = |at: usize| header[at..at + 8].iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte));
        if header[..8] != *MAGIC {
            return Err(IndexError::Format);
        }
        if number(8) != body.len() as u64 {
            return Err(IndexError::Length { expected: number(8), found: body.len() as u64 });
        }
        if blake3::hash(body).as_bytes()[..16] != header[24..] {
            return Err(IndexError::Checksum);
        }
        let count = usize::try_from(number(16)).ok().filter(|count| *count <= body.len() / SMALLEST_ENTRY);
        let count = count.ok_or(IndexError::Entry { number: 0 })?;
        let mut reader = Reader(body);
        let mut entries = Vec::with_capacity(count);
        for number in 0..count {
            let entry = decode_entry(&mut reader).ok_or(IndexError::Entry { number })?;
            check_paths(&entry.entry)?;
            entries.push(entry);
        }
        if reader.0.is_empty() { Ok(Self { entries }) } else { Err(IndexError::Entry { number: count }) }
    }
}

/// Whether a path has the form of [`Entry::path`].
fn is_inside(path: &[u8]) -> bool {
    path.is_empty()
        || path
            .split(|byte| *byte == b'/')
            .all(|part| !matches!(part, b"" | b"." | b"..") && !part.contains(&0))
}

fn check_paths(entry: &Entry) -> Result<(), IndexError> {
    let fine = is_inside(&entry.path)
        && match &entry.kind {
            EntryKind::Hardlink { target } => is_inside(target),
            _ => true,
        };
    if fine { Ok(()) } else { Err(IndexError::Path(String::from_utf8_lossy(&entry.path).into_owned())) }
}

fn encode_entry(out: &mut Vec<u8>, IndexEntry { entry, content }: &IndexEntry) -> Result<(), IndexError> {
    check_paths(entry)?;
    put_bytes(out, &entry.path);
    let kind = match entry.kind {
        EntryKind::File { .. } => 0,
        EntryKind::Directory => 1,
        EntryKind::Symlink { .. } => 2,
        EntryKind::Hardlink { .. } => 3,
        EntryKind::CharDevice { .. } => 4,
        EntryKind::BlockDevice { .. } => 5,
        EntryKind::Fifo => 6,
        EntryKind::Whiteout => 7,
        EntryKind::OpaqueDirectory => 8,
    };
    out.push(if content.is_some() { kind | HAS_CONTENT } else { kind });
    match &entry.kind {
        EntryKind::File { size } => put_number(out, *size),
        EntryKind::Symlink { target } | EntryKind::Hardlink { target } => put_bytes(out, target),
        EntryKind::CharDevice { major, minor } | EntryKind::BlockDevice { major, minor } => {
            put_number(out, u64::from(*major));
            put_number(out, u64::from(*minor));
        }
        EntryKind::Directory | EntryKind::Fifo | EntryKind::Whiteout | EntryKind::OpaqueDirectory => {}
    }
    put_number(out, u64::from(entry.mode));
    put_number(out, u64::from(entry.uid));
    put_number(out, u64::from(entry.gid));
    // Zigzag: small numbers of either sign are short.
    put_number(out, (entry.mtime << 1 ^ entry.mtime >> 63).cast_unsigned());
    put_number(out, entry.xattrs.len() as u64);
    for (name, value) in &entry.xattrs {
        put_bytes(out, name.as_bytes());
        put_bytes(out, value);
    }
    if let Some(content) = content {
        out.extend_from_slice(content.as_bytes());
    }
    Ok(())
}

fn decode_entry(reader: &mut Reader<'_>) -> Option<IndexEntry> {
    let path = reader.bytes()?.to_vec();
    let kind = reader.take(1)?[0];
    let has_content = kind & HAS_CONTENT != 0;
    let kind = match kind & !HAS_CONTENT {
        0 => EntryKind::File { size: reader.number()? },
        1 => EntryKind::Directory,
        2 => EntryKind::Symlink { target: reader.bytes()?.to_vec() },
        3 => EntryKind::Hardlink { target: reader.bytes()?.to_vec() },
        4 => EntryKind::CharDevice { major: reader.small()?, minor: reader.small()? },
        5 => EntryKind::BlockDevice { major: reader.small()?, minor: reader.small()? },
        6 => EntryKind::Fifo,
        7 => EntryKind::Whiteout,
        8 => EntryKind::OpaqueDirectory,
        _ => return None,
    };
    let (mode, uid, gid) = (reader.small()?, reader.small()?, reader.small()?);
    let mtime = reader.number()?;
    let mtime = (mtime >> 1).cast_signed() ^ -(mtime & 1).cast_signed();
    let mut xattrs = BTreeMap::new();
    for _ in 0..reader.number()? {
        let name = std::str::from_utf8(reader.bytes()?).ok()?.to_owned();
        xattrs.insert(name, reader.bytes()?.to_vec());
    }
    let content =
        if has_content { Some(ContentDigest::from_bytes(reader.take(32)?.try_into().ok()?)) } else { None };
    Some(IndexEntry { entry: Entry { path, kind, mode, uid, gid, mtime, xattrs }, content })
}

/// LEB128.
fn put_number(out: &mut Vec<u8>, mut number: u64) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// What is left to read. Every method takes nothing it does not have.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn small(&mut self) -> Option<u32> {
        self.number()?.try_into().ok()
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?.try_into().ok()?;
        self.take(length)
    }
}

/// Indexes read lately, the latest first.
#[derive(Debug, Default)]
pub(crate) struct IndexCache(VecDeque<(LayerId, Arc<LayerIndex>)>);

/// The most entries that cached indexes have together: about 20 MB.
const CACHED_ENTRIES: usize = 100_000;

impl IndexCache {
    pub(crate) fn get(&mut self, id: &LayerId) -> Option<Arc<LayerIndex>> {
        let position = self.0.iter().position(|(cached, _)| cached == id)?;
        let found = self.0.remove(position)?;
        let index = found.1.clone();
        self.0.push_front(found);
        Some(index)
    }

    pub(crate) fn put(&mut self, id: LayerId, index: Arc<LayerIndex>) {
        self.0.retain(|(cached, _)| *cached != id);
        self.0.push_front((id, index));
        let mut entries = 0_usize;
        self.0.retain(|(_, index)| {
            entries = entries.saturating_add(index.entries.len() + 1);
            entries <= CACHED_ENTRIES
        });
    }

    pub(crate) fn remove(&mut self, id: &LayerId) {
        self.0.retain(|(cached, _)| cached != id);
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_map, vec};
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    fn path() -> impl Strategy<Value = Vec<u8>> {
        vec("[^/\0.]{1,12}", 0..4).prop_map(|parts| parts.join("/").into_bytes())
    }

    fn kind() -> impl Strategy<Value = EntryKind> {
        prop_oneof![
            any::<u64>().prop_map(|size| EntryKind::File { size }),
            Just(EntryKind::Directory),
            vec(any::<u8>(), 0..40).prop_map(|target| EntryKind::Symlink { target }),
            path().prop_map(|target| EntryKind::Hardlink { target }),
            any::<(u32, u32)>().prop_map(|(major, minor)| EntryKind::CharDevice { major, minor }),
            any::<(u32, u32)>().prop_map(|(major, minor)| EntryKind::BlockDevice { major, minor }),
            Just(EntryKind::Fifo),
            Just(EntryKind::Whiteout),
            Just(EntryKind::OpaqueDirectory),
        ]
    }

    prop_compose! {
        fn entry()(
            path in path(),
            kind in kind(),
            (mode, uid, gid) in any::<(u32, u32, u32)>(),
            mtime in any::<i64>(),
            xattrs in btree_map(".{0,10}", vec(any::<u8>(), 0..20), 0..3),
            content in option::of(any::<[u8; 32]>()),
        ) -> IndexEntry {
            let entry = Entry { path, kind, mode, uid, gid, mtime, xattrs };
            IndexEntry { entry, content: content.map(ContentDigest::from_bytes) }
        }
    }

    /// Bytes with the header that they should have.
    fn with_header(count: u64, body: &[u8]) -> Vec<u8> {
        let hash = blake3::hash(body);
        [MAGIC, &(body.len() as u64).to_le_bytes()[..], &count.to_le_bytes(), &hash.as_bytes()[..16], body]
            .concat()
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(entries in vec(entry(), 0..20)) {
            let index = LayerIndex { entries };
            let bytes = index.encode().unwrap();
            prop_assert_eq!(LayerIndex::decode(&bytes), Ok(index));
        }

        #[test]
        fn any_change_is_noticed(entries in vec(entry(), 0..5), at in any::<prop::sample::Index>(), bit in 0..8_u32) {
            let bytes = LayerIndex { entries }.encode().unwrap();
            let at = at.index(bytes.len());
            let mut changed = bytes.clone();
            changed[at] ^= 1_u8 << bit;
            prop_assert!(LayerIndex::decode(&changed).is_err());
            prop_assert!(LayerIndex::decode(&bytes[..at]).is_err());
        }

        #[test]
        fn hostile_bytes_are_refused_or_read(count in 0_u64..20, body in vec(any::<u8>(), 0..200)) {
            if let Ok(index) = LayerIndex::decode(&with_header(count, &body)) {
                prop_assert_eq!(index.entries.len() as u64, count);
            }
        }

        #[test]
        fn damaged_entries_are_refused_or_read(
            entries in vec(entry(), 1..5), at in any::<prop::sample::Index>(), byte in any::<u8>(),
        ) {
            let count = entries.len() as u64;
            let mut body = LayerIndex { entries }.encode().unwrap().split_off(HEADER);
            let at = at.index(body.len());
            body[at] = byte;
            // Whatever it is, it does not panic or ask for much memory.
            let _ = LayerIndex::decode(&with_header(count, &body));
        }
    }

    #[test]
    fn counts_that_cannot_be_are_refused() {
        assert_eq!(LayerIndex::decode(&with_header(u64::MAX, b"")), Err(IndexError::Entry { number: 0 }));
        assert_eq!(LayerIndex::decode(&with_header(0, b"x")), Err(IndexError::Entry { number: 0 }));
        // A number that does not fit 64 bits.
        let body = [&[0xff; 9][..], &[0x7f; 10]].concat();
        assert_eq!(LayerIndex::decode(&with_header(1, &body)), Err(IndexError::Entry { number: 0 }));
    }

    #[test]
    fn paths_stay_inside() {
        for path in ["/etc", "a/../b", "..", ".", "a//b", "a/", "a\0"] {
            let bad =
                |entry| LayerIndex { entries: vec![IndexEntry { entry, content: None }] }.encode().is_err();
            assert!(bad(Entry::new(path, EntryKind::Directory)), "{path}");
            assert!(bad(Entry::new("x", EntryKind::Hardlink { target: path.into() })), "{path}");
        }
    }

    #[test]
    fn the_cache_keeps_the_latest_within_bounds() {
        let index = |count: usize| {
            let entry = IndexEntry { entry: Entry::new("x", EntryKind::Directory), content: None };
            Arc::new(LayerIndex { entries: vec![entry; count] })
        };
        let ids = [1, 2, 3].map(|byte| LayerId::from_bytes([byte; 16]));
        let mut cache = IndexCache::default();
        cache.put(ids[0], index(CACHED_ENTRIES / 2 - 10));
        cache.put(ids[1], index(CACHED_ENTRIES / 2 - 10));
        assert!(cache.get(&ids[0]).is_some());
        cache.put(ids[2], index(100));
        let cached = ids.map(|id| cache.get(&id).is_some());
        assert_eq!(cached, [true, false, true]);
    }
}

//! A layer as sections: runs of tar entries, each compressed on its own and kept under what it holds.
//!
//! A layer's compressed blob is the concatenation of its members, one per [`Section`]. Sections end where paths
//! say so, so that a changed file moves no cut but its own, and the other members are found in the store.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::sync::atomic::AtomicBool;

use rbx_oci::{Compression, Entry, EntryKind, MemberCompressor, media_type, tar};
use rbx_store::{ContentDigest, IndexEntry, Key, LayerIndex, Store};

use super::content::{self, CHUNK};
use super::hashes::{Hashes, LayerDigests};
use super::origin::Source;
use super::pipeline::in_order;
use crate::error::LayerError;

/// A section is closed once it has this many bytes and a path allows the cut.
const SECTION_MIN: usize = 256 << 10;
/// A section never grows beyond this by a further entry.
const SECTION_MAX: usize = 1 << 20;
/// One path in so many allows a cut before it.
const CUT_EVERY: u8 = 16;

/// One entry of a layer that is being made.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) entry: Entry,
    /// Digest of the file's bytes, where known already.
    pub(crate) content: Option<ContentDigest>,
    /// Where the file's bytes are; needed where the store does not have them.
    pub(crate) source: Option<Source>,
}

impl Item {
    fn size(&self) -> u64 {
        if let EntryKind::File { size } = self.entry.kind { size } else { 0 }
    }
}

/// A run of a layer's tar stream: whole entries, or one chunk of a long file.
#[derive(Debug)]
struct Section {
    pieces: Vec<Piece>,
}

/// Part of one entry: its header with the first chunk of its bytes, or a later chunk.
#[derive(Debug, Clone, Copy)]
struct Piece {
    item: usize,
    chunk: u64,
}

/// A layer whose every section is in the store.
#[derive(Debug)]
pub(crate) struct Packed {
    /// Keys of the members, in order. After them comes [`Packing::end`].
    pub(crate) members: Vec<Key>,
    /// What the members make together, where that was asked for.
    pub(crate) digests: Option<LayerDigests>,
}

/// How members are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Packing {
    pub(crate) compression: Compression,
    pub(crate) level: i32,
}

impl Packing {
    /// What the store keeps content in.
    pub(crate) const STORE: Self = Self { compression: Compression::Gzip, level: 2 };

    /// The name under which a layer's blob of this packing is remembered.
    pub(crate) fn name(self) -> String {
        format!("{}-{}", self.compression, self.level)
    }

    /// The media type of a layer packed so.
    pub(crate) fn media_type(self) -> &'static str {
        match self.compression {
            Compression::Uncompressed => media_type::OCI_LAYER,
            Compression::Gzip => media_type::OCI_LAYER_GZIP,
            Compression::Zstd => media_type::OCI_LAYER_ZSTD,
        }
    }

    /// The last member of every layer: the end of the archive.
    pub(crate) fn end(self) -> Vec<u8> {
        let mut end = Vec::new();
        MemberCompressor::new(self.compression, self.level).compress(&tar::TRAILER, &mut end);
        end
    }

    /// The tar bytes of a member, appended to `tar`.
    pub(crate) fn decompress(self, packed: &[u8], tar: &mut Vec<u8>) -> Result<(), LayerError> {
        rbx_oci::decompress_member(self.compression, packed, tar).map_err(|_| LayerError::Damaged)
    }
}

fn sections<'a>(entries: impl Iterator<Item = &'a Entry>) -> Vec<Section> {
    let mut sections = Vec::new();
    let mut open = Section { pieces: Vec::new() };
    let mut length = 0;
    let mut close = |open: &mut Section, length: &mut usize| {
        if !open.pieces.is_empty() {
            sections.push(Section { pieces: std::mem::take(&mut open.pieces) });
        }
        *length = 0;
    };
    for (item, entry) in entries.enumerate() {
        let size = if let EntryKind::File { size } = entry.kind { size } else { 0 };
        // Long names add extended headers; those few bytes do not matter for where to cut.
        let bytes = usize::try_from(size.min(CHUNK)).unwrap_or(SECTION_MAX) + 512;
        let may_cut = length >= SECTION_MIN && path_cuts(&entry.path);
        if may_cut || length + bytes > SECTION_MAX {
            close(&mut open, &mut length);
        }
        open.pieces.push(Piece { item, chunk: 0 });
        length += bytes;
        let chunks = content::chunk_count(size);
        if chunks > 1 {
            close(&mut open, &mut length);
            for chunk in 1..chunks {
                open.pieces.push(Piece { item, chunk });
                close(&mut open, &mut length);
            }
        }
    }
    close(&mut open, &mut length);
    sections
}

fn path_cuts(path: &[u8]) -> bool {
    blake3::hash(path).as_bytes()[0].is_multiple_of(CUT_EVERY)
}

/// Makes sure that the store holds every section of a layer, reading what it does not know and compressing what
/// it does not have on `threads` threads. Fills in the items' content digests; where one is known already and
/// the file has other bytes by now, that is an error.
///
/// With `describe`, the layer's digests are computed in the same pass.
pub(crate) fn pack(
    store: &Store,
    items: &mut [Item],
    packing: Packing,
    threads: usize,
    describe: bool,
    cancelled: &AtomicBool,
) -> Result<Packed, LayerError> {
    let sections = sections(items.iter().map(|item| &item.entry));
    let chunks: Vec<Option<Vec<ContentDigest>>> =
        items.iter().map(|item| content::known_chunks(store, item.content?, item.size())).collect();
    let packer = Packer { store, items, chunks: &chunks, packing };
    let mut read: Vec<Vec<(u64, ContentDigest)>> = vec![Vec::new(); items.len()];
    let mut members = Vec::with_capacity(sections.len());
    let mut header = Vec::new();
    let known: Vec<Option<Key>> =
        sections.iter().map(|section| packer.known_key(section, &mut header)).collect();
    let mut hashes = describe.then(|| Hashes::resume(store, packing, known.iter().map_while(|known| *known)));
    // What lies before the point of resumption was hashed in an earlier build.
    let resumed = hashes.as_ref().map_or(usize::MAX, Hashes::position);
    in_order(
        sections.len(),
        threads,
        cancelled,
        || Worker::new(packing),
        |worker, at| worker.section(&packer, &sections[at], known[at], at >= resumed),
        |done: Done| {
            members.push(done.key);
            for (item, chunk, digest) in done.digests {
                read[item].push((chunk, digest));
            }
            match &mut hashes {
                Some(hashes) if members.len() > resumed => {
                    hashes.add(store, &done.key, &done.tar, &done.packed)
                }
                _ => Ok(()),
            }
        },
    )?;

    for ((item, known), mut read) in items.iter_mut().zip(chunks).zip(read) {
        if known.is_some() || read.is_empty() {
            continue;
        }
        read.sort_unstable_by_key(|(chunk, _)| *chunk);
        let chunks: Vec<ContentDigest> = read.into_iter().map(|(_, digest)| digest).collect();
        let digest = content::file_digest(&chunks);
        if item.content.is_some_and(|expected| expected != digest) {
            return Err(LayerError::read(item.read_from(), content::changed()));
        }
        item.content = Some(digest);
        content::remember_chunks(store, &chunks)?;
    }
    Ok(Packed { members, digests: hashes.map(Hashes::finish) })
}

/// Packs a layer again from its members: the same way to learn its digests, or another way.
pub(crate) fn repack(
    store: &Store,
    members: &[Key],
    from: Packing,
    to: Packing,
    threads: usize,
    cancelled: &AtomicBool,
) -> Result<Packed, LayerError> {
    let renamed = |key: &Key| {
        if from == to {
            return *key;
        }
        Key::hasher("repacked member").field(key.as_bytes()).field(to.name()).finish()
    };
    let keys: Vec<Key> = members.iter().map(renamed).collect();
    // A state may outlive members that belong to no layer yet.
    let mut there = Vec::new();
    for key in &keys {
        if store.member_size(key)?.is_none() {
            break;
        }
        there.push(*key);
    }
    let mut hashes = Hashes::resume(store, to, there.into_iter());
    let resumed = hashes.position();
    in_order(
        members.len() - resumed,
        threads,
        cancelled,
        || MemberCompressor::new(to.compression, to.level),
        |compressor, at| {
            let at = at + resumed;
            let old = store.member(&members[at])?.ok_or(LayerError::Damaged)?;
            let mut tar = Vec::with_capacity(2 * SECTION_MAX);
            from.decompress(&old, &mut tar)?;
            let packed = if from == to { old } else { compressed(store, &keys[at], compressor, &tar)? };
            Ok((keys[at], tar, packed))
        },
        |(key, tar, packed)| hashes.add(store, &key, &tar, &packed),
    )?;
    Ok(Packed { digests: Some(hashes.finish()), members: keys })
}

/// The member under `key`, compressed now if the store does not have it.
fn compressed(
    store: &Store,
    key: &Key,
    compressor: &mut MemberCompressor,
    tar: &[u8],
) -> Result<Vec<u8>, LayerError> {
    if let Some(packed) = store.member(key)? {
        return Ok(packed);
    }
    let mut packed = Vec::with_capacity(tar.len() / 2);
    compressor.compress(tar, &mut packed);
    store.put_member(key, &packed)?;
    Ok(packed)
}

impl Item {
    /// Where its bytes are read, which people know it by.
    fn read_from(&self) -> &[u8] {
        self.source.as_ref().map_or(&self.entry.path, |source| &source.path)
    }

    /// What an index keeps of this.
    pub(crate) fn into_index(self) -> IndexEntry {
        IndexEntry { entry: self.entry, content: self.content }
    }
}

/// Walks the pieces of a layer's decompressed members: `visit` gets each entry with its bytes, chunk by chunk.
pub(crate) fn split_section<'a>(
    index: &'a LayerIndex,
    section: usize,
    plan: &SectionPlan,
    tar: &[u8],
    mut visit: impl FnMut(&'a Entry, u64, &[u8]) -> Result<(), LayerError>,
) -> Result<(), LayerError> {
    let mut at = 0;
    let mut header = Vec::new();
    for piece in &plan.sections[section].pieces {
        let entry = &index.entries[piece.item].entry;
        if piece.chunk == 0 {
            header.clear();
            tar::write_header(&mut header, entry);
            at += header.len();
        }
        let size = if let EntryKind::File { size } = entry.kind { size } else { 0 };
        let offset = piece.chunk * CHUNK;
        let length = usize::try_from((size - offset).min(CHUNK)).unwrap_or(usize::MAX);
        let bytes = tar.get(at..at + length).ok_or(LayerError::Damaged)?;
        visit(entry, offset, bytes)?;
        at += length;
        if offset + length as u64 == size {
            at += tar::padding(size);
        }
    }
    if at == tar.len() { Ok(()) } else { Err(LayerError::Damaged) }
}

/// How a layer is cut, for reading it back.
pub(crate) struct SectionPlan {
    sections: Vec<Section>,
}

impl SectionPlan {
    /// The cuts of a layer.
    pub(crate) fn new(index: &LayerIndex) -> Self {
        Self { sections: sections(index.entries.iter().map(|item| &item.entry)) }
    }

    /// The entries that a section holds, or holds a part of.
    pub(crate) fn entries<'a>(
        &'a self,
        index: &'a LayerIndex,
        section: usize,
    ) -> impl Iterator<Item = &'a Entry> {
        self.sections[section].pieces.iter().map(|piece| &index.entries[piece.item].entry)
    }
}

/// Everything a worker reads and none changes.
struct Packer<'a> {
    store: &'a Store,
    items: &'a [Item],
    chunks: &'a [Option<Vec<ContentDigest>>],
    packing: Packing,
}

impl Packer<'_> {
    fn known(&self, item: usize, chunk: u64) -> Option<ContentDigest> {
        self.chunks[item].as_ref()?.get(usize::try_from(chunk).ok()?).copied()
    }

    /// The key of a section: headers, chunk digests and the packing. `None` where a digest is not known.
    fn key(
        &self,
        section: &Section,
        header: &mut Vec<u8>,
        digest: impl Fn(usize, u64) -> Option<ContentDigest>,
    ) -> Option<Key> {
        let mut hasher = Key::hasher("member");
        hasher.field(self.packing.name().as_bytes());
        for piece in &section.pieces {
            let item = &self.items[piece.item];
            header.clear();
            if piece.chunk == 0 {
                tar::write_header(header, &item.entry);
            }
            hasher.field(&*header);
            // Only a file's last chunk is followed by padding, and its length is the file's size modulo the chunk's.
            hasher.number(item.size());
            hasher.number(piece.chunk);
            if matches!(item.entry.kind, EntryKind::File { .. }) {
                hasher.field(digest(piece.item, piece.chunk)?.as_bytes());
            }
        }
        Some(hasher.finish())
    }

    fn known_key(&self, section: &Section, header: &mut Vec<u8>) -> Option<Key> {
        self.key(section, header, |item, chunk| self.known(item, chunk))
    }
}

/// One finished section.
struct Done {
    key: Key,
    /// The uncompressed bytes, where the layer is to be described.
    tar: Vec<u8>,
    /// The compressed bytes, likewise.
    packed: Vec<u8>,
    /// Chunk digests of what was read.
    digests: Vec<(usize, u64, ContentDigest)>,
}

struct Worker {
    compressor: MemberCompressor,
    header: Vec<u8>,
    tar: Vec<u8>,
}

impl Worker {
    fn new(packing: Packing) -> Self {
        Self {
            compressor: MemberCompressor::new(packing.compression, packing.level),
            header: Vec::new(),
            tar: Vec::new(),
        }
    }

    /// Makes sure that the store has a section; its bytes are answered if they are to be hashed.
    fn section(
        &mut self,
        packer: &Packer<'_>,
        section: &Section,
        known: Option<Key>,
        hashed: bool,
    ) -> Result<Done, LayerError> {
        if let Some(key) = known {
            if !hashed {
                if packer.store.member_size(&key)?.is_some() {
                    return Ok(Done { key, tar: Vec::new(), packed: Vec::new(), digests: Vec::new() });
                }
            } else if let Some(packed) = packer.store.member(&key)? {
                let mut tar = Vec::with_capacity(2 * SECTION_MAX);
                packer.packing.decompress(&packed, &mut tar)?;
                return Ok(Done { key, tar, packed, digests: Vec::new() });
            }
        }
        self.tar.clear();
        let digests = self.read(packer, section)?;
        let by_piece: BTreeMap<(usize, u64), ContentDigest> =
            digests.iter().map(|&(item, chunk, digest)| ((item, chunk), digest)).collect();
        let key = packer
            .key(section, &mut self.header, |item, chunk| by_piece.get(&(item, chunk)).copied())
            .ok_or(LayerError::Damaged)?;
        let packed = compressed(packer.store, &key, &mut self.compressor, &self.tar)?;
        if hashed {
            Ok(Done { key, tar: std::mem::take(&mut self.tar), packed, digests })
        } else {
            Ok(Done { key, tar: Vec::new(), packed: Vec::new(), digests })
        }
    }

    /// Writes a section's tar bytes, reading every file of it once; answers the digests of what was read.
    fn read(
        &mut self,
        packer: &Packer<'_>,
        section: &Section,
    ) -> Result<Vec<(usize, u64, ContentDigest)>, LayerError> {
        let mut digests = Vec::with_capacity(section.pieces.len());
        for piece in &section.pieces {
            let item = &packer.items[piece.item];
            if piece.chunk == 0 {
                tar::write_header(&mut self.tar, &item.entry);
            }
            let EntryKind::File { size } = item.entry.kind else { continue };
            let failed = |error| LayerError::read(item.read_from(), error);
            let source = item.source.as_ref().ok_or(LayerError::Damaged)?;
            let start = self.tar.len();
            let offset = piece.chunk * CHUNK;
            let length = (size - offset).min(CHUNK);
            let mut file = source.open().map_err(failed)?;
            if offset > 0 {
                file.seek(SeekFrom::Start(offset)).map_err(failed)?;
            }
            (&mut file).take(length).read_to_end(&mut self.tar).map_err(failed)?;
            let last = offset + length == size;
            let whole = (self.tar.len() - start) as u64 == length;
            if !whole || (last && file.read(&mut [0]).map_err(failed)? != 0) {
                return Err(failed(content::changed()));
            }
            let digest = content::chunk_digest(&self.tar[start..]);
            if packer.known(piece.item, piece.chunk).is_some_and(|known| known != digest) {
                return Err(failed(content::changed()));
            }
            digests.push((piece.item, piece.chunk, digest));
            if last {
                let padded = self.tar.len() + tar::padding(size);
                self.tar.resize(padded, 0);
            }
        }
        Ok(digests)
    }
}

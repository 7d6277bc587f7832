//! A layer as a blob: its descriptor, its diff ID and its bytes.

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use rbx_oci::{Compression, Descriptor, Digest, MEMBER_LIMIT, MemberCompressor, decompress};
use rbx_store::{BlobInfo, Key, LayerId, Lease, Store};

use super::hashes::LayerDigests;
use super::origin::{Origin, Source};
use super::pack::{Item, Packed, Packing, pack, repack};
use crate::error::LayerError;

/// The name under which the blob that a layer was pulled as is remembered.
pub(crate) const PULLED: &str = "pulled";

/// A layer that can be written into an image.
#[derive(Debug, Clone)]
pub(crate) struct LayerBlob {
    pub(crate) layer: LayerId,
    pub(crate) descriptor: Descriptor,
    pub(crate) diff_id: Digest,
    form: Form,
}

/// In what form the store has a layer's bytes.
#[derive(Debug, Clone, Copy)]
enum Form {
    /// One blob.
    Blob,
    /// Members that follow each other, and the end of the archive.
    Members(Packing),
}

/// Tells the digests of a layer's blob, packing what was never packed. A layer that was pulled keeps the blob
/// it came as, unless `force` asks for one compression throughout and it came in another.
pub(crate) fn describe(
    store: &Store,
    lease: &Lease,
    id: LayerId,
    packing: Packing,
    force: bool,
    threads: usize,
    cancelled: &AtomicBool,
) -> Result<LayerBlob, LayerError> {
    or_forget(store, id, digests_of(store, lease, id, packing, force, threads, cancelled))
}

/// Where a layer turns out to be damaged, lets nothing lead to it any more: the next build makes it anew.
pub(super) fn or_forget<T>(
    store: &Store,
    id: LayerId,
    outcome: Result<T, LayerError>,
) -> Result<T, LayerError> {
    if matches!(outcome, Err(LayerError::Damaged | LayerError::Missing(_))) {
        store.forget_layer(id)?;
    }
    outcome
}

fn digests_of(
    store: &Store,
    lease: &Lease,
    id: LayerId,
    packing: Packing,
    force: bool,
    threads: usize,
    cancelled: &AtomicBool,
) -> Result<LayerBlob, LayerError> {
    let layer = store.layer(lease, id)?.ok_or(LayerError::Missing(id))?;
    let remembered = |name: &str, form: Form| {
        let blob = layer.blobs.get(name)?;
        let descriptor = Descriptor::new(&blob.media_type, blob.digest, blob.size);
        Some(LayerBlob { layer: id, descriptor, diff_id: layer.diff_id?, form })
    };
    if let Some(pulled) = remembered(PULLED, Form::Blob) {
        let compression = Compression::of_media_type(&pulled.descriptor.media_type);
        if !force || compression == Some(packing.compression) {
            return Ok(pulled);
        }
        return match remembered(&packing.name(), Form::Blob) {
            Some(again) if store.blob(&again.descriptor.digest)?.is_some() => Ok(again),
            _ => recompress(store, &pulled, packing, cancelled),
        };
    }
    if let Some(known) = remembered(&packing.name(), Form::Members(packing)) {
        return Ok(known);
    }

    let packed = match store.layer_members(id, &Packing::STORE.name())? {
        Some(members) => repack(store, &members, Packing::STORE, packing, threads, cancelled)?,
        None => pack_tree(store, id, packing, threads, cancelled)?,
    };
    let digests = packed.digests.ok_or(LayerError::Damaged)?;
    note(store, id, packing, &packed.members, &digests)?;
    let descriptor = Descriptor::new(packing.media_type(), digests.blob, digests.size);
    Ok(LayerBlob { layer: id, descriptor, diff_id: digests.diff_id, form: Form::Members(packing) })
}

/// Compresses a layer that was pulled in another way than it came. Its tar stays what it is to the byte: its diff ID
/// is part of the base image's identity.
fn recompress(
    store: &Store,
    pulled: &LayerBlob,
    packing: Packing,
    cancelled: &AtomicBool,
) -> Result<LayerBlob, LayerError> {
    let name = pulled.descriptor.digest.to_string();
    let failed = |error: io::Error| LayerError::Archive { layer: name.clone(), reason: error.to_string() };
    let (_, mut tar) = decompress(pulled.open(store)?).map_err(failed)?;
    let mut writer = store.blob_writer()?;
    let mut compressor = MemberCompressor::new(packing.compression, packing.level);
    let (mut plain, mut packed) = (Vec::with_capacity(MEMBER_LIMIT), Vec::new());
    loop {
        if cancelled.load(Ordering::Relaxed) {
            return Err(LayerError::Cancelled);
        }
        plain.clear();
        packed.clear();
        (&mut tar).take(MEMBER_LIMIT as u64).read_to_end(&mut plain).map_err(failed)?;
        if plain.is_empty() {
            break;
        }
        compressor.compress(&plain, &mut packed);
        writer.write_all(&packed).map_err(failed)?;
    }
    let size = writer.written();
    let digest = writer.commit(None)?;
    let media_type = packing.media_type().to_owned();
    let info = BlobInfo { digest, size, media_type };
    store.set_layer_blob(pulled.layer, &packing.name(), &info)?;
    let descriptor = Descriptor::new(info.media_type, digest, size);
    Ok(LayerBlob { descriptor, form: Form::Blob, ..pulled.clone() })
}

/// Remembers what a layer's bytes are.
pub(crate) fn note(
    store: &Store,
    id: LayerId,
    packing: Packing,
    members: &[Key],
    digests: &LayerDigests,
) -> Result<(), LayerError> {
    store.set_layer_members(id, &packing.name(), members)?;
    store.set_diff_id(id, &digests.diff_id)?;
    let media_type = packing.media_type().to_owned();
    let info = BlobInfo { digest: digests.blob, size: digests.size, media_type };
    Ok(store.set_layer_blob(id, &packing.name(), &info)?)
}

/// Packs a layer that is laid out as files.
fn pack_tree(
    store: &Store,
    id: LayerId,
    packing: Packing,
    threads: usize,
    cancelled: &AtomicBool,
) -> Result<Packed, LayerError> {
    let tree = store.tree(id).ok_or(LayerError::Missing(id))?;
    let origin = Origin::directory(&tree).map_err(|error| LayerError::read(b"", error))?;
    let index = store.layer_index(id)?;
    let mut items: Vec<Item> = index
        .entries
        .iter()
        .map(|item| {
            let source = Source { origin: origin.clone(), path: item.entry.path.clone() };
            Item { entry: item.entry.clone(), content: item.content, source: Some(source) }
        })
        .collect();
    pack(store, &mut items, packing, threads, true, cancelled)
}

impl LayerBlob {
    /// Whether the blob is made of members, not kept as it was pulled.
    pub(crate) fn is_packed(&self) -> bool {
        matches!(self.form, Form::Members(_))
    }

    /// The blob's bytes.
    pub(crate) fn open(&self, store: &Store) -> Result<LayerReader, LayerError> {
        let mut reader = LayerReader {
            store: store.clone(),
            layer: self.layer,
            members: Vec::new(),
            end: None,
            current: Box::new(io::empty()),
        };
        match self.form {
            Form::Blob => {
                let blob = store.blob(&self.descriptor.digest)?.ok_or(LayerError::Missing(self.layer));
                let blob = or_forget(store, self.layer, blob)?;
                reader.current = Box::new(blob.file);
            }
            Form::Members(packing) => {
                let members = store.layer_members(self.layer, &packing.name())?;
                reader.members = members.ok_or(LayerError::Missing(self.layer))?;
                reader.members.reverse();
                reader.end = Some(packing.end());
            }
        }
        Ok(reader)
    }
}

/// Reads a layer's blob, member after member.
pub(crate) struct LayerReader {
    store: Store,
    layer: LayerId,
    /// Those still to come, the next one last.
    members: Vec<Key>,
    end: Option<Vec<u8>>,
    current: Box<dyn Read + Send>,
}

impl Read for LayerReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let length = self.current.read(buffer)?;
            if length > 0 || buffer.is_empty() {
                return Ok(length);
            }
            let next = match self.members.pop() {
                Some(key) => {
                    let member = self.store.member(&key).map_err(LayerError::from);
                    let member = member.and_then(|member| member.ok_or(LayerError::Damaged));
                    or_forget(&self.store, self.layer, member).map_err(io::Error::other)?
                }
                None => match self.end.take() {
                    Some(end) => end,
                    None => return Ok(0),
                },
            };
            self.current = Box::new(io::Cursor::new(next));
        }
    }
}

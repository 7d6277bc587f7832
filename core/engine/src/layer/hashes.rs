//! The digests of a layer's bytes, taken up where an earlier layer with the same beginning left a state.

use rbx_oci::Digest;
use rbx_store::{Key, Store};
use sha2::digest::common::hazmat::{SerializableState, SerializedState};
use sha2::{Digest as _, Sha256};

use super::pack::Packing;
use crate::error::LayerError;

/// A state is kept after so many sections.
const KEEP_EVERY: usize = 16;

/// What a layer's bytes are.
#[derive(Debug, Clone)]
pub(crate) struct LayerDigests {
    /// Digest of the uncompressed tar.
    pub(crate) diff_id: Digest,
    /// Digest of the compressed blob.
    pub(crate) blob: Digest,
    /// Bytes of the compressed blob.
    pub(crate) size: u64,
}

/// Hashes a layer's members in order, uncompressed and compressed.
pub(crate) struct Hashes {
    packing: Packing,
    diff: Sha256,
    blob: Sha256,
    size: u64,
    position: usize,
    /// Names the members so far.
    chain: Key,
}

impl Hashes {
    /// Begins at the last state that an earlier layer left after some of the `known` first members.
    pub(crate) fn resume(store: &Store, packing: Packing, known: impl Iterator<Item = Key>) -> Self {
        let mut hashes = Self {
            packing,
            diff: Sha256::new(),
            blob: Sha256::new(),
            size: 0,
            position: 0,
            chain: Key::hasher("hash state").field(packing.name()).finish(),
        };
        let mut chain = hashes.chain;
        let mut kept = Vec::new();
        for (at, key) in known.enumerate() {
            chain = next(&chain, &key);
            if (at + 1) % KEEP_EVERY == 0 {
                kept.push((at + 1, chain));
            }
        }
        for (position, chain) in kept.into_iter().rev() {
            let state = store.member(&chain).ok().flatten();
            if state.is_some_and(|state| hashes.restore(&state).is_some()) {
                hashes.position = position;
                hashes.chain = chain;
                break;
            }
        }
        hashes
    }

    /// How many members are in the hashes.
    pub(crate) fn position(&self) -> usize {
        self.position
    }

    /// Adds the next member.
    pub(crate) fn add(
        &mut self,
        store: &Store,
        key: &Key,
        tar: &[u8],
        packed: &[u8],
    ) -> Result<(), LayerError> {
        self.update(tar, packed);
        self.position += 1;
        self.chain = next(&self.chain, key);
        if self.position.is_multiple_of(KEEP_EVERY) {
            store.put_member(&self.chain, &self.state())?;
        }
        Ok(())
    }

    /// The digests of all, the end of the archive included.
    pub(crate) fn finish(mut self) -> LayerDigests {
        let end = self.packing.end();
        self.update(&rbx_oci::tar::TRAILER, &end);
        LayerDigests {
            diff_id: Digest::from_hasher(self.diff),
            blob: Digest::from_hasher(self.blob),
            size: self.size,
        }
    }

    fn update(&mut self, tar: &[u8], packed: &[u8]) {
        self.diff.update(tar);
        self.blob.update(packed);
        self.size += packed.len() as u64;
    }

    fn state(&self) -> Vec<u8> {
        let mut state = self.size.to_le_bytes().to_vec();
        state.extend_from_slice(&self.diff.serialize());
        state.extend_from_slice(&self.blob.serialize());
        state
    }

    /// Takes over a state; `None`, and no change, if it is none.
    fn restore(&mut self, state: &[u8]) -> Option<()> {
        let (size, hashers) = state.split_first_chunk::<8>()?;
        let (diff, blob) = hashers.split_at_checked(hashers.len() / 2)?;
        let read = |bytes: &[u8]| Sha256::deserialize(&SerializedState::<Sha256>::try_from(bytes).ok()?).ok();
        let (diff, blob) = (read(diff)?, read(blob)?);
        (self.size, self.diff, self.blob) = (u64::from_le_bytes(*size), diff, blob);
        Some(())
    }
}

/// Names a row of members, from the name of the row without the last.
fn next(chain: &Key, key: &Key) -> Key {
    Key::hasher("hash state").field(chain.as_bytes()).field(key.as_bytes()).finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resumed_hash_is_the_hash_of_everything() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let member = |at: usize| (Key::from_bytes([u8::try_from(at).unwrap(); 32]), vec![7; at * 100 + 1]);
        let hash = |known: usize, count: usize| {
            let mut hashes = Hashes::resume(&store, Packing::STORE, (0..known).map(|at| member(at).0));
            let position = hashes.position();
            for at in position..count {
                let (key, bytes) = member(at);
                hashes.add(&store, &key, &bytes, &bytes[1..]).unwrap();
            }
            (position, hashes.finish())
        };
        let (from, whole) = hash(0, 40);
        assert_eq!(from, 0);
        for (known, expected) in [(40, 32), (31, 16), (16, 16), (15, 0)] {
            let (from, resumed) = hash(known, 40);
            assert_eq!(from, expected);
            assert_eq!(
                (resumed.diff_id, resumed.blob, resumed.size),
                (whole.diff_id, whole.blob, whole.size)
            );
        }
        assert_ne!(hash(40, 39).1.diff_id, whole.diff_id);
    }
}

//! The digest of a regular file's bytes.
//!
//! A file is hashed in chunks of [`CHUNK`] bytes, so that a chunk can be checked and reused without the rest: the
//! digest of a file of one chunk is that chunk's, that of a longer file is the digest of its chunks' digests.

use std::io::{self, Read};

use rbx_store::{ContentDigest, Key, Store};

/// Bytes of one chunk.
pub(crate) const CHUNK: u64 = 1 << 20;

/// How many chunks a file of `size` bytes has; an empty file has one.
pub(crate) fn chunk_count(size: u64) -> u64 {
    size.div_ceil(CHUNK).max(1)
}

/// The digest of one chunk's bytes.
pub(crate) fn chunk_digest(bytes: &[u8]) -> ContentDigest {
    ContentDigest::from_bytes(*blake3::hash(bytes).as_bytes())
}

/// The digest of a file, from its chunks' digests in order.
pub(crate) fn file_digest(chunks: &[ContentDigest]) -> ContentDigest {
    match chunks {
        [one] => *one,
        many => {
            let mut hasher = blake3::Hasher::new_derive_key("rbx file of several chunks v1");
            for chunk in many {
                hasher.update(chunk.as_bytes());
            }
            ContentDigest::from_bytes(*hasher.finalize().as_bytes())
        }
    }
}

/// Reads to the end and answers the chunks' digests. `buffer` is scratch space.
///
/// A file that turns out not to have `size` bytes is an error: somebody is writing it.
pub(crate) fn hash_chunks(
    mut reader: impl Read,
    size: u64,
    buffer: &mut Vec<u8>,
) -> io::Result<Vec<ContentDigest>> {
    let mut chunks = Vec::with_capacity(usize::try_from(chunk_count(size)).unwrap_or(0));
    let mut left = size;
    loop {
        buffer.clear();
        let want = left.min(CHUNK);
        (&mut reader).take(want).read_to_end(buffer)?;
        if buffer.len() as u64 != want {
            return Err(changed());
        }
        chunks.push(chunk_digest(buffer));
        left -= want;
        if left == 0 {
            break;
        }
    }
    if reader.read(&mut [0])? != 0 {
        return Err(changed());
    }
    Ok(chunks)
}

/// What is said of a file that changes under the build.
pub(crate) fn changed() -> io::Error {
    io::Error::other("the file changed while it was read")
}

/// The chunk digests of a file known by its digest, if this store has met it.
pub(crate) fn known_chunks(store: &Store, digest: ContentDigest, size: u64) -> Option<Vec<ContentDigest>> {
    let count = chunk_count(size);
    if count == 1 {
        return Some(vec![digest]);
    }
    let bytes = store.member(&chunk_list_key(digest)).ok()??;
    let (chunks, rest) = bytes.as_chunks::<32>();
    let chunks: Vec<ContentDigest> = chunks.iter().copied().map(ContentDigest::from_bytes).collect();
    let whole = rest.is_empty() && chunks.len() as u64 == count && file_digest(&chunks) == digest;
    whole.then_some(chunks)
}

/// Remembers the chunk digests of a file of several chunks.
pub(crate) fn remember_chunks(store: &Store, chunks: &[ContentDigest]) -> Result<(), rbx_store::StoreError> {
    if chunks.len() < 2 {
        return Ok(());
    }
    let bytes: Vec<u8> = chunks.iter().flat_map(|chunk| *chunk.as_bytes()).collect();
    store.put_member(&chunk_list_key(file_digest(chunks)), &bytes)
}

fn chunk_list_key(digest: ContentDigest) -> Key {
    let mut hasher = Key::hasher("chunk list");
    hasher.field(digest.as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_depends_on_every_chunk_and_on_their_number() {
        let size = usize::try_from(CHUNK).unwrap();
        let digest =
            |bytes: &[u8]| file_digest(&hash_chunks(bytes, bytes.len() as u64, &mut Vec::new()).unwrap());
        let one = vec![1; size];
        let two = vec![1; size + 1];
        let mut other = two.clone();
        other[size] = 2;
        assert_ne!(digest(&one), digest(&two));
        assert_ne!(digest(&two), digest(&other));
        assert_eq!(digest(&[]), chunk_digest(&[]));
    }

    #[test]
    fn a_file_of_another_size_than_was_seen_is_an_error() {
        assert!(hash_chunks(&b"abc"[..], 2, &mut Vec::new()).is_err());
        assert!(hash_chunks(&b"abc"[..], 4, &mut Vec::new()).is_err());
    }
}

//! Files of the store: layer indexes and stat caches. The checksums are made right, so that what they cover is read.

use std::path::Path;
use std::sync::OnceLock;

use rbx_store::{ContentDigest, FileStat, LayerIndex, Store};

use crate::bytes::Bytes;

pub(crate) fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    match bytes.byte() % 3 {
        0 => index(bytes.0),
        1 => index(&headed(b"rbxindx1", bytes.0, true)),
        _ => stat_cache(bytes.0),
    }
}

fn index(bytes: &[u8]) {
    let Ok(index) = LayerIndex::decode(bytes) else { return };
    index.size();
    let encoded = index.encode().unwrap();
    assert_eq!(LayerIndex::decode(&encoded).unwrap(), index);
}

/// A body with the header of its kind: the first eight bytes are the number of entries.
fn headed(magic: &[u8], bytes: &[u8], length: bool) -> Vec<u8> {
    let (count, body) = bytes.split_at_checked(8).unwrap_or((&[0; 8], bytes));
    let mut out = magic.to_vec();
    if length {
        out.extend((body.len() as u64).to_le_bytes());
    }
    out.extend(count);
    out.extend(&blake3::hash(body).as_bytes()[..16]);
    out.extend(body);
    out
}

fn stat_cache(bytes: &[u8]) {
    static STORE: OnceLock<(tempfile::TempDir, Store)> = OnceLock::new();
    let (directory, store) = STORE.get_or_init(|| {
        let directory = crate::scratch();
        let store = Store::open(directory.path()).unwrap();
        (directory, store)
    });
    let name = ContentDigest::of(b"/").to_string();
    std::fs::write(directory.path().join("v1/stat").join(name), headed(b"rbxstat1", bytes, false)).unwrap();
    let cache = store.stat_cache(Path::new("/"));
    let stat = FileStat { dev: 0, ino: 0, size: 0, mode: 0, mtime_ns: 0, ctime_ns: 0 };
    for path in [&b""[..], b"a", b"a/b"] {
        assert_eq!(cache.lookup(path, &stat), None, "nothing lies on device 0");
    }
    cache.insert(b"a", &stat, ContentDigest::of(b"a"));
    cache.save().unwrap();
}

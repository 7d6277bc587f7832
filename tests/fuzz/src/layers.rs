//! Hostile layers, unpacked into a store: whatever they hold, nothing outside their own trees changes, and what the
//! store says of a layer is what lies on disk. The input describes up to four layers of entries out of a small set of
//! names, so that they meet each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rbx_engine::fuzz::{merge_layers, unpack_layers};
use rbx_oci::tar::{TRAILER, padding, write_header};
use rbx_oci::{Entry, EntryKind};
use rbx_store::{LayerIndex, Store};

use crate::bytes::Bytes;

const MOST_LAYERS: usize = 4;
const MOST_ENTRIES: usize = 40;
const NAMES: [&str; 8] = ["a", "b", "c", "l", "a-b", "outside", "..", ".wh.a"];

/// A store beside something that no layer may touch.
struct Place {
    root: tempfile::TempDir,
    store: Store,
    before: BTreeMap<PathBuf, String>,
}

impl Place {
    fn get() -> &'static Place {
        static PLACE: OnceLock<Place> = OnceLock::new();
        PLACE.get_or_init(|| {
            let root = crate::scratch();
            let outside = root.path().join("outside");
            fs::create_dir_all(outside.join("a")).unwrap();
            fs::write(outside.join("b"), "kept").unwrap();
            fs::write(outside.join("a/c"), "kept").unwrap();
            let store = Store::open(&root.path().join("store")).unwrap();
            // Made at first need, by what a store writes first.
            drop(store.new_tree().unwrap());
            let before = surroundings(root.path());
            Place { root, store, before }
        })
    }
}

pub(crate) fn run(data: &[u8]) {
    let place = Place::get();
    let outside = place.root.path().join("outside");
    let mut bytes = Bytes(data);
    let mut archives = Vec::new();
    while !bytes.is_empty() && archives.len() < MOST_LAYERS {
        archives.push(archive(&mut bytes, outside.as_os_str().as_bytes()));
    }
    let unpacked = unpack_layers(&place.store, archives);
    assert_eq!(surroundings(place.root.path()), place.before, "something outside of the layers changed");
    let Ok(layers) = unpacked else { return };
    for (tree, index) in &layers {
        assert_eq!(said(index), found(tree.fs()), "index and tree say the same");
        let encoded = index.encode().unwrap();
        assert_eq!(LayerIndex::decode(&encoded).as_ref(), Ok(index));
    }
    let merged = merge_layers(layers.iter().map(|(_, index)| index));
    let mut directories = BTreeSet::from([&b""[..]]);
    let mut seen = BTreeSet::new();
    for entry in &merged {
        assert!(seen.insert(&entry.path), "a path is there once");
        assert!(directories.contains(entry.parent()), "{entry:?} lies in a directory");
        assert!(!entry.is_deletion() && !matches!(entry.kind, EntryKind::Hardlink { .. }));
        if entry.is_directory() {
            directories.insert(&entry.path);
        }
    }
}

/// All files around the trees: those outside, and the names of those of the store that layers could reach.
fn surroundings(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    let mut pending = vec![root.to_owned()];
    while let Some(path) = pending.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let mut what = format!("{:o} {} {}", metadata.mode(), metadata.uid(), metadata.nlink());
        if metadata.is_dir() {
            // Trees come and go below it, and what the database's directory holds changes by itself.
            if path.ends_with("store/v1/tmp") || path.ends_with("store/v1") {
                what.clear();
            }
            if !path.ends_with("store/v1/tmp") {
                pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
        } else if path.starts_with(root.join("outside")) {
            what += &fs::read_to_string(&path).unwrap();
        }
        all.insert(path, what);
    }
    all
}

fn archive(bytes: &mut Bytes<'_>, outside: &[u8]) -> Vec<u8> {
    let mut tar = Vec::new();
    for _ in 0..MOST_ENTRIES {
        let kind = bytes.byte();
        // A layer ends where a byte says so, or the input.
        if kind == 0 {
            break;
        }
        let (entry, content) = entry(kind, bytes, outside);
        write_header(&mut tar, &entry);
        tar.extend_from_slice(&content);
        tar.resize(tar.len() + padding(content.len() as u64), 0);
    }
    tar.extend_from_slice(&TRAILER);
    tar
}

fn entry(kind: u8, bytes: &mut Bytes<'_>, outside: &[u8]) -> (Entry, Vec<u8>) {
    let path = path(bytes);
    let mut content = Vec::new();
    let kind = match kind % 16 {
        0..=2 => {
            content = vec![b'x'; usize::from(bytes.byte() % 4)];
            EntryKind::File { size: content.len() as u64 }
        }
        3..=5 => EntryKind::Directory,
        6..=8 => EntryKind::Symlink { target: target(bytes, outside) },
        9 | 10 => EntryKind::Hardlink { target: self::path(bytes) },
        11 => EntryKind::Whiteout,
        12 => EntryKind::OpaqueDirectory,
        13 => {
            EntryKind::CharDevice { major: u32::from(bytes.byte() % 2), minor: u32::from(bytes.byte() % 4) }
        }
        14 => EntryKind::BlockDevice { major: 7, minor: 0 },
        _ => EntryKind::Fifo,
    };
    let mut entry = Entry::new(path, kind);
    let attributes = bytes.byte();
    entry.mode = [0o644, 0o755, 0o4711, 0o000][usize::from(attributes % 4)];
    entry.uid = u32::from(attributes / 4 % 2) * 1000;
    entry.mtime = i64::from(attributes / 8 % 2);
    let attribute = |name: &str, value: &[u8]| (name.to_owned(), value.to_vec());
    entry.xattrs.extend(match attributes / 16 {
        1 => Some(attribute("user.overlay.opaque", b"y")),
        2 => Some(attribute("user.overlay.redirect", b"/outside")),
        3 => Some(attribute("user.overlay.whiteout", b"")),
        4 => Some(attribute("user.name", b"value")),
        5 => Some(attribute("trusted.overlay.opaque", b"y")),
        _ => None,
    });
    (entry, content)
}

fn path(bytes: &mut Bytes<'_>) -> Vec<u8> {
    let shape = bytes.byte();
    let mut parts = Vec::new();
    for _ in 0..=shape % 4 {
        // The last two names are refused wherever they stand: they come less often.
        let most = if shape / 4 % 8 == 7 { NAMES.len() } else { NAMES.len() - 2 };
        parts.push(NAMES[usize::from(bytes.byte()) % most].as_bytes());
    }
    parts.join(&b'/')
}

fn target(bytes: &mut Bytes<'_>, outside: &[u8]) -> Vec<u8> {
    let relative = path(bytes);
    match bytes.byte() % 8 {
        0 | 1 => relative,
        2 => [b"/", &relative[..]].concat(),
        3 => [b"../", &relative[..]].concat(),
        4 => [b"../../../../../../../../..", outside].concat(),
        5 => outside.to_vec(),
        6 => b"/".to_vec(),
        _ => b"..".to_vec(),
    }
}

/// What is at a path, in words.
type Listing = BTreeMap<Vec<u8>, String>;

/// What an index says of its tree.
fn said(index: &LayerIndex) -> Listing {
    let mut listing = Listing::new();
    let mut opaque = Vec::new();
    let kept: BTreeMap<&[u8], &Entry> = index
        .entries
        .iter()
        .map(|item| &item.entry)
        .filter(|entry| !matches!(entry.kind, EntryKind::OpaqueDirectory))
        .map(|entry| (entry.path.as_slice(), entry))
        .collect();
    let mut links: BTreeMap<&[u8], Vec<&[u8]>> = BTreeMap::new();
    for item in &index.entries {
        if let EntryKind::Hardlink { target } = &item.entry.kind {
            links.entry(target).or_default().push(&item.entry.path);
        }
    }
    for item in &index.entries {
        let entry = &item.entry;
        if matches!(entry.kind, EntryKind::OpaqueDirectory) {
            opaque.push(entry.path.clone());
            continue;
        }
        let shared = match &entry.kind {
            EntryKind::Hardlink { target } => target.as_slice(),
            _ => &entry.path,
        };
        let inode = kept.get(shared).unwrap_or_else(|| panic!("{entry:?} links to nothing"));
        let what = match &inode.kind {
            EntryKind::Whiteout => "whiteout".to_owned(),
            EntryKind::File { size } => {
                let names = links.get(shared).map_or(1, |links| links.len() + 1);
                format!("file of {size}, {names} names, {}", of_all(inode))
            }
            EntryKind::Directory => format!("directory, {}", of_all(inode)),
            EntryKind::Symlink { target } => format!("link to {}", String::from_utf8_lossy(target)),
            EntryKind::CharDevice { major, minor } => format!("c {major} {minor}, {}", of_all(inode)),
            EntryKind::BlockDevice { major, minor } => format!("b {major} {minor}, {}", of_all(inode)),
            EntryKind::Fifo => format!("pipe, {}", of_all(inode)),
            EntryKind::Hardlink { .. } | EntryKind::OpaqueDirectory => panic!("{entry:?} links to {inode:?}"),
        };
        let before = listing.insert(entry.path.clone(), what);
        assert_eq!(before, None, "{entry:?} is there twice");
    }
    for path in opaque {
        listing.get_mut(&path).expect("an opaque directory is in the index").push_str(", opaque");
    }
    listing
}

fn of_all(entry: &Entry) -> String {
    format!("{:o} {}:{} {}", entry.mode, entry.uid, entry.gid, entry.mtime)
}

/// What lies on disk.
fn found(tree: &Path) -> Listing {
    let mut listing = Listing::new();
    let mut pending = vec![tree.to_owned()];
    while let Some(directory) = pending.pop() {
        for path in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
            let metadata = fs::symlink_metadata(&path).unwrap();
            let kind = metadata.file_type();
            let device = (rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
            let all = format!(
                "{:o} {}:{} {}",
                metadata.mode() & 0o7777,
                metadata.uid(),
                metadata.gid(),
                metadata.mtime()
            );
            let mut what = if kind.is_dir() {
                format!("directory, {all}")
            } else if kind.is_symlink() {
                format!("link to {}", fs::read_link(&path).unwrap().display())
            } else if kind.is_char_device() && device == (0, 0) {
                "whiteout".to_owned()
            } else if kind.is_char_device() {
                format!("c {} {}, {all}", device.0, device.1)
            } else if kind.is_block_device() {
                format!("b {} {}, {all}", device.0, device.1)
            } else if kind.is_fifo() {
                format!("pipe, {all}")
            } else {
                format!("file of {}, {} names, {all}", metadata.size(), metadata.nlink())
            };
            for (name, value) in overlay_attributes(&path) {
                match name.as_str() {
                    "user.overlay.opaque" if value == b"y" => what.push_str(", opaque"),
                    name => what.extend([", ", name]),
                }
            }
            listing.insert(path.strip_prefix(tree).unwrap().as_os_str().as_bytes().to_vec(), what);
            if kind.is_dir() {
                pending.push(path);
            }
        }
    }
    listing
}

/// The attributes of a file that mean something to an overlay.
fn overlay_attributes(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut names = vec![0; 4096];
    let length = rustix::fs::llistxattr(path, &mut names).unwrap_or(0);
    let names =
        names[..length].split(|&byte| byte == 0).map(|name| String::from_utf8_lossy(name).into_owned());
    let of_overlay = names.filter(|name| name.contains(".overlay."));
    of_overlay
        .map(|name| {
            let mut value = vec![0; 256];
            let length = rustix::fs::lgetxattr(path, &name, &mut value).unwrap();
            value.truncate(length);
            (name, value)
        })
        .collect()
}

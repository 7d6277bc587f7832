//! Layers that are written one over the other, as a hostile image may have them.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rbx_oci::tar;
use rbx_store::{IndexEntry, LayerIndex, PreparedTree, Store};

use super::*;
use crate::error::LayerError;
use crate::layer::unpack::unpack;
use crate::tree::Tree;

const FILE: EntryKind = EntryKind::File { size: 3 };
const DIRECTORY: EntryKind = EntryKind::Directory;
const WHITEOUT: EntryKind = EntryKind::Whiteout;
const OPAQUE: EntryKind = EntryKind::OpaqueDirectory;

fn symlink(target: impl AsRef<str>) -> EntryKind {
    EntryKind::Symlink { target: target.as_ref().into() }
}

fn hard(target: &str) -> EntryKind {
    EntryKind::Hardlink { target: target.into() }
}

fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut archive = Vec::new();
    for entry in entries {
        tar::write_header(&mut archive, entry);
        if entry.size() > 0 {
            archive.extend_from_slice(b"new");
            archive.resize(archive.len() + tar::padding(3), 0);
        }
    }
    archive.extend_from_slice(&tar::TRAILER);
    archive
}

/// Layers in a store of their own.
struct Image {
    root: tempfile::TempDir,
    store: Store,
    layers: Vec<(PreparedTree, LayerIndex)>,
}

impl Image {
    fn new() -> Image {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(&root.path().join("store")).unwrap();
        Image { root, store, layers: Vec::new() }
    }

    fn add(&mut self, entries: &[(&str, EntryKind)]) -> Result<&mut Image, LayerError> {
        let entries: Vec<Entry> = entries
            .iter()
            .map(|(path, kind)| Entry { mode: 0o700, ..Entry::new(*path, kind.clone()) })
            .collect();
        self.add_entries(&entries)
    }

    fn add_entries(&mut self, entries: &[Entry]) -> Result<&mut Image, LayerError> {
        let unpacked = unpack(&self.store, io::Cursor::new(archive(entries)), "test")?;
        let below = Tree::from_layers(self.layers.iter().map(|(_, index)| (index, None)));
        self.layers.push(unpacked.settle(&below)?);
        Ok(self)
    }

    /// The topmost layer, one entry a line.
    fn top(&self) -> String {
        let (_, index) = self.layers.last().unwrap();
        let line = |IndexEntry { entry, .. }: &IndexEntry| {
            let kind = match &entry.kind {
                EntryKind::Hardlink { target } => format!("= {}", String::from_utf8_lossy(target)),
                EntryKind::Symlink { target } => format!("-> {}", String::from_utf8_lossy(target)),
                other => format!("{other:?}"),
            };
            format!("{} {kind}\n", String::from_utf8_lossy(&entry.path))
        };
        index.entries.iter().map(line).collect()
    }

    fn tree(&self) -> &Path {
        self.layers.last().unwrap().0.fs()
    }
}

/// Two layers, of which the second leads out of the tree by a link of its own, to which a link of the first leads.
#[test]
fn nothing_is_written_where_two_links_together_lead() {
    let mut image = Image::new();
    let outside = image.root.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let outside_link = symlink(outside.to_str().unwrap());
    image.add(&[("link", symlink("/dir"))]).unwrap();
    image.add(&[("dir", outside_link.clone()), ("link/file", FILE)]).unwrap();
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    // It is where the links lead inside the image.
    let inside = image.tree().join(outside.strip_prefix("/").unwrap()).join("file");
    assert_eq!(fs::read_to_string(inside).unwrap(), "new");

    // The same within one layer.
    image.add(&[("dir", outside_link), ("dir/file", FILE)]).unwrap();
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn what_lies_below_a_link_of_a_lower_layer_goes_where_it_leads() {
    let mut image = Image::new();
    image.add(&[("usr/lib", DIRECTORY), ("lib", symlink("usr/lib"))]).unwrap();
    let entries = [("lib/a", FILE), ("b", hard("lib/a")), ("lib/c/d", FILE), ("lib/c/.wh..wh..opq", FILE)];
    image.add(&entries).unwrap();
    insta::assert_snapshot!(image.top(), @r"
    b = usr/lib/a
    usr Directory
    usr/lib Directory
    usr/lib/a File { size: 3 }
    usr/lib/c Directory
    usr/lib/c OpaqueDirectory
    usr/lib/c/d File { size: 3 }
    ");
    assert_eq!(fs::metadata(image.tree().join("usr/lib/a")).unwrap().nlink(), 2);
    // The directory is as the lower layer has it.
    assert_eq!(fs::metadata(image.tree().join("usr/lib")).unwrap().mode() & 0o777, 0o700);
    assert!(!image.tree().join("lib").exists());

    // A link to the root, through which its own name is reached again.
    let mut image = Image::new();
    image.add(&[("l", symlink("/"))]).unwrap();
    image.add(&[("l/l/x", FILE), ("l/y", FILE)]).unwrap();
    insta::assert_snapshot!(image.top(), @r"
    x File { size: 3 }
    y File { size: 3 }
    ");

    // What cannot both be at one place is said.
    let mut image = Image::new();
    image.add(&[("d", DIRECTORY), ("l", symlink("d"))]).unwrap();
    let error = image.add(&[("l/x", FILE), ("d/x", FILE)]).map(|_| ()).unwrap_err().to_string();
    insta::assert_snapshot!(error, @"two files of the layer have one place, by a link of a layer below: failed to write /l");
}

#[test]
fn links_to_a_file_that_is_replaced_keep_what_it_was() {
    let mut image = Image::new();
    image
        .add(&[("a", FILE), ("b", hard("a")), ("c", hard("b")), ("a", DIRECTORY), ("d", hard("c"))])
        .unwrap();
    insta::assert_snapshot!(image.top(), @r"
    a Directory
    a OpaqueDirectory
    b File { size: 3 }
    c = b
    d = b
    ");
    assert_eq!(fs::read_to_string(image.tree().join("d")).unwrap(), "new");
    assert_eq!(fs::metadata(image.tree().join("d")).unwrap().nlink(), 3);
}

#[test]
fn a_second_name_of_a_link_or_pipe_is_another_one_like_it() {
    let mut image = Image::new();
    image
        .add(&[("l", symlink("nowhere")), ("m", hard("l")), ("p", EntryKind::Fifo), ("q", hard("p"))])
        .unwrap();
    insta::assert_snapshot!(image.top(), @r"
    l -> nowhere
    m -> nowhere
    p Fifo
    q Fifo
    ");
    let error = image.add(&[("d", DIRECTORY), ("e", hard("d"))]).map(|_| ()).unwrap_err().to_string();
    insta::assert_snapshot!(error, @r#"a hard link to a file that the layer does not hold: "e": failed to unpack layer test"#);
}

#[test]
fn what_is_deleted_and_made_again_hides_what_was_there() {
    for entries in [
        &[("d", WHITEOUT), ("d", DIRECTORY), ("d/new", FILE)][..],
        &[("d", WHITEOUT), ("d/new", FILE)],
        &[("d", DIRECTORY), ("d/new", FILE), ("d", WHITEOUT)],
        &[("d", FILE), ("d", DIRECTORY), ("d/new", FILE)],
        &[("d/new", FILE), ("d", OPAQUE)],
    ] {
        let mut image = Image::new();
        image.add(&[("d", DIRECTORY), ("d/old", FILE)]).unwrap();
        image.add(entries).unwrap();
        let merged = Tree::from_layers(image.layers.iter().map(|(_, index)| (index, None)));
        let paths: Vec<_> =
            merged.nodes().iter().map(|node| String::from_utf8_lossy(&node.entry.path)).collect();
        assert_eq!(paths, ["d", "d/new"], "{entries:?}");
        let mut value = [0; 8];
        let length =
            rustix::fs::lgetxattr(image.tree().join("d"), "user.overlay.opaque", &mut value).unwrap();
        assert_eq!(&value[..length], b"y", "{entries:?}");
    }
}

/// What an overlay would take for a mark of its own is not written, and so says the list.
#[test]
fn marks_of_the_overlay_come_from_here_alone() {
    let mut image = Image::new();
    let with = |path: &str, kind: EntryKind, name: &str| {
        let mut entry = Entry::new(path, kind);
        entry.xattrs.insert(name.to_owned(), b"y".to_vec());
        entry
    };
    image
        .add_entries(&[
            with("opaque", DIRECTORY, "user.overlay.opaque"),
            with("redirect", DIRECTORY, "user.overlay.redirect"),
            with("metacopy", FILE, "user.overlay.metacopy"),
            with("trusted", DIRECTORY, "trusted.overlay.opaque"),
            with("pipe", EntryKind::Fifo, "user.other"),
            with("kept", FILE, "user.other"),
            Entry::new("deleted", EntryKind::CharDevice { major: 0, minor: 0 }),
        ])
        .unwrap();
    let (_, index) = image.layers.last().unwrap();
    for item in &index.entries {
        let names: Vec<&String> = item.entry.xattrs.keys().collect();
        let path = image.tree().join(crate::tree::to_path(&item.entry.path));
        let mut on_disk = [0; 256];
        let length = rustix::fs::llistxattr(&path, &mut on_disk).unwrap();
        if item.entry.path == b"kept" {
            assert_eq!(names, ["user.other"]);
            assert_eq!(&on_disk[..length], b"user.other\0");
        } else {
            assert!(names.is_empty(), "{names:?}");
            assert!(!on_disk[..length].windows(7).any(|part| part == b"overlay"), "{}", path.display());
        }
    }
    assert!(image.top().contains("deleted Whiteout"));
    assert!(fs::symlink_metadata(image.tree().join("deleted")).unwrap().file_type().is_char_device());
}

/// A name for each of many files in turn: quadratic where every change looks through all of them.
#[test]
fn changing_types_takes_linear_time() {
    let mut entries: Vec<Entry> = (0..2_000).map(|n| Entry::new(format!("f{n}"), EntryKind::Fifo)).collect();
    for _ in 0..1_000 {
        entries.push(Entry::new("d", DIRECTORY));
        entries.push(Entry::new("d", EntryKind::Fifo));
    }
    let mut image = Image::new();
    image.add_entries(&entries).unwrap();
    assert_eq!(image.layers[0].1.entries.len(), 2_001);
}

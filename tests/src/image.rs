//! An image as its files: read from an OCI archive, layers applied.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::Path;

use flate2::read::MultiGzDecoder;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tar::{Archive, EntryType};

/// What kind of file an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// Another name of a file named before.
    HardLink,
    /// A character device; in a layer also a whiteout of the overlay kind.
    Character,
    /// A block device.
    Block,
    /// A named pipe.
    Fifo,
    /// Anything else.
    Other,
}

/// One entry of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner's user id.
    pub uid: u64,
    /// Owner's group id.
    pub gid: u64,
    /// Modification time in seconds since 1970.
    pub mtime: u64,
    /// Size of the content in bytes.
    pub size: u64,
    /// A regular file's content: quoted if it is a short text, else its SHA-256.
    pub content: Option<String>,
    /// Target of a link.
    pub link: Option<String>,
    /// Major and minor number of a device.
    pub device: Option<(u32, u32)>,
    /// Extended attributes by full name.
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

/// An image's layers, as files by path without a leading slash.
pub type Layer = Vec<(String, Entry)>;

/// An image of one platform.
#[derive(Debug, Clone)]
pub struct Image {
    /// The descriptor of the manifest in the index that names it.
    pub descriptor: Value,
    /// The manifest.
    pub manifest: Value,
    /// The configuration.
    pub config: Value,
    /// The layers from the lowest up, entries in their order.
    pub layers: Vec<Layer>,
}

impl Image {
    /// Reads every image of an OCI archive, those of nested indexes too, in the index's order.
    ///
    /// # Panics
    ///
    /// If the archive is not one, or a digest or size in it is wrong.
    pub fn read_all(archive: &Path) -> Vec<Self> {
        let blobs = Blobs::read(archive);
        let index = serde_json::from_slice(blobs.file("index.json")).expect("index.json is JSON");
        let mut images = Vec::new();
        blobs.walk(&index, &mut images);
        images
    }

    /// Reads the indexes of an OCI archive: `index.json`, then those that it names, in order.
    ///
    /// # Panics
    ///
    /// If the archive is not one, or a digest or size in it is wrong.
    pub fn read_indexes(archive: &Path) -> Vec<Value> {
        let blobs = Blobs::read(archive);
        let index: Value = serde_json::from_slice(blobs.file("index.json")).expect("index.json is JSON");
        let mut indexes = vec![index.clone()];
        blobs.nested(&index, &mut indexes);
        indexes
    }

    /// The root file system: all layers applied. Hard links have the content and the attributes of their file, and
    /// `link` of every name of such a file is the first of its names.
    pub fn root(&self) -> BTreeMap<String, Entry> {
        let mut root = Root::default();
        for layer in &self.layers {
            root.apply(layer);
        }
        root.finish()
    }
}

/// The files of an OCI archive.
struct Blobs(BTreeMap<String, Vec<u8>>);

impl Blobs {
    fn read(archive: &Path) -> Self {
        let file = File::open(archive).unwrap_or_else(|error| panic!("{}: {error}", archive.display()));
        let mut files = BTreeMap::new();
        for entry in Archive::new(file).entries().expect("a tar") {
            let mut entry = entry.expect("a tar entry");
            let path = entry.path().expect("a path").to_string_lossy().into_owned();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).expect("a whole tar entry");
            files.insert(path, content);
        }
        Self(files)
    }

    fn file(&self, path: &str) -> &[u8] {
        self.0.get(path).unwrap_or_else(|| panic!("the archive has no {path}"))
    }

    /// What a descriptor points to, checked.
    fn blob(&self, descriptor: &Value) -> &[u8] {
        let digest = descriptor["digest"].as_str().expect("a descriptor has a digest");
        let content = self.file(&format!("blobs/{}", digest.replace(':', "/")));
        assert_eq!(digest, format!("sha256:{}", hex::encode(Sha256::digest(content))), "digest of a blob");
        assert_eq!(descriptor["size"], content.len(), "size of {digest}");
        content
    }

    fn walk(&self, index: &Value, images: &mut Vec<Image>) {
        for descriptor in index["manifests"].as_array().into_iter().flatten() {
            let value: Value = serde_json::from_slice(self.blob(descriptor)).expect("a manifest is JSON");
            if value["manifests"].is_array() {
                self.walk(&value, images);
            } else {
                images.push(self.image(descriptor.clone(), value));
            }
        }
    }

    fn nested(&self, index: &Value, indexes: &mut Vec<Value>) {
        for descriptor in index["manifests"].as_array().into_iter().flatten() {
            let value: Value = serde_json::from_slice(self.blob(descriptor)).expect("a manifest is JSON");
            if value["manifests"].is_array() {
                indexes.push(value.clone());
                self.nested(&value, indexes);
            }
        }
    }

    fn image(&self, descriptor: Value, manifest: Value) -> Image {
        let config: Value = serde_json::from_slice(self.blob(&manifest["config"])).expect("a config is JSON");
        let descriptors = manifest["layers"].as_array().cloned().unwrap_or_default();
        let diff_ids = config["rootfs"]["diff_ids"].as_array().cloned().unwrap_or_default();
        assert_eq!(descriptors.len(), diff_ids.len(), "as many layers as diff IDs");
        let layers = descriptors.iter().zip(&diff_ids).map(|(descriptor, diff_id)| {
            let tar = uncompressed(descriptor, self.blob(descriptor));
            assert_eq!(
                *diff_id,
                format!("sha256:{}", hex::encode(Sha256::digest(&tar))),
                "a layer's diff ID"
            );
            read_layer(&tar)
        });
        let layers = layers.collect();
        Image { descriptor, manifest, config, layers }
    }
}

fn uncompressed(descriptor: &Value, blob: &[u8]) -> Vec<u8> {
    let media_type = descriptor["mediaType"].as_str().unwrap_or_default();
    if !media_type.ends_with("gzip") {
        return blob.to_vec();
    }
    let mut tar = Vec::new();
    MultiGzDecoder::new(blob).read_to_end(&mut tar).expect("gzip");
    tar
}

/// Reads a tar archive as the one layer of a root file system; see [`Image::root`].
///
/// # Panics
///
/// If it is not one.
pub fn read_root(archive: &Path) -> BTreeMap<String, Entry> {
    let bytes = std::fs::read(archive).unwrap_or_else(|error| panic!("{}: {error}", archive.display()));
    let mut root = Root::default();
    root.apply(&read_layer(&bytes));
    root.finish()
}

fn read_layer(tar: &[u8]) -> Layer {
    let mut layer = Vec::new();
    for entry in Archive::new(tar).entries().expect("a tar") {
        let mut entry = entry.expect("a tar entry");
        let path = normal(&entry.path_bytes());
        let mut xattrs = BTreeMap::new();
        if let Ok(Some(extensions)) = entry.pax_extensions() {
            for extension in extensions.flatten() {
                if let Some(name) = extension.key().ok().and_then(|key| key.strip_prefix("SCHILY.xattr.")) {
                    xattrs.insert(name.to_owned(), extension.value_bytes().to_vec());
                }
            }
        }
        let link = entry.link_name_bytes().map(|link| String::from_utf8_lossy(&link).into_owned());
        let header = entry.header();
        let kind = match header.entry_type() {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Kind::File,
            EntryType::Directory => Kind::Directory,
            EntryType::Symlink => Kind::Symlink,
            EntryType::Link => Kind::HardLink,
            EntryType::Char => Kind::Character,
            EntryType::Block => Kind::Block,
            EntryType::Fifo => Kind::Fifo,
            _ => Kind::Other,
        };
        let number = |number: std::io::Result<Option<u32>>| number.ok().flatten().unwrap_or_default();
        let device = matches!(kind, Kind::Character | Kind::Block)
            .then(|| (number(header.device_major()), number(header.device_minor())));
        let (mode, mtime) = (header.mode().expect("a mode") & 0o7777, header.mtime().expect("a time"));
        let (uid, gid) = (header.uid().expect("an owner"), header.gid().expect("a group"));
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("a whole tar entry");
        let shown = (kind == Kind::File).then(|| show(&content));
        let size = content.len() as u64;
        let link = if kind == Kind::HardLink { link.map(|link| normal(link.as_bytes())) } else { link };
        layer.push((path, Entry { kind, mode, uid, gid, mtime, size, content: shown, link, device, xattrs }));
    }
    layer
}

fn show(content: &[u8]) -> String {
    match std::str::from_utf8(content) {
        Ok(text) if text.len() <= 400 => format!("{text:?}"),
        _ => hex::encode(Sha256::digest(content)),
    }
}

/// A path without `./`, leading and trailing slashes; the root is empty.
fn normal(path: &[u8]) -> String {
    let path = String::from_utf8_lossy(path);
    let path = path.strip_prefix("./").unwrap_or(&path).trim_matches('/');
    if path == "." { String::new() } else { path.to_owned() }
}

/// Layers being applied: names of files, since hard links share one.
#[derive(Default)]
struct Root {
    names: BTreeMap<String, usize>,
    files: Vec<Entry>,
}

impl Root {
    fn apply(&mut self, layer: &Layer) {
        // Whiteouts are about the layers below, wherever they stand among the entries.
        for (path, _) in layer {
            let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
            if name == ".wh..wh..opq" {
                self.remove_below(directory);
            } else if let Some(hidden) = name.strip_prefix(".wh.") {
                let path =
                    if directory.is_empty() { hidden.to_owned() } else { format!("{directory}/{hidden}") };
                self.remove_below(&path);
                self.names.remove(&path);
            }
        }
        for (path, entry) in layer {
            if path.rsplit('/').next().is_some_and(|name| name.starts_with(".wh.")) {
                continue;
            }
            if entry.kind != Kind::Directory {
                self.remove_below(path);
            }
            let file = if entry.kind == Kind::HardLink {
                let target = entry.link.as_deref().unwrap_or_default();
                *self
                    .names
                    .get(target)
                    .unwrap_or_else(|| panic!("{path} is a link to {target}, which is not there"))
            } else {
                self.files.push(entry.clone());
                self.files.len() - 1
            };
            self.names.insert(path.clone(), file);
        }
    }

    fn remove_below(&mut self, directory: &str) {
        let prefix = format!("{directory}/");
        let is_below = |name: &String| {
            if directory.is_empty() { !name.is_empty() } else { name.starts_with(&prefix) }
        };
        self.names.retain(|name, _| !is_below(name));
    }

    fn finish(self) -> BTreeMap<String, Entry> {
        let mut names_of = BTreeMap::<usize, BTreeSet<&String>>::new();
        for (name, file) in &self.names {
            names_of.entry(*file).or_default().insert(name);
        }
        let mut root = BTreeMap::new();
        for (name, file) in &self.names {
            let mut entry = self.files[*file].clone();
            let names = &names_of[file];
            if names.len() > 1 {
                entry.link = names.first().map(|first| (*first).clone());
            }
            root.insert(name.clone(), entry);
        }
        root
    }
}

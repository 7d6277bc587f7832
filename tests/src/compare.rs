//! What two images differ in.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

use crate::image::{Entry, Image, Kind};

/// Files older than this (1 January 2024) have a modification time that a build took from somewhere; a later one is
/// the time of the build, and any two of those count as equal.
const BUILD_TIMES: u64 = 1_704_067_200;

/// One thing in which two images differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Where: `config.Env[1]`, `root /etc/passwd mode`, `layer 2 /etc mode`.
    pub place: String,
    /// What the first has there, if anything.
    pub left: Option<String>,
    /// What the second has there, if anything.
    pub right: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
        write!(formatter, "{}: {} | {}", self.place, side(&self.left), side(&self.right))
    }
}

/// All differences of two sets of images, as the indexes order them.
pub fn archives(left: &[Image], right: &[Image]) -> Vec<Difference> {
    let mut report = Report::default();
    report.text("images", &left.len().to_string(), &right.len().to_string());
    for (left, right) in left.iter().zip(right) {
        let platform = |image: &Image| image.descriptor["platform"].to_string();
        report.text("platform", &platform(left), &platform(right));
        report.images(left, right);
    }
    report.differences
}

/// All differences of the indexes of two archives, but for digests, sizes and times; [`archives`] compares what is
/// said of each image.
pub fn indexes(left: &[Value], right: &[Value]) -> Vec<Difference> {
    let mut report = Report::default();
    report.text("indexes", &left.len().to_string(), &right.len().to_string());
    for (number, (left, right)) in left.iter().zip(right).enumerate() {
        report.json(&format!("index {number}"), &comparable(left), &comparable(right));
    }
    report.differences
}

/// All differences of two images.
pub fn images(left: &Image, right: &Image) -> Vec<Difference> {
    let mut report = Report::default();
    report.images(left, right);
    report.differences
}

/// All differences of two root file systems.
pub fn roots(left: &BTreeMap<String, Entry>, right: &BTreeMap<String, Entry>) -> Vec<Difference> {
    let mut report = Report::default();
    report.root(left, right);
    report.differences
}

#[derive(Default)]
struct Report {
    differences: Vec<Difference>,
}

impl Report {
    fn add(&mut self, place: String, left: Option<String>, right: Option<String>) {
        self.differences.push(Difference { place, left, right });
    }

    fn text(&mut self, place: &str, left: &str, right: &str) {
        if left != right {
            self.add(place.to_owned(), Some(left.to_owned()), Some(right.to_owned()));
        }
    }

    fn images(&mut self, left: &Image, right: &Image) {
        self.json("config", &timeless(&left.config), &timeless(&right.config));
        self.text("manifest.mediaType", &media_type(&left.manifest), &media_type(&right.manifest));
        let own = |image: &Image| annotations(&image.manifest);
        self.json("manifest.annotations", &own(left), &own(right));
        let listed = |image: &Image| annotations(&image.descriptor);
        self.json("descriptor.annotations", &listed(left), &listed(right));
        let layer_types = |image: &Image| {
            let types: BTreeSet<String> = layers(&image.manifest).map(media_type).collect();
            types.into_iter().collect::<Vec<_>>().join(", ")
        };
        self.text("layers' media types", &layer_types(left), &layer_types(right));
        self.root(&left.root(), &right.root());
        self.text("number of layers", &left.layers.len().to_string(), &right.layers.len().to_string());
        for (number, (left, right)) in left.layers.iter().zip(&right.layers).enumerate() {
            self.layer(number, left, right);
        }
    }

    /// Values of any kind, the order of keys aside.
    fn json(&mut self, place: &str, left: &Value, right: &Value) {
        match (left, right) {
            (Value::Object(left), Value::Object(right)) => {
                for key in left.keys().chain(right.keys()).collect::<BTreeSet<_>>() {
                    let place = format!("{place}.{key}");
                    match (left.get(key), right.get(key)) {
                        (Some(left), Some(right)) => self.json(&place, left, right),
                        (left, right) => {
                            self.add(place, left.map(ToString::to_string), right.map(ToString::to_string));
                        }
                    }
                }
            }
            (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
                for (index, (left, right)) in left.iter().zip(right).enumerate() {
                    self.json(&format!("{place}[{index}]"), left, right);
                }
            }
            _ => self.text(place, &left.to_string(), &right.to_string()),
        }
    }

    fn root(&mut self, left: &BTreeMap<String, Entry>, right: &BTreeMap<String, Entry>) {
        for path in left.keys().chain(right.keys()).collect::<BTreeSet<_>>() {
            let place = format!("root /{path}");
            match (left.get(path), right.get(path)) {
                (Some(left), Some(right)) => {
                    self.entry(&place, left, right);
                    self.contents(&place, left, right);
                }
                (left, right) => self.add(place, left.map(summary), right.map(summary)),
            }
        }
    }

    /// A layer's listing. What the files contain shows in the root.
    fn layer(&mut self, number: usize, left: &[(String, Entry)], right: &[(String, Entry)]) {
        let (left, right) = (self.listing(number, left), self.listing(number, right));
        for path in left.keys().chain(right.keys()).collect::<BTreeSet<_>>() {
            let place = format!("layer {number} /{path}");
            match (left.get(path), right.get(path)) {
                (Some(left), Some(right)) => self.entry(&place, left, right),
                (left, right) => self.add(place, left.map(|it| summary(it)), right.map(|it| summary(it))),
            }
        }
    }

    /// Entries by path; a path that is there twice is a difference from any proper layer.
    fn listing<'entry>(
        &mut self,
        number: usize,
        layer: &'entry [(String, Entry)],
    ) -> BTreeMap<&'entry str, &'entry Entry> {
        let mut listing = BTreeMap::new();
        for (path, entry) in layer {
            if listing.insert(path.as_str(), entry).is_some() {
                self.add(format!("layer {number} /{path}"), None, Some("twice in one layer".to_owned()));
            }
        }
        listing
    }

    fn entry(&mut self, place: &str, left: &Entry, right: &Entry) {
        self.text(&format!("{place} type"), &format!("{:?}", left.kind), &format!("{:?}", right.kind));
        // Linux gives every symbolic link the same mode, and tars disagree on what to write.
        if left.kind != Kind::Symlink || right.kind != Kind::Symlink {
            self.text(
                &format!("{place} mode"),
                &format!("{:04o}", left.mode),
                &format!("{:04o}", right.mode),
            );
        }
        let owner = |entry: &Entry| format!("{}:{}", entry.uid, entry.gid);
        self.text(&format!("{place} owner"), &owner(left), &owner(right));
        let link = |entry: &Entry| entry.link.clone().unwrap_or_default();
        self.text(&format!("{place} link"), &link(left), &link(right));
        self.text(&format!("{place} device"), &format!("{:?}", left.device), &format!("{:?}", right.device));
    }

    fn contents(&mut self, place: &str, left: &Entry, right: &Entry) {
        self.text(&format!("{place} size"), &left.size.to_string(), &right.size.to_string());
        let content = |entry: &Entry| entry.content.clone().unwrap_or_default();
        self.text(&format!("{place} content"), &content(left), &content(right));
        // BuildKit gives a directory of a lower layer the time of the build when something is made in it. The embedded
        // engine keeps the time it had, so that no layer depends on when it was made.
        let touched = left.kind == Kind::Directory && left.mtime >= BUILD_TIMES;
        if !touched && left.mtime.min(right.mtime) < BUILD_TIMES {
            self.text(&format!("{place} mtime"), &left.mtime.to_string(), &right.mtime.to_string());
        }
        for name in left.xattrs.keys().chain(right.xattrs.keys()).collect::<BTreeSet<_>>() {
            let value = |entry: &Entry| entry.xattrs.get(name).map(|value| value.escape_ascii().to_string());
            let (left, right) = (value(left), value(right));
            if left != right {
                self.add(format!("{place} xattr {name}"), left, right);
            }
        }
    }
}

fn summary(entry: &Entry) -> String {
    format!("{:?} {:04o} {}:{}", entry.kind, entry.mode, entry.uid, entry.gid)
}

fn media_type(value: &Value) -> String {
    value["mediaType"].as_str().unwrap_or_default().to_owned()
}

/// An index without what another comparison is about, and what is different in every build.
fn comparable(index: &Value) -> Value {
    let mut index = index.clone();
    for descriptor in index["manifests"].as_array_mut().into_iter().flatten() {
        let is_index =
            descriptor["mediaType"].as_str().is_some_and(|it| it.contains("index") || it.contains("list"));
        let annotations = annotations(descriptor);
        let Some(descriptor) = descriptor.as_object_mut() else { continue };
        for name in ["digest", "size", "annotations", "platform"] {
            descriptor.remove(name);
        }
        if is_index {
            descriptor.insert("annotations".to_owned(), annotations);
        }
    }
    if index["annotations"].is_object() {
        index["annotations"] = annotations(&index);
    }
    index
}

/// The annotations of a manifest or a descriptor, without the time of the build.
fn annotations(value: &Value) -> Value {
    let mut annotations = value["annotations"].as_object().cloned().unwrap_or_default();
    annotations.remove("org.opencontainers.image.created");
    Value::Object(annotations)
}

fn layers(manifest: &Value) -> impl Iterator<Item = &Value> {
    manifest["layers"].as_array().into_iter().flatten()
}

/// A configuration without what holds the time of the build: `created`, and the digests of layers.
fn timeless(config: &Value) -> Value {
    let mut config = config.clone();
    if let Some(object) = config.as_object_mut() {
        object.remove("created");
        object.remove("rootfs");
    }
    for step in config["history"].as_array_mut().into_iter().flatten() {
        if let Some(object) = step.as_object_mut() {
            object.remove("created");
        }
    }
    config
}

#[cfg(test)]
mod tests;

//! OCI image layouts, as directories and as tar archives; the archives can be `docker load`ed as well.

mod archive;
mod blob;
mod directory;
mod lock;
mod read;

use serde::Serialize;

pub use archive::ArchiveWriter;
pub use blob::{BlobWriter, CommitError};
pub use directory::DirectoryWriter;
pub use read::{Layout, LayoutError};

use crate::descriptor::{ANNOTATION_IMAGE_NAME, ANNOTATION_REF_NAME, Descriptor};
use crate::digest::Digest;
use crate::manifest::{Index, Manifest};
use crate::media_type;
use crate::reference::Reference;

/// The content of the file that marks a layout.
const OCI_LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
const OCI_LAYOUT_FILE: &str = "oci-layout";
const INDEX_FILE: &str = "index.json";
const DOCKER_MANIFEST_FILE: &str = "manifest.json";

/// An image as a layout's `index.json` lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayoutImage {
    /// The image's manifest or index, with further annotations if wanted.
    pub descriptor: Descriptor,
    /// Its names: it is listed once under each, or once without one.
    pub names: Vec<Reference>,
}

impl LayoutImage {
    fn listed(&self) -> Vec<Descriptor> {
        if self.names.is_empty() {
            return vec![self.descriptor.clone()];
        }
        let listed = |name: &Reference| {
            let digest = name.digest().map(|digest| format!("@{digest}")).unwrap_or_default();
            let object = format!("{}{digest}", name.tag().unwrap_or_default());
            self.descriptor
                .clone()
                .with_annotation(ANNOTATION_IMAGE_NAME, name.to_string())
                .with_annotation(ANNOTATION_REF_NAME, object)
        };
        self.names.iter().map(listed).collect()
    }
}

fn index_of(images: &[LayoutImage]) -> Index {
    Index::new(media_type::OCI_INDEX, images.iter().flat_map(LayoutImage::listed).collect())
}

/// What `docker load` reads of an archive: an image of one platform by the paths of its blobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DockerImage {
    config: String,
    /// `null` without names, as from Go.
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl DockerImage {
    /// The image of `manifest` under `names`, of which those with a tag count.
    pub fn new(manifest: &Manifest, names: &[Reference]) -> DockerImage {
        let tags = names.iter().filter_map(|name| Some(format!("{}:{}", name.familiar_name(), name.tag()?)));
        DockerImage {
            config: blob_path(manifest.config.digest),
            repo_tags: Some(tags.collect()).filter(|tags: &Vec<String>| !tags.is_empty()),
            layers: manifest.layers.iter().map(|layer| blob_path(layer.digest)).collect(),
        }
    }
}

/// Where a blob is, relative to the layout.
fn blob_path(digest: Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}

/// Adds images to an index, where they replace those that have their names.
fn merge(index: &mut Index, new: Index) {
    let names = |image: &Descriptor| {
        [ANNOTATION_REF_NAME, ANNOTATION_IMAGE_NAME].map(|key| image.annotations.get(key).cloned())
    };
    let replaced = |old: &Descriptor, new: &Descriptor| {
        // Images without a name are the same only if they are.
        names(old) == names(new) && (names(new) != [None, None] || old.digest == new.digest)
    };
    index.manifests.retain(|old| !new.manifests.iter().any(|new| replaced(old, new)));
    index.manifests.extend(new.manifests);
}

#[cfg(test)]
mod tests;

//! Images as OCI layouts and docker archives.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::path::Path;

use rbx_oci::layout::{ArchiveWriter, DirectoryWriter, DockerImage, LayoutImage};
use rbx_oci::{ANNOTATION_REF_NAME, Descriptor, Digest, Reference};
use rbx_store::Store;

use super::image::BuiltImage;
use crate::error::BuildError;

/// The tag that an image without a name has in a layout directory, as buildx writes it: the next one replaces it.
const UNNAMED: &str = "latest";

/// Where a blob's bytes come from.
type Blob<'a> = (&'a Descriptor, Box<dyn Read + 'a>);

/// Every blob of an image, configurations and manifests last.
fn blobs<'a>(store: &Store, image: &'a BuiltImage) -> Result<Vec<Blob<'a>>, BuildError> {
    let mut blobs: Vec<Blob<'a>> = Vec::new();
    for platform in &image.platforms {
        for layer in &platform.layers {
            blobs.push((&layer.descriptor, Box::new(layer.open(store)?)));
        }
        blobs.push((&platform.manifest.config, Box::new(&*platform.config_bytes)));
        blobs.push((&platform.descriptor, Box::new(&*platform.manifest_bytes)));
    }
    if let Some(index) = &image.index {
        blobs.push((&image.top, Box::new(&**index)));
    }
    Ok(blobs)
}

/// Writes an image as a tar archive: an OCI layout, with `docker` also what older Engines load. Errors call it
/// `name`. Blobs that are in `without` are left out, though the image names them.
#[expect(clippy::too_many_arguments, reason = "one value for each thing that the archive depends on")]
pub(crate) fn write_archive<W: Write>(
    store: &Store,
    image: &BuiltImage,
    names: &[Reference],
    docker: bool,
    mtime: i64,
    without: &BTreeSet<Digest>,
    name: &str,
    out: W,
) -> Result<W, BuildError> {
    let failed = |error: io::Error| {
        BuildError::failed(format!("{}: failed to write {name}", rbx_request::reason(&error)))
    };
    let mut archive = ArchiveWriter::new(out, mtime).map_err(failed)?;
    // The members of a layer that was packed here carry their own checks.
    let packed: BTreeSet<Digest> = image
        .platforms
        .iter()
        .flat_map(|platform| &platform.layers)
        .filter(|layer| layer.is_packed())
        .map(|layer| layer.descriptor.digest)
        .collect();
    for (descriptor, content) in blobs(store, image)? {
        if without.contains(&descriptor.digest) {
            continue;
        }
        let added = if packed.contains(&descriptor.digest) {
            archive.add_known_blob(descriptor, content)
        } else {
            archive.add_blob(descriptor, content)
        };
        added.map_err(failed)?;
    }
    let listed = LayoutImage { descriptor: image.top.clone(), names: names.to_vec() };
    let docker: Vec<DockerImage> = if docker {
        image.platforms.iter().map(|platform| DockerImage::new(&platform.manifest, names)).collect()
    } else {
        Vec::new()
    };
    archive.finish(&[listed], &docker).map_err(failed)
}

/// Writes an image as an OCI layout directory.
pub(crate) fn write_layout(
    store: &Store,
    image: &BuiltImage,
    names: &[Reference],
    path: &Path,
) -> Result<(), BuildError> {
    let failed =
        |error: io::Error| BuildError::invalid(format!("{error}: failed to write {}", path.display()));
    let layout = DirectoryWriter::create(path).map_err(failed)?;
    for (descriptor, content) in blobs(store, image)? {
        layout.add_blob(descriptor, content).map_err(failed)?;
    }
    let mut descriptor = image.top.clone();
    if names.is_empty() {
        descriptor = descriptor.with_annotation(ANNOTATION_REF_NAME, UNNAMED);
    }
    layout.finish(&[LayoutImage { descriptor, names: names.to_vec() }]).map_err(failed)
}

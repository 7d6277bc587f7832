//! Layers and a configuration as an image.

use std::collections::BTreeSet;

use jiff::Timestamp;
use rbx_oci::{Descriptor, Digest, History, ImageConfig, Index, Manifest, Reference, media_type};
use rbx_platform::Platform;
use rbx_request::AnnotationKind;
use rbx_store::{LayerId, NewImage};

use super::options::ImageOptions;
use super::rewrite::rewrite;
use crate::error::BuildError;
use crate::image::chain_ids;
use crate::layer::{LayerBlob, describe};
use crate::plan::Target;
use crate::progress::Task;
use crate::solve::Solver;
use crate::steps::Built;

/// What a build made, for every platform, with all its blobs in the store.
#[derive(Debug, Clone)]
pub struct BuiltImage {
    /// The index where several platforms were built, else the manifest.
    pub(crate) top: Descriptor,
    /// The index's bytes, where there is one.
    pub(crate) index: Option<Vec<u8>>,
    pub(crate) platforms: Vec<PlatformImage>,
}

/// The image for one platform.
#[derive(Debug, Clone)]
pub(crate) struct PlatformImage {
    pub(crate) descriptor: Descriptor,
    pub(crate) manifest: Manifest,
    pub(crate) manifest_bytes: Vec<u8>,
    pub(crate) config: ImageConfig,
    pub(crate) config_bytes: Vec<u8>,
    pub(crate) layers: Vec<LayerBlob>,
}

impl BuiltImage {
    /// Descriptor of the index, or of the manifest where one platform was built.
    pub fn descriptor(&self) -> &Descriptor {
        &self.top
    }

    /// Descriptor of the configuration, where there is no index.
    pub fn config(&self) -> Option<&Descriptor> {
        match (&*self.platforms, &self.index) {
            ([one], None) => Some(&one.manifest.config),
            _ => None,
        }
    }

    /// The layers of each platform, the lowest first: the digest of the blob, and that of what is in it.
    pub fn layers(&self) -> impl Iterator<Item = Vec<(Digest, Digest)>> {
        self.platforms.iter().map(|image| {
            let blobs = image.manifest.layers.iter().map(|layer| layer.digest);
            blobs.zip(image.config.diff_ids.iter().copied()).collect()
        })
    }

    /// The image for the one platform that a machine of `wanted` runs best, without an index; `None` if there is
    /// none that it runs.
    #[must_use]
    pub fn for_platform(&self, wanted: &Platform) -> Option<Self> {
        let platforms: Vec<Platform> =
            self.platforms.iter().map(|image| image.config.platform().normalized()).collect();
        let image = self.platforms[rbx_platform::best(wanted, platforms.iter())?].clone();
        Some(Self { top: image.descriptor.clone(), index: None, platforms: vec![image] })
    }
}

/// Makes the image of a build: packs what is not packed, and writes configurations, manifests and the index into
/// the store.
pub(crate) fn assemble(
    solver: &Solver,
    built: &[Built],
    options: &ImageOptions,
    task: &Task,
) -> Result<BuiltImage, BuildError> {
    let mut platforms = Vec::new();
    for target in &solver.plan.targets {
        let part = task.part("exporting layers", 0);
        let image = assemble_platform(solver, target, built, options)?;
        part.done();
        task.done(&format!("exporting manifest {}", image.descriptor.digest));
        task.done(&format!("exporting config {}", image.manifest.config.digest));
        platforms.push(image);
    }
    if let ([one], false) = (&*platforms, solver.plan.index) {
        return Ok(BuiltImage { top: one.descriptor.clone(), index: None, platforms });
    }
    let manifests = platforms.iter().map(|image| image.descriptor.clone()).collect();
    let index_type = if options.oci { media_type::OCI_INDEX } else { media_type::DOCKER_MANIFEST_LIST };
    let mut index = Index::new(index_type, manifests);
    index.annotations = options.annotations(AnnotationKind::Index, None);
    let bytes = index.to_bytes();
    solver.store.put_blob(&bytes)?;
    let annotations = options.annotations(AnnotationKind::IndexDescriptor, None);
    let top = Descriptor { annotations, ..Descriptor::of(index_type, &bytes) };
    task.done(&format!("exporting manifest list {}", top.digest));
    Ok(BuiltImage { top, index: Some(bytes), platforms })
}

fn assemble_platform(
    solver: &Solver,
    target: &Target,
    built: &[Built],
    options: &ImageOptions,
) -> Result<PlatformImage, BuildError> {
    let mut ids: Vec<LayerId> = target.root.map_or_else(Vec::new, |root| built[root].layers.clone());
    if let (Some(epoch), true) = (solver.epoch, options.rewrite) {
        ids = rewrite(solver, &ids, target.image.config.diff_ids.len(), epoch)?;
    }
    let layers = ids
        .iter()
        .map(|&id| {
            let (threads, flag) = (solver.threads, solver.cancel.flag());
            let (packing, force) = (options.packing, options.force);
            let mut layer = describe(&solver.store, &solver.lease, id, packing, force, threads, flag)?;
            layer.descriptor.media_type =
                layer_type(&layer.descriptor.media_type, options.oci, options.nondistributable);
            Ok(layer)
        })
        .collect::<Result<Vec<_>, BuildError>>()?;
    let mut config = target.image.config.clone();
    config.diff_ids = layers.iter().map(|layer| layer.diff_id).collect();
    (config.history, config.created) = history(solver, target, built);
    let config_bytes = config.to_bytes();
    solver.store.put_blob(&config_bytes)?;
    let (manifest_type, config_type) = if options.oci {
        (media_type::OCI_MANIFEST, media_type::OCI_CONFIG)
    } else {
        (media_type::DOCKER_MANIFEST, media_type::DOCKER_CONFIG)
    };
    let mut manifest = Manifest::new(
        manifest_type,
        Descriptor::of(config_type, &config_bytes),
        layers.iter().map(|layer| layer.descriptor.clone()).collect(),
    );
    manifest.annotations = options.annotations(AnnotationKind::Manifest, Some(&target.platform));
    let manifest_bytes = manifest.to_bytes();
    solver.store.put_blob(&manifest_bytes)?;
    let annotations = options.annotations(AnnotationKind::ManifestDescriptor, Some(&target.platform));
    let descriptor = Descriptor { annotations, ..Descriptor::of(manifest_type, &manifest_bytes) }
        .with_platform(&target.platform);
    Ok(PlatformImage { descriptor, manifest, manifest_bytes, config, config_bytes, layers })
}

/// The media type of the same layer among OCI's or Docker's; what neither has stays as it is. Without
/// `nondistributable` a layer that may not be pushed becomes one that may.
fn layer_type(found: &str, oci: bool, nondistributable: bool) -> String {
    const PAIRS: [(&str, &str); 4] = [
        (media_type::OCI_LAYER, media_type::DOCKER_LAYER),
        (media_type::OCI_LAYER_GZIP, media_type::DOCKER_LAYER_GZIP),
        (media_type::OCI_LAYER_ZSTD, media_type::DOCKER_LAYER_ZSTD),
        (media_type::OCI_LAYER_NONDISTRIBUTABLE_GZIP, media_type::DOCKER_LAYER_FOREIGN),
    ];
    let found = distributable(found, nondistributable);
    let pair = PAIRS.iter().find(|(of_oci, of_docker)| [*of_oci, *of_docker].contains(&found));
    pair.map_or(found, |(of_oci, of_docker)| if oci { of_oci } else { of_docker }).to_owned()
}

/// The image's history, and when the image was made. A step with a layer has the time its layer was made, those
/// without have that of the layer before them: no entry depends on when this build ran.
fn history(solver: &Solver, target: &Target, built: &[Built]) -> (Vec<History>, Option<Timestamp>) {
    let epoch = solver.epoch.and_then(|epoch| Timestamp::from_second(epoch).ok());
    let time = |vertex: usize| {
        let made = Timestamp::from_nanosecond(i128::from(built[vertex].created)).ok();
        // A given time is the latest that anything has.
        match (made, epoch) {
            (Some(made), Some(epoch)) => Some(made.min(epoch)),
            (made, epoch) => made.or(epoch),
        }
    };
    let mut entries = target.image.base_history.clone();
    let first = target.image.steps.iter().find_map(|(_, vertex)| vertex.and_then(time));
    let mut last = target.image.config.created.or(first).or(epoch);
    for (entry, vertex) in &target.image.steps {
        last = vertex.and_then(time).or(last);
        entries.push(History { created: last, ..entry.clone() });
    }
    (entries, last)
}

fn distributable(found: &str, keep: bool) -> &str {
    match found {
        _ if keep => found,
        media_type::OCI_LAYER_NONDISTRIBUTABLE => media_type::OCI_LAYER,
        media_type::OCI_LAYER_NONDISTRIBUTABLE_GZIP | media_type::DOCKER_LAYER_FOREIGN => {
            media_type::OCI_LAYER_GZIP
        }
        media_type::OCI_LAYER_NONDISTRIBUTABLE_ZSTD => media_type::OCI_LAYER_ZSTD,
        found => found,
    }
}

/// Gives an image its names in the store, and makes its layers found as a base.
pub(crate) fn store_image(
    solver: &Solver,
    image: &BuiltImage,
    names: &[Reference],
) -> Result<(), BuildError> {
    let mut blobs: BTreeSet<_> = BTreeSet::from([image.top.digest]);
    let mut layers = BTreeSet::new();
    for platform in &image.platforms {
        blobs.insert(platform.descriptor.digest);
        blobs.insert(platform.manifest.config.digest);
        layers.extend(platform.layers.iter().map(|layer| layer.layer));
        for (chain, layer) in chain_ids(&platform.config.diff_ids).iter().zip(&platform.layers) {
            solver.store.set_chain(&solver.lease, chain, layer.layer)?;
        }
    }
    let target = serde_json::to_string(&image.top).map_err(BuildError::failed)?;
    let stored = NewImage { target, built: true, blobs, layers };
    for name in names {
        solver.store.set_image(&name.to_string(), &stored)?;
    }
    Ok(())
}

/// The platform as part of a path: `linux_arm_v7`.
pub(crate) fn path_part(platform: &Platform) -> String {
    platform.format_all().replace('/', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_that_may_not_be_pushed_become_like_others() {
        for (found, oci, kept, wanted) in [
            (media_type::DOCKER_LAYER_FOREIGN, true, false, media_type::OCI_LAYER_GZIP),
            (media_type::DOCKER_LAYER_FOREIGN, true, true, media_type::OCI_LAYER_NONDISTRIBUTABLE_GZIP),
            (media_type::OCI_LAYER_NONDISTRIBUTABLE_GZIP, false, true, media_type::DOCKER_LAYER_FOREIGN),
            (media_type::OCI_LAYER_NONDISTRIBUTABLE, false, false, media_type::DOCKER_LAYER),
            (media_type::OCI_LAYER_NONDISTRIBUTABLE_ZSTD, true, false, media_type::OCI_LAYER_ZSTD),
            (media_type::OCI_LAYER_ZSTD, true, true, media_type::OCI_LAYER_ZSTD),
        ] {
            assert_eq!(layer_type(found, oci, kept), wanted, "{found} {oci} {kept}");
        }
    }

    #[test]
    fn platforms_have_a_directory_each() {
        let part = |text: &str| path_part(&Platform::parse(text).unwrap());
        assert_eq!(part("linux/arm"), "linux_arm_v7");
        assert_eq!(part("windows(10.0.1)/amd64"), "windows(10.0.1)_amd64");
    }
}

//! Base images: what a name stands for, and its layers in the store.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use rbx_oci::layout::Layout;
use rbx_oci::{Descriptor, Digest, Document, ImageConfig, Index, Manifest, Reference, media_type};
use rbx_platform::Platform;
use rbx_store::{BlobInfo, LayerId, Lease, NewImage, NewLayer, Store};
use tokio::io::AsyncReadExt;

use crate::error::{BuildError, reasons};
use crate::layer::{self, PULLED};
use crate::progress::Task;
use crate::tree::Tree;

/// As deep as indexes may nest.
const DEPTH: usize = 4;
/// Bytes that a configuration may have.
const CONFIG_LIMIT: u64 = 8 << 20;

/// Layers that an image may have: as many as the kernel mounts over each other.
const MOST_LAYERS: usize = 500;
/// Platforms that an error lists.
const MOST_SHOWN: usize = 30;

/// An image as a stage stands on it.
#[derive(Debug)]
pub(crate) struct Image {
    /// Its full name, with the digest of what was found under it.
    pub(crate) name: String,
    pub(crate) config: ImageConfig,
    /// The digest of its manifest: with it the same image under another name is the same input.
    pub(crate) manifest_digest: Digest,
    manifest: Manifest,
    source: Source,
    /// What its name is to mean from now on, once its layers are here.
    remember: Option<(String, NewImage)>,
}

/// Where an image's blobs are.
#[derive(Debug, Clone)]
enum Source {
    Registry(Reference),
    Layout(PathBuf),
    Store,
    /// It is not here, and nobody was asked: see [`Image::absent`].
    Absent,
}

/// Where images are looked for.
pub(crate) struct Images<'a> {
    pub(crate) store: &'a Store,
    pub(crate) lease: &'a Lease,
    pub(crate) registry: &'a rbx_registry::Client,
    /// Ask the registry even where the store has the name.
    pub(crate) pull: bool,
}

impl Images<'_> {
    /// Finds out what a name stands for on a platform: the store's image of that name if it has the platform, else
    /// the registry's.
    pub(crate) async fn resolve(&self, name: &str, platform: &Platform) -> Result<Image, BuildError> {
        let reference = parse(name)?;
        if !self.pull
            && let Some(image) = self.in_store(&reference, platform)?
        {
            return Ok(image);
        }
        self.in_registry(&reference, platform).await
    }

    /// The same for the store alone: an image that stands for one that is not known, if the store has none.
    pub(crate) fn known(&self, name: &str, platform: &Platform) -> Result<Image, BuildError> {
        let found = self.in_store(&parse(name)?, platform)?;
        Ok(found.unwrap_or_else(|| Image::absent(name, platform)))
    }

    fn in_store(&self, reference: &Reference, platform: &Platform) -> Result<Option<Image>, BuildError> {
        let Some(found) = self.store.image(&reference.to_string())? else { return Ok(None) };
        let Ok(mut target) = serde_json::from_str::<Descriptor>(&found.target) else { return Ok(None) };
        let top = target.digest;
        for _ in 0..DEPTH {
            let Some(bytes) = self.store.read_blob(&target.digest, rbx_oci::DOCUMENT_LIMIT as u64)? else {
                return Ok(None);
            };
            match Document::parse(&bytes).map_err(malformed)? {
                Document::Index(index) => match choose(&index, platform) {
                    Some(found) => target = found.clone(),
                    None => return Ok(None),
                },
                Document::Manifest(manifest) => {
                    let Some(config) = self.store.read_blob(&manifest.config.digest, CONFIG_LIMIT)? else {
                        return Ok(None);
                    };
                    let config = ImageConfig::parse(&config).map_err(malformed)?;
                    // What a registry has for one platform alone is what the name means on every one.
                    let only = target.digest == top && !found.built;
                    let suits = only || accepts(platform, &config.platform());
                    if !suits || !self.has_layers(&config, &manifest)? {
                        return Ok(None);
                    }
                    return Ok(Some(Image {
                        name: format!("{reference}@{top}"),
                        config,
                        manifest_digest: target.digest,
                        manifest,
                        source: Source::Store,
                        remember: None,
                    }));
                }
            }
        }
        Ok(None)
    }

    /// Whether every layer of an image is here, unpacked or as a blob.
    fn has_layers(&self, config: &ImageConfig, manifest: &Manifest) -> Result<bool, BuildError> {
        for (chain, layer) in chain_ids(&config.diff_ids).iter().zip(&manifest.layers) {
            if self.store.layer_by_chain(self.lease, chain)?.is_none()
                && self.store.blob(&layer.digest)?.is_none()
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn in_registry(&self, reference: &Reference, platform: &Platform) -> Result<Image, BuildError> {
        let failed = |error: rbx_registry::RegistryError| {
            BuildError::failed(format!("failed to resolve source metadata for {reference}: {error}"))
        };
        let top = self.registry.manifest(reference).await.map_err(failed)?;
        let mut kept = BTreeSet::new();
        let mut fetched = top.clone();
        for _ in 0..DEPTH {
            kept.insert(self.store.put_blob(&fetched.bytes)?);
            match Document::parse(&fetched.bytes).map_err(malformed)? {
                Document::Index(index) => {
                    let found =
                        choose(&index, platform).ok_or_else(|| no_platform(reference, platform, &index))?;
                    let pinned = reference.with_digest(found.digest);
                    fetched = self.registry.manifest(&pinned).await.map_err(failed)?;
                }
                Document::Manifest(manifest) => {
                    let bytes = self.config_bytes(reference, &manifest.config).await?;
                    kept.insert(self.store.put_blob(&bytes)?);
                    let config = ImageConfig::parse(&bytes).map_err(malformed)?;
                    let target = serde_json::to_string(&top.descriptor).map_err(BuildError::failed)?;
                    let image = NewImage { target, built: false, blobs: kept, layers: BTreeSet::new() };
                    return Ok(Image {
                        name: format!("{reference}@{}", top.descriptor.digest),
                        config,
                        manifest_digest: fetched.descriptor.digest,
                        manifest,
                        source: Source::Registry(reference.clone()),
                        remember: reference.digest().is_none().then(|| (reference.to_string(), image)),
                    });
                }
            }
        }
        Err(BuildError::invalid(format!("the index of {reference} nests too deeply")))
    }

    async fn config_bytes(&self, reference: &Reference, config: &Descriptor) -> Result<Vec<u8>, BuildError> {
        if let Some(bytes) = self.store.read_blob(&config.digest, CONFIG_LIMIT)? {
            return Ok(bytes);
        }
        if config.size > CONFIG_LIMIT {
            return Err(BuildError::failed(format!("the configuration of {reference} is too large")));
        }
        let failed = |error: &dyn std::fmt::Display| {
            BuildError::failed(format!("{error}: failed to fetch the configuration of {reference}"))
        };
        let mut stream = self.registry.blob(reference, config).await.map_err(|error| failed(&error))?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.map_err(|error| failed(&error))?;
        Ok(bytes)
    }

    /// Finds the image that an OCI layout directory holds.
    pub(crate) fn in_layout(
        name: &str,
        path: PathBuf,
        wanted: Option<&str>,
        platform: &Platform,
    ) -> Result<Image, BuildError> {
        let failed = |error: rbx_oci::layout::LayoutError| {
            let reason = reasons(&error);
            BuildError::invalid(format!("{reason}: failed to read the image of build context {name:?}"))
        };
        let layout = Layout::open(&path).map_err(failed)?;
        let chain = layout.resolve(wanted, platform).map_err(failed)?;
        let found =
            chain.last().ok_or_else(|| BuildError::invalid(format!("{} is empty", path.display())))?;
        let Document::Manifest(manifest) = layout.document(found).map_err(failed)? else {
            return Err(BuildError::invalid(format!("{} holds no image", path.display())));
        };
        let mut bytes = Vec::new();
        if manifest.config.size > CONFIG_LIMIT {
            return Err(BuildError::invalid(format!("the configuration in {} is too large", path.display())));
        }
        let mut reader = layout.blob(&manifest.config).map_err(failed)?;
        std::io::Read::read_to_end(&mut reader, &mut bytes).map_err(BuildError::failed)?;
        let config = ImageConfig::parse(&bytes).map_err(malformed)?;
        Ok(Image {
            name: format!("{name}@{}", found.digest),
            config,
            manifest_digest: found.digest,
            manifest,
            source: Source::Layout(path),
            remember: None,
        })
    }
}

fn parse(name: &str) -> Result<Reference, BuildError> {
    Reference::parse(name)
        .map_err(|error| BuildError::invalid(format!("failed to parse stage name {name:?}: {error}")))
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
fn malformed(error: rbx_oci::DocumentError) -> BuildError {
    BuildError::failed(reasons(&error))
}

fn accepts(wanted: &Platform, found: &Platform) -> bool {
    rbx_platform::best(wanted, std::iter::once(found)).is_some()
}

/// The image of an index that suits a platform best; the first that does not say what it is for, if none does.
fn choose<'a>(index: &'a Index, wanted: &Platform) -> Option<&'a Descriptor> {
    let known = index.manifests.iter().filter_map(|entry| Some((entry, entry.platform.as_ref()?)));
    let (entries, platforms): (Vec<&Descriptor>, Vec<Platform>) =
        known.map(|(entry, platform)| (entry, Platform::from(platform))).unzip();
    match rbx_platform::best(wanted, platforms.iter()) {
        Some(at) => Some(entries[at]),
        None => index.manifests.iter().find(|entry| entry.platform.is_none()),
    }
}

fn no_platform(reference: &Reference, platform: &Platform, index: &Index) -> BuildError {
    let there: Vec<String> = index
        .manifests
        .iter()
        .filter_map(|entry| entry.platform.as_ref())
        .filter(|platform| platform.os != "unknown")
        .map(|platform| Platform::from(platform).to_string())
        .collect();
    let more = if there.len() > MOST_SHOWN { ", and more" } else { "" };
    let shown = there[..there.len().min(MOST_SHOWN)].join(", ");
    BuildError::invalid(format!("no match for platform in manifest: {reference} is not built for {platform}"))
        .hint(format!("it is there for {shown}{more}"))
}

/// The OCI `ChainID` of every layer of an image.
pub(crate) fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chains: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        chains.push(match chains.last() {
            None => *diff_id,
            Some(below) => Digest::sha256_of(format!("{below} {diff_id}").as_bytes()),
        });
    }
    chains
}

impl Image {
    /// The name of its repository, if it has one in a registry.
    pub(crate) fn repository(&self) -> Option<Reference> {
        match &self.source {
            Source::Registry(reference) => Some(reference.clone()),
            // It may have been built here: then no registry has it, or it was pushed.
            Source::Store => Reference::parse(&self.name).ok(),
            Source::Layout(_) | Source::Absent => None,
        }
    }

    /// Stands for an image that is not here and is not asked for, in a plan that is only looked at.
    pub(crate) fn absent(name: &str, platform: &Platform) -> Self {
        let digest = Digest::sha256_of(b"");
        let config = Descriptor::new(media_type::OCI_CONFIG, digest, 0);
        Self {
            name: Reference::parse(name).map_or_else(|_| name.to_owned(), |name| name.to_string()),
            config: ImageConfig::new(platform),
            manifest_digest: digest,
            manifest: Manifest::new(media_type::OCI_MANIFEST, config, Vec::new()),
            source: Source::Absent,
            remember: None,
        }
    }

    /// Whether nothing is known of it.
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self.source, Source::Absent)
    }

    /// Its layers, if all of them are in the store.
    pub(crate) fn unpacked(&self, store: &Store) -> Result<Option<Vec<LayerId>>, BuildError> {
        let chains = chain_ids(&self.config.diff_ids);
        Ok(chains.iter().map(|chain| store.peek_chain(chain)).collect::<Result<_, _>>()?)
    }

    /// The digests of its layers as they came.
    pub(crate) fn layer_digests(&self) -> impl Iterator<Item = Digest> {
        self.manifest.layers.iter().map(|layer| layer.digest)
    }

    /// Brings the image's layers into the store, unpacked, each once: those missing are fetched at the same time and
    /// unpacked at the same time.
    pub(crate) async fn layers(
        self: &Arc<Self>,
        store: &Store,
        lease: &Arc<Lease>,
        registry: &rbx_registry::Client,
        task: &Task,
    ) -> Result<Vec<LayerId>, BuildError> {
        let diff_ids = &self.config.diff_ids;
        if diff_ids.len() != self.manifest.layers.len() {
            return Err(BuildError::failed(format!(
                "{} has {} layers but names {}",
                self.name,
                self.manifest.layers.len(),
                diff_ids.len()
            )));
        }
        if diff_ids.len() > MOST_LAYERS {
            return Err(BuildError::failed(format!(
                "{} has {} layers, at most {MOST_LAYERS} can be mounted",
                self.name,
                diff_ids.len()
            )));
        }
        let chains = chain_ids(diff_ids);
        let mut ids: Vec<LayerId> = Vec::new();
        for chain in &chains {
            match store.layer_by_chain(lease, chain)? {
                Some(id) => ids.push(id),
                None => break,
            }
        }
        let missing = ids.len();
        let unpacking = (missing..chains.len()).map(|at| self.fetch(store, registry, task, at));
        let unpacked = futures::future::try_join_all(unpacking).await?;
        for (at, unpacked) in (missing..).zip(unpacked) {
            let (image, store, lease) = (self.clone(), store.clone(), lease.clone());
            let (below, chain) = (ids.clone(), chains[at]);
            let settle = move || image.settle(&store, &lease, &below, unpacked, at, &chain);
            ids.push(tokio::task::spawn_blocking(settle).await.map_err(BuildError::failed)??);
        }
        if let Some((name, image)) = &self.remember {
            let image = NewImage { layers: ids.iter().copied().collect(), ..image.clone() };
            store.set_image(name, &image)?;
        }
        Ok(ids)
    }

    fn settle(
        &self,
        store: &Store,
        lease: &Lease,
        below: &[LayerId],
        unpacked: layer::Unpacked,
        at: usize,
        chain: &Digest,
    ) -> Result<LayerId, BuildError> {
        let indexes = below.iter().map(|&id| store.layer_index(id)).collect::<Result<Vec<_>, _>>()?;
        let tree = Tree::from_layers(indexes.iter().map(|index| (&**index, None)));
        let (prepared, index) = unpacked.settle(&tree)?;
        let created = self.config.created.unwrap_or_default().as_nanosecond();
        let id = store.put_layer(
            lease,
            NewLayer {
                parent: below.last().copied(),
                index: Arc::new(index),
                tree: Some(prepared),
                created: i64::try_from(created).unwrap_or(0),
                description: format!("pulled from {}", self.name),
            },
        )?;
        let descriptor = &self.manifest.layers[at];
        store.set_diff_id(id, &self.config.diff_ids[at])?;
        let info = BlobInfo {
            digest: descriptor.digest,
            size: descriptor.size,
            media_type: descriptor.media_type.clone(),
        };
        store.set_layer_blob(id, PULLED, &info)?;
        Ok(store.set_chain(lease, chain, id)?)
    }

    async fn fetch(
        &self,
        store: &Store,
        registry: &rbx_registry::Client,
        task: &Task,
        at: usize,
    ) -> Result<layer::Unpacked, BuildError> {
        let descriptor = &self.manifest.layers[at];
        let digest = descriptor.digest;
        let failed = |error: &dyn std::fmt::Display| {
            BuildError::failed(format!("{error}: failed to fetch layer {digest}"))
        };
        if store.blob(&digest)?.is_none() {
            let part = task.part(&digest.to_string(), descriptor.size);
            let mut writer = store.blob_writer()?;
            match &self.source {
                Source::Registry(reference) => {
                    let mut stream =
                        registry.blob(reference, descriptor).await.map_err(|error| failed(&error))?;
                    let mut buffer = vec![0; 256 << 10];
                    loop {
                        let length = stream.read(&mut buffer).await.map_err(|error| failed(&error))?;
                        if length == 0 {
                            break;
                        }
                        std::io::Write::write_all(&mut writer, &buffer[..length])
                            .map_err(|error| failed(&error))?;
                        part.advance(length as u64);
                    }
                }
                Source::Layout(path) => {
                    let layout = Layout::open(path).map_err(|error| failed(&reasons(&error)))?;
                    let mut reader = layout.blob(descriptor).map_err(|error| failed(&reasons(&error)))?;
                    std::io::copy(&mut reader, &mut writer).map_err(|error| failed(&error))?;
                }
                Source::Store | Source::Absent => return Err(failed(&"it is no longer in the store")),
            }
            writer.commit(Some((&digest, descriptor.size)))?;
            part.done();
        }
        let part = task.part(&format!("extracting {digest}"), 0);
        let (store, expected) = (store.clone(), self.config.diff_ids[at]);
        let unpack = move || {
            let blob = store.blob(&digest)?.ok_or_else(|| BuildError::failed("a blob left the store"))?;
            let unpacked = layer::unpack(&store, blob.file, &digest.to_string())?;
            if unpacked.diff_id == expected {
                return Ok(unpacked);
            }
            Err(BuildError::failed(format!(
                "layer {digest} unpacks to {} where the image says {expected}",
                unpacked.diff_id
            )))
        };
        let unpacked = tokio::task::spawn_blocking(unpack).await.map_err(BuildError::failed)??;
        part.done();
        Ok(unpacked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_chosen_from_by_what_it_says_first() {
        let entry = |name: &str, platform: Option<&str>| {
            let descriptor = Descriptor::of("application/vnd.oci.image.manifest.v1+json", name.as_bytes());
            match platform {
                Some(platform) => descriptor.with_platform(&Platform::parse(platform).unwrap()),
                None => descriptor,
            }
        };
        let index = |entries: Vec<Descriptor>| Index::new("application/vnd.oci.image.index.v1+json", entries);
        let chosen = |index: &Index, wanted: &str| {
            let found = choose(index, &Platform::parse(wanted).unwrap())?;
            index.manifests.iter().position(|entry| entry.digest == found.digest)
        };
        let all = index(vec![
            entry("silent", None),
            entry("attestation", Some("unknown/unknown")),
            entry("386", Some("linux/386")),
            entry("amd64", Some("linux/amd64")),
        ]);
        assert_eq!(chosen(&all, "linux/amd64"), Some(3));
        assert_eq!(chosen(&all, "linux/386"), Some(2));
        // It may be for anything; its configuration says.
        assert_eq!(chosen(&all, "linux/arm64"), Some(0));
        let attested = index(all.manifests[1..].to_vec());
        assert_eq!(chosen(&attested, "linux/arm64"), None);
    }
}

//! What an image is on each platform: for people who want to know what they build on.

use futures::FutureExt as _;
use rbx_oci::{Digest, Document, ImageConfig, Manifest, Reference, RunConfig};
use rbx_platform::Platform;

use crate::registries::{Failure, Registries, entries};

/// Platforms that one name is looked up for, at most.
const MAX_PLATFORMS: usize = 20;

/// What a registry has under a name.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    /// What the name stands for.
    pub digest: Digest,
    /// What there is an image for, in the order of the index. Of a name that stands for a single image, what that is
    /// for.
    pub platforms: Vec<Platform>,
    /// The name stands for a single image, whatever platform is asked for.
    pub single: bool,
    /// What builds for the platforms that were asked for take, each with its platform; without those for which there is
    /// nothing.
    pub variants: Vec<(Platform, Variant)>,
}

/// An image for one platform.
#[derive(Debug, Clone, PartialEq)]
pub struct Variant {
    /// Of its manifest.
    pub digest: Digest,
    /// Bytes of its layers as they are fetched.
    pub size: u64,
    /// How containers of it run.
    pub config: RunConfig,
}

impl Registries {
    /// What a registry has under a name, for these platforms. `Ok(None)` is nothing, or not known where nobody can be
    /// asked; the error is a line for people.
    pub async fn image(&self, name: &str, platforms: &[Platform]) -> Result<Option<Image>, String> {
        let Ok(reference) = Reference::parse(name) else { return Ok(None) };
        match self.image_of(&reference, platforms).await {
            Ok(image) => Ok(image),
            Err(Failure::Offline) => Ok(None),
            Err(Failure::Registry(reason)) => Err(reason),
        }
    }

    /// The tags of the repository of a name, as the registry says them now; none without a client. An error is a line for
    /// people.
    pub async fn tags(&self, name: &str) -> Result<Vec<String>, String> {
        let (Ok(reference), Some(client)) = (Reference::parse(name), self.client()) else {
            return Ok(Vec::new());
        };
        client.tags(&reference).await.map_err(|error| error.to_string())
    }

    /// What there is of an image as it is remembered, without asking anybody. With a client, nothing.
    pub fn recall_image(&self, name: &str, platforms: &[Platform]) -> Option<Image> {
        if self.client().is_some() {
            return None;
        }
        // Nothing in it waits for anything.
        self.image(name, platforms).now_or_never()?.ok()?
    }

    async fn image_of(
        &self,
        reference: &Reference,
        platforms: &[Platform],
    ) -> Result<Option<Image>, Failure> {
        let Some(digest) = self.digest(reference).await? else { return Ok(None) };
        match self.document(reference, &digest).await? {
            Document::Manifest(manifest) => {
                let (config, variant) = self.variant(reference, digest, &manifest).await?;
                let variants = platforms.iter().map(|platform| (platform.clone(), variant.clone())).collect();
                let platforms = vec![config.platform().normalized()];
                Ok(Some(Image { digest, platforms, single: true, variants }))
            }
            Document::Index(index) => {
                let facts =
                    rbx_lint::ImageFacts::Index { digest: digest.to_string(), entries: entries(&index) };
                let mut variants = Vec::new();
                for platform in platforms.iter().take(MAX_PLATFORMS) {
                    let Some(entry) = facts.picked(platform) else { continue };
                    let Ok(picked) = Digest::parse(&entry.digest) else { continue };
                    // An index in an index is not looked into.
                    if let Document::Manifest(manifest) = self.document(reference, &picked).await? {
                        let (_, variant) = self.variant(reference, picked, &manifest).await?;
                        variants.push((platform.clone(), variant));
                    }
                }
                let platforms = facts.platforms().into_iter().cloned().collect();
                Ok(Some(Image { digest, platforms, single: false, variants }))
            }
        }
    }

    async fn variant(
        &self,
        reference: &Reference,
        digest: Digest,
        manifest: &Manifest,
    ) -> Result<(ImageConfig, Variant), Failure> {
        let config = self.configuration(reference, manifest).await?;
        let size = manifest.layers.iter().fold(0_u64, |sum, layer| sum.saturating_add(layer.size));
        let variant = Variant { digest, size, config: config.config.clone() };
        Ok((config, variant))
    }
}

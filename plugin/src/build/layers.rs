//! The layers of an image that an Engine need not be sent, since it has them.

use std::collections::BTreeSet;

use futures::{StreamExt as _, stream};
use rbx_buildkit::Client;
use rbx_driver::docker::Engine;
use rbx_oci::{Digest, Reference};

/// How many of an Engine's images are looked at, the newest first.
const IMAGES: usize = 100;
/// Questions that are asked at once.
const AT_ONCE: usize = 16;

/// The layers of an image for one platform, the lowest first: the digest of the blob, and that of what is in it.
pub(super) type Layers = Vec<(Digest, Digest)>;

/// Layers that an Engine has. It was asked: what it was sent once may be gone by now.
#[derive(Debug, Default)]
pub(super) struct Had {
    blobs: BTreeSet<Digest>,
    /// Says whether the Engine has them still, where it does not find out by itself.
    content: Option<Client>,
}

impl Had {
    /// Asks an Engine, which keeps images in `containerd` or by itself, which layers of an image it has that is to get
    /// these names. Where it does not say it is taken to have none.
    pub(super) async fn find(
        engine: &Engine,
        containerd: bool,
        names: &[Reference],
        platforms: &[Layers],
    ) -> Self {
        if containerd {
            Self::in_containerd(engine, platforms).await
        } else {
            Self::in_graph(engine, names, platforms).await
        }
    }

    /// The blobs.
    pub(super) fn blobs(&self) -> &BTreeSet<Digest> {
        &self.blobs
    }

    /// Whether an image that was loaded without them is whole: what belongs to an image is not dropped any more, but it
    /// may have been just before.
    pub(super) async fn are_there(&self) -> bool {
        match &self.content {
            Some(client) => present(client, self.blobs.iter().copied()).await.len() == self.blobs.len(),
            None => true,
        }
    }

    /// Blobs are content of their own there, and the `BuildKit` in the Engine shows it.
    async fn in_containerd(engine: &Engine, platforms: &[Layers]) -> Self {
        let Ok(client) = Client::connect(engine.dial()).await else { return Self::default() };
        let wanted: BTreeSet<Digest> = platforms.iter().flatten().map(|(blob, _)| *blob).collect();
        Self { blobs: present(&client, wanted).await, content: Some(client) }
    }

    /// A layer is found there by what is in it and below it. A load looks for it before it reads the archive.
    async fn in_graph(engine: &Engine, names: &[Reference], platforms: &[Layers]) -> Self {
        let [layers] = platforms else { return Self::default() };
        let names: Vec<String> = names.iter().map(Reference::to_string).collect();
        let mut known = common(engine, names, layers).await;
        if known < layers.len() {
            let mut images = engine.images().await.unwrap_or_default();
            images.truncate(IMAGES);
            known = known.max(common(engine, images, layers).await);
        }
        let (known, missing) = layers.split_at(known);
        // The same content above others is another layer.
        let is_needed = |blob: &Digest| missing.iter().any(|(it, _)| it == blob);
        let blobs = known.iter().map(|(blob, _)| *blob).filter(|blob| !is_needed(blob)).collect();
        Self { blobs, content: None }
    }
}

/// Which of these a daemon has.
async fn present(client: &Client, blobs: impl IntoIterator<Item = Digest>) -> BTreeSet<Digest> {
    let asked = stream::iter(blobs).map(|blob| async move {
        client.has_content(blob).await.is_ok_and(|has| has == Some(true)).then_some(blob)
    });
    asked.buffer_unordered(AT_ONCE).filter_map(async |blob| blob).collect().await
}

/// How many layers, from the lowest on, one of these images has in common with others.
async fn common(engine: &Engine, images: Vec<String>, layers: &Layers) -> usize {
    let asked = stream::iter(images).map(async |image| {
        let found = engine.inspect_image(&image).await.ok().flatten();
        found.map_or(0, |image| length_of_common(layers, &image.layers))
    });
    asked.buffer_unordered(AT_ONCE).fold(0, async |most, length| most.max(length)).await
}

fn length_of_common(layers: &Layers, others: &[String]) -> usize {
    let same = |((_, own), other): &(&(Digest, Digest), &String)| own.to_string() == **other;
    layers.iter().zip(others).take_while(same).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_the_same_above_the_same() {
        let layers: Layers =
            [b"a", b"b", b"c"].map(|it| (Digest::sha256_of(b""), Digest::sha256_of(it))).into();
        let others = |names: &[&str]| -> Vec<String> {
            names.iter().map(|name| Digest::sha256_of(name.as_bytes()).to_string()).collect()
        };
        for (names, wanted) in
            [(&["a", "b", "c", "d"][..], 3), (&["a", "b"], 2), (&["a", "c"], 1), (&["b", "c"], 0), (&[], 0)]
        {
            assert_eq!(length_of_common(&layers, &others(names)), wanted, "{names:?}");
        }
    }
}

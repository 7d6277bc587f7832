//! Images to registries.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::try_join_all;
use rbx_oci::{Descriptor, Digest, Reference, media_type};
use rbx_registry::RegistryError;

use super::image::{BuiltImage, PlatformImage};
use crate::error::BuildError;
use crate::layer::LayerBlob;
use crate::plan::Operation;
use crate::progress::{Part, Task};
use crate::solve::Solver;

/// Pushes an image under every name, or, where `by_digest`, into every name's repository under its digest alone. A
/// blob that several repositories of one registry need is sent to the first of them only, and what a base image has
/// that is in the same registry is taken from there.
pub(crate) async fn push(
    solver: &Solver,
    image: &BuiltImage,
    names: &[Reference],
    by_digest: bool,
    task: &Task,
) -> Result<(), BuildError> {
    let bases = bases(solver);
    let mut repositories: BTreeMap<String, Vec<&Reference>> = BTreeMap::new();
    for name in names {
        repositories.entry(name.name()).or_default().push(name);
    }
    // By registry, the first repository of it.
    let mut complete: BTreeMap<&str, &str> = BTreeMap::new();
    for names in repositories.values() {
        let first = names[0];
        let from = complete.get(first.domain()).copied();
        push_blobs(solver, image, first, from, &bases, task).await?;
        complete.entry(first.domain()).or_insert(first.path());
        if image.index.is_some() {
            try_join_all(image.platforms.iter().map(|platform| async {
                let PlatformImage { descriptor, manifest_bytes, .. } = platform;
                put(solver, &first.with_digest(descriptor.digest), descriptor, manifest_bytes).await
            }))
            .await?;
        }
        let top = image.index.as_deref().or(image.platforms.first().map(|only| &*only.manifest_bytes));
        let (top, digest) = (top.unwrap_or_default(), image.top.digest);
        for name in names {
            let part = task.part(&format!("pushing manifest for {name}@{digest}"), 0);
            let name = if by_digest { name.at_digest(digest) } else { (*name).clone() };
            put(solver, &name, &image.top, top).await?;
            part.done();
        }
    }
    Ok(())
}

async fn put(
    solver: &Solver,
    name: &Reference,
    descriptor: &Descriptor,
    bytes: &[u8],
) -> Result<(), BuildError> {
    solver.registry.push_manifest(name, &descriptor.media_type, bytes).await.map(drop).map_err(failed)
}

/// Where the layers of base images come from.
fn bases(solver: &Solver) -> BTreeMap<Digest, Vec<Reference>> {
    let mut bases: BTreeMap<Digest, Vec<Reference>> = BTreeMap::new();
    for vertex in &solver.plan.vertices {
        if let Operation::Image(base) = &vertex.operation
            && let Some(name) = base.repository()
        {
            for layer in base.layer_digests() {
                bases.entry(layer).or_default().push(name.clone());
            }
        }
    }
    bases
}

/// Pushes the layers and configurations of all platforms.
async fn push_blobs(
    solver: &Solver,
    image: &BuiltImage,
    repository: &Reference,
    from: Option<&str>,
    bases: &BTreeMap<Digest, Vec<Reference>>,
    task: &Task,
) -> Result<(), BuildError> {
    let base = |digest: &Digest| {
        let of_registry = |base: &&Reference| base.domain() == repository.domain();
        bases.get(digest).into_iter().flatten().find(of_registry).map(Reference::path)
    };
    let mut blobs: BTreeMap<Digest, (&Descriptor, Box<Open>)> = BTreeMap::new();
    for platform in &image.platforms {
        let sent = |layer: &&LayerBlob| !media_type::is_nondistributable(&layer.descriptor.media_type);
        for layer in platform.layers.iter().filter(sent) {
            let (store, opened) = (solver.store.clone(), layer.clone());
            let open = move || -> io::Result<Box<dyn Read + Send>> {
                Ok(Box::new(opened.open(&store).map_err(io::Error::other)?))
            };
            blobs.insert(layer.descriptor.digest, (&layer.descriptor, Box::new(open)));
        }
        let config = platform.config_bytes.clone();
        let open = move || -> io::Result<Box<dyn Read + Send>> { Ok(Box::new(Cursor::new(config.clone()))) };
        blobs.insert(platform.manifest.config.digest, (&platform.manifest.config, Box::new(open)));
    }
    let part = task.part("pushing layers", 0);
    try_join_all(blobs.values().map(|(descriptor, open)| async move {
        let part = Arc::new(task.part(&descriptor.digest.to_string(), descriptor.size));
        let furthest = Arc::new(AtomicU64::new(0));
        let open = {
            let part = part.clone();
            move || -> io::Result<Box<dyn Read + Send>> {
                let (content, part, furthest) = (open()?, part.clone(), furthest.clone());
                Ok(Box::new(Counted { content, part, at: 0, furthest }))
            }
        };
        let from = from.or_else(|| base(&descriptor.digest)).filter(|from| *from != repository.path());
        solver.registry.push_blob(repository, descriptor, from, &open).await.map_err(failed)?;
        part.done();
        Ok::<_, BuildError>(())
    }))
    .await?;
    part.done();
    Ok(())
}

type Open = dyn Fn() -> io::Result<Box<dyn Read + Send>> + Send + Sync;

/// A blob that is read to be sent, perhaps for the second time.
struct Counted {
    content: Box<dyn Read + Send>,
    part: Arc<Part>,
    at: u64,
    /// How far it was read before.
    furthest: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.content.read(buffer)?;
        self.at += length as u64;
        let before = self.furthest.fetch_max(self.at, Ordering::Relaxed);
        self.part.advance(self.at.saturating_sub(before));
        Ok(length)
    }
}

fn failed(error: RegistryError) -> BuildError {
    BuildError::failed(error)
}

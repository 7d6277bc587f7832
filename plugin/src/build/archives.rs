//! Images that a builder sends to an Engine elsewhere.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::Arc;

use futures::stream;
use rbx_buildkit::build::{Exported, Load};
use rbx_buildkit::session::{OpenPipe, Pipe};
use rbx_driver::DriverKind;
use rbx_driver::docker::{Engine, resolve_endpoint};
use rbx_oci::layout::{ArchiveWriter, DockerImage, LayoutImage};
use rbx_oci::{Descriptor, Digest, Document, ImageConfig, Manifest, Reference, media_type};
use rbx_request::{EventSender, Failure};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::layers::{Had, Layers};
use super::load::{Task, WITHOUT_ENGINE, has, send};
use super::{Job, outputs};
use crate::errors::CliError;

/// Parts of an archive that wait to be sent.
const WAITING: usize = 16;
/// Manifests and indexes of an image, at most.
const DOCUMENTS: usize = 10_000;
/// What exporters say of an image before they send it.
const DIGESTS: [&str; 2] = ["containerimage.digest", "containerimage.config.digest"];

/// Who takes the images of a build, one for each output that is a load.
#[derive(Debug)]
pub(super) struct Loads(Vec<Taker>);

#[derive(Debug)]
enum Taker {
    /// The Engine that builds.
    Builder,
    /// Another one.
    Engine(Place),
}

/// An Engine that takes an image from elsewhere.
#[derive(Debug, Clone)]
struct Place {
    engine: Arc<Engine>,
    /// It keeps images in containerd.
    indexes: bool,
}

impl Loads {
    /// Finds the Engines, before anything is built.
    pub(super) async fn find(job: &Job<'_>) -> Result<Self, CliError> {
        let mut takers = Vec::new();
        for load in &job.prepared.loads {
            takers.push(find(load, job).await?);
        }
        Ok(Self(takers))
    }

    /// The same as the builder is told of it.
    pub(super) fn to_settings(&self, names: &[Reference], events: &EventSender) -> Vec<Load> {
        let load = |taker: &Taker| match taker {
            Taker::Builder => Load::InEngine,
            Taker::Engine(place) => Load::Archive {
                indexes: place.indexes,
                open: opening(place.engine.clone(), names.to_vec(), events.clone()),
            },
        };
        self.0.iter().map(load).collect()
    }

    /// Loads an image that the builder has exported and not sent.
    pub(super) async fn load(&self, image: Exported, events: &EventSender) -> Result<(), CliError> {
        let Some(Taker::Engine(place)) = self.0.get(image.load) else { return Ok(()) };
        let task = Task::load(events, &place.engine);
        let loaded = place.load(image, &task).await;
        task.end(matches!(loaded, Ok(false)), loaded.as_ref().err().map(|_| "failed to load the image"));
        loaded.map(drop)
    }
}

impl Place {
    /// Whether anything was loaded: an image that is there under all names is not.
    async fn load(&self, image: Exported, task: &Task) -> Result<bool, CliError> {
        let parts = Parts::of(&image).await?;
        if has(&self.engine, &image.names, &parts.digests).await.is_some() {
            return Ok(false);
        }
        let had = Had::find(&self.engine, self.indexes, &image.names, &parts.layers).await;
        let (image, parts) = (Arc::new(image), Arc::new(parts));
        let runtime = Handle::current();
        let sent = send(&self.engine, task, &had, |without| {
            let (image, parts) = (image.clone(), parts.clone());
            let (runtime, docker) = (runtime.clone(), !self.indexes);
            move |out: &mut dyn Write| {
                let written = parts.write(&image, docker, &without, &runtime, out);
                written.map_err(|error| CliError::new(error.to_string()).of_build())
            }
        });
        sent.await.map(|_| true)
    }
}

/// What an image consists of.
struct Parts {
    /// Layers and configurations first, then manifests, then what lists those.
    blobs: Vec<Descriptor>,
    manifests: Vec<Manifest>,
    /// The layers of each image that can be run.
    layers: Vec<Layers>,
    /// What the image goes by: the digest of what is on top, and of the configuration if it is one image.
    digests: Vec<String>,
}

impl Parts {
    async fn of(image: &Exported) -> Result<Self, CliError> {
        let failed = |error: rbx_buildkit::Error| CliError::from(Failure::from(error));
        let top = image.descriptor();
        let (mut waiting, mut documents) = (vec![top.clone()], Vec::new());
        let (mut blobs, mut manifests, mut layers) = (Vec::new(), Vec::new(), Vec::new());
        while let Some(next) = waiting.pop() {
            if documents.len() == DOCUMENTS {
                return Err(CliError::new("the image has too many manifests to be loaded").of_build());
            }
            match image.document(&next).await.map_err(failed)? {
                Document::Index(index) => waiting.extend(index.manifests),
                Document::Manifest(manifest) => {
                    let config = image.bytes(&manifest.config).await.map_err(failed)?;
                    if let Ok(config) = ImageConfig::parse(&config) {
                        let own = manifest.layers.iter().zip(config.diff_ids);
                        // An Engine may show attestations that are of its own builds, and of no image.
                        let own = own.filter(|(layer, _)| media_type::is_layer(&layer.media_type));
                        layers.push(own.map(|(layer, content)| (layer.digest, content)).collect());
                    }
                    blobs.extend(manifest.layers.iter().cloned());
                    blobs.push(manifest.config.clone());
                    manifests.push(manifest);
                }
            }
            documents.push(next);
        }
        blobs.extend(documents.into_iter().rev());
        let config = manifests.first().filter(|_| !media_type::is_index(&top.media_type));
        let digests = [Some(top.digest), config.map(|manifest| manifest.config.digest)];
        let digests = digests.into_iter().flatten().map(|digest| digest.to_string()).collect();
        Ok(Self { blobs, manifests, layers, digests })
    }

    /// Writes an archive, with `docker` one for Engines that keep images by themselves.
    fn write(
        &self,
        image: &Exported,
        docker: bool,
        without: &BTreeSet<Digest>,
        runtime: &Handle,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let mut archive = ArchiveWriter::new(out, 0)?;
        for blob in self.blobs.iter().filter(|blob| !without.contains(&blob.digest)) {
            let content = runtime.block_on(image.content(blob)).map_err(io::Error::other)?;
            archive
                .add_blob(blob, SyncIoBridge::new_with_handle(StreamReader::new(content), runtime.clone()))?;
        }
        let listed = LayoutImage { descriptor: image.descriptor().clone(), names: image.names.clone() };
        let manifests = self.manifests.iter().filter(|_| docker);
        let docker: Vec<_> = manifests.map(|manifest| DockerImage::new(manifest, &image.names)).collect();
        archive.finish(&[listed], &docker).map(drop)
    }
}

async fn find(load: &outputs::Load, job: &Job<'_>) -> Result<Taker, CliError> {
    let failed = |error: rbx_driver::DriverError| CliError::new(error.to_string()).hint(WITHOUT_ENGINE);
    let selected = &job.selected;
    let in_engine = selected.driver == DriverKind::Docker;
    if in_engine && load.context.as_ref().is_none_or(|context| *context == selected.builder.name) {
        return Ok(Taker::Builder);
    }
    let mut choice = selected.endpoints.clone();
    if let Some(context) = &load.context {
        choice.context = Some(context.clone());
        choice.host = None;
    }
    let engine = Engine::connect(&resolve_endpoint(&choice).map_err(failed)?).map_err(failed)?;
    let indexes = engine.info().await.map_err(failed)?.containerd_store;
    Ok(Taker::Engine(Place { engine: Arc::new(engine), indexes }))
}

/// Loads an image into an Engine when the builder begins to send it, unless the Engine has it under all names.
fn opening(engine: Arc<Engine>, names: Vec<Reference>, events: EventSender) -> OpenPipe {
    Arc::new(move |about| {
        let (engine, names, events) = (engine.clone(), names.clone(), events.clone());
        Box::pin(async move {
            let task = Task::load(&events, &engine);
            let digests: Vec<String> = DIGESTS.iter().filter_map(|key| about.get(*key).cloned()).collect();
            if has(&engine, &names, &digests).await.is_some() {
                task.end(true, None);
                return Ok(None);
            }
            let (sender, receiver) = mpsc::channel(WAITING);
            let parts = stream::unfold(receiver, |mut receiver| async {
                receiver.recv().await.map(|part| (part, receiver))
            });
            let archive = StreamReader::new(Box::pin(parts));
            let loading = tokio::spawn(async move {
                let loaded = engine.load(archive, |event| task.progress(event)).await;
                task.end(false, loaded.as_ref().err().map(|_| "failed to load the image"));
                loaded.map(drop).map_err(|error| error.to_string())
            });
            let done = Box::pin(async { loading.await.unwrap_or_else(|error| Err(error.to_string())) });
            Ok(Some(Pipe { sender, done }))
        })
    })
}

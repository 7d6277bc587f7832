//! Images that a builder sends to an Engine elsewhere.

use std::sync::Arc;

use futures::stream;
use rbx_buildkit::build::Load;
use rbx_buildkit::session::{OpenPipe, Pipe};
use rbx_driver::DriverKind;
use rbx_driver::docker::{Engine, resolve_endpoint};
use rbx_oci::Reference;
use rbx_request::EventSender;
use tokio::sync::mpsc;
use tokio_util::io::StreamReader;

use super::load::{Task, WITHOUT_ENGINE, has};
use super::{Job, outputs};
use crate::errors::CliError;

/// Parts of an archive that wait to be sent.
const WAITING: usize = 16;
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
    Engine {
        engine: Arc<Engine>,
        /// It keeps images in containerd.
        indexes: bool,
    },
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
    pub(super) fn into_settings(self, names: &[Reference], events: &EventSender) -> Vec<Load> {
        let load = |taker| match taker {
            Taker::Builder => Load::InEngine,
            Taker::Engine { engine, indexes } => {
                Load::Archive { indexes, open: opening(engine, names.to_vec(), events.clone()) }
            }
        };
        self.0.into_iter().map(load).collect()
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
    Ok(Taker::Engine { engine: Arc::new(engine), indexes })
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

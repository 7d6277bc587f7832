//! Loading an image into a Docker Engine.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use jiff::Timestamp;
use rbx_driver::docker::{Engine as DockerEngine, LoadEvent, resolve_endpoint};
use rbx_engine::{Engine, Outcome};
use rbx_oci::{Digest, Reference};
use rbx_request::{Event, EventSender, Vertex, VertexStatus};
use tokio_util::io::SyncIoBridge;

use super::outputs::{Keep, Load};
use super::request::Prepared;
use crate::cli::Context;
use crate::errors::CliError;

/// Bytes of an archive that wait to be sent.
const PIPE: usize = 1 << 20;
/// What can be done where no Engine takes the image.
const WITHOUT_ENGINE: &str =
    "to do without an Engine, write the image to a file: -o type=docker,dest=image.tar";

/// Where an image is to go.
#[derive(Debug)]
pub(crate) enum Found {
    /// To this Engine.
    Engine {
        /// The Engine.
        engine: DockerEngine,
        /// The image's names there.
        names: Vec<Reference>,
    },
    /// Nowhere, for this reason.
    Nowhere(String),
}

/// What came of loads.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// The image's ID in the Engine that took it last.
    pub(crate) image_id: Option<String>,
    /// Why the image was not loaded though it would have been.
    pub(crate) not_loaded: Option<String>,
}

/// Finds the Engines that are to take the image, before anything is built.
pub(crate) async fn find(prepared: &Prepared, context: &Context<'_>) -> Result<Vec<Found>, CliError> {
    let mut found = Vec::new();
    for load in &prepared.loads {
        found.push(
            find_asked(load, prepared, context)
                .await
                .map_err(|error| error.of_build().hint(WITHOUT_ENGINE))?,
        );
    }
    match prepared.keep {
        Keep::Nowhere => {}
        Keep::InStoreOnly => found.push(Found::Nowhere("BUILDX_NO_DEFAULT_LOAD is set".to_owned())),
        Keep::InStore => found.push(find_default(prepared, context).await),
    }
    Ok(found)
}

async fn find_asked(load: &Load, prepared: &Prepared, context: &Context<'_>) -> Result<Found, CliError> {
    let failed = |error: rbx_driver::DriverError| CliError::new(error.to_string());
    let mut choice = context.called.endpoint(context.env);
    if let Some(context) = &load.context {
        choice.context = Some(context.clone());
        choice.host = None;
    }
    let names = match &load.names {
        None => prepared.request.tags.clone(),
        Some(names) => names
            .split(',')
            .map(|name| Reference::parse(name).map_err(|error| CliError::new(format!("{error}: {name:?}"))))
            .collect::<Result<_, _>>()?,
    };
    let engine = DockerEngine::connect(&resolve_endpoint(&choice).map_err(failed)?).map_err(failed)?;
    engine.ping().await.map_err(failed)?;
    if prepared.request.platforms.len() > 1 && !engine.info().await.map_err(failed)?.containerd_store {
        return Err(CliError::new("docker exporter does not currently support exporting manifest lists"));
    }
    Ok(Found::Engine { engine, names })
}

/// The Engine that takes every tagged image, if it answers.
async fn find_default(prepared: &Prepared, context: &Context<'_>) -> Found {
    let endpoint = match resolve_endpoint(&context.called.endpoint(context.env)) {
        Ok(endpoint) if endpoint.configured => endpoint,
        Ok(_) => return Found::Nowhere("no Docker Engine is configured".to_owned()),
        Err(error) => return Found::Nowhere(error.to_string()),
    };
    let answers = async {
        let engine = DockerEngine::connect(&endpoint)?;
        engine.ping().await?;
        let several = prepared.request.platforms.len() > 1;
        let refuses = several && !engine.info().await?.containerd_store;
        Ok::<_, rbx_driver::DriverError>((engine, refuses))
    };
    match answers.await {
        Ok((_, true)) => Found::Nowhere("the Docker Engine takes no images of several platforms".to_owned()),
        Ok((engine, false)) => Found::Engine { engine, names: prepared.request.tags.clone() },
        Err(_) => Found::Nowhere(format!("no Docker Engine answers at {}", endpoint.host)),
    }
}

/// Loads the image that was built, unless the Engine has it already.
pub(crate) async fn load(
    engine: &Arc<Engine>,
    outcome: &Outcome,
    found: Found,
    events: &EventSender,
    loaded: &mut Loaded,
) -> Result<(), CliError> {
    let (docker, names) = match found {
        Found::Engine { engine, names } => (engine, names),
        Found::Nowhere(why) => {
            loaded.not_loaded = Some(why);
            return Ok(());
        }
    };
    let Some(image) = outcome.image.clone() else { return Ok(()) };
    let task = Task::start(events, &docker);
    let digests: Vec<String> = [Some(image.descriptor()), image.config()]
        .into_iter()
        .flatten()
        .map(|descriptor| descriptor.digest.to_string())
        .collect();
    if let Some(id) = has(&docker, &names, &digests).await {
        task.end(true, None);
        engine.set_elsewhere(&names)?;
        loaded.image_id = Some(id);
        return Ok(());
    }

    let (reader, writer) = tokio::io::duplex(PIPE);
    let (writer_engine, archive_names) = (engine.clone(), names.clone());
    let writing = tokio::task::spawn_blocking(move || {
        let mut pipe = Pipe { inner: SyncIoBridge::new(writer), closed: false };
        let mut out = BufWriter::with_capacity(PIPE / 4, &mut pipe);
        let written = writer_engine.write_docker_archive(&image, &archive_names, &mut out);
        // What this writes last is written, or the pipe is closed.
        drop(out);
        (written, pipe.closed)
    });
    let (answer, written) = tokio::join!(docker.load(reader, |event| task.progress(event)), writing);
    let result = match (answer, written) {
        // The archive could not be written to its end, and not because the Engine hung up.
        (_, Ok((Err(error), false))) => Err(CliError::from(error)),
        (Err(error), _) => Err(CliError::new(error.to_string()).of_build()),
        (Ok(answer), _) => Ok(answer),
    };
    task.end(false, result.as_ref().err().map(|_| "failed to load the image"));
    let answer = result?;
    engine.set_elsewhere(&names)?;
    loaded.image_id = match names.first() {
        Some(name) => docker.inspect_image(&name.to_string()).await.ok().flatten().map(|image| image.id),
        None => answer.into_iter().rfind(|line| line.starts_with("sha256:")),
    };
    Ok(())
}

/// The image's ID, if the Engine has it under all names.
async fn has(docker: &DockerEngine, names: &[Reference], digests: &[String]) -> Option<String> {
    let mut id = None;
    for name in names {
        let found = docker.inspect_image(&name.to_string()).await.ok().flatten()?;
        id = digests.iter().find(|digest| **digest == found.id).cloned();
        id.as_ref()?;
    }
    id
}

/// The writing end of a pipe, which remembers that the other end was closed.
struct Pipe<W> {
    inner: W,
    closed: bool,
}

impl<W: Write> Write for Pipe<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner.write(bytes).inspect_err(|_| self.closed = true)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush().inspect_err(|_| self.closed = true)
    }
}

/// The vertex that a load is shown as.
struct Task<'a> {
    events: &'a EventSender,
    vertex: Vertex,
}

impl<'a> Task<'a> {
    fn start(events: &'a EventSender, docker: &DockerEngine) -> Self {
        let vertex = Vertex {
            digest: Digest::sha256_of(format!("load {}", docker.host()).as_bytes()).to_string(),
            name: "importing to docker".to_owned(),
            started: Some(Timestamp::now()),
            ..Vertex::default()
        };
        events.send(Event::Vertex(vertex.clone()));
        Self { events, vertex }
    }

    fn progress(&self, event: LoadEvent) {
        let LoadEvent::Progress { id, current, total, .. } = event else { return };
        let now = Some(Timestamp::now());
        self.events.send(Event::Status(VertexStatus {
            id: format!("loading layer {id}"),
            vertex: self.vertex.digest.clone(),
            total,
            current,
            timestamp: now,
            started: self.vertex.started,
            completed: now.filter(|_| current >= total),
            ..VertexStatus::default()
        }));
    }

    fn end(&self, cached: bool, error: Option<&str>) {
        self.events.send(Event::Vertex(Vertex {
            completed: Some(Timestamp::now()),
            cached,
            error: error.map(str::to_owned),
            ..self.vertex.clone()
        }));
    }
}

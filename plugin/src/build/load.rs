//! Loading an image into a Docker Engine.

use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use jiff::Timestamp;
use rbx_driver::docker::{Engine as DockerEngine, EngineInfo, LoadEvent, resolve_endpoint};
use rbx_engine::{Engine, Outcome};
use rbx_oci::{Digest, Reference};
use rbx_platform::Platform;
use rbx_request::{Event, EventSender, Vertex, VertexStatus};
use tokio_util::io::SyncIoBridge;

use super::layers::{Had, Layers};
use super::outputs::{Keep, Load};
use super::request::Prepared;
use crate::cli::Context;
use crate::errors::CliError;

/// Bytes of an archive that wait to be sent.
const PIPE: usize = 1 << 20;
/// What can be done where no Engine takes the image.
pub(super) const WITHOUT_ENGINE: &str =
    "to do without an Engine, write the image to a file: -o type=docker,dest=image.tar";

/// Where an image is to go.
#[derive(Debug)]
pub(crate) enum Found {
    /// To an Engine.
    Engine(Box<Taker>),
    /// Nowhere, for this reason.
    Nowhere(String),
}

/// An Engine that takes an image.
#[derive(Debug)]
pub(crate) struct Taker {
    engine: DockerEngine,
    /// The image's names there.
    names: Vec<Reference>,
    /// The one platform of several that it takes.
    only: Option<Platform>,
    /// It was not asked for.
    by_default: bool,
}

/// What came of loads.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// The image's ID in the Engine that took it last.
    pub(crate) image_id: Option<String>,
    /// Why the image, or some of it, was not loaded though it would have been.
    pub(crate) left_out: Option<String>,
    /// That is the ID of one platform of several.
    pub(crate) partial: bool,
}

impl Found {
    /// What the user is told before the build.
    pub(crate) fn warning(&self) -> Option<String> {
        let Self::Engine(taker) = self else { return None };
        let only = taker.only.as_ref().filter(|_| !taker.by_default)?;
        let host = taker.engine.host();
        Some(format!(
            "the Docker Engine at {host} keeps images of one platform, since its containerd image store is off: only \
             {only} is loaded"
        ))
    }
}

/// Finds the Engines that are to take the image, before anything is built.
pub(crate) async fn find(prepared: &Prepared, context: &Context<'_>) -> Result<Vec<Found>, CliError> {
    let mut found = Vec::new();
    for load in &prepared.loads {
        found.push(find_asked(load, prepared, context).await.map_err(CliError::of_build)?);
    }
    match prepared.keep {
        Keep::Nowhere => {}
        Keep::InStoreOnly => found.push(Found::Nowhere("BUILDX_NO_DEFAULT_LOAD is set".to_owned())),
        Keep::InStore => found.push(find_default(prepared, context).await),
    }
    Ok(found)
}

async fn find_asked(load: &Load, prepared: &Prepared, context: &Context<'_>) -> Result<Found, CliError> {
    let failed = |error: rbx_driver::DriverError| CliError::new(error.to_string()).hint(WITHOUT_ENGINE);
    let mut choice = context.called.endpoint(context.env);
    if let Some(context) = &load.context {
        choice.context = Some(context.clone());
        choice.host = None;
    }
    let names = match &load.names {
        Some(names) if prepared.request.tags.is_empty() => names
            .split(',')
            .map(|name| Reference::parse(name).map_err(|error| CliError::new(format!("{error}: {name:?}"))))
            .collect::<Result<_, _>>()?,
        _ => prepared.request.tags.clone(),
    };
    let engine = DockerEngine::connect(&resolve_endpoint(&choice).map_err(failed)?).map_err(failed)?;
    engine.ping().await.map_err(failed)?;
    let only = match taken(&engine, prepared).await.map_err(failed)? {
        Taken::All => None,
        Taken::One(platform) => Some(platform),
        Taken::None(runs) => {
            let reason = "docker exporter does not currently support exporting manifest lists";
            return Err(CliError::new(reason).hint(format!(
                "the Docker Engine keeps images of one platform, and none of these is for {runs}: load them one by \
                 one, or turn on its containerd image store"
            )));
        }
    };
    Ok(Found::Engine(Box::new(Taker { engine, names, only, by_default: false })))
}

/// What an Engine takes of an image.
enum Taken {
    All,
    /// This one of several platforms, which it runs.
    One(Platform),
    /// Nothing: of several platforms it takes the one it runs, which is not among them.
    None(Platform),
}

async fn taken(engine: &DockerEngine, prepared: &Prepared) -> Result<Taken, rbx_driver::DriverError> {
    let platforms = &prepared.request.platforms;
    if platforms.len() < 2 {
        return Ok(Taken::All);
    }
    let info = engine.info().await?;
    if info.containerd_store {
        return Ok(Taken::All);
    }
    let runs = platform_of(&info);
    Ok(match rbx_platform::best(&runs, platforms.iter()) {
        Some(at) => Taken::One(platforms[at].clone()),
        None => Taken::None(runs),
    })
}

/// The platform that an Engine runs. It says the kernel's name for its machine.
fn platform_of(info: &EngineInfo) -> Platform {
    let architecture = match info.architecture.as_str() {
        "i486" | "i586" | "i686" => "386",
        "armv5tel" | "armv5tejl" => "arm/v5",
        "armv6l" => "arm/v6",
        "armv7l" => "arm/v7",
        "armv8l" => "arm/v8",
        other => other,
    };
    Platform::parse(&format!("{}/{architecture}", info.os)).unwrap_or_else(|_| Platform::host())
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
        let taken = taken(&engine, prepared).await?;
        Ok::<_, rbx_driver::DriverError>((engine, taken))
    };
    let found = |engine, only| {
        let names = prepared.request.tags.clone();
        Found::Engine(Box::new(Taker { engine, names, only, by_default: true }))
    };
    match answers.await {
        Ok((engine, Taken::All)) => found(engine, None),
        Ok((engine, Taken::One(platform))) => found(engine, Some(platform)),
        Ok((_, Taken::None(_))) => {
            Found::Nowhere("the Docker Engine takes no images of several platforms".to_owned())
        }
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
    let Taker { engine: docker, names, only, by_default } = match found {
        Found::Engine(taker) => *taker,
        Found::Nowhere(why) => {
            loaded.left_out = Some(why);
            return Ok(());
        }
    };
    let Some(image) = outcome.image.clone() else { return Ok(()) };
    let image = match &only {
        None => image,
        Some(platform) => image.for_platform(platform).ok_or_else(|| {
            CliError::new(format!("no image was built for {platform}, which the Docker Engine takes"))
        })?,
    };
    loaded.partial = only.is_some();
    if let (Some(platform), true) = (&only, by_default) {
        loaded.left_out = Some(format!("the Docker Engine takes one platform, and has it for {platform}"));
    }
    let task = Task::load(events, &docker);
    let digests: Vec<String> = [Some(image.descriptor()), image.config()]
        .into_iter()
        .flatten()
        .map(|descriptor| descriptor.digest.to_string())
        .collect();
    if let Some(id) = has(&docker, &names, &digests).await {
        task.end(true, None);
        if only.is_none() {
            engine.set_elsewhere(&names)?;
        }
        loaded.image_id = Some(id);
        return Ok(());
    }

    let layers: Vec<Layers> = image.layers().collect();
    let containerd = docker.info().await.is_ok_and(|info| info.containerd_store);
    let had = Had::find(&docker, containerd, &names, &layers).await;
    let image = Arc::new(image);
    let sent = send(&docker, &task, &had, |without| {
        let (engine, image, names) = (engine.clone(), image.clone(), names.clone());
        move |out: &mut dyn Write| Ok(engine.write_docker_archive(&image, &names, &without, out)?)
    });
    let result = sent.await;
    task.end(false, result.as_ref().err().map(|_| "failed to load the image"));
    let answer = result?;
    if only.is_none() {
        engine.set_elsewhere(&names)?;
    }
    loaded.image_id = match names.first() {
        Some(name) => docker.inspect_image(&name.to_string()).await.ok().flatten().map(|image| image.id),
        None => answer.into_iter().rfind(|line| line.starts_with("sha256:")),
    };
    Ok(())
}

/// Sends an Engine an image without the layers that it has, or all of it should that not be enough: somebody may have
/// removed them meanwhile. `write` is given what to leave out and writes the archive. Answers the names or IDs of what
/// was loaded.
pub(super) async fn send<W>(
    docker: &DockerEngine,
    task: &Task,
    had: &Had,
    write: impl Fn(BTreeSet<Digest>) -> W,
) -> Result<Vec<String>, CliError>
where
    W: FnOnce(&mut dyn Write) -> Result<(), CliError> + Send + 'static,
{
    if !had.blobs().is_empty() {
        match send_archive(docker, task, write(had.blobs().clone())).await {
            Ok(answer) if had.are_there().await => return Ok(answer),
            Ok(_) => tracing::debug!("the Engine lost layers that it had: they are sent"),
            Err(error) => tracing::debug!("{}: all layers are sent", error.message()),
        }
    }
    send_archive(docker, task, write(BTreeSet::new())).await
}

/// Sends an archive while it is written.
async fn send_archive<W>(docker: &DockerEngine, task: &Task, write: W) -> Result<Vec<String>, CliError>
where
    W: FnOnce(&mut dyn Write) -> Result<(), CliError> + Send + 'static,
{
    let (reader, writer) = tokio::io::duplex(PIPE);
    let writing = tokio::task::spawn_blocking(move || {
        let mut pipe = Pipe { inner: SyncIoBridge::new(writer), closed: false };
        let mut out = BufWriter::with_capacity(PIPE / 4, &mut pipe);
        let written = write(&mut out);
        // What this writes last is written, or the pipe is closed.
        drop(out);
        (written, pipe.closed)
    });
    let (answer, written) = tokio::join!(docker.load(reader, |event| task.progress(event)), writing);
    match (answer, written) {
        // The archive could not be written to its end, and not because the Engine hung up.
        (_, Ok((Err(error), false))) => Err(error),
        (Err(error), _) => Err(CliError::new(error.to_string()).of_build()),
        (Ok(answer), _) => Ok(answer),
    }
}

/// The image's ID, if the Engine has it under all names.
pub(super) async fn has(docker: &DockerEngine, names: &[Reference], digests: &[String]) -> Option<String> {
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
pub(super) struct Task {
    events: EventSender,
    vertex: Vertex,
}

impl Task {
    /// A load into an Engine.
    pub(super) fn load(events: &EventSender, docker: &DockerEngine) -> Self {
        Self::new(events, &format!("load {}", docker.host()), "importing to docker")
    }

    /// What goes by this name.
    pub(super) fn start(events: &EventSender, name: &str) -> Self {
        Self::new(events, name, name)
    }

    fn new(events: &EventSender, identity: &str, name: &str) -> Self {
        let vertex = Vertex {
            digest: Digest::sha256_of(identity.as_bytes()).to_string(),
            name: name.to_owned(),
            started: Some(Timestamp::now()),
            ..Vertex::default()
        };
        events.send(Event::Vertex(vertex.clone()));
        Self { events: events.clone(), vertex }
    }

    pub(super) fn progress(&self, event: LoadEvent) {
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

    pub(super) fn end(&self, cached: bool, error: Option<&str>) {
        self.events.send(Event::Vertex(Vertex {
            completed: Some(Timestamp::now()),
            cached,
            error: error.map(str::to_owned),
            ..self.vertex.clone()
        }));
    }
}

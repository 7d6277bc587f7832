//! Images in an Engine: brought there, and what they hold.

use std::collections::HashMap;

use bollard::errors::Error as BollardError;
use bollard::models::{ContainerCreateBody, CreateImageInfo, HostConfig};
use bollard::query_parameters::{
    ContainerArchiveInfoOptionsBuilder, CreateContainerOptions, CreateImageOptionsBuilder,
    DownloadFromContainerOptionsBuilder, RemoveContainerOptions,
};
use futures::StreamExt as _;
use jiff::Timestamp;
use rbx_oci::Reference;
use rbx_registry::Credentials;
use tar::Archive;

use super::daemon::Daemon;
use crate::docker::{Engine, LOAD_TIME, login};
use crate::error::DriverError;
use crate::progress::Progress;

/// Where programs are unless an image's `PATH` says otherwise.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The most layers whose progress is shown: more than any image has.
const MOST_LAYERS: usize = 1000;
/// Bound on a file that is read from an image, in bytes.
const FILE_LIMIT: usize = 1 << 20;

/// An image that is in the Engine.
#[derive(Debug, Clone, Default)]
pub(super) struct Image {
    /// The name that it goes by.
    pub(super) name: String,
    pub(super) entrypoint: Vec<String>,
    command: Vec<String>,
    /// Directories with programs.
    path: Vec<String>,
}

/// Has the Engine pull an image, and looks at what it has then: an image that cannot be pulled and is there is used.
pub(super) async fn provide(
    engine: &Engine,
    name: &str,
    credentials: Option<&Credentials>,
    progress: &Progress,
) -> Result<Image, DriverError> {
    let pulled =
        progress.step(&format!("pulling image {name}"), pull(engine, name, credentials, progress)).await;
    let found = match engine.docker().inspect_image(name).await {
        Ok(found) => found,
        Err(BollardError::DockerResponseServerError { status_code: 404, message }) => {
            let reason = pulled.map_or_else(|error| error.reason(), |()| message);
            return Err(DriverError::NoImage { image: name.to_owned(), reason });
        }
        Err(error) => return Err(engine.failure(error)),
    };
    if let Err(error) = pulled {
        tracing::debug!("{name} is not pulled: {error}");
        progress.note(&format!("using local image {name}"));
    }
    let config = found.config.unwrap_or_default();
    let variable = |line: &String| line.strip_prefix("PATH=").map(str::to_owned);
    let path = config.env.iter().flatten().find_map(variable).unwrap_or_else(|| PATH.to_owned());
    Ok(Image {
        name: name.to_owned(),
        entrypoint: config.entrypoint.unwrap_or_default(),
        command: config.cmd.unwrap_or_default(),
        path: path.split(':').filter(|directory| directory.starts_with('/')).map(str::to_owned).collect(),
    })
}

async fn pull(
    engine: &Engine,
    name: &str,
    credentials: Option<&Credentials>,
    progress: &Progress,
) -> Result<(), DriverError> {
    let refused = |reason: String| DriverError::NoImage { image: name.to_owned(), reason };
    let reference = Reference::parse(name).map_err(|error| refused(error.to_string()))?;
    let login = login(&reference, credentials).await.map_err(refused)?;
    // Without a tag, an Engine pulls all that there are.
    let whole = if reference.tag().is_none() && reference.digest().is_none() {
        format!("{}:latest", reference.familiar_name())
    } else {
        name.to_owned()
    };
    let docker = engine.docker().clone().with_timeout(LOAD_TIME);
    let options = CreateImageOptionsBuilder::new().from_image(&whole).build();
    let mut answers = std::pin::pin!(docker.create_image(Some(options), None, login));
    let mut layers = Layers::default();
    while let Some(answer) = answers.next().await {
        let answer = answer.map_err(|error| engine.failure(error))?;
        if let Some(message) = answer.error_detail.as_ref().and_then(|detail| detail.message.clone()) {
            return Err(DriverError::Engine { host: engine.host().to_owned(), message });
        }
        layers.show(&answer, progress);
    }
    Ok(())
}

/// The layers of an image that is pulled, as far as the Engine tells of them.
#[derive(Debug, Default)]
struct Layers(HashMap<String, (Timestamp, u64)>);

impl Layers {
    fn show(&mut self, answer: &CreateImageInfo, progress: &Progress) {
        let (Some(id), Some(status)) = (&answer.id, &answer.status) else { return };
        let done = match status.as_str() {
            "Downloading" | "Extracting" => false,
            "Download complete" | "Pull complete" => true,
            _ => return,
        };
        let what = if status.starts_with("Download") { "downloading" } else { "extracting" };
        let name = format!("{what} {id}");
        if self.0.len() >= MOST_LAYERS && !self.0.contains_key(&name) {
            return;
        }
        let count = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok()).unwrap_or(0);
        let detail = answer.progress_detail.as_ref();
        let (current, total) = detail.map_or((0, 0), |detail| (count(detail.current), count(detail.total)));
        let (started, size) = self.0.entry(name.clone()).or_insert((Timestamp::now(), 0));
        *size = total.max(*size);
        let current = if done { *size } else { current };
        progress.part(&name, (current, *size), *started, done);
    }
}

impl Image {
    /// The daemon that the image is for: by what it starts, else by what is in it. An image that starts something else
    /// and has the programs of both is BuildKit's.
    pub(super) async fn daemon(&self, engine: &Engine) -> Result<Daemon, DriverError> {
        let words = self.entrypoint.iter().chain(&self.command).map(String::as_str);
        if let Some(daemon) = Daemon::of_command(words) {
            return Ok(daemon);
        }
        // Files can be looked at in a container that was never started.
        let looked = Looked::into(engine, &self.name).await?;
        let found = self.look(&looked).await;
        looked.done().await?;
        found?.ok_or_else(|| DriverError::NoDaemon(self.name.clone()))
    }

    async fn look(&self, looked: &Looked<'_>) -> Result<Option<Daemon>, DriverError> {
        for daemon in Daemon::ALL {
            for directory in &self.path {
                if looked.has(&format!("{directory}/{}", daemon.program())).await? {
                    return Ok(Some(daemon));
                }
            }
        }
        Ok(None)
    }
}

/// A container that was made to look into an image.
struct Looked<'a> {
    engine: &'a Engine,
    id: String,
}

impl<'a> Looked<'a> {
    async fn into(engine: &'a Engine, image: &str) -> Result<Self, DriverError> {
        let body = ContainerCreateBody {
            image: Some(image.to_owned()),
            // An image that starts nothing has to be told something, which is not done either.
            cmd: Some(vec!["true".to_owned()]),
            host_config: Some(HostConfig { network_mode: Some("none".to_owned()), ..HostConfig::default() }),
            ..ContainerCreateBody::default()
        };
        let created = engine.docker().create_container(None::<CreateContainerOptions>, body).await;
        Ok(Self { engine, id: created.map_err(|error| engine.failure(error))?.id })
    }

    async fn has(&self, path: &str) -> Result<bool, DriverError> {
        has(self.engine, &self.id, path).await
    }

    async fn done(self) -> Result<(), DriverError> {
        let options = RemoveContainerOptions { v: true, force: true, link: false };
        let removed = self.engine.docker().remove_container(&self.id, Some(options)).await;
        removed.map_err(|error| self.engine.failure(error))
    }
}

/// Whether there is a file at a path of a container.
pub(super) async fn has(engine: &Engine, container: &str, path: &str) -> Result<bool, DriverError> {
    let options = ContainerArchiveInfoOptionsBuilder::new().path(path).build();
    match engine.docker().get_container_archive_info(container, Some(options)).await {
        Ok(_) => Ok(true),
        Err(BollardError::DockerResponseServerError { status_code: 404, .. }) => Ok(false),
        Err(error) => Err(engine.failure(error)),
    }
}

/// The content of a file of a container; none if there is no file.
pub(super) async fn read(
    engine: &Engine,
    container: &str,
    path: &str,
) -> Result<Option<Vec<u8>>, DriverError> {
    let options = DownloadFromContainerOptionsBuilder::new().path(path).build();
    let mut answer = std::pin::pin!(engine.docker().download_from_container(container, Some(options)));
    let mut archive = Vec::new();
    while let Some(piece) = answer.next().await {
        match piece {
            Ok(piece) => archive.extend_from_slice(&piece),
            Err(BollardError::DockerResponseServerError { status_code: 404, .. }) => return Ok(None),
            Err(error) => return Err(engine.failure(error)),
        }
        if archive.len() > FILE_LIMIT {
            return Err(DriverError::Refused(format!("file too large: {path} of the builder's image")));
        }
    }
    let broken =
        |error: std::io::Error| DriverError::Refused(format!("{error}: {path} of the builder's image"));
    let mut archive = Archive::new(archive.as_slice());
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        if entry.header().entry_type().is_file() {
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut content).map_err(broken)?;
            return Ok(Some(content));
        }
    }
    Ok(None)
}

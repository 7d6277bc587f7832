//! Talking to an Engine.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error as BollardError;
use bollard::models::BuildInfo;
use bollard::query_parameters::{ImportImageOptionsBuilder, ListImagesOptions};
use futures::StreamExt as _;
use rbx_buildkit::Dial;
use rbx_platform::Platform;
use tokio::io::AsyncRead;
use tokio_util::io::ReaderStream;

use super::endpoint::Endpoint;
use super::transport;
use super::upgrade::EngineDial;
use crate::connection::{Connect, Way};
use crate::error::{DriverError, root_cause};

/// How long an Engine may take to say that it is there.
const PING_TIME: Duration = Duration::from_secs(3);
/// How long an Engine may take for an answer, in seconds.
const ANSWER_TIME: u64 = 120;
/// How long a load or a pull may take before the first word of the answer, which some Engines say last.
pub(crate) const LOAD_TIME: Duration = Duration::from_hours(24);
/// The pieces in which an archive is sent, in bytes.
const PIECE: usize = 256 << 10;

/// The value of `driver-type` by which an Engine says that its images are containerd's.
const CONTAINERD_STORE: &str = "io.containerd.snapshotter.v1";

/// A Docker Engine. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine {
    docker: Docker,
    way: Arc<dyn Connect>,
    host: String,
}

/// What an Engine is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EngineInfo {
    /// Its version, `28.5.2`.
    pub version: String,
    /// The machine's name.
    pub name: String,
    /// The operating system of its containers, Go's name.
    pub os: String,
    /// The CPU architecture, as `uname` names it: `x86_64`.
    pub architecture: String,
    /// The storage driver or snapshotter: `overlay2`, `overlayfs`.
    pub driver: String,
    /// Images are kept by containerd: indexes, several platforms and attestations can be loaded.
    pub containerd_store: bool,
}

/// An image of an Engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageInfo {
    /// Its ID, `sha256:…`: of the configuration, or with containerd's store of the manifest or index.
    pub id: String,
    /// Its names.
    pub tags: Vec<String>,
    /// Names with digests.
    pub digests: Vec<String>,
    /// Its platform.
    pub platform: Platform,
    /// Bytes of its layers.
    pub size: u64,
    /// The digests of its layers as they are uncompressed, the lowest first.
    pub layers: Vec<String>,
}

/// Something an Engine said during a load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoadEvent {
    /// A layer moved on.
    Progress {
        /// The layer, shortened as docker shows it.
        id: String,
        /// What is done to it, such as `Loading layer`.
        status: String,
        /// Bytes done.
        current: u64,
        /// Bytes in all; 0 when unknown.
        total: u64,
    },
    /// A line for people.
    Message(String),
}

impl Engine {
    /// Prepares to talk to the Engine at an endpoint. Reads certificates; connects to nothing.
    pub fn connect(endpoint: &Endpoint) -> Result<Self, DriverError> {
        Self::over(Arc::new(Way::to_engine(endpoint)?), endpoint.host.clone())
    }

    /// Prepares to talk to the Engine at the end of raw connections. `host` is what errors call it.
    pub fn over(way: Arc<dyn Connect>, host: String) -> Result<Self, DriverError> {
        let docker =
            transport::docker(Arc::clone(&way), ANSWER_TIME).map_err(|error| failure(&host, error))?;
        Ok(Self { docker, way, host })
    }

    /// How the `BuildKit` in it is reached.
    pub fn dial(&self) -> Arc<dyn Dial> {
        Arc::new(EngineDial::new(Arc::clone(&self.way), self.host.clone()))
    }

    /// The address.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether it is on this machine, or behind something that forwards a socket of this machine.
    pub(crate) fn is_local(&self) -> bool {
        matches!(self.host.split_once("://"), Some(("unix" | "npipe" | "fd", _)))
    }

    /// Raw connections to it.
    pub(crate) fn way(&self) -> &Arc<dyn Connect> {
        &self.way
    }

    /// What an error of a request to it means.
    pub(crate) fn failure(&self, error: BollardError) -> DriverError {
        failure(&self.host, error)
    }

    pub(crate) fn docker(&self) -> &Docker {
        &self.docker
    }

    /// Asks whether the Engine is there; waits 3 seconds at most.
    pub async fn ping(&self) -> Result<(), DriverError> {
        match tokio::time::timeout(PING_TIME, self.docker.ping()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(failure(&self.host, error)),
            Err(_) => {
                let source = io::Error::new(io::ErrorKind::TimedOut, "no answer");
                Err(DriverError::Unavailable { host: self.host.clone(), source: Box::new(source) })
            }
        }
    }

    /// Asks what the Engine is.
    pub async fn info(&self) -> Result<EngineInfo, DriverError> {
        let info = self.docker.info().await.map_err(|error| failure(&self.host, error))?;
        let status = info.driver_status.unwrap_or_default();
        let containerd_store =
            status.iter().any(|pair| pair.iter().map(String::as_str).eq(["driver-type", CONTAINERD_STORE]));
        Ok(EngineInfo {
            version: info.server_version.unwrap_or_default(),
            name: info.name.unwrap_or_default(),
            os: info.os_type.unwrap_or_default(),
            architecture: info.architecture.unwrap_or_default(),
            driver: info.driver.unwrap_or_default(),
            containerd_store,
        })
    }

    /// Loads an image archive, `docker save`'s or, with containerd's store, an OCI layout's too. Returns the names
    /// or IDs of what was loaded.
    pub async fn load(
        &self,
        archive: impl AsyncRead + Send + 'static,
        mut progress: impl FnMut(LoadEvent),
    ) -> Result<Vec<String>, DriverError> {
        let options = ImportImageOptionsBuilder::new().quiet(false).build();
        let docker = self.docker.clone().with_timeout(LOAD_TIME);
        let pieces = ReaderStream::with_capacity(archive, PIECE);
        let mut answers = std::pin::pin!(docker.import_image_stream(options, pieces, None));
        let mut loaded = Vec::new();
        while let Some(answer) = answers.next().await {
            let answer = answer.map_err(|error| match error {
                BollardError::DockerStreamError { error } => {
                    DriverError::Engine { host: self.host.clone(), message: error }
                }
                error @ BollardError::DockerResponseServerError { .. } => failure(&self.host, error),
                error => {
                    let cause = root_cause(&error).to_string();
                    DriverError::Load { host: self.host.clone(), cause, source: Box::new(error) }
                }
            })?;
            for event in events(answer) {
                if let LoadEvent::Message(line) = &event {
                    let names = ["Loaded image: ", "Loaded image ID: "];
                    loaded.extend(names.iter().find_map(|name| line.strip_prefix(name)).map(str::to_owned));
                }
                progress(event);
            }
        }
        Ok(loaded)
    }

    /// Looks up an image by name or ID; `None` if the Engine has none.
    pub async fn inspect_image(&self, name: &str) -> Result<Option<ImageInfo>, DriverError> {
        let image = match self.docker.inspect_image(name).await {
            Ok(image) => image,
            Err(BollardError::DockerResponseServerError { status_code: 404, .. }) => return Ok(None),
            Err(error) => return Err(failure(&self.host, error)),
        };
        Ok(Some(ImageInfo {
            id: image.id.unwrap_or_default(),
            tags: image.repo_tags.unwrap_or_default(),
            digests: image.repo_digests.unwrap_or_default(),
            platform: Platform {
                os: image.os.unwrap_or_default(),
                architecture: image.architecture.unwrap_or_default(),
                variant: image.variant.filter(|variant| !variant.is_empty()),
                os_version: image.os_version.filter(|version| !version.is_empty()),
            },
            size: image.size.and_then(|size| size.try_into().ok()).unwrap_or_default(),
            layers: image.root_fs.and_then(|root| root.layers).unwrap_or_default(),
        }))
    }

    /// The IDs of its images, the newest first.
    pub async fn images(&self) -> Result<Vec<String>, DriverError> {
        let listed = self.docker.list_images(None::<ListImagesOptions>).await;
        let mut images = listed.map_err(|error| failure(&self.host, error))?;
        images.sort_by_key(|image| std::cmp::Reverse(image.created));
        Ok(images.into_iter().map(|image| image.id).collect())
    }
}

/// What one answer of a load says: a layer's progress, lines, or nothing.
fn events(answer: BuildInfo) -> Vec<LoadEvent> {
    let count = |count: Option<i64>| count.and_then(|count| u64::try_from(count).ok()).unwrap_or_default();
    if let (Some(id), Some(detail)) = (answer.id, answer.progress_detail) {
        return vec![LoadEvent::Progress {
            id,
            status: answer.status.unwrap_or_default(),
            current: count(detail.current),
            total: count(detail.total),
        }];
    }
    let text = answer.stream.or(answer.status).unwrap_or_default();
    text.lines().filter(|line| !line.is_empty()).map(|line| LoadEvent::Message(line.to_owned())).collect()
}

pub(super) fn failure(host: &str, error: BollardError) -> DriverError {
    let host = host.to_owned();
    match error {
        BollardError::DockerResponseServerError { message, .. }
        | BollardError::DockerStreamError { error: message } => DriverError::Engine { host, message },
        error @ BollardError::JsonDataError { .. } => {
            DriverError::Engine { host, message: format!("answer not understood: {error}") }
        }
        error => DriverError::connection(&host, Box::new(error)),
    }
}

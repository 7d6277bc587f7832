//! The driver `docker-container`: a builder in a container of an Engine.
//!
//! The container is buildx's: `buildx_buildkit_NODE` with the volume `buildx_buildkit_NODE_state`, so that either
//! program uses what the other made. It runs one of two daemons:
//!
//! - `BuildKit`'s own (`moby/buildkit`). It keeps its state in `/var/lib/buildkit` and its configuration in
//!   `/etc/buildkit`, and is reached by `buildctl dial-stdio` in the container.
//! - An Engine (`docker:dind`: Docker in Docker), whose `BuildKit` it is then. It keeps its state in `/var/lib/docker`,
//!   where the volume is in this case, and is reached by `docker system dial-stdio`, over which it is asked as any
//!   Engine. It gets the configuration of its image with the containerd store turned on, and no bridge: builds ask for
//!   its host's network, and so steps have that of the container, as they do in BuildKit's. Flags of the daemon are
//!   those of `dockerd`; the entitlements among them, which are BuildKit's, become configuration, and so does a
//!   `buildkitd.toml`. What an Engine has nothing for is an error; the run of GitHub's Actions is in no provenance
//!   there. buildx knows nothing of such containers.
//!
//! Which of both an image is for is told when the container is made: by what the image starts, else by the programs
//! that it has. Which of both a container runs is told by the command that it was made with.
//!
//! A container that runs is used as it is. One that was stopped is started again, unless it was made by settings that
//! have changed since: then it is made anew, on the same volume. buildx's containers do not say what they were made
//! by, and are started as they are.

mod boot;
mod configuration;
mod create;
mod daemon;
mod demux;
mod dial;
mod exec;
mod image;
mod options;
mod qemu;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use rbx_buildkit::{Dial, Worker};
use rbx_platform::Platform;
use rbx_registry::Credentials;
use rbx_request::{EventSender, Features, Network};

use crate::buildkit::{self, Details};
use crate::docker::Engine;
use crate::driver::{Driver, NodeSettings, Status};
use crate::error::DriverError;
use crate::kind::DriverKind;
use daemon::Daemon;
use dial::ContainerDial;
use options::Options;
pub(crate) use options::truth;

/// What booting takes from where this program runs.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The user's credentials for registries, which images are pulled with.
    pub credentials: Option<Arc<Credentials>>,
    /// How long a daemon may take until it answers; to pull its image is not counted.
    pub patience: Duration,
    /// Where this machine may have QEMU.
    pub qemu_directories: Vec<PathBuf>,
    /// What is known of the run of GitHub's Actions that this is part of, as JSON: it goes into provenance.
    pub github_context: Option<Vec<u8>>,
    /// This is Windows' Linux.
    pub wsl: bool,
}

impl Default for Surroundings {
    /// No credentials, 20 seconds, no QEMU.
    fn default() -> Self {
        Self {
            credentials: None,
            patience: Duration::from_secs(20),
            qemu_directories: Vec::new(),
            github_context: None,
            wsl: false,
        }
    }
}

/// A builder in a container of an Engine.
#[derive(Debug)]
pub(crate) struct ContainerDriver {
    node: NodeSettings,
    options: Options,
    surroundings: Surroundings,
    engine: Engine,
    /// The container's name.
    container: String,
    dial: Arc<ContainerDial>,
}

/// What the container of a node is called.
pub fn container_name(node: &str) -> String {
    format!("buildx_buildkit_{node}")
}

impl ContainerDriver {
    /// The one of a node. Checks its options; connects to nothing.
    pub(crate) fn new(node: &NodeSettings, surroundings: &Surroundings) -> Result<Self, DriverError> {
        let options = Options::parse(&node.options)?;
        let engine = Engine::connect(&node.engine)?;
        let container = container_name(&node.name);
        let dial = Arc::new(ContainerDial::new(&engine, &container));
        let surroundings = surroundings.clone();
        Ok(Self { node: node.clone(), options, surroundings, engine, container, dial })
    }

    /// Whether a node can be as it is described.
    pub(crate) fn check(node: &NodeSettings) -> Result<(), DriverError> {
        Options::parse(&node.options).map(|_| ())
    }

    /// What it can do with these workers.
    fn features_with(&self, daemon: Daemon, workers: &[Worker]) -> Features {
        self.features_of(daemon == Daemon::BuildKit || buildkit::in_containerd(workers))
    }

    /// What it can do. An Engine whose configuration has containerd's store turned off can do less.
    fn features_of(&self, all: bool) -> Features {
        let features =
            if all { DriverKind::DockerContainer.features(true) } else { DriverKind::Docker.features(false) };
        Features { default_load: self.options.default_load, ..features }
    }

    /// The volume that the daemon's state is in.
    fn volume(&self) -> String {
        format!("{}_state", self.container)
    }
}

impl Driver for ContainerDriver {
    fn kind(&self) -> DriverKind {
        DriverKind::DockerContainer
    }

    fn dial(&self) -> Arc<dyn Dial> {
        Arc::clone(&self.dial) as _
    }

    fn status(&self) -> BoxFuture<'_, Result<Status, DriverError>> {
        Box::pin(async {
            Ok(match self.find().await? {
                None => Status::Inactive,
                Some(found) if found.running => Status::Running,
                Some(_) => Status::Stopped,
            })
        })
    }

    fn boot<'a>(&'a self, events: &'a EventSender) -> BoxFuture<'a, Result<(), DriverError>> {
        Box::pin(self.boot_now(events))
    }

    fn prepare<'a>(
        &'a self,
        platforms: &'a [Platform],
        events: &'a EventSender,
    ) -> BoxFuture<'a, Result<(), DriverError>> {
        Box::pin(self.emulate(platforms, events))
    }

    fn details(&self) -> BoxFuture<'_, Result<Details, DriverError>> {
        Box::pin(async {
            let status = self.status().await?;
            if status != Status::Running {
                return Ok(Details::of(status, self.features_of(true)));
            }
            let asked = async {
                let daemon = self.dial.daemon().await?;
                let features = |workers: &[Worker]| self.features_with(daemon, workers);
                let mut details = buildkit::ask(&self.client().await?, features).await?;
                self.add_emulated(daemon, &mut details.platforms).await?;
                Ok(details)
            };
            Ok(asked.await.unwrap_or_else(|error: DriverError| Details {
                error: Some(error.to_string()),
                ..Details::of(status, self.features_of(true))
            }))
        })
    }

    fn features<'a>(&'a self, workers: &'a [Worker]) -> BoxFuture<'a, Result<Features, DriverError>> {
        Box::pin(async { Ok(self.features_with(self.dial.daemon().await?, workers)) })
    }

    fn network(&self) -> BoxFuture<'_, Result<Network, DriverError>> {
        Box::pin(async {
            Ok(match self.dial.daemon().await? {
                Daemon::BuildKit => Network::Default,
                // Its default is its bridge, and it has none. To it the container is the host.
                Daemon::Engine => Network::Host,
            })
        })
    }

    fn stop(&self) -> BoxFuture<'_, Result<(), DriverError>> {
        Box::pin(self.engine.stop_container(&self.container))
    }

    fn remove(&self, keep_state: bool) -> BoxFuture<'_, Result<(), DriverError>> {
        Box::pin(async move {
            if self.find().await?.is_none() {
                return Ok(());
            }
            self.engine.stop_container(&self.container).await?;
            self.engine.remove_container(&self.container).await?;
            if keep_state { Ok(()) } else { self.engine.remove_volume(&self.volume()).await }
        })
    }
}

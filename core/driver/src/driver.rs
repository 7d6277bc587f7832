//! What every driver can be asked.

use std::collections::BTreeMap;
use std::fmt;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use rbx_buildkit::{Client, Dial, Worker};
use rbx_platform::Platform;
use rbx_request::{EventSender, Features, Network};

use crate::buildkit::{self, Details};
use crate::container::{ContainerDriver, Surroundings};
use crate::docker::{DockerDriver, Endpoint};
use crate::error::DriverError;
use crate::kind::DriverKind;
use crate::remote::RemoteDriver;

/// What a node of a builder is to be, as its builder describes it.
#[derive(Debug, Clone)]
pub struct NodeSettings {
    /// The node's name.
    pub name: String,
    /// Its endpoint as the builder has it: a context of docker, or an address.
    pub address: String,
    /// The Engine there; of no meaning for drivers that need none.
    pub engine: Endpoint,
    /// The platforms that it was told to have.
    pub platforms: Vec<Platform>,
    /// Options for the driver.
    pub options: BTreeMap<String, String>,
    /// Flags of the daemon.
    pub flags: Vec<String>,
    /// Files of the daemon, by their path below its configuration directory.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// How a node is. The words are buildx's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Status {
    /// There is nothing yet, or nobody answers.
    #[default]
    Inactive,
    /// It was started a moment ago.
    Starting,
    /// It can build.
    Running,
    /// It was told to stop a moment ago.
    Stopping,
    /// It has to be started.
    Stopped,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inactive => "inactive",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        })
    }
}

/// One node of a builder: a place where images are built. What is `BuildKit`'s own is the same for all of them and no
/// part of this trait; drivers differ by how a daemon comes to be there and how it is reached.
pub trait Driver: fmt::Debug + Send + Sync {
    /// Which driver it is.
    fn kind(&self) -> DriverKind;

    /// How its `BuildKit` is reached.
    fn dial(&self) -> Arc<dyn Dial>;

    /// How it is now. That nobody answers is an error only where somebody has to be there.
    fn status(&self) -> BoxFuture<'_, Result<Status, DriverError>>;

    /// A connection to its `BuildKit`, which has to run. Errors say how it was to be reached, and have hints.
    fn client(&self) -> BoxFuture<'_, Result<Client, DriverError>> {
        Box::pin(buildkit::connect(self.dial()))
    }

    /// All that there is to know of it now.
    fn details(&self) -> BoxFuture<'_, Result<Details, DriverError>>;

    /// Makes it run, and says what is done as vertices. Where it runs, or there is nothing to start, nothing is done.
    fn boot<'a>(&'a self, events: &'a EventSender) -> BoxFuture<'a, Result<(), DriverError>> {
        let _ = events;
        Box::pin(ready(Ok(())))
    }

    /// Makes platforms runnable where it runs, as far as can be; all that are known if none is named. An error is why
    /// some are not, and no reason not to build what needs none of them.
    fn prepare<'a>(
        &'a self,
        platforms: &'a [Platform],
        events: &'a EventSender,
    ) -> BoxFuture<'a, Result<(), DriverError>> {
        let _ = (platforms, events);
        Box::pin(ready(Ok(())))
    }

    /// What it can do, given the workers of its `BuildKit`.
    fn features<'a>(&'a self, workers: &'a [Worker]) -> BoxFuture<'a, Result<Features, DriverError>>;

    /// The network of steps for which a build names none, where its `BuildKit` has to be told.
    fn network(&self) -> BoxFuture<'_, Result<Network, DriverError>> {
        Box::pin(ready(Ok(Network::Default)))
    }

    /// Stops what runs, if anything does.
    fn stop(&self) -> BoxFuture<'_, Result<(), DriverError>> {
        Box::pin(ready(Ok(())))
    }

    /// Removes what was made for it; its state stays if `keep_state`.
    fn remove(&self, keep_state: bool) -> BoxFuture<'_, Result<(), DriverError>> {
        let _ = keep_state;
        Box::pin(ready(Ok(())))
    }
}

/// Whether a node can be as it is described. Reads no file and connects to nothing.
pub fn check(kind: DriverKind, node: &NodeSettings) -> Result<(), DriverError> {
    match kind {
        DriverKind::Docker => DockerDriver::check(node),
        DriverKind::DockerContainer => ContainerDriver::check(node),
        DriverKind::Remote => RemoteDriver::new(node, Duration::ZERO).map(|_| ()),
        DriverKind::Embedded | DriverKind::Kubernetes => Ok(()),
    }
}

/// The driver of a node. Checks its settings; connects to nothing.
pub fn open(
    kind: DriverKind,
    node: &NodeSettings,
    surroundings: &Surroundings,
) -> Result<Arc<dyn Driver>, DriverError> {
    match kind {
        DriverKind::Docker => Ok(Arc::new(DockerDriver::new(node)?)),
        DriverKind::DockerContainer => Ok(Arc::new(ContainerDriver::new(node, surroundings)?)),
        DriverKind::Remote => Ok(Arc::new(RemoteDriver::new(node, surroundings.patience)?)),
        DriverKind::Embedded | DriverKind::Kubernetes => Err(DriverError::NotThere(kind)),
    }
}

//! The driver `docker`: the `BuildKit` in an Engine.

use std::future::ready;
use std::sync::Arc;

use futures::future::BoxFuture;
use rbx_buildkit::{Client, Dial, Worker};

use tokio::sync::OnceCell;

use super::engine::Engine;
use crate::buildkit::{self, Details};
use crate::driver::{Driver, NodeSettings, Status};
use crate::error::DriverError;
use rbx_request::Features;

use crate::kind::DriverKind;

/// The `BuildKit` in an Engine. There is nothing to boot, to stop or to remove.
#[derive(Debug)]
pub struct DockerDriver {
    engine: Engine,
    client: OnceCell<Client>,
}

impl DockerDriver {
    /// The one at the node's endpoint. Connects to nothing.
    pub fn new(node: &NodeSettings) -> Result<Self, DriverError> {
        Self::check(node)?;
        Ok(Self { engine: Engine::connect(&node.engine)?, client: OnceCell::new() })
    }

    /// Whether a node can be as it is described.
    pub(crate) fn check(node: &NodeSettings) -> Result<(), DriverError> {
        if node.files.is_empty() {
            return Ok(());
        }
        let reason = "setting config file is not supported for docker driver, use dockerd configuration file";
        Err(DriverError::Refused(reason.to_owned()))
    }
}

impl Driver for DockerDriver {
    fn kind(&self) -> DriverKind {
        DriverKind::Docker
    }

    fn dial(&self) -> Arc<dyn Dial> {
        self.engine.dial()
    }

    fn client(&self) -> BoxFuture<'_, Result<Client, DriverError>> {
        Box::pin(async {
            self.client.get_or_try_init(|| buildkit::connect(self.engine.dial())).await.cloned()
        })
    }

    fn status(&self) -> BoxFuture<'_, Result<Status, DriverError>> {
        Box::pin(async { self.engine.ping().await.map(|()| Status::Running) })
    }

    fn details(&self) -> BoxFuture<'_, Result<Details, DriverError>> {
        // That somebody answers is status enough.
        Box::pin(async { buildkit::ask(&self.client().await?, features).await })
    }

    fn features<'a>(&'a self, workers: &'a [Worker]) -> BoxFuture<'a, Result<Features, DriverError>> {
        Box::pin(ready(Ok(features(workers))))
    }
}

fn features(workers: &[Worker]) -> Features {
    DriverKind::Docker.features(buildkit::in_containerd(workers))
}

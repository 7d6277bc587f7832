//! The driver `docker`: the `BuildKit` in an Engine.

use std::sync::Arc;

use futures::future::BoxFuture;
use rbx_buildkit::Dial;

use super::engine::Engine;
use crate::driver::{Driver, NodeSettings, Status};
use crate::error::DriverError;
use rbx_request::Features;

use crate::kind::DriverKind;

/// The `BuildKit` in an Engine. There is nothing to boot, to stop or to remove.
#[derive(Debug)]
pub struct DockerDriver {
    engine: Engine,
}

impl DockerDriver {
    /// The one at the node's endpoint. Connects to nothing.
    pub fn new(node: &NodeSettings) -> Result<Self, DriverError> {
        if !node.files.is_empty() {
            return Err(DriverError::Refused(
                "setting config file is not supported for docker driver, use dockerd configuration file"
                    .to_owned(),
            ));
        }
        Ok(Self { engine: Engine::connect(&node.engine)? })
    }
}

impl Driver for DockerDriver {
    fn kind(&self) -> DriverKind {
        DriverKind::Docker
    }

    fn dial(&self) -> Option<Arc<dyn Dial>> {
        Some(self.engine.dial())
    }

    fn status(&self) -> BoxFuture<'_, Result<Status, DriverError>> {
        Box::pin(async { self.engine.ping().await.map(|()| Status::Running) })
    }

    fn features(&self) -> BoxFuture<'_, Result<Features, DriverError>> {
        Box::pin(async { Ok(DriverKind::Docker.features(self.engine.info().await?.containerd_store)) })
    }
}

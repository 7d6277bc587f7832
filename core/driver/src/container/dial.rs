//! The way to the `BuildKit` of a container.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bollard::query_parameters::InspectContainerOptions;
use futures::future::BoxFuture;
use rbx_buildkit::{Dial, Io};
use tokio::time::timeout;

use super::daemon::Daemon;
use super::exec::Exec;
use crate::docker::{Engine, EngineDial};
use crate::error::DriverError;

/// How long it may take until a process in a container passes on what its daemon says.
const DIAL_TIME: Duration = Duration::from_secs(30);
/// How long a connection may wait to be used: a daemon closes one over which nobody says anything.
const SPARE_TIME: Duration = Duration::from_secs(3);

/// The way to the `BuildKit` of a container: by a process in it that passes on what is said.
///
/// In a container of BuildKit's that is `buildctl dial-stdio`. In one with an Engine of its own it is
/// `docker system dial-stdio`, and the Engine is asked as any other.
pub(super) struct ContainerDial {
    engine: Engine,
    container: String,
    /// What runs there.
    daemon: Mutex<Option<Daemon>>,
    /// A connection that showed that the daemon is there, for the next to use.
    spare: Mutex<Option<(Instant, Box<dyn Io>)>>,
}

impl std::fmt::Debug for ContainerDial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ContainerDial").field("container", &self.container).finish_non_exhaustive()
    }
}

impl ContainerDial {
    pub(super) fn new(engine: &Engine, container: &str) -> Self {
        Self {
            engine: engine.clone(),
            container: container.to_owned(),
            daemon: Mutex::new(None),
            spare: Mutex::new(None),
        }
    }

    /// What runs in the container.
    pub(super) async fn daemon(&self) -> Result<Daemon, DriverError> {
        if let Some(known) = *self.known() {
            return Ok(known);
        }
        let docker = self.engine.docker();
        let found = docker.inspect_container(&self.container, None::<InspectContainerOptions>).await;
        let daemon = Daemon::of_container(&found.map_err(|error| self.engine.failure(error))?);
        *self.known() = Some(daemon);
        Ok(daemon)
    }

    fn known(&self) -> MutexGuard<'_, Option<Daemon>> {
        self.daemon.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The container is made anew.
    pub(super) fn forget(&self) {
        *self.known() = None;
    }

    /// Tries whether the daemon is there, and keeps the connection for who dials next.
    pub(super) async fn try_once(&self) -> io::Result<()> {
        let io = self.open().await?;
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        *spare = Some((Instant::now(), io));
        Ok(())
    }

    fn exec(&self, daemon: Daemon) -> Exec {
        Exec::new(&self.engine, &self.container, daemon.dial())
    }

    fn of_engine(&self) -> EngineDial {
        EngineDial::new(Arc::new(self.exec(Daemon::Engine)), self.host())
    }

    fn host(&self) -> String {
        format!("container {}", self.container)
    }

    async fn open(&self) -> io::Result<Box<dyn Io>> {
        match self.daemon().await.map_err(io::Error::other)? {
            Daemon::Engine => self.of_engine().dial().await,
            Daemon::BuildKit => {
                let begun = timeout(DIAL_TIME, self.exec(Daemon::BuildKit).begun()).await;
                let late = || io::Error::new(io::ErrorKind::TimedOut, "no answer");
                let begun = begun.unwrap_or_else(|_| Err(late()));
                let told = |error: io::Error| {
                    io::Error::new(error.kind(), format!("{error}: container {}", self.container))
                };
                begun.map_err(told)
            }
        }
    }
}

impl Dial for ContainerDial {
    fn dial(&self) -> BoxFuture<'_, io::Result<Box<dyn Io>>> {
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).take();
        match spare {
            Some((since, io)) if since.elapsed() < SPARE_TIME => Box::pin(async { Ok(io) }),
            _ => Box::pin(self.open()),
        }
    }

    fn session<'a>(
        &'a self,
        headers: &'a [(String, String)],
    ) -> BoxFuture<'a, Option<io::Result<Box<dyn Io>>>> {
        Box::pin(async {
            match self.daemon().await {
                Ok(Daemon::BuildKit) => None,
                Ok(Daemon::Engine) => self.of_engine().session(headers).await,
                Err(error) => Some(Err(io::Error::other(error))),
            }
        })
    }
}

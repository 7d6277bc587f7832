//! Containers that builders run in.

use bollard::errors::Error as BollardError;
use bollard::query_parameters::{
    InspectContainerOptions, RemoveContainerOptions, RemoveVolumeOptions, StopContainerOptions,
};

use super::engine::{Engine, failure};
use crate::error::DriverError;

/// What there is of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerState {
    /// There is none of that name.
    Missing,
    /// There is one, and it does not run.
    Stopped,
    /// It runs.
    Running,
}

impl Engine {
    /// Looks up a container by name or ID.
    pub async fn container(&self, name: &str) -> Result<ContainerState, DriverError> {
        let found = self.docker().inspect_container(name, None::<InspectContainerOptions>).await;
        let Some(container) = self.unless_missing(found)? else { return Ok(ContainerState::Missing) };
        let running = container.state.and_then(|state| state.running).unwrap_or(false);
        Ok(if running { ContainerState::Running } else { ContainerState::Stopped })
    }

    /// Stops a container, if it is there and runs. The Engine gives it 10 seconds.
    pub async fn stop_container(&self, name: &str) -> Result<(), DriverError> {
        let stopped = match self.docker().stop_container(name, None::<StopContainerOptions>).await {
            // It does not run.
            Err(BollardError::DockerResponseServerError { status_code: 304, .. }) => Ok(()),
            other => other,
        };
        self.unless_missing(stopped).map(|_| ())
    }

    /// Removes a container, running or not, and volumes of it that have no name. It may be missing.
    pub async fn remove_container(&self, name: &str) -> Result<(), DriverError> {
        let options = RemoveContainerOptions { v: true, force: true, link: false };
        let removed = self.docker().remove_container(name, Some(options)).await;
        self.unless_missing(removed).map(|_| ())
    }

    /// Removes a volume that no container uses. It may be missing.
    pub async fn remove_volume(&self, name: &str) -> Result<(), DriverError> {
        let removed = self.docker().remove_volume(name, None::<RemoveVolumeOptions>).await;
        self.unless_missing(removed).map(|_| ())
    }

    fn unless_missing<T>(&self, answer: Result<T, BollardError>) -> Result<Option<T>, DriverError> {
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(BollardError::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
            Err(error) => Err(failure(self.host(), error)),
        }
    }
}

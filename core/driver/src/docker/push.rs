//! Images that an Engine pushes by itself.

use bollard::auth::DockerCredentials;
use bollard::query_parameters::PushImageOptionsBuilder;
use futures::StreamExt as _;
use rbx_oci::Reference;
use rbx_registry::{Credentials, Secret};

use super::engine::{Engine, LOAD_TIME};
use crate::error::DriverError;

impl Engine {
    /// Pushes an image that the Engine has under this name, with the user's credentials. Answers its digest in the
    /// registry.
    pub async fn push(
        &self,
        name: &Reference,
        credentials: Option<&Credentials>,
    ) -> Result<String, DriverError> {
        let refused = |message: String| DriverError::Engine { host: self.host().to_owned(), message };
        let login = login(name, credentials).await.map_err(refused)?;
        let docker = self.docker().clone().with_timeout(LOAD_TIME);
        let tag = name.tag().unwrap_or("latest");
        let options = PushImageOptionsBuilder::new().tag(tag).build();
        let mut answers =
            std::pin::pin!(docker.push_image(&name.familiar_name(), Some(options), login.clone()));
        while let Some(answer) = answers.next().await {
            let answer = answer.map_err(|error| self.failure(error))?;
            if let Some(status) = answer.status {
                tracing::debug!("push of {name}: {status}");
            }
        }
        let whole = format!("{}:{tag}", name.familiar_name());
        let found =
            docker.inspect_registry_image(&whole, login).await.map_err(|error| self.failure(error))?;
        found.descriptor.digest.ok_or_else(|| refused(format!("no digest of {whole} in the registry")))
    }
}

/// Who the user is to the registry of an image, as an Engine is told; nobody if there is nothing to tell.
pub(crate) async fn login(
    name: &Reference,
    credentials: Option<&Credentials>,
) -> Result<Option<DockerCredentials>, String> {
    let Some(credentials) = credentials else { return Ok(None) };
    let found = credentials.get(name.domain()).await.map_err(|error| error.to_string())?;
    let login = |secret| {
        let serveraddress = Some(name.domain().to_owned());
        match secret {
            Secret::Password { username, password } => DockerCredentials {
                username: Some(username),
                password: Some(password),
                serveraddress,
                ..DockerCredentials::default()
            },
            Secret::IdentityToken(token) => DockerCredentials {
                identitytoken: Some(token),
                serveraddress,
                ..DockerCredentials::default()
            },
            Secret::RegistryToken(token) => DockerCredentials {
                registrytoken: Some(token),
                serveraddress,
                ..DockerCredentials::default()
            },
        }
    };
    Ok(found.map(|found| login(found.secret)))
}

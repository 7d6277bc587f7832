//! Pulling from and pushing to registries over the OCI distribution protocol, and the credentials for it.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use rbx_registry::{Client, Config};
//! let client = Client::new(Config { user_agent: "rbx/0.1".to_owned(), ..Config::default() })?;
//! let image = client.manifest(&"alpine:3".parse()?).await?;
//! # Ok(()) }
//! ```
//!
//! Answers are untrusted: sizes are bounded, digests checked, text is made printable before it goes into a message.
//! `Authorization` never follows a redirect to another host, and no credentials go over HTTP to a token server
//! that a registry of HTTPS named.

mod auth;
mod blob;
mod challenge;
mod client;
mod config;
mod credentials;
mod endpoint;
mod error;
mod manifest;
mod push;
mod scoped;
mod setup;
mod tags;
mod text;
mod tls;
mod transport;

pub use blob::BlobStream;
pub use client::{BearerToken, Client, Fetched, TokenChallenge};
pub use config::{Config, Proxies};
pub use credentials::{Credential, Credentials, Secret};
pub use error::{CredentialsError, RegistryError, SetupError};
pub use push::{OpenBlob, Pushed};
pub use setup::Setup;
pub use transport::Transport;

/// What fuzz targets call.
#[cfg(feature = "fuzz")]
pub mod fuzz {
    use std::collections::BTreeMap;

    /// The challenges of a `WWW-Authenticate` header: their schemes and parameters.
    pub fn challenges(header: &str) -> Vec<(String, BTreeMap<String, String>)> {
        let challenges = crate::challenge::parse(header).into_iter();
        challenges.map(|challenge| (challenge.scheme, challenge.parameters)).collect()
    }
}

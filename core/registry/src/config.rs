//! What a client is told from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::credentials::Credentials;

/// Settings of a [`Client`](crate::Client).
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The `User-Agent` of every request.
    pub user_agent: String,
    /// Mirrors of a registry, tried in order before the registry itself. The key is the registry as references name
    /// it (`docker.io`); a mirror is a host or an address (`mirror.example:5000`, `http://10.0.0.1`,
    /// `https://harbor.example/proxy.docker.io`, whose path goes before the repository).
    pub mirrors: BTreeMap<String, Vec<String>>,
    /// Hosts (`host` or `host:port`) that speak HTTP without TLS. Hosts of the loopback need no mention: they are
    /// tried over HTTP first.
    pub plain_http: BTreeSet<String>,
    /// Certificates of authorities to trust beside the system's, each one or more in PEM.
    pub extra_ca: Vec<Vec<u8>>,
    /// Proxies to go through; none by default, whatever the environment says.
    pub proxies: Proxies,
    /// Who to be.
    pub credentials: Arc<Credentials>,
}

/// Proxies, in the form of the variables of the same names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// `HTTP_PROXY`: the proxy for `http://` addresses.
    pub http: Option<String>,
    /// `HTTPS_PROXY`: the proxy for `https://` addresses.
    pub https: Option<String>,
    /// `NO_PROXY`: hosts to reach without one. Loopback hosts never go through a proxy.
    pub no_proxy: Option<String>,
}

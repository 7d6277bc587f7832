//! Where a registry is reached: its host, its mirrors, HTTP or HTTPS.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use reqwest::Url;
use tokio::sync::Semaphore;

use crate::auth::Session;
use crate::config::Config;
use crate::error::RegistryError;

/// Blobs that are fetched from one host at the same time.
const BLOBS_PER_HOST: usize = 8;
/// Manifests that are fetched from one host at the same time.
const MANIFESTS_PER_HOST: usize = 8;

/// Docker Hub as references name it, and where it answers.
const HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// HTTP or HTTPS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
    /// HTTP as long as nothing else is known: hosts of the loopback.
    HttpFirst,
}

/// One host, shared by all requests to it.
#[derive(Debug)]
pub(crate) struct Host {
    /// Host and port.
    pub(crate) authority: String,
    /// Under what name credentials are kept: the registry of references for an origin, the host for a mirror.
    pub(crate) registry: String,
    scheme: AtomicU8,
    pub(crate) session: Session,
    pub(crate) blobs: Arc<Semaphore>,
    pub(crate) manifests: Semaphore,
}

impl Host {
    pub(crate) fn new(authority: &str, registry: &str, scheme: Scheme) -> Self {
        Self {
            authority: authority.to_owned(),
            registry: registry.to_owned(),
            scheme: AtomicU8::new(scheme as u8),
            session: Session::default(),
            blobs: Arc::new(Semaphore::new(BLOBS_PER_HOST)),
            manifests: Semaphore::new(MANIFESTS_PER_HOST),
        }
    }

    pub(crate) fn scheme(&self) -> Scheme {
        let known = self.scheme.load(Ordering::Relaxed);
        [Scheme::Http, Scheme::Https, Scheme::HttpFirst]
            .into_iter()
            .find(|scheme| *scheme as u8 == known)
            .unwrap_or(Scheme::Https)
    }

    /// Remembers what the host speaks.
    pub(crate) fn settle(&self, scheme: Scheme) {
        self.scheme.store(scheme as u8, Ordering::Relaxed);
    }
}

/// One way to a repository.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    pub(crate) host: Arc<Host>,
    /// The repository as this host names it.
    pub(crate) repository: String,
    /// The registry that this is a mirror of.
    pub(crate) mirror_of: Option<String>,
}

impl Endpoint {
    /// The address of something in the repository, such as `manifests/latest`.
    pub(crate) fn url(&self, scheme: Scheme, thing: &str) -> Result<Url, RegistryError> {
        let scheme = if scheme == Scheme::Https { "https" } else { "http" };
        let text = format!("{scheme}://{}/v2/{}/{thing}", self.host.authority, self.repository);
        let invalid = |_| RegistryError::Configuration { reason: format!("no valid address: {text}") };
        let mut url = Url::parse(&text).map_err(invalid)?;
        if let Some(registry) = &self.mirror_of {
            // As containerd does, so that a pull-through cache for several registries knows which is meant.
            url.query_pairs_mut().append_pair("ns", registry);
        }
        Ok(url)
    }
}

/// A host to try, not yet looked up among those that are known.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) authority: String,
    pub(crate) registry: String,
    pub(crate) scheme: Scheme,
    /// Goes before the repository.
    pub(crate) prefix: String,
    pub(crate) mirror_of: Option<String>,
}

/// The hosts to try for a registry: its mirrors, then itself.
pub(crate) fn candidates(config: &Config, registry: &str) -> Result<Vec<Candidate>, RegistryError> {
    let mirrors = config.mirrors.get(registry).into_iter().flatten();
    let mut candidates =
        mirrors.map(|mirror| parse_mirror(config, registry, mirror)).collect::<Result<Vec<_>, _>>()?;
    let authority = if registry == HUB.0 { HUB.1 } else { registry };
    candidates.push(Candidate {
        authority: authority.to_owned(),
        registry: registry.to_owned(),
        scheme: scheme_of(config, authority),
        prefix: String::new(),
        mirror_of: None,
    });
    Ok(candidates)
}

fn parse_mirror(config: &Config, registry: &str, mirror: &str) -> Result<Candidate, RegistryError> {
    let (scheme, rest) = match mirror.split_once("://") {
        Some(("http", rest)) => (Some(Scheme::Http), rest),
        Some(("https", rest)) => (Some(Scheme::Https), rest),
        Some(_) => return Err(invalid_mirror(mirror)),
        None => (None, mirror),
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let prefix = path.trim_end_matches('/');
    let prefix = prefix.strip_prefix("v2/").unwrap_or(if prefix == "v2" { "" } else { prefix });
    // Checked as a whole, so that nothing of it can become a query or a user name.
    let url = Url::parse(&format!("https://{authority}/{prefix}")).map_err(|_| invalid_mirror(mirror))?;
    if authority.is_empty() || authority.contains('@') || url.query().is_some() || url.fragment().is_some() {
        return Err(invalid_mirror(mirror));
    }
    Ok(Candidate {
        authority: authority.to_owned(),
        registry: if authority == HUB.1 { HUB.0.to_owned() } else { authority.to_owned() },
        scheme: scheme.unwrap_or_else(|| scheme_of(config, authority)),
        prefix: prefix.to_owned(),
        mirror_of: Some(registry.to_owned()),
    })
}

fn invalid_mirror(mirror: &str) -> RegistryError {
    RegistryError::Configuration { reason: format!("no valid mirror: {mirror}") }
}

fn scheme_of(config: &Config, authority: &str) -> Scheme {
    if config.plain_http.contains(authority) || config.plain_http.contains(host_name(authority)) {
        Scheme::Http
    } else if is_loopback(host_name(authority)) {
        Scheme::HttpFirst
    } else {
        Scheme::Https
    }
}

/// A host without its port; an IPv6 address keeps its brackets.
pub(crate) fn host_name(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// Whether a name without port can only be this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host.ends_with(".localhost")
        || address.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
        || address.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        let mirrors = [
            "mirror.example:5000",
            "http://10.0.0.1",
            "https://harbor.example/v2/proxy.docker.io/",
            "localhost:5000",
            "registry-1.docker.io",
        ];
        Config {
            mirrors: [("docker.io".to_owned(), mirrors.map(str::to_owned).to_vec())].into(),
            plain_http: ["plain.example".to_owned(), "ported.example:80".to_owned()].into(),
            ..Config::default()
        }
    }

    #[test]
    fn mirrors_then_the_origin() {
        let candidates = candidates(&config(), "docker.io").unwrap();
        let shown: Vec<_> = candidates
            .iter()
            .map(|c| {
                format!("{:?} {} {} {}", c.scheme, c.authority, c.registry, c.prefix).trim_end().to_owned()
            })
            .collect();
        insta::assert_debug_snapshot!(shown, @r#"
        [
            "Https mirror.example:5000 mirror.example:5000",
            "Http 10.0.0.1 10.0.0.1",
            "Https harbor.example harbor.example proxy.docker.io",
            "HttpFirst localhost:5000 localhost:5000",
            "Https registry-1.docker.io docker.io",
            "Https registry-1.docker.io docker.io",
        ]
        "#);
        assert_eq!(candidates.iter().filter(|c| c.mirror_of.is_none()).count(), 1);
    }

    #[test]
    fn schemes() {
        let scheme = |registry: &str| candidates(&config(), registry).unwrap().remove(0).scheme;
        assert_eq!(scheme("ghcr.io"), Scheme::Https);
        assert_eq!(scheme("plain.example:5000"), Scheme::Http);
        assert_eq!(scheme("ported.example:80"), Scheme::Http);
        assert_eq!(scheme("ported.example"), Scheme::Https);
        for loopback in ["localhost", "localhost:5000", "127.0.0.1:5000", "127.9.9.9", "[::1]:5000", "[::1]"]
        {
            assert_eq!(scheme(loopback), Scheme::HttpFirst, "{loopback}");
        }
        assert_eq!(scheme("localhost.example"), Scheme::Https);
        assert_eq!(scheme("127.0.0.1.example:5000"), Scheme::Https);
    }

    #[test]
    fn mirrors_that_are_none() {
        for mirror in ["ftp://x", "", "https://user@x", "x?y", "x/a#b", "https:///v2", "a b"] {
            let config =
                Config { mirrors: [("r".to_owned(), vec![mirror.to_owned()])].into(), ..Config::default() };
            assert!(candidates(&config, "r").is_err(), "{mirror:?}");
        }
    }

    #[test]
    fn addresses() {
        let endpoint = |mirror_of: Option<&str>| Endpoint {
            host: Arc::new(Host::new("[::1]:5000", "[::1]:5000", Scheme::Https)),
            repository: "library/alpine".to_owned(),
            mirror_of: mirror_of.map(str::to_owned),
        };
        let url = |endpoint: Endpoint| endpoint.url(Scheme::Https, "manifests/3").unwrap().to_string();
        assert_eq!(url(endpoint(None)), "https://[::1]:5000/v2/library/alpine/manifests/3");
        assert_eq!(
            url(endpoint(Some("docker.io"))),
            "https://[::1]:5000/v2/library/alpine/manifests/3?ns=docker.io"
        );
    }
}

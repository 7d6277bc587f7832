//! Which Engine is meant: docker's flags, variables, configuration and contexts.
//!
//! Followed: docker's CLI. Flags go before variables, variables before `currentContext`, and the name `default` is
//! the endpoint that flags and variables make.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rbx_oci::Digest;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::contexts::context_endpoint;
use crate::connection::ssh_to_engine;
use crate::error::DriverError;

/// The name of the endpoint that is no context.
pub(super) const DEFAULT: &str = "default";
/// Where the Engine listens unless told otherwise.
const DEFAULT_SOCKET: &str = "/var/run/docker.sock";
const PLAIN_PORT: u16 = 2375;
const TLS_PORT: u16 = 2376;
/// Bound on `config.json` and `meta.json`, in bytes.
const FILE_LIMIT: u64 = 1 << 20;

/// What flags, environment and configuration say about the endpoint.
#[derive(Debug, Clone, Default)]
pub struct EndpointChoice {
    /// `--host`.
    pub host: Option<String>,
    /// `--context`.
    pub context: Option<String>,
    /// `DOCKER_HOST`.
    pub docker_host: Option<String>,
    /// `DOCKER_CONTEXT`.
    pub docker_context: Option<String>,
    /// Docker's configuration directory, `~/.docker` by default: its `config.json` names the current context, and
    /// its `contexts` are the contexts.
    pub config_dir: Option<PathBuf>,
    /// TLS for an endpoint that is no context.
    pub tls: TlsChoice,
    /// The socket to take when nothing is said; `/var/run/docker.sock` if `None`.
    pub default_socket: Option<PathBuf>,
    /// A command whose standard input and output are a connection to the current endpoint, in place of its address
    /// (`DOCKER_CLI_PLUGIN_USE_DIAL_STDIO`).
    pub dial_stdio: Option<Vec<String>>,
}

/// What flags and environment say about TLS.
#[derive(Debug, Clone, Default)]
pub struct TlsChoice {
    /// `--tls` or `DOCKER_TLS`: use TLS, whoever the server is.
    pub enabled: bool,
    /// `--tlsverify` or `DOCKER_TLS_VERIFY`: use TLS and verify the server.
    pub verify: bool,
    /// `DOCKER_CERT_PATH`: where `ca.pem`, `cert.pem` and `key.pem` are; the configuration directory if `None`.
    pub cert_path: Option<PathBuf>,
    /// `--tlscacert`.
    pub ca: Option<PathBuf>,
    /// `--tlscert`.
    pub cert: Option<PathBuf>,
    /// `--tlskey`.
    pub key: Option<PathBuf>,
}

/// Where an Engine is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The context's name, or `default`.
    pub name: String,
    /// The address: `unix:///var/run/docker.sock`, `tcp://10.0.0.1:2376`.
    pub host: String,
    /// TLS; none for sockets and plain TCP.
    pub tls: Option<TlsFiles>,
    /// Whether somebody chose it, or the default socket is there. If not, there is no sign of an Engine, and that
    /// none answers is no error.
    pub configured: bool,
    /// A command that is the way there, in place of the address.
    pub command: Option<Vec<String>>,
}

impl Endpoint {
    /// The endpoint at an address that no context describes.
    pub fn at(host: impl Into<String>) -> Self {
        let host = host.into();
        Self { name: host.clone(), host, tls: None, configured: true, command: None }
    }

    /// The command that reaches the Engine, for an address of `ssh`.
    pub fn ssh_command(&self) -> Result<Vec<String>, DriverError> {
        ssh_to_engine(&self.host)
    }
}

/// The files of a TLS connection, in PEM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates of authorities to trust, in place of the system's.
    pub ca: Option<PathBuf>,
    /// The client's certificate.
    pub cert: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// Whoever the server is.
    pub skip_verify: bool,
}

/// Finds the endpoint that is meant. Reads docker's configuration; connects to nothing.
pub fn resolve_endpoint(choice: &EndpointChoice) -> Result<Endpoint, DriverError> {
    let name = named(choice)?;
    context_endpoint(choice, name.as_deref().unwrap_or(DEFAULT))
}

/// A setting that is set to something.
pub(super) fn given(text: Option<&str>) -> Option<String> {
    text.filter(|text| !text.is_empty()).map(str::to_owned)
}

/// The context that is meant, if it is one.
pub(super) fn named(choice: &EndpointChoice) -> Result<Option<String>, DriverError> {
    let (host, context) = (given(choice.host.as_deref()), given(choice.context.as_deref()));
    if host.is_some() && context.is_some() {
        return Err(DriverError::Conflict);
    }
    if context.is_some() {
        return Ok(context);
    }
    if host.or_else(|| given(choice.docker_host.as_deref())).is_some() {
        return Ok(None);
    }
    match given(choice.docker_context.as_deref()) {
        Some(context) => Ok(Some(context)),
        None => current_context(choice.config_dir.as_deref()),
    }
}

/// `currentContext` of `config.json`.
fn current_context(config_dir: Option<&Path>) -> Result<Option<String>, DriverError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Config {
        current_context: Option<String>,
    }
    let Some(path) = config_dir.map(|folder| folder.join("config.json")) else { return Ok(None) };
    let config: Option<Config> = read_json(&path)?;
    Ok(config.and_then(|config| config.current_context).filter(|name| !name.is_empty()))
}

pub(super) fn from_context(choice: &EndpointChoice, name: String) -> Result<Endpoint, DriverError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Context {
        #[serde(default)]
        endpoints: BTreeMap<String, serde_json::Value>,
    }
    #[derive(Deserialize, Default)]
    #[serde(rename_all = "PascalCase", default)]
    struct Docker {
        host: String,
        #[serde(rename = "SkipTLSVerify")]
        skip_tls_verify: bool,
    }
    let contexts = choice.config_dir.clone().unwrap_or_default().join("contexts");
    // The name is hashed, so none can lead out of the directory.
    let id = Digest::sha256_of(name.as_bytes()).hex();
    let path = contexts.join("meta").join(&id).join("meta.json");
    let found = if choice.config_dir.is_some() { read_json(&path)? } else { None };
    let Some(Context { mut endpoints }) = found else {
        return Err(DriverError::ContextNotFound { name, path });
    };
    let Some(docker) = endpoints.remove("docker") else { return Err(DriverError::NoEndpoint(name)) };
    let docker: Docker = serde_json::from_value(docker)
        .map_err(|error| DriverError::Configuration { path, reason: error.to_string() })?;

    let folder = contexts.join("tls").join(&id).join("docker");
    let file = |name: &str| Some(folder.join(name)).filter(|path| path.is_file());
    let files = TlsFiles {
        ca: file("ca.pem"),
        cert: file("cert.pem"),
        key: file("key.pem"),
        skip_verify: docker.skip_tls_verify,
    };
    let tls = Some(files).filter(|files| *files != TlsFiles::default());
    let host =
        if docker.host.is_empty() { default_host(choice) } else { parse_host(&docker.host, tls.is_some())? };
    Ok(Endpoint {
        name,
        tls: tls.filter(|_| host.starts_with("tcp://")),
        host,
        configured: true,
        command: None,
    })
}

pub(super) fn from_host(choice: &EndpointChoice, host: Option<String>) -> Result<Endpoint, DriverError> {
    let tls = &choice.tls;
    let files = (tls.enabled || tls.verify).then(|| {
        let folder = tls.cert_path.as_ref().or(choice.config_dir.as_ref());
        let default = |name: &str| folder.map(|folder| folder.join(name)).filter(|path| path.is_file());
        TlsFiles {
            ca: tls.ca.clone().or_else(|| default("ca.pem")),
            cert: tls.cert.clone().or_else(|| default("cert.pem")),
            key: tls.key.clone().or_else(|| default("key.pem")),
            skip_verify: !tls.verify,
        }
    });
    let (host, configured) = if let Some(host) = host {
        (parse_host(&host, files.is_some())?, true)
    } else {
        (default_host(choice), default_socket(choice).exists())
    };
    let tls = files.filter(|_| host.starts_with("tcp://"));
    Ok(Endpoint { name: DEFAULT.to_owned(), host, tls, configured, command: None })
}

fn default_socket(choice: &EndpointChoice) -> &Path {
    choice.default_socket.as_deref().unwrap_or(Path::new(DEFAULT_SOCKET))
}

fn default_host(choice: &EndpointChoice) -> String {
    format!("unix://{}", default_socket(choice).display())
}

/// Reads the address of an Engine, and fills in what is left out of it as docker's CLI does.
pub fn parse_address(text: &str) -> Result<String, DriverError> {
    parse_host(text, false)
}

/// An address in full: scheme and port are filled in as docker's CLI does.
fn parse_host(text: &str, tls: bool) -> Result<String, DriverError> {
    let text = text.trim();
    let invalid = || DriverError::InvalidHost(text.to_owned());
    let (scheme, rest) = text.split_once("://").unwrap_or(("tcp", text));
    match scheme {
        "unix" if rest.is_empty() => Ok(format!("unix://{DEFAULT_SOCKET}")),
        "unix" | "npipe" | "fd" | "ssh" if !rest.is_empty() => Ok(text.to_owned()),
        "tcp" => {
            let (address, path) = rest.split_once('/').map_or((rest, ""), |(address, path)| (address, path));
            let (name, port) = match address.rsplit_once(':') {
                // The colons of an IPv6 address are within its brackets.
                Some((name, port)) if !port.contains(']') => (name, port),
                _ => (address, ""),
            };
            let port = match port {
                "" if tls => TLS_PORT,
                "" => PLAIN_PORT,
                port => port.parse().map_err(|_| invalid())?,
            };
            let name = if name.is_empty() { "localhost" } else { name };
            if name.contains([' ', '@', '?', '#']) || name.contains(':') != name.starts_with('[') {
                return Err(invalid());
            }
            let path = if path.is_empty() { String::new() } else { format!("/{path}") };
            Ok(format!("tcp://{name}:{port}{path}"))
        }
        _ => Err(invalid()),
    }
}

/// Reads a JSON file; `None` if there is no such file.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, DriverError> {
    let fail = |reason: String| DriverError::Configuration { path: path.to_owned(), reason };
    let mut text = Vec::new();
    match File::open(path).and_then(|file| file.take(FILE_LIMIT + 1).read_to_end(&mut text)) {
        Ok(_) if text.len() as u64 > FILE_LIMIT => Err(fail("file too large".to_owned())),
        Ok(_) => serde_json::from_slice(&text).map(Some).map_err(|error| fail(error.to_string())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(fail(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A configuration directory with the contexts `remote` (TLS), `local` and `kube`, of which one may be current.
    fn config_dir(current: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let config = format!(r#"{{"auths":{{}},"currentContext":"{current}"}}"#);
        fs::write(folder.path().join("config.json"), config).unwrap();
        for (name, endpoints) in [
            ("remote", r#"{"docker":{"Host":"tcp://10.0.0.1","SkipTLSVerify":false}}"#),
            ("local", r#"{"docker":{"Host":"unix:///run/other.sock"}}"#),
            ("kube", r#"{"kubernetes":{"Host":"https://10.0.0.1"}}"#),
        ] {
            let id = Digest::sha256_of(name.as_bytes()).hex();
            let meta = folder.path().join("contexts/meta").join(&id);
            fs::create_dir_all(&meta).unwrap();
            let text = format!(r#"{{"Name":"{name}","Metadata":{{}},"Endpoints":{endpoints}}}"#);
            fs::write(meta.join("meta.json"), text).unwrap();
            if name == "remote" {
                let tls = folder.path().join("contexts/tls").join(&id).join("docker");
                fs::create_dir_all(&tls).unwrap();
                for file in ["ca.pem", "cert.pem", "key.pem"] {
                    fs::write(tls.join(file), "").unwrap();
                }
            }
        }
        folder
    }

    /// `name host configured`.
    fn shown(choice: &EndpointChoice) -> String {
        match resolve_endpoint(choice) {
            Ok(Endpoint { name, host, tls, configured, command: _ }) => {
                let tls = if tls.is_some() { " tls" } else { "" };
                let configured = if configured { "" } else { " (not configured)" };
                format!("{name} {host}{tls}{configured}")
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_order_of_what_is_said() {
        let folder = config_dir("local");
        let text = |text: &str| Some(text.to_owned());
        let mut choice = EndpointChoice {
            config_dir: Some(folder.path().to_owned()),
            default_socket: Some("/nonexistent/docker.sock".into()),
            ..EndpointChoice::default()
        };
        assert_eq!(shown(&choice), "local unix:///run/other.sock");
        choice.docker_context = text("remote");
        assert_eq!(shown(&choice), "remote tcp://10.0.0.1:2376 tls");
        choice.docker_host = text("tcp://10.0.0.2");
        assert_eq!(shown(&choice), "default tcp://10.0.0.2:2375");
        choice.context = text("local");
        assert_eq!(shown(&choice), "local unix:///run/other.sock");
        choice.host = text("unix:///x.sock");
        assert_eq!(shown(&choice), "conflicting options: cannot specify both --host and --context");
        choice.context = None;
        assert_eq!(shown(&choice), "default unix:///x.sock");
        // Variables that are set to nothing are not set.
        (choice.host, choice.docker_host, choice.docker_context) = (text(""), text(""), text("default"));
        assert_eq!(shown(&choice), "default unix:///nonexistent/docker.sock (not configured)");
        choice.docker_host = text("tcp://10.0.0.2");
        assert_eq!(shown(&choice), "default tcp://10.0.0.2:2375");
    }

    #[test]
    fn with_nothing_said_the_default_socket_is_a_sign_if_it_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("docker.sock");
        let choice = EndpointChoice {
            config_dir: Some(folder.path().to_owned()),
            default_socket: Some(socket.clone()),
            ..EndpointChoice::default()
        };
        assert!(!resolve_endpoint(&choice).unwrap().configured);
        fs::write(socket, "").unwrap();
        assert!(resolve_endpoint(&choice).unwrap().configured);
        assert_eq!(resolve_endpoint(&EndpointChoice::default()).unwrap().host, "unix:///var/run/docker.sock");
    }

    #[test]
    fn contexts_that_cannot_be_used() {
        let folder = config_dir("gone");
        let at = folder.path().display().to_string();
        let mut choice =
            EndpointChoice { config_dir: Some(folder.path().to_owned()), ..EndpointChoice::default() };
        insta::assert_snapshot!(shown(&choice).replace(&at, "CONFIG"), @r#"context "gone": context not found: CONFIG/contexts/meta/283bb9deef02e6843abfb538efa1eca70801bd8a701c3f98191e123496339247/meta.json"#);
        choice.context = Some("kube".to_owned());
        insta::assert_snapshot!(shown(&choice), @r#"cannot find docker endpoint in context "kube""#);
        fs::write(folder.path().join("config.json"), "{").unwrap();
        choice.context = None;
        insta::assert_snapshot!(shown(&choice).replace(&at, "CONFIG"), @"EOF while parsing an object at line 1 column 1: CONFIG/config.json");
        choice.config_dir = None;
        choice.context = Some("x".to_owned());
        assert!(shown(&choice).starts_with("context \"x\": context not found: "));
    }

    #[test]
    fn tls_of_flags_and_variables() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("ca.pem"), "").unwrap();
        let mut choice = EndpointChoice {
            docker_host: Some("tcp://engine".to_owned()),
            config_dir: Some(folder.path().to_owned()),
            tls: TlsChoice { verify: true, key: Some("/k".into()), ..TlsChoice::default() },
            ..EndpointChoice::default()
        };
        let endpoint = resolve_endpoint(&choice).unwrap();
        assert_eq!(endpoint.host, "tcp://engine:2376");
        let files =
            TlsFiles { ca: Some(at("ca.pem")), cert: None, key: Some("/k".into()), skip_verify: false };
        assert_eq!(endpoint.tls, Some(files));
        choice.tls = TlsChoice { enabled: true, ..TlsChoice::default() };
        assert!(resolve_endpoint(&choice).unwrap().tls.unwrap().skip_verify);
        choice.docker_host = None;
        assert_eq!(resolve_endpoint(&choice).unwrap().tls, None);
    }

    #[test]
    fn addresses() {
        let parsed = |text: &str| parse_host(text, false).unwrap_or_else(|error| error.to_string());
        assert_eq!(parsed("10.0.0.1:99"), "tcp://10.0.0.1:99");
        assert_eq!(parsed("tcp://"), "tcp://localhost:2375");
        assert_eq!(parsed(":5"), "tcp://localhost:5");
        assert_eq!(parsed("tcp://[::1]"), "tcp://[::1]:2375");
        assert_eq!(parsed("tcp://[::1]:7/base"), "tcp://[::1]:7/base");
        assert_eq!(parsed("unix://"), "unix:///var/run/docker.sock");
        assert_eq!(parsed("ssh://me@host"), "ssh://me@host");
        for bad in ["http://x", "ssh://", "tcp://x:y", "tcp://x:99999", "tcp://a b", "tcp://::1:5", "foo://"]
        {
            assert_eq!(parsed(bad), format!("invalid bind address format: {bad}"));
        }
    }
}

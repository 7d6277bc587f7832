//! A real container registry.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::Parts;
use crate::daemon::Daemon;
use crate::token::{ISSUER, SERVICE, TokenServer};

/// The user that a registry with a password knows.
pub const USER: &str = "gina";
/// That user's password.
pub const PASSWORD: &str = "open sesame";
/// Both, hashed by bcrypt with the least cost: docker-registry takes no other hash.
const HTPASSWD: &str = "gina:$2y$04$abcdefghijklmnopqrstuu/LVz6MZlItEy42I2juLihZ66HnQx/cy\n";

/// What a registry is like. The default is open to all, over plain HTTP, and empty.
#[derive(Debug, Clone, Copy, Default)]
pub struct RegistryOptions {
    /// Whether it asks for [`USER`] and [`PASSWORD`].
    pub password: bool,
    /// Whether it speaks TLS, with a certificate of [`Registry::certificate`].
    pub tls: bool,
    /// Whether it has the base images, and takes nothing else.
    pub images: bool,
    /// Whether it sends its clients to a [`TokenServer`], which knows [`USER`] and [`PASSWORD`].
    pub tokens: bool,
}

/// A container registry on a free port of the loopback interface. Dropping it ends it.
#[derive(Debug)]
pub struct Registry {
    parts: Parts,
    daemon: Daemon,
    address: String,
    tokens: Option<TokenServer>,
}

impl Registry {
    /// Starts an empty registry that is open to all, over plain HTTP.
    pub fn start() -> Self {
        Self::with(RegistryOptions::default())
    }

    /// Starts a registry that has the base images (`busybox`, `configured`, `onbuild`) and takes no others.
    pub fn with_images() -> Self {
        Self::with(RegistryOptions { images: true, ..RegistryOptions::default() })
    }

    /// Starts a registry that has base images under the names of Docker Hub (`library/golang`, `arm64v8/ubuntu`) and
    /// takes no others: a mirror of it.
    pub fn docker_hub() -> Self {
        let parts = Parts::locate();
        let options = RegistryOptions { images: true, ..RegistryOptions::default() };
        Self::on(&parts, options, Some(&parts.hub().join("registry")))
    }

    /// Starts a registry.
    ///
    /// # Panics
    ///
    /// If it does not answer within 10 s, three times over; the message has its log.
    pub fn with(options: RegistryOptions) -> Self {
        let parts = Parts::locate();
        let storage = options.images.then(|| parts.images().join("registry"));
        Self::on(&parts, options, storage.as_deref())
    }

    /// Starts a registry on existing storage, which it only reads if `options.images` says so.
    pub(crate) fn on(parts: &Parts, options: RegistryOptions, storage: Option<&Path>) -> Self {
        let mut log = String::new();
        // Another process may take the free port before the registry does.
        for _ in 0..3 {
            let directory = Daemon::directory("registry");
            let address = free_address();
            let tokens = options.tokens.then(|| TokenServer::start(&directory));
            let configuration = configure(&directory, &address, options, storage, tokens.as_ref());
            let arguments = ["serve".to_owned(), configuration.display().to_string()];
            let daemon =
                Daemon::start(directory, &parts.program("docker-registry"), &arguments, &parts.path());
            let registry = Self { parts: parts.clone(), daemon, address, tokens };
            if Daemon::wait_until(Duration::from_secs(10), || registry.answers(options.tls)) {
                return registry;
            }
            log = registry.daemon.log();
        }
        panic!("the registry does not answer:\n{log}");
    }

    fn answers(&self, tls: bool) -> bool {
        let Ok(mut stream) = TcpStream::connect(&self.address) else { return false };
        if tls {
            return true;
        }
        let mut answer = String::new();
        stream.write_all(format!("GET /v2/ HTTP/1.0\r\nHost: {}\r\n\r\n", self.address).as_bytes()).is_ok()
            && stream.read_to_string(&mut answer).is_ok()
            && answer.contains("Docker-Distribution-Api-Version")
    }

    /// The scopes that its token server was asked for, with the user before each, in order.
    pub fn tokens_asked(&self) -> Vec<String> {
        self.tokens.as_ref().map(TokenServer::asked).unwrap_or_default()
    }

    /// Its address as image names begin with it: `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its certificate, which signs itself, if it speaks TLS.
    pub fn certificate(&self) -> PathBuf {
        self.daemon.own_directory().join("tls.crt")
    }

    /// `crane`, which reads and writes registries without an Engine.
    pub fn crane(&self) -> Command {
        let mut command =
            crate::command::isolated(&self.parts.program("crane"), &self.parts, self.daemon.own_directory());
        command.env("SSL_CERT_FILE", self.certificate());
        command
    }

    /// Pushes an OCI layout with all its platforms as `ADDRESS/name`.
    ///
    /// # Panics
    ///
    /// If it cannot be pushed.
    pub fn push(&self, layout: &Path, name: &str) {
        let output = self
            .crane()
            .arg("push")
            .arg(layout)
            .arg(format!("{}/{name}", self.address))
            .output()
            .expect("crane can be run");
        assert!(output.status.success(), "cannot push {name}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// What the registry printed.
    pub fn log(&self) -> String {
        self.daemon.log()
    }
}

pub(crate) fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port of the loopback interface is free");
    listener.local_addr().expect("a bound socket has an address").to_string()
}

/// Writes the registry's configuration and what it names; gives its path.
fn configure(
    directory: &Path,
    address: &str,
    options: RegistryOptions,
    storage: Option<&Path>,
    tokens: Option<&TokenServer>,
) -> PathBuf {
    let data = storage.map_or_else(|| directory.join("data"), Path::to_path_buf);
    let at = |name: &str| directory.join(name).display().to_string();
    let mut text = format!(
        "version: 0.1\nlog: {{level: warn}}\nstorage:\n  filesystem: {{rootdirectory: '{}'}}\n  delete: {{enabled: true}}\n",
        data.display()
    );
    if options.images {
        text.push_str("  maintenance: {readonly: {enabled: true}}\n");
    }
    write!(text, "http:\n  addr: {address}\n").expect("a string takes text");
    if options.tls {
        certify(directory);
        writeln!(text, "  tls: {{certificate: '{}', key: '{}'}}", at("tls.crt"), at("tls.key"))
            .expect("a string takes text");
    }
    if options.password {
        fs::write(directory.join("htpasswd"), HTPASSWD).expect("the password file can be written");
        writeln!(text, "auth:\n  htpasswd: {{realm: test, path: '{}'}}", at("htpasswd"))
            .expect("a string takes text");
    }
    if let Some(tokens) = tokens {
        writeln!(
            text,
            "auth:\n  token: {{realm: '{}', service: {SERVICE}, issuer: {ISSUER}, rootcertbundle: '{}'}}",
            tokens.realm(),
            tokens.certificate().display()
        )
        .expect("a string takes text");
    }
    let configuration = directory.join("config.yml");
    fs::write(&configuration, text).expect("the registry's configuration can be written");
    configuration
}

/// Makes a key and a certificate for the loopback interface.
fn certify(directory: &Path) {
    let output = Command::new("openssl")
        .current_dir(directory)
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "30",
        ])
        .args(["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"])
        // An authority's own certificate is no server's.
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", "tls.key", "-out", "tls.crt"])
        .output()
        .expect("openssl can be run (`cargo xtask setup` installs it)");
    assert!(output.status.success(), "no certificate: {}", String::from_utf8_lossy(&output.stderr));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What crane prints, or its error.
    fn crane(registry: &Registry, arguments: &[&str]) -> Result<String, String> {
        let output = registry.crane().args(arguments).output().unwrap();
        if output.status.success() {
            return Ok(String::from_utf8(output.stdout).unwrap());
        }
        Err(String::from_utf8(output.stderr).unwrap())
    }

    #[test]
    fn the_base_images_are_there_for_every_platform() {
        let registry = Registry::with_images();
        let manifest = crane(&registry, &["manifest", &format!("{}/busybox", registry.address())]).unwrap();
        for architecture in ["amd64", "arm64", "arm", "386", "ppc64le", "riscv64", "s390x"] {
            assert!(
                manifest.contains(&format!("\"architecture\":\"{architecture}\"")),
                "{architecture}: {manifest}"
            );
        }
        let layout = registry.parts.layout("busybox");
        let destination = format!("{}/own", registry.address());
        let pushed = registry.crane().arg("push").arg(layout).arg(destination).output().unwrap();
        assert!(!pushed.status.success(), "the shared storage takes no pushes");
    }

    #[test]
    fn a_password_and_tls_are_asked_for() {
        let registry =
            Registry::with(RegistryOptions { password: true, tls: true, ..RegistryOptions::default() });
        let refused = crane(&registry, &["catalog", registry.address()]).unwrap_err();
        assert!(refused.contains("UNAUTHORIZED") || refused.contains("401"), "{refused}");
        let login = ["auth", "login", registry.address(), "-u", USER, "-p", PASSWORD];
        crane(&registry, &login).unwrap();
        registry.push(&registry.parts.layout("busybox"), "mine/busybox:1");
        assert_eq!(crane(&registry, &["catalog", registry.address()]).unwrap().trim(), "mine/busybox");
    }
}

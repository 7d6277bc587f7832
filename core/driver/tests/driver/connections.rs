//! The ways to a real Engine: its socket, TCP with TLS, `ssh`, and docker's own `dial-stdio`.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::dockerd::Dockerd;
use futures::future::BoxFuture;
use rbx_buildkit::Io;
use rbx_driver::docker::{Endpoint, Engine, TlsFiles};
use rbx_driver::{Connect, DriverError};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// What a client of HTTP/2 begins with: its preface and empty settings.
const BEGINNING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Whether there is a server of HTTP/2 at the end.
async fn speaks_http2(connection: io::Result<Box<dyn Io>>) -> bool {
    let mut connection = connection.unwrap();
    connection.write_all(BEGINNING).await.unwrap();
    let mut frame = [0; 9];
    connection.read_exact(&mut frame).await.unwrap();
    // Settings come first.
    frame[3] == 4
}

async fn works(engine: &Engine) {
    engine.ping().await.unwrap();
    assert_eq!(engine.info().await.unwrap().os, "linux");
    assert!(speaks_http2(engine.dial().dial().await).await);
}

#[tokio::test]
async fn by_the_socket() {
    let Some(dockerd) = Dockerd::start("{}", &[]).await else { return };
    let engine = Engine::connect(&dockerd.endpoint).unwrap();
    works(&engine).await;

    // The Engine is the client of a session, and begins.
    let headers = [
        ("X-Docker-Expose-Session-Uuid", "0123456789abcdef"),
        ("X-Docker-Expose-Session-Name", "test"),
        ("X-Docker-Expose-Session-Sharedkey", ""),
    ];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut session = engine.dial().session(&headers).await.unwrap().unwrap();
    let mut preface = [0; 24];
    session.read_exact(&mut preface).await.unwrap();
    assert_eq!(&preface[..], &BEGINNING[..24]);
}

/// Certificates of one authority, in a directory.
pub(crate) struct Certificates {
    folder: tempfile::TempDir,
}

impl Certificates {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = |name: &str| {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let key = KeyPair::generate().unwrap();
            let certificate = params.self_signed(&key).unwrap();
            (certificate, Issuer::new(params, key))
        };
        let certificates = Self { folder };
        let (ca, issuer) = authority("ours");
        certificates.write("ca.pem", &ca.pem());
        certificates.write("other-ca.pem", &authority("theirs").0.pem());
        for (name, usage, names) in [
            ("server", ExtendedKeyUsagePurpose::ServerAuth, vec!["127.0.0.1".to_owned()]),
            ("client", ExtendedKeyUsagePurpose::ClientAuth, Vec::new()),
        ] {
            let mut params = CertificateParams::new(names).unwrap();
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            params.extended_key_usages = vec![usage];
            let key = KeyPair::generate().unwrap();
            let certificate = params.signed_by(&key, &issuer).unwrap();
            certificates.write(&format!("{name}.pem"), &certificate.pem());
            certificates.write(&format!("{name}-key.pem"), &key.serialize_pem());
        }
        certificates
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn at(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }
}

/// A port that nobody has now.
fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn by_tls() {
    let certificates = Certificates::new();
    let host = format!("tcp://127.0.0.1:{}", free_port());
    let verify = |asks: bool| {
        vec![
            "-H".to_owned(),
            host.clone(),
            format!("--tlscacert={}", certificates.at("ca.pem")),
            format!("--tlscert={}", certificates.at("server.pem")),
            format!("--tlskey={}", certificates.at("server-key.pem")),
            format!("--tlsverify={asks}"),
        ]
    };
    let endpoint = |tls: TlsFiles| Endpoint { tls: Some(tls), ..Endpoint::at(host.clone()) };
    let ca = TlsFiles { ca: Some(certificates.path("ca.pem")), ..TlsFiles::default() };
    let client = TlsFiles {
        cert: Some(certificates.path("client.pem")),
        key: Some(certificates.path("client-key.pem")),
        ..ca.clone()
    };
    let other = TlsFiles { ca: Some(certificates.path("other-ca.pem")), ..client.clone() };
    let said = |error: &DriverError| format!("{error}\n{}", error.hint().unwrap_or_default());

    let Some(dockerd) = Dockerd::start("{}", &verify(false)).await else { return };
    works(&Engine::connect(&endpoint(ca.clone())).unwrap()).await;
    works(&Engine::connect(&endpoint(TlsFiles { skip_verify: true, ..TlsFiles::default() })).unwrap()).await;
    let error = Engine::connect(&endpoint(other)).unwrap().ping().await.unwrap_err();
    assert!(said(&error).contains("invalid peer certificate") && error.hint().is_some(), "{}", said(&error));
    let error = Engine::connect(&endpoint(TlsFiles::default())).unwrap().ping().await.unwrap_err();
    assert!(said(&error).contains("UnknownIssuer"), "{}", said(&error));
    let name = Endpoint { tls: Some(ca.clone()), ..Endpoint::at(host.replace("127.0.0.1", "localhost")) };
    let error = Engine::connect(&name).unwrap().ping().await.unwrap_err();
    assert!(said(&error).contains("for another name"), "{}", said(&error));
    let error = Engine::connect(&Endpoint::at(host.clone())).unwrap().ping().await.unwrap_err();
    assert!(said(&error).contains("Client sent an HTTP request to an HTTPS server"), "{}", said(&error));
    drop(dockerd);

    let dockerd = Dockerd::start("{}", &verify(true)).await;
    works(&Engine::connect(&endpoint(client)).unwrap()).await;
    let error = Engine::connect(&endpoint(ca)).unwrap().ping().await.unwrap_err();
    assert!(said(&error).contains("check your TLS client certification settings"), "{}", said(&error));
    drop(dockerd);
}

#[test]
fn certificates_that_cannot_be_used() {
    let certificates = Certificates::new();
    certificates.write("empty.pem", "");
    certificates.write(
        "locked.pem",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let refused = |ca: &str, cert: &str, key: &str| {
        let file = |name: &str| (!name.is_empty()).then(|| certificates.path(name));
        let tls = Some(TlsFiles { ca: file(ca), cert: file(cert), key: file(key), skip_verify: false });
        let endpoint = Endpoint { tls, ..Endpoint::at("tcp://127.0.0.1:1") };
        let error = Engine::connect(&endpoint).map(|_| ()).unwrap_err().to_string();
        error.replace(&certificates.folder.path().display().to_string(), "HERE")
    };
    assert_eq!(refused("gone.pem", "", ""), "No such file or directory (os error 2): HERE/gone.pem");
    assert_eq!(refused("empty.pem", "", ""), "no certificate in it: HERE/empty.pem");
    assert_eq!(refused("ca.pem", "client.pem", ""), "a certificate without its key: HERE/client.pem");
    assert_eq!(refused("ca.pem", "", "client-key.pem"), "a key without its certificate: HERE/client-key.pem");
    assert_eq!(refused("ca.pem", "client.pem", "empty.pem"), "no valid private key found: HERE/empty.pem");
    assert_eq!(refused("ca.pem", "client.pem", "locked.pem"), "private key is encrypted: HERE/locked.pem");
    let odd = refused("ca.pem", "client.pem", "server-key.pem");
    assert!(odd.starts_with("the key does not fit the certificate: "), "{odd}");
}

/// A program named `ssh` that does what it is asked to on this machine, and its directory.
fn fake_ssh(folder: &Path, docker: &Path, socket: &str) -> PathBuf {
    let path = folder.join("ssh");
    let script = format!(
        "#!/bin/sh\necho \"$@\" >> {log}\necho $$ >> {pids}\nwhile [ \"$1\" != -- ]; do shift; done\nshift 2\n\
         export DOCKER_HOST={socket} PATH={docker}:/usr/bin:/bin\nexec \"$@\"\n",
        log = folder.join("log").display(),
        pids = folder.join("pids").display(),
        docker = docker.display(),
    );
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// The way through a program that stands for `ssh`, which the environment of this process cannot name.
fn through(program: &Path, endpoint: &Endpoint) -> Endpoint {
    let mut command = endpoint.ssh_command().unwrap();
    command[0] = program.display().to_string();
    Endpoint { command: Some(command), ..endpoint.clone() }
}

#[tokio::test]
async fn by_ssh() {
    let Some(dockerd) = Dockerd::start("{}", &[]).await else { return };
    let folder = tempfile::tempdir().unwrap();
    let ssh = fake_ssh(folder.path(), &dockerd.parts.join("usr/bin"), &dockerd.endpoint.host);
    let endpoint = Endpoint::at("ssh://me@elsewhere:2222");
    let engine = Engine::connect(&through(&ssh, &endpoint)).unwrap();
    works(&engine).await;
    drop(engine);
    let log = fs::read_to_string(folder.path().join("log")).unwrap();
    let asked = "-l me -p 2222 -o ConnectTimeout=30 -T -- elsewhere docker system dial-stdio";
    assert!(log.lines().all(|line| line == asked), "{log}");
    // What asks the API goes through one program, and gRPC through one of its own.
    assert_eq!(log.lines().count(), 2, "{log}");

    // They end with their connections.
    let pids = fs::read_to_string(folder.path().join("pids")).unwrap();
    for pid in pids.lines() {
        let gone = async {
            while Path::new("/proc").join(pid).exists() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(20), gone).await.is_ok(), "{pid} is still there");
    }

    let with_path = Endpoint::at("ssh://elsewhere/run/user/1/docker.sock").ssh_command().unwrap();
    assert_eq!(
        with_path.join(" "),
        "ssh -o ConnectTimeout=30 -T -- elsewhere docker --host=unix:///run/user/1/docker.sock system dial-stdio"
    );
}

#[tokio::test]
async fn programs_that_fail_say_why() {
    let folder = tempfile::tempdir().unwrap();
    let endpoint = |command: &[&str]| Endpoint {
        command: Some(command.iter().map(|word| (*word).to_owned()).collect()),
        ..Endpoint::at("ssh://nowhere")
    };
    let error = async |endpoint: Endpoint| Engine::connect(&endpoint).unwrap().ping().await.unwrap_err();
    let failed = error(endpoint(&["sh", "-c", "echo 'no route' >&2; exit 255"])).await;
    assert_eq!(
        failed.to_string(),
        "error during connect: command [sh -c echo 'no route' >&2; exit 255] has exited with exit status 255, make \
         sure the URL is valid, and Docker 18.09 or later is installed on the remote host: stderr=no route: \
         ssh://nowhere"
    );
    let failed = error(endpoint(&[folder.path().join("no").to_str().unwrap()])).await;
    assert!(failed.to_string().contains("No such file or directory"), "{failed}");
    // Not docker.
    let failed = error(endpoint(&["echo", "hello"])).await;
    assert!(failed.to_string().starts_with("error during connect: "), "{failed}");

    for (address, reason) in [
        ("ssh://a:b@c", "plain-text password is not supported"),
        ("ssh://c?d", "query parameters are not allowed"),
        ("ssh://c#d", "fragments are not allowed"),
        ("ssh://me@", "hostname is empty"),
        ("ssh://-oProxyCommand=x", "invalid character in user or host"),
        ("ssh://$(x)@c", "invalid character in user or host"),
        ("ssh://c:port", "invalid port"),
    ] {
        let error = Engine::connect(&Endpoint::at(address)).map(|_| ()).unwrap_err().to_string();
        assert_eq!(error, format!("invalid SSH URL: {reason}: {address}"));
    }
}

/// A server that takes every connection and says this.
#[derive(Debug)]
struct Says(&'static [u8]);

impl Connect for Says {
    fn connect(&self) -> BoxFuture<'_, io::Result<Box<dyn Io>>> {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        let answer = self.0;
        tokio::spawn(async move {
            let mut asked = [0; 4096];
            let _ = theirs.read(&mut asked).await;
            let _ = theirs.write_all(answer).await;
        });
        Box::pin(async { Ok(Box::new(ours) as Box<dyn Io>) })
    }
}

#[tokio::test]
async fn engines_that_will_not_speak_grpc() {
    for (answer, said) in [
        (
            &b"HTTP/1.1 403 Forbidden\r\nContent-Length: 14\r\n\r\nblocked here\r\n"[..],
            "received 403: blocked here",
        ),
        (
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 30\r\n\r\n{\"message\":\"page not found\"}\r\n",
            "BuildKit not supported by daemon: unable to upgrade to h2c, received 404: page not found",
        ),
        (b"HTTP/1.1 200 OK\r\n\r\n", "received 200"),
        (b"SSH-2.0-OpenSSH_10.0\r\n", "error during connect: "),
        (b"", "error during connect: "),
    ] {
        let engine = Engine::over(Arc::new(Says(answer)), "tcp://there".to_owned()).unwrap();
        let error = engine.dial().dial().await.err().unwrap().to_string();
        assert!(error.contains(said) && error.ends_with(": tcp://there"), "{error}");
    }
}

/// A connection to somebody who says nothing.
#[derive(Debug)]
struct Silent(Mutex<Option<tokio::io::DuplexStream>>);
impl Connect for Silent {
    fn connect(&self) -> BoxFuture<'_, io::Result<Box<dyn Io>>> {
        let stream = self.0.lock().unwrap().take().unwrap();
        Box::pin(async { Ok(Box::new(stream) as Box<dyn Io>) })
    }
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_never_answers_is_not_waited_for() {
    let (_ours, theirs) = tokio::io::duplex(1 << 16);
    let silent = Silent(Mutex::new(Some(theirs)));
    let engine = Engine::over(Arc::new(silent), "tcp://there".to_owned()).unwrap();
    let error = engine.dial().dial().await.err().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(
        error.to_string(),
        "Cannot connect to the Docker daemon at tcp://there. Is the docker daemon running?"
    );
}

//! Debian's `docker-registry`, over HTTP, and over TLS with passwords.

use std::fmt::Write as _;
use std::io::{self, Cursor, Read};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rbx_oci::{Descriptor, Digest, Reference};
use rbx_registry::{Client, Config, Credentials, Pushed, RegistryError};
use tokio::io::AsyncReadExt;

use crate::{blob, client, content};

/// `hush`, by bcrypt.
const PASSWORDS: &str = "ann:$2b$04$brc45C5w7PxV6IAi7nXgK.2MNO008btOwV6Yp9KYpIOg8eqgF6z/S\n";

/// The program, unless the parts are not there; then the test does nothing, but fails in continuous integration.
#[expect(clippy::disallowed_methods, reason = "tests are told by the environment where the parts are")]
fn program() -> Option<PathBuf> {
    let parts = std::env::var_os("RBX_PARTS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/parts"), PathBuf::from);
    let program = parts.join("root/usr/bin/docker-registry");
    if program.exists() {
        return Some(program);
    }
    assert!(std::env::var_os("CI").is_none(), "no parts: run `cargo xtask parts` ({})", program.display());
    None
}

struct Registry {
    process: Child,
    authority: String,
    ca: Vec<u8>,
    _folder: tempfile::TempDir,
}

impl Registry {
    async fn start(program: &Path, guarded: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        // Free now; should another take it before the registry does, the start fails and is told.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp:\n  addr: 127.0.0.1:{port}\n",
            at("data").display()
        );
        let mut ca = Vec::new();
        if guarded {
            let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
            let certified = rcgen::generate_simple_self_signed(names).unwrap();
            ca = certified.cert.pem().into_bytes();
            std::fs::write(at("cert.pem"), &ca).unwrap();
            std::fs::write(at("key.pem"), certified.signing_key.serialize_pem()).unwrap();
            std::fs::write(at("passwords"), PASSWORDS).unwrap();
            writeln!(
                config,
                "  tls: {{certificate: {}, key: {}}}\nauth: {{htpasswd: {{realm: test, path: {}}}}}",
                at("cert.pem").display(),
                at("key.pem").display(),
                at("passwords").display()
            )
            .unwrap();
        }
        std::fs::write(at("config.yml"), config).unwrap();
        let process = Command::new(program)
            .arg("serve")
            .arg(at("config.yml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let registry = Self { process, authority: format!("127.0.0.1:{port}"), ca, _folder: folder };
        for _ in 0..200 {
            if tokio::net::TcpStream::connect(&registry.authority).await.is_ok() {
                return registry;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the registry did not start");
    }

    fn client(&self, password: &str) -> Client {
        let auths =
            format!(r#"{{"auths":{{"{}":{{"username":"ann","password":"{password}"}}}}}}"#, self.authority);
        let credentials = Credentials::default().with_auth_config(Some(&auths)).unwrap();
        let extra_ca = if self.ca.is_empty() { vec![] } else { vec![self.ca.clone()] };
        client(Config { credentials: credentials.into(), extra_ca, ..Config::default() })
    }

    fn reference(&self) -> Reference {
        format!("{}/team/app:1", self.authority).parse().unwrap()
    }

    /// Pushes an image of one layer.
    async fn push(&self, layer: &[u8]) -> (String, Descriptor) {
        let client = self.client("hush");
        let reference = self.reference();
        let descriptor = blob(layer);
        for content in [layer, b"{}"] {
            let owned = content.to_vec();
            let open =
                move || -> io::Result<Box<dyn Read + Send>> { Ok(Box::new(Cursor::new(owned.clone()))) };
            let pushed = client.push_blob(&reference, &blob(content), None, &open).await.unwrap();
            assert_eq!(pushed, Pushed::Sent);
            let again = client.push_blob(&reference, &blob(content), None, &open).await.unwrap();
            assert_eq!(again, Pushed::Present);
        }
        let other = format!("{}/team/other:1", self.authority).parse().unwrap();
        let open = || -> io::Result<Box<dyn Read + Send>> { Err(io::ErrorKind::NotFound.into()) };
        let mounted = client.push_blob(&other, &descriptor, Some("team/app"), &open).await.unwrap();
        assert_eq!(mounted, Pushed::Mounted);
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{media_type}",
            "config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":2}},
            "layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{}","size":{}}}]}}"#,
            Digest::sha256_of(b"{}"),
            descriptor.digest,
            descriptor.size
        );
        client.push_manifest(&reference, media_type, manifest.as_bytes()).await.unwrap();
        (manifest, descriptor)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn push_and_pull(guarded: bool) {
    let Some(program) = program() else { return };
    let registry = Registry::start(&program, guarded).await;
    let layer = content(5 << 20);
    let (manifest, descriptor) = registry.push(&layer).await;
    let client = registry.client("hush");

    let resolved = client.resolve(&registry.reference()).await.unwrap();
    let fetched = client.manifest(&registry.reference()).await.unwrap();
    assert_eq!(fetched.bytes, manifest.as_bytes());
    assert_eq!(fetched.descriptor, resolved);
    let by_digest = registry.reference().with_digest(resolved.digest);
    assert_eq!(client.manifest(&by_digest).await.unwrap(), fetched);
    let mut bytes = Vec::new();
    let mut stream = client.blob(&by_digest, &descriptor).await.unwrap();
    stream.read_to_end(&mut bytes).await.unwrap();
    assert_eq!(bytes, layer);

    let absent = registry.reference().with_tag("2").unwrap();
    let error = client.manifest(&absent).await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
    let error = client.blob(&absent, &blob(b"absent")).await.unwrap_err();
    assert!(error.is_not_found(), "{error}");

    if guarded {
        let error = registry.client("wrong").manifest(&registry.reference()).await.unwrap_err();
        let shown = error.to_string().replace(&registry.authority, "REGISTRY");
        insta::assert_snapshot!(shown, @"pull access denied, repository does not exist or may require authorization: REGISTRY/team/app:1 at REGISTRY: authentication required (as user ann from auths in DOCKER_AUTH_CONFIG)");
        let open = || -> io::Result<Box<dyn Read + Send>> { Err(io::ErrorKind::NotFound.into()) };
        let pushed = registry.client("wrong").push_blob(&absent, &blob(b"absent"), None, &open).await;
        let shown = pushed.unwrap_err().to_string();
        assert!(shown.starts_with("push access denied"), "{shown}");
        // Without its certificate the registry is not trusted.
        let error = crate::client(Config::default()).manifest(&registry.reference()).await.unwrap_err();
        assert!(matches!(error, RegistryError::Unreachable { .. } | RegistryError::Status { .. }), "{error}");
    }
}

#[tokio::test]
async fn over_http() {
    push_and_pull(false).await;
}

#[tokio::test]
async fn over_tls_with_a_password() {
    push_and_pull(true).await;
}

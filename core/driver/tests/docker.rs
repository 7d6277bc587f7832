//! Loading into real Engines, with either of their image stores.

#![expect(clippy::unwrap_used, reason = "all of it is tests; clippy knows only functions marked as such")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rbx_driver::DriverError;
use rbx_driver::docker::{Endpoint, Engine, LoadEvent};
use rbx_oci::Digest;

/// The directory of the parts; without it the tests do nothing, but fail in continuous integration.
#[expect(clippy::disallowed_methods, reason = "tests are told by the environment where the parts are")]
fn parts() -> Option<PathBuf> {
    let parts = std::env::var_os("RBX_PARTS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/parts"), PathBuf::from);
    let is_ci = std::env::var_os("CI").is_some();
    let is_root = fs::read_to_string("/proc/self/status").is_ok_and(|status| status.contains("Uid:\t0\t"));
    if is_root && parts.join("root/usr/sbin/dockerd").exists() {
        return Some(parts.join("root"));
    }
    assert!(!is_ci, "no parts, or not root: run `cargo xtask parts` as root ({})", parts.display());
    None
}

struct Dockerd {
    process: Child,
    endpoint: Endpoint,
    folder: tempfile::TempDir,
}

impl Dockerd {
    async fn start(parts: &Path, config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        fs::write(at("daemon.json"), config).unwrap();
        let bin = parts.join("usr/bin").display().to_string();
        let path = format!("{bin}:{}:/usr/sbin:/usr/bin:/sbin:/bin", parts.join("usr/sbin").display());
        let host = format!("unix://{}", at("docker.sock"));
        let process = Command::new(parts.join("usr/sbin/dockerd"))
            .args(["--config-file", &at("daemon.json"), "-H", &host])
            .args(["--data-root", &at("data"), "--exec-root", &at("exec"), "-p", &at("pid")])
            .args(["--iptables=false", "--ip6tables=false", "--bridge=none"])
            .env("PATH", path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(at("log")).unwrap())
            .spawn()
            .unwrap();
        let endpoint = Endpoint { name: "default".to_owned(), host, tls: None, configured: true };
        let dockerd = Self { process, endpoint, folder };
        for _ in 0..300 {
            if let Ok(engine) = Engine::connect(&dockerd.endpoint)
                && engine.ping().await.is_ok()
            {
                return dockerd;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{}", fs::read_to_string(dockerd.folder.path().join("log")).unwrap());
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        // Asked to end, it ends its containerd too.
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
    }
}

fn sha256(content: &[u8]) -> String {
    Digest::sha256_of(content).hex()
}

fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, *content).unwrap();
    }
    archive.into_inner().unwrap()
}

/// What `docker save` would write of an image of one layer.
fn archive() -> (Vec<u8>, String) {
    let layer = tar(&[("hello", b"world")]);
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":["sha256:{}"]}}}}"#,
        sha256(&layer)
    );
    let id = sha256(config.as_bytes());
    let manifest =
        format!(r#"[{{"Config":"{id}.json","RepoTags":["rbx.test/hello:1"],"Layers":["layer.tar"]}}]"#);
    let files: [(&str, &[u8]); 3] = [
        (&format!("{id}.json"), config.as_bytes()),
        ("layer.tar", &layer),
        ("manifest.json", manifest.as_bytes()),
    ];
    (tar(&files), format!("sha256:{id}"))
}

async fn load(containerd_store: bool) {
    let Some(parts) = parts() else { return };
    let config = format!(
        r#"{{"features":{{"containerd-snapshotter":{containerd_store}}}{}}}"#,
        if containerd_store { "" } else { r#","storage-driver":"vfs""# }
    );
    let dockerd = Dockerd::start(&parts, &config).await;
    let engine = Engine::connect(&dockerd.endpoint).unwrap();

    let info = engine.info().await.unwrap();
    assert_eq!(info.containerd_store, containerd_store);
    assert_eq!(info.os, "linux");
    assert!(!info.version.is_empty() && !info.architecture.is_empty(), "{info:?}");

    let (archive, id) = archive();
    assert_eq!(engine.inspect_image("rbx.test/hello:1").await.unwrap(), None);
    let mut events = Vec::new();
    let loaded = engine.load(std::io::Cursor::new(archive), |event| events.push(event)).await.unwrap();
    assert_eq!(loaded, ["rbx.test/hello:1"]);
    assert!(events.contains(&LoadEvent::Message("Loaded image: rbx.test/hello:1".to_owned())), "{events:?}");
    if !containerd_store {
        let is_progress = |event: &LoadEvent| matches!(event, LoadEvent::Progress { status, total, .. } if status == "Loading layer" && *total > 0);
        assert!(events.iter().any(is_progress), "{events:?}");
    }
    let image = engine.inspect_image("rbx.test/hello:1").await.unwrap().unwrap();
    assert_eq!(image.tags, ["rbx.test/hello:1"]);
    assert_eq!(image.platform.to_string(), "linux/amd64");
    assert_eq!(image.id == id, !containerd_store, "{}", image.id);

    let error = engine.load(std::io::Cursor::new(b"no archive".to_vec()), |_| ()).await.unwrap_err();
    assert!(matches!(error, DriverError::Engine { .. }), "{error:?}");
    let broken = futures::stream::iter([Err::<&[u8], _>(std::io::Error::other("the disk is on fire"))]);
    let broken = tokio_util::io::StreamReader::new(broken);
    let error = engine.load(broken, |_| ()).await.unwrap_err();
    assert!(matches!(error, DriverError::Load { .. }), "{error:?}");
    assert!(error.to_string().starts_with("cannot load the image: the disk is on fire: "), "{error}");
}

#[tokio::test]
async fn load_into_a_graph_driver() {
    load(false).await;
}

#[tokio::test]
async fn load_into_containerd() {
    load(true).await;
}

#[tokio::test]
async fn nobody_there() {
    let engine = |host: &str| {
        let name = "default".to_owned();
        Engine::connect(&Endpoint { name, host: host.to_owned(), tls: None, configured: true })
    };
    let error = engine("unix:///nonexistent/docker.sock").unwrap_err();
    assert_eq!(
        error.to_string(),
        "Cannot connect to the Docker daemon at unix:///nonexistent/docker.sock. Is the docker daemon running?"
    );
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = engine(&format!("tcp://{address}")).unwrap().ping().await.unwrap_err();
    assert!(matches!(error, DriverError::Unavailable { .. }), "{error:?}");
    let error = engine("ssh://me@host").unwrap_err();
    assert!(matches!(error, DriverError::UnsupportedHost { .. }), "{error:?}");

    // A server that takes the connection and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = format!("tcp://{}", silent.local_addr().unwrap());
    let started = std::time::Instant::now();
    let error = engine(&host).unwrap().ping().await.unwrap_err();
    assert!(matches!(error, DriverError::Unavailable { .. }), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(10));
}

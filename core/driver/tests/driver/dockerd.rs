//! Real Engines for tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rbx_driver::docker::{Endpoint, Engine};

/// The directory of the parts; without it the tests do nothing, but fail in continuous integration.
#[expect(clippy::disallowed_methods, reason = "tests are told by the environment where the parts are")]
pub(crate) fn parts() -> Option<PathBuf> {
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

/// An Engine of its own. Dropping it ends it.
pub(crate) struct Dockerd {
    process: Child,
    pub(crate) endpoint: Endpoint,
    pub(crate) parts: PathBuf,
    folder: tempfile::TempDir,
}

impl Dockerd {
    /// Starts one with this `daemon.json` and further arguments; none without the parts.
    pub(crate) async fn start(config: &str, arguments: &[String]) -> Option<Self> {
        let parts = parts()?;
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        fs::write(at("daemon.json"), config).unwrap();
        let bin = parts.join("usr/bin").display().to_string();
        let path = format!("{bin}:{}:/usr/sbin:/usr/bin:/sbin:/bin", parts.join("usr/sbin").display());
        let host = format!("unix://{}", at("docker.sock"));
        let process = Command::new(parts.join("usr/sbin/dockerd"))
            .args(["--config-file", &at("daemon.json"), "-H", &host])
            .args(["--data-root", &at("data"), "--exec-root", &at("exec"), "-p", &at("pid")])
            .args(arguments)
            .args(["--iptables=false", "--ip6tables=false", "--bridge=none"])
            .env("PATH", path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(at("log")).unwrap())
            .spawn()
            .unwrap();
        let endpoint = Endpoint::at(host);
        let dockerd = Self { process, endpoint, parts, folder };
        for _ in 0..300 {
            if let Ok(engine) = Engine::connect(&dockerd.endpoint)
                && engine.ping().await.is_ok()
            {
                return Some(dockerd);
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

//! A real Docker Engine.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal};

use crate::Parts;
use crate::command;
use crate::daemon::Daemon;

/// Where the Engine keeps images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// In containerd: many platforms, attestations, cache export, OCI output.
    Containerd,
    /// In the graph driver, the default of the Engine's versions before 29.
    Graph,
}

/// A Docker Engine of its own on a Unix socket, with the docker CLI and buildx to talk to it. Dropping it ends it.
///
/// It has no bridge: builds and containers need `--network=host` (or `none`).
#[derive(Debug)]
pub struct Engine {
    parts: Parts,
    daemon: Daemon,
    /// Those that were killed. Whoever keeps them removes the directory, and so ends after the one that runs.
    killed: Vec<Daemon>,
    arguments: Vec<String>,
}

impl Engine {
    /// Starts an Engine, which takes about a second.
    ///
    /// # Panics
    ///
    /// If it does not answer within 30 s; the message has its log.
    pub fn start(store: Store) -> Self {
        let parts = Parts::locate();
        let directory = Daemon::directory("engine");
        let containerd = store == Store::Containerd;
        fs::write(
            directory.join("daemon.json"),
            serde_json::json!({ "features": { "containerd-snapshotter": containerd } }).to_string(),
        )
        .expect("the Engine's configuration can be written");
        let plugins = directory.join("config/cli-plugins");
        fs::create_dir_all(&plugins).expect("a directory for plugins can be made");
        symlink(parts.program("docker-buildx"), plugins.join("docker-buildx")).expect("buildx can be linked");

        let at = |name: &str| directory.join(name).display().to_string();
        let arguments = [
            format!("--config-file={}", at("daemon.json")),
            format!("--host=unix://{}", at("docker.sock")),
            format!("--data-root={}", at("data")),
            format!("--exec-root={}", at("exec")),
            format!("--pidfile={}", at("docker.pid")),
            "--iptables=false".to_owned(),
            "--ip6tables=false".to_owned(),
            "--bridge=none".to_owned(),
            // The parts have the name without the program.
            "--init-path=/usr/bin/tini-static".to_owned(),
        ];
        let daemon = Daemon::start(directory, &parts.program("dockerd"), &arguments, &parts.path());
        let engine = Self { parts, daemon, killed: Vec::new(), arguments: arguments.into() };
        engine.wait();
        engine
    }

    fn wait(&self) {
        let answers = Daemon::wait_until(Duration::from_secs(30), || self.answers());
        assert!(answers, "the Engine does not answer:\n{}", self.log());
    }

    /// Kills the Engine and its containerd, as a machine does that runs out of memory.
    ///
    /// # Panics
    ///
    /// If they do not end.
    pub fn kill(&self) {
        let pids = self.pids();
        for pid in pids.iter().filter_map(|pid| Pid::from_raw(i32::try_from(*pid).ok()?)) {
            // It may have ended with the other one.
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        let runs = |pid: &u32| Path::new(&format!("/proc/{pid}/exe")).read_link().is_ok();
        assert!(Daemon::wait_until(Duration::from_secs(30), || !pids.iter().any(runs)), "it does not end");
    }

    /// Starts one that was killed again, with all it had.
    ///
    /// # Panics
    ///
    /// If it does not answer within 30 s; the message has its log.
    pub fn start_again(&mut self) {
        let directory = self.daemon.own_directory().to_owned();
        for left in ["docker.pid", "docker.sock", "exec/containerd/containerd.pid"] {
            // They may be gone.
            let _ = fs::remove_file(directory.join(left));
        }
        let program = self.parts.program("dockerd");
        let daemon = Daemon::start(directory, &program, &self.arguments, &self.parts.path());
        self.killed.push(std::mem::replace(&mut self.daemon, daemon));
        self.wait();
    }

    /// Whether the Engine answers a ping.
    fn answers(&self) -> bool {
        let Ok(mut stream) = UnixStream::connect(self.socket()) else { return false };
        let mut answer = String::new();
        stream.write_all(b"GET /_ping HTTP/1.0\r\nHost: engine\r\n\r\n").is_ok()
            && stream.read_to_string(&mut answer).is_ok()
            && answer.contains(" 200 OK")
    }

    /// The Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.daemon.own_directory().join("docker.sock")
    }

    /// What `DOCKER_HOST` is for this Engine.
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// What `DOCKER_CONFIG` is: a directory of its own, with buildx among its plugins.
    pub fn config(&self) -> PathBuf {
        self.daemon.own_directory().join("config")
    }

    /// The Engine's own directory, which goes with it: tests may keep things there.
    pub fn directory(&self) -> &Path {
        self.daemon.own_directory()
    }

    /// Makes a program a docker CLI plugin under its own name.
    pub fn install_plugin(&self, program: &Path) {
        let name = program.file_name().expect("a program has a name");
        symlink(program, self.config().join("cli-plugins").join(name)).expect("the plugin can be linked");
    }

    /// `docker`, talking to this Engine.
    pub fn docker(&self) -> Command {
        self.command(&self.parts.program("docker"))
    }

    /// `docker-buildx` run as a program, talking to this Engine.
    pub fn buildx(&self) -> Command {
        self.command(&self.parts.program("docker-buildx"))
    }

    /// Any program, in an environment where Docker is this Engine.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = command::isolated(program, &self.parts, self.daemon.own_directory());
        command.env("DOCKER_CONFIG", self.config()).env("DOCKER_HOST", self.host());
        command
    }

    /// The Engine's process, then its containerd's.
    pub fn pids(&self) -> Vec<u32> {
        let Some(engine) = self.daemon.pid() else { return Vec::new() };
        let children =
            fs::read_to_string(format!("/proc/{engine}/task/{engine}/children")).unwrap_or_default();
        // Children are listed under the thread that started them, and Go has many.
        let threads = fs::read_dir(format!("/proc/{engine}/task")).into_iter().flatten().flatten();
        let of_threads = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
        let mut pids: Vec<u32> = std::iter::once(children)
            .chain(of_threads)
            .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
            .collect();
        pids.sort_unstable();
        pids.dedup();
        pids.insert(0, engine);
        pids
    }

    /// What the Engine printed.
    pub fn log(&self) -> String {
        self.daemon.log()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(command: &mut Command) -> String {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn each_store_is_what_it_says_and_all_ends_with_the_engine() {
        for (store, driver) in [(Store::Containerd, "overlayfs"), (Store::Graph, "overlay2")] {
            let engine = Engine::start(store);
            assert_eq!(print(engine.docker().args(["info", "-f", "{{.Driver}}"])).trim(), driver);
            assert!(print(engine.buildx().args(["ls"])).contains("docker"));
            assert!(print(engine.docker().args(["buildx", "version"])).contains("0.29"));
            let (pids, directory) = (engine.pids(), engine.daemon.own_directory().to_path_buf());
            assert_eq!(pids.len(), 2, "the Engine and its containerd: {pids:?}");
            drop(engine);
            assert!(!directory.exists());
            let name = directory.display().to_string();
            for pid in pids {
                let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                assert!(!command.contains(&name), "{pid} is still there");
            }
            assert!(!fs::read_to_string("/proc/mounts").unwrap().contains(&name));
        }
    }
}

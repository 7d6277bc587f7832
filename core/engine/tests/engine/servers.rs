//! Servers on the loopback: HTTP with answers as a test says, and git.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

/// One answer of a [`Http`] server.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    /// The connection ends after so many bytes of the body.
    pub(crate) cut: Option<usize>,
}

impl Answer {
    pub(crate) fn file(body: &[u8]) -> Self {
        Self { status: 200, body: body.to_vec(), ..Self::default() }
    }

    pub(crate) fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

#[derive(Default)]
struct Served {
    files: BTreeMap<String, Answer>,
    asked: VecDeque<String>,
}

/// A server of HTTP. What has an `ETag` is not sent to who has it.
pub(crate) struct Http {
    address: String,
    served: Arc<Mutex<Served>>,
}

impl Http {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let served: Arc<Mutex<Served>> = Arc::default();
        let shared = served.clone();
        // It ends with the process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let served = shared.clone();
                std::thread::spawn(move || answer(stream, &served));
            }
        });
        Self { address, served }
    }

    /// The address of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn serve(&self, path: &str, answer: Answer) {
        self.served.lock().expect("a lock").files.insert(path.to_owned(), answer);
    }

    /// The requests since the last call, head by head.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.served.lock().expect("a lock").asked.drain(..).collect()
    }
}

fn answer(stream: TcpStream, served: &Mutex<Served>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if line.trim().is_empty() {
                break;
            }
            head.push_str(&line.to_lowercase());
        }
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut answer = {
            let mut served = served.lock().ok()?;
            served.asked.push_back(head.clone());
            served.files.get(&path).cloned().unwrap_or_else(|| Answer::status(404))
        };
        let tag = answer.headers.iter().find(|(name, _)| *name == "ETag").map(|(_, tag)| tag.to_lowercase());
        let has =
            tag.is_some_and(|tag| head.contains(&format!("if-none-match: {}", tag.trim_start_matches("w/"))));
        if has && answer.status == 200 {
            answer = Answer { status: 304, body: Vec::new(), ..answer };
        }
        let mut text = format!("HTTP/1.1 {} X\r\nContent-Length: {}\r\n", answer.status, answer.body.len());
        for (name, value) in &answer.headers {
            text.extend([name, ": ", value, "\r\n"]);
        }
        text.push_str("\r\n");
        let stream = reader.get_mut();
        stream.write_all(text.as_bytes()).ok()?;
        stream.write_all(&answer.body[..answer.cut.unwrap_or(answer.body.len())]).ok()?;
        if answer.cut.is_some() {
            return None;
        }
    }
}

/// A directory of repositories that `git daemon` serves.
pub(crate) struct Git {
    directory: tempfile::TempDir,
    port: u16,
    daemon: Child,
}

impl Git {
    /// Starts with an empty repository `work`, whose branch is `main`, to be published as `x.git`.
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(directory.path().join("served")).expect("a directory");
        for _ in 0..5 {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
            let port = listener.local_addr().expect("an address").port();
            drop(listener);
            let base = format!("--base-path={}", directory.path().join("served").display());
            let mut daemon = Command::new("git")
                .args(["daemon", "--export-all", "--reuseaddr", "--listen=127.0.0.1", "--verbose"])
                .args([base, format!("--port={port}")])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .process_group_of_its_own()
                .spawn()
                .expect("git can be run");
            // It says so when it listens, and ends where somebody else has the port.
            let mut said = BufReader::new(daemon.stderr.take().expect("a pipe"));
            let mut line = String::new();
            let _ = said.read_line(&mut line);
            if line.contains("Ready to rumble") {
                std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
                let git = Self { directory, port, daemon };
                Self::run_in(git.directory.path(), &["init", "-q", "-b", "main", "work"]);
                return git;
            }
            let _ = daemon.wait();
        }
        panic!("git daemon finds no port");
    }

    /// The address of a repository.
    pub(crate) fn url(&self, name: &str) -> String {
        format!("git://127.0.0.1:{}/{name}", self.port)
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.directory.path().join("work")
    }

    pub(crate) fn write(&self, path: &str, content: &str) {
        let path = self.work().join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        std::fs::write(path, content).expect("a file");
    }

    /// Commits all that is in `work`; answers the commit's name.
    pub(crate) fn commit(&self, message: &str) -> String {
        self.run(&["add", "--all"]);
        self.run(&["commit", "-q", "--allow-empty", "-m", message]);
        self.run(&["rev-parse", "HEAD"]).trim().to_owned()
    }

    /// Makes what is committed and tagged what `name` serves.
    pub(crate) fn publish(&self, name: &str) {
        let target = self.directory.path().join("served").join(name);
        if !target.exists() {
            Self::run_in(
                self.directory.path(),
                &["init", "-q", "-b", "main", "--bare", &target.display().to_string()],
            );
        }
        self.run(&["push", "-q", "--mirror", &target.display().to_string()]);
    }

    /// Runs git in `work`.
    pub(crate) fn run(&self, words: &[&str]) -> String {
        Self::run_in(&self.work(), words)
    }

    fn run_in(directory: &Path, words: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=n", "-c", "user.email=e", "-c", "protocol.file.allow=always"])
            .args(words)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_COMMITTER_DATE", "2020-02-03T04:05:06Z")
            .env("GIT_AUTHOR_DATE", "2020-02-03T04:05:06Z")
            .current_dir(directory)
            .output()
            .expect("git can be run");
        assert!(output.status.success(), "git {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Git {
    fn drop(&mut self) {
        // `git daemon` runs as a child of `git`.
        let group = i32::try_from(self.daemon.id()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(group) = group {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = self.daemon.wait();
    }
}

trait OwnGroup {
    fn process_group_of_its_own(&mut self) -> &mut Self;
}

impl OwnGroup for Command {
    fn process_group_of_its_own(&mut self) -> &mut Self {
        std::os::unix::process::CommandExt::process_group(self, 0)
    }
}

/// The git of this machine, as the program that is told about it finds it.
#[expect(clippy::disallowed_methods, reason = "a test finds its tools through the environment")]
pub(crate) fn git_config() -> rbx_source::GitConfig {
    let path: OsString = std::env::var_os("PATH").unwrap_or_default();
    let program = std::env::split_paths(&path).map(|it| it.join("git")).find(|it| it.exists());
    assert!(program.is_some(), "git is not on PATH");
    rbx_source::GitConfig { program, path, ..rbx_source::GitConfig::default() }
}

/// A gzip stream that holds one stored block after the other.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut child = Command::new("gzip")
        .arg("-nc")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("gzip can be run");
    let mut stdin = child.stdin.take().expect("a pipe");
    let bytes = bytes.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&bytes));
    let mut out = Vec::new();
    child.stdout.take().expect("a pipe").read_to_end(&mut out).expect("output");
    writer.join().expect("no panic").expect("input");
    assert!(child.wait().expect("an end").success());
    out
}

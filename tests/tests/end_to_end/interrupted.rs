//! Builds that wait for what never answers: Ctrl-C ends them.

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use rbx_tests::{Parts, Terminal, interrupt, rbx};

/// A build that lasts this long after Ctrl-C hangs.
const LONGEST: Duration = Duration::from_mins(1);

/// The tests of this module.
pub(crate) fn trials() -> Vec<Trial> {
    let trial = |name: &str, test: fn() -> Result<(), String>| {
        Trial::test(format!("interrupted::{name}"), move || test().map_err(Failed::from))
    };
    vec![
        trial("a_registry_that_never_answers", a_registry_that_never_answers),
        trial("a_credential_helper_that_never_ends", a_credential_helper_that_never_ends),
        trial("an_engine_that_never_answers", an_engine_that_never_answers),
        trial("a_step_that_never_ends", || a_step_that_never_ends("plain")),
        trial("a_step_that_never_ends_on_a_terminal", || a_step_that_never_ends("tty")),
        trial("a_reader_of_the_image_that_never_reads", a_reader_of_the_image_that_never_reads),
    ]
}

struct Work {
    directory: tempfile::TempDir,
    parts: Parts,
}

impl Work {
    fn new(dockerfile: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let work = Self { directory, parts: Parts::locate() };
        fs::create_dir_all(work.path("context")).expect("a context");
        fs::create_dir_all(work.path("config")).expect("a configuration");
        fs::write(work.path("context/Dockerfile"), dockerfile).expect("a Dockerfile");
        work
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn build(&self, progress: &str) -> Command {
        let mut command = rbx(&self.parts, self.directory.path());
        command
            .args(["build", "--progress", progress, "--build-context"])
            .arg(format!("base=oci-layout://{}", self.parts.layout("busybox").display()))
            .arg(self.path("context"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    }
}

/// Starts a build, waits until `ready`, interrupts it once, and expects it to end as buildx does.
fn interrupted(mut command: Command, ready: impl FnOnce()) -> Result<String, String> {
    let mut child = command.spawn().expect("docker-rbx runs");
    drop(command);
    let stderr = child.stderr.take();
    let reading = thread::spawn(move || {
        let mut text = Vec::new();
        if let Some(mut stderr) = stderr {
            let _ = stderr.read_to_end(&mut text);
        }
        String::from_utf8_lossy(&text).into_owned()
    });
    ready();
    interrupt(&child);
    let asked = Instant::now();
    let status = loop {
        match child.try_wait().expect("a child") {
            Some(status) => break status,
            None if asked.elapsed() > LONGEST => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("it hangs: {}", reading.join().unwrap_or_default()));
            }
            None => thread::sleep(Duration::from_millis(5)),
        }
    };
    let text = reading.join().unwrap_or_default();
    if status.code() == Some(130) { Ok(text) } else { Err(format!("{status}: {text}")) }
}

/// Waits until a file is there.
fn appears(path: &std::path::Path) {
    let since = Instant::now();
    while !path.exists() {
        assert!(since.elapsed() < LONGEST, "{} never appears", path.display());
        thread::sleep(Duration::from_millis(5));
    }
}

fn cancelled(text: &str) -> Result<(), String> {
    let right = text.contains("ERROR: failed to build: context canceled");
    if right { Ok(()) } else { Err(format!("not told: {text}")) }
}

fn a_registry_that_never_answers() -> Result<(), String> {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let work = Work::new(&format!("FROM {address}/image\n"));
    let mut kept = None;
    let text = interrupted(work.build("plain"), || kept = listener.accept().ok())?;
    cancelled(&text)
}

fn a_credential_helper_that_never_ends() -> Result<(), String> {
    let work = Work::new("FROM registry.invalid/image\n");
    let asked = work.path("asked");
    let helper = work.path("docker-credential-slow");
    fs::write(&helper, format!("#!/bin/sh\ntouch {}\nexec sleep 1000\n", asked.display())).expect("a helper");
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).expect("a mode");
    fs::write(work.path("config/config.json"), r#"{"credsStore": "slow"}"#).expect("a configuration");
    // The registry answers, and asks who is there.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let dockerfile = format!("FROM {address}/image\n");
    fs::write(work.path("context/Dockerfile"), dockerfile).expect("a Dockerfile");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut stream = stream;
                let mut request = [0; 4096];
                while stream.read(&mut request).is_ok_and(|length| length > 0) {
                    let answer = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n";
                    let _ = std::io::Write::write_all(&mut stream, answer.as_bytes());
                }
            });
        }
    });
    let mut command = work.build("plain");
    command.env("PATH", format!("{}:/usr/bin:/bin", work.directory.path().display()));
    let text = interrupted(command, || appears(&asked))?;
    cancelled(&text)
}

fn an_engine_that_never_answers() -> Result<(), String> {
    let work = Work::new("FROM scratch\n");
    let socket = work.path("docker.sock");
    let listener = UnixListener::bind(&socket).expect("a socket");
    let mut command = work.build("plain");
    command.env("DOCKER_HOST", format!("unix://{}", socket.display())).arg("--tag=image");
    let mut kept = None;
    let text = interrupted(command, || kept = listener.accept().ok())?;
    cancelled(&text)
}

fn a_step_that_never_ends(progress: &str) -> Result<(), String> {
    let work = Work::new("FROM base\nRUN echo begun; while :; do sleep 0.1; done\n");
    let mut command = work.build(progress);
    let terminal = Terminal::new(80, 24);
    command.stdout(terminal.program_side()).stderr(terminal.program_side());
    let (mut reader, begun) = (terminal.into_reader(), work.path("begun"));
    let seen = thread::spawn({
        let begun = begun.clone();
        move || {
            let (mut seen, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
            while let Ok(length @ 1..) = reader.read(&mut buffer) {
                seen.extend_from_slice(&buffer[..length]);
                if String::from_utf8_lossy(&seen)
                    .lines()
                    .any(|line| line.contains(" begun\x1b") || line.ends_with(" begun"))
                {
                    let _ = fs::write(&begun, "");
                }
            }
            String::from_utf8_lossy(&seen).into_owned()
        }
    });
    interrupted(command, || appears(&begun))?;
    let text = seen.join().unwrap_or_default();
    if progress == "tty" && text.rfind("\x1b[?25h") < text.rfind("\x1b[?25l") {
        return Err(format!("the cursor stays hidden: {text:?}"));
    }
    if !text.contains("CANCELED") {
        return Err(format!("the step is not shown as cancelled: {text}"));
    }
    cancelled(&text)
}

fn a_reader_of_the_image_that_never_reads() -> Result<(), String> {
    let work = Work::new("FROM base\nRUN head -c 5000000 /dev/urandom >/random\n");
    let mut command = work.build("plain");
    command.arg("--output=type=tar,dest=-").stdout(Stdio::piped());
    let store = work.path("store/v1/trees");
    interrupted(command, || {
        appears(&store);
        thread::sleep(Duration::from_secs(3));
    })?;
    Ok(())
}

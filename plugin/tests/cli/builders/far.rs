//! A daemon of `BuildKit` at a socket: that of an Engine, without the request that leads there.

use std::fs::{self, Permissions};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use rbx_tests::{Engine, Store};

use super::{Ours, Theirs, program};
use crate::world::{PROGRAM, World, ran};

/// Listens at a socket for as long as the process runs, and passes connections on to the `BuildKit` of the Engine at
/// another.
pub(super) fn listen(socket: &Path, engine: PathBuf) {
    let listener = UnixListener::bind(socket).unwrap();
    thread::spawn(move || {
        for connection in listener.incoming() {
            let (Ok(near), Ok(far)) = (connection, open(&engine)) else { return };
            let pass = |mut from: UnixStream, mut to: UnixStream| {
                thread::spawn(move || {
                    let _ = io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Write);
                });
            };
            pass(near.try_clone().unwrap(), far.try_clone().unwrap());
            pass(far, near);
        }
    });
}

fn open(engine: &Path) -> io::Result<UnixStream> {
    let mut stream = UnixStream::connect(engine)?;
    stream.write_all(
        b"POST /grpc HTTP/1.1\r\nHost: engine\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n",
    )?;
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        answer.push(byte[0]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
    Ok(stream)
}

/// Two programs in one line: the builder `far` is this program's connection to the Engine.
#[test]
fn standard_input_and_output_are_a_builder() {
    let world = World::new();
    let engine = Engine::start(Store::Containerd);
    let socket = world.path("far.sock");
    let script = world.path("dial");
    let text = format!("#!/bin/sh\nexec {PROGRAM} --builder default dial-stdio --platform linux/amd64\n");
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, Permissions::from_mode(0o755)).unwrap();
    let mut socat = Command::new("socat");
    socat.arg(format!("UNIX-LISTEN:{},fork", socket.display())).arg(format!("EXEC:{}", script.display()));
    let environment = program(&world, Ours, "near");
    socat.env_clear().envs(environment.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut socat = socat.env("DOCKER_HOST", engine.host()).spawn().unwrap();
    for _ in 0..500 {
        if socket.exists() {
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    let address = format!("unix://{}", socket.display());
    for which in [Ours, Theirs] {
        let mut far = program(&world, which, "far");
        ran(far.args(["create", "--name", "far", "--node", "far0", "--driver", "remote", &address])).well();
        let shown = ran(program(&world, which, "far").args(["inspect", "far"])).well().stdout;
        assert!(
            shown.contains("Status:           running\n") && shown.contains("GC Policy rule#0:"),
            "{shown}"
        );
    }
    socat.kill().unwrap();
    socat.wait().unwrap();

    // Who asks for nothing gets nothing, and the end of input is the end.
    let mut closed = program(&world, Ours, "near");
    closed.env("DOCKER_HOST", engine.host()).args(["dial-stdio", "--builder=default"]).stdin(Stdio::null());
    ran(&mut closed).well();

    let refused = |words: &[&str]| {
        let refused = ran(program(&world, Ours, "far").env("DOCKER_HOST", engine.host()).args(words));
        assert_eq!(refused.code, Some(1));
        refused.stderr
    };
    let elsewhere = refused(&["dial-stdio", "--builder=default", "--platform=linux/s390x"]);
    assert_eq!(elsewhere, "ERROR: no nodes available\n");
    let embedded = refused(&["dial-stdio", "--builder=embedded"]);
    assert!(
        embedded.starts_with("ERROR: the embedded driver has no BuildKit to connect to\nHint: "),
        "{embedded}"
    );
    let invalid = refused(&["dial-stdio", "--builder=default", "--platform=a/b/c/d"]);
    assert!(invalid.contains("a/b/c/d"), "{invalid}");
}

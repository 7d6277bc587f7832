//! Builds that the user ends.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::world::World;

/// A world whose build lasts a minute.
fn slow() -> World {
    let world = World::new();
    world.write("context/Dockerfile", "FROM base\nRUN echo begun && sleep 60\n");
    world
}

/// Starts a build and waits until its step runs; answers the rest of standard error too.
fn begin(command: &mut Command) -> (Child, impl FnOnce() -> String + use<>) {
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut errors = BufReader::new(child.stderr.take().unwrap());
    let mut seen = String::new();
    while !seen.ends_with("begun\n") {
        assert!(errors.read_line(&mut seen).unwrap() > 0, "the step did not begin:\n{seen}");
    }
    let rest = move || {
        while errors.read_line(&mut seen).unwrap() > 0 {}
        seen
    };
    (child, rest)
}

fn signal(child: &Child, name: &str) {
    let done = Command::new("kill").args([format!("-{name}"), child.id().to_string()]).status().unwrap();
    assert!(done.success());
}

#[test]
fn a_signal_ends_a_build() {
    for name in ["INT", "TERM"] {
        let world = slow();
        let (mut child, errors) = begin(&mut world.build(&["context"]));
        let since = Instant::now();
        signal(&child, name);
        let status = child.wait().unwrap();
        let errors = errors();
        assert_eq!(status.code(), Some(130), "{name}: {errors}");
        assert!(errors.ends_with("ERROR: failed to build: context canceled\n"), "{errors}");
        assert!(since.elapsed() < Duration::from_secs(10), "{name}: {:?}", since.elapsed());
    }
}

#[test]
fn docker_passes_signals_on() {
    let world = slow();
    let mut docker = world.command(&world.parts.program("docker"));
    let base = world.base();
    let (mut child, errors) =
        begin(docker.args(["rbx", "build", "--builder=embedded", "--progress=plain", &base, "context"]));
    signal(&child, "TERM");
    let status = child.wait().unwrap();
    let errors = errors();
    assert_eq!(status.code(), Some(130), "{errors}");
    assert!(errors.contains("ERROR: failed to build: context canceled"), "{errors}");
}

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

/// The command lines of all processes that have `mark` in theirs.
fn alive(mark: &str) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(mark)).collect()
}

/// What a terminal does at Ctrl-C: the signal is for the whole process group.
#[test]
fn ctrl_c_ends_all_that_a_step_started() {
    let mark = format!("{}.75", 300_000 + std::process::id());
    // By itself, in a session of its own, by a process that is gone, deaf to signals, and stopped.
    let script = format!(
        "setsid sleep {mark} & (sleep {mark} & sleep {mark} &) ; sh -c 'trap \"\" INT TERM HUP; sleep {mark}' & \
         sleep {mark} & kill -STOP $! ; echo begun; sleep {mark}"
    );
    for flags in [&["context"][..], &["--oci-runtime=runc", "context"]] {
        let world = World::new();
        world.write("context/Dockerfile", &format!("FROM base\nRUN {script}\n"));
        let mut command = world.build(flags);
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let (mut child, errors) = begin(&mut command);
        let since = Instant::now();
        while alive(&format!("sleep {mark}")).len() < 6 {
            assert!(since.elapsed() < Duration::from_secs(10), "{:?}", alive(&mark));
            std::thread::sleep(Duration::from_millis(5));
        }
        let done = Command::new("kill").args(["-INT", "--", &format!("-{}", child.id())]).status().unwrap();
        assert!(done.success());
        let status = child.wait().unwrap();
        let errors = errors();
        assert_eq!(status.code(), Some(130), "{errors}");
        // A process that the kernel has ended can be seen until its parent knows.
        let since = Instant::now();
        while !alive(&mark).is_empty() {
            assert!(since.elapsed() < Duration::from_secs(10), "{:?}", alive(&mark));
            std::thread::sleep(Duration::from_millis(5));
        }
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

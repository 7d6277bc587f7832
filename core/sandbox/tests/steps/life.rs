//! How steps and helpers live and end.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rbx_sandbox::{Exit, Helper, Network, SandboxError, Step, probe};

use crate::Test;
use crate::world::{PLACE, World};

pub(crate) const TESTS: &[Test] = &[
    ("killing_ends_all_descendants", killing_ends_all_descendants),
    ("background_processes_end_with_the_step", background_processes_end_with_the_step),
    ("nothing_evades_the_end", nothing_evades_the_end),
    ("a_command_may_be_the_second_process", a_command_may_be_the_second_process),
    ("dropping_kills", dropping_kills),
    ("killing_at_any_moment", killing_at_any_moment),
    ("steps_at_once", steps_at_once),
    ("helper_ends_when_dropped", helper_ends_when_dropped),
    ("nothing_outlives_the_owner", nothing_outlives_the_owner),
    ("nothing_outlives_the_helper", nothing_outlives_the_helper),
    ("helper_outlives_the_thread_that_asked", helper_outlives_the_thread_that_asked),
    ("host_mounts_are_as_before", host_mounts_are_as_before),
    ("probe_finds_this_system_fit", probe_finds_this_system_fit),
    ("users_are_told_to_be_root", users_are_told_to_be_root),
    ("an_overlay_cannot_hold_the_store", an_overlay_cannot_hold_the_store),
];

/// Plays a part that needs a process of its own.
pub(crate) fn play(scene: &str) {
    match scene {
        "scene-owner" => {
            let place = std::env::args().nth(3).expect("a directory");
            PLACE.set(place.into()).expect("the first place");
            let world = World::new();
            let step = world
                .step("step", &format!("{} & echo ready; wait", std::env::args().nth(2).expect("a script")));
            let started = world.start(&step).expect("a step");
            writeln!(std::io::stdout(), "{}", started.first_line()).expect("output");
            writeln!(std::io::stdout(), "{}", world.dir.path().display()).expect("output");
            std::io::stdout().flush().expect("output");
            let _ = started.finish();
        }
        "scene-probe" => match probe(Path::new(&std::env::args().nth(2).expect("a directory"))) {
            Ok(found) => writeln!(std::io::stdout(), "{found:?}").expect("output"),
            Err(error) => writeln!(std::io::stdout(), "{error}").expect("output"),
        },
        other => panic!("no scene {other}"),
    }
}

/// The processes on this machine whose command line holds `mark`.
fn alive(mark: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        // Not those that this test talks about it with.
        if line.contains(mark) && !line.contains("scene-owner") {
            found.push(format!("{}: {line}", entry.file_name().display()));
        }
    }
    found
}

#[track_caller]
fn gone(mark: &str) {
    let start = Instant::now();
    while !alive(mark).is_empty() {
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", alive(mark));
        thread::sleep(Duration::from_millis(5));
    }
}

/// A number of seconds to sleep that tells this test's processes from others.
fn mark() -> String {
    format!("{}.{}", 100_000 + std::process::id(), std::process::id())
}

/// The helper that `owner` has started last. Numbers of processes begin anew when they are used up, so it is the time
/// that tells.
pub(crate) fn helper_of(owner: u32) -> Option<u32> {
    let mut found: Option<(u64, u32)> = None;
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let has = |line: String| status.lines().any(|other| other == line);
        if has("Name:\trbx-sandbox".to_owned()) && has(format!("PPid:\t{owner}")) {
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            // The name, which is second, may have spaces in it; the time of the start is the 22nd.
            let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
            let started = after_name.split(' ').nth(19).and_then(|ticks| ticks.parse().ok());
            let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
            found = found.max(started.zip(pid));
        }
    }
    found.map(|(_, pid)| pid)
}

fn killing_ends_all_descendants(world: &World) {
    let mark = mark();
    let script = format!(
        "setsid sleep {mark} & (sleep {mark} & sleep {mark}) & trap '' TERM; echo ready; sleep {mark}"
    );
    let started = world.start(&world.step("step", &script)).expect("a step");
    assert_eq!(started.first_line(), "ready");
    // The shell has made them all; some may not have become `sleep` yet.
    let start = Instant::now();
    while alive(&format!("sleep {mark}")).len() < 4 {
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", alive(&mark));
        thread::sleep(Duration::from_millis(1));
    }
    let killer = started.running.killer();
    let killing = thread::spawn(move || killer.kill());
    assert_eq!(
        started.finish().expect("an end").exit,
        Exit { code: 137, signal: Some(9), out_of_memory: false }
    );
    assert_eq!(alive(&mark), [""; 0], "at once, not some time later");
    killing.join().expect("a thread");
}

fn background_processes_end_with_the_step(world: &World) {
    let mark = mark();
    let outcome = world.sh(&format!("setsid sleep {mark} & sleep {mark} & echo done; exit 3"));
    assert_eq!((outcome.exit.code, outcome.stdout.as_str()), (3, "done\n"));
    assert_eq!(alive(&mark), [""; 0]);
}

/// Whatever a process does to be left alone: it ends with the step, at once.
fn a_command_may_be_the_second_process(world: &World) {
    let step = |script: &str, init: bool| Step { init, ..world.step("step", script) };
    let run = |step: Step| {
        let outcome = world.run(&step);
        world.clear("step");
        outcome
    };
    let end = |script: &str, init: bool| {
        let outcome = run(step(script, init)).expect("a step");
        (outcome.exit.code, outcome.stdout.trim().to_owned())
    };
    // The first one of a namespace does not end by a signal of its own.
    assert_eq!(end("echo $$; kill -TERM $$; exit 5", false), (5, "1".to_owned()));
    assert_eq!(end("echo $$; kill -TERM $$; exit 5", true), (143, "2".to_owned()));
    assert_eq!(end("cut -d ' ' -f 5,6 /proc/self/stat; exit 255", true), (255, "2 2".to_owned()));
    // Its first process is a copy of the helper, whose memory and descriptors are nobody's business.
    let look = "cd /proc/1; for file in maps mem environ; do cat $file; done; readlink fd/* exe cwd root";
    assert_eq!(end(&format!("({look}) 2>/dev/null; true"), true), (0, String::new()));
    let bob = Step { user: "bob".to_owned(), ..step(&format!("({look}) 2>/dev/null; id -un"), true) };
    assert_eq!(run(bob).expect("a step").stdout, "bob\n");
    // What is left behind by others is taken care of, and ends with the command.
    let mark = mark();
    let orphans =
        format!("(sleep {mark} &); (true &); sleep 0.1; cat /proc/[0-9]*/stat | grep -c ') Z '; exit 3");
    assert_eq!(end(&orphans, true), (3, "0".to_owned()));
    gone(&mark);
    let absent = Step { args: vec!["/absent".to_owned()], ..step("", true) };
    assert!(matches!(run(absent), Err(SandboxError::Exec(_))));
    let started = world.start(&step(&format!("echo ready; sleep {mark}; true"), true)).expect("a step");
    assert_eq!(started.first_line(), "ready");
    started.running.kill();
    assert_eq!(started.finish().expect("an end").exit, KILLED);
    world.clear("step");
    gone(&mark);
}

fn nothing_evades_the_end(world: &World) {
    let mark = mark();
    let daemons = format!(
        "setsid setsid sleep {mark} & ( (sleep {mark} &) & ) ; nohup sleep {mark} >/dev/null 2>&1 &
         sh -c 'trap \"\" HUP INT QUIT TERM TSTP; sleep {mark}; sleep {mark}' &
         sleep {mark} & kill -STOP $! ;
         sh -c 'exec 0<&- 1>&- 2>&-; cd /tmp; setsid sleep {mark}' &
         mkfifo /fifo; sh -c 'read -r line < /fifo; sleep {mark}' {mark} &
         nice -n 19 sleep {mark} &"
    );
    for (end, expected) in
        [("exit 5", Exit { code: 5, signal: None, out_of_memory: false }), ("sleep 1000", KILLED)]
    {
        let started =
            world.start(&world.step("step", &format!("{daemons} echo ready; {end}"))).expect("a step");
        assert_eq!(started.first_line(), "ready");
        if end != "exit 5" {
            started.running.kill();
        }
        assert_eq!(started.finish().expect("an end").exit, expected);
        assert_eq!(alive(&mark), [""; 0], "{end}");
        world.clear("step");
    }
}

const KILLED: Exit = Exit { code: 137, signal: Some(9), out_of_memory: false };

fn dropping_kills(world: &World) {
    let mark = mark();
    let started = world.start(&world.step("step", &format!("echo ready; sleep {mark}"))).expect("a step");
    assert_eq!(started.first_line(), "ready");
    drop(started);
    gone(&mark);
}

fn killing_at_any_moment(world: &World) {
    for delay in 0..30 {
        let started = world.start(&world.step("step", "sleep 1000")).expect("a step");
        thread::sleep(Duration::from_micros(delay * 150));
        started.running.kill();
        assert_eq!(
            started.finish().expect("an end").exit,
            Exit { code: 137, signal: Some(9), out_of_memory: false },
            "after {delay}"
        );
        world.clear("step");
    }
}

fn steps_at_once(world: &World) {
    thread::scope(|scope| {
        for worker in 0..8 {
            scope.spawn(move || {
                for round in 0..4 {
                    let name = format!("step{worker}-{round}");
                    let step = world.step(
                        &name,
                        &format!("echo {name}; echo {name} > /tmp/f; cat /tmp/f; exit {worker}"),
                    );
                    let outcome = world.run(&step).expect("a step");
                    assert_eq!(outcome.stdout, format!("{name}\n{name}\n"));
                    assert_eq!(outcome.exit.code, worker);
                }
            });
        }
    });
}

fn helper_ends_when_dropped(world: &World) {
    let before = helper_of(std::process::id());
    let helper = Helper::start(&[]).expect("another helper");
    let own = helper_of(std::process::id()).expect("its process");
    assert_ne!(before, Some(own));
    let mark = mark();
    let (output, ..) = crate::world::pipes();
    let running = helper.run(&world.step("step", &format!("sleep {mark}")), &output).expect("a step");
    while alive(&mark).is_empty() {
        thread::sleep(Duration::from_millis(1));
    }
    drop(helper);
    assert!(!Path::new(&format!("/proc/{own}")).exists(), "it is gone, and no zombie is left");
    assert_eq!(alive(&mark), [""; 0]);
    assert!(matches!(running.wait(), Err(SandboxError::Lost)));
}

fn nothing_outlives_the_owner(world: &World) {
    let mark = mark();
    // By the name it was started with: where a mount namespace was left, the system knows no better one.
    let mut owner = Command::new(std::env::args_os().next().expect("this program"))
        .args(["scene-owner", &format!("setsid sleep {mark}")])
        .arg(world.dir.path().parent().expect("where worlds are"))
        .stdout(Stdio::piped())
        .spawn()
        .expect("an owner");
    let mut lines = BufReader::new(owner.stdout.take().expect("its output")).lines();
    let mut line = || lines.next().expect("a line").expect("UTF-8");
    assert_eq!(line(), "ready");
    let directory = line();
    let helper = helper_of(owner.id()).expect("its helper");
    assert!(!alive(&mark).is_empty());
    owner.kill().expect("a kill");
    owner.wait().expect("its end");
    gone(&mark);
    let start = Instant::now();
    while Path::new(&format!("/proc/{helper}")).exists() {
        // Whoever inherits orphans here buries it.
        let status = fs::read_to_string(format!("/proc/{helper}/status")).unwrap_or_default();
        if status.contains("State:\tZ") {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(10), "{status}");
        thread::sleep(Duration::from_millis(5));
    }
    fs::remove_dir_all(directory).expect("trees that nobody holds");
}

fn nothing_outlives_the_helper(world: &World) {
    let mark = mark();
    let step = world.step("step", &format!("setsid sleep {mark} & echo ready; sleep {mark}"));
    let started = world.start(&step).expect("a step");
    assert_eq!(started.first_line(), "ready");
    let helper = helper_of(std::process::id()).expect("the helper");
    let pid = rustix::process::Pid::from_raw(i32::try_from(helper).expect("a pid")).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("a kill");
    assert!(matches!(started.finish(), Err(SandboxError::Lost)));
    gone(&mark);
    let (output, ..) = crate::world::pipes();
    assert!(matches!(world.helper.run(&step, &output), Err(SandboxError::Lost)));
}

fn helper_outlives_the_thread_that_asked(world: &World) {
    let helper = thread::spawn(|| Helper::start(&[])).join().expect("a thread").expect("a helper");
    thread::sleep(Duration::from_millis(50));
    let (output, ..) = crate::world::pipes();
    let running = helper.run(&world.step("step", "exit 4"), &output).expect("a step");
    assert_eq!(running.wait().expect("an end").code, 4);
}

fn host_mounts_are_as_before(world: &World) {
    let mounts = || {
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        // Other tests mount things meanwhile: in directories of their own, and the host's binfmt_misc.
        let may_be_ours = |mount: &&str| {
            let place = Path::new(mount.split(' ').nth(4).expect("a place"));
            let foreign = place.starts_with(std::env::temp_dir()) && !place.starts_with(world.dir.path());
            !foreign && !mount.contains(" - binfmt_misc ")
        };
        mounts.lines().filter(may_be_ours).map(str::to_owned).collect::<Vec<_>>()
    };
    let before = mounts();
    let step = world.step("step", "echo ready; sleep 1000");
    let started = world.start(&step).expect("a step");
    assert_eq!(started.first_line(), "ready");
    assert_eq!(mounts(), before, "while it runs");
    started.running.kill();
    started.finish().expect("an end");
    assert_eq!(mounts(), before, "and after");
}

fn probe_finds_this_system_fit(world: &World) {
    let found = probe(world.dir.path()).expect("a system that runs steps");
    assert!(found.kernel.starts_with(|first: char| first.is_ascii_digit()), "{found:?}");
    assert!(fs::read_dir(world.dir.path()).expect("a directory").count() == 1, "only the base image is left");
    match probe(&world.path("none")) {
        Err(SandboxError::Refused { reason, .. }) => assert!(reason.contains("none"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

fn users_are_told_to_be_root(_: &World) {
    use std::os::unix::process::CommandExt;
    let program = std::env::current_exe().expect("this program");
    // A copy, for the build directory may be closed to others.
    let copy = std::env::temp_dir().join(format!("rbx-sandbox-test-{}", std::process::id()));
    fs::copy(program, &copy).expect("a copy");
    let output = Command::new(&copy).args(["scene-probe", "/tmp"]).uid(65534).gid(65534).output();
    fs::remove_file(&copy).expect("removal");
    let output = String::from_utf8(output.expect("a process").stdout).expect("UTF-8");
    let mut lines = output.lines();
    assert!(lines.next().is_some_and(|reason| reason.starts_with("build steps need root")), "{output}");
    assert!(lines.next().is_some_and(|remedy| remedy.contains("sudo")), "{output}");
}

fn an_overlay_cannot_hold_the_store(world: &World) {
    for name in ["lower", "upper", "work", "merged"] {
        world.directory(name);
    }
    let script = "mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work overlay merged &&
        exec \"$0\" scene-probe \"$PWD/merged\"";
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script])
        .arg(std::env::current_exe().expect("this program"))
        .current_dir(world.dir.path())
        .output()
        .expect("unshare");
    let output = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(output.starts_with("the store's file system cannot hold an overlay's changes"), "{output}");
    assert!(output.contains("\nmove the store to ext4"), "{output}");
}

/// Prints how long a step takes that does nothing, from the call to its end.
pub(crate) fn overhead(world: &World) {
    for network in [Network::Host, Network::None] {
        let mut times: Vec<Duration> = (0..200)
            .map(|round| {
                let mut step = world.step(&format!("{network:?}{round}"), "");
                step.args = vec!["/bin/true".to_owned()];
                step.network = network;
                let (output, ..) = crate::world::pipes();
                let start = Instant::now();
                let exit = world.helper.run(&step, &output).and_then(rbx_sandbox::Running::wait);
                let time = start.elapsed();
                assert_eq!(exit.expect("an end").code, 0);
                time
            })
            .collect();
        times.sort();
        let (median, least, most) = (times[100], times[0], times[180]);
        writeln!(std::io::stdout(), "network {network:?}: median {median:?}, least {least:?}, 90 % {most:?}")
            .expect("output");
        assert!(median < Duration::from_millis(5), "the budget of a RUN is 5 ms");
    }
}

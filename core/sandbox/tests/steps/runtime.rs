//! Steps run by runc.

use std::path::PathBuf;

use rbx_sandbox::{DeviceKind, Exit, Mount, MountKind, Network, SandboxError, Security, Step};

use crate::Test;
use crate::world::World;

pub(crate) const TESTS: &[Test] = &[
    ("runc_runs_a_step_alike", runc_runs_a_step_alike),
    ("runc_mounts_alike", runc_mounts_alike),
    ("runc_fails_in_the_same_words", runc_fails_in_the_same_words),
    ("runc_ends_with_the_step", runc_ends_with_the_step),
    ("runc_without_a_sandbox", runc_without_a_sandbox),
    ("runc_limits_memory", runc_limits_memory),
    ("runtimes_that_are_none", runtimes_that_are_none),
];

fn runc() -> PathBuf {
    let found = ["/usr/sbin/runc", "/usr/bin/runc"].into_iter().map(PathBuf::from).find(|path| path.exists());
    found.expect("runc: run `cargo xtask setup`")
}

fn step(world: &World, name: &str, script: &str) -> Step {
    let mut step = world.step(name, script);
    step.runtime = Some(runc());
    step
}

/// What is left of a step: every path of its upper tree.
fn left(world: &World, name: &str) -> Vec<String> {
    fn walk(directory: &std::path::Path, top: &std::path::Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(directory).expect("a directory").flatten() {
            found.push(entry.path().strip_prefix(top).expect("below").display().to_string());
            if entry.file_type().expect("a kind").is_dir() {
                walk(&entry.path(), top, found);
            }
        }
    }
    let (top, mut found) = (world.upper(name), Vec::new());
    walk(&top, &top, &mut found);
    found.sort();
    found
}

/// Runs a step both ways and compares all that comes of it.
#[track_caller]
fn alike(world: &World, change: impl Fn(&mut Step), script: &str) -> String {
    let mut told = Vec::new();
    for runtime in [None, Some(runc())] {
        let mut step = world.step("step", script);
        step.runtime = runtime;
        change(&mut step);
        let outcome = world.run(&step).map(|it| (it.exit, it.stdout, it.stderr)).map_err(|it| it.to_string());
        told.push((outcome, left(world, "step")));
        world.clear("step");
    }
    assert_eq!(told[0], told[1], "{script}");
    match &told[0].0 {
        Ok((_, stdout, _)) => stdout.clone(),
        Err(error) => error.clone(),
    }
}

fn runc_runs_a_step_alike(world: &World) {
    let said = alike(
        world,
        |step| {
            step.user = "bob".into();
            step.working_dir = "/home/bob/made".into();
            step.env.push(("A".into(), "b c".into()));
        },
        "id; pwd; env | sort; hostname; umask; cat; grep -e Cap -e Seccomp: -e NoNewPrivs -e Sig -e Groups \
         /proc/self/status | grep -v SigQ; ulimit -n; ls /proc/self/fd; echo x > f; ls -ld . f | cut -c1-30; exit 9",
    );
    assert!(said.contains("uid=1000(bob)") && said.contains("/home/bob/made"), "{said}");
    alike(world, |step| step.network = Network::None, "cat /proc/net/route; ls /sys/class/net | grep -x lo");
    alike(
        world,
        |_| (),
        "mount -t tmpfs none /tmp; unshare -m true; echo x > /proc/sys/kernel/hostname; rm -r /home",
    );
    alike(world, |_| (), "kill -15 $$; sh -c 'kill -11 $$'; exit $?");
    let mut limited = step(world, "limited", "ulimit -n; df -m /dev/shm | tail -n 1 | awk '{print $2}'");
    limited.rlimits = vec![rbx_sandbox::Rlimit { name: "nofile".to_owned(), soft: 77, hard: 99 }];
    limited.shm_size = Some(8 << 20);
    assert_eq!(world.run(&limited).expect("a step").ok(), "77\n8\n");
}

fn runc_mounts_alike(world: &World) {
    let host = world.directory("host");
    std::fs::write(host.join("file"), "of the host\n").expect("a file");
    let change = |step: &mut Step| {
        let mount = |target: &str, kind| Mount { target: target.to_owned(), kind };
        let bind = MountKind::Bind { source: host.clone(), selector: String::new(), read_only: true };
        let device = MountKind::Device {
            source: "/dev/zero".into(),
            kind: DeviceKind::Character,
            major: 1,
            minor: 5,
            mode: 0o640,
            uid: 1000,
            gid: 5,
        };
        let content = b"a secret\n".to_vec();
        let secret = MountKind::File { content, read_only: true, mode: 0o400, uid: 0, gid: 0 };
        step.mounts = vec![
            mount("/dev/pipes", bind.clone()),
            mount("/dev/vendor/zero", device),
            mount("/etc/hosts", secret.clone()),
            mount("/mnt/bind", bind),
            mount("/mnt/memory", MountKind::Tmpfs { size: Some(1 << 20), mode: 0o1777, read_only: false }),
            mount("/run/secrets/id", secret),
        ];
    };
    let said = alike(
        world,
        change,
        "cat /dev/pipes/file /etc/hosts /mnt/bind/file /run/secrets/id; touch /mnt/bind/x /run/secrets/id; \
         echo x > /mnt/memory/x && cat /mnt/memory/x; stat -c '%a %u:%g %t:%T' /dev/vendor/zero; \
         head -c 3 /dev/vendor/zero | wc -c; echo kept > /kept",
    );
    assert!(said.contains("a secret\nof the host\na secret\nx\n640 1000:5 1:5\n3\n"), "{said}");
}

fn runc_fails_in_the_same_words(world: &World) {
    let not_found = |step: &mut Step| step.args = vec!["absent".into()];
    assert_eq!(alike(world, not_found, ""), "exec: \"absent\": executable file not found in $PATH");
    let user = |step: &mut Step| step.user = "nobody-here".into();
    alike(world, user, "true");
    let missing = |step: &mut Step| step.args = vec!["/absent/file".into()];
    assert!(alike(world, missing, "").contains("no such file or directory"));
}

fn runc_ends_with_the_step(world: &World) {
    let mark = format!("{}.{}", 200_000 + std::process::id(), std::process::id());
    let alive = || {
        let lines = std::fs::read_dir("/proc").expect("/proc").flatten();
        lines
            .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
            .filter(|line| {
                let line = String::from_utf8_lossy(line).replace('\0', " ");
                line.contains(&mark) || line.contains(&*world.dir.path().to_string_lossy())
            })
            .count()
    };
    let script = format!("setsid sleep {mark} & echo ready; sleep {mark}");
    let started = world.start(&step(world, "killed", &script)).expect("a step");
    assert_eq!(started.first_line(), "ready");
    assert!(alive() > 0);
    started.running.kill();
    let exit = started.finish().expect("an end").exit;
    assert_eq!(exit, Exit { code: 137, signal: Some(9), out_of_memory: false });
    assert_eq!(alive(), 0, "runc and all it ran");
    world.clear("killed");
    // What runs on when the command has ended, goes.
    let outcome = world.run(&step(world, "left", &format!("sleep {mark} & exit 3"))).expect("a step");
    assert_eq!((outcome.exit.code, alive()), (3, 0));
    // And nothing of the bundle stays.
    let work: Vec<_> = std::fs::read_dir(world.path("left/work")).expect("a directory").flatten().collect();
    for entry in work {
        assert!(
            ["work", "scratch", "runtime.log"].iter().any(|known| entry.file_name() == *known),
            "{entry:?}"
        );
    }
    assert!(std::fs::read_dir(world.path("left/work/scratch")).expect("a directory").next().is_none());
}

fn runc_without_a_sandbox(world: &World) {
    let said = alike(
        world,
        |step| step.security = Security::Insecure,
        "grep -e Cap -e Seccomp: /proc/self/status; mount -t tmpfs none /tmp && echo mounted; ls /dev/fuse /dev/kmsg; \
         test -b /dev/loop0 && test -w /proc/sys/kernel/hostname && echo open",
    );
    assert!(said.contains("mounted") && said.contains("open"), "{said}");
}

fn runc_limits_memory(world: &World) {
    let mut step = step(world, "step", "head -c 96m /dev/zero | tail -c 90m | wc -c; exit 1");
    step.group.resources.memory = Some(48 << 20);
    let outcome = world.run(&step).expect("a step");
    assert!(outcome.stderr.contains("Killed") && outcome.stdout != "94371840\n", "{outcome:?}");
}

fn runtimes_that_are_none(world: &World) {
    for (runtime, reason) in [
        ("/absent/runc", "the OCI runtime /absent/runc cannot be executed: no such file or directory"),
        ("/etc/passwd", "the OCI runtime /etc/passwd cannot be executed: permission denied"),
    ] {
        let mut step = world.step("step", "true");
        step.runtime = Some(runtime.into());
        match world.run(&step) {
            Err(SandboxError::Setup(error)) => assert_eq!(error, reason),
            other => panic!("{other:?}"),
        }
        world.clear("step");
    }
}

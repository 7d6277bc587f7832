//! The user namespace of a helper with emulators: what steps of any CPU are and are not in it, seen from both sides.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use rbx_emulation::{Architecture, Qemu};
use rbx_sandbox::{DeviceKind, Helper, Mount, MountKind, Network, SandboxError, Security};
use rbx_tests::binfmt::Untouched;
use rbx_tests::{Parts, inside};
use rustix::mount::MountFlags;

use crate::emulation::{qemu, step, world};
use crate::world::{EMULATORS, PATH, World};
use crate::{Test, escapes, limits};

pub(crate) const TESTS: &[Test] = &[
    ("steps_in_a_helper_with_emulators", steps_in_a_helper_with_emulators),
    ("a_step_is_as_without_emulators", a_step_is_as_without_emulators),
    ("limits_in_a_helper_with_emulators", limits_in_a_helper_with_emulators),
    ("mounts_below_sys_are_covered", mounts_below_sys_are_covered),
    ("namespaces_may_be_refused", namespaces_may_be_refused),
    ("useless_emulators_are_refused", useless_emulators_are_refused),
    ("runtimes_are_refused", runtimes_are_refused),
    ("the_first_process_is_closed", the_first_process_is_closed),
    ("devices_of_the_host_stay_as_they_are", devices_of_the_host_stay_as_they_are),
    ("handlers_go_with_the_helper", handlers_go_with_the_helper),
    ("the_host_has_no_handlers_of_a_helper", the_host_has_no_handlers_of_a_helper),
];

/// The argument that starts this program to run tests with helpers that have an emulator.
pub(crate) const SCENE: &str = "scene-nested";

/// Tests that are for such a process only.
const INSIDE: &[Test] = &[
    ("limits_are_those_of_the_caller", limits_are_those_of_the_caller),
    ("what_is_mounted_below_sys_is_not_seen", what_is_mounted_below_sys_is_not_seen),
];

/// Tests of steps that are different here, with the reason.
const DIFFERENT: &[(&str, &str)] = &[
    ("device_nodes_stay_shut", "no device node can be made at all"),
    ("usual_devices_are_the_steps_own", "they are the host's, read-only"),
    ("insecure_has_all", "it has all of the namespace, and makes no device node"),
    ("removing_mount_points_stays_inside", "it uses runc"),
    ("a_fork_bomb_ends", "a bomb is enough for one test"),
    ("groups_of_killed_helpers_are_removed", "it starts helpers of its own"),
    ("groups_of_version_2", "it starts helpers of its own"),
    ("users_are_told_to_be_root", "it starts helpers of its own"),
];

/// Runs tests with helpers that have an emulator, which is of no use to them.
pub(crate) fn play() {
    if std::env::args().any(|argument| argument == "refused") {
        let error = Helper::start(&[qemu(Architecture::Arm64)]).expect_err("a refusal");
        std::io::Write::write_all(&mut std::io::stdout(), error.to_string().as_bytes()).expect("output");
        return;
    }
    EMULATORS.set(vec![qemu(Architecture::Arm64)]).expect("the first emulators");
    let more = [limits::TESTS, escapes::TESTS, INSIDE].into_iter().flatten().copied();
    crate::play_tests(crate::all().chain(more));
}

/// Runs tests so, in `shell`, whose last word has to be `"$@"`.
fn play_in(world: &World, shell: &[&str], names: &[&str]) -> Output {
    let mut command = Command::new(shell[0]);
    command.args(&shell[1..]).arg("sh").arg(std::env::current_exe().expect("this program"));
    command.arg(SCENE).arg(world.dir.path()).args(names).output().expect("a shell")
}

fn steps_in_a_helper_with_emulators(world: &World) {
    let tests = crate::all().chain([limits::TESTS, escapes::TESTS].into_iter().flatten().copied());
    let names: Vec<&str> = tests
        .map(|(name, _)| name)
        .filter(|name| !DIFFERENT.iter().any(|(other, _)| other == name))
        .collect();
    crate::all_passed(&names, &play_in(world, &["sh", "-c", "\"$@\""], &names));
}

/// Every system call, what escapes are made of, and what can be seen, asked in a helper with emulators and in one
/// without; the latter is compared with an Engine elsewhere.
fn a_step_is_as_without_emulators(plain: &World) {
    let emulating = World::emulating(&[qemu(Architecture::Arm64)]);
    let report = |world: &World, user: &str, network: Network, args: &[&str]| {
        let name = format!("{user}{}{network:?}", args.join("-").replace('/', ""));
        let mut step = world.step(&name, "");
        step.args = args.iter().map(|&arg| arg.to_owned()).collect();
        (step.user, step.network) = (user.to_owned(), network);
        // As for steps for other CPUs.
        step.init = !std::ptr::eq(world, plain);
        inside::lines(&world.run(&step).expect("a step").stdout)
    };
    for world in [plain, &emulating] {
        let base = world.path("base");
        inside::compile(&base.join("bin/inside")).expect("a program");
        fs::copy(inside::directory().join("world.sh"), base.join("bin/world.sh")).expect("a script");
        fs::create_dir(base.join("out")).expect("a directory");
        fs::set_permissions(base.join("out"), fs::Permissions::from_mode(0o1777)).expect("a mode");
        fs::copy(base.join("bin/inside"), base.join("out/inside")).expect("a copy");
        fs::set_permissions(base.join("out/inside"), fs::Permissions::from_mode(0o777)).expect("a mode");
    }
    let mut differences = Vec::new();
    for (user, network, args) in [
        ("root", Network::Host, &["sh", "/bin/world.sh"][..]),
        ("root", Network::None, &["sh", "/bin/world.sh"]),
        ("root", Network::Host, &["inside", "state"]),
        ("root", Network::Host, &["inside", "numbers"]),
        ("root", Network::Host, &["inside", "attempts"]),
        ("bob", Network::Host, &["sh", "/bin/world.sh"]),
        ("bob", Network::Host, &["inside", "state"]),
        ("bob", Network::Host, &["inside", "numbers"]),
        ("bob", Network::Host, &["inside", "attempts"]),
    ] {
        let what = args[1].trim_start_matches("/bin/").trim_end_matches(".sh");
        let name = if network == Network::None { format!("none.{what}") } else { format!("{user}.{what}") };
        let reports = [plain, &emulating].map(|world| report(world, user, network, args));
        assert!(reports.iter().all(|report| report.len() > 50), "{name}: {reports:?}");
        differences.extend(inside::compare(&name, &reports[0], &reports[1]));
    }
    let explained = fs::read_to_string(inside::directory().join("explained-emulators")).expect("reasons");
    if let Err(rest) = inside::unexplained(&differences, &explained) {
        panic!("without emulators | with\n  {rest}");
    }
}

fn limits_in_a_helper_with_emulators(world: &World) {
    let names = ["limits_are_those_of_the_caller", "limits_above_the_hard_ones"];
    // Root of a container may not be able to raise a limit again.
    let status = fs::read_to_string("/proc/self/status").expect("a status");
    let capabilities = status.lines().find_map(|line| line.strip_prefix("CapEff:")).expect("capabilities");
    let capabilities = u64::from_str_radix(capabilities.trim(), 16).expect("a number");
    let hard = if capabilities & (1 << 24) == 0 { "true" } else { "ulimit -Hn 400" };
    let script = format!("ulimit -Sn 200 && {hard} && ulimit -Sc 0 && \"$@\"");
    crate::all_passed(&names, &play_in(world, &["sh", "-c", &script], &names));
}

fn limits_are_those_of_the_caller(world: &World) {
    let own = fs::read_to_string("/proc/self/limits").expect("limits");
    assert_eq!(world.sh("cat /proc/self/limits").ok(), own);
    assert_eq!(
        world.sh("ulimit -Sn; ulimit -Hn $(($(ulimit -Hn) + 1)) || echo refused").stdout,
        "200\nrefused\n"
    );
}

/// A directory of `/sys` for others to mount on.
fn mount_point() -> PathBuf {
    let all = ["kernel/debug", "kernel/tracing", "fs/bpf", "kernel/security", "kernel/config", "fs/fuse"];
    let found = all.iter().map(|path| Path::new("/sys").join(path)).find(|path| path.is_dir());
    found.expect("a directory that other file systems are mounted on")
}

fn mounts_below_sys_are_covered(world: &World) {
    let place = mount_point();
    let script = format!("mount -t tmpfs none {0} && touch {0}/secret && exec \"$@\"", place.display());
    let names = ["what_is_mounted_below_sys_is_not_seen"];
    let shell = ["unshare", "--mount", "--propagation=shared", "sh", "-c", &script];
    crate::all_passed(&names, &play_in(world, &shell, &names));
}

fn what_is_mounted_below_sys_is_not_seen(world: &World) {
    let place = mount_point();
    assert!(place.join("secret").exists());
    let host = world.directory("host");
    let script = "find /sys/kernel /sys/fs -name secret 2>/dev/null; echo ready
        while ! test -e /host/go; do sleep 0.1; done; find /sys/class /sys/kernel /sys/fs -name secret 2>/dev/null
        ls /sys/class/net >/dev/null && ls /sys/kernel/mm";
    let mut step = world.step("step", script);
    let kind = MountKind::Bind { source: host.clone(), selector: String::new(), read_only: true };
    step.mounts = vec![Mount { target: "/host".to_owned(), kind }];
    let started = world.start(&step).expect("a step");
    assert_eq!(started.first_line(), "ready");
    // What comes later, into the same peer group.
    let later = "/sys/class";
    rustix::mount::mount("none", later, "tmpfs", MountFlags::empty(), None).expect("a mount");
    fs::write("/sys/class/secret", "").expect("a file");
    fs::write(host.join("go"), "").expect("a file");
    let outcome = started.finish().expect("an end");
    assert!(!outcome.stdout.contains("secret"), "{outcome:?}");
    assert_eq!(outcome.exit.code, 0, "{outcome:?}");
}

fn namespaces_may_be_refused(world: &World) {
    // Root that may not hand on all rights to root of another namespace.
    let shell = ["setpriv", "--bounding-set=-setfcap", "sh", "-c", "\"$@\""];
    let output = play_in(world, &shell, &["refused"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains(": mapping ids: operation not permitted\n"), "{output:?}");

    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$@\"";
    let shell = ["unshare", "--user", "--map-root-user", "sh", "-c", script];
    let output = play_in(world, &shell, &["refused"]);
    let said = String::from_utf8_lossy(&output.stdout);
    let (reason, remedy) = said.split_once('\n').unwrap_or_default();
    assert!(
        reason.starts_with("user namespaces are turned off: user.max_user_namespaces is 0: "),
        "{output:?}"
    );
    assert!(remedy.contains("sudo sysctl"), "{output:?}");
}

fn useless_emulators_are_refused(world: &World) {
    let before = crate::life::helper_of(std::process::id());
    let script = world.path("script");
    fs::write(&script, "#!/bin/sh\n").expect("a script");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("a mode");
    let closed = world.path("closed");
    fs::copy(qemu(Architecture::Arm).path, &closed).expect("a copy");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o644)).expect("a mode");
    let refused = |emulators: &[Qemu]| match Helper::start(emulators) {
        Err(SandboxError::Emulator(reason)) => reason,
        other => panic!("{other:?}"),
    };
    for (path, words) in [
        (Path::new("/absent/qemu"), "opening /absent/qemu: no such file or directory"),
        (Path::new("/bin/sh"), "/bin/sh: it is not statically linked"),
        (&script, "script: it is no program of this machine's architecture"),
        (&closed, "closed: it is not executable"),
        (Path::new("/tmp"), "/tmp: "),
    ] {
        let reason = refused(&[Qemu { path: path.to_owned(), architecture: Architecture::Arm64 }]);
        assert!(reason.contains(words), "{reason}");
    }
    let twice = refused(&[qemu(Architecture::Arm64), qemu(Architecture::Arm64)]);
    assert!(twice.ends_with("file exists"), "{twice}");
    assert_eq!(crate::life::helper_of(std::process::id()), before, "none is left");

    // Any path that a program can be at.
    let odd = world.directory(&format!("a:b c\\d{}", "/very long".repeat(100)));
    let path = odd.join("qemu:\n");
    fs::copy(qemu(Architecture::Arm64).path, &path).expect("a copy");
    let helper = Helper::start(&[Qemu { path, architecture: Architecture::Arm64 }]);
    assert!(helper.is_ok(), "{helper:?}");
}

fn runtimes_are_refused(_: &World) {
    let world = world(&[Architecture::Arm64]);
    let mut step = step(&world, Architecture::Arm64, "step", "true");
    step.runtime = Some("/usr/sbin/runc".into());
    let error = world.run(&step).expect_err("a refusal");
    assert!(
        matches!(&error, SandboxError::Refused { remedy, .. } if remedy.contains("--oci-runtime")),
        "{error}"
    );
}

/// It belongs to the helper, and is of the same user as a step of root.
fn the_first_process_is_closed(_: &World) {
    let world = world(&[Architecture::Arm64]);
    let script = "for file in environ maps mem auxv exe fd/3 cwd/etc/passwd root/etc/passwd; do
            (timeout 5 head -c 1 /proc/1/$file > /dev/null) 2>&1 | grep -q denied || echo $file can be read
        done
        kill -9 1; kill -SEGV 1; kill -INT -1; (exit 1) & wait; pwd; cat /proc/1/comm";
    for security in [Security::Sandbox, Security::Insecure] {
        let mut step = world.step("step", script);
        (step.security, step.init) = (security, true);
        if security == Security::Insecure {
            // It has what it takes to look into anything in its namespace, but the program is not the namespace's.
            step.args[2] = script.replace("cwd/etc/passwd root/etc/passwd", "");
        }
        let outcome = world.run(&step).expect("a step");
        assert_eq!(
            (outcome.stdout.as_str(), outcome.exit.code),
            ("/\nrbx-sandbox\n", 0),
            "{security:?} {outcome:?}"
        );
        world.clear("step");
    }
}

fn devices_of_the_host_stay_as_they_are(_: &World) {
    let world = world(&[Architecture::Arm64]);
    let facts = || {
        let facts =
            |path: &str| fs::metadata(path).map(|found| (found.permissions().mode(), found.modified().ok()));
        format!("{:?} {:?}", facts("/dev/null").ok().map(|it| it.0), facts("/dev/zero").ok())
    };
    let before = facts();
    let script = "chmod 600 /dev/null; chown 1:1 /dev/zero; touch /dev/zero; rm /dev/null; echo x > /dev/null
        head -c 2 /dev/zero | wc -c; stat -c %a /dev/null; mknod /n c 1 3 || echo none
        echo x > /dev/device || echo full; chmod 600 /dev/device; stat -c %a /dev/device";
    for lower in ["arm64", "base"] {
        let mut step = world.step(lower, script);
        step.rootfs.lower = vec![world.path(lower)];
        let kind = MountKind::Device {
            source: "/dev/full".into(),
            kind: DeviceKind::Character,
            major: 1,
            minor: 7,
            mode: 0o600,
            uid: 0,
            gid: 0,
        };
        step.mounts = vec![Mount { target: "/dev/device".to_owned(), kind }];
        let outcome = world.run(&step).expect("a step");
        assert_eq!(outcome.stdout, "2\n666\nnone\nfull\n666\n", "{outcome:?}");
        assert_eq!(facts(), before);
    }
}

/// Whether a process that is in this user namespace, and shares nothing else with the helper, runs a foreign program.
fn runs_foreign_programs(namespace: &File) -> bool {
    let entry = format!("--user=/proc/{}/fd/{}", std::process::id(), namespace.as_raw_fd());
    let program = Parts::locate().busybox("arm64");
    let mut command = Command::new("nsenter");
    command.args([&entry, "--preserve-credentials"]).arg(program).arg("true");
    command.output().expect("nsenter").status.success()
}

fn handlers_go_with_the_helper(_: &World) {
    // The machine may have handlers of its own, which are asked again when those of the namespace are gone; and no
    // test may change that now.
    let untouched = Untouched::hold();
    for killed in [false, true] {
        let world = world(&[Architecture::Arm64]);
        let pid = crate::life::helper_of(std::process::id()).expect("the helper");
        let namespace = File::open(format!("/proc/{pid}/ns/user")).expect("its user namespace");
        assert!(runs_foreign_programs(&namespace), "while it lives");
        if killed {
            let step = step(&world, Architecture::Arm64, "step", "echo ready; sleep 1000");
            let started = world.start(&step).expect("a step");
            assert_eq!(started.first_line(), "ready");
            let pid = rustix::process::Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("a pid");
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("a kill");
            assert!(matches!(started.finish(), Err(SandboxError::Lost)));
        }
        drop(world);
        let host = untouched.handlers().iter().any(|name| name.contains("aarch64") || name.contains("arm64"));
        let start = Instant::now();
        while runs_foreign_programs(&namespace) && !host {
            assert!(start.elapsed() < Duration::from_secs(10), "its handlers are still there");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn the_host_has_no_handlers_of_a_helper(_: &World) {
    let untouched = Untouched::hold();
    let world = world(&[Architecture::Arm64, Architecture::Riscv64]);
    let step = step(&world, Architecture::Arm64, "step", "uname -m; sleep 1000");
    let started = world.start(&step).expect("a step");
    assert_eq!(started.first_line(), "aarch64");
    untouched.assert_same();
    if untouched.handlers().is_empty() {
        let program = Command::new(Parts::locate().busybox("riscv64")).env("PATH", PATH).arg("true").output();
        assert!(program.is_err(), "{program:?}");
    }
    started.running.kill();
    started.finish().expect("an end");
    drop(world);
    untouched.assert_same();
}

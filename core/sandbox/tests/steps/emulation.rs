//! Steps for other CPUs, run by QEMU that a helper registers in a namespace of its own.

use std::fs;
use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use rbx_emulation::{Architecture, Qemu};
use rbx_sandbox::{Helper, Network, Step};
use rbx_tests::Parts;

use crate::Test;
use crate::world::{World, make_base};

/// Tests for whoever has more than one id.
pub(crate) const TESTS: &[Test] = &[
    ("foreign_programs_run", foreign_programs_run),
    ("foreign_programs_get_what_they_ask_for", foreign_programs_get_what_they_ask_for),
    ("foreign_programs_end_as_others", foreign_programs_end_as_others),
    ("foreign_programs_gain_the_rights_of_their_files", foreign_programs_gain_the_rights_of_their_files),
    ("foreign_steps_run_side_by_side", foreign_steps_run_side_by_side),
    ("an_emulator_cannot_be_written_to", an_emulator_cannot_be_written_to),
    ("registrations_are_out_of_reach", registrations_are_out_of_reach),
];

/// Architectures that there is a busybox for, Debian's names for them, and what `uname -m` says.
const FOREIGN: [(Architecture, &str, &str); 6] = [
    (Architecture::Arm64, "arm64", "aarch64"),
    (Architecture::Arm, "armhf", "armv7l"),
    (Architecture::Riscv64, "riscv64", "riscv64"),
    (Architecture::S390x, "s390x", "s390x"),
    (Architecture::Ppc64le, "ppc64el", "ppc64le"),
    // The CPU may run these, too; where they are emulated, they are told of another machine than the CPU's.
    (Architecture::I386, "i386", "i686"),
];

/// QEMU of the parts.
pub(crate) fn qemu(architecture: Architecture) -> Qemu {
    let program = Parts::locate().program(&format!("qemu-{}", architecture.qemu()));
    Qemu::at(architecture, &program).expect("a static QEMU")
}

/// A world with emulators for these architectures, and an image for each beside the native one.
pub(crate) fn world(architectures: &[Architecture]) -> World {
    let emulators: Vec<Qemu> = architectures.iter().copied().map(qemu).collect();
    let world = World::emulating(&emulators);
    for (architecture, debian, _) in FOREIGN {
        if architectures.contains(&architecture) {
            make_base(&world.path(architecture.name()), &Parts::locate().busybox(debian));
        }
    }
    world
}

/// A step over the image of an architecture.
pub(crate) fn step(world: &World, architecture: Architecture, name: &str, script: &str) -> Step {
    let mut step = world.step(name, script);
    step.rootfs.lower = vec![world.path(architecture.name())];
    step.init = true;
    step
}

fn foreign_programs_run(_: &World) {
    let world = world(&FOREIGN.map(|(architecture, ..)| architecture));
    for (architecture, _, machine) in FOREIGN {
        let script = "uname -m; echo one two | tr ' ' '\\n' | sort -r; (exit 3); echo $?; exit 7";
        let outcome = world.run(&step(&world, architecture, architecture.name(), script)).expect("a step");
        assert_eq!(outcome.stdout, format!("{machine}\ntwo\none\n3\n"), "{architecture} {outcome:?}");
        assert_eq!(outcome.exit.code, 7, "{architecture}");
    }
    assert_eq!(world.sh("uname -m").ok(), format!("{}\n", std::env::consts::ARCH));
}

fn foreign_programs_get_what_they_ask_for(_: &World) {
    let world = world(&[Architecture::Arm64]);
    let run = |script: &str| {
        let outcome = world.run(&step(&world, Architecture::Arm64, "step", script)).expect("a step").ok();
        world.clear("step");
        outcome
    };
    // A shell's child has the name that it was looked up by, and not the file's, for its first argument.
    assert_eq!(run("cat /proc/self/cmdline | tr '\\0' ' '"), "cat /proc/self/cmdline ");
    // Nothing of the host is in what other processes show.
    let shown =
        run("cat /proc/$$/cmdline | tr '\\0' ' '; echo; ls -l /proc/1/fd; cat /proc/self/mountinfo; env");
    assert!(shown.starts_with("qemu-aarch64 /bin/sh /bin/sh -c"), "{shown}");
    for foreign in [Parts::locate().directory(), world.dir.path()] {
        assert!(!shown.contains(&foreign.display().to_string()), "{shown}");
    }
    // Scripts are programs, too, of whichever image.
    let script =
        "printf '#!/bin/sh\\necho $0 $1\\n' > /tmp/script; chmod +x /tmp/script; cd /tmp; ./script x";
    assert_eq!(run(script), "./script x\n");
    assert_eq!(
        run("chown 7:8 /tmp; mkfifo /tmp/f; stat -c '%u:%g %F' /tmp /tmp/f"),
        "7:8 directory\n0:0 fifo\n"
    );
}

fn foreign_programs_end_as_others(_: &World) {
    let world = world(&[Architecture::Arm64, Architecture::S390x]);
    for architecture in [Architecture::Arm64, Architecture::S390x] {
        let end = |script: &str| {
            let outcome = world.run(&step(&world, architecture, "step", script)).expect("a step");
            world.clear("step");
            (outcome.exit.code, outcome.exit.signal)
        };
        assert_eq!(end("exit 255"), (255, None));
        assert_eq!(end("exec true"), (0, None));
        assert_eq!(end("kill -SEGV $$; sleep 1000"), (139, Some(11)));
        assert_eq!(end("kill -9 $$; sleep 1000"), (137, Some(9)));
        assert_eq!(end("kill -9 $$; sleep 1000"), (137, Some(9)));
        assert_eq!(end("kill -TERM $$; exit 5"), (143, Some(15)));
        assert_eq!(
            end("sh -c 'kill -SEGV $$'; exit $?"),
            (139, None),
            "a child's end is the shell's exit code"
        );
        assert_eq!(end("yes | head -n 1 > /dev/null; exit ${PIPESTATUS:-0}"), (0, None));
        assert_eq!(end("/absent"), (127, None));
    }
    let started = world
        .start(&step(&world, Architecture::Arm64, "step", "setsid sleep 1000 & echo ready; sleep 1000"))
        .expect("a step");
    assert_eq!(started.first_line(), "ready");
    started.running.kill();
    assert_eq!(started.finish().expect("an end").exit.signal, Some(9));
}

fn foreign_programs_gain_the_rights_of_their_files(_: &World) {
    // `ping` needs a raw socket, which bob may not open and root may.
    let world = world(&[Architecture::Arm64, Architecture::Ppc64le]);
    for architecture in [Architecture::Arm64, Architecture::Ppc64le] {
        let image = world.path(architecture.name());
        for directory in ["user", "capable"] {
            fs::create_dir(image.join(directory)).expect("a directory");
            fs::copy(image.join("bin/busybox"), image.join(directory).join("ping")).expect("a copy");
        }
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o4755);
        fs::set_permissions(image.join("user/ping"), mode).expect("a mode");
        // CAP_NET_RAW, permitted and effective, as `setcap` writes it.
        let mut capable = [0_u32; 5].map(u32::to_le);
        (capable[0], capable[1]) = (0x0200_0001_u32.to_le(), (1_u32 << 13).to_le());
        let capable: Vec<u8> = capable.into_iter().flat_map(u32::to_ne_bytes).collect();
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(image.join("capable/ping"), c"security.capability", &capable, flags)
            .expect("an attribute");
        let script = "ping -c 1 127.0.0.1 >/dev/null 2>&1 || echo refused
            /user/ping -c 1 127.0.0.1 >/dev/null && echo user
            /capable/ping -c 1 127.0.0.1 >/dev/null && echo capable; id -u";
        let mut step = step(&world, architecture, architecture.name(), script);
        step.user = "bob".into();
        step.network = Network::None;
        let outcome = world.run(&step).expect("a step");
        assert_eq!(outcome.stdout, "refused\nuser\ncapable\n1000\n", "{architecture} {outcome:?}");
    }
}

fn foreign_steps_run_side_by_side(_: &World) {
    let architectures = [Architecture::Arm64, Architecture::Arm, Architecture::Riscv64, Architecture::I386];
    let world = world(&architectures);
    thread::scope(|scope| {
        for worker in 0..20_usize {
            let world = &world;
            scope.spawn(move || {
                let architecture = architectures[worker % architectures.len()];
                let name = format!("step{worker}");
                let script = format!("echo {name} > /tmp/f; cat /tmp/f | cat; uname -m; exit {worker}");
                let outcome = world.run(&step(world, architecture, &name, &script)).expect("a step");
                let machine = FOREIGN.iter().find(|(found, ..)| *found == architecture).map(|found| found.2);
                assert_eq!(
                    outcome.stdout,
                    format!("{name}\n{}\n", machine.unwrap_or_default()),
                    "{outcome:?}"
                );
                assert_eq!(usize::try_from(outcome.exit.code), Ok(worker));
            });
        }
    });
}

/// CVE-2019-5736 with the emulator in the part of runc: a step sees it at `/proc/PID/exe`.
fn an_emulator_cannot_be_written_to(_: &World) {
    let world = world(&[Architecture::Arm64]);
    let script = "head -c 4 /proc/$$/exe | tail -c 3; echo; chmod 777 /proc/$$/exe; true";
    let outcome = world.run(&step(&world, Architecture::Arm64, "step", script)).expect("a step");
    assert_eq!(outcome.stdout, "ELF\n", "{outcome:?}");
    assert!(outcome.stderr.contains("Read-only file system"), "{outcome:?}");
}

fn registrations_are_out_of_reach(_: &World) {
    let world = world(&[Architecture::Arm64]);
    for script in [
        "ls /proc/sys/fs/binfmt_misc; grep binfmt /proc/self/mountinfo; true",
        "mount -t binfmt_misc none /tmp && ls /tmp",
        "(echo -1 > /proc/sys/fs/binfmt_misc/status) && echo written",
        "(echo -1 > /proc/sys/fs/binfmt_misc/qemu-aarch64) && echo written",
        "unshare -Ur true && echo made",
    ] {
        for lower in [world.path("arm64"), world.path("base")] {
            let mut step = world.step("step", script);
            step.rootfs.lower = vec![lower];
            let outcome = world.run(&step).expect("a step");
            assert_eq!(outcome.stdout, "", "{script}: {outcome:?}");
            world.clear("step");
        }
    }
}

/// Prints how long it takes to start a helper, and then a step that does nothing, natively and emulated.
pub(crate) fn overhead(plain: &World) {
    let median = |rounds: usize, act: &mut dyn FnMut(usize) -> Duration| {
        let mut times: Vec<Duration> = (0..rounds).map(act).collect();
        times.sort();
        times[rounds / 2]
    };
    let all: Vec<Qemu> = FOREIGN.iter().map(|(architecture, ..)| qemu(*architecture)).collect();
    let say = |what: &str, time: Duration| writeln!(std::io::stdout(), "{what}: {time:?}").expect("output");
    for (what, emulators) in [("no emulator", &all[..0]), ("one", &all[..1]), ("six", &all[..])] {
        let start = |_| {
            let start = Instant::now();
            let helper = Helper::start(emulators);
            let time = start.elapsed();
            assert!(helper.is_ok());
            time
        };
        say(&format!("a helper with {what}"), median(30, &mut { start }));
    }
    let emulating = world(&[Architecture::Arm64]);
    for (what, world, image) in [
        ("native", plain, "base"),
        ("native beside emulators", &emulating, "base"),
        ("emulated", &emulating, "arm64"),
    ] {
        let run = |round: usize| {
            let mut step = world.step(&format!("{image}{round}"), "");
            step.rootfs.lower = vec![world.path(image)];
            step.args = vec!["/bin/true".to_owned()];
            step.init = image != "base";
            let (output, ..) = crate::world::pipes();
            let start = Instant::now();
            let exit = world.helper.run(&step, &output).and_then(rbx_sandbox::Running::wait);
            let time = start.elapsed();
            assert_eq!(exit.expect("an end").code, 0);
            time
        };
        say(&format!("a step, {what}"), median(100, &mut { run }));
    }
}

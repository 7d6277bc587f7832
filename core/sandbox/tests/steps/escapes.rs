//! Ways out that other sandboxes had, tried here.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rbx_sandbox::{Mount, MountKind, Step};

use crate::Test;
use crate::world::World;

pub(crate) const TESTS: &[Test] = &[
    ("the_helpers_program_cannot_be_overwritten", the_helpers_program_cannot_be_overwritten),
    ("sources_that_change_stay_inside", sources_that_change_stay_inside),
    ("removing_mount_points_stays_inside", removing_mount_points_stays_inside),
    ("images_with_links_for_system_directories", images_with_links_for_system_directories),
    ("nothing_of_the_host_is_seen", nothing_of_the_host_is_seen),
];

fn mount(target: &str, kind: MountKind) -> Mount {
    Mount { target: target.to_owned(), kind }
}

/// Plays the part of a program that was overwritten.
pub(crate) fn play(scene: &str) -> bool {
    if scene != "scene-overwrite" {
        return false;
    }
    // To open it says that it is being executed, as long as it is; what counts is what is said when it is not.
    let (path, write) = ("/proc/self/exe", rustix::fs::Access::WRITE_OK);
    let opened = fs::OpenOptions::new().write(true).open(path).is_ok();
    let told = format!("{opened} {:?}", rustix::fs::access(path, write));
    std::io::Write::write_all(&mut std::io::stdout(), told.as_bytes()).expect("output");
    true
}

/// CVE-2019-5736: the command is the program that starts commands, which is then written to. Here the image has the
/// libraries that it wants, so that it runs.
fn the_helpers_program_cannot_be_overwritten(world: &World) {
    let program = std::env::current_exe().expect("this program");
    let libraries = Command::new("ldd").arg(&program).output().expect("ldd").stdout;
    for word in String::from_utf8_lossy(&libraries).split_whitespace().filter(|word| word.starts_with('/')) {
        let copy = world.path("base").join(word.trim_start_matches('/'));
        fs::create_dir_all(copy.parent().expect("a directory")).expect("directories");
        fs::copy(word, copy).expect("a library");
    }
    let mut step = world.step("step", "");
    step.args = ["/proc/self/exe", "scene-overwrite"].map(str::to_owned).to_vec();
    let outcome = world.run(&step).expect("a step");
    assert_eq!(outcome.stdout, format!("false {:?}", Err::<(), _>(rustix::io::Errno::ROFS)), "{outcome:?}");
}

/// CVE-2024-23651: part of a shared directory becomes a link to the host while it is mounted.
fn sources_that_change_stay_inside(world: &World) {
    let data = world.directory("data");
    fs::create_dir_all(data.join("real/etc")).expect("a directory");
    fs::create_dir_all(data.join("etc")).expect("a directory");
    let secret = world.path("secret");
    fs::write(&secret, "of the host\n").expect("a file");
    fs::write(data.join("real/etc/inside"), "").expect("a file");
    fs::write(data.join("etc/inside"), "").expect("a file");
    // Absolute, and as many levels up as there can be; inside the tree both are its root.
    symlink("/", data.join("absolute")).expect("a link");
    symlink("../../../../../../../../..", data.join("relative")).expect("a link");
    let (swapped, over) = (data.join("swapped"), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut round = 0_usize;
            while !over.load(Ordering::Relaxed) {
                round += 1;
                let new = data.join("new");
                let _ = fs::remove_file(&new);
                symlink(["real", "absolute", "relative"][round % 3], &new).expect("a link");
                fs::rename(&new, &swapped).expect("a change");
            }
        });
        for round in 0..40 {
            let name = format!("step{round}");
            let mut step = world.step(&name, "ls /part");
            let selector = "swapped/etc".to_owned();
            step.mounts =
                vec![mount("/part", MountKind::Bind { source: data.clone(), selector, read_only: true })];
            match world.run(&step) {
                Ok(outcome) => assert_eq!(outcome.stdout, "inside\n"),
                // It was not there for a moment.
                Err(error) => assert!(error.to_string().contains("swapped/etc"), "{error}"),
            }
            world.clear(&name);
        }
        over.store(true, Ordering::Relaxed);
    });
}

/// CVE-2024-23652: what was made to mount on is removed afterwards; meanwhile a link stands on the way.
fn removing_mount_points_stays_inside(world: &World) {
    let victim = world.directory("victim/b");
    fs::write(victim.join("hosts"), "").expect("a file");
    fs::create_dir(victim.join("empty")).expect("a directory");
    let outside = world.path("victim").display().to_string();
    let file = MountKind::File { content: Vec::new(), read_only: true, mode: 0o644, uid: 0, gid: 0 };
    for runtime in [None, Some("/usr/sbin/runc".into())] {
        let script = format!("mv /a /moved && ln -s {outside} /a && ls -l /a");
        let mut step = world.step("step", &script);
        step.mounts = vec![
            mount("/a/b/hosts", file.clone()),
            mount("/a/b/empty", MountKind::Tmpfs { size: None, mode: 0o755, read_only: false }),
        ];
        step.runtime = runtime;
        world.run(&step).expect("a step").ok();
        assert!(victim.join("hosts").exists() && victim.join("empty").exists(), "they are not its own");
        assert!(world.upper("step").join("a").is_symlink());
        world.clear("step");
    }
}

/// CVE-2025-31133, CVE-2025-52881: what is used for masking, and where it is mounted, comes from the image.
fn images_with_links_for_system_directories(world: &World) {
    let check = "test \"$(head -c 1 /proc/keys | wc -c)\" = 0 || echo keys
        (echo h > /proc/sysrq-trigger) 2>/dev/null && echo sysrq
        (echo x > /proc/sys/kernel/core_pattern) 2>/dev/null && echo core_pattern
        (echo x > /proc/sys/vm/swappiness) 2>/dev/null && echo swappiness
        test -c /dev/null || echo null
        touch /sys/kernel/x /proc/x 2>/dev/null && echo sys
        for fd in /proc/self/fd/*; do case $(readlink $fd) in /home/*) echo $fd;; esac; done; true";
    for (links, made) in [
        (vec![("tmp/evil", "dev")], "null"),
        (vec![("/etc", "proc")], ""),
        (vec![("proc", "sys")], ""),
        (vec![("../../../../../..", "dev"), ("tmp", "sys")], ""),
        (vec![("dev", "proc"), ("proc", "dev")], ""),
    ] {
        let image = world.directory("image");
        for (target, link) in &links {
            symlink(target, image.join(link)).expect("a link");
        }
        if !made.is_empty() {
            fs::create_dir_all(image.join("tmp/evil")).expect("a directory");
            symlink("/proc/sys/kernel/core_pattern", image.join("tmp/evil/null")).expect("a link");
        }
        let mut step = world.step("step", check);
        step.rootfs.lower.insert(0, image.clone());
        match world.run(&step) {
            Ok(outcome) => assert_eq!(outcome.stdout, "", "{links:?}: {outcome:?}"),
            // A root that cannot be: links in a circle, one file system in place of another.
            Err(error) => assert!(!error.to_string().is_empty()),
        }
        world.clear("step");
        fs::remove_dir_all(image).expect("removal");
    }
}

/// What a step can read of its own process and mounts names nothing of the host.
fn nothing_of_the_host_is_seen(world: &World) {
    let all = "cat /proc/self/mountinfo /proc/mounts; ls -l /proc/self/fd /proc/1/fd /proc/self/cwd /proc/self/root
        tr '\\0' '\\n' < /proc/1/environ; tr '\\0' ' ' < /proc/1/cmdline; cat /proc/self/maps; env; ls -a / /dev /tmp";
    let change = |step: &mut Step| {
        let content = b"a secret".to_vec();
        step.mounts = vec![
            mount(
                "/run/secrets/x",
                MountKind::File { content, read_only: true, mode: 0o400, uid: 0, gid: 0 },
            ),
            mount("/tree", MountKind::Tree { lower: vec![world.path("base")], selector: "etc".to_owned() }),
        ];
    };
    let mut step = world.step("step", all);
    change(&mut step);
    let text = world.run(&step).expect("a step").ok();
    let directory = world.dir.path().display().to_string();
    let here = env!("CARGO_MANIFEST_DIR");
    let program = std::env::current_exe().expect("this program").display().to_string();
    for foreign in
        [directory.as_str(), here, &program, "CARGO", "a secret", "rbx-sandbox", "memfd", "socket:"]
    {
        assert!(!text.contains(foreign), "{foreign} in {text}");
    }
    // Between the last of the setup and the command nothing else is in its environment.
    let names: Vec<&str> =
        text.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
    assert!(names.contains(&"PATH") && names.contains(&"HOME"), "{names:?}");
}

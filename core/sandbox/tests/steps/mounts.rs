//! The mounts of a step, and attempts to get out by them.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use rbx_sandbox::{Mount, MountKind};

use crate::Test;
use crate::world::World;

pub(crate) const TESTS: &[Test] = &[
    ("bind_mounts", bind_mounts),
    ("parts_of_sources", parts_of_sources),
    ("merged_trees", merged_trees),
    ("memory", memory),
    ("files_from_memory", files_from_memory),
    ("targets_stay_inside", targets_stay_inside),
    ("stubs_are_removed", stubs_are_removed),
    ("nothing_over_proc_or_the_root", nothing_over_proc_or_the_root),
    ("kind_of_target_must_fit", kind_of_target_must_fit),
];

fn bind(source: impl Into<std::path::PathBuf>, read_only: bool) -> MountKind {
    MountKind::Bind { source: source.into(), selector: String::new(), read_only }
}

fn at(target: &str, kind: MountKind) -> Mount {
    Mount { target: target.to_owned(), kind }
}

fn file(content: &str) -> MountKind {
    MountKind::File { content: content.into(), read_only: true, mode: 0o644, uid: 0, gid: 0 }
}

fn bind_mounts(world: &World) {
    let data = world.directory("data");
    fs::write(data.join("f"), "data\n").expect("a file");
    let mut step = world.step(
        "step",
        "cat /ro/f /cache/f /single; echo x > /ro/f; echo x > /ro/new; echo x > /single; echo new > /cache/new",
    );
    step.mounts = vec![
        at("/ro", bind(&data, true)),
        at("/cache", bind(&data, false)),
        at("single", bind(data.join("f"), true)),
    ];
    let outcome = world.run(&step).expect("a step");
    assert_eq!(outcome.stderr.matches("Read-only file system").count(), 3, "{outcome:?}");
    assert_eq!(outcome.ok(), "data\ndata\ndata\n");
    assert_eq!(fs::read_to_string(data.join("new")).expect("a file"), "new\n");
}

fn parts_of_sources(world: &World) {
    let data = world.directory("data");
    fs::create_dir(data.join("sub")).expect("a directory");
    fs::write(data.join("sub/f"), "part\n").expect("a file");
    symlink("/", data.join("up")).expect("a link");
    symlink("../../../../../../..", data.join("sub/above")).expect("a link");
    let part = |selector: &str| MountKind::Bind {
        source: data.clone(),
        selector: selector.to_owned(),
        read_only: true,
    };
    for (selector, expected) in [
        ("sub", "above\nf\n"),
        ("/sub/", "above\nf\n"),
        ("up", "sub\nup\n"),
        ("sub/above", "sub\nup\n"),
        ("../../sub/../..", "sub\nup\n"),
        ("/", "sub\nup\n"),
    ] {
        let mut step = world.step("step", "ls /part");
        step.mounts = vec![at("/part", part(selector))];
        assert_eq!(world.run(&step).expect(selector).ok(), expected, "{selector}");
        world.clear("step");
    }
    let mut step = world.step("step", "cat /part");
    step.mounts = vec![at("/part", part("sub/f"))];
    assert_eq!(world.run(&step).expect("a file as part").ok(), "part\n");
    world.clear("step");
    let mut step = world.step("step", "true");
    step.mounts = vec![at("/part", part("none"))];
    let error = world.run(&step).expect_err("no such part").to_string();
    assert_eq!(error, "open /none: no such file or directory");
}

fn merged_trees(world: &World) {
    let (one, two) = (world.directory("one"), world.directory("two"));
    fs::write(one.join("f"), "one\n").expect("a file");
    fs::write(two.join("f"), "two\n").expect("a file");
    fs::create_dir(two.join("d")).expect("a directory");
    fs::write(two.join("d/g"), "g\n").expect("a file");
    let (upper, work) = (world.directory("changes/upper"), world.directory("changes/work"));
    let tree = |lower: &[&std::path::Path], selector: &str| MountKind::Tree {
        lower: lower.iter().map(|path| path.to_path_buf()).collect(),
        selector: selector.to_owned(),
    };
    let mut step = world.step(
        "step",
        "cat /rw/f /ro/f /ro/d/g /single/f /part/g; ls /none; rm /rw/f; echo x > /rw/d/x; ls /rw
         touch /ro/x /single/x /part/x /none/x; echo $?",
    );
    step.mounts = vec![
        at(
            "/rw",
            MountKind::Overlay {
                lower: vec![one.clone(), two.clone()],
                upper: upper.clone(),
                work,
                selector: String::new(),
            },
        ),
        at("/ro", tree(&[&two, &one], "")),
        at("/single", tree(&[&one], "")),
        at("/part", tree(&[&one, &two], "d")),
        at("/none", tree(&[], "")),
    ];
    let outcome = world.run(&step).expect("a step");
    assert_eq!(outcome.stderr.matches("Read-only file system").count(), 4, "{outcome:?}");
    assert_eq!(outcome.ok(), "one\ntwo\ng\none\ng\nd\n1\n");
    assert!(upper.join("d/x").exists() && !two.join("d/x").exists());
}

fn memory(world: &World) {
    let private = world.directory("base/private");
    fs::set_permissions(&private, fs::Permissions::from_mode(0o710)).expect("a mode");
    let mut step = world.step(
        "step",
        "stat -c %a /m /n /private; (echo x > /ro/x) 2>/dev/null || echo read-only; df -m /m | tail -n 1 | awk '{print $2}'; dd if=/dev/zero of=/m/f bs=1M count=4 2>/dev/null || echo full",
    );
    step.mounts = vec![
        at("/m", MountKind::Tmpfs { size: Some(2 << 20), mode: 0o750, read_only: false }),
        at("/n", MountKind::Tmpfs { size: None, mode: 0o1777, read_only: false }),
        at("/private", MountKind::Tmpfs { size: None, mode: 0o1777, read_only: false }),
        at("/ro", MountKind::Tmpfs { size: None, mode: 0o1777, read_only: true }),
    ];
    assert_eq!(world.run(&step).expect("a step").ok(), "750\n1777\n710\nread-only\n2\nfull\n");
}

fn files_from_memory(world: &World) {
    let mut step = world.step(
        "step",
        "cat /etc/hosts /run/secrets/s; stat -c '%a %u %g' /run/secrets/s; cat /run/secrets/s > /dev/null
         (echo x > /etc/hosts) 2>/dev/null || echo read-only; (echo more >> /notes) && cat /notes",
    );
    let secret =
        MountKind::File { content: b"secret\n".to_vec(), read_only: true, mode: 0o400, uid: 1000, gid: 10 };
    let notes =
        MountKind::File { content: b"notes\n".to_vec(), read_only: false, mode: 0o666, uid: 0, gid: 0 };
    step.mounts = vec![
        at("/etc/hosts", file("127.0.0.1 localhost\n")),
        at("/run/secrets/s", secret),
        at("/notes", notes),
    ];
    step.user = "bob".into();
    let expected = "127.0.0.1 localhost\nsecret\n400 1000 10\nread-only\nnotes\nmore\n";
    assert_eq!(world.run(&step).expect("a step").ok(), expected);
    let left = std::process::Command::new("grep").args(["-r", "secret"]).arg(world.path("step")).output();
    assert!(left.expect("grep").stdout.is_empty(), "nothing of it is on the disk");
}

fn targets_stay_inside(world: &World) {
    let outside = world.directory("outside");
    let outside = outside.to_str().expect("UTF-8");
    let base = world.path("base");
    symlink(outside, base.join("absolute")).expect("a link");
    symlink(format!("../../../../../../../../../../..{outside}"), base.join("etc/relative")).expect("a link");
    symlink("/proc/self/root", base.join("magic")).expect("a link");
    symlink("/proc/1/cwd", base.join("cwd")).expect("a link");
    let targets = [
        "/absolute/a",
        "/etc/relative/b",
        "/../../../../c",
        &format!("/../..{outside}/d"),
        "/tmp/../../../e",
    ];
    let mut step = world.step("step", &format!("cat {outside}/a/f {outside}/b/f /c/f {outside}/d/f /e/f"));
    let data = world.directory("data");
    fs::write(data.join("f"), "in\n").expect("a file");
    step.mounts = targets.iter().map(|target| at(target, bind(&data, true))).collect();
    assert_eq!(world.run(&step).expect("a step").ok(), "in\n".repeat(5));
    assert!(fs::read_dir(outside).expect("a directory").next().is_none(), "the host is as before");
    assert!(fs::read_dir(world.upper("step")).expect("a directory").all(|entry| {
        // `/etc` and `/tmp` were copied up or not; nothing of the targets is left.
        !["c", "e", "work"].contains(&entry.expect("an entry").file_name().to_str().expect("UTF-8"))
    }));
    world.clear("step");

    // A magic link of /proc counts as the text it shows: this one says "/".
    let mut step = world.step("step", "cat /rbx-sandbox-test/f");
    step.mounts = vec![at("/magic/rbx-sandbox-test", bind(&data, true))];
    assert_eq!(world.run(&step).expect("a step").ok(), "in\n");
    assert!(!std::path::Path::new("/rbx-sandbox-test").exists());
    world.clear("step");
    let mut step = world.step("step", "true");
    step.mounts = vec![at("/cwd/x", bind(&data, true))];
    world.run(&step).expect_err("this one leads to a place in /proc");
}

fn stubs_are_removed(world: &World) {
    let data = world.directory("data");
    symlink("../run/resolve/stub.conf", world.path("base/etc/resolv.conf")).expect("a link");
    let mut step = world.step("step", "cat /etc/resolv.conf; touch /used/beside; ls -d /cache/stub");
    let cache = world.directory("cache");
    step.mounts = vec![
        at("/deep/er/est", bind(&data, false)),
        at("/etc/resolv.conf", file("nameserver 127.0.0.1\n")),
        at("/used/x", bind(&data, false)),
        at("/cache", bind(&cache, false)),
        at("/cache/stub", bind(&data, false)),
    ];
    assert_eq!(world.run(&step).expect("a step").ok(), "nameserver 127.0.0.1\n/cache/stub\n");
    let upper = world.upper("step");
    for gone in ["deep", "run", "used/x", "cache"] {
        assert!(!upper.join(gone).exists(), "{gone}");
    }
    assert!(upper.join("used/beside").exists());
    assert!(cache.join("stub").is_dir(), "what is made in a cache stays there, as with BuildKit");
}

fn nothing_over_proc_or_the_root(world: &World) {
    let data = world.directory("data");
    symlink("/proc/sys", world.path("base/innocent")).expect("a link");
    for target in ["/proc", "/proc/sys", "/proc/self", "/innocent", "/innocent/kernel"] {
        let mut step = world.step("step", "true");
        step.mounts = vec![at(target, bind(&data, false))];
        let error = world.run(&step).expect_err(target).to_string();
        assert_eq!(error, format!("{target:?} cannot be mounted because it is inside /proc"));
        world.clear("step");
    }
    for target in ["/", "", "/tmp/..", "."] {
        let mut step = world.step("step", "true");
        step.mounts = vec![at(target, bind(&data, false))];
        let error = world.run(&step).expect_err(target).to_string();
        assert_eq!(error, format!("mount target {target:?} is the root"));
        world.clear("step");
    }
}

fn kind_of_target_must_fit(world: &World) {
    let data = world.directory("data");
    let mut step = world.step("step", "true");
    step.mounts = vec![at("/etc/passwd", bind(&data, false))];
    let error = world.run(&step).expect_err("a directory over a file").to_string();
    assert_eq!(error, "mounting /etc/passwd: a directory cannot lie over a file");
    world.clear("step");
    let mut step = world.step("step", "true");
    step.mounts = vec![at("/etc", file(""))];
    let error = world.run(&step).expect_err("a file over a directory").to_string();
    assert_eq!(error, "mounting /etc: a file cannot lie over a directory");
}

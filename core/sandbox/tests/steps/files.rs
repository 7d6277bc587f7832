//! Trees: what a step sees and what it leaves.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::PathBuf;

use rbx_sandbox::{Mount, MountKind, RootFs};

use crate::Test;
use crate::world::World;

pub(crate) const TESTS: &[Test] = &[
    ("five_hundred_layers", five_hundred_layers),
    ("changes_land_in_the_upper_tree", changes_land_in_the_upper_tree),
    ("deletions_are_marked", deletions_are_marked),
    ("root_that_starts_empty", root_that_starts_empty),
    ("long_and_odd_paths", long_and_odd_paths),
    ("two_runs_leave_the_same_tree", two_runs_leave_the_same_tree),
];

fn five_hundred_layers(world: &World) {
    let mut lower: Vec<PathBuf> = (0..500)
        .map(|number| {
            let layer = world.directory(&format!("layers/{number}"));
            fs::create_dir(layer.join("l")).expect("a directory");
            fs::write(layer.join("l").join(number.to_string()), "").expect("a file");
            fs::write(layer.join("top"), number.to_string()).expect("a file");
            layer
        })
        .collect();
    let base = world.path("base");
    // The base image takes the place of the last, so that the kernel's limit is kept.
    let last = std::mem::replace(&mut lower[499], base);
    let mut step = world.step("step", "ls /l | wc -l; cat /top");
    step.rootfs.lower = lower;
    assert_eq!(world.run(&step).expect("a step").ok(), "499\n0");
    world.clear("step");
    let mut more = world.step("step", "true");
    more.rootfs.lower = step.rootfs.lower;
    more.rootfs.lower.push(last);
    let error = world.run(&more).expect_err("one too many").to_string();
    assert_eq!(error, "501 layers: the kernel merges at most 500");
}

fn changes_land_in_the_upper_tree(world: &World) {
    world.sh("true").ok();
    let step =
        world.step("step", "echo new > /etc/new; echo more >> /etc/passwd; mkdir -p /a/b; ln -s x /a/l");
    world.run(&step).expect("a step").ok();
    let upper = world.upper("step");
    assert_eq!(fs::read_to_string(upper.join("etc/new")).expect("a file"), "new\n");
    assert!(fs::read_to_string(upper.join("etc/passwd")).expect("a file").ends_with("more\n"));
    assert!(upper.join("a/b").is_dir() && upper.join("a/l").is_symlink());
    let mut names: Vec<_> = fs::read_dir(&upper)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    assert_eq!(names, ["a", "etc"], "and nothing else");
    assert!(!fs::read_to_string(world.path("base/etc/passwd")).expect("a file").ends_with("more\n"));
}

fn deletions_are_marked(world: &World) {
    let step = world.step("step", "rm /etc/group; rm -rf /home; mkdir /home");
    world.run(&step).expect("a step").ok();
    let whiteout = fs::symlink_metadata(world.upper("step").join("etc/group")).expect("a whiteout");
    assert!(whiteout.file_type().is_char_device());
    assert_eq!(whiteout.rdev(), 0);
    let mut value = [0; 8];
    let home = world.upper("step").join("home");
    let length =
        rustix::fs::lgetxattr(&home, "user.overlay.opaque", &mut value).expect("an opaque directory");
    assert_eq!(&value[..length], b"y");

    // The next step reads them as what they mean.
    let mut next = world.step("next", "ls /etc /home; test -e /etc/group || echo gone");
    next.rootfs.lower.insert(0, world.upper("step"));
    assert_eq!(world.run(&next).expect("a step").ok(), "/etc:\npasswd\n\n/home:\ngone\n");
}

fn root_that_starts_empty(world: &World) {
    let mut step = world.step("step", "");
    step.rootfs.lower.clear();
    let busybox =
        MountKind::Bind { source: world.path("base/bin/busybox"), selector: String::new(), read_only: true };
    step.mounts = vec![Mount { target: "/tools/busybox".to_owned(), kind: busybox }];
    step.args =
        ["/tools/busybox", "sh", "-c", "/tools/busybox ls /; echo x > /made"].map(str::to_owned).to_vec();
    assert_eq!(world.run(&step).expect("a step").ok(), "dev\nproc\nsys\ntools\n");
    let mut names: Vec<_> = fs::read_dir(world.upper("step"))
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    // As with BuildKit: the kernel's mount points stay, the step's go, with the directories made for them.
    assert_eq!(names, ["dev", "made", "proc", "sys"]);
    let mode = fs::metadata(world.upper("step").join("dev")).expect("dev").permissions().mode();
    assert_eq!(mode & 0o7777, 0o755);
}

fn long_and_odd_paths(world: &World) {
    let odd = world.directory(&format!("{}/a:b,c=d \\e/{}", "x".repeat(200), "y".repeat(200)));
    for name in ["lower", "upper", "work"] {
        fs::create_dir(odd.join(name)).expect("a directory");
    }
    fs::write(odd.join("lower/odd"), "odd").expect("a file");
    let mut step = world.step("step", "cat /odd");
    let lower = [vec![odd.join("lower")], step.rootfs.lower].concat();
    step.rootfs = RootFs { lower, upper: odd.join("upper"), work: odd.join("work") };
    assert_eq!(world.run(&step).expect("a step").ok(), "odd");
}

fn two_runs_leave_the_same_tree(world: &World) {
    let leave = |name: &str| {
        let mut step = world.step(name, "true");
        step.mounts = vec![Mount {
            target: "/etc/made/hosts".to_owned(),
            kind: MountKind::File { content: Vec::new(), read_only: true, mode: 0o644, uid: 0, gid: 0 },
        }];
        world.run(&step).expect("a step").ok();
        fs::metadata(world.upper(name).join("etc")).expect("etc").modified().expect("a time")
    };
    let before = fs::metadata(world.path("base/etc")).expect("etc").modified().expect("a time");
    assert_eq!(leave("one"), before);
    assert_eq!(leave("two"), before);
}

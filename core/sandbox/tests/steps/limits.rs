//! Resource limits and control groups.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rbx_sandbox::{Helper, Resources, Rlimit, SandboxError};

use crate::Test;
use crate::world::World;

pub(crate) const TESTS: &[Test] = &[
    ("a_step_has_a_group_of_its_own", a_step_has_a_group_of_its_own),
    ("resources_are_set", resources_are_set),
    ("running_out_of_memory_is_told", running_out_of_memory_is_told),
    ("a_parent_is_made_and_its_limits_hold", a_parent_is_made_and_its_limits_hold),
    ("resources_that_cannot_be_set", resources_that_cannot_be_set),
    ("a_fork_bomb_ends", a_fork_bomb_ends),
    ("groups_of_killed_helpers_are_removed", groups_of_killed_helpers_are_removed),
    ("groups_of_version_2", groups_of_version_2),
    ("limits_above_the_hard_ones", limits_above_the_hard_ones),
];

/// All directories of groups of steps there are.
fn groups() -> Vec<PathBuf> {
    fn walk(directory: &Path, depth: usize, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) && depth > 0 {
                if entry.file_name().to_string_lossy().starts_with("rbx-") {
                    found.push(entry.path());
                }
                walk(&entry.path(), depth - 1, found);
            }
        }
    }
    let mut found = Vec::new();
    walk(Path::new("/sys/fs/cgroup"), 6, &mut found);
    found
}

/// The names of a step's groups, as it sees them itself.
fn own_groups(text: &str) -> Vec<String> {
    let paths = text.lines().filter_map(|line| line.rsplit_once('/'));
    let mut names: Vec<String> = paths.map(|(_, name)| name.to_owned()).collect();
    names.sort();
    names.dedup();
    names
}

fn of_name<'a>(groups: &'a [PathBuf], name: &str) -> Vec<&'a PathBuf> {
    groups.iter().filter(|path| path.ends_with(name)).collect()
}

fn a_step_has_a_group_of_its_own(world: &World) {
    let started = world.start(&world.step("step", "echo ready; cat; exit 4")).expect("a step");
    assert_eq!(started.first_line(), "ready");
    let outcome = started.finish().expect("an end");
    assert_eq!(outcome.exit.code, 4);
    world.clear("step");

    let text = world.sh("cat /proc/self/cgroup; ls /sys/fs/cgroup; cat /sys/fs/cgroup/pids*/pids.max").ok();
    let names = own_groups(&text);
    let [name] = names.as_slice() else { panic!("one group in every hierarchy: {text}") };
    assert!(name.starts_with("rbx-"), "{text}");
    assert!(of_name(&groups(), name).is_empty(), "removed");
    let tasks: u64 = text.lines().last().and_then(|line| line.parse().ok()).expect("a number");
    assert!(tasks > 100, "{tasks}");
}

fn resources_are_set(world: &World) {
    let script = "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes cpu*/cpu.shares cpu*/cpu.cfs_quota_us \
                  cpu*/cpu.cfs_period_us cpuset/cpuset.cpus cpuset/cpuset.mems; nproc";
    let mut step = world.step("step", script);
    step.group.resources = Resources {
        memory: Some(64 << 20),
        memory_swap: None,
        cpu_shares: Some(512),
        cpu_period: Some(50_000),
        cpu_quota: Some(40_000),
        cpuset_cpus: Some("0".to_owned()),
        cpuset_mems: Some("0".to_owned()),
    };
    assert_eq!(world.run(&step).expect("a step").ok(), "67108864\n512\n40000\n50000\n0\n0\n1\n");
}

fn running_out_of_memory_is_told(world: &World) {
    let mut step = world.step("step", "head -c 64m /dev/zero | tail -c 60m | wc -c");
    step.group.resources.memory = Some(16 << 20);
    let outcome = world.run(&step).expect("a step");
    assert!(outcome.exit.out_of_memory, "{outcome:?}");
    assert_ne!(outcome.stdout, "62914560\n");
    world.clear("step");
    // A signal alone is no sign of it.
    let outcome = world.run(&world.step("step", "kill -9 $$")).expect("a step");
    assert!(!outcome.exit.out_of_memory, "{outcome:?}");
}

/// A group that is removed with this.
struct Parent(String);

impl Parent {
    fn new(what: &str) -> Self {
        Self(format!("rbxtest-{}-{what}", std::process::id()))
    }

    fn directories(&self) -> Vec<PathBuf> {
        let hierarchies = fs::read_dir("/sys/fs/cgroup").expect("control groups").flatten();
        let all =
            std::iter::once(PathBuf::from("/sys/fs/cgroup")).chain(hierarchies.map(|entry| entry.path()));
        all.map(|path| path.join(&self.0)).filter(|path| path.exists()).collect()
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        for directory in self.directories() {
            let _ = fs::remove_dir(directory.join("below"));
            let _ = fs::remove_dir(directory);
        }
    }
}

fn a_parent_is_made_and_its_limits_hold(world: &World) {
    let parent = Parent::new("parent");
    let mut step = world.step("step", "cat /proc/self/cgroup");
    step.group.parent = Some(format!("../{}/below", parent.0));
    let text = world.run(&step).expect("a step").ok();
    world.clear("step");
    for line in text.lines() {
        assert!(line.contains(&format!(":/{}/below/rbx-", parent.0)), "{text}");
    }
    assert!(parent.directories().iter().all(|path| path.join("below").exists()), "it stays");
    let pids = PathBuf::from("/sys/fs/cgroup/pids").join(&parent.0);
    if pids.exists() {
        fs::write(pids.join("pids.max"), "7").expect("a limit");
        let mut step = world.step("step", "for n in 1 2 3 4 5 6 7 8 9; do sleep 3 & done; echo all");
        step.group.parent = Some(format!("{}/below", parent.0));
        let outcome = world.run(&step).expect("a step");
        assert!(outcome.stderr.contains("can't fork"), "{outcome:?}");
    }
}

fn resources_that_cannot_be_set(world: &World) {
    let before = groups();
    let refused = |resources: Resources, parent: Option<&str>| {
        let mut step = world.step("step", "true");
        step.group.resources = resources;
        step.group.parent = parent.map(str::to_owned);
        let error = world.run(&step).expect_err("a refusal").to_string();
        world.clear("step");
        error
    };
    let nowhere = Resources { cpuset_cpus: Some("4000".to_owned()), ..Resources::default() };
    let error = refused(nowhere, None);
    assert!(error.starts_with("setting cpuset.cpus to 4000: "), "{error}");
    let swap = Resources { memory_swap: Some(5), ..Resources::default() };
    assert_eq!(refused(swap, None), "unable to set swap limit without memory limit");
    assert!(refused(Resources::default(), Some("x.slice:rbx:")).contains("systemd"));
    let after = groups();
    let made: Vec<&PathBuf> = after.iter().filter(|path| !before.contains(path)).collect();
    // Those of tests that run beside this one come and go.
    let start = Instant::now();
    while made.iter().any(|path| path.exists()) {
        assert!(start.elapsed() < Duration::from_secs(10), "{made:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn a_fork_bomb_ends(world: &World) {
    let bomb = "bomb() { bomb | bomb & }; bomb 2>/dev/null; sleep 0.2; echo over";
    // A user, by the limit of processes that `--ulimit nproc` sets. Of all users here only this one has the number.
    let mut step = world.step("step", bomb);
    step.user = (70_000 + std::process::id() % 100_000).to_string();
    step.rlimits = vec![Rlimit { name: "nproc".to_owned(), soft: 40, hard: 40 }];
    assert!(world.run(&step).expect("a step").stdout.contains("over"));
    world.clear("step");
    // Root, by a group.
    let parent = Parent::new("bomb");
    let pids = Path::new("/sys/fs/cgroup/pids").join(&parent.0);
    if fs::create_dir(&pids).is_ok() {
        fs::write(pids.join("pids.max"), "40").expect("a limit");
        let mut step = world.step("step", bomb);
        step.group.parent = Some(parent.0.clone());
        assert!(world.run(&step).expect("a step").stdout.contains("over"));
        assert_eq!(
            fs::read_to_string(pids.join("pids.current")).expect("a count"),
            "0\n",
            "all ended with it"
        );
    }
}

fn groups_of_killed_helpers_are_removed(world: &World) {
    let mut owner = Command::new(std::env::current_exe().expect("this program"))
        .args(["scene-owner", "sleep 1000"])
        .arg(world.dir.path().parent().expect("where worlds are"))
        .stdout(Stdio::piped())
        .spawn()
        .expect("an owner");
    let mut lines =
        std::io::BufRead::lines(std::io::BufReader::new(owner.stdout.take().expect("its output")));
    let mut line = || lines.next().expect("a line").expect("UTF-8");
    assert_eq!(line(), "ready");
    let directory = line();
    let helper = crate::life::helper_of(owner.id()).expect("its helper");
    let children = fs::read_to_string(format!("/proc/{helper}/task/{helper}/children")).expect("its step");
    let step = children.split_whitespace().next().expect("a process");
    let names = own_groups(&fs::read_to_string(format!("/proc/{step}/cgroup")).expect("its groups"));
    let name = names.iter().find(|name| name.starts_with("rbx-")).expect("a group of its own");
    assert!(!of_name(&groups(), name).is_empty());
    // While it runs, another helper leaves it alone.
    let sweep = |round: &str| {
        let helper = Helper::start(&[]).expect("a helper");
        let (output, ..) = crate::world::pipes();
        helper.run(&world.step(round, "true"), &output).expect("a step").wait().expect("an end");
    };
    sweep("first");
    let there = of_name(&groups(), name).len();
    owner.kill().expect("a kill");
    owner.wait().expect("its end");
    let start = Instant::now();
    let mut round = 0;
    while !of_name(&groups(), name).is_empty() {
        // The kernel may not have ended all of it yet.
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", of_name(&groups(), name));
        round += 1;
        sweep(&format!("round{round}"));
    }
    assert!(there > 0, "it was not removed while it ran");
    fs::remove_dir_all(directory).expect("trees that nobody holds");
}

/// Parts that need a process of their own.
pub(crate) fn play(scene: &str) -> bool {
    if scene != "scene-unified" {
        return false;
    }
    let world = World::new();
    let mut out = std::io::stdout();
    let text =
        world.sh("cat /proc/self/cgroup; ls -d /sys/fs/cgroup/cgroup.procs; mkdir /sys/fs/cgroup/x").stdout;
    writeln!(out, "{text}").expect("output");
    writeln!(out, "left {}", groups().len()).expect("output");
    let started = world.start(&world.step("step", "echo ready; sleep 1000")).expect("a step");
    assert_eq!(started.first_line(), "ready");
    writeln!(out, "there {}", groups().len()).expect("output");
    started.running.kill();
    writeln!(out, "killed {:?}", started.finish().expect("an end").exit.signal).expect("output");
    writeln!(out, "left {}", groups().len()).expect("output");
    world.clear("step");
    let mut step = world.step("step", "true");
    step.group.resources.memory = Some(64 << 20);
    match world.run(&step) {
        Ok(outcome) => writeln!(out, "limited {}", outcome.exit.code).expect("output"),
        Err(error @ SandboxError::Refused { .. }) => writeln!(out, "refused {error}").expect("output"),
        Err(error) => writeln!(out, "failed {error}").expect("output"),
    }
    true
}

fn groups_of_version_2(_: &World) {
    // A file system of its own for it, in a mount namespace; the controllers may be taken by version 1.
    let script = "umount -l /sys/fs/cgroup 2>/dev/null; mount -t cgroup2 cgroup2 /sys/fs/cgroup &&
        exec \"$0\" scene-unified";
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script])
        .arg(std::env::current_exe().expect("this program"))
        .output()
        .expect("unshare");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("0::/\n"), "the step's group is its root: {text}");
    assert!(text.contains("/sys/fs/cgroup/cgroup.procs"), "{text}");
    assert!(text.contains("killed Some(9)"), "{text}");
    let memory = text.contains("limited 0")
        || text.contains("refused a control group's controller is missing: enabling the memory controller");
    assert!(memory, "{text}");
}

fn limits_above_the_hard_ones(world: &World) {
    // Root may raise its limits, but for what the kernel allows anybody.
    let mut step = world.step("step", "ulimit -n");
    step.rlimits = vec![Rlimit { name: "nofile".to_owned(), soft: 5000, hard: 6000 }];
    assert_eq!(world.run(&step).expect("a step").ok(), "5000\n");
    world.clear("step");
    step.rlimits = vec![Rlimit { name: "nofile".to_owned(), soft: 1 << 40, hard: 1 << 40 }];
    world.step("step", "");
    let error = world.run(&step).expect_err("a refusal").to_string();
    assert!(error.contains("nofile") && error.contains("operation not permitted"), "{error}");
}

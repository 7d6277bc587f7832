//! The control group of a step: made before its process, entered by it before anything else, removed after it.
//!
//! A group's directory is locked for as long as it is in use. When a helper is killed, the kernel drops the lock, and
//! the next helper that makes a group beside it removes what was left.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::cgroup::{Hierarchy, Layout};
use super::failure::{During, Failure, Result, Stage};
use crate::{ControlGroup, Resources};

/// What the names of groups begin with.
const PREFIX: &str = "rbx-";
/// As many levels of groups as a step may have made below its own are removed.
const DEEPEST: usize = 32;
/// How often a group is tried to be removed while the kernel still counts somebody in it, 2 ms apart.
const PATIENCE: u32 = 250;
/// How often a group is made that another helper removes.
const ATTEMPTS: u32 = 4;

/// Makes groups.
pub(super) struct Groups {
    pub(super) layout: Layout,
    /// Where groups of helpers that are gone were looked for.
    swept: BTreeSet<PathBuf>,
    /// Tasks that a step may have at once unless it is told: systemd's share of what the system can have.
    tasks: u64,
}

/// A step's group, in every hierarchy where there is one.
pub(super) struct Group {
    directories: Vec<Directory>,
}

struct Directory {
    hierarchy: Hierarchy,
    path: PathBuf,
    /// Open and locked.
    fd: OwnedFd,
}

/// A limit: the controller, the file of version 1 and that of version 2, each with what is written.
struct Limit {
    controller: &'static str,
    separate: Option<(&'static str, String)>,
    unified: Option<(&'static str, String)>,
}

impl Groups {
    pub(super) fn new() -> Self {
        let number = |path| -> Option<u64> { std::fs::read_to_string(path).ok()?.trim().parse().ok() };
        let most =
            ["/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max"].into_iter().filter_map(number);
        let tasks = most.min().unwrap_or(32768) / 100 * 15;
        Self { layout: Layout::of_this_process(), swept: BTreeSet::new(), tasks }
    }

    /// Makes a group as `wanted`. Where no groups can be made, and nothing is asked of one, there is none.
    pub(super) fn make(&mut self, wanted: &ControlGroup) -> Result<Option<Group>> {
        let limits = limits(&wanted.resources)?;
        let required = wanted.parent.is_some() || !limits.is_empty();
        let parent = wanted.parent.as_deref().map(parent_path).transpose()?;
        let name = format!("{PREFIX}{:016x}", random());
        let mut group = Group { directories: Vec::new() };
        for hierarchy in self.layout.hierarchies.clone() {
            let needed: Vec<&str> = limits.iter().map(|limit| limit.controller).collect();
            let concerned = parent.is_some()
                || hierarchy.unified
                || needed.iter().any(|needed| hierarchy.controllers.iter().any(|it| it == needed));
            match self.make_in(&hierarchy, parent.as_deref(), &needed, &name) {
                Ok(directory) => group.directories.push(directory),
                // A version 2 hierarchy beside others has no controllers and is of little use.
                Err(failure) if required && concerned && (self.layout.unified || !hierarchy.unified) => {
                    group.remove();
                    return Err(failure);
                }
                Err(_) => {}
            }
        }
        if let Err(failure) = group.limit(&limits, self.tasks) {
            group.remove();
            return Err(failure);
        }
        if group.directories.is_empty() && required {
            return Err(Failure::new(Stage::Group, "there are no control groups"));
        }
        Ok((!group.directories.is_empty()).then_some(group))
    }

    fn make_in(
        &mut self,
        hierarchy: &Hierarchy,
        parent: Option<&Path>,
        needed: &[&str],
        name: &str,
    ) -> Result<Directory> {
        let above = match parent {
            Some(parent) => {
                let mut above = hierarchy.mount.clone();
                for component in parent.components() {
                    enable(hierarchy, &above, needed)?;
                    above.push(component);
                    make_directory(hierarchy, &above)?;
                }
                enable(hierarchy, &above, needed)?;
                above
            }
            None if hierarchy.unified && self.layout.unified => home(hierarchy, needed)?,
            None => hierarchy.own.clone(),
        };
        if self.swept.insert(above.clone()) {
            sweep(&above);
        }
        let path = above.join(name);
        let what = || format!("making the control group {}", path.display());
        for _ in 0..ATTEMPTS {
            make_directory(hierarchy, &path)?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let Ok(fd) = rustix::fs::open(&path, flags, Mode::empty()) else { continue };
            rustix::fs::flock(&fd, FlockOperation::LockExclusive).during(Stage::Group, what)?;
            // Another helper may have taken it for one that was left, before it was locked.
            if path.exists() {
                return Ok(Directory { hierarchy: hierarchy.clone(), path, fd });
            }
        }
        Err(Errno::AGAIN).during(Stage::Group, what)
    }
}

/// Where groups are made unless a place is named: the nearest group above this process's own that hands on what is
/// needed, or with nothing needed what tells of memory. Version 2 gives controllers only to groups below those without
/// processes of their own.
fn home(hierarchy: &Hierarchy, needed: &[&str]) -> Result<PathBuf> {
    let candidates = || hierarchy.own.ancestors().take_while(|path| path.starts_with(&hierarchy.mount));
    if needed.is_empty() {
        let useful = candidates().find(|path| {
            let handed = read(&path.join("cgroup.subtree_control"));
            ["memory", "pids"].iter().all(|wanted| handed.split_whitespace().any(|it| it == *wanted))
        });
        return Ok(useful.unwrap_or(&hierarchy.own).to_owned());
    }
    let mut failure = None;
    for candidate in candidates() {
        match enable(hierarchy, candidate, needed) {
            Ok(()) => return Ok(candidate.to_owned()),
            Err(reason) => failure = Some(reason),
        }
    }
    Err(failure.unwrap_or_else(|| Failure::new(Stage::Group, "this process's control group is out of sight")))
}

/// Has a version 2 group hand controllers on to those below it.
fn enable(hierarchy: &Hierarchy, group: &Path, controllers: &[&str]) -> Result<()> {
    if !hierarchy.unified {
        return Ok(());
    }
    let control = group.join("cgroup.subtree_control");
    let (handed, there) = (read(&control), read(&group.join("cgroup.controllers")));
    for controller in controllers {
        if handed.split_whitespace().any(|it| it == *controller) {
            continue;
        }
        let what = || format!("enabling the {controller} controller in {}", group.display());
        if !there.split_whitespace().any(|it| it == *controller) {
            return Err(Errno::NOENT).during(Stage::Group, what);
        }
        write(CWD, &control, &format!("+{controller}")).during(Stage::Group, what)?;
    }
    Ok(())
}

/// The path below a hierarchy's mount that `--cgroup-parent` means.
fn parent_path(parent: &str) -> Result<PathBuf> {
    if parent.contains(".slice") && parent.ends_with(':') {
        return Err(Failure::new(
            Stage::Other,
            format!(
                "invalid cgroup parent {parent:?}: slices are systemd's to make; name a group by its path"
            ),
        ));
    }
    let mut path = PathBuf::new();
    for component in Path::new(parent).components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => drop(path.pop()),
            _ => {}
        }
    }
    Ok(path)
}

/// Makes a group, which may be there.
fn make_directory(hierarchy: &Hierarchy, path: &Path) -> Result<()> {
    let what = || format!("making the control group {}", path.display());
    match rustix::fs::mkdir(path, Mode::from_raw_mode(0o755)) {
        Ok(()) => {}
        Err(Errno::EXIST) => return Ok(()),
        Err(errno) => return Err(errno).during(Stage::Group, what),
    }
    if hierarchy.controllers.iter().any(|controller| controller == "cpuset") {
        // Nothing can be in a new version 1 group before it has these.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let above = path.parent().map_or_else(String::new, |parent| read(&parent.join(file)));
            write(CWD, &path.join(file), above.trim()).during(Stage::Group, what)?;
        }
    }
    Ok(())
}

/// Removes groups of helpers that are gone.
fn sweep(parent: &Path) {
    let Ok(entries) = std::fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX)) {
            continue;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Ok(fd) = rustix::fs::open(entry.path(), flags, Mode::empty()) else { continue };
        if rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive).is_ok() {
            // Somebody may just be removing it, too.
            let _ = remove_tree(&entry.path(), DEEPEST);
        }
    }
}

impl Group {
    /// Its directory in a hierarchy.
    pub(super) fn directory(&self, hierarchy: &Hierarchy) -> Option<&PathBuf> {
        let found = self.directories.iter().find(|directory| directory.hierarchy == *hierarchy);
        found.map(|directory| &directory.path)
    }

    /// Puts the calling process in.
    pub(super) fn join(&self) -> Result<()> {
        self.directories.iter().try_for_each(|directory| {
            write(&directory.fd, Path::new("cgroup.procs"), "0")
                .during(Stage::Group, || format!("entering the control group {}", directory.path.display()))
        })
    }

    fn limit(&self, limits: &[Limit], tasks: u64) -> Result<()> {
        for limit in limits {
            let files = self.directories.iter().filter_map(|directory| {
                let separate = directory.hierarchy.controllers.iter().any(|it| it == limit.controller);
                let file = if directory.hierarchy.unified { &limit.unified } else { &limit.separate };
                (separate || directory.hierarchy.unified).then_some((directory, file.as_ref()?))
            });
            let mut set = false;
            for (directory, (file, value)) in files {
                // In a hybrid layout the version 2 group has no such file.
                match write(&directory.fd, Path::new(file), value) {
                    Err(Errno::NOENT) => {}
                    written => {
                        written.during(Stage::Group, || format!("setting {file} to {value}"))?;
                        set = true;
                    }
                }
            }
            if !set {
                let missing = || format!("setting a limit of the {} controller", limit.controller);
                return Err(Errno::NOENT).during(Stage::Group, missing);
            }
        }
        for directory in &self.directories {
            // What may be missing: the controller.
            let _ = write(&directory.fd, Path::new("pids.max"), &tasks.to_string());
        }
        Ok(())
    }

    /// Whether the kernel has killed something in it for want of memory.
    pub(super) fn ran_out_of_memory(&self) -> bool {
        ["memory.events", "memory.oom_control"].iter().any(|file| {
            self.directories.iter().any(|directory| {
                read(&directory.path.join(file))
                    .lines()
                    .any(|line| line.strip_prefix("oom_kill ").is_some_and(|count| count.trim() != "0"))
            })
        })
    }

    /// Kills all in it at once, where the kernel knows how.
    pub(super) fn kill(&self) {
        for directory in self.directories.iter().filter(|directory| directory.hierarchy.unified) {
            // Before Linux 5.14 there is no such file; the end of its first process ends the others as well.
            let _ = write(&directory.fd, Path::new("cgroup.kill"), "1");
        }
    }

    /// Removes it, with what a privileged step has made in it. Nobody may be in it any more.
    pub(super) fn remove(self) {
        for directory in &self.directories {
            for _ in 0..PATIENCE {
                match remove_tree(&directory.path, DEEPEST) {
                    Err(Errno::BUSY) => std::thread::sleep(Duration::from_millis(2)),
                    // What cannot be removed is the next helper's to try.
                    _ => break,
                }
            }
        }
    }
}

fn remove_tree(path: &Path, depth: usize) -> rustix::io::Result<()> {
    match rustix::fs::rmdir(path) {
        Err(Errno::BUSY) if depth > 0 => {}
        result => return result,
    }
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path(), depth - 1)?;
        }
    }
    rustix::fs::rmdir(path)
}

/// What `resources` asks of groups, in the order it has to be written.
fn limits(resources: &Resources) -> Result<Vec<Limit>> {
    let Resources { memory, memory_swap, cpu_shares, cpu_period, cpu_quota, cpuset_cpus, cpuset_mems } =
        resources;
    let unlimited = |value: i64| if value < 0 { "max".to_owned() } else { value.to_string() };
    let mut limits = Vec::new();
    let mut limit = |controller, separate, unified| limits.push(Limit { controller, separate, unified });
    if let Some(memory) = memory {
        limit(
            "memory",
            Some(("memory.limit_in_bytes", memory.to_string())),
            Some(("memory.max", unlimited(*memory))),
        );
    }
    if let Some(both) = *memory_swap {
        let swap = match *memory {
            _ if both < 0 => "max".to_owned(),
            None => return Err(Failure::new(Stage::Other, "unable to set swap limit without memory limit")),
            Some(memory) if both < memory => {
                return Err(Failure::new(Stage::Other, "memory+swap limit should be >= memory limit"));
            }
            Some(memory) => (both - memory).to_string(),
        };
        limit(
            "memory",
            Some(("memory.memsw.limit_in_bytes", both.to_string())),
            Some(("memory.swap.max", swap)),
        );
    }
    if let Some(shares) = *cpu_shares {
        // The OCI runtimes' formula: 2–262144 to 1–10000.
        let weight = 1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142;
        limit("cpu", Some(("cpu.shares", shares.to_string())), Some(("cpu.weight", weight.to_string())));
    }
    if let Some(period) = cpu_period {
        limit(
            "cpu",
            Some(("cpu.cfs_period_us", period.to_string())),
            Some(("cpu.max", format!("max {period}"))),
        );
    }
    if let Some(quota) = *cpu_quota {
        limit("cpu", Some(("cpu.cfs_quota_us", quota.to_string())), Some(("cpu.max", unlimited(quota))));
    }
    for (value, file) in [(cpuset_cpus, "cpuset.cpus"), (cpuset_mems, "cpuset.mems")] {
        if let Some(value) = value {
            limit("cpuset", Some((file, value.clone())), Some((file, value.clone())));
        }
    }
    Ok(limits)
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    // A name that is taken is an error, and no harm.
    let _ = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    u64::from_ne_bytes(bytes)
}

/// The content of a control file; nothing if it is not there.
fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Writes a control file in one call, as the kernel wants it.
fn write(directory: impl std::os::fd::AsFd, file: &Path, value: &str) -> rustix::io::Result<()> {
    let file = rustix::fs::openat(directory, file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    File::from(file)
        .write_all(value.as_bytes())
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_stay_below_the_root() {
        for (parent, path) in
            [("a/b", "a/b"), ("/a//b/", "a/b"), ("../../x", "x"), ("a/../../b/.", "b"), ("", "")]
        {
            assert_eq!(parent_path(parent).expect("a path"), Path::new(path), "{parent}");
        }
        let refused = parent_path("build.slice:rbx:").expect_err("a slice");
        assert!(refused.message.contains("build.slice"), "{}", refused.message);
    }

    #[test]
    fn resources_become_both_versions() {
        let written = |resources: &Resources| -> Vec<String> {
            let limits = limits(resources).expect("limits");
            let both = |limit: &Limit| {
                let say = |file: &Option<(&str, String)>| {
                    file.as_ref().map_or_else(String::new, |(file, value)| format!("{file}={value}"))
                };
                format!("{} {} {}", limit.controller, say(&limit.separate), say(&limit.unified))
            };
            limits.iter().map(both).collect()
        };
        let resources = Resources {
            memory: Some(100),
            memory_swap: Some(150),
            cpu_shares: Some(1024),
            cpu_period: Some(50_000),
            cpu_quota: Some(25_000),
            cpuset_cpus: Some("0-1".to_owned()),
            cpuset_mems: Some("0".to_owned()),
        };
        assert_eq!(
            written(&resources),
            [
                "memory memory.limit_in_bytes=100 memory.max=100",
                "memory memory.memsw.limit_in_bytes=150 memory.swap.max=50",
                "cpu cpu.shares=1024 cpu.weight=39",
                "cpu cpu.cfs_period_us=50000 cpu.max=max 50000",
                "cpu cpu.cfs_quota_us=25000 cpu.max=25000",
                "cpuset cpuset.cpus=0-1 cpuset.cpus=0-1",
                "cpuset cpuset.mems=0 cpuset.mems=0",
            ]
        );
        let unlimited = Resources { memory_swap: Some(-1), cpu_quota: Some(-1), ..Resources::default() };
        assert_eq!(
            written(&unlimited),
            [
                "memory memory.memsw.limit_in_bytes=-1 memory.swap.max=max",
                "cpu cpu.cfs_quota_us=-1 cpu.max=max"
            ]
        );
        for (memory, swap) in [(None, 5), (Some(6), 5)] {
            let resources = Resources { memory, memory_swap: Some(swap), ..Resources::default() };
            assert!(limits(&resources).is_err(), "{memory:?} {swap}");
        }
    }
}

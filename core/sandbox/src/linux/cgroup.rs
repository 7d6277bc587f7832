//! How the host arranges its control groups, and `/sys/fs/cgroup` of a step: read-only, as the Engine shows it in a
//! `RUN`.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode};
use rustix::io::Result;

use super::group::Group;
use super::mount::{self, INERT, READ_ONLY};

/// How the host arranges its control groups, found out once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    /// Whether there is one hierarchy (version 2) at `/sys/fs/cgroup`, shown from a cgroup namespace; else there is one
    /// for each controller (version 1), and perhaps one of version 2 without controllers beside them.
    pub(super) unified: bool,
    pub(super) hierarchies: Vec<Hierarchy>,
}

/// A tree of groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hierarchy {
    /// Its name under `/sys/fs/cgroup`.
    name: String,
    /// Whether it is of version 2.
    pub(super) unified: bool,
    /// Its controllers, in version 1.
    pub(super) controllers: Vec<String>,
    /// Where it is mounted.
    pub(super) mount: PathBuf,
    /// The directory of this process's group.
    pub(super) own: PathBuf,
}

impl Layout {
    pub(super) fn of_this_process() -> Self {
        let unified = std::fs::exists("/sys/fs/cgroup/cgroup.subtree_control").unwrap_or(false);
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let hierarchies = hierarchies(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"));
        Self { unified, hierarchies }
    }

    /// Mounts it on `target`, for a step in `group`.
    pub(super) fn mount(&self, target: impl AsFd, group: Option<&Group>, read_only: bool) -> Result<()> {
        let attributes = if read_only { INERT.union(READ_ONLY) } else { INERT };
        if self.unified {
            return mount::attach(mount::filesystem("cgroup2", &[], attributes)?, target);
        }
        let top = mount::filesystem("tmpfs", &[("mode", "755")], INERT)?;
        mount::attach(&top, target)?;
        for hierarchy in self.hierarchies.iter().filter(|hierarchy| !hierarchy.unified) {
            let name = &hierarchy.name;
            rustix::fs::mkdirat(&top, name, Mode::from_raw_mode(0o755))?;
            let directory = group.and_then(|group| group.directory(hierarchy)).unwrap_or(&hierarchy.own);
            // A group may be gone, or out of sight in a container: then the step sees an empty directory.
            if let Ok(group) = mount::bind(CWD, directory, attributes) {
                mount::attach(group, mount::place(&top, name)?)?;
            }
            for part in name.split(',').filter(|_| name.contains(',')) {
                rustix::fs::symlinkat(name, &top, part)?;
            }
        }
        if read_only {
            super::sys::mount_setattr(&top, READ_ONLY.bits().into(), false)?;
        }
        Ok(())
    }
}

/// The hierarchies of `mountinfo`, each with the group that `membership` (`/proc/self/cgroup`) names.
fn hierarchies(mountinfo: &str, membership: &str) -> Vec<Hierarchy> {
    let group_of = |controller: &str| {
        membership.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':');
            let controllers = fields.nth(1)?;
            controllers.split(',').any(|name| name == controller).then(|| fields.next())?
        })
    };
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mountinfo.lines() {
        // id parent major:minor root target options… - type source super-options
        let Some((head, tail)) = line.split_once(" - ") else { continue };
        let head: Vec<&str> = head.split(' ').collect();
        let tail: Vec<&str> = tail.split(' ').collect();
        let (Some(&root), Some(&target), Some(&kind), Some(&options)) =
            (head.get(3), head.get(4), tail.first(), tail.get(2))
        else {
            continue;
        };
        let (unified, group) = match kind {
            "cgroup" => (false, options.split(',').find_map(group_of)),
            "cgroup2" => (true, group_of("")),
            _ => continue,
        };
        let Some(group) = group else { continue };
        let Some(name) = Path::new(target).file_name().and_then(|name| name.to_str()) else { continue };
        // Where only a part of the hierarchy is mounted, the group is seen relative to it.
        let relative = Path::new(group).strip_prefix(root).unwrap_or(Path::new(""));
        let known = |known: &Hierarchy| known.name == name || (unified && known.unified);
        if !found.iter().any(known) {
            let controllers = options.split(',').filter(|option| !unified && group_of(option).is_some());
            found.push(Hierarchy {
                name: name.to_owned(),
                unified,
                controllers: controllers.map(str::to_owned).collect(),
                mount: PathBuf::from(target),
                own: Path::new(target).join(relative),
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_found_with_their_groups() {
        let mountinfo = "\
            30 25 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755\n\
            31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
            32 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
            33 30 0:29 /docker/x /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
            34 30 0:30 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
            35 30 0:31 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
            36 30 0:27 / /elsewhere/unified rw - cgroup2 cgroup2 rw\n";
        let membership = "4:name=systemd:/init.scope\n3:memory:/docker/x/y\n2:cpu,cpuacct:/a:b\n0::/s\n";
        let expected = [
            ("unified", true, "", "/sys/fs/cgroup/unified/s"),
            ("cpu,cpuacct", false, "cpu cpuacct", "/sys/fs/cgroup/cpu,cpuacct/a:b"),
            ("memory", false, "memory", "/sys/fs/cgroup/memory/y"),
            ("systemd", false, "name=systemd", "/sys/fs/cgroup/systemd/init.scope"),
        ];
        let found = hierarchies(mountinfo, membership);
        let found: Vec<_> = found
            .iter()
            .map(|it| (it.name.as_str(), it.unified, it.controllers.join(" "), it.own.display().to_string()))
            .collect();
        let expected = expected
            .map(|(name, unified, controllers, own)| (name, unified, controllers.to_owned(), own.to_owned()));
        assert_eq!(found, expected);
    }
}

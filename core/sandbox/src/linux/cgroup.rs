//! `/sys/fs/cgroup` of a step: read-only, as the Engine shows it in a `RUN`.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode};
use rustix::io::Result;

use super::mount::{self, INERT, READ_ONLY};

/// How the host arranges its control groups, found out once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Layout {
    /// One hierarchy (version 2), shown from a cgroup namespace.
    Unified,
    /// A hierarchy for each controller (version 1): its name under `/sys/fs/cgroup`, and this process's group in it.
    Separate(Vec<(String, PathBuf)>),
}

impl Layout {
    pub(super) fn of_this_process() -> Self {
        if std::fs::exists("/sys/fs/cgroup/cgroup.subtree_control").unwrap_or(false) {
            return Self::Unified;
        }
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        Self::Separate(hierarchies(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup")))
    }

    /// Mounts it on `target`.
    pub(super) fn mount(&self, target: impl AsFd, read_only: bool) -> Result<()> {
        let attributes = if read_only { INERT.union(READ_ONLY) } else { INERT };
        let hierarchies = match self {
            Self::Unified => {
                return mount::attach(mount::filesystem("cgroup2", &[], attributes)?, target);
            }
            Self::Separate(hierarchies) => hierarchies,
        };
        let top = mount::filesystem("tmpfs", &[("mode", "755")], INERT)?;
        mount::attach(&top, target)?;
        for (name, source) in hierarchies {
            rustix::fs::mkdirat(&top, name, Mode::from_raw_mode(0o755))?;
            // A group may be gone, or out of sight in a container: then the step sees an empty directory.
            if let Ok(group) = mount::bind(CWD, source, attributes) {
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

/// The version 1 hierarchies of `mountinfo`, each with the group that `membership` (`/proc/self/cgroup`) names.
fn hierarchies(mountinfo: &str, membership: &str) -> Vec<(String, PathBuf)> {
    let group_of = |controller: &str| {
        membership.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':');
            let controllers = fields.nth(1)?;
            controllers.split(',').any(|name| name == controller).then(|| fields.next())?
        })
    };
    let mut found: Vec<(String, PathBuf)> = Vec::new();
    for line in mountinfo.lines() {
        // id parent major:minor root target options… - type source super-options
        let Some((head, tail)) = line.split_once(" - ") else { continue };
        let head: Vec<&str> = head.split(' ').collect();
        let tail: Vec<&str> = tail.split(' ').collect();
        let (Some(&root), Some(&target), Some(&"cgroup"), Some(&options)) =
            (head.get(3), head.get(4), tail.first(), tail.get(2))
        else {
            continue;
        };
        let Some(group) = options.split(',').find_map(group_of) else { continue };
        let Some(name) = Path::new(target).file_name().and_then(|name| name.to_str()) else { continue };
        // Where only a part of the hierarchy is mounted, the group is seen relative to it.
        let relative = Path::new(group).strip_prefix(root).unwrap_or(Path::new(""));
        if !found.iter().any(|(known, _)| known == name) {
            found.push((name.to_owned(), Path::new(target).join(relative)));
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
            35 30 0:31 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n";
        let membership = "4:name=systemd:/init.scope\n3:memory:/docker/x/y\n2:cpu,cpuacct:/a:b\n0::/\n";
        let expected = [
            ("cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct/a:b"),
            ("memory", "/sys/fs/cgroup/memory/y"),
            ("systemd", "/sys/fs/cgroup/systemd/init.scope"),
        ];
        let expected: Vec<_> =
            expected.into_iter().map(|(name, path)| (name.to_owned(), PathBuf::from(path))).collect();
        assert_eq!(hierarchies(mountinfo, membership), expected);
    }
}

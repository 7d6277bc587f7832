//! Why an ordinary user may not make namespaces or mounts here, and what to change.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::user::User;
use crate::SandboxError;

/// What lets a container's processes make namespaces and mounts without being root of the host.
pub(in super::super) const UNCONFINED: &str = "in a container, start it with --security-opt seccomp=unconfined --security-opt apparmor=unconfined \
     --security-opt systempaths=unconfined (podman: --security-opt unmask=ALL instead of the last), or with \
     --privileged";

/// Whether the process is in another user namespace than the system's first.
pub(in super::super) fn in_user_namespace() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().ne(["0", "0", "4294967295"])
}

/// The settings by which a kernel refuses user namespaces, as far as they can be read.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(in super::super) struct Kernel {
    /// `user.max_user_namespaces`.
    most: Option<u64>,
    /// `kernel.unprivileged_userns_clone`, of Debian's and others' kernels.
    clone: Option<u64>,
    /// `kernel.apparmor_restrict_unprivileged_userns`, of Ubuntu's.
    apparmor: Option<u64>,
    /// Whether a seccomp filter is installed.
    filtered: bool,
    /// Whether this is a kernel with user namespaces.
    namespaces: bool,
}

impl Kernel {
    pub(in super::super) fn of_this_system() -> Self {
        Self::read(Path::new("/proc"))
    }

    fn read(proc: &Path) -> Self {
        let number = |path: &str| {
            fs::read_to_string(proc.join("sys").join(path)).ok().and_then(|text| text.trim().parse().ok())
        };
        let status = fs::read_to_string(proc.join("self/status")).unwrap_or_default();
        let mode = status.lines().find_map(|line| line.strip_prefix("Seccomp:")).map(str::trim);
        Self {
            most: number("user/max_user_namespaces"),
            clone: number("kernel/unprivileged_userns_clone"),
            apparmor: number("kernel/apparmor_restrict_unprivileged_userns"),
            filtered: mode.is_some_and(|mode| mode != "0"),
            namespaces: proc.join("self/ns/user").exists(),
        }
    }

    /// The refusal that `errno` was, while `doing` something that needs a user namespace's rights.
    pub(in super::super) fn refusal(&self, doing: &str, errno: Errno) -> SandboxError {
        let refused = |reason: String, remedy: &str| SandboxError::Refused {
            reason: format!("{reason}: {doing}: {}", super::super::failure::describe(errno)),
            remedy: remedy.to_owned(),
        };
        match errno {
            _ if !self.namespaces => refused(
                "the kernel has no user namespaces".to_owned(),
                "use a kernel with CONFIG_USER_NS, or run as root",
            ),
            Errno::NOSPC | Errno::USERS if self.most == Some(0) => refused(
                "user namespaces are turned off: user.max_user_namespaces is 0".to_owned(),
                "turn them on: sudo sysctl -w user.max_user_namespaces=15000",
            ),
            Errno::NOSPC | Errno::USERS => refused(
                format!(
                    "the limit on user namespaces is reached: user.max_user_namespaces{}",
                    self.most.map_or(String::new(), |most| format!(" is {most}"))
                ),
                "raise it: sudo sysctl -w user.max_user_namespaces=15000",
            ),
            Errno::PERM | Errno::ACCESS if self.clone == Some(0) => refused(
                "user namespaces are for root only: kernel.unprivileged_userns_clone is 0".to_owned(),
                "turn them on: sudo sysctl -w kernel.unprivileged_userns_clone=1",
            ),
            Errno::PERM | Errno::ACCESS if self.apparmor == Some(1) => refused(
                "AppArmor restricts user namespaces: kernel.apparmor_restrict_unprivileged_userns is 1"
                    .to_owned(),
                "lift it: sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or give the program an \
                 AppArmor profile with the rule userns",
            ),
            Errno::PERM | Errno::ACCESS | Errno::NOSYS if self.filtered => {
                refused("a seccomp filter refuses user namespaces".to_owned(), UNCONFINED)
            }
            Errno::INVAL if doing == "making a user namespace" => {
                refused("the process has several threads".to_owned(), "this is a fault of the program")
            }
            _ => refused(
                "this system refuses user namespaces".to_owned(),
                "run as root, for example with sudo; in a chroot and under some security modules there are none",
            ),
        }
    }
}

/// There are ranges, and nobody to map them.
pub(super) fn no_mapper(name: &str, user: &User) -> SandboxError {
    SandboxError::Refused {
        reason: format!(
            "{name} is not in PATH, and is needed to map the ids that {} has in /etc/subuid and /etc/subgid",
            user.shown()
        ),
        remedy: "install it: the package is uidmap on Debian and Ubuntu, shadow-utils or shadow elsewhere"
            .to_owned(),
    }
}

/// The ranges of a user are of no use.
pub(super) fn bad_ranges(file: &str, reason: &str, user: &User) -> SandboxError {
    let name = user.shown();
    SandboxError::Refused {
        reason: format!("the ids of {name} in /etc/{file} cannot be mapped: {reason}"),
        remedy: format!("correct the lines of {name} in /etc/subuid and /etc/subgid: see subuid(5)"),
    }
}

/// A program that maps ids has failed.
pub(super) fn not_mapped(said: &str, user: &User, programs: &[PathBuf; 2]) -> SandboxError {
    let powerless = programs.iter().find(|program| !has_power(program));
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bound = status.lines().any(|line| line.starts_with("NoNewPrivs:") && line.ends_with('1'));
    let (reason, remedy) = match powerless {
        Some(program) => (
            format!("{} is not set-user-ID root: {said}", program.display()),
            format!(
                "set it: sudo chown root:root {0} && sudo chmod u+s {0}, or install the package uidmap anew",
                program.display()
            ),
        ),
        None if bound => (
            format!("the process may gain no rights (no_new_privs), as newuidmap has to: {said}"),
            "run it from a shell that is not confined so".to_owned(),
        ),
        None => (
            format!("the ids of {} were not mapped: {said}", user.shown()),
            "check /etc/subuid and /etc/subgid: see subuid(5); after newgrp or sg, log in anew".to_owned(),
        ),
    };
    SandboxError::Refused { reason, remedy }
}

/// Whether a program can write maps: it belongs to root and is set-user-ID, or has capabilities of its own.
fn has_power(program: &Path) -> bool {
    let set = fs::metadata(program).is_ok_and(|found| found.mode() & 0o4000 != 0);
    set || rustix::fs::getxattr(program, c"security.capability", &mut [0_u8; 64]).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(settings: &[(&str, &str)], seccomp: &str) -> Kernel {
        let proc = tempfile::tempdir().expect("a directory");
        for (path, value) in settings {
            let path = proc.path().join("sys").join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            fs::write(path, format!("{value}\n")).expect("a file");
        }
        fs::create_dir_all(proc.path().join("self/ns")).expect("a directory");
        fs::write(proc.path().join("self/ns/user"), "").expect("a file");
        fs::write(proc.path().join("self/status"), format!("Name:\tx\nSeccomp:\t{seccomp}\n"))
            .expect("a file");
        Kernel::read(proc.path())
    }

    #[track_caller]
    fn says(kernel: &Kernel, errno: Errno, setting: &str, remedy: &str) {
        let SandboxError::Refused { reason, remedy: found } =
            kernel.refusal("making a user namespace", errno)
        else {
            panic!("no refusal");
        };
        assert!(reason.contains(setting) && found.contains(remedy), "{reason}\n{found}");
    }

    #[test]
    fn the_setting_in_the_way_is_named_with_its_remedy() {
        let most = |value| kernel(&[("user/max_user_namespaces", value)], "0");
        says(
            &most("0"),
            Errno::NOSPC,
            "max_user_namespaces is 0",
            "sysctl -w user.max_user_namespaces=15000",
        );
        says(&most("7"), Errno::NOSPC, "max_user_namespaces is 7", "raise it");
        let clone = kernel(&[("kernel/unprivileged_userns_clone", "0")], "0");
        says(&clone, Errno::PERM, "unprivileged_userns_clone is 0", "unprivileged_userns_clone=1");
        let apparmor = kernel(&[("kernel/apparmor_restrict_unprivileged_userns", "1")], "0");
        says(&apparmor, Errno::ACCESS, "AppArmor", "apparmor_restrict_unprivileged_userns=0");
        says(&kernel(&[], "2"), Errno::PERM, "seccomp", "--security-opt seccomp=unconfined");
        says(
            &kernel(&[("user/max_user_namespaces", "9")], "0"),
            Errno::PERM,
            "refuses user namespaces",
            "sudo",
        );
        says(&Kernel::default(), Errno::INVAL, "no user namespaces", "CONFIG_USER_NS");
    }
}

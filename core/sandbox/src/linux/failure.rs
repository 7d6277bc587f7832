//! Errors on their way from a step's process through the helper to the caller.

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::rootless::{self, Kernel};
use crate::SandboxError;

/// What went wrong before the command ran.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Failure {
    pub(super) stage: Stage,
    pub(super) message: String,
    /// The system's error number, where there is one.
    pub(super) errno: Option<i32>,
}

/// Where it went wrong; for some the error number then tells the remedy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Stage {
    Namespaces,
    /// Making the user namespace of a helper with emulators.
    UserNamespace,
    /// Mounting `binfmt_misc` in it.
    Binfmt,
    /// Registering an emulator.
    Emulator,
    Overlay,
    Mount,
    Group,
    /// Mounting `/proc`, which the kernel refuses where parts of it are hidden.
    Proc,
    Filter,
    Other,
    Source,
    /// Taking on, or giving something to, an id that the user namespace does not have.
    Ids,
    User,
    Exec,
}

pub(super) type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    pub(super) fn new(stage: Stage, message: impl Into<String>) -> Self {
        Self { stage, message: message.into(), errno: None }
    }
}

/// What lets a container's processes make namespaces and mounts.
const CONTAINER: &str = "in a container, start it with --privileged, or with --cap-add SYS_ADMIN \
                         --security-opt seccomp=unconfined --security-opt apparmor=unconfined";

/// What is left where no emulator can be registered in a namespace.
const HOST_HANDLERS: &str = "register QEMU on the host in its place, for example with the package qemu-user-binfmt \
                             (qemu-user-static), or with docker run --privileged --rm tonistiigi/binfmt --install all";

impl Failure {
    /// What it is for the caller. `emulating` says whether it comes from a helper with emulators.
    pub(super) fn explain(self, emulating: bool) -> SandboxError {
        use SandboxError::{Emulator, Exec, Ids, Setup, Source, User};
        let failure = self;
        let refused = |reason: &str, remedy: &str| SandboxError::Refused {
            reason: format!("{reason}: {}", failure.message),
            remedy: remedy.to_owned(),
        };
        let errno = failure.errno.map(Errno::from_raw_os_error);
        match (failure.stage, errno) {
            (Stage::User, _) => User(failure.message),
            (Stage::Exec, _) => Exec(failure.message),
            (Stage::Source, _) => Source(failure.message),
            (Stage::Ids, Some(Errno::INVAL)) => {
                Ids(format!("the user namespace has no such id: {}", failure.message))
            }
            (Stage::UserNamespace, Some(errno)) => {
                // The system's words are added anew.
                let doing = failure.message.rsplit_once(": ").map_or("", |(doing, _)| doing);
                Kernel::of_this_system().refusal(doing, errno)
            }
            (Stage::Binfmt, Some(Errno::PERM | Errno::ACCESS)) => refused(
                &format!(
                    "emulators can be registered in a user namespace from Linux 6.7 on, and this is {}",
                    rustix::system::uname().release().to_string_lossy()
                ),
                HOST_HANDLERS,
            ),
            (Stage::Binfmt, Some(Errno::NODEV)) => refused(
                "the kernel has no binfmt_misc",
                "load it: sudo modprobe binfmt_misc; or use a kernel with CONFIG_BINFMT_MISC",
            ),
            (Stage::Emulator, _) => Emulator(failure.message),
            (Stage::Proc, Some(Errno::PERM)) if emulating || rootless::in_user_namespace() => refused(
                "no /proc can be mounted for a step where parts of /proc are hidden, as container engines do",
                rootless::UNCONFINED,
            ),
            (
                Stage::Namespaces | Stage::Mount | Stage::Proc | Stage::Overlay,
                Some(errno @ (Errno::PERM | Errno::ACCESS)),
            ) => {
                if !rustix::process::geteuid().is_root() {
                    refused("build steps need root", "run as root, for example with sudo")
                } else if emulating && !rootless::in_user_namespace() {
                    refused("this system does not let a user namespace make mounts", HOST_HANDLERS)
                } else if rootless::in_user_namespace() {
                    Kernel::of_this_system().refusal(&failure.message, errno)
                } else {
                    refused("this system does not let root make namespaces and mounts", CONTAINER)
                }
            }
            (Stage::Namespaces, Some(Errno::NOSPC | Errno::USERS)) => refused(
                "the limit on namespaces is reached",
                "raise it: sysctl user.max_pid_namespaces user.max_mnt_namespaces user.max_uts_namespaces \
                 user.max_ipc_namespaces user.max_net_namespaces user.max_cgroup_namespaces shows the limits",
            ),
            (Stage::Namespaces, Some(Errno::NOSYS)) => {
                refused("clone3 is not there; an old container engine's seccomp profile hides it", CONTAINER)
            }
            (Stage::Overlay, Some(Errno::NODEV)) => {
                refused("the kernel has no overlay file system", "load it: modprobe overlay")
            }
            (Stage::Overlay, Some(Errno::INVAL)) => refused(
                "the store's file system cannot hold an overlay's changes",
                "move the store to ext4, xfs, btrfs or tmpfs; in a container, to a volume",
            ),
            (Stage::Group, Some(Errno::PERM | Errno::ACCESS | Errno::ROFS)) => refused(
                "this system lets no control groups be made",
                "run as root and, in a container, start it with --privileged; or leave limits and --cgroup-parent out",
            ),
            (Stage::Group, Some(Errno::BUSY)) => refused(
                "control groups with processes of their own cannot limit others",
                "name a group without processes with --cgroup-parent, for example --cgroup-parent=/rbx",
            ),
            (Stage::Group, Some(Errno::NOENT)) => refused(
                "a control group's controller is missing",
                "enable it in the kernel, or in the groups above with cgroup.subtree_control; or leave the limit out",
            ),
            (Stage::Filter, Some(Errno::NOSYS | Errno::INVAL)) => {
                refused("the kernel has no seccomp filters", "use a kernel with CONFIG_SECCOMP_FILTER")
            }
            _ => Setup(failure.message),
        }
    }
}

/// Says what was being done when a system call failed.
pub(super) trait During<T> {
    fn during(self, stage: Stage, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> During<T> for rustix::io::Result<T> {
    fn during(self, stage: Stage, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|errno| Failure {
            stage,
            message: format!("{}: {}", what(), describe(errno)),
            errno: Some(errno.raw_os_error()),
        })
    }
}

/// The system's words for an error, as Go spells them: in lower case, without the number.
pub(super) fn describe(errno: Errno) -> String {
    let text = errno.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emulators_that_cannot_be_registered_have_a_remedy() {
        let explain = |stage, errno: Errno| {
            let failure = Err::<(), _>(errno).during(stage, || "trying".to_owned()).expect_err("a failure");
            match failure.explain(true) {
                SandboxError::Refused { reason, remedy } => (reason, remedy),
                other => panic!("{other:?}"),
            }
        };
        let (reason, remedy) = explain(Stage::Binfmt, Errno::PERM);
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        assert!(reason.contains("from Linux 6.7 on") && reason.contains(&release), "{reason}");
        assert!(remedy.contains("qemu-user"), "{remedy}");
        let (reason, remedy) = explain(Stage::Binfmt, Errno::NODEV);
        assert!(reason.contains("no binfmt_misc: trying: no such device"), "{reason}");
        assert!(remedy.contains("modprobe binfmt_misc"), "{remedy}");
        let (reason, remedy) = explain(Stage::Proc, Errno::PERM);
        assert!(reason.contains("parts of /proc are hidden"), "{reason}");
        assert!(remedy.contains("--privileged"), "{remedy}");
    }

    #[test]
    fn errors_read_as_in_go() {
        assert_eq!(describe(Errno::NOENT), "no such file or directory");
        assert_eq!(describe(Errno::NOEXEC), "exec format error");
    }
}

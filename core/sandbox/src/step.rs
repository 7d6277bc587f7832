//! What a step is: the data that crosses from the engine to the helper.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One command and the world it runs in. Paths of the host are absolute: the helper's working directory is `/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The root file system.
    pub rootfs: RootFs,
    /// The command: `args[0]` is looked up in the `PATH` of [`Step::env`] unless it holds a slash.
    pub args: Vec<String>,
    /// The environment, complete. `HOME` is added from the root's `/etc/passwd` when it is not there.
    pub env: Vec<(String, String)>,
    /// The working directory inside the root, made (owned by the user) when it does not exist. Empty is `/`.
    pub working_dir: String,
    /// `""`, `name`, `uid`, `name:group` or `uid:gid`, resolved in the root's `/etc/passwd` and `/etc/group`.
    pub user: String,
    /// The host name the command sees.
    pub hostname: String,
    /// The network it has.
    pub network: Network,
    /// What it may do.
    pub security: Security,
    /// Mounts over the root, made in this order.
    pub mounts: Vec<Mount>,
    /// Size of `/dev/shm` in bytes; 64 MiB if not given.
    pub shm_size: Option<u64>,
    /// Resource limits; the others are those of the calling process.
    pub rlimits: Vec<Rlimit>,
    /// The control group it is in.
    pub group: ControlGroup,
    /// An OCI runtime, an absolute path, that runs the command in place of this crate.
    pub runtime: Option<PathBuf>,
    /// Whether the command is the second process of its PID namespace, after one that does nothing but wait for it.
    /// The first process of a namespace gets none of the signals that it sends itself: QEMU, which ends by the signal
    /// that its program got, would hang there. That a signal ended the command is then told by the exit code alone. An
    /// OCI runtime does as it likes.
    pub init: bool,
}

impl Step {
    /// A command with nothing around it, run by root: no environment, mounts or network, and no more rights than steps
    /// usually have.
    pub fn bare(rootfs: RootFs, args: Vec<String>) -> Self {
        Self {
            rootfs,
            args,
            env: Vec::new(),
            working_dir: String::new(),
            user: String::new(),
            hostname: String::new(),
            network: Network::None,
            security: Security::Sandbox,
            mounts: Vec::new(),
            shm_size: None,
            rlimits: Vec::new(),
            group: ControlGroup::default(),
            runtime: None,
            init: false,
        }
    }
}

/// The control group of a step: one of its own, removed after it.
///
/// Where no groups can be made and nothing is asked of one, the step is in the caller's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlGroup {
    /// The group that it is made in, a path below the root of every hierarchy; made when missing, and left. Beside the
    /// caller's own group, or in it, if not given.
    pub parent: Option<String>,
    /// What may be used in it.
    pub resources: Resources,
}

/// What may be used in a [`ControlGroup`]. Without a limit of its own a step has 15 % of the tasks that the system can
/// have, so that it cannot take the system with it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Memory in bytes.
    pub memory: Option<i64>,
    /// Memory and swap together in bytes; -1 is as much swap as there is.
    pub memory_swap: Option<i64>,
    /// The share of CPU time when others want it, too: 1024 is an ordinary one.
    pub cpu_shares: Option<u64>,
    /// The time for which [`Resources::cpu_quota`] is, in microseconds.
    pub cpu_period: Option<u64>,
    /// CPU time in microseconds for each period; -1 is none.
    pub cpu_quota: Option<i64>,
    /// The CPUs it runs on, such as `0-2,5`.
    pub cpuset_cpus: Option<String>,
    /// The memory nodes it takes memory from.
    pub cpuset_mems: Option<String>,
}

/// A root file system: an overlay of trees that stay as they are and one that takes the changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// The trees below, topmost first; none for a root that starts empty. At most 500.
    pub lower: Vec<PathBuf>,
    /// The tree that takes the changes, with whiteouts as character devices 0:0 and opaque directories marked by
    /// `user.overlay.opaque`.
    pub upper: PathBuf,
    /// An empty directory on the file system of `upper`, made for this step and of no use after it.
    pub work: PathBuf,
}

/// A mount over the root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Where, inside the root; symbolic links are followed inside the root. Made when missing, and removed again
    /// after the step.
    pub target: String,
    /// What.
    pub kind: MountKind,
}

/// What a [`Mount`] shows.
///
/// A `selector` is a path inside the mounted tree that is mounted in its place; empty is the whole. It is resolved
/// inside the tree, so a symbolic link cannot lead out of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountKind {
    /// A file, directory or socket of the host.
    Bind {
        /// The path on the host, trusted.
        source: PathBuf,
        /// The part of `source` to mount.
        selector: String,
        /// Whether the step may not write to it.
        read_only: bool,
    },
    /// Merged trees with a tree of their own that takes the changes: see [`RootFs`].
    Overlay {
        /// The trees below, topmost first.
        lower: Vec<PathBuf>,
        /// The tree that takes the changes.
        upper: PathBuf,
        /// An empty directory on the file system of `upper`.
        work: PathBuf,
        /// The part of the merged tree to mount.
        selector: String,
    },
    /// Merged trees, read-only.
    Tree {
        /// The trees, topmost first; none is an empty directory.
        lower: Vec<PathBuf>,
        /// The part of the merged tree to mount.
        selector: String,
    },
    /// A file system in memory, empty.
    Tmpfs {
        /// Its size in bytes; half of the memory if not given.
        size: Option<u64>,
        /// The permissions of its root, unless the target is there: then they are the target's.
        mode: u32,
        /// Whether the step may not write to it.
        read_only: bool,
    },
    /// A device node of its own, in a mount that allows devices.
    Device {
        /// The node on the host, shown itself where nodes cannot be made.
        source: PathBuf,
        /// Its kind.
        kind: DeviceKind,
        /// Its major number.
        major: u32,
        /// Its minor number.
        minor: u32,
        /// Its permissions.
        mode: u32,
        /// Its owner.
        uid: u32,
        /// Its group.
        gid: u32,
    },
    /// A file that never touches a disk: `/etc/hosts`, a secret.
    File {
        /// Its content.
        content: Vec<u8>,
        /// Whether the step may not write to it.
        read_only: bool,
        /// Its permissions.
        mode: u32,
        /// Its owner.
        uid: u32,
        /// Its group.
        gid: u32,
    },
}

/// The kind of a device node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceKind {
    /// A character device.
    Character,
    /// A block device.
    Block,
}

/// The network of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// The host's.
    Host,
    /// A loopback interface only.
    None,
}

/// What a step may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Security {
    /// Docker's default: 14 capabilities, its seccomp profile, masked and read-only paths, no device nodes.
    Sandbox,
    /// `RUN --security=insecure`: every capability this process has, no filter, nothing masked, device nodes.
    Insecure,
}

/// A resource limit, as `--ulimit` gives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// Its name without the prefix, in lower case: `nofile`, `nproc`, `core` …
    pub name: String,
    /// The soft limit; `u64::MAX` is none.
    pub soft: u64,
    /// The hard limit; `u64::MAX` is none.
    pub hard: u64,
}

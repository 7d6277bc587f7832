//! What goes in beside a step and what comes out.

#[cfg(unix)]
type Stream = std::os::fd::OwnedFd;
#[cfg(windows)]
type Stream = std::os::windows::io::OwnedHandle;

/// Where a step's output goes: the writing ends of pipes. The reading ends see the end of the file when the step has
/// ended and the caller has dropped this.
#[derive(Debug)]
pub struct Output {
    /// Standard output.
    pub stdout: Stream,
    /// Standard error.
    pub stderr: Stream,
}

/// How a step's command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Its exit code; 128 and the signal's number if a signal ended it, as a shell says.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Whether the kernel has killed something of the step for want of memory. With an OCI runtime, which makes a
    /// group of its own, it is not told by version 1 of control groups.
    pub out_of_memory: bool,
}

/// What this system gives to steps: see [`probe`](crate::probe).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// The kernel's release.
    pub kernel: String,
    /// Whether control groups are of version 2.
    pub unified_cgroups: bool,
}

/// How a process came by the rights that steps and their trees need: see [`become_root`](crate::become_root).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rights {
    /// It was root to begin with, of the system or of a user namespace.
    Root,
    /// It is root of a user namespace that has the ranges of ids that the user was given.
    Ranges,
    /// It is root of a user namespace that has no other id.
    OneId {
        /// How the user gets more ids: one line.
        remedy: String,
    },
}

//! Whether steps can run here, and if not, what to change.

use std::path::{Path, PathBuf};

use rustix::pipe::PipeFlags;

use super::cgroup::Layout;
use super::owner::Helper;
use crate::{Capabilities, Output, RootFs, SandboxError, Step};

/// Tries out, with a step that has nothing to execute, whether steps can run whose trees lie in `directory`, an
/// absolute path.
///
/// Where they cannot, [`SandboxError::Refused`] names the setting that is in the way and the remedy.
pub fn probe(directory: &Path) -> Result<Capabilities, SandboxError> {
    let helper = Helper::start(&[])?;
    let trees = Trees::make(directory).map_err(|error| SandboxError::Refused {
        reason: format!("no directory can be made in {}: {error}", directory.display()),
        remedy: "choose a directory for the store that root can write to".to_owned(),
    })?;
    let rootfs = RootFs { lower: Vec::new(), upper: trees.0.join("upper"), work: trees.0.join("work") };
    let step = Step { hostname: "probe".to_owned(), ..Step::bare(rootfs, vec!["/probe".to_owned()]) };
    let (_, stdout) = pipe()?;
    let (_, stderr) = pipe()?;
    match helper.run(&step, &Output { stdout, stderr })?.wait() {
        // There is no such command, and the process came far enough to look for it.
        Ok(_) | Err(SandboxError::Exec(_)) => Ok(Capabilities {
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            unified_cgroups: Layout::of_this_process().unified,
        }),
        Err(error) => Err(error),
    }
}

fn pipe() -> Result<(std::os::fd::OwnedFd, std::os::fd::OwnedFd), SandboxError> {
    rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|errno| SandboxError::Start(errno.into()))
}

/// The directories of a root that starts empty, removed when dropped.
struct Trees(PathBuf);

impl Trees {
    fn make(directory: &Path) -> std::io::Result<Self> {
        // Two probes at once in one process are told apart by their threads.
        let thread = rustix::thread::gettid().as_raw_nonzero();
        let trees = Self(directory.join(format!("probe-{}-{thread}", std::process::id())));
        std::fs::create_dir(&trees.0)?;
        std::fs::create_dir(trees.0.join("upper"))?;
        std::fs::create_dir(trees.0.join("work"))?;
        Ok(trees)
    }
}

impl Drop for Trees {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

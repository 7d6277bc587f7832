//! Emulators of a helper: programs that the kernel runs others with, registered in the helper's own user namespace.
//!
//! Since Linux 6.7 a user namespace can have a `binfmt_misc` of its own, which counts in place of the host's for every
//! process in it. Its handlers are there for as long as it is mounted anywhere. The helper mounts it nowhere: it holds
//! a descriptor, so that nothing of it can be seen in a step, and the kernel drops all of it with the helper, however
//! that ends.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rbx_emulation::{Architecture, Handler, Qemu};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::failure::{During, Failure, Result, Stage};
use super::mount::{self, INERT, READ_ONLY};

/// An emulator to be registered.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Emulator {
    /// The program.
    program: PathBuf,
    /// The name of the architecture that it is for.
    architecture: String,
}

impl Emulator {
    pub(super) fn new(qemu: &Qemu) -> Self {
        Self { program: qemu.path.clone(), architecture: qemu.architecture.name().to_owned() }
    }
}

/// Registers `emulators` in this process's user namespace, until the descriptor is closed.
pub(super) fn register(emulators: &[Emulator]) -> Result<OwnedFd> {
    let what = || "mounting binfmt_misc in a user namespace".to_owned();
    let binfmt = mount::filesystem("binfmt_misc", &[], INERT).during(Stage::Binfmt, what)?;
    // The kernel opens an emulator when it is registered, by a path that is seen from the working directory. So it is
    // given a name in a directory of this process's own: the path cannot be too long or lead elsewhere by now; and a
    // step, which can see it as the first argument of its emulator, learns nothing of the host.
    let names = mount::filesystem("tmpfs", &[("mode", "700")], INERT).during(Stage::Mount, what)?;
    rustix::process::fchdir(&names).during(Stage::Mount, what)?;
    for emulator in emulators {
        register_one(emulator, &binfmt, &names)?;
    }
    rustix::process::chdir(c"/").during(Stage::Mount, what)?;
    Ok(binfmt)
}

fn register_one(emulator: &Emulator, binfmt: &OwnedFd, names: &OwnedFd) -> Result<()> {
    let shown = emulator.program.display();
    let architecture = Architecture::all()
        .find(|architecture| architecture.name() == emulator.architecture)
        .ok_or_else(|| Failure::new(Stage::Emulator, format!("{shown} is for no known architecture")))?;
    // The copy of a mount, read-only, and of the program alone: a step that gets hold of its emulator, by
    // /proc/1/exe for one, cannot write to it, now or later.
    let file = mount::place(CWD, &emulator.program)
        .and_then(|file| mount::bind(file, "", READ_ONLY))
        .during(Stage::Emulator, || format!("opening {shown}"))?;
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    if let Err(unusable) = Qemu::at(architecture, Path::new(&link)) {
        return Err(Failure::new(Stage::Emulator, format!("{shown}: {unusable}")));
    }
    let what = || format!("registering {shown}");
    let name = format!("qemu-{}", architecture.qemu());
    rustix::fs::symlinkat(link, names, &*name).during(Stage::Emulator, what)?;
    let register = rustix::fs::openat(binfmt, c"register", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
        .during(Stage::Binfmt, what)?;
    // In one call, as the kernel wants it.
    File::from(register)
        .write_all(&Handler::qemu(architecture, Path::new(&name)).register_line())
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
        .during(Stage::Emulator, what)
}

//! Running tiny programs, to see what is really run.

#[cfg(target_os = "linux")]
pub(crate) use linux::output;
#[cfg(target_os = "linux")]
pub use linux::{host, with};

/// Whether this machine, as it is, runs programs of an architecture: no other system runs those of Linux.
#[cfg(not(target_os = "linux"))]
pub fn host(_: crate::Architecture) -> std::io::Result<bool> {
    Ok(false)
}

/// Whether an interpreter runs programs of an architecture: no other system runs those of Linux.
#[cfg(not(target_os = "linux"))]
pub fn with(_: &std::path::Path, _: crate::Architecture) -> std::io::Result<bool> {
    Ok(false)
}

#[cfg(target_os = "linux")]
mod linux {
    use std::ffi::OsStr;
    use std::fs::File;
    use std::io::{self, Read, Seek, SeekFrom, Write};
    use std::os::fd::AsRawFd;
    use std::path::{Path, PathBuf};
    use std::process::{Child, Command, ExitStatus, Stdio};

    use rustix::event::{PollFd, PollFlags, Timespec};
    use rustix::fs::MemfdFlags;
    use rustix::io::Errno;
    use rustix::process::{Pid, PidfdFlags};

    use crate::Architecture;

    /// How long a program may take that does nothing: enough for QEMU on a machine that is busy.
    const LIMIT: Timespec = Timespec { tv_sec: 20, tv_nsec: 0 };
    /// What is read of a program's output.
    const MOST_OUTPUT: u64 = 4096;

    /// Whether this machine, as it is, runs programs of an architecture, be it by its CPU or by a handler.
    ///
    /// The errors are those of starting any program.
    pub fn host(architecture: Architecture) -> io::Result<bool> {
        let program = Program::new(architecture)?;
        let mut command = Command::new(program.path());
        runs(command.stdout(Stdio::null()))
    }

    /// Whether an interpreter, such as QEMU, runs programs of an architecture.
    ///
    /// The errors are those of starting it.
    pub fn with(interpreter: &Path, architecture: Architecture) -> io::Result<bool> {
        let program = Program::new(architecture)?;
        let mut command = Command::new(interpreter);
        runs(command.arg(program.path()).stdout(Stdio::null()))
    }

    /// What a program writes to standard output, the beginning of it.
    pub(crate) fn output(program: &Path, arguments: &[&OsStr]) -> io::Result<String> {
        let mut file = memory("rbx-output", MemfdFlags::CLOEXEC)?;
        let mut command = Command::new(program);
        let status = finish(command.args(arguments).stdout(file.try_clone()?), LIMIT)?;
        if !status.success() {
            return Err(io::Error::other(status.to_string()));
        }
        file.seek(SeekFrom::Start(0))?;
        let mut text = Vec::new();
        file.take(MOST_OUTPUT).read_to_end(&mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    fn runs(command: &mut Command) -> io::Result<bool> {
        match finish(command, LIMIT) {
            Ok(status) => Ok(status.code() == Some(Architecture::STATUS)),
            // There is no such format; or its interpreter is gone.
            Err(error) => match error.raw_os_error().map(Errno::from_raw_os_error) {
                Some(Errno::NOEXEC | Errno::NOENT | Errno::INVAL | Errno::LOOP | Errno::LIBBAD) => Ok(false),
                _ => Err(error),
            },
        }
    }

    /// Runs to the end, or kills when it takes too long.
    fn finish(command: &mut Command, limit: Timespec) -> io::Result<ExitStatus> {
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::null()).env_clear().spawn()?;
        match ends_in_time(&child, limit) {
            Ok(true) => child.wait(),
            in_time => {
                child.kill()?;
                child.wait()?;
                in_time.and(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }

    fn ends_in_time(child: &Child, limit: Timespec) -> io::Result<bool> {
        let process = rustix::process::pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
        let mut wait = [PollFd::new(&process, PollFlags::IN)];
        loop {
            match rustix::event::poll(&mut wait, Some(&limit)) {
                Ok(ready) => return Ok(ready > 0),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// A tiny program in memory: no directory is needed that may be written to and executed from.
    struct Program(File);

    impl Program {
        fn new(architecture: Architecture) -> io::Result<Self> {
            let flags = MemfdFlags::CLOEXEC;
            let mut file = memory("rbx-trial", flags | MemfdFlags::EXEC)
                // Kernels before 6.3 do not know the flag, and need none.
                .or_else(|error| match error.kind() {
                    io::ErrorKind::InvalidInput => memory("rbx-trial", flags),
                    _ => Err(error),
                })?;
            file.write_all(&architecture.program())?;
            Ok(Self(file))
        }

        /// A path that leads to it in any process of this user, also when an interpreter opens it.
        fn path(&self) -> PathBuf {
            PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd()))
        }
    }

    fn memory(name: &str, flags: MemfdFlags) -> io::Result<File> {
        Ok(File::from(rustix::fs::memfd_create(name, flags)?))
    }

    #[cfg(test)]
    mod tests {
        use rbx_platform::Platform;
        use rbx_tests::Parts;

        use super::*;

        #[test]
        fn the_own_architecture_is_run() {
            let own = Architecture::of(&Platform::host()).unwrap();
            assert!(host(own).unwrap());
        }

        #[test]
        fn every_architecture_is_run_by_its_qemu() {
            let parts = Parts::locate();
            for architecture in Architecture::all() {
                let qemu = parts.program(&format!("qemu-{}", architecture.qemu()));
                assert!(with(&qemu, architecture).unwrap(), "{architecture}");
            }
        }

        #[test]
        fn a_wrong_interpreter_runs_nothing() {
            let parts = Parts::locate();
            let qemu = parts.program("qemu-aarch64");
            assert!(!with(&qemu, Architecture::Riscv64).unwrap());
            assert!(!with(Path::new("/bin/true"), Architecture::Arm64).unwrap());
            assert!(!with(Path::new("/no/such/qemu"), Architecture::Arm64).unwrap());
        }

        #[test]
        fn what_takes_too_long_is_ended() {
            let mut command = Command::new("/bin/sleep");
            let limit = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
            let error = finish(command.arg("1000"), limit).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        }

        #[test]
        fn output_is_bounded() {
            let text = output(Path::new("/bin/echo"), &[OsStr::new("x".repeat(10_000).as_str())]).unwrap();
            assert_eq!(text.len() as u64, MOST_OUTPUT);
            assert!(output(Path::new("/bin/false"), &[]).is_err());
        }
    }
}

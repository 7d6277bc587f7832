//! Terminals, and what people do at them.

use std::fs::{File, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::Child;

use rustix::process::{Pid, Signal};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

/// A terminal for a program to write to.
#[derive(Debug)]
pub struct Terminal {
    reader: OwnedFd,
    program: PathBuf,
}

impl Terminal {
    /// A terminal of so many columns and rows.
    ///
    /// # Panics
    ///
    /// If this machine has no pseudo-terminals.
    pub fn new(columns: u16, rows: u16) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let reader = rustix::pty::openpt(flags).expect("a pseudo-terminal");
        rustix::pty::grantpt(&reader).expect("a pseudo-terminal");
        rustix::pty::unlockpt(&reader).expect("a pseudo-terminal");
        let name = rustix::pty::ptsname(&reader, Vec::new()).expect("a name");
        let program = PathBuf::from(std::ffi::OsStr::from_bytes(name.as_bytes()));
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&reader, size).expect("a size");
        Self { reader, program }
    }

    /// The side that a program writes to and reads from.
    ///
    /// # Panics
    ///
    /// If it cannot be opened.
    pub fn program_side(&self) -> File {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        options.open(&self.program).expect("the other side of a pseudo-terminal")
    }

    /// What is written to the terminal. It ends with an error when no program has it open any more.
    pub fn into_reader(self) -> File {
        File::from(self.reader)
    }
}

/// Sends what Ctrl-C sends.
///
/// # Panics
///
/// If the process has ended and was waited for.
pub fn interrupt(child: &Child) {
    rustix::process::kill_process(Pid::from_child(child), Signal::INT).expect("a process");
}

//! The first process of a step whose command is to be the second ([`crate::Step::init`]).
//!
//! A program that dies of a signal under QEMU leaves QEMU to die of the same signal by its own hand. The first process
//! of a PID namespace cannot do that: the kernel drops signals that it does not handle, its own as well, and QEMU
//! would wait for ever. So a process of the helper's stays the first, and ends as the command did.

use std::fs::File;

use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Pid, WaitOptions};

use super::child::{Report, report};
use super::failure::{During, Result, Stage};
use super::sys::{self, Side};

/// Returns in a new process, the second. The first stays behind, and ends when that has ended.
pub(super) fn step_back(status: &mut File) -> Result<()> {
    // SAFETY: this process was cloned by one with a single thread, and has made no other.
    match unsafe { sys::clone(0) }.during(Stage::Other, || "making the command's process".to_owned())? {
        Side::Child => Ok(()),
        Side::Parent { pid, .. } => attend(pid, status),
    }
}

/// Waits for `command`, and for orphans. When this process ends, so does everything in the namespace.
///
/// It keeps every capability that it has, so that the step, which has fewer, may not trace it or look into it.
fn attend(command: Pid, status: &mut File) -> ! {
    // Nor may a step that has as many.
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
    loop {
        let (pid, ended) = match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some(ended)) => ended,
            Ok(None) | Err(Errno::INTR) => continue,
            Err(_) => sys::exit(125),
        };
        if pid != command {
            continue;
        }
        if let Some(signal) = ended.terminating_signal() {
            report(status, &Report::Killed { signal });
        }
        sys::exit(ended.exit_status().unwrap_or(125));
    }
}

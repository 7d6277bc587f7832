//! The step's own process, from its first instruction in new namespaces to the command.

use std::convert::Infallible;
use std::fs::File;
use std::io::Write;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use rustix::process::{Gid, Resource, Rlimit as Limit, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};
use serde::{Deserialize, Serialize};

use super::command::Command;
use super::failure::{During, Failure, Result, Stage};
use super::group::{Group, Groups};
use super::limits::Inherited;
use super::oci::Bundle;
use super::root::{self, Root};
use super::user::Ids;
use super::{first, limits, sys};
use crate::{Network, Security, Step};

/// What the helper hears from a step's process before it becomes the command: JSON values, one a line.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// The root is complete; these mount points were made in the upper tree.
    Mounted { stubs: Vec<Vec<u8>> },
    /// All is done but to execute the command.
    Ready,
    /// The command will not run.
    Failed(Failure),
    /// The command was ended by a signal, and this process could not end in the same way.
    Killed { signal: i32 },
}

/// What the helper has made once for all steps.
pub(super) struct Shared {
    pub(super) groups: Groups,
    /// A user namespace of one id does not let anybody drop groups.
    pub(super) may_set_groups: bool,
    pub(super) filter: Vec<libc::sock_filter>,
    /// What limits were before the helper raised them for itself.
    pub(super) inherited: Option<Inherited>,
}

/// The descriptors of a step.
pub(super) struct Streams {
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
    /// Where [`Report`]s go. It closes when the command is executed.
    pub(super) status: OwnedFd,
}

/// Docker's capabilities.
pub(super) const DEFAULT_CAPABILITIES: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::AUDIT_WRITE);

/// The status descriptor's number once all others are closed.
const STATUS: RawFd = 3;

/// Becomes the step's command.
pub(super) fn run(step: &Step, shared: &Shared, group: Option<&Group>, streams: Streams) -> ! {
    let mut status = File::from(streams.status);
    if let Some(runtime) = &step.runtime {
        let unified = shared.groups.layout.unified;
        let Err(failure) =
            become_runtime(step, runtime, unified, group, &mut status, &streams.stdout, &streams.stderr);
        report(&mut status, &Report::Failed(failure));
        sys::exit(125);
    }
    let failure = match enter_root(step, shared, group, &mut status, &streams.stdout, &streams.stderr) {
        Ok((command, ids)) => match close_descriptors(status) {
            Ok(moved) => {
                status = moved;
                let stepped_back = if step.init { first::step_back(&mut status) } else { Ok(()) };
                let Err(failure) =
                    stepped_back.and_then(|()| become_command(step, shared, &command, &ids, &mut status));
                failure
            }
            // There is nowhere left to say it: the helper sees a process that ended before its command ran.
            Err(_) => sys::exit(125),
        },
        Err(failure) => failure,
    };
    report(&mut status, &Report::Failed(failure));
    sys::exit(125)
}

pub(super) fn report(status: &mut File, report: &Report) {
    let mut line = serde_json::to_vec(report).unwrap_or_default();
    line.push(b'\n');
    // If the helper is gone, so is this process in a moment.
    let _ = status.write_all(&line);
}

/// Builds the root and becomes the OCI runtime that runs the command in it.
fn become_runtime(
    step: &Step,
    runtime: &Path,
    unified: bool,
    group: Option<&Group>,
    status: &mut File,
    stdout: &OwnedFd,
    stderr: &OwnedFd,
) -> Result<Infallible> {
    if let Some(group) = group {
        group.join()?;
    }
    rustix::process::umask(Mode::empty());
    let limits = raise_open_files();
    let bundle = Bundle::prepare(step, runtime, unified)?;
    report(status, &Report::Mounted { stubs: bundle.stubs.clone() });
    connect(stdout, stderr)?;
    if let Some(limits) = limits {
        // What this process has raised for itself it can lower again.
        let _ = rustix::process::setrlimit(Resource::Nofile, limits);
    }
    let what = || "starting a session".to_owned();
    rustix::process::setsid().during(Stage::Other, what)?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    sys::reset_signals();
    rustix::process::chdir(c"/").during(Stage::Other, what)?;
    report(status, &Report::Ready);
    // Every descriptor but the three closes with that.
    bundle.execute()
}

/// Makes the step's streams standard output and error.
fn connect(stdout: &OwnedFd, stderr: &OwnedFd) -> Result<()> {
    rustix::fs::open(c"/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .and_then(rustix::stdio::dup2_stdin)
        .and_then(|()| rustix::stdio::dup2_stdout(stdout))
        .and_then(|()| rustix::stdio::dup2_stderr(stderr))
        .during(Stage::Other, || "connecting standard input, output and error".to_owned())
}

/// Builds the root and makes it this process's: nothing of the host can be named afterwards, though some of it is
/// still open.
fn enter_root(
    step: &Step,
    shared: &Shared,
    group: Option<&Group>,
    status: &mut File,
    stdout: &OwnedFd,
    stderr: &OwnedFd,
) -> Result<(Command, Ids)> {
    if let Some(group) = group {
        group.join()?;
    }
    let cgroups = &shared.groups.layout;
    if cgroups.unified {
        // Only now, so that the step's group is the root of what it sees.
        sys::unshare_cgroup().during(Stage::Namespaces, || "making a control group namespace".to_owned())?;
    }
    rustix::process::umask(Mode::empty());
    let limits = raise_open_files();
    let Root { fd, ids, stubs } = root::build(step, cgroups, group)?;
    report(status, &Report::Mounted { stubs });

    let what = || "changing the root".to_owned();
    // The old root comes to lie over the new one, and goes.
    rustix::process::fchdir(&fd)
        .and_then(|()| rustix::process::pivot_root(c".", c"."))
        .and_then(|()| rustix::mount::unmount(c".", UnmountFlags::DETACH))
        .and_then(|()| rustix::process::chdir(c"/"))
        .during(Stage::Mount, what)?;

    rustix::system::sethostname(step.hostname.as_bytes())
        .during(Stage::Other, || format!("setting the host name {:?}", step.hostname))?;
    if step.network == Network::None {
        sys::raise_loopback().during(Stage::Other, || "bringing up the loopback interface".to_owned())?;
    }
    connect(stdout, stderr)?;
    // So that the user can open /dev/stdout. Something else than a pipe keeps its owner.
    for fd in [stdout, stderr] {
        let what = || format!("becoming user {}", ids.uid);
        let stat = rustix::fs::fstat(fd).during(Stage::Other, what)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Fifo {
            rustix::fs::fchown(fd, Some(Uid::from_raw(ids.uid)), None).during(Stage::Ids, what)?;
        }
    }
    if let Some(limits) = limits {
        // What this process has raised for itself it can lower again.
        let _ = rustix::process::setrlimit(Resource::Nofile, limits);
    }
    Ok((Command::new(step, &ids.home)?, ids))
}

/// Takes as many descriptors as are allowed, for hundreds of layers, and returns the limits to go back to.
fn raise_open_files() -> Option<Limit> {
    let limits = rustix::process::getrlimit(Resource::Nofile);
    rustix::process::setrlimit(Resource::Nofile, Limit { current: limits.maximum, maximum: limits.maximum })
        .ok()
        .map(|()| limits)
}

/// Closes every descriptor but the standard ones and `status`, which moves: not one that leads out of the root is
/// open when the working directory is entered (CVE-2024-21626).
fn close_descriptors(status: File) -> rustix::io::Result<File> {
    let old = OwnedFd::from(status);
    let moved = if old.as_raw_fd() == STATUS {
        old
    } else {
        // SAFETY: whatever has the number 3 is not used from here on: this process only executes the command or
        // exits, and the number's owner is never dropped, since nothing on the way here returns.
        let mut new = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(STATUS) });
        rustix::io::dup3(&old, &mut new, rustix::io::DupFlags::CLOEXEC)?;
        drop(old);
        ManuallyDrop::into_inner(new)
    };
    // SAFETY: as for the number 3, nobody uses or drops the owners of higher ones.
    unsafe { sys::close_from(STATUS + 1)? };
    Ok(moved.into())
}

/// Gives up what the step may not have, and executes its command.
fn become_command(
    step: &Step,
    shared: &Shared,
    command: &Command,
    ids: &Ids,
    status: &mut File,
) -> Result<Infallible> {
    let what = |what: &'static str| move || what.to_owned();
    rustix::process::setsid().during(Stage::Other, what("starting a session"))?;
    match sys::join_new_session_keyring() {
        // A kernel without keyrings.
        Ok(()) | Err(Errno::NOSYS) => {}
        Err(errno) => return Err(errno).during(Stage::Other, what("joining a session keyring")),
    }
    let directory = if step.working_dir.is_empty() { "/" } else { &step.working_dir };
    let entered = enter_directory(directory);
    if let Some(inherited) = &shared.inherited {
        inherited.restore(&step.rlimits);
    }
    step.rlimits.iter().try_for_each(limits::set)?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    sys::reset_signals();

    let groups: Vec<Gid> = ids.groups.iter().copied().map(Gid::from_raw).collect();
    let (uid, gid) = (Uid::from_raw(ids.uid), Gid::from_raw(ids.gid));
    let available =
        rustix::thread::capabilities(None).during(Stage::Other, what("reading capabilities"))?.permitted;
    let sandboxed = step.security == Security::Sandbox;
    let kept = if sandboxed { available & DEFAULT_CAPABILITIES } else { available };
    drop_bounding(kept)?;
    if shared.may_set_groups {
        rustix::thread::set_thread_groups(&groups)
            .during(Stage::Ids, || format!("taking on the groups {:?}", ids.groups))?;
    }
    rustix::thread::set_thread_res_gid(gid, gid, gid)
        .during(Stage::Ids, || format!("becoming group {}", ids.gid))?;
    if sandboxed {
        // While CAP_SYS_ADMIN is there: without it the filter would have to set no_new_privs, and `sudo` would fail.
        sys::install_filter(&shared.filter).during(Stage::Filter, what("installing the seccomp filter"))?;
    }
    rustix::thread::set_keep_capabilities(true)
        .and_then(|()| rustix::thread::set_thread_res_uid(uid, uid, uid))
        .during(Stage::Ids, || format!("becoming user {}", ids.uid))?;
    let inheritable = if sandboxed { CapabilitySet::empty() } else { kept };
    rustix::thread::set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable })
        .and_then(|()| rustix::thread::set_keep_capabilities(false))
        .and_then(|()| rustix::thread::clear_ambient_capability_set())
        .during(Stage::Other, what("setting capabilities"))?;
    for capability in inheritable.iter() {
        rustix::thread::configure_capability_in_ambient_set(capability, true)
            .during(Stage::Other, what("setting ambient capabilities"))?;
    }
    // What root was refused, on a network file system for one, the user may be granted.
    match entered {
        Err(Errno::ACCESS | Errno::PERM) => enter_directory(directory),
        entered => entered,
    }
    .during(Stage::Exec, || format!("changing to the working directory {directory}"))?;
    let file = command.find()?;
    report(status, &Report::Ready);
    command.execute(&file)
}

/// Makes `directory` the working directory, if it is inside the root.
fn enter_directory(directory: &str) -> rustix::io::Result<()> {
    rustix::process::chdir(directory)?;
    let here = rustix::process::getcwd(Vec::new())?;
    // The kernel says "(unreachable)" of a directory outside.
    if here.as_bytes().starts_with(b"/") { Ok(()) } else { Err(Errno::XDEV) }
}

fn drop_bounding(kept: CapabilitySet) -> Result<()> {
    for bit in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        match rustix::thread::capability_is_in_bounding_set(capability) {
            // The first that the kernel does not know.
            Err(_) => break,
            Ok(true) if !kept.contains(capability) => {
                rustix::thread::remove_capability_from_bounding_set(capability)
                    .during(Stage::Other, || format!("giving up capability {bit}"))?;
            }
            Ok(_) => {}
        }
    }
    Ok(())
}

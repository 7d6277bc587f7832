//! The helper process: takes steps from a socket and clones a process for each.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::mount::MountPropagationFlags;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use super::child::{self, Report, Shared, Streams};
use super::emulators::{self, Emulator};
use super::failure::{During, Failure, Stage};
use super::group::{Group, Groups};
use super::limits::Inherited;
use super::protocol::{self, Reply, Request};
use super::sys::{self, Side};
use super::{MARKER, identity, oci, resolve};
use crate::{Network, Step, seccomp};

/// The first call of `main` in a program that runs steps.
///
/// Returns at once, unless the process was started as a helper: then it serves steps and exits when its owner does.
/// Nothing may have started a thread before, which is why it comes first.
pub fn enter() {
    if std::env::args_os().next().is_some_and(|name| name == MARKER) {
        #[expect(clippy::exit, clippy::disallowed_methods, reason = "this process is not the program's own")]
        std::process::exit(start());
    }
}

/// The first process: it makes the helper proper as its sibling, first in a PID namespace, and ends. When the first
/// process of a namespace ends, by whatever signal, the kernel kills all others in it.
fn start() -> i32 {
    // SAFETY: descriptors that came from the owner by mistake; nothing in this process knows them.
    if unsafe { sys::close_from(3) }.is_err() {
        return 1;
    }
    let socket = rustix::stdio::stdin();
    let Ok(Some((Request::Start { emulators }, _))) = protocol::receive(socket) else {
        // An owner that is gone.
        return 1;
    };
    let made = if emulators.is_empty() { make_plain(socket) } else { make_emulating(socket, &emulators) };
    match made {
        Ok(()) => 0,
        Err(failure) => {
            // Without an owner there is nobody to tell.
            let _ = reply(socket, &Reply::Refused(failure));
            1
        }
    }
}

const HELPER: libc::c_int = libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_PARENT;

/// Makes a helper that has all the rights of this process.
fn make_plain(socket: BorrowedFd<'_>) -> Result<(), Failure> {
    // SAFETY: `main` has called `enter` before anything else, so this is the only thread.
    let side = unsafe { sys::clone(HELPER) };
    match side.during(Stage::Namespaces, || "making namespaces".to_owned())? {
        Side::Parent { pid, .. } => started(socket, pid),
        Side::Child => serve(socket, &[], None),
    }
}

/// Makes a helper in a user namespace of its own, with the ids that this one has. Only a process that stays outside can
/// map them: this one.
fn make_emulating(socket: BorrowedFd<'_>, emulators: &[Emulator]) -> Result<(), Failure> {
    let what = || "making a user namespace for emulators".to_owned();
    let (mapped, map) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).during(Stage::Other, what)?;
    let inherited = Inherited::raise();
    // SAFETY: as in `make_plain`.
    match unsafe { sys::clone(HELPER | libc::CLONE_NEWUSER) }.during(Stage::UserNamespace, what)? {
        Side::Parent { pid, .. } => {
            // Whatever happens now, the owner has to bury it.
            started(socket, pid)?;
            identity::map(pid)
                .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
                .during(Stage::UserNamespace, || "mapping ids".to_owned())?;
            rustix::io::write(&map, b"!").map(drop).during(Stage::Other, what)
        }
        Side::Child => {
            drop(map);
            // Without its ids it can do nothing. If they were refused, the other process tells why.
            if File::from(mapped).read_exact(&mut [0]).is_err() {
                sys::exit(1);
            }
            serve(socket, emulators, Some(inherited))
        }
    }
}

fn started(socket: BorrowedFd<'_>, pid: Pid) -> Result<(), Failure> {
    reply(socket, &Reply::Started { pid: pid.as_raw_nonzero().get() })
        .map_err(|error| Failure::new(Stage::Other, format!("telling of the helper: {error}")))
}

fn reply(socket: BorrowedFd<'_>, reply: &Reply) -> io::Result<()> {
    protocol::send(socket, &serde_json::to_vec(reply)?, &[])
}

/// A step that is running.
struct Job {
    pidfd: OwnedFd,
    /// The reading end of the status pipe, until the command is executed.
    status: Option<OwnedFd>,
    reports: Vec<u8>,
    upper: PathBuf,
    /// The OCI runtime it is, and where that writes down why it fails.
    runtime: Option<(PathBuf, PathBuf)>,
    group: Option<Group>,
}

/// Serves steps until the owner is gone. With `emulators` this is the first process of a user namespace.
fn serve(
    socket: BorrowedFd<'_>,
    emulators: &[Emulator],
    inherited: Option<Inherited>,
) -> Result<(), Failure> {
    let what = || "preparing the helper".to_owned();
    // Beside the end of the socket, the sign that the owner is gone. It reaches this process as SIGKILL.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).during(Stage::Other, what)?;
    rustix::thread::set_name(c"rbx-sandbox").during(Stage::Other, what)?;
    // A terminal's signals are for the program; it decides what becomes of the steps.
    rustix::process::setsid().during(Stage::Other, what)?;
    // What is unmounted on the host is unmounted here, and nothing goes the other way.
    let downstream = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    rustix::mount::mount_change(c"/", downstream).during(Stage::Mount, what)?;
    if let Some(inherited) = &inherited {
        inherited.lower();
    }
    // They are there for as long as this is open.
    let _registered = if emulators.is_empty() { None } else { Some(emulators::register(emulators)?) };
    let filter = seccomp::default_profile()
        .ok_or_else(|| Failure::new(Stage::Filter, "there is no seccomp profile for this CPU"))?;
    let setgroups = std::fs::read_to_string("/proc/self/setgroups").unwrap_or_default();
    let may_set_groups = setgroups.trim() != "deny";
    let mut shared = Shared { groups: Groups::new(), may_set_groups, filter, inherited };

    let mut jobs: BTreeMap<u64, Job> = BTreeMap::new();
    // From here on a lost socket is the normal end.
    let served = reply(socket, &Reply::Ready).and_then(|()| {
        loop {
            let ready = wait(socket, &jobs)?;
            for id in ready.status {
                read_reports(&mut jobs, id);
            }
            for id in ready.ended {
                if let Some(job) = jobs.remove(&id) {
                    reply(socket, &end(id, job))?;
                }
            }
            if ready.socket {
                match protocol::receive(socket)? {
                    None => return Ok(()),
                    Some((Request::Run { id, step }, fds)) => match run(&step, &mut shared, fds) {
                        Ok(job) => drop(jobs.insert(id, job)),
                        Err(failure) => reply(socket, &Reply::Failed { id, failure })?,
                    },
                    // It comes once.
                    Some((Request::Start { .. }, _)) => {}
                    Some((Request::Kill { id }, _)) => {
                        if let Some(job) = jobs.get(&id) {
                            // It may have ended a moment ago; that is heard next.
                            let _ = rustix::process::pidfd_send_signal(&job.pidfd, Signal::KILL);
                            if let Some(group) = &job.group {
                                group.kill();
                            }
                        }
                    }
                }
            }
        }
    });
    // With the owner gone nobody waits for the steps that are left, but their groups have to go.
    for job in jobs.into_values() {
        let _ = rustix::process::pidfd_send_signal(&job.pidfd, Signal::KILL);
        let _ = rustix::process::waitid(WaitId::PidFd(job.pidfd.as_fd()), WaitIdOptions::EXITED);
        if let Some(group) = job.group {
            group.remove();
        }
    }
    served.map_err(|error: io::Error| Failure::new(Stage::Other, format!("serving steps: {error}")))
}

/// What can be done without waiting.
struct Ready {
    socket: bool,
    status: Vec<u64>,
    ended: Vec<u64>,
}

fn wait(socket: BorrowedFd<'_>, jobs: &BTreeMap<u64, Job>) -> io::Result<Ready> {
    let mut fds = vec![PollFd::from_borrowed_fd(socket, PollFlags::IN)];
    for job in jobs.values() {
        fds.push(PollFd::new(&job.pidfd, PollFlags::IN));
        fds.extend(job.status.as_ref().map(|status| PollFd::new(status, PollFlags::IN)));
    }
    loop {
        match rustix::event::poll(&mut fds, None) {
            Err(Errno::INTR) => {}
            result => break result.map(drop)?,
        }
    }
    let mut fired = fds.iter().map(|fd| !fd.revents().is_empty());
    let mut fired = || fired.next().unwrap_or(false);
    let mut ready = Ready { socket: fired(), status: Vec::new(), ended: Vec::new() };
    for (&id, job) in jobs {
        if fired() {
            ready.ended.push(id);
        }
        if job.status.is_some() && fired() {
            ready.status.push(id);
        }
    }
    Ok(ready)
}

/// Clones the step's process.
fn run(step: &Step, shared: &mut Shared, fds: Vec<OwnedFd>) -> Result<Job, Failure> {
    let Ok([stdout, stderr]) = <[OwnedFd; 2]>::try_from(fds) else {
        return Err(Failure::new(Stage::Other, "a step came without its two streams"));
    };
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .during(Stage::Other, || "making a pipe".to_owned())?;
    let mut flags = libc::CLONE_NEWPID | libc::CLONE_NEWNS;
    // An OCI runtime makes these itself.
    if step.runtime.is_none() {
        flags |= libc::CLONE_NEWUTS | libc::CLONE_NEWIPC;
        if step.network == Network::None {
            flags |= libc::CLONE_NEWNET;
        }
    }
    let group = shared.groups.make(&step.group)?;
    // SAFETY: the helper has one thread.
    match unsafe { sys::clone(flags) }.during(Stage::Namespaces, || "making namespaces for a step".to_owned())
    {
        Ok(Side::Child) => {
            child::run(step, shared, group.as_ref(), Streams { stdout, stderr, status: writer })
        }
        Ok(Side::Parent { pidfd, .. }) => {
            let upper = step.rootfs.upper.clone();
            let runtime = step.runtime.clone().map(|runtime| (runtime, step.rootfs.work.clone()));
            Ok(Job { pidfd, status: Some(reader), reports: Vec::new(), upper, runtime, group })
        }
        Err(failure) => {
            if let Some(group) = group {
                group.remove();
            }
            Err(failure)
        }
    }
}

/// Reads what a step's process has said so far.
fn read_reports(jobs: &mut BTreeMap<u64, Job>, id: u64) {
    let Some(job) = jobs.get_mut(&id) else { return };
    let Some(status) = &job.status else { return };
    let mut buffer = [0; 4096];
    match rustix::io::read(status, &mut buffer) {
        Ok(0) => job.status = None,
        Ok(length) => job.reports.extend_from_slice(buffer.get(..length).unwrap_or_default()),
        Err(Errno::INTR) => {}
        Err(_) => job.status = None,
    }
}

/// Takes leave of a step whose first process has ended, and with it its PID namespace and its mounts.
fn end(id: u64, mut job: Job) -> Reply {
    if let Some(status) = job.status.take() {
        // Nobody holds the other end any more.
        let _ = File::from(status).read_to_end(&mut job.reports);
    }
    let mut stubs = Vec::new();
    let mut started = false;
    let mut failed = None;
    let mut killed = None;
    for report in serde_json::Deserializer::from_slice(&job.reports).into_iter::<Report>().flatten() {
        match report {
            Report::Mounted { stubs: made } => stubs = made,
            Report::Ready => started = true,
            Report::Failed(failure) => failed = Some(failure),
            Report::Killed { signal } => killed = Some(signal),
        }
    }
    let status = loop {
        match rustix::process::waitid(WaitId::PidFd(job.pidfd.as_fd()), WaitIdOptions::EXITED) {
            Err(Errno::INTR) => {}
            result => break result.ok().flatten(),
        }
    };
    let out_of_memory = job.group.as_ref().is_some_and(Group::ran_out_of_memory);
    if let Some(group) = job.group.take() {
        group.remove();
    }
    let cleaned = resolve::remove_stubs(&job.upper, &stubs)
        .during(Stage::Other, || format!("removing mount points from {}", job.upper.display()));
    let signal = killed.or_else(|| status.as_ref()?.terminating_signal());
    let code = status.as_ref().and_then(rustix::process::WaitIdStatus::exit_status);
    let code = code.filter(|_| killed.is_none());
    let failed = failed.or_else(|| {
        // A process that was killed on purpose before its command ran has been killed, that is all.
        (!started && signal != Some(Signal::KILL.as_raw()))
            .then(|| Failure::new(Stage::Other, "the step's process ended before its command ran"))
    });
    let failed = failed.or_else(|| {
        let (runtime, work) = job.runtime.as_ref().filter(|_| code.is_some_and(|code| code != 0))?;
        oci::failure(runtime, work)
    });
    if let Some(failure) = failed.or(cleaned.err()) {
        return Reply::Failed { id, failure };
    }
    let code = code.unwrap_or_else(|| 128 + signal.unwrap_or_default());
    Reply::Exited { id, code, signal, out_of_memory }
}

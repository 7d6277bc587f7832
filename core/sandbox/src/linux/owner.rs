//! The caller's side of the helper.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rbx_emulation::Qemu;
use rustix::fs::CWD;
use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType};
use rustix::process::{Pid, WaitOptions};

use super::MARKER;
use super::emulators::Emulator;
use super::mount::{self, READ_ONLY};
use super::protocol::{self, Reply, Request};
use crate::{Exit, Output, SandboxError, Step};

type Outcome = Result<Exit, SandboxError>;

/// A helper process, which runs steps for this one; any number at once, from any thread.
///
/// It ends when this is dropped, or when the owning process does, however that happens; every step ends with it.
#[derive(Debug)]
pub struct Helper {
    shared: Arc<Shared>,
    emulating: bool,
    /// Starts the helper, hears it and buries it. The kernel ends the helper with the *thread* that started it, so
    /// that has to be one that lasts.
    keeper: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    socket: Mutex<OwnedFd>,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    steps: BTreeMap<u64, Sender<Outcome>>,
    lost: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds one of these locks, and both values are whole at every step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Helper {
    /// Starts the helper; [`enter`](crate::enter) must be the first call of this program's `main`.
    ///
    /// With `emulators` (static programs; at most one for an architecture, and none for this machine's own, which would
    /// be run by itself) it runs the programs of their architectures, too, even those that the CPU runs. It is then in a user namespace of its own, which has the ids of this
    /// process's, and registers the emulators there; nothing of that can be seen outside, and nothing is left after
    /// it. Its steps, of whatever architecture, make no device nodes, see the host's, and open no raw sockets on the
    /// host's network. Those for other CPUs want [`Step::init`]. It needs Linux 6.7.
    ///
    /// Fails with [`SandboxError::Refused`] where namespaces are refused, and with [`SandboxError::Emulator`] where an
    /// emulator is of no use.
    pub fn start(emulators: &[Qemu]) -> Result<Self, SandboxError> {
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .map_err(start_error)?;
        let reader = ours.try_clone().map_err(SandboxError::Start)?;
        let emulating = !emulators.is_empty();
        let request = Request::Start { emulators: emulators.iter().map(Emulator::new).collect() };
        let message = serde_json::to_vec(&request).map_err(SandboxError::Describe)?;
        protocol::send(&ours, &message, &[]).map_err(SandboxError::Start)?;
        let shared = Arc::new(Shared { socket: Mutex::new(ours), waiting: Mutex::default() });
        let (announce, announced) = mpsc::channel();
        let keeper = std::thread::Builder::new()
            .name("rbx-sandbox".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || keep(theirs, &reader, &shared, emulating, &announce)
            })
            .map_err(SandboxError::Start)?;
        match announced.recv() {
            Ok(Ok(())) => Ok(Self { shared, emulating, keeper: Some(keeper) }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(SandboxError::Lost),
        }
    }

    /// Starts a step. That its command could not be executed is heard from [`Running::wait`].
    pub fn run(&self, step: &Step, output: &Output) -> Result<Running, SandboxError> {
        if let Some(runtime) = step.runtime.as_ref().filter(|_| self.emulating) {
            // runc and crun take a user namespace that has every id for none, and would make device nodes.
            return Err(SandboxError::Refused {
                reason: format!("{} cannot run steps where emulators are registered", runtime.display()),
                remedy: "leave --oci-runtime and RBX_OCI_RUNTIME away, or register QEMU on the host"
                    .to_owned(),
            });
        }
        let (sender, outcome) = mpsc::channel();
        let id = {
            let mut waiting = lock(&self.shared.waiting);
            if waiting.lost {
                return Err(SandboxError::Lost);
            }
            waiting.next += 1;
            let id = waiting.next;
            waiting.steps.insert(id, sender);
            id
        };
        let request = Request::Run { id, step: Box::new(step.clone()) };
        let sent = serde_json::to_vec(&request).map_err(SandboxError::Describe).and_then(|message| {
            let socket = lock(&self.shared.socket);
            protocol::send(socket.as_fd(), &message, &[output.stdout.as_fd(), output.stderr.as_fd()])
                .map_err(|_| SandboxError::Lost)
        });
        if let Err(error) = sent {
            lock(&self.shared.waiting).steps.remove(&id);
            return Err(error);
        }
        Ok(Running { killer: Killer { id, shared: Arc::clone(&self.shared) }, outcome, ended: false })
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // An error means that the other side is gone already.
        let _ = rustix::net::shutdown(lock(&self.shared.socket).as_fd(), Shutdown::Both);
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
    }
}

/// A step that was started. Dropping it unwaited kills the step.
#[derive(Debug)]
pub struct Running {
    killer: Killer,
    outcome: Receiver<Outcome>,
    ended: bool,
}

impl Running {
    /// Waits until the command has ended. By then nothing it started is alive, and its mounts are gone.
    pub fn wait(mut self) -> Result<Exit, SandboxError> {
        let outcome = self.outcome.recv().unwrap_or(Err(SandboxError::Lost));
        self.ended = true;
        outcome
    }

    /// Kills the command and everything it started; [`Running::wait`] then tells of signal 9.
    pub fn kill(&self) {
        self.killer.kill();
    }

    /// A handle that kills the step from elsewhere, while this one waits.
    pub fn killer(&self) -> Killer {
        self.killer.clone()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            self.kill();
        }
    }
}

/// Kills a step: see [`Running::killer`].
#[derive(Debug, Clone)]
pub struct Killer {
    id: u64,
    shared: Arc<Shared>,
}

impl Killer {
    /// Kills the command and everything it started. Does nothing if it has ended.
    pub fn kill(&self) {
        if let Ok(message) = serde_json::to_vec(&Request::Kill { id: self.id }) {
            // If the helper cannot be reached, it is gone, and its steps with it.
            let _ = protocol::send(lock(&self.shared.socket).as_fd(), &message, &[]);
        }
    }
}

fn start_error(errno: rustix::io::Errno) -> SandboxError {
    SandboxError::Start(errno.into())
}

/// The keeper thread: starts the helper and hands its replies on until it ends.
fn keep(
    theirs: OwnedFd,
    socket: &OwnedFd,
    shared: &Shared,
    emulating: bool,
    announce: &Sender<Result<(), SandboxError>>,
) {
    match spawn(theirs).and_then(|()| greet(socket, emulating)) {
        Ok(pid) => {
            let _ = announce.send(Ok(()));
            while let Ok(Some((reply, _))) = protocol::receive::<Reply>(socket) {
                let (id, outcome) = match reply {
                    Reply::Exited { id, code, signal, out_of_memory } => {
                        (id, Ok(Exit { code, signal, out_of_memory }))
                    }
                    Reply::Failed { id, failure } => (id, Err(failure.explain(emulating))),
                    Reply::Started { .. } | Reply::Ready | Reply::Refused(_) => continue,
                };
                if let Some(waiter) = lock(&shared.waiting).steps.remove(&id) {
                    // A caller that does not wait any more has dropped its end.
                    let _ = waiter.send(outcome);
                }
            }
            bury(pid);
            let mut waiting = lock(&shared.waiting);
            waiting.lost = true;
            // Dropping the senders tells every waiting caller.
            waiting.steps.clear();
        }
        Err(error) => drop(announce.send(Err(error))),
    }
}

/// Starts this executable as a helper with `socket` as its standard input.
fn spawn(socket: OwnedFd) -> Result<(), SandboxError> {
    // The copy of a mount, read-only, and of the executable alone: a step that gets hold of the helper's executable
    // cannot write to it (CVE-2019-5736). Who may not make mounts cannot run steps either, and hears of it from the
    // helper.
    let executable = "/proc/self/exe";
    let guarded = mount::place(CWD, executable).and_then(|file| mount::bind(file, "", READ_ONLY)).ok();
    let path =
        guarded.as_ref().map_or(executable.to_owned(), |fd| format!("/proc/self/fd/{}", fd.as_raw_fd()));
    let status = Command::new(path)
        .arg0(MARKER)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(socket))
        .stdout(Stdio::null())
        .status()
        .map_err(SandboxError::Start)?;
    // Refusals come over the socket; what else the first process can say is in its code.
    match status.code() {
        Some(0 | 1) => Ok(()),
        _ => Err(SandboxError::Start(io::Error::other(format!("its first process ended with {status}")))),
    }
}

/// Hears the helper's first words and returns its process.
fn greet(socket: &OwnedFd, emulating: bool) -> Result<Pid, SandboxError> {
    let mut pid = None;
    let mut ready = false;
    let mut refusal = None;
    loop {
        // Two processes speak, in no certain order.
        match protocol::receive(socket).map_err(SandboxError::Start)? {
            Some((Reply::Started { pid: number }, _)) => pid = Pid::from_raw(number),
            Some((Reply::Ready, _)) => ready = true,
            Some((Reply::Refused(failure), _)) => refusal = Some(failure),
            Some(_) => {}
            None => {
                pid.into_iter().for_each(bury);
                let refusal = refusal.map(|failure| failure.explain(emulating));
                return Err(refusal.unwrap_or(SandboxError::Lost));
            }
        }
        if let Some(pid) = pid.filter(|_| ready) {
            return Ok(pid);
        }
    }
}

/// Waits for the helper's end.
fn bury(pid: Pid) {
    while matches!(rustix::process::waitpid(Some(pid), WaitOptions::empty()), Err(rustix::io::Errno::INTR)) {}
}

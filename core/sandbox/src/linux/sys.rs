//! The system calls that rustix has no safe form of.

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use rustix::io::{Errno, Result};
use rustix::process::Pid;

/// The error of the system call just made.
fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

fn check(result: libc::c_long) -> Result<libc::c_long> {
    if result < 0 { Err(last_error()) } else { Ok(result) }
}

/// Which side of [`clone`] this is.
pub(super) enum Side {
    Child,
    Parent { pid: Pid, pidfd: OwnedFd },
}

/// The arguments of `clone3(2)`, first version.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
}

/// Makes a child process in the new namespaces that `flags` name; with `CLONE_PARENT` a sibling.
///
/// # Safety
///
/// The process has one thread: the child has a copy of that thread only, and whatever another one had locked would
/// stay locked in it.
pub(super) unsafe fn clone(flags: libc::c_int) -> Result<Side> {
    let mut pidfd: RawFd = -1;
    let sibling = flags & libc::CLONE_PARENT != 0;
    let args = CloneArgs {
        flags: u64::from((flags | libc::CLONE_PIDFD).cast_unsigned()),
        pidfd: ptr::from_mut(&mut pidfd) as u64,
        // A sibling has its maker's exit signal, and the kernel refuses another.
        exit_signal: if sibling { 0 } else { u64::from(libc::SIGCHLD.cast_unsigned()) },
        ..CloneArgs::default()
    };
    // SAFETY: `args` is a valid `clone_args` of the size given and `pidfd` outlives the call. Without CLONE_VM the
    // child runs on a copy of this memory, stack included, so both sides return as from `fork`; the caller promises
    // that no other thread exists.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) })?;
    match i32::try_from(pid).ok().and_then(Pid::from_raw) {
        None => Ok(Side::Child),
        Some(pid) => {
            // SAFETY: clone3 succeeded with CLONE_PIDFD, so it has stored a new descriptor that nobody else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Side::Parent { pid, pidfd })
        }
    }
}

/// Makes this process's control group the root of those it sees.
pub(super) fn unshare_cgroup() -> Result<()> {
    // SAFETY: the call touches no memory.
    check(unsafe { libc::unshare(libc::CLONE_NEWCGROUP) }.into()).map(drop)
}

/// Ends the process at once, without running anything that the process it was cloned from has registered.
pub(super) fn exit(code: i32) -> ! {
    // SAFETY: `_exit` takes any code and touches no memory.
    unsafe { libc::_exit(code) }
}

/// Executes `path`, and returns only if that fails.
pub(super) fn execve(path: &CStr, args: &[CString], env: &[CString]) -> Result<Infallible> {
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
    };
    let (args, env) = (pointers(args), pointers(env));
    // SAFETY: `path` ends in NUL, and both arrays are ended by a null pointer and point to strings that live, and
    // end in NUL, until after the call.
    unsafe { libc::execve(path.as_ptr(), args.as_ptr(), env.as_ptr()) };
    Err(last_error())
}

/// The argument of `mount_setattr(2)`, first version.
#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Sets `attributes` on the mount whose root `mount` is, and on all below it if `recursive`.
pub(super) fn mount_setattr(mount: impl AsFd, attributes: u64, recursive: bool) -> Result<()> {
    let attr = MountAttr { attr_set: attributes, attr_clr: 0, propagation: 0, userns_fd: 0 };
    set_mount(mount, &attr, if recursive { libc::AT_RECURSIVE } else { 0 })
}

/// Has nothing that is mounted elsewhere appear in `mount` and in those below it.
pub(super) fn make_private(mount: impl AsFd) -> Result<()> {
    let attr = MountAttr { attr_set: 0, attr_clr: 0, propagation: libc::MS_PRIVATE, userns_fd: 0 };
    set_mount(mount, &attr, libc::AT_RECURSIVE)
}

fn set_mount(mount: impl AsFd, attr: &MountAttr, flags: libc::c_int) -> Result<()> {
    // SAFETY: the path ends in NUL, `attr` is a valid `mount_attr` of the size given, and both outlive the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | flags,
            ptr::from_ref(attr),
            size_of::<MountAttr>(),
        )
    })
    .map(drop)
}

/// Closes every descriptor from `first` on.
///
/// # Safety
///
/// The process must not use, or close, any of them afterwards.
pub(super) unsafe fn close_from(first: RawFd) -> Result<()> {
    // SAFETY: the call touches no memory; the caller gives the descriptors up.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) }).map(drop)
}

/// Gives every signal its default action and blocks none, as a shell expects to be started. Rust ignores SIGPIPE,
/// and the caller may have been started by `nohup`; both outlive `execve`.
pub(super) fn reset_signals() {
    /// The kernel's `struct sigaction`, which has three or four words on a 64-bit CPU; all zero is `SIG_DFL`.
    const DEFAULT: [u64; 4] = [0; 4];
    for signal in 1..=64 {
        // By system call, since the C library does not let the signals 32 and 33 be set, which it keeps to itself.
        // SAFETY: the kernel reads at most the 32 bytes of `DEFAULT`, and SIG_DFL installs no code. For SIGKILL and
        // SIGSTOP the call fails and changes nothing.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                DEFAULT.as_ptr(),
                ptr::null_mut::<u64>(),
                size_of::<u64>(),
            );
        }
    }
    // SAFETY: an all-zero `sigset_t` is a valid one, `sigemptyset` gives it its value, and the old mask is not
    // asked for.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
    }
}

/// Leaves the session keyring for a new one without a name, so that the host's keys are out of reach.
pub(super) fn join_new_session_keyring() -> Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: a null name asks for an anonymous keyring; no memory is read.
    check(unsafe {
        libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, ptr::null::<libc::c_char>())
    })
    .map(drop)
}

/// Installs a seccomp filter for this thread and what it executes.
pub(super) fn install_filter(program: &[libc::sock_filter]) -> Result<()> {
    const SECCOMP_SET_MODE_FILTER: libc::c_uint = 1;
    /// No mitigation of speculative store bypass on account of the filter, as runc does.
    const SECCOMP_FILTER_FLAG_SPEC_ALLOW: libc::c_uint = 4;
    let len = u16::try_from(program.len()).map_err(|_| Errno::TOOBIG)?;
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    // SAFETY: `program` points to `len` instructions, which the kernel only reads, and verifies.
    check(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            SECCOMP_SET_MODE_FILTER,
            SECCOMP_FILTER_FLAG_SPEC_ALLOW,
            &raw const program,
        )
    })
    .map(drop)
}

/// Brings up the loopback interface of this network namespace.
pub(super) fn raise_loopback() -> Result<()> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: all-zero bytes are a valid `ifreq`, whose fields are integers and unions of such.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(*b"lo") {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    #[expect(clippy::cast_possible_truncation, reason = "both flags are among the lowest seven bits")]
    let flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    request.ifr_ifru.ifru_flags = flags;
    // SAFETY: SIOCSIFFLAGS reads an `ifreq`, which `request` is, with a name that ends in NUL.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) };
    check(result.into()).map(drop)
}

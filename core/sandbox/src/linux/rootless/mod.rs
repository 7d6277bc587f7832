//! Root without being root: the whole process goes into a user namespace of its own.
//!
//! A process that has one thread may make itself a user namespace, in which it has every capability; which ids there
//! are in it, somebody outside has to say. Where the user was given ranges in `/etc/subuid` and `/etc/subgid`, that
//! is `newuidmap` and `newgidmap`, run by a child that stays outside. Without ranges a process may map one id itself:
//! its own, to 0.

mod map;
mod refusal;
mod user;

use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::MountPropagationFlags;
use rustix::pipe::PipeFlags;
use rustix::process::WaitOptions;
use rustix::thread::UnshareFlags;

use self::map::{Mapping, Ranges};
pub(super) use self::refusal::{Kernel, UNCONFINED, in_user_namespace};
use self::user::User;
use super::sys::{self, Side};
use crate::{Rights, SandboxError};

/// The programs that write maps, from the package `uidmap`.
const MAPPERS: [&str; 2] = ["newuidmap", "newgidmap"];

/// Becomes root as far as this process may, unless it is root already: in a user and a mount namespace of its own,
/// with the ranges of ids that the user was given, else with one id. Files of the user belong to root from then on,
/// and what the process makes as root belongs to the user; the network and everything else are what they were.
///
/// `path` says where `newuidmap` and `newgidmap` are looked for, as `PATH` does. Must be called while the process has
/// one thread. When it fails, the process may be in a namespace in which it is nobody, and can do little but say why.
pub fn become_root(path: &str) -> Result<Rights, SandboxError> {
    if rustix::process::geteuid().is_root() {
        return Ok(Rights::Root);
    }
    let user = User::of_this_process();
    let ranges = Ranges::read(Path::new("/etc"), &user)?;
    match &ranges {
        Some(ranges) => {
            let programs = find_mappers(path, &user)?;
            enter_with_ranges(&user, ranges, &programs)?;
        }
        None => enter_with_one_id(&user)?,
    }
    // What is mounted on the host later on appears here too, and nothing goes the other way. It also shows whether a
    // security module has taken away what the namespace gave.
    let downstream = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    rustix::mount::mount_change(c"/", downstream)
        .map_err(|errno| Kernel::of_this_system().refusal("changing mounts", errno))?;
    Ok(match ranges {
        Some(_) => Rights::Ranges,
        None => Rights::OneId { remedy: user.more_ids(Path::new("/etc")) },
    })
}

fn unshare() -> Result<(), SandboxError> {
    // SAFETY: descriptors stay shared with nobody: these flags leave the table of descriptors alone.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER | UnshareFlags::NEWNS) }
        .map_err(|errno| Kernel::of_this_system().refusal("making a user namespace", errno))
}

/// The user's own id and no other.
fn enter_with_one_id(user: &User) -> Result<(), SandboxError> {
    unshare()?;
    let write = |name: &str, text: String| {
        fs::write(Path::new("/proc/self").join(name), text).map_err(|error| {
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            Kernel::of_this_system().refusal("mapping the user's id", errno)
        })
    };
    // Who may drop groups could get at files that are closed to one of them.
    write("setgroups", "deny".to_owned())?;
    write("uid_map", format!("0 {} 1", user.uid))?;
    write("gid_map", format!("0 {} 1", user.gid))
}

/// All ids that the user was given.
fn enter_with_ranges(user: &User, ranges: &Ranges, programs: &[PathBuf; 2]) -> Result<(), SandboxError> {
    let start = |errno: Errno| SandboxError::Start(errno.into());
    let (entered, enter) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(start)?;
    let (outcome, report) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(start)?;
    let this = rustix::process::getpid();
    // SAFETY: the caller promises that this is the only thread; otherwise `unshare` fails below.
    let child = match unsafe { sys::clone(0) }.map_err(start)? {
        Side::Child => {
            drop((enter, outcome));
            map_from_outside(entered, report, this.as_raw_nonzero().get(), user, ranges, programs)
        }
        Side::Parent { pid, .. } => pid,
    };
    drop((entered, report));
    let unshared = unshare();
    if unshared.is_ok() {
        // If the child is gone, its report is missing.
        let _ = rustix::io::write(&enter, b"!");
    }
    drop(enter);
    let mut text = String::new();
    let read = fs::File::from(outcome).read_to_string(&mut text);
    while matches!(rustix::process::waitpid(Some(child), WaitOptions::empty()), Err(Errno::INTR)) {}
    unshared?;
    read.map_err(SandboxError::Start)?;
    match text.strip_suffix('\n') {
        Some("") => Ok(()),
        Some(said) => Err(refusal::not_mapped(said, user, programs)),
        None => Err(SandboxError::Start(std::io::Error::other("the process that maps ids ended early"))),
    }
}

/// The child that stays outside: waits until its parent is in the namespace, and has it mapped. It says what went
/// wrong, and a line's end in any case.
fn map_from_outside(
    entered: OwnedFd,
    report: OwnedFd,
    parent: i32,
    user: &User,
    ranges: &Ranges,
    programs: &[PathBuf; 2],
) -> ! {
    let mut byte = [0];
    if fs::File::from(entered).read_exact(&mut byte).is_err() {
        sys::exit(1);
    }
    let mappings = [Mapping::new(user.uid, &ranges.users), Mapping::new(user.gid, &ranges.groups)];
    let said = map::write_maps(parent, programs, &mappings).err().unwrap_or_default();
    let line = format!("{}\n", said.replace('\n', "; "));
    let _ = std::io::Write::write_all(&mut fs::File::from(report), line.as_bytes());
    sys::exit(0);
}

fn find_mappers(path: &str, user: &User) -> Result<[PathBuf; 2], SandboxError> {
    let find = |name: &str| {
        let places = path.split(':').filter(|directory| directory.starts_with('/'));
        places
            .map(|directory| Path::new(directory).join(name))
            .find(|file| fs::metadata(file).is_ok_and(|found| found.is_file()))
            .ok_or_else(|| refusal::no_mapper(name, user))
    };
    let [users, groups] = MAPPERS.map(find);
    Ok([users?, groups?])
}

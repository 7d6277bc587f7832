//! The host's `binfmt_misc`, which there is one of for the whole machine: who may change it, and when.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rbx_emulation::{Architecture, Handler};
use rustix::mount::{MountFlags, UnmountFlags};

use crate::Parts;

/// Where it is mounted, as everywhere.
const DIRECTORY: &str = "/proc/sys/fs/binfmt_misc";
/// The lock, and the journal of what its holder did. Every checkout on the machine has to mean the same file.
const LOCK: &str = "/tmp/.rbx-tests-binfmt_misc.lock";
/// Who waits for the lock holds this, so that those who share it do not keep others waiting for ever.
const GATE: &str = "/tmp/.rbx-tests-binfmt_misc.gate";
/// The line of the journal for the mount. Others are names of handlers.
const MOUNTED: &str = "/";

/// The host's `binfmt_misc` as it is: while this lives, no test changes it. Any number of tests may have one at a time.
#[derive(Debug)]
pub struct Untouched {
    before: State,
    _lock: File,
}

/// What can be seen of the host's `binfmt_misc`.
#[derive(Debug, PartialEq, Eq)]
struct State {
    mounts: Vec<String>,
    entries: BTreeMap<String, String>,
}

impl Untouched {
    /// Waits until no test changes it, and remembers what it is like.
    ///
    /// # Panics
    ///
    /// If this process is not root.
    pub fn hold() -> Self {
        let lock = take(false);
        Self { before: State::now(), _lock: lock }
    }

    /// The names of handlers that the machine has by itself.
    pub fn handlers(&self) -> Vec<String> {
        let names =
            self.before.entries.keys().filter(|name| !["register", "status"].contains(&name.as_str()));
        names.cloned().collect()
    }

    /// # Panics
    ///
    /// If it is not what it was.
    pub fn assert_same(&self) {
        assert_eq!(State::now(), self.before, "{DIRECTORY} of the host was changed");
    }
}

impl State {
    fn now() -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts can be read");
        let mounts =
            mounts.lines().filter(|line| line.contains(" - binfmt_misc ")).map(str::to_owned).collect();
        let entries = fs::read_dir(DIRECTORY).into_iter().flatten().filter_map(Result::ok).map(|entry| {
            let text = fs::read_to_string(entry.path()).unwrap_or_default();
            (entry.file_name().to_string_lossy().into_owned(), text)
        });
        Self { mounts, entries: entries.collect() }
    }
}

/// The host's `binfmt_misc` with handlers of a test's own, while this lives. Only one test has it at a time.
#[derive(Debug)]
pub struct Registered {
    lock: File,
}

impl Registered {
    /// Waits until no test looks at it or changes it, and mounts it if it is not.
    ///
    /// # Panics
    ///
    /// If this process is not root, or the kernel has no `binfmt_misc`.
    pub fn hold() -> Self {
        let mut registered = Self { lock: take(true) };
        if !is_mounted() {
            registered.note(MOUNTED);
            rustix::mount::mount("binfmt_misc", DIRECTORY, "binfmt_misc", MountFlags::empty(), None)
                .unwrap_or_else(|error| panic!("{error}: failed to mount binfmt_misc"));
        }
        registered
    }

    /// The same, with the QEMU of the parts for these architectures.
    pub fn qemu(architectures: &[Architecture]) -> Self {
        let (parts, mut registered) = (Parts::locate(), Self::hold());
        for architecture in architectures {
            let qemu = parts.program(&format!("qemu-{}", architecture.qemu()));
            registered.register(&Handler::qemu(*architecture, &qemu).register_line());
        }
        registered
    }

    /// Takes away in the end what a program under test registers: QEMU for any architecture, as this project calls it.
    pub fn expect_qemu(&mut self) {
        for architecture in Architecture::all() {
            let name = Handler::qemu(architecture, Path::new("/qemu")).name;
            if !entry(&name).exists() {
                self.note(&name);
            }
        }
    }

    /// Where it is mounted.
    pub fn directory() -> &'static Path {
        Path::new(DIRECTORY)
    }

    /// Registers a handler: a line as the kernel's `register` takes it.
    ///
    /// # Panics
    ///
    /// If there is a handler of that name, which is not a test's to change, or the kernel does not take the line.
    pub fn register(&mut self, line: &[u8]) {
        let line_shown = String::from_utf8_lossy(line).into_owned();
        let name =
            line.get(1..).and_then(|rest| rest.split(|byte| *byte == line[0]).next()).unwrap_or_default();
        let name = str::from_utf8(name).expect("a handler has a name").to_owned();
        assert!(!entry(&name).exists(), "the machine has a handler {name} already");
        self.note(&name);
        fs::write(entry("register"), line).unwrap_or_else(|error| panic!("{error}: {line_shown}"));
    }

    /// Expects that somebody else registers a handler of this name, which is removed with the others.
    ///
    /// # Panics
    ///
    /// If there is a handler of that name, which is not a test's to change.
    pub fn expect(&mut self, name: &str) {
        assert!(!entry(name).exists(), "the machine has a handler {name} already");
        self.note(name);
    }

    /// Writes what is about to be done, so that it can be undone even if this process is killed.
    fn note(&mut self, what: &str) {
        writeln!(self.lock, "{what}").expect("the journal can be written");
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let result = undo(&mut self.lock);
        if !std::thread::panicking() {
            result.expect("the host can be left as it was");
        }
    }
}

fn entry(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}

fn is_mounted() -> bool {
    entry("register").exists()
}

/// Waits for the lock, alone or with others, and undoes what a holder left behind that was killed.
fn take(alone: bool) -> File {
    let open = |path: &str| {
        let options = File::options().read(true).append(true).create(true).open(path);
        options.unwrap_or_else(|error| panic!("{error}: {path}"))
    };
    let gate = open(GATE);
    gate.lock().expect("the gate can be locked");
    let mut lock = open(LOCK);
    let wait = |lock: &File, alone: bool| {
        let result = if alone { lock.lock() } else { lock.lock_shared() };
        result.unwrap_or_else(|error| panic!("{error}: {LOCK}"));
    };
    wait(&lock, alone);
    if lock.metadata().is_ok_and(|metadata| metadata.len() > 0) {
        // Nobody comes in between: the gate is held.
        wait(&lock, true);
        undo(&mut lock).expect("what a killed test left can be removed");
        wait(&lock, alone);
    }
    lock
}

/// Undoes what the journal says, and empties it. What cannot be undone stays in it, so that nobody goes on over it.
fn undo(lock: &mut File) -> Result<(), String> {
    let mut journal = String::new();
    lock.seek(SeekFrom::Start(0))
        .and_then(|_| lock.read_to_string(&mut journal))
        .map_err(|error| format!("{error}: {LOCK}"))?;
    for name in journal.lines().filter(|line| *line != MOUNTED && !line.contains('/')) {
        if entry(name).exists() {
            fs::write(entry(name), "-1")
                .map_err(|error| format!("{error}: failed to remove the handler {name} of the host"))?;
        }
    }
    // What is still being executed keeps the mount busy; detached, it is gone for everybody else.
    if journal.lines().any(|line| line == MOUNTED) && is_mounted() {
        rustix::mount::unmount(DIRECTORY, UnmountFlags::DETACH)
            .map_err(|error| format!("{error}: failed to unmount {DIRECTORY}"))?;
    }
    lock.set_len(0).map_err(|error| format!("{error}: {LOCK}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the machine has, while nobody changes it.
    fn state() -> State {
        let _lock = take(true);
        State::now()
    }

    const LINE: &[u8] = b":rbx-test-lock:E::rbxtest::/bin/true:";

    #[test]
    fn handlers_are_there_as_long_as_they_are_held() {
        let before = state();
        let mut registered = Registered::hold();
        registered.register(LINE);
        let text = fs::read_to_string(entry("rbx-test-lock")).unwrap();
        assert!(text.starts_with("enabled\ninterpreter /bin/true\n"), "{text}");
        drop(registered);
        let untouched = Untouched::hold();
        assert_eq!(untouched.before, before);
        assert!(!untouched.handlers().contains(&"rbx-test-lock".to_owned()));
        untouched.assert_same();
    }

    #[test]
    fn what_a_killed_test_left_is_removed() {
        let before = state();
        let mut registered = Registered::hold();
        registered.register(LINE);
        // As if the process had been killed: the lock is gone, the handler is not.
        let lock = registered.lock.try_clone().unwrap();
        std::mem::forget(registered);
        assert!(entry("rbx-test-lock").exists());
        lock.unlock().unwrap();
        let untouched = Untouched::hold();
        assert!(!entry("rbx-test-lock").exists());
        assert_eq!(untouched.before, before);
    }

    #[test]
    fn what_the_machine_mounted_stays_without_the_handlers() {
        let before = state();
        let mut registered = Registered::hold();
        registered.register(LINE);
        let elsewhere = tempfile::tempdir().unwrap();
        let flags = MountFlags::empty();
        rustix::mount::mount("binfmt_misc", elsewhere.path(), "binfmt_misc", flags, None).unwrap();
        let there = elsewhere.path().join("rbx-test-lock").exists();
        undo(&mut registered.lock).unwrap();
        let (left, mounted) = (elsewhere.path().join("rbx-test-lock").exists(), is_mounted());
        rustix::mount::unmount(elsewhere.path(), UnmountFlags::DETACH).unwrap();
        assert!(there && !left);
        assert_eq!(mounted, !before.mounts.is_empty(), "a mount of the machine's own stays, and no other");
    }

    #[test]
    fn a_handler_of_somebody_else_is_left_alone() {
        let before = state();
        let mut registered = Registered::hold();
        registered.register(LINE);
        let again = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| registered.register(LINE)));
        assert!(again.is_err());
        drop(registered);
        assert_eq!(state(), before);
    }
}

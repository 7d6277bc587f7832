//! Contexts: names, special files, links that lead out, and files that change while they are read.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use libtest_mimic::Trial;
use rbx_oci::EntryKind;
use rustix::fs::{CWD, FileType, Mode, OFlags, RenameFlags};

use super::{refused, sound};
use crate::fixture::{Fixture, trial};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("hostile::any_name_is_copied", any_name_is_copied),
        trial("hostile::sockets_and_devices_are_left_out", sockets_and_devices_are_left_out),
        trial("hostile::links_out_of_the_context_lead_nowhere", links_out_of_the_context_lead_nowhere),
        trial(
            "hostile::directories_swapped_for_links_show_nothing",
            directories_swapped_for_links_show_nothing,
        ),
        trial("hostile::files_may_change_while_they_are_read", files_may_change_while_they_are_read),
        trial("hostile::paths_that_are_too_long_are_said", paths_that_are_too_long_are_said),
        trial("hostile::what_is_no_dockerfile_is_said", what_is_no_dockerfile_is_said),
    ]
}

fn any_name_is_copied(fixture: &mut Fixture) {
    let long = "n".repeat(255);
    let names: [&[u8]; 6] = [
        b"new\nline",
        b"\xff\xfe",
        b"\x1b]0;title\x07",
        b"-rf",
        b"back\\slash \"quoted\" *",
        long.as_bytes(),
    ];
    for name in names {
        let path = fixture.context("d").join(OsStr::from_bytes(name));
        std::fs::create_dir_all(&path).expect("a directory");
        std::fs::write(path.join(OsStr::from_bytes(name)), name).expect("a file");
    }
    fixture.dockerfile("FROM scratch\nCOPY d /d\nCOPY d/n*/ /n\n");
    let built = fixture.build().expect("a build");
    let found: Vec<&[u8]> = built
        .files
        .values()
        .filter(|(entry, _)| matches!(entry.kind, EntryKind::File { .. }) && entry.path.starts_with(b"d/"))
        .map(|(entry, content)| {
            assert_eq!(entry.name(), content);
            content.as_slice()
        })
        .collect();
    assert_eq!(found.len(), names.len(), "{found:?}");
    assert_eq!(built.text(&format!("n/{long}")), long);
    sound(fixture);
}

fn sockets_and_devices_are_left_out(fixture: &mut Fixture) {
    fixture.write("file", "file");
    let _socket = std::os::unix::net::UnixListener::bind(fixture.context("socket")).expect("a socket");
    let node = |name: &str, kind, device| {
        rustix::fs::mknodat(CWD, fixture.context(name), kind, Mode::from_raw_mode(0o666), device)
            .expect(name);
    };
    node("zero", FileType::CharacterDevice, rustix::fs::makedev(1, 5));
    node("whiteout", FileType::CharacterDevice, 0);
    node("disk", FileType::BlockDevice, rustix::fs::makedev(8, 0));
    node("pipe", FileType::Fifo, 0);
    fixture.dockerfile("FROM scratch\nCOPY . /\n");
    let built = fixture.build().expect("a build");
    assert_eq!(built.files.keys().collect::<Vec<_>>(), ["file", "pipe"]);
    assert_eq!(built.entry("pipe").kind, EntryKind::Fifo);

    // Named, they are not there; and a pipe is not read.
    for name in ["socket", "zero", "disk"] {
        fixture.dockerfile(&format!("FROM scratch\nCOPY {name} /\n"));
        assert_eq!(refused(fixture), format!("\"/{name}\": not found"));
    }
    fixture.dockerfile("FROM scratch\nADD pipe /\n");
    assert_eq!(fixture.build().expect("a build").entry("pipe").kind, EntryKind::Fifo);
}

fn links_out_of_the_context_lead_nowhere(fixture: &mut Fixture) {
    std::fs::write(fixture.directory.path().join("secret"), "secret").expect("a file");
    let absolute = fixture.directory.path().join("secret");
    symlink(&absolute, fixture.context("absolute")).expect("a link");
    symlink("../secret", fixture.context("up")).expect("a link");
    symlink("..", fixture.context("parent")).expect("a link");
    symlink("/", fixture.context("root")).expect("a link");
    symlink("loop", fixture.context("loop")).expect("a link");
    for source in ["absolute", "up", "parent/secret", "root/etc/passwd", "../secret", "root/../../secret"] {
        fixture.dockerfile(&format!("FROM scratch\nCOPY {source} /\n"));
        let reason = refused(fixture);
        assert!(reason.ends_with(": not found"), "{source}: {reason}");
    }
    fixture.dockerfile("FROM scratch\nCOPY loop/x /\n");
    assert_eq!(refused(fixture), "too many levels of symbolic links: \"loop/x\"");
    // Copied with their directory, links are links.
    fixture.dockerfile("FROM scratch\nCOPY . /\n");
    let built = fixture.build().expect("a build");
    assert!(built.files.values().all(|(entry, _)| matches!(entry.kind, EntryKind::Symlink { .. })));
}

/// Runs `disturb` again and again in another thread while builds run.
fn while_disturbed(disturb: impl Fn() + Sync, mut build: impl FnMut()) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                disturb();
            }
        });
        let built = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (0..40).for_each(|_| build())));
        stop.store(true, Ordering::Relaxed);
        thread.join().expect("the disturbing thread");
        if let Err(panic) = built {
            std::panic::resume_unwind(panic);
        }
    });
}

fn directories_swapped_for_links_show_nothing(fixture: &mut Fixture) {
    let outside = fixture.directory.path().join("outside");
    std::fs::create_dir_all(outside.join("deep")).expect("a directory");
    for number in 0..20 {
        let (name, deep) = (format!("f{number}"), format!("deep/f{number}"));
        fixture.write(&format!("d/{name}"), "inside");
        fixture.write(&format!("d/{deep}"), "inside");
        std::fs::write(outside.join(name), "a secret of the host").expect("a file");
        std::fs::write(outside.join(deep), "a secret of the host").expect("a file");
    }
    symlink(&outside, fixture.context("link")).expect("a link");
    let (directory, link) = (fixture.context("d"), fixture.context("link"));
    let swap = || {
        rustix::fs::renameat_with(CWD, &directory, CWD, &link, RenameFlags::EXCHANGE).expect("a swap");
    };
    let mut outcomes = [0_usize, 0];
    let mut turn = 0;
    while_disturbed(swap, || {
        turn += 1;
        let source = [".", "d", "d/deep", "d/f1", "d/*"][turn % 5];
        fixture.dockerfile(&format!("FROM scratch\nCOPY {source} /x/\n"));
        match fixture.build() {
            Ok(built) => {
                outcomes[0] += 1;
                let leaked = built.files.values().any(|(_, content)| content.starts_with(b"a secret"));
                assert!(!leaked, "COPY {source} read what lies outside");
            }
            Err(_) => outcomes[1] += 1,
        }
    });
    assert_eq!(outcomes.iter().sum::<usize>(), 40, "{outcomes:?}");
    sound(fixture);
}

fn files_may_change_while_they_are_read(fixture: &mut Fixture) {
    let files: Vec<_> = (0..8).map(|number| fixture.context(&format!("f{number}"))).collect();
    let lengths = [0_u64, 1, 70_000, 3 << 20];
    let state = std::sync::atomic::AtomicUsize::new(0);
    let change = || {
        let turn = state.fetch_add(1, Ordering::Relaxed);
        let path = &files[turn % files.len()];
        if turn.is_multiple_of(5) {
            let _ = std::fs::remove_file(path);
        } else if let Ok(file) = std::fs::File::options().create(true).write(true).truncate(false).open(path)
        {
            let _ = file.set_len(lengths[turn % lengths.len()]);
        }
    };
    while_disturbed(change, || {
        fixture.dockerfile("FROM scratch\nCOPY . /x/\n");
        if let Err(error) = fixture.build() {
            let reason = error.to_string();
            let told = ["the file changed while it was read", "no such file or directory"];
            assert!(told.iter().any(|told| reason.starts_with(told)), "{reason}");
            assert!(reason.contains(": failed to read /f"), "{reason}");
        }
    });
    sound(fixture);
}

fn paths_that_are_too_long_are_said(fixture: &mut Fixture) {
    let name = "d".repeat(250);
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    let mut at: OwnedFd =
        rustix::fs::openat(CWD, fixture.context(""), flags, Mode::empty()).expect("the context");
    for _ in 0..20 {
        rustix::fs::mkdirat(&at, &*name, Mode::from_raw_mode(0o755)).expect("a directory");
        at = rustix::fs::openat(&at, &*name, flags, Mode::empty()).expect("the directory");
    }
    fixture.dockerfile("FROM scratch\nCOPY . /\n");
    let reason = refused(fixture);
    assert!(reason.starts_with("file name too long: failed to read /ddd"), "{reason}");
    // What is not asked for does not matter.
    fixture.write("file", "file");
    fixture.dockerfile("FROM scratch\nCOPY file /\n");
    assert!(fixture.build().expect("a build").has("file"));
}

fn what_is_no_dockerfile_is_said(fixture: &mut Fixture) {
    let path = fixture.context("Dockerfile");
    let file = |fixture: &mut Fixture, path: &Path| {
        fixture.request.dockerfile = rbx_request::DockerfileSource::Path(path.to_owned());
        refused(fixture)
    };
    assert_eq!(file(fixture, &path), "failed to read dockerfile: open Dockerfile: no such file or directory");
    std::fs::create_dir(&path).expect("a directory");
    assert_eq!(file(fixture, &path), format!("is a directory: failed to read {}", path.display()));
    std::fs::remove_dir(&path).expect("the directory");
    rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("a pipe");
    assert_eq!(file(fixture, &path), format!("not a regular file: failed to read {}", path.display()));
    assert_eq!(file(fixture, Path::new("/dev/zero")), "not a regular file: failed to read /dev/zero");
    std::fs::remove_file(&path).expect("the pipe");
    std::fs::write(&path, vec![b'\n'; (4 << 20) + 1]).expect("a file");
    assert_eq!(file(fixture, &path), format!("{} has more than 4194304 bytes", path.display()));
    std::fs::write(&path, [0, 1, 0xff, b'\n', 0xfe]).expect("a file");
    let reason = file(fixture, &path);
    assert!(reason.starts_with("dockerfile parse error on line 1: unknown instruction: "), "{reason}");

    // The ignore file is read before the context.
    std::fs::write(&path, "FROM scratch\nCOPY . /\n").expect("a file");
    let ignore = fixture.context(".dockerignore");
    rustix::fs::mknodat(CWD, &ignore, FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("a pipe");
    assert_eq!(file(fixture, &path), format!("not a regular file: failed to read {}", ignore.display()));
    std::fs::remove_file(&ignore).expect("the pipe");
    std::fs::write(&ignore, "[a\n").expect("a file");
    assert_eq!(
        file(fixture, &path),
        format!("syntax error in pattern: [a: failed to read {}", ignore.display())
    );
}

//! Files to and from a real Engine.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::{Arc, Mutex};

use rbx_request::{Cancel, Event};
use rbx_tests::{Engine, Store};
use tempfile::TempDir;

use super::{build, connect, dockerfile};
use crate::proto::control;
use crate::session::{Locals, Output, Outputs, Services, Session};
use crate::solve::Solve;

/// A build of a directory.
fn of(context: &Path) -> Solve {
    to(context, &[])
}

/// A build of a directory, to outputs of these kinds.
fn to(context: &Path, outputs: &[(&str, Output)]) -> Solve {
    let locals = Locals::new([("context", context), ("dockerfile", context)]).unwrap();
    let exporter = |(kind, _): &(&str, _)| control::Exporter {
        r#type: (*kind).to_owned(),
        ..control::Exporter::default()
    };
    let exporters = outputs.iter().map(exporter).collect();
    let outputs = Outputs::new(outputs.iter().map(|(_, output)| output.clone()).enumerate()).unwrap();
    Solve {
        session: Session::new("test", "test", Services { locals, outputs, ..Services::default() }),
        inputs: HashMap::new(),
        exporters,
        ..dockerfile("")
    }
}

#[tokio::test]
async fn a_context_reaches_an_engine() {
    let engine = Engine::start(Store::Containerd);
    let client = connect(&engine).await;
    let context = TempDir::new().unwrap();
    let write = |path: &str, content: &str| fs::write(context.path().join(path), content).unwrap();
    fs::create_dir_all(context.path().join("d/e")).unwrap();
    write("d/e/file", "content");
    write(".dockerignore", "d/e/ignored\n");
    write("d/e/ignored", "");
    write("Dockerfile", "FROM scratch\nCOPY d/e/file /\n");
    let (outcome, events) = build(&client, of(context.path()), &Cancel::default()).await;
    outcome.unwrap();
    // How much was sent is for the daemon to say.
    let is_progress = |event: &Event| matches!(event, Event::Status(it) if it.id == "transferring context:");
    assert!(events.iter().any(is_progress), "{events:?}");

    write("Dockerfile", "FROM scratch\nCOPY d/e/ignored /\n");
    let (outcome, _) = build(&client, of(context.path()), &Cancel::default()).await;
    let reason = outcome.unwrap_err().reason;
    assert!(reason.contains("\"/d/e/ignored\": not found"), "{reason}");
}

#[tokio::test]
async fn outputs_come_back_from_an_engine() {
    let engine = Engine::start(Store::Containerd);
    let client = connect(&engine).await;
    let (context, out) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let at = |path: &str| context.path().join(path);
    fs::create_dir_all(at("d/e")).unwrap();
    for number in 0..300 {
        fs::write(at(&format!("d/e/{number}")), vec![b'x'; number * 1000]).unwrap();
    }
    fs::hard_link(at("d/e/7"), at("d/e/also-7")).unwrap();
    symlink("../d", at("d/link")).unwrap();
    fs::set_permissions(at("d/e/8"), fs::Permissions::from_mode(0o4751)).unwrap();
    fs::set_permissions(at("d/e"), fs::Permissions::from_mode(0o1777)).unwrap();
    fs::write(at("Dockerfile"), "FROM scratch\nCOPY d /\n").unwrap();

    let stdout = Arc::new(Mutex::new(Vec::new()));
    let outputs = [
        ("local", Output::Directory { path: out.path().join("tree"), delete: false }),
        ("tar", Output::File(out.path().join("out.tar"))),
        ("oci", Output::Stdout(stdout.clone())),
    ];
    build(&client, to(context.path(), &outputs), &Cancel::default()).await.0.unwrap();
    let mut tree = tar::Archive::new(fs::File::open(out.path().join("out.tar")).unwrap());
    let entries = tree.entries().unwrap().map(|entry| {
        let entry = entry.unwrap();
        (entry.path().unwrap().into_owned(), entry.size())
    });
    let entries: HashMap<_, _> = entries.collect();
    assert_eq!(entries[Path::new("e/299")], 299_000);
    for (path, there) in [("e/7", "d/e/7"), ("e/8", "d/e/8"), ("e/299", "d/e/299"), ("e", "d/e")] {
        let (was, is) =
            (fs::metadata(at(there)).unwrap(), fs::metadata(out.path().join("tree").join(path)).unwrap());
        assert_eq!(was.mode(), is.mode(), "{path}");
        assert_eq!(was.mtime(), is.mtime(), "{path}");
        assert_eq!(was.is_file().then(|| was.nlink()), is.is_file().then(|| is.nlink()), "{path}");
        assert!(was.is_dir() || was.len() == is.len());
    }
    assert_eq!(fs::read_link(out.path().join("tree/link")).unwrap(), Path::new("../d"));
    assert!(stdout.lock().unwrap().windows(10).any(|part| part == b"index.json"));

    // Where the client fails, its reason is the build's.
    let full = [("tar", Output::File("/dev/full".into()))];
    let (outcome, _) = build(&client, to(context.path(), &full), &Cancel::default()).await;
    let reason = outcome.unwrap_err().reason;
    assert!(reason.contains("no space left on device: failed to write /dev/full"), "{reason}");
    let missing = out.path().join("missing/image.tar");
    let outputs = [("oci", Output::File(missing.clone()))];
    build(&client, to(context.path(), &outputs), &Cancel::default()).await.0.unwrap();
    assert!(missing.is_file());
}

#[tokio::test]
async fn what_goes_wrong_with_a_file_is_what_the_build_says() {
    let engine = Engine::start(Store::Containerd);
    let client = connect(&engine).await;
    let context = TempDir::new().unwrap();
    let at = |path: &str| context.path().join(path);
    fs::write(at("Dockerfile"), "FROM scratch\nCOPY . /\n").unwrap();
    // Reading it fails, whoever does: nothing is at the beginning of a process's memory.
    fs::write(at("file"), "").unwrap();
    rustix::mount::mount_bind("/proc/self/mem", at("file")).unwrap();
    let (outcome, _) = build(&client, of(context.path()), &Cancel::default()).await;
    rustix::mount::unmount(at("file"), rustix::mount::UnmountFlags::DETACH).unwrap();
    let reason = outcome.unwrap_err().reason;
    assert!(reason.contains(&format!("read {}: input/output error", at("file").display())), "{reason}");
    assert!(!reason.contains("rpc error"), "{reason}");
}

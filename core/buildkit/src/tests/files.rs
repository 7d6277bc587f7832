//! Files to and from a real Engine.

use std::fs;
use std::path::Path;

use rbx_request::Cancel;
use rbx_tests::{Engine, Store};
use tempfile::TempDir;

use super::{build, connect, dockerfile};
use crate::session::{Locals, Services, Session};
use crate::solve::Solve;

/// A build of a directory.
fn of(context: &Path) -> Solve {
    let locals = Locals::new([("context", context), ("dockerfile", context)]).unwrap();
    Solve {
        session: Session::new("test", "test", Services { locals }),
        inputs: std::collections::HashMap::new(),
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
    build(&client, of(context.path()), &Cancel::default()).await.0.unwrap();

    write("Dockerfile", "FROM scratch\nCOPY d/e/ignored /\n");
    let (outcome, _) = build(&client, of(context.path()), &Cancel::default()).await;
    let reason = outcome.unwrap_err().reason;
    assert!(reason.contains("\"/d/e/ignored\": not found"), "{reason}");
}

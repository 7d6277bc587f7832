//! Builds of a real Engine.

mod files;

use std::collections::HashMap;
use std::sync::Arc;

use prost::Message;
use rbx_request::{Cancel, Event, Failure, events};
use rbx_tests::{Engine, Store};

use crate::Client;
use crate::id::new_id;
use crate::proto::pb;
use crate::session::{Services, Session};
use crate::solve::{Solve, Solved, solve};
use crate::testing::EngineDial;

async fn connect(engine: &Engine) -> Client {
    Client::connect(Arc::new(EngineDial::new(engine))).await.unwrap()
}

/// A Dockerfile, and an empty context, as definitions: no files are sent.
fn inputs(dockerfile: &str) -> HashMap<String, pb::Definition> {
    let action = pb::FileActionMkFile {
        path: "/Dockerfile".to_owned(),
        mode: 0o644,
        data: dockerfile.as_bytes().to_vec(),
        owner: None,
        timestamp: -1,
    };
    let file = pb::FileAction {
        input: -1,
        secondary_input: -1,
        output: 0,
        action: Some(pb::file_action::Action::Mkfile(action)),
    };
    let file = pb::Op { op: Some(pb::op::Op::File(pb::FileOp { actions: vec![file] })), ..pb::Op::default() };
    let file = file.encode_to_vec();
    let input = pb::Input { digest: rbx_oci::Digest::sha256_of(&file).to_string(), index: 0 };
    let head = pb::Op { inputs: vec![input], ..pb::Op::default() }.encode_to_vec();
    let digest = |op: &[u8]| rbx_oci::Digest::sha256_of(op).to_string();
    let metadata = [&file, &head].map(|op| (digest(op), pb::OpMetadata::default())).into();
    let definition = pb::Definition { metadata, def: vec![file, head], source: Some(pb::Source::default()) };
    [("dockerfile".to_owned(), definition.clone()), ("context".to_owned(), definition)].into()
}

fn dockerfile(text: &str) -> Solve {
    Solve {
        reference: new_id(),
        session: Session::new("test", "test", Services::default()),
        frontend: "dockerfile.v0".to_owned(),
        attributes: HashMap::new(),
        adjust: Box::new(|_, _| Ok(())),
        inputs: inputs(text),
        exporters: Vec::new(),
        cache_exports: Vec::new(),
        cache_imports: Vec::new(),
        entitlements: Vec::new(),
        source_policy: None,
        session_exporter: false,
    }
}

/// What a build ends with, and its events.
async fn build(client: &Client, build: Solve, cancel: &Cancel) -> (Result<Solved, Failure>, Vec<Event>) {
    let (sender, mut receiver) = events();
    let solving = async move { solve(client, build, &sender, cancel).await };
    let reading = async move {
        let mut batch = Vec::new();
        while receiver.recv_many(&mut batch, 100).await > 0 {}
        batch
    };
    tokio::join!(solving, reading)
}

#[tokio::test]
async fn a_daemon_says_what_it_is() {
    let engine = Engine::start(Store::Containerd);
    let client = connect(&engine).await;
    let workers = client.workers().await.unwrap();
    assert_eq!(workers.len(), 1);
    let amd64 = rbx_platform::Platform::parse("linux/amd64").unwrap();
    assert!(workers[0].platforms.contains(&amd64), "{workers:?}");
    assert_eq!(workers[0].labels["org.mobyproject.buildkit.worker.snapshotter"], "overlayfs");
    assert!(workers[0].gc_policies.iter().any(|policy| policy.all && policy.max_used_space > 0));
    assert_eq!(client.info().await.unwrap().unwrap().package, "github.com/moby/buildkit");
}

#[tokio::test]
async fn a_build_is_driven_and_followed() {
    let engine = Engine::start(Store::Containerd);
    for sessions in [true, false] {
        let client =
            Client::connect(Arc::new(EngineDial { sessions, ..EngineDial::new(&engine) })).await.unwrap();
        let file = "FROM scratch\nCOPY Dockerfile /\n";
        let (built, _) = build(&client, dockerfile(file), &Cancel::default()).await;
        built.unwrap();
    }
}

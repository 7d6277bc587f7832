//! Builds of a real Engine.

mod builds;
mod contexts;
mod files;
mod like_buildx;
mod services;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use hyper_util::rt::TokioIo;
use prost::Message;
use rbx_request::{Cancel, Event, Failure, FailureKind, events};
use rbx_tests::{Engine, Registry, Store};

use crate::id::new_id;
use crate::proto::control::Exporter;
use crate::proto::health::HealthCheckRequest;
use crate::proto::health::health_check_response::ServingStatus;
use crate::proto::health::health_client::HealthClient;
use crate::proto::pb;
use crate::session::{Output, Outputs, Services, Session};
use crate::solve::{Solve, Solved, Work, solve};
use crate::testing::{CutDial, EngineDial};
use crate::{Client, Dial, ErrorKind, Io, PruneOptions};

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
        work: Work::Frontend("dockerfile.v0".to_owned()),
        attributes: HashMap::new(),
        adjust: Box::new(|_, _| Ok(())),
        inputs: inputs(text),
        exporters: Vec::new(),
        cache_exports: Vec::new(),
        cache_imports: Vec::new(),
        entitlements: Vec::new(),
        source_policy: None,
        internal: false,
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

/// What a build ends with where something happens as soon as a step has written this.
async fn build_until(
    client: &Client,
    build: Solve,
    cancel: &Cancel,
    line: &str,
    mut then: impl FnMut(),
) -> (Result<Solved, Failure>, Vec<Event>) {
    let (sender, mut receiver) = events();
    let solving = async move { solve(client, build, &sender, cancel).await };
    let reading = async move {
        let (mut batch, mut read) = (Vec::new(), 0);
        while receiver.recv_many(&mut batch, 100).await > 0 {
            let wrote =
                |event: &Event| matches!(event, Event::Log(log) if log.data.starts_with(line.as_bytes()));
            if batch[read..].iter().any(wrote) {
                then();
            }
            read = batch.len();
        }
        batch
    };
    tokio::join!(solving, reading)
}

/// A step without a network, as Engines of tests have no other.
fn running(registry: &Registry, command: &str) -> Solve {
    let mut build = dockerfile(&format!("FROM {}/busybox\nRUN {command}\n", registry.address()));
    build.attributes.insert("force-network-mode".to_owned(), "none".to_owned());
    build
}

#[tokio::test]
async fn a_failure_has_its_reason_step_and_place() {
    let (engine, registry) = (Engine::start(Store::Containerd), Registry::with_images());
    let client = connect(&engine).await;
    let cancel = Cancel::default();

    let (built, events) = build(&client, running(&registry, "echo hello && exit 7"), &cancel).await;
    let failure = built.unwrap_err();
    let reason = "process \"/bin/sh -c echo hello && exit 7\" did not complete successfully: exit code: 7";
    assert_eq!(failure.reason, reason);
    assert_eq!(failure.kind, FailureKind::Step(7));
    assert_eq!(failure.step.unwrap(), "[2/2] RUN echo hello && exit 7");
    let range = failure.source_range.unwrap();
    assert_eq!((range.file.as_str(), range.first, range.last), ("Dockerfile", 2, 2));
    assert!(range.text.starts_with("FROM ") && range.text.ends_with("exit 7\n"), "{:?}", range.text);
    let log = events.iter().find_map(|event| match event {
        Event::Log(log) => Some(log.data.clone()),
        _ => None,
    });
    assert_eq!(log.unwrap(), b"hello\n");
    let failed = |event: &Event| matches!(event, Event::Vertex(vertex) if vertex.error.is_some());
    assert!(events.iter().any(failed));

    let (built, _) =
        build(&client, dockerfile("FROM scratch\nCOPY Dockerfile /\n\nCPOY a b\n"), &cancel).await;
    let failure = built.unwrap_err();
    assert_eq!(
        failure.reason,
        "dockerfile parse error on line 4: unknown instruction: CPOY (did you mean COPY?)"
    );
    assert_eq!(failure.source_range.unwrap().first, 4);

    let (built, _) = build(&client, dockerfile("FROM scratch\nCOPY nothing /\n"), &cancel).await;
    let failure = built.unwrap_err();
    assert_eq!(failure.reason, "\"/nothing\": not found");
    assert_eq!(failure.source_range.unwrap().first, 2);

    // The Dockerfile comes with the error, as a trailer of HTTP/2.
    let long = format!("FROM scratch\n{}CPOY a b\n", "# a line of prose\n".repeat(20_000));
    let failure = build(&client, dockerfile(&long), &cancel).await.0.unwrap_err();
    let range = failure.source_range.unwrap();
    assert_eq!((range.first, range.text.len()), (20_002, long.len()));

    let mut wanting = dockerfile("FROM scratch\nCOPY Dockerfile /\n");
    wanting.adjust = Box::new(|capabilities, _| {
        assert!(capabilities.has_llb("exporter.image.attestations"));
        Err(Failure::new(FailureKind::Invalid, "not like this").into())
    });
    let failure = build(&client, wanting, &cancel).await.0.unwrap_err();
    assert_eq!((failure.kind, failure.reason.as_str()), (FailureKind::Invalid, "not like this"));
}

#[tokio::test]
async fn a_cancelled_build_ends_in_the_daemon() {
    let (engine, registry) = (Engine::start(Store::Containerd), Registry::with_images());
    let client = connect(&engine).await;
    let cancel = Cancel::default();
    let sleep = running(&registry, "echo ready && sleep 98765");
    let (built, events) = build_until(&client, sleep, &cancel, "ready", || cancel.cancel()).await;
    let failure = built.unwrap_err();
    assert_eq!((failure.kind, failure.reason.as_str()), (FailureKind::Cancelled, "context canceled"));
    let vertices: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Vertex(vertex) if vertex.name.contains("RUN") => Some(vertex),
            _ => None,
        })
        .collect();
    let last = vertices.last().unwrap();
    assert!(
        last.completed.is_some() && last.error.as_deref().unwrap().ends_with("context canceled"),
        "{last:?}"
    );
    assert_eq!(engine.pids().into_iter().filter(|pid| command_line(*pid).contains("98765")).count(), 0);
    // It is as good as it was.
    build(&client, dockerfile("FROM scratch\nCOPY Dockerfile /\n"), &Cancel::default()).await.0.unwrap();
}

fn command_line(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default()
}

#[tokio::test]
async fn lost_connections_are_told_and_made_again() {
    let (engine, registry) = (Engine::start(Store::Containerd), Registry::with_images());
    let cancel = Cancel::default();
    let sleep = || running(&registry, "echo ready && sleep 98765");
    for sessions in [true, false] {
        let dial = EngineDial { sessions, ..EngineDial::new(&engine) };
        let dial = Arc::new(CutDial::new(dial));
        let client = Client::connect(dial.clone()).await.unwrap();
        let (built, _) = build_until(&client, sleep(), &cancel, "ready", || dial.connections.cut()).await;
        let reason = built.unwrap_err().reason;
        assert_eq!(reason, "lost the connection to the builder: it was closed at the other end");
        client.workers().await.unwrap();
    }
    let dial = Arc::new(CutDial::new(EngineDial::new(&engine)));
    let client = Client::connect(dial.clone()).await.unwrap();
    let (built, _) = build_until(&client, sleep(), &cancel, "ready", || dial.sessions.cut()).await;
    assert_eq!(built.unwrap_err().reason, "the builder closed the session");

    let client = connect(&engine).await;
    let mut engine = Some(engine);
    let (built, _) = build_until(&client, sleep(), &cancel, "ready", || drop(engine.take())).await;
    let reason = built.unwrap_err().reason;
    assert_eq!(reason, "lost the connection to the builder: it was closed at the other end");
    let error = client.workers().await.unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Unreachable, "no such Engine"));
}

#[tokio::test]
async fn a_daemon_that_is_gone_is_told_from_one_that_has_nothing_to_say() {
    let (engine, registry) = (Engine::start(Store::Containerd), Registry::with_images());
    let cancel = Cancel::default();
    let quiet = async {
        let built = build(&connect(&engine).await, running(&registry, "sleep 3"), &cancel).await.0;
        built.expect("it takes longer than nothing may come, and the daemon is there");
    };
    let gone = async |sessions| {
        let dial = EngineDial { sessions, ..EngineDial::new(&engine) };
        let dial = Arc::new(CutDial::new(dial));
        let client = Client::connect(dial.clone()).await.unwrap();
        let hold = || {
            dial.connections.hold();
            dial.sessions.hold();
        };
        let sleep = running(&registry, "echo ready && sleep 98765");
        let failure = build_until(&client, sleep, &cancel, "ready", hold).await.0.unwrap_err();
        assert_eq!(failure.reason, "lost the connection to the builder: nothing came in 2 s");
        assert_eq!(failure.kind, FailureKind::Lost);
    };
    tokio::join!(quiet, gone(true), gone(false));
}

/// A daemon that takes connections and says nothing.
#[derive(Debug, Default)]
struct Silent(std::sync::Mutex<Vec<tokio::io::DuplexStream>>);

impl Dial for Silent {
    fn dial(&self) -> BoxFuture<'_, std::io::Result<Box<dyn Io>>> {
        let (near, far) = tokio::io::duplex(1 << 16);
        self.0.lock().unwrap().push(far);
        Box::pin(async { Ok(Box::new(near) as Box<dyn Io>) })
    }
}

#[tokio::test]
async fn nobody_waits_for_ever_for_a_silent_daemon() {
    let client = Client::connect(Arc::new(Silent::default())).await.unwrap();
    let error = client.workers().await.unwrap_err();
    assert_eq!(error.to_string(), "the builder does not answer: nothing came in 5 s");
    assert_eq!(error.kind(), ErrorKind::Silent);
    // A build is for its user to end.
    let cancel = Cancel::default();
    let building = build(&client, dockerfile("FROM scratch\n"), &cancel);
    let cancelling = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        cancel.cancel();
    };
    let ((built, _), ()) = tokio::join!(building, cancelling);
    assert_eq!(built.unwrap_err().kind, FailureKind::Cancelled);
}

#[tokio::test]
async fn what_is_kept_is_listed_and_dropped() {
    let engine = Engine::start(Store::Containerd);
    let client = connect(&engine).await;
    let file = dockerfile("FROM scratch\nCOPY Dockerfile /\n");
    build(&client, file, &Cancel::default()).await.0.unwrap();
    let kept = client.usage(&[], Duration::ZERO).await.unwrap();
    assert_eq!(kept.len(), 2);
    assert!(client.usage(&["type==frontend".to_owned()], Duration::ZERO).await.unwrap().is_empty());
    let mut dropped = Vec::new();
    client
        .prune(&PruneOptions { all: true, ..PruneOptions::default() }, |it| dropped.push(it.id))
        .await
        .unwrap();
    assert_eq!(dropped.len(), 2);
    assert!(client.usage(&[], Duration::ZERO).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_build_is_driven_and_followed() {
    let engine = Engine::start(Store::Containerd);
    for sessions in [true, false] {
        let client =
            Client::connect(Arc::new(EngineDial { sessions, ..EngineDial::new(&engine) })).await.unwrap();
        let file = "FROM scratch\nCOPY Dockerfile /\n";
        let moby = Exporter { r#type: "moby".to_owned(), ..Exporter::default() };
        let (built, events) =
            build(&client, Solve { exporters: vec![moby], ..dockerfile(file) }, &Cancel::default()).await;
        let built = built.unwrap();
        assert!(built.exported["containerimage.digest"].starts_with("sha256:"), "{built:?}");
        assert!(built.answered.contains_key("containerimage.config"), "{built:?}");
        let ended = |event: &Event| match event {
            Event::Vertex(vertex) => vertex.completed.is_some() && vertex.name == "[1/1] COPY Dockerfile /",
            _ => false,
        };
        assert!(events.iter().any(ended), "{events:?}");
        // What a frontend answers instead of building.
        let mut outline = dockerfile("FROM scratch\nARG A=1\nCOPY Dockerfile /\n");
        outline.attributes = [("requestid", "frontend.outline"), ("frontend.caps", SUBREQUESTS)]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        let answered = build(&client, outline, &Cancel::default()).await.0.unwrap().answered;
        let outline: serde_json::Value = serde_json::from_slice(&answered["result.json"]).unwrap();
        assert_eq!(outline["args"][0]["name"], "A", "{outline}");
    }
}

/// What a client says that makes subrequests.
const SUBREQUESTS: &str = "moby.buildkit.frontend.subrequests+forward";

/// A daemon of this process, which is the client of one session.
#[derive(Debug)]
struct Sessions(std::sync::Mutex<Option<tokio::io::DuplexStream>>);

impl Dial for Sessions {
    fn dial(&self) -> BoxFuture<'_, std::io::Result<Box<dyn Io>>> {
        Box::pin(async { Ok(Box::new(tokio::io::empty()) as Box<dyn Io>) })
    }

    fn session<'a>(
        &'a self,
        _: &'a [(String, String)],
    ) -> BoxFuture<'a, Option<std::io::Result<Box<dyn Io>>>> {
        let connection = self.0.lock().unwrap().take().unwrap();
        Box::pin(async { Some(Ok(Box::new(connection) as Box<dyn Io>)) })
    }
}

#[tokio::test]
async fn health_is_answered_while_all_else_is_blocked() {
    let (near, far) = tokio::io::duplex(1 << 16);
    let client = Client::connect(Arc::new(Sessions(Some(near).into()))).await.unwrap();
    let _serving = Session::new("test", "test", Services::default()).serve(&client).unwrap();
    let ask = async move {
        let mut far = Some(TokioIo::new(far));
        let connector = tower::service_fn(move |_| std::future::ready(far.take().ok_or("one connection")));
        let endpoint = tonic::transport::Endpoint::from_static("http://localhost");
        let channel = endpoint.connect_with_connector(connector).await.unwrap();
        let mut health = HealthClient::new(channel.clone());
        let status = health.check(HealthCheckRequest::default()).await.unwrap().into_inner().status;
        let unknown = crate::proto::control::control_client::ControlClient::new(channel);
        let error = { unknown }.info(crate::proto::control::InfoRequest {}).await.unwrap_err();
        (status, error.code())
    };
    let daemon = std::thread::spawn(|| {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(ask)
    });
    // This thread does nothing else until the answer is there.
    assert_eq!(daemon.join().unwrap(), (ServingStatus::Serving.into(), tonic::Code::Unimplemented));
}

#[tokio::test]
async fn what_a_cancelled_build_did_not_finish_is_gone_when_it_ends() {
    let (engine, registry) = (Engine::start(Store::Containerd), Registry::with_images());
    let client = connect(&engine).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.tar");
    let services =
        Services { outputs: Outputs::new([(0, Output::File(path.clone()))]).unwrap(), ..Services::default() };
    let mut large = running(&registry, "head -c 100000000 /dev/zero > /large");
    large.session = Session::new("test", "test", services);
    large.exporters = vec![Exporter { r#type: "tar".to_owned(), ..Exporter::default() }];
    let cancel = Cancel::default();
    let (sender, mut receiver) = events();
    let solving = async {
        let built = solve(&client, large, &sender, &cancel).await;
        sender.end();
        built
    };
    let reading = async {
        let mut batch = Vec::new();
        while receiver.recv_many(&mut batch, 1).await > 0 {
            // Some of it has come.
            if std::fs::read_dir(folder.path()).unwrap().count() > 0 {
                cancel.cancel();
            }
        }
    };
    let (built, ()) = tokio::join!(solving, reading);
    assert_eq!(built.unwrap_err().kind, FailureKind::Cancelled);
    let left = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    // It may have been whole just before.
    let left: Vec<_> = left.filter(|left| *left != path).collect();
    assert!(left.is_empty(), "{left:?}");
}

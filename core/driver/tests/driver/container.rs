//! The driver `docker-container` on a real Engine.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rbx_buildkit::Client;
use rbx_driver::docker::Endpoint;
use rbx_driver::{Driver, DriverError, DriverKind, NodeSettings, Status, Surroundings, open};
use rbx_request::{Event, EventReceiver, events};
use rbx_tests::dind::DIND;
use rbx_tests::{Engine, Store};
use serde_json::Value;

/// A node in the network of the machine, since Engines of tests have no other.
fn node(engine: &Engine, image: &str) -> NodeSettings {
    let options = [("image", image), ("network", "host"), ("qemu.install", "false")];
    NodeSettings {
        name: "b0".to_owned(),
        address: engine.host(),
        engine: Endpoint { host: engine.host(), ..endpoint() },
        platforms: Vec::new(),
        options: options.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        flags: vec!["--allow-insecure-entitlement=network.host".to_owned()],
        files: BTreeMap::new(),
    }
}

fn endpoint() -> Endpoint {
    Endpoint { name: "default".to_owned(), host: String::new(), tls: None, command: None, configured: true }
}

fn driver(node: &NodeSettings) -> Arc<dyn Driver> {
    let surroundings = Surroundings { patience: Duration::from_mins(1), ..Surroundings::default() };
    open(DriverKind::DockerContainer, node, &surroundings).unwrap()
}

/// What was said, in the order of the first word about each: vertices and their lines.
async fn said(mut receiver: EventReceiver) -> Vec<String> {
    let mut events = Vec::new();
    while receiver.recv_many(&mut events, 100).await > 0 {}
    let mut lines: Vec<String> = Vec::new();
    for event in events {
        let line = match event {
            Event::Vertex(vertex) => match vertex.error {
                Some(error) => format!("ERROR: {error}"),
                None => vertex.name,
            },
            Event::Status(status) => status.id,
            other => format!("{other:?}"),
        };
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines
}

async fn boot(driver: &Arc<dyn Driver>) -> (Result<(), DriverError>, Vec<String>) {
    let (sender, receiver) = events();
    let result = driver.boot(&sender).await;
    drop(sender);
    (result, said(receiver).await)
}

fn docker(engine: &Engine, arguments: &[&str]) -> String {
    print(engine.docker().args(arguments))
}

fn print(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// What the Engine has of the container, as far as it does not differ from one to the other by itself.
fn inspect(engine: &Engine, name: &str) -> Value {
    let text = docker(engine, &["inspect", name]);
    let container: Value = serde_json::from_str::<Value>(&text).unwrap()[0].clone();
    let mut config = container["Config"].clone();
    config.as_object_mut().unwrap().remove("Labels");
    let mount = container["Mounts"][0].clone();
    serde_json::json!({
        "path": container["Path"], "args": container["Args"], "config": config, "host": container["HostConfig"],
        "mount": [mount["Type"], mount["Name"], mount["Destination"]],
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_in_a_container_is_booted_used_stopped_and_removed() {
    let engine = Engine::start(Store::Containerd);
    engine.load_dind();
    let driver = driver(&node(&engine, DIND));
    assert_eq!(driver.status().await.unwrap(), Status::Inactive);
    assert!(driver.dial().dial().await.is_err());
    let (result, lines) = boot(&driver).await;
    result.unwrap();
    assert_eq!(
        lines,
        [
            "[internal] booting buildkit".to_owned(),
            format!("pulling image {DIND}"),
            format!("using local image {DIND}"),
            "creating container buildx_buildkit_b0".to_owned(),
        ]
    );
    assert_eq!(driver.status().await.unwrap(), Status::Running);
    let client = Client::connect(driver.dial()).await.unwrap();
    let workers = client.workers().await.unwrap();
    assert!(workers[0].labels.contains_key("org.mobyproject.buildkit.worker.snapshotter"), "{workers:?}");
    assert!(driver.features(&workers).await.unwrap().multi_platform);
    // It runs, and nothing is said.
    let (result, lines) = boot(&driver).await;
    assert_eq!((result.unwrap(), lines), ((), vec![]));
    let inspected = inspect(&engine, "buildx_buildkit_b0");
    assert_eq!(
        inspected["mount"],
        serde_json::json!(["volume", "buildx_buildkit_b0_state", "/var/lib/docker"])
    );

    driver.stop().await.unwrap();
    assert_eq!(driver.status().await.unwrap(), Status::Stopped);
    let (result, lines) = boot(&driver).await;
    result.unwrap();
    assert_eq!(lines, ["[internal] booting buildkit", "starting container buildx_buildkit_b0"]);
    // Killed, it is booted again.
    docker(&engine, &["kill", "buildx_buildkit_b0"]);
    assert_eq!(driver.status().await.unwrap(), Status::Stopped);
    boot(&driver).await.0.unwrap();

    driver.remove(true).await.unwrap();
    assert_eq!(driver.status().await.unwrap(), Status::Inactive);
    assert_eq!(docker(&engine, &["volume", "ls", "-q"]), "buildx_buildkit_b0_state");
    boot(&driver).await.0.unwrap();
    driver.remove(false).await.unwrap();
    driver.remove(false).await.unwrap();
    assert_eq!(docker(&engine, &["volume", "ls", "-q"]), "");
    assert_eq!(docker(&engine, &["ps", "-aq"]), "");
}

//! Loading into real Engines, with either of their image stores.

use std::time::Duration;

use crate::dockerd::Dockerd;
use rbx_driver::DriverError;
use rbx_driver::docker::{Endpoint, Engine, LoadEvent};
use rbx_oci::Digest;

fn sha256(content: &[u8]) -> String {
    Digest::sha256_of(content).hex()
}

fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, *content).unwrap();
    }
    archive.into_inner().unwrap()
}

/// What `docker save` would write of an image of one layer.
fn archive() -> (Vec<u8>, String) {
    let layer = tar(&[("hello", b"world")]);
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":["sha256:{}"]}}}}"#,
        sha256(&layer)
    );
    let id = sha256(config.as_bytes());
    let manifest =
        format!(r#"[{{"Config":"{id}.json","RepoTags":["rbx.test/hello:1"],"Layers":["layer.tar"]}}]"#);
    let files: [(&str, &[u8]); 3] = [
        (&format!("{id}.json"), config.as_bytes()),
        ("layer.tar", &layer),
        ("manifest.json", manifest.as_bytes()),
    ];
    (tar(&files), format!("sha256:{id}"))
}

async fn load(containerd_store: bool) {
    let config = format!(
        r#"{{"features":{{"containerd-snapshotter":{containerd_store}}}{}}}"#,
        if containerd_store { "" } else { r#","storage-driver":"vfs""# }
    );
    let Some(dockerd) = Dockerd::start(&config, &[]).await else { return };
    let engine = Engine::connect(&dockerd.endpoint).unwrap();

    let info = engine.info().await.unwrap();
    assert_eq!(info.containerd_store, containerd_store);
    assert_eq!(info.os, "linux");
    assert!(!info.version.is_empty() && !info.architecture.is_empty(), "{info:?}");

    let (archive, id) = archive();
    assert_eq!(engine.inspect_image("rbx.test/hello:1").await.unwrap(), None);
    let mut events = Vec::new();
    let loaded = engine.load(std::io::Cursor::new(archive), |event| events.push(event)).await.unwrap();
    assert_eq!(loaded, ["rbx.test/hello:1"]);
    assert!(events.contains(&LoadEvent::Message("Loaded image: rbx.test/hello:1".to_owned())), "{events:?}");
    if !containerd_store {
        let is_progress = |event: &LoadEvent| matches!(event, LoadEvent::Progress { status, total, .. } if status == "Loading layer" && *total > 0);
        assert!(events.iter().any(is_progress), "{events:?}");
    }
    let image = engine.inspect_image("rbx.test/hello:1").await.unwrap().unwrap();
    assert_eq!(image.tags, ["rbx.test/hello:1"]);
    assert_eq!(image.platform.to_string(), "linux/amd64");
    assert_eq!(image.id == id, !containerd_store, "{}", image.id);

    let error = engine.load(std::io::Cursor::new(b"no archive".to_vec()), |_| ()).await.unwrap_err();
    assert!(matches!(error, DriverError::Engine { .. }), "{error:?}");
    let broken = futures::stream::iter([Err::<&[u8], _>(std::io::Error::other("the disk is on fire"))]);
    let broken = tokio_util::io::StreamReader::new(broken);
    let error = engine.load(broken, |_| ()).await.unwrap_err();
    assert!(matches!(error, DriverError::Load { .. }), "{error:?}");
    assert!(error.to_string().starts_with("cannot load the image: the disk is on fire: "), "{error}");
}

#[tokio::test]
async fn load_into_a_graph_driver() {
    load(false).await;
}

#[tokio::test]
async fn load_into_containerd() {
    load(true).await;
}

#[tokio::test]
async fn nobody_there() {
    let engine = |host: &str| Engine::connect(&Endpoint::at(host));
    let error = engine("unix:///nonexistent/docker.sock").unwrap().ping().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "Cannot connect to the Docker daemon at unix:///nonexistent/docker.sock. Is the docker daemon running?"
    );
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = engine(&format!("tcp://{address}")).unwrap().ping().await.unwrap_err();
    assert!(matches!(error, DriverError::Unavailable { .. }), "{error:?}");
    let error = engine("fd://me").unwrap_err();
    assert!(matches!(error, DriverError::UnsupportedHost { .. }), "{error:?}");

    // A server that takes the connection and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = format!("tcp://{}", silent.local_addr().unwrap());
    let started = std::time::Instant::now();
    let error = engine(&host).unwrap().ping().await.unwrap_err();
    assert!(matches!(error, DriverError::Unavailable { .. }), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(10));
}

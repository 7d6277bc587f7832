//! Whole builds of requests by a real Engine: every kind of input and output.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use rbx_oci::layout::Layout;
use rbx_oci::{Descriptor, Digest, Document, Reference};
use rbx_platform::Platform;
use rbx_request::{
    ArchiveStream, BuildRequest, CacheEntry, Cancel, ContextSource, DockerfileSource, Event, Failure, Output,
    Secret, SecretSource, Stdout, events, parse_contexts,
};
use rbx_tests::{Engine, Registry, Server, Store};
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::connect;
use super::like_buildx::{request, settings};
use crate::Client;
use crate::build::{Built, Load, Settings, build};
use crate::session::{OpenPipe, Pipe};
use crate::usage::PruneOptions;

/// What a build ends with, its events, and what it wrote to standard output.
async fn run(
    client: &Client,
    request: &BuildRequest,
    settings: &Settings,
) -> (Result<Built, Failure>, Vec<Event>, Vec<u8>) {
    let (sender, mut receiver) = events();
    let written = Arc::new(Mutex::new(Vec::new()));
    let stdout: Stdout = written.clone();
    let cancel = Cancel::default();
    let reading = async move {
        let mut batch = Vec::new();
        while receiver.recv_many(&mut batch, 100).await > 0 {}
        batch
    };
    let building = async move { build(client, request, settings, &sender, &cancel, &stdout).await };
    let (built, events) = tokio::join!(building, reading);
    let written = written.lock().unwrap().clone();
    (built, events, written)
}

/// A context with these files.
fn context(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = directory.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    directory
}

fn local(out: &Path) -> Output {
    Output::parse("type=local,dest=tree", out).unwrap()
}

/// The files of a directory, by their paths.
fn files(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                directories.push(entry.path());
            } else {
                let path = entry.path().strip_prefix(root).unwrap().display().to_string();
                found.insert(path, fs::read_to_string(entry.path()).unwrap());
            }
        }
    }
    found
}

#[tokio::test]
async fn several_outputs_are_written_at_once() {
    let engine = Engine::start(Store::Containerd);
    let client = connect(&engine).await;
    let context = context(&[("Dockerfile", "FROM scratch\nCOPY file /\n"), ("file", "content")]);
    let out = tempfile::tempdir().unwrap();
    let request = BuildRequest {
        tags: vec![Reference::parse("r.test/a:1").unwrap()],
        outputs: [
            "type=local,dest=tree",
            "type=tar,dest=files.tar",
            "type=oci,dest=layout.tar",
            "type=oci,dest=layout,tar=false",
            "type=docker,dest=image.tar",
            "type=image",
            "-",
        ]
        .map(|text| Output::parse(text, out.path()).unwrap())
        .to_vec(),
        ..request(context.path())
    };
    // An archive for docker holds one image, and nothing beside it.
    let settings = Settings { no_default_attestations: true, ..settings(Store::Containerd) };
    let (built, _, stdout) = run(&client, &request, &settings).await;
    let digest = built.unwrap().result.image_digest.unwrap();

    let at = |path: &str| out.path().join(path);
    assert_eq!(files(&at("tree")), BTreeMap::from([("file".to_owned(), "content".to_owned())]));
    assert_eq!(stdout, fs::read(at("files.tar")).unwrap());
    for layout in ["layout", "layout.tar"] {
        let layout = Layout::open(at(layout)).unwrap();
        assert_eq!(layout.find(Some("r.test/a:1")).unwrap().digest.to_string(), digest);
        assert!(layout.blob(layout.find(None).unwrap()).is_ok());
        let way = layout.resolve(None, &Platform::host()).unwrap();
        let _ = layout.document(way.last().unwrap()).unwrap();
    }
    let image = rbx_tests::Image::read_all(&at("image.tar"));
    assert_eq!(image.len(), 1);

    // Another image in the same layout leaves the first.
    let again = BuildRequest {
        tags: vec![Reference::parse("r.test/b:1").unwrap()],
        outputs: vec![Output::parse("type=oci,dest=layout,tar=false", out.path()).unwrap()],
        ..request
    };
    run(&client, &again, &settings).await.0.unwrap();
    let layout = Layout::open(at("layout")).unwrap();
    assert!(layout.find(Some("r.test/a:1")).is_ok() && layout.find(Some("r.test/b:1")).is_ok());
}

#[tokio::test]
async fn contexts_and_dockerfiles_of_every_kind() {
    let engine = Engine::start(Store::Containerd);
    let client = connect(&engine).await;
    let settings = settings(Store::Containerd);
    let context = context(&[
        ("Dockerfile", "FROM scratch\nCOPY file /\n"),
        ("Other", "FROM scratch\nCOPY file /other\n"),
        ("file", "content"),
        ("more/named", "named"),
    ]);
    let server = Server::start(context.path());
    let address = |path: &str| format!("http://{}/{path}", server.address().trim_start_matches("http://"));
    let archive = {
        let mut archive = tar::Builder::new(Vec::new());
        archive.append_dir_all(".", context.path()).unwrap();
        archive.into_inner().unwrap()
    };
    fs::write(context.path().join("context.tar"), &archive).unwrap();

    let inline = |text: &str| DockerfileSource::Inline(text.as_bytes().to_vec());
    let in_context = |path: &str| DockerfileSource::InContext(path.to_owned());
    let directory = || ContextSource::Directory(context.path().to_owned());
    let tar = || ContextSource::Tar(ArchiveStream::new(std::io::Cursor::new(archive.clone())));
    let cases = [
        (directory(), inline("FROM scratch\nCOPY more/named /"), "named", "named"),
        (ContextSource::Empty, inline("FROM scratch\nCOPY <<E /empty\nE\n"), "empty", ""),
        (directory(), DockerfileSource::Path(context.path().join("Other")), "other", "content"),
        (directory(), DockerfileSource::Url(address("Other")), "other", "content"),
        (tar(), in_context("Other"), "other", "content"),
        (tar(), inline("FROM scratch\nCOPY file /inline\n"), "inline", "content"),
        (ContextSource::Url(address("context.tar")), in_context("Dockerfile"), "file", "content"),
        (
            ContextSource::Url(address("context.tar")),
            DockerfileSource::Url(address("Other")),
            "other",
            "content",
        ),
    ];
    for (context, dockerfile, path, content) in cases {
        let out = tempfile::tempdir().unwrap();
        let request =
            BuildRequest { context, dockerfile, outputs: vec![local(out.path())], ..BuildRequest::default() };
        run(&client, &request, &settings).await.0.unwrap();
        let mut found = files(&out.path().join("tree"));
        // What is attested is beside the files.
        found.retain(|path, _| path != "provenance.json");
        assert_eq!(found, BTreeMap::from([(path.to_owned(), content.to_owned())]), "{request:?}");
    }
}

#[tokio::test]
async fn contexts_by_name_and_images_in_layouts() {
    let engine = Engine::start(Store::Containerd);
    let client = connect(&engine).await;
    let settings = settings(Store::Containerd);
    let base = context(&[("Dockerfile", "FROM scratch\nCOPY file /base\n"), ("file", "base")]);
    let out = tempfile::tempdir().unwrap();
    let layout = Output::parse("type=oci,dest=layout,tar=false", out.path()).unwrap();
    let request = BuildRequest { outputs: vec![layout], ..request(base.path()) };
    run(&client, &request, &settings).await.0.unwrap();

    let layout = out.path().join("layout").display().to_string();
    let dockerfile = "FROM image\nCOPY --from=files file /file\nCOPY --from=none / /\n";
    let request = BuildRequest {
        dockerfile: DockerfileSource::Inline(dockerfile.as_bytes().to_vec()),
        named_contexts: parse_contexts(&[
            format!("image=oci-layout://{layout}"),
            format!("files={}", base.path().display()),
            "none=docker-image://scratch".to_owned(),
        ])
        .unwrap(),
        outputs: vec![local(out.path())],
        ..BuildRequest::default()
    };
    run(&client, &request, &settings).await.0.unwrap();
    let mut found = files(&out.path().join("tree"));
    found.remove("provenance.json");
    let expected =
        [("base", "base"), ("file", "base")].map(|(path, content)| (path.to_owned(), content.to_owned()));
    assert_eq!(found, BTreeMap::from(expected));
}

#[tokio::test]
async fn caches_go_into_directories_and_come_back() {
    let engine = Engine::start(Store::Containerd);
    let client = connect(&engine).await;
    let context = context(&[("Dockerfile", "FROM scratch\nCOPY file /\n"), ("file", "content")]);
    let out = tempfile::tempdir().unwrap();
    let cache = out.path().join("cache").display().to_string();
    let entry = |text: String| vec![CacheEntry::parse(&text).unwrap()];
    let settings = Settings { no_default_load: true, ..settings(Store::Containerd) };
    let mut request = BuildRequest {
        cache_to: entry(format!("type=local,dest={cache},mode=max,tag=t")),
        cache_from: entry(format!("type=local,src={cache},tag=t")),
        ..request(context.path())
    };
    let (built, ..) = run(&client, &request, &settings).await;
    let notes = built.unwrap().result.notes;
    assert!(notes[0].starts_with(&format!("local cache import at {cache} skipped: ")), "{notes:?}");
    assert!(Layout::open(&cache).unwrap().find(Some("t")).is_ok());

    client.prune(&PruneOptions { all: true, ..PruneOptions::default() }, |_| ()).await.unwrap();
    request.cache_to.clear();
    let (built, events, _) = run(&client, &request, &settings).await;
    assert_eq!(built.unwrap().result.notes, <[&str; 0]>::default());
    let copied = |event: &&Event| matches!(event, Event::Vertex(it) if it.name.contains("COPY") && it.cached);
    assert!(events.iter().any(|event| copied(&event)), "{events:#?}");
}

/// A pipe whose bytes are kept.
fn keeping(kept: &Arc<Mutex<Vec<u8>>>, outcome: Result<(), String>) -> OpenPipe {
    let kept = kept.clone();
    Arc::new(move |said: BTreeMap<String, String>| {
        let (kept, outcome) = (kept.clone(), outcome.clone());
        Box::pin(async move {
            assert!(said.contains_key("containerimage.digest"), "{said:?}");
            let (sender, mut receiver) = mpsc::channel::<std::io::Result<Bytes>>(4);
            let reading = tokio::spawn(async move {
                while let Some(bytes) = receiver.recv().await {
                    kept.lock().unwrap().extend_from_slice(&bytes.unwrap());
                }
            });
            let done = async move {
                reading.await.unwrap();
                outcome
            };
            Ok(Some(Pipe { sender, done: Box::pin(done) }))
        })
    })
}

#[tokio::test]
async fn loads_are_streamed_to_who_takes_them() {
    let engine = Engine::start(Store::Containerd);
    let client = connect(&engine).await;
    let context = context(&[("Dockerfile", "FROM scratch\nCOPY file /\n"), ("file", "content")]);
    let request = BuildRequest {
        outputs: vec![Output::parse("type=docker,context=elsewhere", context.path()).unwrap()],
        tags: vec![Reference::parse("r.test/a:1").unwrap()],
        ..request(context.path())
    };
    for indexes in [true, false] {
        let kept = Arc::default();
        let load = Load::Archive { indexes, open: keeping(&kept, Ok(())) };
        let no_default_attestations = !indexes;
        let settings = Settings { loads: vec![load], no_default_attestations, ..settings(Store::Containerd) };
        let result = run(&client, &request, &settings).await.0.unwrap().result;
        let archive = context.path().join("archive");
        fs::write(&archive, &*kept.lock().unwrap()).unwrap();
        let layout = Layout::open(&archive).unwrap();
        let digest = layout.find(Some("r.test/a:1")).unwrap().digest.to_string();
        assert_eq!(result.image_digest.as_ref(), Some(&digest));
        // Where images are known by their digest, they have no other.
        assert_eq!(result.config_digest.is_none(), indexes);
    }
    let load =
        Load::Archive { indexes: true, open: keeping(&Arc::default(), Err("no space left".to_owned())) };
    let settings = Settings { loads: vec![load], ..settings(Store::Containerd) };
    let failure = run(&client, &request, &settings).await.0.unwrap_err();
    assert!(failure.reason.contains("no space left"), "{failure:?}");
}

#[tokio::test]
async fn images_to_be_loaded_come_without_their_layers() {
    let engine = Engine::start(Store::Containerd);
    let client = connect(&engine).await;
    let context = context(&[("Dockerfile", "FROM scratch\nCOPY file /\n"), ("file", "content")]);
    let scratch = tempfile::tempdir().unwrap();
    let request = BuildRequest {
        outputs: vec![Output::parse("type=docker,context=elsewhere", context.path()).unwrap()],
        tags: vec![Reference::parse("r.test/a:1").unwrap()],
        ..request(context.path())
    };
    for indexes in [true, false] {
        let kept = Arc::default();
        let settings = Settings {
            loads: vec![Load::Archive { indexes, open: keeping(&kept, Ok(())) }],
            no_default_attestations: true,
            scratch: Some(scratch.path().to_owned()),
            ..settings(Store::Containerd)
        };
        let built = run(&client, &request, &settings).await.0.unwrap();
        assert!(kept.lock().unwrap().is_empty());
        let image = built.exported.unwrap();
        assert_eq!(built.result.image_digest, Some(image.descriptor().digest.to_string()));
        let Document::Manifest(manifest) = image.document(image.descriptor()).await.unwrap() else {
            panic!("an index");
        };
        let layer = &manifest.layers[0];
        assert_eq!(client.has_content(layer.digest).await.unwrap(), Some(true));
        assert_eq!(client.has_content(Digest::sha256_of(b"never made")).await.unwrap(), Some(false));
        // The manifest and the configuration, and the layer only when it is asked for.
        let here = fs::read_dir(scratch.path()).unwrap().next().unwrap().unwrap().path();
        assert_eq!(fs::read_dir(here.join("blobs/sha256")).unwrap().count(), 2);
        assert_eq!(image.bytes(layer).await.unwrap().len() as u64, layer.size);
        let wrong = Descriptor { size: layer.size - 1, ..layer.clone() };
        assert!(image.bytes(&wrong).await.unwrap_err().to_string().starts_with("it is too large: "));
        let absent = Descriptor::of("application/octet-stream", b"never made");
        assert!(image.bytes(&absent).await.unwrap_err().to_string().contains("not found"));
        drop(image);
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn calls_are_answered() {
    let engine = Engine::start(Store::Graph);
    let client = connect(&engine).await;
    let context = context(&[("Dockerfile", "from scratch AS first\nARG X=1\nCOPY file /\n"), ("file", "")]);
    let call = |name: &str| BuildRequest { call: Some(name.to_owned()), ..request(context.path()) };
    let answer = async |name| {
        let built = run(&client, &call(name), &settings(Store::Graph)).await.0.unwrap();
        assert!(!built.result.metadata.contains_key("buildx.build.ref"));
        assert!(built.result.metadata["result.json"].is_object());
        built.call.unwrap()
    };
    let lint = answer("lint").await;
    assert_eq!(lint.status, 1);
    assert!(lint.json.unwrap().contains("ConsistentInstructionCasing") && lint.text.is_some());
    let outline = answer("outline").await;
    assert_eq!(outline.status, 0);
    assert!(outline.text.unwrap().contains('X'));
    assert!(answer("targets").await.json.unwrap().contains("first"));
    let unknown = run(&client, &call("nonsense"), &settings(Store::Graph)).await.0.unwrap_err();
    assert!(unknown.reason.contains("unsupported request frontend.nonsense"), "{unknown:?}");
}

#[tokio::test]
async fn images_are_pulled_and_pushed_and_secrets_mounted() {
    let engine = Engine::start(Store::Containerd);
    let client = connect(&engine).await;
    let (images, registry) = (Registry::with_images(), Registry::start());
    let dockerfile = format!(
        "FROM {}/busybox\nRUN --network=none --mount=type=secret,id=s cat /run/secrets/s > /secret\n",
        images.address()
    );
    let context = context(&[("Dockerfile", dockerfile.as_str())]);
    let name = format!("{}/pushed:1", registry.address());
    let config = rbx_registry::Config::default();
    let request = BuildRequest {
        tags: vec![Reference::parse(&name).unwrap()],
        outputs: vec![Output::parse("type=registry", context.path()).unwrap(), local(context.path())],
        secrets: vec![Secret { id: "s".to_owned(), source: SecretSource::Value(b"hush".to_vec()) }],
        ..request(context.path())
    };
    let settings = Settings {
        registry: Some(rbx_registry::Client::new(config).unwrap()),
        ..settings(Store::Containerd)
    };
    let (built, events, _) = run(&client, &request, &settings).await;
    let built = built.unwrap();
    assert!(built.pushes.is_empty());
    let pushed = registry.crane().args(["digest", &name]).output().unwrap();
    let pushed = String::from_utf8(pushed.stdout).unwrap();
    assert_eq!(built.result.image_digest.as_deref(), Some(pushed.trim()));
    assert!(Digest::parse(pushed.trim()).is_ok());
    assert_eq!(fs::read_to_string(context.path().join("tree/secret")).unwrap(), "hush");
    assert!(!format!("{events:?}").contains("hush"));
}

#[tokio::test]
async fn policies_hosts_and_entitlements_reach_the_daemon() {
    let engine = Engine::start(Store::Graph);
    let client = connect(&engine).await;
    let images = Registry::with_images();
    let base = format!("{}/busybox", images.address());
    let dockerfile = format!("FROM {base}\nRUN --network=none grep -w other.test /etc/hosts > /hosts\n");
    let context = context(&[("Dockerfile", dockerfile.as_str())]);
    let out = tempfile::tempdir().unwrap();
    let request = BuildRequest {
        add_hosts: ["gateway.test=host-gateway", "other.test=10.1.2.3"]
            .map(|text| rbx_request::AddHost::parse(text).unwrap())
            .to_vec(),
        outputs: vec![local(out.path())],
        ..request(context.path())
    };
    let plain = settings(Store::Graph);
    let (built, ..) = run(&client, &request, &plain).await;
    // An Engine without a bridge has no gateway.
    assert_eq!(built.unwrap_err().reason, "host-gateway IP not found");
    let request = BuildRequest { add_hosts: request.add_hosts[1..].to_vec(), ..request };
    run(&client, &request, &plain).await.0.unwrap();
    assert_eq!(fs::read_to_string(out.path().join("tree/hosts")).unwrap(), "10.1.2.3\tother.test\n");

    let policy = serde_json::json!({"rules": [{
        "action": "DENY", "selector": {"identifier": format!("docker-image://{base}*")},
    }]});
    let denied = Settings { source_policy: Some(policy.to_string().into()), ..settings(Store::Graph) };
    let request = BuildRequest { add_hosts: Vec::new(), ..request };
    let failure = run(&client, &request, &denied).await.0.unwrap_err();
    assert!(failure.reason.contains("source denied by policy"), "{failure:?}");

    let dockerfile = format!("FROM {base}\nRUN --security=insecure true\n");
    let request = BuildRequest {
        dockerfile: DockerfileSource::Inline(dockerfile.into()),
        allow: vec!["security.insecure".to_owned()],
        ..request
    };
    let failure = run(&client, &request, &plain).await.0.unwrap_err();
    assert!(failure.reason.contains("security.insecure is not allowed"), "{failure:?}");
}

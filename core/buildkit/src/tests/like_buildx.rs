//! The same builds by buildx and by this client, on one Engine: what the daemon was asked for, and what came of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rbx_oci::Reference;
use rbx_platform::Platform;
use rbx_request::{
    BuildRequest, Cancel, ContextSource, DockerfileSource, Failure, Features, NoCache, events,
    parse_contexts, parse_pairs,
};
use rbx_tests::{Engine, Store};
use serde_json::Value;
use tempfile::TempDir;

use super::connect;
use crate::build::{Built, Settings, build};
use crate::{Client, proto::control};

pub(super) fn settings(store: Store) -> Settings {
    let all = matches!(store, Store::Containerd);
    Settings {
        builder: "default".to_owned(),
        node: "default".to_owned(),
        driver: "docker".to_owned(),
        in_engine: true,
        features: Features {
            oci_exporter: all,
            docker_exporter: all,
            cache_export: all,
            multi_platform: all,
            direct_push: all,
            default_load: true,
        },
        node_id: "node".to_owned(),
        ..Settings::default()
    }
}

/// A context with a Dockerfile.
fn context() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("Dockerfile"), DOCKERFILE).unwrap();
    fs::write(directory.path().join("file"), "content\n").unwrap();
    directory
}

const DOCKERFILE: &str =
    "FROM scratch AS first\nCOPY file /a\nARG X=1\nFROM first\nLABEL x=${X}\nCOPY file /b\n";

pub(super) fn request(context: &Path) -> BuildRequest {
    BuildRequest {
        dockerfile: DockerfileSource::Path(context.join("Dockerfile")),
        context: ContextSource::Directory(context.to_owned()),
        ..BuildRequest::default()
    }
}

async fn run(client: &Client, request: &BuildRequest, settings: &Settings) -> Result<Built, Failure> {
    let (sender, mut receiver) = events();
    let stdout: rbx_request::Stdout = Arc::new(Mutex::new(Vec::new()));
    let cancel = Cancel::default();
    let reading = async move {
        let mut batch = Vec::new();
        while receiver.recv_many(&mut batch, 100).await > 0 {}
    };
    let building = async move { build(client, request, settings, &sender, &cancel, &stdout).await };
    tokio::join!(building, reading).0
}

/// What the daemon remembers of a build: the attributes of its frontend and its exporters, one a line.
async fn asked(client: &Client, reference: &str) -> Vec<String> {
    let request = control::BuildHistoryRequest {
        r#ref: reference.to_owned(),
        early_exit: true,
        ..control::BuildHistoryRequest::default()
    };
    let mut history = client.control().listen_build_history(request).await.unwrap().into_inner();
    let mut record = None;
    while let Some(event) = history.message().await.unwrap() {
        record = event.record.or(record);
    }
    let record = record.expect("a record");
    let sorted = |attributes: std::collections::HashMap<String, String>| -> BTreeMap<String, String> {
        attributes.into_iter().collect()
    };
    let mut lines: Vec<String> =
        sorted(record.frontend_attrs).into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    for exporter in record.exporters {
        lines.push(format!("{} {:?}", exporter.r#type, sorted(exporter.attrs)));
    }
    lines
}

/// What buildx makes of a command line, as files of metadata have it.
fn buildx(engine: &Engine, context: &Path, args: &[&str]) -> BTreeMap<String, Value> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("metadata");
    let output = engine
        .buildx()
        .args(["build", "--progress=plain", "--metadata-file"])
        .arg(&file)
        .args(args)
        .arg(context)
        .env("BUILDX_GIT_INFO", "0")
        .current_dir(context)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

/// The lines of one side alone, `-` for buildx's and `+` for ours, without keys that name this machine's user.
fn difference(theirs: &[String], ours: &[String]) -> Vec<String> {
    let told = |line: &&String| !line.starts_with("sharedkey:");
    let only = |sign: &str, some: &[String], others: &[String]| -> Vec<String> {
        some.iter().filter(told).filter(|it| !others.contains(it)).map(|it| format!("{sign}{it}")).collect()
    };
    [only("-", theirs, ours), only("+", ours, theirs)].concat()
}

/// What a command line changes of a plain request.
type Change<'a> = Box<dyn Fn(&mut BuildRequest) + 'a>;

/// What of a build's metadata is the same each time.
fn comparable(mut metadata: BTreeMap<String, Value>, store: Store) -> BTreeMap<String, Value> {
    metadata.remove("buildx.build.ref");
    // Later versions of buildx tell directories with names from each other, too.
    if let Some(args) =
        metadata.get_mut("buildx.build.provenance").unwrap().pointer_mut("/invocation/parameters/args")
    {
        args.as_object_mut().unwrap().retain(|key, _| !key.starts_with("sharedkey:"));
    }
    if matches!(store, Store::Graph) {
        // Names are written in full.
        metadata.remove("image.name");
    } else {
        // The index has the times of the build in its attestation, and later versions of buildx name no other digest.
        let descriptor = metadata.get_mut("containerimage.descriptor").unwrap();
        descriptor["digest"].take();
        descriptor["size"].take();
        metadata.remove("containerimage.digest");
        metadata.remove("containerimage.config.digest");
        metadata.retain(|key, value| {
            key != "image.name" || !value.as_str().unwrap().starts_with("moby-dangling@")
        });
    }
    metadata
}

#[tokio::test]
async fn requests_and_answers_are_buildxs() {
    for store in [Store::Containerd, Store::Graph] {
        let engine = Engine::start(store);
        let client = connect(&engine).await;
        let context = context();
        let context = fs::canonicalize(context.path()).unwrap();
        let here = context.display().to_string();
        let base = request(&context);

        let cases: Vec<(&str, Vec<String>, Change<'_>)> = vec![
            ("plain", vec![], Box::new(|_| ())),
            (
                "tags",
                vec!["-t".into(), "a".into(), "-t".into(), "r.test/b:1".into()],
                Box::new(|it| {
                    it.tags = ["a", "r.test/b:1"].map(|tag| Reference::parse(tag).unwrap()).to_vec();
                }),
            ),
            (
                "flags",
                [
                    "--target=first",
                    "--build-arg=X=2",
                    "--label=l=v",
                    "--no-cache-filter=other",
                    "--pull",
                    "--shm-size=1m",
                    "--ulimit=nofile=1:2",
                    "--add-host=h:1.2.3.4",
                    "--cgroup-parent=/g",
                    "--network=host",
                ]
                .map(str::to_owned)
                .to_vec(),
                Box::new(|it| {
                    it.target = Some("first".to_owned());
                    it.build_args = parse_pairs(&["X=2"], None).unwrap();
                    it.labels = parse_pairs(&["l=v"], None).unwrap();
                    it.no_cache = NoCache::Stages(vec!["other".to_owned()]);
                    it.pull = true;
                    it.shm_size = Some(1 << 20);
                    it.ulimits = vec![rbx_request::Ulimit { name: "nofile".to_owned(), soft: 1, hard: 2 }];
                    it.add_hosts = vec![rbx_request::AddHost::parse("h:1.2.3.4").unwrap()];
                    it.cgroup_parent = Some("/g".to_owned());
                    it.network = rbx_request::Network::Host;
                }),
            ),
            (
                "contexts",
                vec![
                    format!("--build-context=more={here}"),
                    "--build-context=other=docker-image://scratch".into(),
                ],
                Box::new(|it| {
                    it.named_contexts =
                        parse_contexts(&[format!("more={here}"), "other=docker-image://scratch".to_owned()])
                            .unwrap();
                }),
            ),
            (
                "platform",
                vec!["--platform=linux/arm64".into()],
                Box::new(|it| it.platforms = vec![Platform::parse("linux/arm64").unwrap()]),
            ),
        ];
        for (name, args, change) in cases {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            let theirs = buildx(&engine, &context, &args);
            let mut ours = base.clone();
            change(&mut ours);
            let built = run(&client, &ours, &settings(store)).await.unwrap();
            let reference = theirs["buildx.build.ref"].as_str().unwrap().rsplit('/').next().unwrap();
            let difference =
                difference(&asked(&client, reference).await, &asked(&client, &built.reference).await);
            let explained = |line: &&String| match store {
                // Later versions of buildx ask for it, too.
                Store::Containerd => !line.contains("dangling-name-prefix"),
                // Names are written in full.
                Store::Graph => !line.contains("{\"name\": "),
            };
            assert_eq!(
                difference.iter().filter(explained).collect::<Vec<_>>(),
                <[&str; 0]>::default(),
                "{name}"
            );
            assert_eq!(comparable(theirs, store), comparable(built.result.metadata, store), "{name}");
        }
    }
}

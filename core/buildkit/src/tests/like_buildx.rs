//! The same builds by buildx and by this client, on one Engine: what the daemon was asked for, and what came of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rbx_oci::layout::Layout;
use rbx_oci::{Document, Reference, media_type};
use rbx_platform::Platform;
use rbx_request::{
    Attestation, BuildRequest, Cancel, ContextSource, DockerfileSource, Failure, Features, NoCache, Output,
    events, parse_contexts, parse_pairs,
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

/// The documents that a layout has, in the order of its index: digests of images, and what is attested of them
/// without what is different in each build.
fn documents(layout: &Path) -> Vec<Value> {
    let layout = Layout::open(layout).unwrap();
    let top = layout.find(None).unwrap();
    let Document::Index(index) = layout.document(top).unwrap() else { panic!("no index") };
    let mut found = vec![serde_json::to_value((&index.media_type, &index.annotations)).unwrap()];
    for listed in &index.manifests {
        let Document::Manifest(manifest) = layout.document(listed).unwrap() else { panic!("no manifest") };
        let mut listed_as = serde_json::to_value(listed).unwrap();
        let is_attestation = manifest.layers.iter().any(|layer| layer.media_type == media_type::IN_TOTO);
        if is_attestation {
            listed_as["digest"].take();
            listed_as["size"].take();
        }
        found.push(listed_as);
        for layer in manifest.layers.iter().filter(|_| is_attestation) {
            let mut statement: Value = serde_json::from_reader(layout.blob(layer).unwrap()).unwrap();
            forget(&mut statement);
            found.push(statement);
        }
    }
    found
}

/// Takes out of provenance what is different in each build: its id, its times, what the machine did, and digests of
/// definitions, in which sessions have their ids.
fn forget(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|key, _| {
                ![
                    "buildInvocationID",
                    "buildStartedOn",
                    "buildFinishedOn",
                    "sysUsage",
                    "resourceUsage",
                    "digestMapping",
                ]
                .contains(&key.as_str())
            });
            fields.values_mut().for_each(forget);
        }
        Value::Array(values) => values.iter_mut().for_each(forget),
        _ => {}
    }
}

#[tokio::test]
async fn images_and_what_is_attested_of_them_are_buildxs() {
    let engine = Engine::start(Store::Containerd);
    let client = connect(&engine).await;
    let context = context();
    let context = fs::canonicalize(context.path()).unwrap();
    let out = tempfile::tempdir().unwrap();
    let cases = [
        ("default", vec![], vec![]),
        ("max", vec!["--provenance=mode=max"], vec![]),
        ("none", vec!["--provenance=false"], vec![]),
        (
            "annotated",
            vec![],
            vec!["a=1", "index:b=2", "manifest[linux/arm64]:c=3", "manifest-descriptor:d=4"],
        ),
    ];
    for (name, attest, annotations) in cases {
        let (theirs, ours) =
            (out.path().join(format!("{name}-theirs")), out.path().join(format!("{name}-ours")));
        let output = format!("--output=type=oci,compression=zstd,dest={}", theirs.display());
        let annotation: Vec<String> = annotations.iter().map(|it| format!("--annotation={it}")).collect();
        let mut args = vec!["--platform=linux/amd64,linux/arm64", "-t=r.test/a:1", &output];
        args.extend(attest.iter().copied());
        args.extend(annotation.iter().map(String::as_str));
        buildx(&engine, &context, &args);

        let provenance = attest.first().map(|it| it.trim_start_matches("--provenance=")).unwrap_or_default();
        let request = BuildRequest {
            platforms: ["linux/amd64", "linux/arm64"].map(|it| Platform::parse(it).unwrap()).to_vec(),
            tags: vec![Reference::parse("r.test/a:1").unwrap()],
            attestations: Attestation::parse_all(&[] as &[&str], provenance, "").unwrap(),
            annotations: annotations.iter().map(|it| (*it).to_owned()).collect(),
            outputs: vec![
                Output::parse(&format!("type=oci,compression=zstd,dest={}", ours.display()), &context)
                    .unwrap(),
            ],
            ..request(&context)
        };
        run(&client, &request, &settings(Store::Containerd)).await.unwrap();
        assert_eq!(documents(&theirs), documents(&ours), "{name}");
    }
}

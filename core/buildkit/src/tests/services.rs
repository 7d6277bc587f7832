//! Sessions whose services a real daemon asks.

use std::collections::HashMap;
use std::io::{Cursor, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use rbx_oci::Descriptor;
use rbx_oci::layout::{DirectoryWriter, Layout, LayoutImage};
use rbx_registry::{Config, Credentials};
use rbx_request::{Cancel, Event, Secret, SecretSource, SshForward, events};
use rbx_tests::{Engine, PASSWORD, Parts, Registry, RegistryOptions, Store, USER};

use super::{build, connect, dockerfile};
use crate::proto::control;
use crate::session::{Auth, Contents, Secrets, Services, Session, Ssh, Uploads};
use crate::solve::Solve;
use crate::{Client, PruneOptions};

fn with(services: Services, file: &str) -> Solve {
    let mut build = dockerfile(file);
    build.attributes.insert("force-network-mode".to_owned(), "none".to_owned());
    Solve { session: Session::new("test", "test", services), ..build }
}

/// The password of a registry's user, as docker's configuration has it.
fn auth(registry: &Registry, password: &str, seeds: Option<&Path>) -> Auth {
    let config = format!(
        r#"{{"auths": {{"{}": {{"username": "{USER}", "password": "{password}"}}}}}}"#,
        registry.address()
    );
    let credentials = Arc::new(Credentials::default().with_auth_config(Some(&config)).unwrap());
    let client = rbx_registry::Client::new(Config { credentials, ..Config::default() }).unwrap();
    Auth::new(client, seeds.map(Path::to_owned), events().0)
}

/// A registry with `busybox`, which only its user may read or write.
fn private(options: RegistryOptions) -> Registry {
    let registry = Registry::with(options);
    let login = ["auth", "login", registry.address(), "-u", USER, "-p", PASSWORD];
    assert!(registry.crane().args(login).status().unwrap().success());
    registry.push(&Parts::locate().layout("busybox"), "busybox");
    registry
}

fn image(name: &str) -> control::Exporter {
    let attrs = [("name", name), ("push", "true")];
    let attrs = attrs.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    control::Exporter { r#type: "image".to_owned(), attrs }
}

fn cache(attributes: &[(&str, &str)]) -> control::CacheOptionsEntry {
    let attrs = attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    control::CacheOptionsEntry { r#type: "local".to_owned(), attrs }
}

#[tokio::test]
async fn credentials_are_the_clients_alone() {
    let engine = Engine::start(Store::Containerd);
    let client = connect(&engine).await;
    let cancel = Cancel::default();
    for (kind, options) in [
        ("basic", RegistryOptions { password: true, ..RegistryOptions::default() }),
        ("tokens", RegistryOptions { tokens: true, ..RegistryOptions::default() }),
    ] {
        let registry = private(options);
        let address = registry.address();
        let file = format!("FROM {address}/busybox\nRUN echo {kind} > /built\n");
        for seeds in [None, Some(engine.directory())] {
            let name = format!("{address}/{kind}:{}", seeds.is_some());
            let services =
                |password| Services { auth: Some(auth(&registry, password, seeds)), ..Services::default() };
            let push = |services| Solve { exporters: vec![image(&name)], ..with(services, &file) };
            for refused in [services("guessed"), Services::default()] {
                let failure = build(&client, push(refused), &cancel).await.0.unwrap_err();
                assert!(!failure.reason.contains("guessed"), "{}", failure.reason);
                assert!(
                    failure.reason.contains("401") || failure.reason.contains("authoriz"),
                    "{}",
                    failure.reason
                );
            }
            build(&client, push(services(PASSWORD)), &cancel)
                .await
                .0
                .unwrap_or_else(|it| panic!("{kind}: {it:?}"));
            let pushed = registry.crane().args(["digest", &name]).output().unwrap();
            assert!(pushed.status.success(), "{pushed:?}");
        }
        if options.tokens {
            let asked = registry.tokens_asked();
            let mine = format!("{USER} repository:tokens:pull,push");
            assert!(asked.contains(&mine), "{asked:?}");
        }
    }
}

/// Where docker's configuration has credentials.
const SOURCES: [&str; 5] = ["auths", "credsStore", "credHelpers", "DOCKER_AUTH_CONFIG", "buildx/config"];

/// Somebody whose credentials are in one of the places.
fn somebody(source: &str, registry: &Registry, folder: &Path) -> Credentials {
    let host = registry.address();
    let auths = format!(r#"{{"auths": {{"{host}": {{"username": "{USER}", "password": "{PASSWORD}"}}}}}}"#);
    let program = folder.join("docker-credential-test");
    let answer = format!(r#"{{"Username": "{USER}", "Secret": "{PASSWORD}"}}"#);
    std::fs::write(&program, format!("#!/bin/sh\nread host\necho '{answer}'\n")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let scoped = folder.join("scoped");
    let config = match source {
        "auths" => auths.clone(),
        "credsStore" => r#"{"credsStore": "test"}"#.to_owned(),
        "credHelpers" => format!(r#"{{"credHelpers": {{"{host}": "test"}}}}"#),
        _ => "{}".to_owned(),
    };
    if source == "buildx/config" {
        for repository in ["busybox", "made"] {
            let part = scoped.join(host).join(repository);
            std::fs::create_dir_all(&part).unwrap();
            std::fs::write(part.join("config.json"), &auths).unwrap();
        }
    }
    let file = folder.join("config.json");
    std::fs::write(&file, config).unwrap();
    Credentials::from_config_file(Some(&file))
        .and_then(|it| it.with_auth_config((source == "DOCKER_AUTH_CONFIG").then_some(&auths)))
        .unwrap()
        .with_scoped(&scoped)
        .with_search_path(folder)
}

#[tokio::test]
async fn every_place_of_credentials_opens_every_registry() {
    for (store, sources) in [(Store::Containerd, &SOURCES[..]), (Store::Graph, &SOURCES[..2])] {
        let engine = Engine::start(store);
        let client = connect(&engine).await;
        for &source in sources {
            for tokens in [false, true] {
                // As in buildx, only tokens are for parts of registries.
                if source == "buildx/config" && !tokens {
                    continue;
                }
                // The daemon knows nothing of it yet.
                let registry =
                    private(RegistryOptions { tokens, password: !tokens, ..RegistryOptions::default() });
                let folder = tempfile::tempdir().unwrap();
                let credentials = Arc::new(somebody(source, &registry, folder.path()));
                let config = Config { credentials, ..Config::default() };
                let auth = rbx_registry::Client::new(config).unwrap();
                let auth = Auth::new(auth, Some(folder.path().to_owned()), events().0);
                let file = format!("FROM {}/busybox\nRUN echo {source} > /built\n", registry.address());
                let mut build = with(Services { auth: Some(auth), ..Services::default() }, &file);
                let name = format!("{}/made", registry.address());
                if store == Store::Containerd {
                    build.exporters.push(image(&name));
                }
                let built = super::build(&client, build, &Cancel::default()).await.0;
                assert!(built.is_ok(), "{store:?} {source} {tokens}: {built:?}");
                if store == Store::Containerd {
                    assert!(registry.crane().args(["digest", &name]).output().unwrap().status.success());
                }
                let asked = registry.tokens_asked();
                let mine = format!("{USER} repository:busybox:pull");
                assert!(!tokens || asked.contains(&mine), "{source}: {asked:?}");
            }
        }
    }
}

#[tokio::test]
async fn steps_see_secrets_and_agents() {
    let (engine, registry) = (Engine::start(Store::Graph), Registry::with_images());
    let client = connect(&engine).await;
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    let made = ["-q", "-t", "ed25519", "-N", "", "-f"];
    assert!(std::process::Command::new("ssh-keygen").args(made).arg(&key).status().unwrap().success());
    let file = format!(
        "FROM {}/busybox\nRUN --mount=type=secret,id=word --mount=type=ssh \
         test \"$(cat /run/secrets/word)\" = 'open sesame' && test -S \"$SSH_AUTH_SOCK\"\n",
        registry.address()
    );
    let source = SecretSource::Value(b"open sesame".to_vec());
    let secrets = Secrets::new(&[Secret { id: "word".to_owned(), source }]);
    let forward = SshForward { id: "default".to_owned(), paths: vec![key] };
    let ssh = Ssh::open(&[forward]).unwrap();
    let services = Services { secrets: Some(secrets), ssh: Some(ssh), ..Services::default() };
    build(&client, with(services, &file), &Cancel::default()).await.0.unwrap();

    let required = file.replace("id=word", "id=word,required=true,target=/other");
    let services = Services { secrets: Some(Secrets::new(&[])), ..Services::default() };
    let failure = build(&client, with(services, &required), &Cancel::default()).await.0.unwrap_err();
    assert!(failure.reason.contains("secret word: not found"), "{}", failure.reason);
}

#[tokio::test]
async fn a_context_comes_as_a_stream() {
    let engine = Engine::start(Store::Containerd);
    let client = connect(&engine).await;
    let mut archive = tar::Builder::new(Vec::new());
    let big = "x".repeat(3 << 20);
    for (name, content) in [("Dockerfile", "FROM scratch\nCOPY big /\n"), ("big", &big)] {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, content.as_bytes()).unwrap();
    }
    let uploads = Uploads::default();
    let address = uploads.add(Cursor::new(archive.into_inner().unwrap()));
    let services = Services { uploads: Some(uploads), ..Services::default() };
    let mut streamed = with(services, "");
    streamed.inputs = HashMap::new();
    streamed.attributes.insert("context".to_owned(), address);
    build(&client, streamed, &Cancel::default()).await.0.unwrap();
}

/// Whether the step of a build was in the cache. Events that follow may be about fetching its result.
fn is_cached(events: &[Event]) -> bool {
    events
        .iter()
        .any(|event| matches!(event, Event::Vertex(step) if step.cached && step.name.contains("RUN")))
}

async fn forget(client: &Client) {
    let all = PruneOptions { all: true, ..PruneOptions::default() };
    client.prune(&all, |_| {}).await.unwrap();
}

#[tokio::test]
async fn caches_and_bases_are_in_directories() {
    let engine = Engine::start(Store::Containerd);
    let client = connect(&engine).await;
    let cancel = Cancel::default();
    let base = Parts::locate().layout("busybox");
    let index = Layout::open(&base).unwrap().index().manifests[0].digest;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache");
    let (dest, id) = (path.to_str().unwrap(), format!("local:{}", path.display()));
    let of = |contents: Contents, run: &str| {
        let mut contents = contents;
        contents.add_layout("oci:base", Layout::open(&base).unwrap());
        let services = Services { contents: Some(contents), ..Services::default() };
        let mut build = with(
            services,
            &format!("FROM base\nRUN echo {run} > /made && cat /dev/urandom | head -c 3000000 > /big\n"),
        );
        build.attributes.insert("context:base".to_owned(), format!("oci-layout://base@{index}"));
        build
    };

    let mut contents = Contents::default();
    contents.add_directory(&id, DirectoryWriter::create(&path).unwrap());
    let mut exported = of(contents, "one");
    exported.cache_exports.push(cache(&[("dest", dest), ("mode", "max")]));
    let (built, events) = build(&client, exported, &cancel).await;
    let manifest = &built.unwrap().exported["cache.manifest"];
    assert!(!is_cached(&events));
    let manifest: Descriptor = serde_json::from_str(manifest).unwrap();
    let writer = DirectoryWriter::create(&path).unwrap();
    let listed = manifest.clone().with_annotation("org.opencontainers.image.ref.name", "latest");
    writer.finish(&[LayoutImage { descriptor: listed, names: Vec::new() }]).unwrap();
    let layout = Layout::open(&path).unwrap();
    assert_eq!(layout.find(None).unwrap().digest, manifest.digest);
    let mut bytes = Vec::new();
    layout.blob(&manifest).unwrap().read_to_end(&mut bytes).unwrap();
    let names: Vec<_> = std::fs::read_dir(&path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names.len(), 3, "{names:?}");

    forget(&client).await;
    let mut contents = Contents::default();
    contents.add_layout(&id, layout);
    let mut imported = of(contents, "one");
    imported.cache_imports.push(cache(&[("src", dest), ("digest", &manifest.digest.to_string())]));
    let (built, events) = build(&client, imported, &cancel).await;
    built.unwrap();
    assert!(is_cached(&events));

    // The same directory again, which has nearly all of it; the output of the cached step is read from there.
    forget(&client).await;
    let mut contents = Contents::default();
    contents.add_directory(&id, DirectoryWriter::create(&path).unwrap());
    let mut both = of(contents, "one");
    both.cache_imports.push(cache(&[("src", dest), ("digest", &manifest.digest.to_string())]));
    both.cache_exports.push(cache(&[("dest", dest), ("mode", "max")]));
    let (built, events) = build(&client, both, &cancel).await;
    built.unwrap();
    assert!(is_cached(&events));

    forget(&client).await;
    let mut absent = of(Contents::default(), "two");
    absent.cache_exports.push(cache(&[("dest", dest)]));
    let failure = build(&client, absent, &cancel).await.0.unwrap_err();
    assert!(failure.reason.contains("unknown store local:"), "{}", failure.reason);
}

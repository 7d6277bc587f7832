//! What is learned of registries: how often they are asked, and what is remembered.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../../registry/tests/registry/server.rs"]
#[expect(dead_code, reason = "the tests of the client need more of it")]
mod server;

use std::collections::BTreeMap;
use std::path::Path;

use rbx_dockerfile::parse;
use rbx_facts::Registries;
use rbx_lint::{Evaluated, Facts, ImageFacts, Request, lint};
use rbx_oci::{Descriptor, Digest, ImageConfig, Index, Manifest, media_type};
use rbx_platform::Platform;
use rbx_registry::{Client, Config};
use server::{Reply, Server};

fn platform(name: &str) -> Platform {
    Platform::parse(name).unwrap()
}

/// What a registry has: documents and blobs by what they are asked for.
#[derive(Default)]
struct Content(BTreeMap<String, (String, Vec<u8>)>);

impl Content {
    fn add(&mut self, kind: &str, media_type: &str, bytes: Vec<u8>) -> Descriptor {
        let digest = Digest::sha256_of(&bytes);
        let descriptor = Descriptor::new(media_type, digest, bytes.len() as u64);
        self.0.insert(format!("{kind}/{digest}"), (media_type.to_owned(), bytes));
        descriptor
    }

    /// An image that says that it is for a platform.
    fn image(&mut self, of: &str, on_build: &[&str]) -> Descriptor {
        let mut config = ImageConfig::new(&platform(of));
        config.config.env = vec![format!("IS={of}")];
        config.config.on_build = on_build.iter().map(|&trigger| trigger.to_owned()).collect();
        let config = self.add("blobs", media_type::OCI_CONFIG, config.to_bytes());
        let manifest = Manifest::new(media_type::OCI_MANIFEST, config, Vec::new());
        self.add("manifests", media_type::OCI_MANIFEST, manifest.to_bytes())
    }

    fn tag(&mut self, tag: &str, what: &Descriptor) {
        let found = self.0[&format!("manifests/{}", what.digest)].clone();
        self.0.insert(format!("manifests/{tag}"), found);
    }

    async fn serve(self) -> Server {
        Server::start(move |request, _| {
            let thing = request.target.strip_prefix("/v2/team/app/").unwrap_or_default();
            match self.0.get(thing) {
                Some((media_type, bytes)) => Reply::ok(bytes.clone())
                    .header("Content-Type", media_type)
                    .header("Docker-Content-Digest", Digest::sha256_of(bytes).to_string()),
                None if thing.ends_with("hidden") => Reply::status(403),
                None => Reply::status(404),
            }
        })
        .await
    }
}

/// An index with an image that lies about its platform, and an attestation.
fn content() -> Content {
    let mut content = Content::default();
    let amd64 = content.image("linux/amd64", &[]);
    let lying = content.image("linux/s390x", &[]);
    let attestation = Descriptor::new(media_type::OCI_MANIFEST, Digest::sha256_of(b"-"), 1);
    let unknown =
        Platform { os: "unknown".to_owned(), architecture: "unknown".to_owned(), ..platform("linux/amd64") };
    let index = Index::new(
        media_type::OCI_INDEX,
        vec![
            amd64.with_platform(&platform("linux/amd64")),
            lying.with_platform(&platform("linux/arm64")),
            attestation.with_platform(&unknown),
        ],
    );
    let index = content.add("manifests", media_type::OCI_INDEX, index.to_bytes());
    content.tag("1", &index);
    let single = content.image("linux/amd64", &["RUN true"]);
    content.tag("single", &single);
    content
}

fn registries(online: bool, cache: &Path) -> Registries {
    let client = online.then(|| Client::new(Config::default()).unwrap());
    Registries::new(client, Some(cache.to_owned()))
}

fn request() -> Request {
    Request::new(
        ["linux/amd64", "linux/arm64", "linux/arm/v7"].map(platform).to_vec(),
        platform("linux/amd64"),
    )
}

/// What is found, without the address of the server.
fn found(text: &str, facts: &Facts, server: &Server) -> Vec<String> {
    let findings = lint(&parse(text), &request(), facts);
    let shown = findings.iter().filter(|finding| finding.name().starts_with("base-"));
    let mut lines: Vec<_> =
        shown.map(|finding| finding.to_string().replace(&server.authority(), "SERVER")).collect();
    lines.sort();
    lines.dedup();
    lines
}

#[tokio::test]
async fn names_are_looked_up_once() {
    let server = content().serve().await;
    let image = format!("{}/team/app", server.authority());
    let directory = tempfile::tempdir().unwrap();
    let text = format!(
        "FROM {image}:1\nFROM {image}:1\nFROM {image}:single\nFROM {image}:none\nFROM {image}:hidden\n"
    );
    let file = parse(&text);

    let online = registries(true, directory.path());
    let mut facts = Facts::default();
    let problems = online.learn(&file, &request(), &mut facts).await;
    assert!(problems.len() == 1 && problems[0].contains("access denied"), "{problems:?}");
    assert_eq!(facts.images[&format!("{image}:none")], ImageFacts::Missing);
    assert!(!facts.images.contains_key(&format!("{image}:hidden")));
    let known =
        |name: &str, of: &str| facts.bases[&(format!("{image}:{name}"), platform(of))].env[0].1.clone();
    assert_eq!([known("1", "linux/amd64"), known("single", "linux/arm64")], ["linux/amd64", "linux/amd64"]);
    assert_eq!(known("1", "linux/arm64"), "linux/s390x");
    assert_eq!(
        found(&text, &facts, &server),
        [
            "No match for platform in the manifest of SERVER/team/app:1, which is for linux/amd64, linux/arm64 \
             on linux/arm/v7 (fine on linux/amd64, linux/arm64)",
            "SERVER/team/app:1 lists an image for linux/arm64 that is one for linux/s390x \
             on linux/arm64 (fine on linux/amd64, linux/arm/v7)",
        ]
    );
    // Each tag by HEAD, and each document once. Docker Hub counts the GETs of manifests.
    let mut lines = server.lines();
    let (heads, gets): (Vec<_>, Vec<_>) = lines.drain(..).partition(|line| line.starts_with("HEAD"));
    assert_eq!((heads.len(), gets.len()), (4, 7), "{heads:?} {gets:?}");

    // Another file asks for nothing new, and neither does another run at once.
    let before = server.requests().len();
    assert_eq!(online.learn(&file, &request(), &mut Facts::default()).await, Vec::<String>::new());
    assert_eq!(server.requests().len(), before);
    registries(true, directory.path()).learn(&file, &request(), &mut Facts::default()).await;
    assert_eq!(server.requests().len(), before + 1, "what was refused is asked for again");

    // Without a client, what is remembered is there, and nobody is asked.
    let offline = registries(false, directory.path());
    let mut recalled = Facts::default();
    let meant = offline.recall(&file, &request(), &mut recalled);
    assert!(!recalled.bases.is_empty());
    assert_eq!(format!("{meant:?}"), format!("{:?}", Evaluated::new(&file, &request(), &recalled)));
    assert_eq!(recalled.images, facts.images);
    assert_eq!(recalled.bases, facts.bases);
    let mut nothing = Facts::default();
    registries(false, &directory.path().join("empty")).recall(&file, &request(), &mut nothing);
    assert!(nothing.images.is_empty());
    assert_eq!(server.requests().len(), before + 1);

    // What another one learns is there afterwards, for whoever asked in vain before.
    let other = directory.path().join("other");
    std::fs::create_dir_all(other.join("names")).unwrap();
    let waiting = registries(false, &other);
    let mut later = Facts::default();
    waiting.recall(&file, &request(), &mut later);
    assert!(later.images.is_empty());
    assert_eq!(server.requests().len(), before + 1);
    registries(true, &other).learn(&file, &request(), &mut Facts::default()).await;
    waiting.recall(&file, &request(), &mut later);
    assert_eq!(later.images, facts.images);
}

#[tokio::test]
async fn triggers_of_an_image_name_others() {
    let mut content = Content::default();
    let with_trigger = content.image("linux/amd64", &["COPY --from=127.0.0.1:1/team/app:other /x /y"]);
    content.tag("trigger", &with_trigger);
    let server = content.serve().await;
    let directory = tempfile::tempdir().unwrap();
    let file = parse(&format!("FROM {}/team/app:trigger\n", server.authority()));
    let mut facts = Facts::default();
    let problems = registries(true, directory.path()).learn(&file, &request(), &mut facts).await;
    // It is asked for, and nobody listens there.
    assert!(problems.len() == 1 && problems[0].contains("127.0.0.1:1"), "{problems:?}");
}

#[tokio::test]
async fn what_is_no_document_is_a_problem() {
    let server = Server::start(|_, _| {
        Reply::ok("{}").header("Docker-Content-Digest", Digest::sha256_of(b"{}").to_string())
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    let file = parse(&format!("# syntax={}/a/b\nFROM not:a:name\n", server.authority()));
    let mut facts = Facts::default();
    let problems = registries(true, directory.path()).learn(&file, &request(), &mut facts).await;
    assert_eq!((problems.len(), facts.images.len()), (1, 0), "{problems:?}");
}

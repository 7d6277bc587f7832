use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rbx_oci::{Digest, Reference};
use rbx_registry::{Client, Config, RegistryError};

use crate::server::{Reply, Server};
use crate::{client, image, manifest_reply, sample_manifest, text};

fn plain() -> Client {
    client(Config::default())
}

/// An address where nobody listens.
fn gone() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

fn mirrored(origin: &Server, mirrors: &[String]) -> Client {
    let mirrors = BTreeMap::from([(origin.authority(), mirrors.to_vec())]);
    client(Config { mirrors, ..Config::default() })
}

#[tokio::test]
async fn by_tag_and_by_digest() {
    let server = Server::start(|_, _| manifest_reply()).await;
    let (manifest, digest) = sample_manifest();
    let fetched = plain().manifest(&image(&server)).await.unwrap();
    assert_eq!(fetched.bytes, manifest.as_bytes());
    assert_eq!(fetched.descriptor.digest, digest);
    assert_eq!(fetched.descriptor.size, manifest.len() as u64);
    assert_eq!(fetched.descriptor.media_type, "application/vnd.oci.image.manifest.v1+json");
    plain().manifest(&image(&server).with_digest(digest)).await.unwrap();
    assert_eq!(
        server.lines(),
        ["GET /v2/team/app/manifests/1".to_owned(), format!("GET /v2/team/app/manifests/{digest}")]
    );
    let accept = server.requests()[0].header("accept").unwrap().to_owned();
    assert!(
        accept.starts_with("application/vnd.oci.image.index.v1+json, application/vnd.docker"),
        "{accept}"
    );
}

#[tokio::test]
async fn other_bytes_than_the_digest_says() {
    let server = Server::start(|_, _| manifest_reply()).await;
    let other = image(&server).with_digest(Digest::sha256_of(b"other"));
    let error = plain().manifest(&other).await.unwrap_err();
    insta::assert_snapshot!(text(&error, &[&server]), @"digest mismatch: SERVER0/team/app:1@sha256:d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa at SERVER0: got sha256:ae7db8e7dcb7972ca2918e91f0c18c7d31a018b81a2c9d9773966161be5810c2");

    let lie = Digest::sha256_of(b"other").to_string();
    let server =
        Server::start(move |_, _| manifest_reply().header("Docker-Content-Digest", lie.clone())).await;
    let error = plain().manifest(&image(&server)).await.unwrap_err();
    assert!(matches!(error, RegistryError::DigestMismatch { .. }), "{error}");
}

#[tokio::test]
async fn sizes_are_bounded() {
    let announced = Server::start(|_, _| Reply::ok("{}").length(5 << 20)).await;
    let error = plain().manifest(&image(&announced)).await.unwrap_err();
    insta::assert_snapshot!(text(&error, &[&announced]), @"manifest too large: SERVER0/team/app:1 at SERVER0: more than 4194304 bytes");
    let endless = Server::start(|_, _| Reply::ok(vec![b' '; 5 << 20]).unannounced()).await;
    let error = plain().manifest(&image(&endless)).await.unwrap_err();
    assert!(matches!(error, RegistryError::TooLarge { .. }), "{error}");
    let cut = Server::start(|_, _| Reply::ok("{").length(9)).await;
    let error = plain().manifest(&image(&cut)).await.unwrap_err();
    assert!(matches!(error, RegistryError::CutShort { .. }), "{error}");
}

#[tokio::test]
async fn what_is_not_there() {
    let server = Server::start(|_, _| {
        Reply::status(404).body(
            r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown\u001b[31m\nhm","detail":{}}]}"#,
        )
    })
    .await;
    let error = plain().manifest(&image(&server)).await.unwrap_err();
    insta::assert_snapshot!(text(&error, &[&server]), @"not found: SERVER0/team/app:1 at SERVER0: manifest unknown [31m hm");
    assert!(error.is_not_found());
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn nobody_there() {
    let gone = gone();
    let reference: Reference = format!("{gone}/x").parse().unwrap();
    let started = Instant::now();
    let error = plain().manifest(&reference).await.unwrap_err();
    let shown = error.to_string().replace(&gone, "GONE");
    insta::assert_snapshot!(shown, @"cannot reach GONE: Connection refused (os error 111): GONE/x:latest");
    assert!(started.elapsed() < Duration::from_millis(200), "a refused connection is told at once");
}

#[tokio::test]
async fn passing_failures_pass() {
    let server = Server::start(|_, before| match before {
        0 => Reply::status(503),
        1 => Reply::status(429).header("Retry-After", "0"),
        2 => Reply::ok("").length(0).header("Content-Length-Of", "a proxy's empty answer"),
        _ => manifest_reply(),
    })
    .await;
    // The empty answer is no failure of the transport: what it lacks is told.
    let error = plain().manifest(&image(&server)).await.unwrap_err();
    insta::assert_snapshot!(text(&error, &[&server]), @"manifest is malformed: SERVER0/team/app:1 at SERVER0");
    assert_eq!(server.requests().len(), 3);
    plain().manifest(&image(&server)).await.unwrap();
}

#[tokio::test]
async fn long_waits_are_told() {
    let server = Server::start(|_, _| {
        Reply::status(429).header("Retry-After", "3600").body(
            r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit."}]}"#,
        )
    })
    .await;
    let error = plain().manifest(&image(&server)).await.unwrap_err();
    insta::assert_snapshot!(text(&error, &[&server]), @"too many requests: SERVER0/team/app:1 at SERVER0: You have reached your pull rate limit, try again in 3600 s (no credentials found for SERVER0)");
}

#[tokio::test]
async fn resolving_does_not_fetch() {
    let (_, digest) = sample_manifest();
    let server =
        Server::start(move |_, _| manifest_reply().header("Docker-Content-Digest", digest.to_string())).await;
    let descriptor = plain().resolve(&image(&server)).await.unwrap();
    assert_eq!(descriptor, plain().manifest(&image(&server)).await.unwrap().descriptor);
    assert_eq!(server.lines(), ["HEAD /v2/team/app/manifests/1", "GET /v2/team/app/manifests/1"]);

    let silent = Server::start(|_, _| manifest_reply()).await;
    assert_eq!(plain().resolve(&image(&silent)).await.unwrap(), descriptor);
    assert_eq!(silent.lines(), ["HEAD /v2/team/app/manifests/1", "GET /v2/team/app/manifests/1"]);
}

#[tokio::test]
async fn mirrors_go_first() {
    let origin = Server::start(|_, _| Reply::status(500)).await;
    let mirror = Server::start(|_, _| manifest_reply()).await;
    let address = format!("http://{}/cache", mirror.authority());
    mirrored(&origin, &[address]).manifest(&image(&origin)).await.unwrap();
    let registry = origin.authority().replace(':', "%3A");
    assert_eq!(mirror.lines(), [format!("GET /v2/cache/team/app/manifests/1?ns={registry}")]);
    assert!(origin.lines().is_empty());
}

#[tokio::test]
async fn mirrors_that_fail_are_passed_over() {
    let origin = Server::start(|_, _| manifest_reply()).await;
    let empty = Server::start(|_, _| Reply::status(404)).await;
    let gone = gone();
    let wrong = Server::start(|_, _| Reply::ok("{}")).await;
    let mirrors = [empty.authority(), gone.clone(), wrong.authority()];
    mirrored(&origin, &mirrors).manifest(&image(&origin)).await.unwrap();
    assert_eq!(wrong.lines().len(), 1);

    let origin = Server::start(|_, _| Reply::status(404)).await;
    let error = mirrored(&origin, &mirrors).manifest(&image(&origin)).await.unwrap_err();
    assert!(error.is_not_found());
    let shown = text(&error, &[&origin, &empty, &wrong]).replace(&gone, "GONE");
    insta::assert_snapshot!(shown, @"not found: SERVER0/team/app:1 at SERVER0; mirrors tried first: not found: SERVER0/team/app:1 at SERVER1; cannot reach GONE: Connection refused (os error 111): SERVER0/team/app:1; manifest is not valid: schemaVersion is not 2: SERVER0/team/app:1 at SERVER2");
}

#[tokio::test]
async fn a_client_costs_nothing_until_it_is_used() {
    let least = (0..10)
        .map(|_| {
            let started = Instant::now();
            let made = plain();
            let took = started.elapsed();
            drop(made);
            took
        })
        .min();
    // Reading the system's certificates takes ten times as long.
    assert!(least < Some(Duration::from_millis(2)), "{least:?}");
}

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rbx_oci::{Descriptor, Digest};
use rbx_registry::{BlobStream, Client, Config, RegistryError};
use tokio::io::AsyncReadExt;

use crate::server::{Reply, Request, Server};
use crate::{blob, client, client_as, content, image, text};

fn plain() -> Client {
    client(Config::default())
}

async fn read(mut stream: BlobStream) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await?;
    Ok(bytes)
}

/// Opens and reads; the error of either.
async fn fetch(client: &Client, server: &Server, descriptor: &Descriptor) -> Result<Vec<u8>, String> {
    let stream = client.blob(&image(server), descriptor).await.map_err(|error| text(&error, &[server]))?;
    read(stream).await.map_err(|error| text(&error, &[server]))
}

fn from(request: &Request) -> usize {
    let range = request.header("range").map(|range| range.trim_start_matches("bytes=").trim_end_matches('-'));
    range.map_or(0, |start| start.parse().unwrap())
}

fn partial(content: &[u8], from: usize) -> Reply {
    let range = format!("bytes {from}-{}/{}", content.len() - 1, content.len());
    Reply::status(206).header("Content-Range", range).body(&content[from..])
}

#[tokio::test]
async fn whole_and_empty() {
    let bytes = content(3 << 20);
    let sent = bytes.clone();
    let server = Server::start(move |_, _| Reply::ok(sent.clone())).await;
    let descriptor = blob(&bytes);
    assert_eq!(fetch(&plain(), &server, &descriptor).await, Ok(bytes));
    assert_eq!(server.lines(), [format!("GET /v2/team/app/blobs/{}", descriptor.digest)]);
    let server = Server::start(|_, _| Reply::ok("")).await;
    assert_eq!(fetch(&plain(), &server, &blob(b"")).await, Ok(Vec::new()));
}

#[tokio::test]
async fn content_in_the_descriptor_needs_no_registry() {
    let server = Server::start(|_, _| Reply::status(404)).await;
    let mut descriptor = blob(b"{}");
    descriptor.data = b"{}".to_vec();
    assert_eq!(fetch(&plain(), &server, &descriptor).await, Ok(b"{}".to_vec()));
    assert!(server.lines().is_empty());
    // Wrong content is as good as none.
    descriptor.data = b"{]".to_vec();
    assert!(fetch(&plain(), &server, &descriptor).await.is_err());
    assert_eq!(server.lines().len(), 1);
}

#[tokio::test]
async fn a_transfer_that_breaks_off_goes_on() {
    let bytes = content(1 << 20);
    let sent = bytes.clone();
    let server = Server::start(move |request, before| match (from(request), before) {
        (0, 0) => Reply::ok(&sent[..300_000]).length(sent.len()),
        (from, 1) => {
            let mut reply = partial(&sent, from);
            reply = reply.length(sent.len() - from);
            reply.body(&sent[from..600_000])
        }
        (from, 2) if from > 0 => Reply::status(503),
        (from, _) => partial(&sent, from),
    })
    .await;
    assert_eq!(fetch(&plain(), &server, &blob(&bytes)).await, Ok(bytes));
    let starts: Vec<_> = server.requests().iter().map(from).collect();
    assert_eq!(starts, [0, 300_000, 600_000, 600_000]);
}

#[tokio::test]
async fn a_server_without_ranges_sends_it_all_again() {
    let bytes = content(1 << 20);
    let sent = bytes.clone();
    let server = Server::start(move |_, before| match before {
        0 => Reply::ok(&sent[..700_000]).length(sent.len()),
        _ => Reply::ok(sent.clone()),
    })
    .await;
    assert_eq!(fetch(&plain(), &server, &blob(&bytes)).await, Ok(bytes));
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn the_wrong_range_is_refused() {
    let bytes = content(1000);
    let sent = bytes.clone();
    let server = Server::start(move |_, before| match before {
        0 => Reply::ok(&sent[..500]).length(sent.len()),
        _ => partial(&sent, 600),
    })
    .await;
    let error = fetch(&plain(), &server, &blob(&bytes)).await.unwrap_err();
    assert!(error.ends_with("the answer is not the range that was asked for"), "{error}");
}

#[tokio::test]
async fn wrong_bytes_never_end() {
    let server = Server::start(|_, _| Reply::ok("other")).await;
    let descriptor = blob(b"right");
    let mut stream = plain().blob(&image(&server), &descriptor).await.unwrap();
    let mut bytes = Vec::new();
    let error = stream.read_to_end(&mut bytes).await.unwrap_err();
    insta::assert_snapshot!(text(&error, &[&server]), @"digest mismatch: SERVER0/team/app@sha256:27042f4e6eca7d0b2a7ee4026df2ecfa51d3339e6d122aa099118ecd8563bad9 at SERVER0: got sha256:d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa");
    let inner = error.get_ref().unwrap().downcast_ref();
    assert!(matches!(inner, Some(RegistryError::DigestMismatch { .. })));
    // Nor does the stream end for one who did not look at the error.
    assert!(stream.read(&mut [0; 8]).await.is_err());
}

#[tokio::test]
async fn wrong_sizes() {
    let server = Server::start(|_, _| Reply::ok("too long")).await;
    insta::assert_snapshot!(fetch(&plain(), &server, &blob(b"right")).await.unwrap_err(), @"size mismatch: SERVER0/team/app@sha256:27042f4e6eca7d0b2a7ee4026df2ecfa51d3339e6d122aa099118ecd8563bad9 at SERVER0: expected 5 bytes, got 8");
    let server = Server::start(|_, _| Reply::ok("too long").unannounced()).await;
    insta::assert_snapshot!(fetch(&plain(), &server, &blob(b"right")).await.unwrap_err(), @"size mismatch: SERVER0/team/app@sha256:27042f4e6eca7d0b2a7ee4026df2ecfa51d3339e6d122aa099118ecd8563bad9 at SERVER0: expected 5 bytes, got 8");
    let server = Server::start(|_, _| Reply::ok("tiny")).await;
    insta::assert_snapshot!(fetch(&plain(), &server, &blob(b"right")).await.unwrap_err(), @"size mismatch: SERVER0/team/app@sha256:27042f4e6eca7d0b2a7ee4026df2ecfa51d3339e6d122aa099118ecd8563bad9 at SERVER0: expected 5 bytes, got 4");
}

#[tokio::test]
async fn a_blob_that_is_not_there() {
    let server = Server::start(|_, _| Reply::status(404)).await;
    let error = plain().blob(&image(&server), &blob(b"x")).await.unwrap_err();
    assert!(error.is_not_found());
}

#[tokio::test]
async fn redirects_lose_the_authorization_and_keep_the_range() {
    let bytes = content(100_000);
    let sent = bytes.clone();
    let storage = Server::start(move |request, before| match before {
        0 => Reply::ok(&sent[..60_000]).length(sent.len()),
        _ => partial(&sent, from(request)),
    })
    .await;
    let to = format!("http://{}/signed?with=this", storage.authority());
    let registry = Server::start(move |request, _| {
        if request.authorization().is_empty() {
            return Reply::status(401).header("WWW-Authenticate", "Basic realm=x");
        }
        Reply::status(307).header("Location", to.clone())
    })
    .await;
    let auths = format!(r#"{{"auths":{{"{}":{{"auth":"YW5uOmh1c2g="}}}}}}"#, registry.authority());
    assert_eq!(fetch(&client_as(&auths), &registry, &blob(&bytes)).await, Ok(bytes));
    let seen = storage.requests();
    assert_eq!(seen.iter().map(from).collect::<Vec<_>>(), [0, 60_000]);
    assert!(seen.iter().all(|request| request.authorization().is_empty()));
    assert!(registry.requests().iter().skip(1).all(|request| !request.authorization().is_empty()));
}

#[tokio::test]
async fn storage_that_refuses_is_not_the_registry_refusing() {
    let storage = Server::start(|_, _| Reply::status(403).body("<?xml?><Error/>")).await;
    let to = format!("http://{}/signed", storage.authority());
    let registry = Server::start(move |_, _| Reply::status(307).header("Location", to.clone())).await;
    let error = plain().blob(&image(&registry), &blob(b"x")).await.unwrap_err();
    insta::assert_snapshot!(text(&error, &[&registry, &storage]), @"unexpected status 403: SERVER0/team/app@sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881 at SERVER1");
}

#[tokio::test]
async fn a_mirror_that_dies_is_replaced_on_the_way() {
    let bytes = content(500_000);
    let (first, rest) = (bytes.clone(), bytes.clone());
    let mirror = Server::start(move |_, before| match before {
        0 => Reply::ok(&first[..200_000]).length(first.len()),
        _ => Reply::status(404),
    })
    .await;
    let origin = Server::start(move |request, _| partial(&rest, from(request))).await;
    let mirrors = [(origin.authority(), vec![mirror.authority()])].into();
    let client = client(Config { mirrors, ..Config::default() });
    assert_eq!(fetch(&client, &origin, &blob(&bytes)).await, Ok(bytes));
    assert_eq!(origin.requests().iter().map(from).collect::<Vec<_>>(), [200_000]);
}

#[tokio::test]
async fn at_most_eight_at_a_time() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let server = Server::start(|_, _| Reply::ok("x").after(Duration::from_millis(20))).await;
    let client = plain();
    let fetches = (0..20).map(|_| {
        let (client, reference, now, most) =
            (client.clone(), image(&server), Arc::clone(&now), Arc::clone(&most));
        tokio::spawn(async move {
            let stream = client.blob(&reference, &blob(b"x")).await.unwrap();
            most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(50)).await;
            now.fetch_sub(1, Ordering::Relaxed);
            read(stream).await.unwrap();
        })
    });
    for fetch in fetches.collect::<Vec<_>>() {
        fetch.await.unwrap();
    }
    assert_eq!(most.load(Ordering::Relaxed), 8);
    assert_eq!(server.requests().len(), 20);
}

#[tokio::test]
async fn a_digest_is_of_all_parts_of_a_resumed_transfer() {
    let bytes = content(1000);
    let mut other = bytes.clone();
    other[900] ^= 1;
    let sent = bytes.clone();
    let server = Server::start(move |request, before| match before {
        0 => Reply::ok(&sent[..500]).length(sent.len()),
        _ => partial(&other, from(request)),
    })
    .await;
    let error = fetch(&plain(), &server, &blob(&bytes)).await.unwrap_err();
    assert!(error.starts_with("digest mismatch: "), "{error}");
    assert!(error.contains(&Digest::sha256_of(&bytes).to_string()), "{error}");
}

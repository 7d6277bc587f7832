use std::io::{self, Read};

use rbx_oci::{Descriptor, Digest};
use rbx_registry::{Client, Config, Pushed, RegistryError};

use crate::server::{Reply, Request, Server};
use crate::{blob, client, client_as, image, sample_manifest, text};

const CONTENT: &str = "the content of a blob";

fn open(content: &'static str) -> impl Fn() -> io::Result<Box<dyn Read + Send>> + Send + Sync {
    move || Ok(Box::new(content.as_bytes()))
}

async fn push(client: &Client, server: &Server) -> Result<Pushed, RegistryError> {
    client.push_blob(&image(server), &blob(CONTENT.as_bytes()), None, &open(CONTENT)).await
}

/// A registry that has nothing and takes what `put` says.
async fn empty(put: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> Server {
    Server::start(move |request, before| match request.method.as_str() {
        "HEAD" => Reply::status(404),
        "POST" => Reply::status(202).header("Location", "/upload/1?state=a%2Fb"),
        _ => put(request, before),
    })
    .await
}

#[tokio::test]
async fn a_blob_goes_where_the_registry_says() {
    let server = empty(|_, _| Reply::status(201)).await;
    assert_eq!(push(&client(Config::default()), &server).await.unwrap(), Pushed::Sent);
    let digest = Digest::sha256_of(CONTENT.as_bytes()).to_string();
    assert_eq!(
        server.lines(),
        [
            format!("HEAD /v2/team/app/blobs/{digest}"),
            "POST /v2/team/app/blobs/uploads/".to_owned(),
            format!("PUT /upload/1?state=a%2Fb&digest={}", digest.replace(':', "%3A")),
        ]
    );
    let put = &server.requests()[2];
    assert_eq!((put.body.as_str(), put.header("content-length")), (CONTENT, Some("21")));
}

#[tokio::test]
async fn what_is_there_is_not_sent() {
    let server = Server::start(|_, _| Reply::ok("")).await;
    assert_eq!(push(&client(Config::default()), &server).await.unwrap(), Pushed::Present);
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn another_repository_of_the_registry_gives_what_it_has() {
    let server = Server::start(|request, _| match request.method.as_str() {
        "HEAD" => Reply::status(404),
        _ => Reply::status(201),
    })
    .await;
    let descriptor = blob(CONTENT.as_bytes());
    let pushed =
        client(Config::default()).push_blob(&image(&server), &descriptor, Some("base"), &open(CONTENT)).await;
    assert_eq!(pushed.unwrap(), Pushed::Mounted);
    let expected = format!("POST /v2/team/app/blobs/uploads/?mount={}&from=base", descriptor.digest);
    assert_eq!(server.lines()[1], expected);
}

#[tokio::test]
async fn passing_failures_begin_the_upload_anew() {
    let server = empty(|_, before| match before {
        0 => Reply::status(503),
        // The connection ends before the answer does.
        1 => Reply::status(201).length(10).unannounced(),
        _ => Reply::status(201),
    })
    .await;
    assert_eq!(push(&client(Config::default()), &server).await.unwrap(), Pushed::Sent);
    let bodies: Vec<String> =
        server.requests().into_iter().filter(|it| it.method == "PUT").map(|it| it.body).collect();
    assert_eq!(bodies, [CONTENT, CONTENT]);
    assert_eq!(server.lines().iter().filter(|line| line.starts_with("POST")).count(), 2);
}

#[tokio::test]
async fn lasting_failures_are_told_at_once() {
    let server = empty(|_, _| {
        Reply::status(400)
            .body(r#"{"errors":[{"code":"DIGEST_INVALID","message":"provided digest did not match"}]}"#)
    })
    .await;
    let error = push(&client(Config::default()), &server).await.unwrap_err();
    let digest = Digest::sha256_of(CONTENT.as_bytes());
    assert_eq!(
        text(&error, &[&server]).replace(&digest.to_string(), "DIGEST"),
        "unexpected status 400: SERVER0/team/app@DIGEST at SERVER0: provided digest did not match"
    );
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn a_token_for_pushing_is_asked_for() {
    let server = Server::start(|request, _| {
        if request.target.starts_with("/token") {
            return Reply::ok(r#"{"token":"t","expires_in":300}"#);
        }
        if request.authorization() != "Bearer t" {
            let host = request.header("host").unwrap();
            let challenge = format!("Bearer realm=\"http://{host}/token\",service=\"s\"");
            return Reply::status(401).header("WWW-Authenticate", challenge);
        }
        match request.method.as_str() {
            "HEAD" => Reply::status(404),
            "POST" => Reply::status(202).header("Location", "/upload"),
            _ => Reply::status(201),
        }
    })
    .await;
    let client = client(Config::default());
    push(&client, &server).await.unwrap();
    client.push_manifest(&image(&server), "application/x", b"{}").await.unwrap();
    let tokens: Vec<String> = server.lines().into_iter().filter(|line| line.contains("/token")).collect();
    assert_eq!(tokens, ["GET /token?service=s&scope=repository%3Ateam%2Fapp%3Apull%2Cpush"]);
}

#[tokio::test]
async fn a_manifest_that_has_its_name_is_not_sent() {
    let (manifest, _) = sample_manifest();
    let digest = Digest::sha256_of(manifest.as_bytes()).to_string();
    let server = Server::start(move |request, before| match request.method.as_str() {
        "HEAD" if before > 0 => Reply::ok("").header("Docker-Content-Digest", digest.clone()),
        "HEAD" => Reply::ok("").header("Docker-Content-Digest", format!("sha256:{:064}", 0)),
        _ => Reply::status(201),
    })
    .await;
    let client = client(Config::default());
    let push = async || client.push_manifest(&image(&server), "application/x", manifest.as_bytes()).await;
    assert_eq!(push().await.unwrap(), Pushed::Sent);
    assert_eq!(push().await.unwrap(), Pushed::Present);
    let [head, put] = ["HEAD", "PUT"].map(|method| format!("{method} /v2/team/app/manifests/1"));
    assert_eq!(server.lines(), [&head[..], &put, &head]);
}

#[tokio::test]
async fn a_repository_that_may_not_be_read_is_done_without() {
    let server = Server::start(|request, _| match request.method.as_str() {
        "HEAD" => Reply::status(404),
        "POST" if request.target.contains("mount=") => Reply::status(403),
        "POST" => Reply::status(202).header("Location", "/upload"),
        _ => Reply::status(201),
    })
    .await;
    let descriptor = blob(CONTENT.as_bytes());
    let pushed = client(Config::default())
        .push_blob(&image(&server), &descriptor, Some("private"), &open(CONTENT))
        .await;
    assert_eq!(pushed.unwrap(), Pushed::Sent);
    assert_eq!(server.lines()[2], "POST /v2/team/app/blobs/uploads/");
}

#[tokio::test]
async fn who_may_not_push_is_told_so() {
    let server = Server::start(|_, _| Reply::status(403)).await;
    let auths = format!(r#"{{"auths":{{"{}":{{"auth":"YW5uOmh1c2g="}}}}}}"#, server.authority());
    let client = client_as(&auths);
    let (manifest, _) = sample_manifest();
    let error =
        client.push_manifest(&image(&server), "application/x", manifest.as_bytes()).await.unwrap_err();
    assert_eq!(
        text(&error, &[&server]),
        "push access denied, repository does not exist or may require authorization: SERVER0/team/app:1 at SERVER0 \
         (as user ann from auths in DOCKER_AUTH_CONFIG)"
    );
}

#[tokio::test]
async fn credentials_stay_with_their_host() {
    let storage = Server::start(|_, _| Reply::status(201)).await;
    let location = format!("http://{}/store", storage.authority());
    let server = Server::start(move |request, _| {
        if request.authorization().is_empty() {
            return Reply::status(401).header("WWW-Authenticate", "Basic realm=r");
        }
        match request.method.as_str() {
            "HEAD" => Reply::status(404),
            _ => Reply::status(202).header("Location", location.clone()),
        }
    })
    .await;
    let auths = format!(r#"{{"auths":{{"{}":{{"auth":"YW5uOmh1c2g="}}}}}}"#, server.authority());
    push(&client_as(&auths), &server).await.unwrap();
    assert_eq!(storage.requests()[0].header("authorization"), None);
}

#[tokio::test]
async fn what_is_damaged_here_is_never_pushed_whole() {
    for (sent, size, reason) in [
        ("something else, but as long", 27, "its digest is another"),
        (CONTENT, 20, "it is longer than it should be"),
        (CONTENT, 22, "unexpected end of file"),
    ] {
        let server = empty(|_, _| Reply::status(201)).await;
        let descriptor =
            Descriptor { size, ..Descriptor::new("x", Digest::sha256_of(CONTENT.as_bytes()), size) };
        let pushed =
            client(Config::default()).push_blob(&image(&server), &descriptor, None, &open(sent)).await;
        let error = pushed.unwrap_err();
        assert!(matches!(error, RegistryError::Content { .. }), "{error:?}");
        assert!(error.to_string().starts_with(reason), "{error}");
        let whole = server.requests().iter().any(|request| request.method == "PUT");
        assert!(!whole, "an upload of {sent:?} was completed");
    }
}

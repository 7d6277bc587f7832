use std::sync::atomic::{AtomicUsize, Ordering};

use crate::server::{Reply, Request, Server};
use crate::{client, client_as, image, manifest_reply, text};

/// A registry that gives its manifest to the bearer of one of `tokens`, and whose token server is at `/token`.
async fn bearer(
    scope: &'static str,
    accepts: impl Fn(&Request) -> bool + Send + Sync + 'static,
    token: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static,
) -> Server {
    Server::start(move |request, before| {
        if request.target.starts_with("/token") {
            return token(request, before);
        }
        if accepts(request) {
            return manifest_reply();
        }
        let host = request.header("host").unwrap();
        let scope = if scope.is_empty() { String::new() } else { format!(",scope=\"{scope}\"") };
        let challenge = format!("Bearer realm=\"http://{host}/token?of=it\",service=\"the service\"{scope}");
        Reply::status(401)
            .header("WWW-Authenticate", challenge)
            .body(r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required","detail":[]}]}"#)
    })
    .await
}

fn token(name: &str) -> Reply {
    Reply::ok(format!(r#"{{"token":"{name}","expires_in":300}}"#))
}

#[tokio::test]
async fn an_anonymous_token_is_fetched_once_for_a_repository() {
    let server =
        bearer("", |request| request.authorization() == "Bearer t0", |_, n| token(&format!("t{n}"))).await;
    let client = client(rbx_registry::Config::default());
    let image = image(&server);
    client.manifest(&image).await.unwrap();
    let (first, second) = tokio::join!(client.manifest(&image), client.manifest(&image));
    assert!(first.is_ok() && second.is_ok());
    assert_eq!(
        server.lines(),
        [
            "GET /v2/team/app/manifests/1",
            "GET /token?of=it&service=the+service&scope=repository%3Ateam%2Fapp%3Apull",
            "GET /v2/team/app/manifests/1",
            "GET /v2/team/app/manifests/1",
            "GET /v2/team/app/manifests/1",
        ]
    );
    assert_eq!(server.requests()[1].authorization(), "");
}

#[tokio::test]
async fn the_scope_of_a_challenge_is_asked_for_too() {
    let scope = "repository:team/app:pull repository:team/base:pull";
    let server =
        bearer(scope, |request| request.authorization() == "Bearer t0", |_, n| token(&format!("t{n}"))).await;
    client(rbx_registry::Config::default()).manifest(&image(&server)).await.unwrap();
    let target = &server.requests()[1].target;
    assert!(
        target.ends_with("&scope=repository%3Ateam%2Fapp%3Apull&scope=repository%3Ateam%2Fbase%3Apull"),
        "{target}"
    );
}

#[tokio::test]
async fn a_password_is_given_to_the_token_server_only() {
    let server = bearer(
        "",
        |request| request.authorization() == "Bearer t0",
        |request, n| {
            assert_eq!(request.authorization(), "Basic YW5uOmh1c2g=");
            token(&format!("t{n}"))
        },
    )
    .await;
    let auths = format!(r#"{{"auths":{{"{}":{{"auth":"YW5uOmh1c2g="}}}}}}"#, server.authority());
    client_as(&auths).manifest(&image(&server)).await.unwrap();
    let requests = server.requests();
    assert_eq!(requests[0].authorization(), "");
    assert_eq!(requests[2].authorization(), "Bearer t0");
}

#[tokio::test]
async fn post_where_get_is_not_allowed() {
    let server = bearer(
        "",
        |request| request.authorization() == "Bearer posted",
        |request, _| {
            if request.method == "GET" {
                return Reply::status(405);
            }
            assert_eq!(request.header("content-type"), Some("application/x-www-form-urlencoded"));
            assert_eq!(
                request.body,
                "grant_type=password&username=ann&password=h%26sh&service=the+service&client_id=rbx\
             &scope=repository%3Ateam%2Fapp%3Apull"
            );
            Reply::ok(r#"{"access_token":"posted"}"#)
        },
    )
    .await;
    let auths = format!(r#"{{"auths":{{"{}":{{"username":"ann","password":"h&sh"}}}}}}"#, server.authority());
    client_as(&auths).manifest(&image(&server)).await.unwrap();
}

#[tokio::test]
async fn identity_tokens_are_exchanged() {
    let server = bearer(
        "",
        |request| request.authorization() == "Bearer posted",
        |request, _| {
            assert_eq!(request.line(), "POST /token?of=it");
            assert!(
                request.body.starts_with("grant_type=refresh_token&refresh_token=refresh&"),
                "{}",
                request.body
            );
            Reply::ok(r#"{"access_token":"posted"}"#)
        },
    )
    .await;
    let auths = format!(r#"{{"auths":{{"{}":{{"identitytoken":"refresh"}}}}}}"#, server.authority());
    client_as(&auths).manifest(&image(&server)).await.unwrap();
}

#[tokio::test]
async fn registry_tokens_are_sent_as_they_are() {
    let server =
        bearer("", |request| request.authorization() == "Bearer as-is", |_, _| Reply::status(500)).await;
    let auths = format!(r#"{{"auths":{{"{}":{{"registrytoken":"as-is"}}}}}}"#, server.authority());
    client_as(&auths).manifest(&image(&server)).await.unwrap();
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_token_that_is_refused_is_replaced() {
    static GOOD: AtomicUsize = AtomicUsize::new(0);
    let good =
        |request: &Request| request.authorization() == format!("Bearer t{}", GOOD.load(Ordering::Relaxed));
    let server = bearer("", good, |_, n| token(&format!("t{n}"))).await;
    let client = client(rbx_registry::Config::default());
    client.manifest(&image(&server)).await.unwrap();
    GOOD.store(1, Ordering::Relaxed);
    client.manifest(&image(&server)).await.unwrap();
    let authorizations: Vec<_> =
        server.requests().iter().map(|request| request.authorization().to_owned()).collect();
    assert_eq!(authorizations, ["", "", "Bearer t0", "Bearer t0", "", "Bearer t1"]);
}

#[tokio::test]
async fn basic_authentication() {
    let server = Server::start(|request, _| {
        if request.authorization() == "Basic YW5uOmh1c2g=" {
            manifest_reply()
        } else {
            Reply::status(401).header("WWW-Authenticate", "Basic realm=\"here\"")
        }
    })
    .await;
    let auths = |auth: &str| format!(r#"{{"auths":{{"{}":{{"auth":"{auth}"}}}}}}"#, server.authority());
    let client = client_as(&auths("YW5uOmh1c2g="));
    client.manifest(&image(&server)).await.unwrap();
    client.manifest(&image(&server)).await.unwrap();
    // Asked for once, then sent at once.
    assert_eq!(server.requests().len(), 3);

    let error = client_as(&auths("YW5uOnh4")).manifest(&image(&server)).await.unwrap_err();
    insta::assert_snapshot!(text(&error, &[&server]), @"pull access denied, repository does not exist or may require authorization: SERVER0/team/app:1 at SERVER0 (as user ann from auths in DOCKER_AUTH_CONFIG)");
    let error = client_as("{}").manifest(&image(&server)).await.unwrap_err();
    insta::assert_snapshot!(text(&error, &[&server]), @"pull access denied, repository does not exist or may require authorization: SERVER0/team/app:1 at SERVER0 (no credentials found for SERVER0)");
    assert_eq!(server.requests().len(), 3 + 2 + 1);
}

#[tokio::test]
async fn denials_say_what_was_tried() {
    let server = bearer("", |_| false, |_, n| token(&format!("t{n}"))).await;
    let error = client_as("{}").manifest(&image(&server)).await.unwrap_err();
    insta::assert_snapshot!(text(&error, &[&server]), @"pull access denied, repository does not exist or may require authorization: SERVER0/team/app:1 at SERVER0: authentication required (no credentials found for SERVER0)");
    // A fresh token that is refused is not fetched again.
    assert_eq!(server.requests().len(), 3);
    assert!(!error.is_not_found());

    let server = bearer(
        "",
        |_| false,
        |_, _| Reply::status(401).body(r#"{"details":"incorrect username or password"}"#),
    )
    .await;
    let auths = format!(r#"{{"auths":{{"{}":{{"auth":"YW5uOmh1c2g="}}}}}}"#, server.authority());
    let error = client_as(&auths).manifest(&image(&server)).await.unwrap_err();
    insta::assert_snapshot!(text(&error, &[&server]), @"incorrect username or password: SERVER0 answered 401: incorrect username or password (as user ann from auths in DOCKER_AUTH_CONFIG)");
}

#[tokio::test]
async fn a_helper_that_fails_is_named_when_access_is_denied() {
    let server = bearer("", |_| false, |_, n| token(&format!("t{n}"))).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    std::fs::write(&path, r#"{"credsStore":"desktop"}"#).unwrap();
    let credentials = rbx_registry::Credentials::from_config_file(Some(&path)).unwrap();
    let config = rbx_registry::Config { credentials: credentials.into(), ..Default::default() };
    let error = client(config).manifest(&image(&server)).await.unwrap_err();
    insta::assert_snapshot!(text(&error, &[&server]), @"pull access denied, repository does not exist or may require authorization: SERVER0/team/app:1 at SERVER0: authentication required (no credentials for SERVER0: executable file not found in $PATH: credential helper docker-credential-desktop)");
}

#[tokio::test]
async fn token_servers_that_make_no_sense() {
    for (reply, expected) in [
        (Reply::ok("{}"), "the token server's answer has no token"),
        (Reply::ok("<html>"), "the token server's answer is not JSON"),
        (Reply::ok(r#"{"token":"a\nb"}"#), "the token is not fit for a header"),
        (Reply::ok(vec![b' '; 2 << 20]), "the token server's answer is too large"),
    ] {
        let server = bearer("", |_| false, move |_, _| reply.clone()).await;
        let error = client_as("{}").manifest(&image(&server)).await.unwrap_err();
        assert_eq!(text(&error, &[&server]), format!("cannot authenticate: {expected}: SERVER0"));
    }
    for (challenge, expected) in [
        ("Negotiate", "unsupported scheme negotiate"),
        ("Bearer realm=\"file:///etc/passwd\"", "no valid address of a token server"),
        ("Bearer service=x", "no valid address of a token server"),
    ] {
        let server =
            Server::start(move |_, _| Reply::status(401).header("WWW-Authenticate", challenge)).await;
        let error = client_as("{}").manifest(&image(&server)).await.unwrap_err();
        assert_eq!(text(&error, &[&server]), format!("cannot authenticate: {expected}: SERVER0"));
    }
}

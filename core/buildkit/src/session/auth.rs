//! Credentials of registries. The daemon talks to registries itself, and asks here for what they want: for a bearer
//! token, which is fetched here so that the daemon never sees the credentials, or, where a registry knows basic
//! authentication only, for the credentials themselves.
//!
//! Before it asks for tokens, the daemon asks for a public key. Tokens that it has from an earlier build are used
//! again only if the client can still sign for that key, and the key depends on whether there are credentials and on
//! a secret of the client's, the seed.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use rbx_oci::Digest;
use rbx_registry::{Client, Credential, Secret, TokenChallenge};
use rbx_request::{Event, EventSender, Vertex, Warning};
use ring::hmac;
use ring::signature::{Ed25519KeyPair, KeyPair};
use tonic::{Request, Response, Status};

use super::seeds::Seeds;
use crate::proto::filesync::auth_server::{self, AuthServer};
use crate::proto::filesync::{
    CredentialsRequest, CredentialsResponse, FetchTokenRequest, FetchTokenResponse, GetTokenAuthorityRequest,
    GetTokenAuthorityResponse, VerifyTokenAuthorityRequest, VerifyTokenAuthorityResponse,
};

/// Answers what registries want to know of a user.
pub struct Auth {
    client: Client,
    seeds: Option<Arc<Seeds>>,
    events: EventSender,
    /// What people were told already.
    told: Mutex<BTreeSet<String>>,
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth").field("seeds", &self.seeds).finish_non_exhaustive()
    }
}

impl Auth {
    /// Answers with the credentials of `client`, which also reaches the token servers. Seeds are kept in
    /// `.token_seed` in the directory `seeds`, docker's own; without one the daemon fetches tokens by itself, with
    /// the credentials (`BUILDKIT_NO_CLIENT_TOKEN`). `events` is told what credentials are used for.
    pub fn new(client: Client, seeds: Option<PathBuf>, events: EventSender) -> Self {
        let seeds = seeds.map(|directory| Arc::new(Seeds::new(directory)));
        Self { client, seeds, events, told: Mutex::default() }
    }

    pub(crate) fn server(self) -> AuthServer<Self> {
        AuthServer::new(self)
    }

    /// The credentials of a host. A helper that fails is no reason not to pull what is public; it is told, in case
    /// that the registry then refuses.
    async fn credential(&self, host: &str, scope: &str) -> Option<Credential> {
        match self.client.credentials().get_for(host, scope).await {
            Ok(credential) => credential,
            Err(error) => {
                self.warn(format!("no credentials for {host}: {error}"));
                None
            }
        }
    }

    /// The key that stands for a host with these credentials.
    async fn key(&self, host: &str, salt: &[u8]) -> Result<Ed25519KeyPair, Status> {
        let Some(seeds) = self.seeds.clone() else {
            return Err(Status::unavailable("client side tokens disabled"));
        };
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, salt));
        let credential = self.credential(host, "").await;
        if credential.is_some_and(|credential| !matches!(credential.secret, Secret::RegistryToken(_))) {
            let host = host.to_owned();
            let seed = tokio::task::spawn_blocking(move || seeds.get(&host)).await;
            context.update(&seed.map_err(|error| Status::unknown(error.to_string()))?);
        }
        Ed25519KeyPair::from_seed_unchecked(context.sign().as_ref())
            .map_err(|_| Status::unknown("no key can be made of this seed"))
    }

    /// Shows that credentials are used, once for each use.
    fn tell(&self, name: String) -> Option<Told<'_>> {
        if !self.is_news(&name) {
            return None;
        }
        let started = Timestamp::now();
        // Not its name alone: the digest may be that of no other vertex of the build.
        let digest = Digest::sha256_of(format!("{name}\0{started}").as_bytes()).to_string();
        let vertex = Vertex { digest, name, started: Some(started), ..Vertex::default() };
        self.events.send(Event::Vertex(vertex.clone()));
        Some(Told { events: &self.events, vertex })
    }

    fn warn(&self, short: String) {
        if self.is_news(&short) {
            tracing::warn!("{short}");
            self.events.send(Event::Warning(Warning { level: 1, short, ..Warning::default() }));
        }
    }

    fn is_news(&self, text: &str) -> bool {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(text.to_owned())
    }
}

/// Something that people see happen, until this is dropped.
struct Told<'a> {
    events: &'a EventSender,
    vertex: Vertex,
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        let completed = Some(Timestamp::now());
        self.events.send(Event::Vertex(Vertex { completed, ..self.vertex.clone() }));
    }
}

#[tonic::async_trait]
impl auth_server::Auth for Auth {
    async fn credentials(
        &self,
        request: Request<CredentialsRequest>,
    ) -> Result<Response<CredentialsResponse>, Status> {
        let host = &request.get_ref().host;
        let credential = self.credential(host, "").await;
        let (username, secret) = match credential.map(|credential| credential.secret) {
            Some(Secret::Password { username, password }) => (username, password),
            Some(Secret::IdentityToken(token)) => (String::new(), token),
            // It goes to no token server.
            Some(Secret::RegistryToken(_)) | None => Default::default(),
        };
        if !secret.is_empty() {
            self.tell(format!("[auth] sharing credentials for {host}"));
        }
        Ok(Response::new(CredentialsResponse { username, secret }))
    }

    async fn fetch_token(
        &self,
        request: Request<FetchTokenRequest>,
    ) -> Result<Response<FetchTokenResponse>, Status> {
        let FetchTokenRequest { host, realm, service, scopes, .. } = request.get_ref();
        let scope = scopes.join(" ");
        let credential = self.credential(host, &scope).await;
        let is_secret = |credential: &Credential| !matches!(credential.secret, Secret::RegistryToken(_));
        let mut told = None;
        if credential.as_ref().is_some_and(is_secret) {
            let scopes: Vec<_> =
                scopes.iter().map(|scope| scope.strip_prefix("repository:").unwrap_or(scope)).collect();
            told = self.tell(format!("[auth] {} token for {host}", scopes.join(" ")));
        }
        let challenge = TokenChallenge { host, realm, service, scope: &scope };
        let token = self.client.token(&challenge, credential.as_ref()).await.map_err(|error| {
            let kind = if credential.is_some() { "oauth" } else { "anonymous" };
            if let Some(told) = &mut told {
                told.vertex.error = Some(error.to_string());
            }
            Status::unknown(format!("failed to fetch {kind} token: {error}"))
        })?;
        let expires_in = i64::try_from(token.life.as_secs()).unwrap_or(i64::MAX);
        // Without a time of issue the daemon counts from when it has the token: clocks may differ.
        Ok(Response::new(FetchTokenResponse { token: token.token, expires_in, issued_at: 0 }))
    }

    async fn get_token_authority(
        &self,
        request: Request<GetTokenAuthorityRequest>,
    ) -> Result<Response<GetTokenAuthorityResponse>, Status> {
        let GetTokenAuthorityRequest { host, salt } = request.get_ref();
        let key = self.key(host, salt).await?;
        let public_key = key.public_key().as_ref().to_vec();
        Ok(Response::new(GetTokenAuthorityResponse { public_key }))
    }

    async fn verify_token_authority(
        &self,
        request: Request<VerifyTokenAuthorityRequest>,
    ) -> Result<Response<VerifyTokenAuthorityResponse>, Status> {
        let VerifyTokenAuthorityRequest { host, payload, salt } = request.get_ref();
        let key = self.key(host, salt).await?;
        // As NaCl has it: the signature, then what is signed.
        let signed = [key.sign(payload).as_ref(), payload].concat();
        Ok(Response::new(VerifyTokenAuthorityResponse { signed }))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rbx_registry::{Config, Credentials};
    use rbx_request::{EventReceiver, events};
    use ring::signature::{ED25519, UnparsedPublicKey};
    use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
    use tokio::net::TcpListener;
    use tonic::Code;
    use tonic::transport::Channel;

    use super::*;
    use crate::proto::filesync::auth_client::AuthClient;
    use crate::session::testing::channel;

    /// A session's client for somebody with these `auths`.
    fn client(auths: &str, seeds: Option<&Path>) -> (AuthClient<Channel>, EventReceiver) {
        let config = format!(r#"{{"auths": {{{auths}}}}}"#);
        let credentials = Credentials::default().with_auth_config(Some(&config)).unwrap();
        client_as(credentials, seeds)
    }

    fn client_as(credentials: Credentials, seeds: Option<&Path>) -> (AuthClient<Channel>, EventReceiver) {
        let config = Config { credentials: Arc::new(credentials), ..Config::default() };
        let (sender, receiver) = events();
        let auth = Auth::new(Client::new(config).unwrap(), seeds.map(Path::to_owned), sender);
        (AuthClient::new(channel(auth.server())), receiver)
    }

    /// What people were told: names of vertices with their errors, and warnings.
    async fn told(mut events: EventReceiver) -> Vec<String> {
        let mut batch = Vec::new();
        while events.recv_many(&mut batch, 100).await > 0 {}
        let mut told = Vec::new();
        for event in batch {
            match event {
                Event::Vertex(Vertex { completed: Some(_), name, error, .. }) => {
                    told.push(format!(
                        "{name}{}",
                        error.map(|error| format!(": {error}")).unwrap_or_default()
                    ));
                }
                Event::Warning(warning) => told.push(warning.short),
                _ => {}
            }
        }
        told
    }

    /// A token server that gives everybody but `nobody` the request it got as a token.
    async fn token_server() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut stream = BufReader::new(stream);
                let (mut token, mut length) = (String::new(), 0);
                loop {
                    let mut line = String::new();
                    stream.read_line(&mut line).await.unwrap();
                    match line.trim_end().split_once(": ") {
                        _ if line == "\r\n" => break,
                        Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                            length = value.parse().unwrap();
                        }
                        Some((name, value)) if name.eq_ignore_ascii_case("authorization") => {
                            token += value.strip_prefix("Basic ").unwrap();
                        }
                        Some(_) => {}
                        None => token += line.split(' ').nth(1).unwrap(),
                    }
                }
                let mut body = vec![0; length];
                stream.read_exact(&mut body).await.unwrap();
                token += std::str::from_utf8(&body).unwrap();
                let nobody = ["bm9ib2R5OnB3", "username=nobody"].iter().any(|name| token.contains(name));
                let (status, body) = if nobody {
                    ("401 No", r#"{"errors":[{"code":"UNAUTHORIZED","message":"who?"}]}"#.to_owned())
                } else {
                    ("200 OK", format!(r#"{{"token":"{token}","expires_in":300}}"#))
                };
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        address
    }

    fn fetch(server: &str, host: &str, scope: &str) -> FetchTokenRequest {
        FetchTokenRequest {
            client_id: "buildkit-client".to_owned(),
            host: host.to_owned(),
            realm: format!("http://{server}/token"),
            service: "it".to_owned(),
            scopes: vec![scope.to_owned()],
        }
    }

    #[tokio::test]
    async fn credentials_are_those_of_the_host() {
        let (mut client, events) = client(
            r#""https://index.docker.io/v1/": {"auth": "YW5uOnNlY3JldA=="},
                "r.example": {"identitytoken": "refresh"},
                "s.example": {"registrytoken": "bearer"}"#,
            None,
        );
        for (host, username, secret) in [
            ("registry-1.docker.io", "ann", "secret"),
            ("registry-1.docker.io", "ann", "secret"),
            ("dhi.io", "ann", "secret"),
            ("r.example", "", "refresh"),
            ("s.example", "", ""),
            ("example.com", "", ""),
        ] {
            let request = CredentialsRequest { host: host.to_owned() };
            let answer = client.credentials(request).await.unwrap().into_inner();
            assert_eq!((answer.username.as_str(), answer.secret.as_str()), (username, secret), "{host}");
        }
        drop(client);
        assert_eq!(
            told(events).await,
            [
                "[auth] sharing credentials for registry-1.docker.io",
                "[auth] sharing credentials for dhi.io",
                "[auth] sharing credentials for r.example"
            ]
        );
    }

    #[tokio::test]
    async fn tokens_are_fetched_with_every_kind_of_credentials() {
        let server = token_server().await;
        let (mut client, events) = client(
            r#""a.example": {"auth": "YW5uOnNlY3JldA=="}, "b.example": {"identitytoken": "refresh"},
                "c.example": {"registrytoken": "bearer"}, "d.example": {"auth": "bm9ib2R5OnB3"}"#,
            None,
        );
        let query = "/token?service=it&scope=repository%3Aapp%3Apull";
        let form = "client_id=rbx&scope=repository%3Aapp%3Apull";
        for (host, token, life) in [
            ("a.example", format!("{query}YW5uOnNlY3JldA=="), 300),
            (
                "b.example",
                format!("/tokengrant_type=refresh_token&refresh_token=refresh&service=it&{form}"),
                300,
            ),
            ("c.example", "bearer".to_owned(), 60),
            ("e.example", query.to_owned(), 300),
            ("a.example", format!("{query}YW5uOnNlY3JldA=="), 300),
        ] {
            let answer = client.fetch_token(fetch(&server, host, "repository:app:pull")).await.unwrap();
            let FetchTokenResponse { token: got, expires_in, issued_at } = answer.into_inner();
            assert_eq!((got, expires_in, issued_at), (token, life, 0), "{host}");
        }
        let error =
            client.fetch_token(fetch(&server, "d.example", "repository:app:pull,push")).await.unwrap_err();
        let reason = format!(
            "incorrect username or password: {server} answered 401: who? (as user nobody from auths in DOCKER_AUTH_CONFIG)"
        );
        assert_eq!(error.message(), format!("failed to fetch oauth token: {reason}"));
        let nonsense = FetchTokenRequest { realm: "file:///etc".to_owned(), ..fetch("", "e.example", "") };
        let error = client.fetch_token(nonsense).await.unwrap_err();
        assert_eq!(
            error.message(),
            "failed to fetch anonymous token: cannot authenticate: no valid address of a token server: e.example"
        );
        drop(client);
        assert_eq!(
            told(events).await,
            [
                "[auth] app:pull token for a.example".to_owned(),
                "[auth] app:pull token for b.example".to_owned(),
                format!("[auth] app:pull,push token for d.example: {reason}"),
            ]
        );
    }

    #[tokio::test]
    async fn a_helper_that_fails_is_told_and_what_is_public_can_be_had() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config.json");
        std::fs::write(&config, r#"{"credsStore": "absent"}"#).unwrap();
        let server = token_server().await;
        let (mut client, events) = client_as(Credentials::from_config_file(Some(&config)).unwrap(), None);
        for _ in 0..2 {
            assert!(client.fetch_token(fetch(&server, "a.example", "repository:app:pull")).await.is_ok());
        }
        drop(client);
        assert_eq!(
            told(events).await,
            [
                "no credentials for a.example: executable file not found in $PATH: credential helper docker-credential-absent"
            ]
        );
    }

    #[tokio::test]
    async fn a_key_stands_for_a_seed_and_for_having_credentials() {
        let folder = tempfile::tempdir().unwrap();
        let auths = r#""a.example": {"auth": "YW5uOnNlY3JldA=="}, "b.example": {"auth": "Ym9iOnB3"}"#;
        let public = async |client: &mut AuthClient<Channel>, host: &str, salt: &[u8]| {
            let request = GetTokenAuthorityRequest { host: host.to_owned(), salt: salt.to_vec() };
            client.get_token_authority(request).await.map(|answer| answer.into_inner().public_key)
        };
        let (mut ann, _events) = client(auths, Some(folder.path()));
        let key = public(&mut ann, "a.example", b"salt").await.unwrap();
        assert_eq!(key.len(), 32);
        let request = VerifyTokenAuthorityRequest {
            host: "a.example".to_owned(),
            payload: b"prove it".to_vec(),
            salt: b"salt".to_vec(),
        };
        let signed = ann.verify_token_authority(request).await.unwrap().into_inner().signed;
        let (signature, payload) = signed.split_at(64);
        assert_eq!(payload, b"prove it");
        UnparsedPublicKey::new(&ED25519, &key).verify(payload, signature).unwrap();

        assert_ne!(public(&mut ann, "a.example", b"other").await.unwrap(), key);
        assert_ne!(public(&mut ann, "b.example", b"salt").await.unwrap(), key);
        // The next session has the same key, by the file.
        let (mut again, _events) = client(auths, Some(folder.path()));
        assert_eq!(public(&mut again, "a.example", b"salt").await.unwrap(), key);
        let other = tempfile::tempdir().unwrap();
        let (mut elsewhere, _events) = client(auths, Some(other.path()));
        assert_ne!(public(&mut elsewhere, "a.example", b"salt").await.unwrap(), key);
        // Who has no credentials is like anybody else without, and needs no seed.
        let none = tempfile::tempdir().unwrap();
        let (mut nobody, _events) = client("", Some(none.path()));
        let anybody = public(&mut nobody, "a.example", b"salt").await.unwrap();
        assert_ne!(anybody, key);
        assert_eq!(public(&mut nobody, "c.example", b"salt").await.unwrap(), anybody);
        assert_eq!(std::fs::read_dir(none.path()).unwrap().count(), 0);

        let (mut off, _events) = client(auths, None);
        let error = public(&mut off, "a.example", b"salt").await.unwrap_err();
        assert_eq!((error.code(), error.message()), (Code::Unavailable, "client side tokens disabled"));
    }
}

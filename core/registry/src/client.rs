//! The client: which host is asked, in what order, and what its answers mean.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rbx_oci::{Descriptor, Digest, Reference};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RANGE};
use reqwest::{Method, Request, Response, StatusCode, Url};

use crate::auth::{self, Granted, TokenRequest};
use crate::blob::BlobStream;
use crate::config::Config;
use crate::credentials::{Credential, Credentials};
use crate::endpoint::{self, Candidate, Endpoint, Host, Scheme};
use crate::error::RegistryError;
use crate::manifest;
use crate::transport::{Transport, error_text, passes, retry_after};

/// How often a request is sent with other credentials or scopes than before.
const AUTH_ATTEMPTS: u32 = 3;
/// The header by which registries name a manifest's digest.
const CONTENT_DIGEST: &str = "docker-content-digest";

/// A client of registries. Cheap to clone; clones share connections, tokens and limits.
///
/// At most 8 blobs are fetched from one host at a time: a ninth [`Client::blob`] waits until one of the streams
/// before it ended or was dropped.
#[derive(Debug, Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: Config,
    transport: Arc<Transport>,
    /// By host and by the name its credentials have.
    hosts: Mutex<HashMap<(String, String), Arc<Host>>>,
}

/// A manifest or index, with the bytes that its digest is of.
#[derive(Debug, Clone, PartialEq)]
pub struct Fetched {
    /// Media type, digest and size.
    pub descriptor: Descriptor,
    /// The bytes as the registry gave them.
    pub bytes: Vec<u8>,
}

/// What a registry asked for when it refused a request, as whoever sent that request met it.
#[derive(Debug, Clone, Copy)]
pub struct TokenChallenge<'a> {
    /// Host and port of the registry.
    pub host: &'a str,
    /// The address of the token server.
    pub realm: &'a str,
    /// What that server knows the registry as; may be empty.
    pub service: &'a str,
    /// The scopes that are needed, divided by spaces: `repository:library/alpine:pull`.
    pub scope: &'a str,
}

/// A bearer token.
#[derive(Clone, PartialEq, Eq)]
pub struct BearerToken {
    /// The token itself.
    pub token: String,
    /// How long it lives: a minute at the least, a day at the most.
    pub life: Duration,
}

impl fmt::Debug for BearerToken {
    // A token never reaches a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BearerToken").field("life", &self.life).finish_non_exhaustive()
    }
}

/// One request to a repository.
pub(crate) struct Ask<'a> {
    pub(crate) method: Method,
    /// `manifests/latest`, `blobs/sha256:…`.
    pub(crate) thing: String,
    pub(crate) accept: Option<&'static str>,
    /// The first byte wanted.
    pub(crate) from: u64,
    /// The image or blob, for messages.
    pub(crate) what: &'a str,
    pub(crate) access: Access<'a>,
    /// What is sent, and its media type.
    pub(crate) content: Option<(&'a str, Bytes)>,
}

/// What a request does to its repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access<'a> {
    Pull,
    Push {
        /// Another repository of the registry, which is read.
        from: Option<&'a str>,
    },
}

impl Access<'_> {
    /// The scope of a token for it.
    fn scope(self, repository: &str) -> String {
        match self {
            Self::Pull => format!("repository:{repository}:pull"),
            Self::Push { from: None } => format!("repository:{repository}:pull,push"),
            Self::Push { from: Some(from) } => {
                format!("repository:{repository}:pull,push repository:{from}:pull")
            }
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push { .. } => "push",
        }
    }
}

impl<'a> Ask<'a> {
    /// Asks about what a reference names.
    pub(crate) fn manifest(method: Method, reference: &Reference, what: &'a str) -> Self {
        let name = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.unwrap_or("latest").to_owned(),
        };
        let (thing, accept) = (format!("manifests/{name}"), Some(manifest::ACCEPT));
        Self { method, thing, accept, from: 0, what, access: Access::Pull, content: None }
    }
}

impl Client {
    /// A client. Touches neither network nor disk.
    pub fn new(config: Config) -> Result<Self, RegistryError> {
        let transport = Arc::new(Transport::new(&config)?);
        Ok(Self { inner: Arc::new(Inner { config, transport, hosts: Mutex::default() }) })
    }

    /// The HTTP client below this one, for files that are no images: with the same connections, trust and proxies.
    pub fn transport(&self) -> &Arc<Transport> {
        &self.inner.transport
    }

    /// Whose credentials are used.
    pub fn credentials(&self) -> &Credentials {
        &self.inner.config.credentials
    }

    /// Fetches a token for somebody else who talks to the registry, such as a daemon that must not see the
    /// credentials. A registry token is the answer itself.
    ///
    /// Whether that registry is reached over TLS is not known here, so credentials go to a token server over HTTP if
    /// the challenge names one.
    pub async fn token(
        &self,
        challenge: &TokenChallenge<'_>,
        credential: Option<&Credential>,
    ) -> Result<BearerToken, RegistryError> {
        let TokenChallenge { host, realm, service, scope } = *challenge;
        let realm = auth::realm(realm).ok_or_else(|| RegistryError::Authentication {
            host: host.to_owned(),
            reason: auth::NO_REALM.to_owned(),
        })?;
        let scheme = if realm.scheme() == "http" { Scheme::Http } else { Scheme::Https };
        let host = Host::new(host, host, scheme);
        let transport = &self.inner.transport;
        let request = TokenRequest { transport, host: &host, realm: &realm, service, scope };
        let Granted { token, life } = request.token(credential).await?;
        Ok(BearerToken { token, life })
    }

    /// Fetches the manifest or index that a reference names, by digest if it has one, else by tag, as the registry
    /// has it. By digest, the bytes are verified. At most 4 MiB.
    pub async fn manifest(&self, reference: &Reference) -> Result<Fetched, RegistryError> {
        let what = reference.to_string();
        let mut failures = Vec::new();
        for endpoint in self.endpoints(reference)? {
            match self.manifest_from(&endpoint, reference, &what).await {
                Ok(fetched) => return Ok(fetched),
                Err(error) => note(&mut failures, error),
            }
        }
        Err(all_failed(failures))
    }

    /// Asks what a reference names without fetching it, which does not count against Docker Hub's limit of pulls.
    /// The digest is the registry's word.
    pub async fn resolve(&self, reference: &Reference) -> Result<Descriptor, RegistryError> {
        let what = reference.to_string();
        let mut failures = Vec::new();
        for endpoint in self.endpoints(reference)? {
            match self.resolve_at(&endpoint, reference, &what).await {
                Ok(descriptor) => return Ok(descriptor),
                Err(error) => note(&mut failures, error),
            }
        }
        Err(all_failed(failures))
    }

    /// Opens a blob of the repository that a reference names. Size and digest are checked while it is read: an end
    /// of the stream that is no error means that all of it is right. A transfer that breaks off goes on where it
    /// was.
    pub async fn blob(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
    ) -> Result<BlobStream, RegistryError> {
        let endpoints = self.endpoints(reference)?;
        BlobStream::open(self.clone(), endpoints, reference, descriptor).await
    }

    async fn manifest_from(
        &self,
        endpoint: &Endpoint,
        reference: &Reference,
        what: &str,
    ) -> Result<Fetched, RegistryError> {
        let host = &endpoint.host.authority;
        let _permit = permit(&endpoint.host).await;
        let ask = Ask::manifest(Method::GET, reference, what);
        let response = self.request(endpoint, &ask).await?;
        let headers = response.headers().clone();
        let bytes = manifest::read(response, what, host).await?;
        let digest = Digest::sha256_of(&bytes);
        let promised = match reference.digest() {
            Some(digest) => Some(digest),
            None => content_digest(&headers),
        };
        if promised.is_some_and(|promised| promised != digest) {
            return Err(RegistryError::DigestMismatch {
                what: what.to_owned(),
                host: host.clone(),
                actual: digest.to_string(),
            });
        }
        let media_type = manifest::media_type(&bytes, content_type(&headers)).map_err(|source| {
            RegistryError::InvalidManifest { what: what.to_owned(), host: host.clone(), source }
        })?;
        Ok(Fetched { descriptor: Descriptor::new(media_type, digest, bytes.len() as u64), bytes })
    }

    async fn resolve_at(
        &self,
        endpoint: &Endpoint,
        reference: &Reference,
        what: &str,
    ) -> Result<Descriptor, RegistryError> {
        let response = {
            let _permit = permit(&endpoint.host).await;
            let ask = Ask::manifest(Method::HEAD, reference, what);
            self.request(endpoint, &ask).await?
        };
        let headers = response.headers();
        let media_type = content_type(headers).filter(|media_type| manifest::is_known(media_type));
        let size = headers.get("content-length").and_then(|value| value.to_str().ok()?.parse().ok());
        let digest = content_digest(headers);
        if let (Some(media_type), Some(size), Some(digest)) = (media_type, size, digest)
            && reference.digest().is_none_or(|wanted| wanted == digest)
        {
            return Ok(Descriptor::new(media_type, digest, size));
        }
        // The registry leaves out what HEAD is for.
        Ok(self.manifest_from(endpoint, reference, what).await?.descriptor)
    }

    /// The registry that a reference names, which takes what is pushed.
    pub(crate) fn origin(&self, reference: &Reference) -> Result<Endpoint, RegistryError> {
        let origin = self.endpoints(reference)?.pop();
        Ok(origin.expect("a registry follows its mirrors"))
    }

    /// The ways to a reference's repository, in the order to try them.
    pub(crate) fn endpoints(&self, reference: &Reference) -> Result<Vec<Endpoint>, RegistryError> {
        let candidates = endpoint::candidates(&self.inner.config, reference.domain())?;
        Ok(candidates
            .into_iter()
            .map(|candidate| Endpoint {
                host: self.host(&candidate),
                repository: if candidate.prefix.is_empty() {
                    reference.path().to_owned()
                } else {
                    format!("{}/{}", candidate.prefix, reference.path())
                },
                mirror_of: candidate.mirror_of,
            })
            .collect())
    }

    fn host(&self, candidate: &Candidate) -> Arc<Host> {
        let Candidate { authority, registry, scheme, .. } = candidate;
        let mut hosts = self.inner.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let host = hosts.entry((authority.clone(), registry.clone()));
        Arc::clone(host.or_insert_with(|| Arc::new(Host::new(authority, registry, *scheme))))
    }

    /// Sends a request, with authentication as the host asks for it. The answer is a success.
    pub(crate) async fn request(
        &self,
        endpoint: &Endpoint,
        ask: &Ask<'_>,
    ) -> Result<Response, RegistryError> {
        let Inner { config, transport, .. } = &*self.inner;
        let host = &*endpoint.host;
        let scope = ask.access.scope(&endpoint.repository);
        let session = &host.session;
        let mut authorization = session.authorize(transport, &config.credentials, host, &scope).await?;
        let mut attempt = 1;
        let response = loop {
            let header = authorization.as_ref().map(|authorization| authorization.header.clone());
            let response = self.send(endpoint, ask, header).await?;
            let refused = response.status() == StatusCode::UNAUTHORIZED && !is_foreign(&response, host);
            if !refused || attempt == AUTH_ATTEMPTS {
                break response;
            }
            if !session.refused(host, response.headers(), &scope, authorization.as_ref()).await? {
                break response;
            }
            authorization = session.authorize(transport, &config.credentials, host, &scope).await?;
            if authorization.is_none() {
                break response;
            }
            attempt += 1;
        };
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.failure(host, ask, response).await)
    }

    async fn send(
        &self,
        endpoint: &Endpoint,
        ask: &Ask<'_>,
        authorization: Option<HeaderValue>,
    ) -> Result<Response, RegistryError> {
        let Inner { transport, .. } = &*self.inner;
        let host = &*endpoint.host;
        let request = |scheme| Ok(build(endpoint.url(scheme, &ask.thing)?, ask, authorization.as_ref()));
        let unreachable = |error: reqwest::Error| Self::unreachable(endpoint, ask, error.without_url());
        if host.scheme() != Scheme::HttpFirst {
            let request = request(host.scheme())?;
            return transport.send_patiently(&request).await.map_err(unreachable);
        }
        let plain = transport.send(request(Scheme::Http)?).await;
        // A server of TLS answers 400 to HTTP, or hangs up.
        let is_other = match &plain {
            Ok(response) => response.status() == StatusCode::BAD_REQUEST,
            Err(error) => !error.is_connect() && !error.is_timeout(),
        };
        if is_other {
            match (transport.send(request(Scheme::Https)?).await, &plain) {
                (Ok(response), _) => {
                    host.settle(Scheme::Https);
                    return Ok(response);
                }
                // What is wrong with TLS says more than an answer to what should have been TLS.
                (Err(error), Ok(_)) if !error.is_timeout() => return Err(unreachable(error)),
                (Err(_), _) => {}
            }
        }
        match plain {
            Ok(response) if !passes(response.status()) => {
                host.settle(Scheme::Http);
                Ok(response)
            }
            Ok(_) => transport.send_patiently(&request(Scheme::Http)?).await.map_err(unreachable),
            Err(error) => Err(unreachable(error)),
        }
    }

    /// What a request is sent with by all that is known now.
    pub(crate) async fn authorization(
        &self,
        endpoint: &Endpoint,
        ask: &Ask<'_>,
    ) -> Result<Option<HeaderValue>, RegistryError> {
        let Inner { config, transport, .. } = &*self.inner;
        let host = &*endpoint.host;
        let scope = ask.access.scope(&endpoint.repository);
        let authorization = host.session.authorize(transport, &config.credentials, host, &scope).await?;
        Ok(authorization.map(|authorization| authorization.header))
    }

    /// Makes the next request of this kind ask for a new token.
    pub(crate) async fn forget_token(&self, endpoint: &Endpoint, ask: &Ask<'_>) {
        endpoint.host.session.forget(&ask.access.scope(&endpoint.repository)).await;
    }

    /// Sends what may take long: see [`Transport::upload`].
    pub(crate) async fn upload(
        &self,
        request: Request,
        sent: &AtomicU64,
    ) -> Result<Option<reqwest::Result<Response>>, RegistryError> {
        self.inner.transport.upload(&self.inner.config, request, sent).await
    }

    pub(crate) fn unreachable(
        endpoint: &Endpoint,
        ask: &Ask<'_>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> RegistryError {
        let (what, host) = (ask.what.to_owned(), endpoint.host.authority.clone());
        RegistryError::Unreachable { what, host, source: source.into() }
    }

    /// What an answer that is no success means.
    pub(crate) async fn failure(&self, host: &Host, ask: &Ask<'_>, response: Response) -> RegistryError {
        let status = response.status();
        let what = ask.what.to_owned();
        let retry_after = retry_after(response.headers());
        let foreign = is_foreign(&response, host);
        let answered = response.url().authority().to_owned();
        let message = error_text(response).await;
        let credentials = async || auth::describe(&self.inner.config.credentials, host).await;
        match status {
            StatusCode::TOO_MANY_REQUESTS => {
                let credentials = credentials().await;
                RegistryError::RateLimited { what, host: answered, message, retry_after, credentials }
            }
            // A storage server that refuses an address it was given is not the registry refusing us.
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if !foreign => {
                let credentials = credentials().await;
                let access = ask.access.name();
                RegistryError::Denied { access, what, host: answered, message, credentials }
            }
            StatusCode::NOT_FOUND => RegistryError::NotFound { what, host: answered, message },
            _ => RegistryError::Status { what, host: answered, status: status.as_u16(), message },
        }
    }
}

/// Whether a redirect led to another host.
fn is_foreign(response: &Response, host: &Host) -> bool {
    let own = Url::parse(&format!("{}://{}", response.url().scheme(), host.authority));
    !own.is_ok_and(|own| own.authority() == response.url().authority())
}

async fn permit(host: &Host) -> Option<tokio::sync::SemaphorePermit<'_>> {
    // It is never closed; without a permit nothing worse happens than one request more.
    host.manifests.acquire().await.ok()
}

fn build(url: Url, ask: &Ask<'_>, authorization: Option<&HeaderValue>) -> Request {
    let mut request = Request::new(ask.method.clone(), url);
    let headers = request.headers_mut();
    if let Some(accept) = ask.accept {
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
    }
    if let Some(authorization) = authorization {
        headers.insert(AUTHORIZATION, authorization.clone());
    }
    if let Some((media_type, content)) = &ask.content {
        // Media types come from here, and from manifests that were read.
        if let Ok(media_type) = HeaderValue::try_from(*media_type) {
            headers.insert(CONTENT_TYPE, media_type);
        }
        *request.body_mut() = Some(content.clone().into());
    }
    let headers = request.headers_mut();
    if ask.from > 0 {
        let range = HeaderValue::try_from(format!("bytes={}-", ask.from));
        headers.insert(RANGE, range.expect("digits are fit for a header"));
    }
    request
}

fn content_type(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    value.split(';').next().map(str::trim)
}

pub(crate) fn content_digest(headers: &HeaderMap) -> Option<Digest> {
    Digest::parse(headers.get(CONTENT_DIGEST)?.to_str().ok()?).ok()
}

/// Keeps a failure and says so; whether it matters is known only once all hosts were tried.
pub(crate) fn note(failures: &mut Vec<RegistryError>, error: RegistryError) {
    tracing::debug!("{error}");
    failures.push(error);
}

/// One error of those of all endpoints, of which the last is the origin's.
pub(crate) fn all_failed(mut failures: Vec<RegistryError>) -> RegistryError {
    let origin = failures.pop().expect("there is always an origin to try");
    if failures.is_empty() {
        return origin;
    }
    RegistryError::Mirrors { origin: Box::new(origin), mirrors: failures }
}

//! Being let in: basic authentication, and bearer tokens by the distribution project's token specification.
//!
//! As BuildKit does it, a token is asked for with GET, and with POST where that is not allowed or where all there is
//! is an identity token. Tokens are kept per repository until they expire; requests that need the same one at the
//! same time wait for one answer.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Method, Request, Response, StatusCode, Url};
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::challenge::{self, Challenge};
use crate::credentials::{Credential, Credentials, Secret};
use crate::endpoint::{Host, Scheme, is_loopback};
use crate::error::RegistryError;
use crate::transport::{Transport, error_text};

/// The name by which token servers list who was given a refresh token.
const CLIENT_ID: &str = "rbx";
/// What is said of a challenge without an address.
pub(crate) const NO_REALM: &str = "no valid address of a token server";
/// How long a token lives that does not say so; the specification's default, and its least.
const LEAST_LIFE: u64 = 60;
/// Bound on a token server's answer, in bytes.
const REPLY_LIMIT: usize = 1 << 20;

/// What is known of a host's wishes, and the tokens it gave.
#[derive(Debug, Default)]
pub(crate) struct Session(Mutex<State>);

#[derive(Default)]
struct State {
    asked: Option<Asked>,
    /// By the scope that a request needs.
    scopes: BTreeMap<String, Scope>,
}

impl std::fmt::Debug for State {
    // Tokens never reach a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("asked", &self.asked).finish_non_exhaustive()
    }
}

/// The way of authentication that a host asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Asked {
    Basic,
    Bearer { realm: Url, service: String },
}

#[derive(Default)]
struct Scope {
    /// What to ask the token server for: the scope needed, and what the registry itself said.
    wanted: String,
    token: Option<Token>,
}

struct Token {
    header: HeaderValue,
    until: Instant,
}

/// A token as a server gives it.
pub(crate) struct Granted {
    pub(crate) token: String,
    pub(crate) life: Duration,
}

/// What a request is sent with.
#[derive(Clone)]
pub(crate) struct Authorization {
    pub(crate) header: HeaderValue,
    /// Made for this request: if it is refused, another would be too.
    fresh: bool,
}

impl Session {
    /// What to send to `host` for `scope`; nothing if it has not asked for anything, or if there are no credentials
    /// to be basic with.
    pub(crate) async fn authorize(
        &self,
        transport: &Transport,
        credentials: &Credentials,
        host: &Host,
        scope: &str,
    ) -> Result<Option<Authorization>, RegistryError> {
        let mut state = self.0.lock().await;
        let Some(asked) = state.asked.clone() else { return Ok(None) };
        let wanted = matches!(asked, Asked::Bearer { .. }).then_some(scope).unwrap_or_default();
        let credential = usable(credentials, host, wanted).await;
        match asked {
            Asked::Basic => Ok(match credential.map(|credential| credential.secret) {
                Some(Secret::Password { username, password }) => {
                    Some(Authorization { header: basic(&username, &password), fresh: true })
                }
                _ => None,
            }),
            Asked::Bearer { realm, service } => {
                let scope = state
                    .scopes
                    .entry(scope.to_owned())
                    .or_insert_with(|| Scope { wanted: scope.to_owned(), token: None });
                if let Some(token) = scope.token.as_ref().filter(|token| token.until > Instant::now()) {
                    return Ok(Some(Authorization { header: token.header.clone(), fresh: false }));
                }
                let request =
                    TokenRequest { transport, host, realm: &realm, service: &service, scope: &scope.wanted };
                let granted = request.token(credential.as_ref()).await?;
                let header = secret_header("Bearer", &granted.token)
                    .ok_or_else(|| request.fail("the token is not fit for a header"))?;
                // Some time is left for requests under way.
                let token = Token { header, until: Instant::now() + granted.life.mul_f64(0.9) };
                let authorization = Authorization { header: token.header.clone(), fresh: true };
                scope.token = Some(token);
                Ok(Some(authorization))
            }
        }
    }

    /// Drops the token for a scope: the next request asks for another.
    pub(crate) async fn forget(&self, scope: &str) {
        if let Some(scope) = self.0.lock().await.scopes.get_mut(scope) {
            scope.token = None;
        }
    }

    /// Learns from an answer 401; says whether there is something else to send.
    pub(crate) async fn refused(
        &self,
        host: &Host,
        headers: &HeaderMap,
        scope: &str,
        used: Option<&Authorization>,
    ) -> Result<bool, RegistryError> {
        let values = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let challenges: Vec<Challenge> = values.flat_map(challenge::parse).collect();
        if challenges.is_empty() {
            return Ok(false);
        }
        let fail = |reason: String| RegistryError::Authentication { host: host.authority.clone(), reason };
        let of = |scheme: &str| challenges.iter().find(|challenge| challenge.scheme == scheme);
        let (asked, wanted) = if let Some(bearer) = of("bearer") {
            let realm = realm(bearer.get("realm")).ok_or_else(|| fail(NO_REALM.to_owned()))?;
            let service = bearer.get("service").to_owned();
            (Asked::Bearer { realm, service }, challenge::union(&[scope, bearer.get("scope")]))
        } else if of("basic").is_some() {
            (Asked::Basic, String::new())
        } else {
            let schemes: Vec<_> = challenges.iter().map(|challenge| challenge.scheme.as_str()).collect();
            let schemes = crate::text::printable(schemes.join(", ").as_bytes());
            return Err(fail(format!("unsupported scheme {schemes}")));
        };

        let mut state = self.0.lock().await;
        let mut news = state.asked.as_ref() != Some(&asked);
        if news {
            state.asked = Some(asked);
            state.scopes.clear();
        }
        let entry = state.scopes.entry(scope.to_owned()).or_default();
        if entry.wanted != wanted {
            let together = challenge::union(&[&entry.wanted, &wanted]);
            news |= together != entry.wanted;
            entry.wanted = together;
        }
        if let Some(used) = used
            && entry.token.as_ref().is_some_and(|token| token.header == used.header)
        {
            entry.token = None;
        }
        Ok(news || used.is_none_or(|used| !used.fresh))
    }
}

/// The credentials of a host. A helper that fails is no reason not to pull what is public; if the registry then
/// refuses, [`describe`] tells.
async fn usable(credentials: &Credentials, host: &Host, scope: &str) -> Option<Credential> {
    credentials.get_for(&host.registry, scope).await.unwrap_or_else(|error| {
        tracing::warn!(registry = host.registry, "no credentials: {error}");
        None
    })
}

/// Which credentials a host was given, in words for an error.
pub(crate) async fn describe(credentials: &Credentials, host: &Host) -> String {
    match credentials.get(&host.registry).await {
        Ok(Some(credential)) => credential.to_string(),
        Ok(None) => format!("no credentials found for {}", host.registry),
        Err(error) => format!("no credentials for {}: {error}", host.registry),
    }
}

fn basic(username: &str, password: &str) -> HeaderValue {
    secret_header("Basic", &STANDARD.encode(format!("{username}:{password}")))
        .expect("base64 is fit for a header")
}

fn secret_header(scheme: &str, secret: &str) -> Option<HeaderValue> {
    let mut header = HeaderValue::from_str(&format!("{scheme} {secret}")).ok()?;
    header.set_sensitive(true);
    Some(header)
}

/// The address of a token server, if it is one.
pub(crate) fn realm(text: &str) -> Option<Url> {
    Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host() && url.username().is_empty())
}

pub(crate) struct TokenRequest<'a> {
    pub(crate) transport: &'a Transport,
    pub(crate) host: &'a Host,
    pub(crate) realm: &'a Url,
    pub(crate) service: &'a str,
    /// Divided by spaces.
    pub(crate) scope: &'a str,
}

impl TokenRequest<'_> {
    pub(crate) async fn token(&self, credential: Option<&Credential>) -> Result<Granted, RegistryError> {
        if credential.is_some()
            && self.realm.scheme() == "http"
            && self.host.scheme() == Scheme::Https
            && !self.realm.host_str().is_some_and(is_loopback)
        {
            return Err(self.fail("the token server takes credentials over HTTP only, without TLS"));
        }
        let response = match credential.map(|credential| &credential.secret) {
            None => self.get(None).await?,
            Some(Secret::RegistryToken(token)) => return Ok(granted(token.clone(), None)),
            Some(Secret::IdentityToken(token)) => {
                self.post(&[("grant_type", "refresh_token"), ("refresh_token", token)]).await?
            }
            Some(Secret::Password { username, password }) => {
                let got = self.get(Some(basic(username, password))).await?;
                if matches!(got.status().as_u16(), 401 | 404 | 405) {
                    let form = [("grant_type", "password"), ("username", username), ("password", password)];
                    let posted = self.post(&form).await?;
                    // A server that knows no POST has said with its first answer what there is to say.
                    if posted.status().is_success() { posted } else { got }
                } else {
                    got
                }
            }
        };
        self.read(response, credential).await
    }

    async fn get(&self, authorization: Option<HeaderValue>) -> Result<Response, RegistryError> {
        let mut url = self.realm.clone();
        {
            let mut query = url.query_pairs_mut();
            if !self.service.is_empty() {
                query.append_pair("service", self.service);
            }
            for scope in self.scope.split_ascii_whitespace() {
                query.append_pair("scope", scope);
            }
        }
        let mut request = Request::new(Method::GET, url);
        request.headers_mut().extend(authorization.map(|header| (AUTHORIZATION, header)));
        self.send(&request).await
    }

    async fn post(&self, form: &[(&str, &str)]) -> Result<Response, RegistryError> {
        let mut encoded = self.realm.clone();
        encoded.set_query(None);
        encoded.query_pairs_mut().extend_pairs(form).extend_pairs([
            ("service", self.service),
            ("client_id", CLIENT_ID),
            ("scope", self.scope),
        ]);
        let mut request = Request::new(Method::POST, self.realm.clone());
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        request.headers_mut().insert(CONTENT_TYPE, kind);
        *request.body_mut() = Some(encoded.query().unwrap_or_default().to_owned().into());
        self.send(&request).await
    }

    async fn send(&self, request: &Request) -> Result<Response, RegistryError> {
        self.transport.send_patiently(request).await.map_err(|error| RegistryError::Unreachable {
            what: format!("token of {}", self.host.authority),
            host: self.server(),
            source: Box::new(error.without_url()),
        })
    }

    async fn read(
        &self,
        mut response: Response,
        credential: Option<&Credential>,
    ) -> Result<Granted, RegistryError> {
        #[derive(Deserialize)]
        struct Reply {
            token: Option<String>,
            access_token: Option<String>,
            expires_in: Option<u64>,
        }
        let status = response.status();
        if !status.is_success() {
            let host = self.server();
            let message = error_text(response).await;
            return Err(match credential {
                Some(credential)
                    if matches!(
                        status,
                        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST
                    ) =>
                {
                    let credentials = credential.to_string();
                    RegistryError::BadCredentials { host, status: status.as_u16(), message, credentials }
                }
                _ => {
                    let what = format!("token of {}", self.host.authority);
                    RegistryError::Status { what, host, status: status.as_u16(), message }
                }
            });
        }
        let mut body = Vec::new();
        while let Some(chunk) =
            response.chunk().await.map_err(|error| self.fail(&crate::error::root_cause(&error)))?
        {
            body.extend_from_slice(&chunk);
            if body.len() > REPLY_LIMIT {
                return Err(self.fail("the token server's answer is too large"));
            }
        }
        let reply: Reply =
            serde_json::from_slice(&body).map_err(|_| self.fail("the token server's answer is not JSON"))?;
        let token = [reply.token, reply.access_token].into_iter().flatten().find(|token| !token.is_empty());
        let token = token.ok_or_else(|| self.fail("the token server's answer has no token"))?;
        Ok(granted(token, reply.expires_in))
    }

    fn server(&self) -> String {
        self.realm.authority().to_owned()
    }

    fn fail(&self, reason: &str) -> RegistryError {
        RegistryError::Authentication { host: self.server(), reason: reason.to_owned() }
    }
}

fn granted(token: String, expires_in: Option<u64>) -> Granted {
    // A day is more than any build takes.
    let life = Duration::from_secs(expires_in.unwrap_or(LEAST_LIFE).clamp(LEAST_LIFE, 86_400));
    Granted { token, life }
}

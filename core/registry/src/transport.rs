//! Sending requests: one pool of connections, redirects, time-outs, and second attempts after passing failures.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{NoProxy, Proxy, Request, Response, StatusCode, redirect};

use crate::config::{Config, Proxies};
use crate::endpoint::is_loopback;
use crate::error::RegistryError;
use crate::tls::SystemTrust;

/// How long a connection may take to come about.
const CONNECT_TIME: Duration = Duration::from_secs(30);
/// How long a server may be silent within an answer, or before it.
const SILENCE: Duration = Duration::from_mins(1);
/// How long an upload may make no progress, or a server may take for what it was sent.
const UPLOAD_SILENCE: Duration = Duration::from_mins(5);
/// Redirects of one request.
const REDIRECTS: usize = 10;
/// Attempts of one request after the first.
const RETRIES: u32 = 5;
/// The wait before the second attempt; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// The longest wait that a server may ask for; beyond it the user is told instead.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How much of an error's text is read, in bytes.
const ERROR_TEXT: usize = 64 << 10;

/// HTTP as everything here speaks it: one pool of connections, the system's trust, the configured proxies, bounded
/// redirects and silence. See [`Client::transport`](crate::Client::transport).
#[derive(Debug)]
pub struct Transport {
    http: reqwest::Client,
    /// For what is sent: the answer comes when all of it was, however long that takes.
    uploads: OnceLock<reqwest::Client>,
    trust: Arc<SystemTrust>,
}

impl Transport {
    pub(crate) fn new(config: &Config) -> Result<Self, RegistryError> {
        let trust = SystemTrust::new(&config.extra_ca)?;
        let http = builder(config, &trust)?.read_timeout(SILENCE).build().map_err(|error| invalid(&error))?;
        Ok(Self { http, uploads: OnceLock::new(), trust })
    }

    /// Sends a request whose body may take any time, as long as `sent` grows; `None` if that stopped. It is not sent
    /// again.
    pub(crate) async fn upload(
        &self,
        config: &Config,
        request: Request,
        sent: &AtomicU64,
    ) -> Result<Option<reqwest::Result<Response>>, RegistryError> {
        let client = if let Some(client) = self.uploads.get() {
            client
        } else {
            let client = builder(config, &self.trust)?.build().map_err(|error| invalid(&error))?;
            self.uploads.get_or_init(|| client)
        };
        self.trust_system(&request).await;
        let mut answer = pin!(client.execute(request));
        let mut before = 0;
        loop {
            if let Ok(answer) = tokio::time::timeout(UPLOAD_SILENCE, &mut answer).await {
                return Ok(Some(answer));
            }
            let now = sent.load(Ordering::Relaxed);
            if now == before {
                return Ok(None);
            }
            before = now;
        }
    }

    /// Sends a request once.
    pub(crate) async fn send(&self, request: Request) -> reqwest::Result<Response> {
        self.trust_system(&request).await;
        self.http.execute(request).await
    }

    /// Loads the system's certificates before the first request that needs them.
    async fn trust_system(&self, request: &Request) {
        if request.url().scheme() == "https" && !self.trust.is_loaded() {
            let trust = Arc::clone(&self.trust);
            // What fails to load is told by the handshake.
            let _ = tokio::task::spawn_blocking(move || trust.load().is_ok()).await;
        }
    }

    /// Sends a request whose body, if it has one, is in memory, and again after failures that may pass. The last
    /// answer or failure is the result; an answer of any status is one.
    ///
    /// At most 10 redirects are followed, and none from HTTPS to HTTP. A server that is silent for a minute, before
    /// its answer or within it, has failed.
    pub async fn send_patiently(&self, request: &Request) -> reqwest::Result<Response> {
        let mut attempt = 0;
        loop {
            let request = request.try_clone().expect("a body in memory can be sent again");
            let result = self.send(request).await;
            let wait = match &result {
                Ok(response) if passes(response.status()) => wait(attempt, retry_after(response.headers())),
                Err(error) if is_passing(error) => wait(attempt, None),
                _ => None,
            };
            let Some(wait) = wait else { return result };
            tracing::debug!(attempt, ?wait, "a request failed in passing");
            tokio::time::sleep(wait).await;
            attempt += 1;
        }
    }
}

fn builder(config: &Config, trust: &Arc<SystemTrust>) -> Result<reqwest::ClientBuilder, RegistryError> {
    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured(trust.client_config()?)
        .no_proxy()
        .redirect(redirect::Policy::custom(follow))
        .connect_timeout(CONNECT_TIME)
        .http2_adaptive_window(true);
    if !config.user_agent.is_empty() {
        builder = builder.user_agent(&config.user_agent);
    }
    let Proxies { http, https, no_proxy } = &config.proxies;
    let direct = format!("localhost,127.0.0.0/8,::1,{}", no_proxy.as_deref().unwrap_or_default());
    let exceptions = NoProxy::from_string(&direct);
    if let Some(address) = http {
        let proxy = Proxy::http(address).map_err(|error| invalid(&error))?;
        builder = builder.proxy(proxy.no_proxy(exceptions.clone()));
    }
    if let Some(address) = https {
        let proxy = Proxy::https(address).map_err(|error| invalid(&error))?;
        builder = builder.proxy(proxy.no_proxy(exceptions));
    }
    Ok(builder)
}

fn invalid(error: &reqwest::Error) -> RegistryError {
    RegistryError::Configuration { reason: crate::error::root_cause(error) }
}

fn follow(attempt: redirect::Attempt) -> redirect::Action {
    if attempt.previous().len() > REDIRECTS {
        return attempt.error("too many redirects");
    }
    let was_safe = attempt.previous().last().is_some_and(|url| url.scheme() == "https");
    let next = attempt.url();
    if was_safe && next.scheme() == "http" && !next.host_str().is_some_and(is_loopback) {
        return attempt.error("redirect from HTTPS to HTTP");
    }
    attempt.follow()
}

/// Statuses by which a server says that it may work later.
pub(crate) fn passes(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

/// Failures that a second attempt may not meet. A refused connection, an unknown name and a bad certificate are
/// told at once.
pub(crate) fn is_passing(error: &reqwest::Error) -> bool {
    if error.is_timeout() || (error.is_request() && !error.is_connect()) {
        return true;
    }
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(inner) = cause {
        if let Some(error) = inner.downcast_ref::<io::Error>() {
            use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, TimedOut, UnexpectedEof};
            if matches!(
                error.kind(),
                BrokenPipe | ConnectionAborted | ConnectionReset | TimedOut | UnexpectedEof
            ) {
                return true;
            }
        }
        cause = inner.source();
    }
    false
}

/// The wait before attempt `attempt + 1`; `None` when enough was tried.
pub(crate) fn wait(attempt: u32, asked: Option<Duration>) -> Option<Duration> {
    if attempt >= RETRIES {
        return None;
    }
    let own = FIRST_WAIT * 2_u32.pow(attempt);
    // Requests that failed together do not come again together.
    let spread = own / 4 * u32::from(RandomState::new().hash_one(attempt).to_be_bytes()[0]) / 256;
    let wait = asked.unwrap_or(own).max(Duration::from_millis(1)) + spread;
    (asked.unwrap_or_default() <= LONGEST_WAIT).then_some(wait)
}

/// `Retry-After`: seconds, or, as Docker Hub has it, a time in seconds since 1970.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    if seconds < 1_000_000_000 {
        return Some(Duration::from_secs(seconds));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Some(Duration::from_secs(seconds).saturating_sub(now))
}

/// What a failed answer says: the messages of the distribution protocol's error list, of an OAuth error, or the
/// beginning of the text; empty if there is nothing to show.
pub(crate) async fn error_text(response: Response) -> String {
    #[derive(serde::Deserialize)]
    struct Reply {
        #[serde(default)]
        errors: Vec<Item>,
        #[serde(default)]
        error_description: String,
        #[serde(default)]
        details: String,
    }
    #[derive(serde::Deserialize)]
    struct Item {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let mut response = response;
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > ERROR_TEXT {
            break;
        }
    }
    let text = match serde_json::from_slice::<Reply>(&body) {
        Ok(reply) if !reply.errors.is_empty() => {
            let shown = reply.errors.into_iter().map(|item| {
                let code = item.code.to_lowercase().replace('_', " ");
                match (item.message.is_empty(), item.code.is_empty()) {
                    (true, _) => code,
                    (false, _) => item.message,
                }
            });
            shown.collect::<Vec<_>>().join(", ")
        }
        Ok(reply) if !reply.error_description.is_empty() => reply.error_description,
        Ok(reply) => reply.details,
        // A page of HTML helps nobody.
        Err(_) if body.trim_ascii_start().starts_with(b"<") => String::new(),
        Err(_) => return crate::text::printable(&body),
    };
    crate::text::printable(text.as_bytes()).trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(value: &str) -> Option<Duration> {
        retry_after(&[(RETRY_AFTER, value.parse().unwrap())].into_iter().collect())
    }

    #[test]
    fn waits_double_and_end() {
        let waits: Vec<_> = (0..10).map_while(|attempt| wait(attempt, None)).collect();
        assert_eq!(waits.len(), 5);
        for (attempt, wait) in waits.iter().enumerate() {
            let least = FIRST_WAIT * 2_u32.pow(u32::try_from(attempt).unwrap());
            assert!(*wait >= least && *wait <= least.mul_f64(1.25), "{attempt}: {wait:?}");
        }
    }

    #[test]
    fn what_servers_ask_for() {
        assert_eq!(asked("3"), Some(Duration::from_secs(3)));
        assert_eq!(asked("Wed, 21 Oct 2026 07:28:00 GMT"), None);
        assert_eq!(asked("1500000000"), Some(Duration::ZERO));
        let soon = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 100;
        assert!(asked(&soon.to_string()).unwrap() > Duration::from_secs(90));
        assert!(wait(0, Some(Duration::from_secs(20))).unwrap() >= Duration::from_secs(20));
        assert_eq!(wait(0, Some(Duration::from_secs(31))), None);
    }
}

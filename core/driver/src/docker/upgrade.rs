//! Connections that begin as a request to an Engine and are gRPC from then on.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, HeaderValue, UPGRADE};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rbx_buildkit::{Dial, Io};
use tokio_util::task::AbortOnDropHandle;

use crate::connection::{Connect, within};
use crate::error::DriverError;

/// How long an Engine may take to switch protocols.
const ANSWER_TIME: Duration = Duration::from_secs(30);
/// How much is read of why it does not, in bytes.
const REASON: usize = 4 << 10;
/// What a server answers that knows no such path.
const LACKS: [StatusCode; 3] =
    [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED, StatusCode::NOT_IMPLEMENTED];
/// gRPC, as Engines call it.
const PROTOCOL: &str = "h2c";

/// The `BuildKit` in an Engine: `POST /grpc` to be its client, `POST /session` to be its server.
#[derive(Debug)]
pub struct EngineDial {
    way: Arc<dyn Connect>,
    host: String,
}

impl EngineDial {
    /// The one in the Engine at the end of raw connections. `host` is what errors call it.
    pub fn new(way: Arc<dyn Connect>, host: String) -> Self {
        Self { way, host }
    }

    /// Errors are [`DriverError`]s, wrapped.
    async fn open(&self, path: &str, headers: &[(String, String)]) -> io::Result<Box<dyn Io>> {
        let opened = async {
            let connection = self.way.connect().await?;
            within(ANSWER_TIME, upgrade(connection, path, headers)).await
        };
        opened.await.map_err(|error| {
            let answered = error.get_ref().and_then(|inner| inner.downcast_ref::<NotSwitched>());
            let without = answered.filter(|answered| LACKS.contains(&answered.status));
            let kind = error.kind();
            let told = match without.map(ToString::to_string) {
                Some(cause) => DriverError::NoBuildKit { host: self.host.clone(), cause },
                None => DriverError::connection(&self.host, Box::new(error)),
            };
            io::Error::new(kind, told)
        })
    }
}

impl Dial for EngineDial {
    fn dial(&self) -> BoxFuture<'_, io::Result<Box<dyn Io>>> {
        Box::pin(self.open("/grpc", &[]))
    }

    fn session<'a>(
        &'a self,
        headers: &'a [(String, String)],
    ) -> BoxFuture<'a, Option<io::Result<Box<dyn Io>>>> {
        Box::pin(async { Some(self.open("/session", headers).await) })
    }
}

/// A server did not switch protocols.
#[derive(Debug, thiserror::Error)]
#[error("unable to upgrade to {protocol}, received {}{reason}", status.as_u16())]
struct NotSwitched {
    protocol: &'static str,
    status: StatusCode,
    /// What it says, after a colon.
    reason: String,
}

/// Asks the Engine to speak gRPC from here on.
async fn upgrade(
    connection: Box<dyn Io>,
    path: &str,
    headers: &[(String, String)],
) -> io::Result<Box<dyn Io>> {
    let mut request = Request::post(path);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request.body(String::new()).map_err(io::Error::other)?;
    switch(connection, request, PROTOCOL).await
}

/// Sends a request after which the connection is for another protocol.
pub(crate) async fn switch(
    connection: Box<dyn Io>,
    mut request: Request<String>,
    protocol: &'static str,
) -> io::Result<Box<dyn Io>> {
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(connection)).await.map_err(io::Error::other)?;
    let connection = AbortOnDropHandle::new(tokio::spawn(connection.with_upgrades()));
    for (name, value) in [(HOST, "docker.example.com"), (CONNECTION, "Upgrade"), (UPGRADE, protocol)] {
        request.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    let status = response.status();
    if status != StatusCode::SWITCHING_PROTOCOLS {
        let reason = reason(response.into_body()).await;
        return Err(io::Error::other(NotSwitched { protocol, status, reason }));
    }
    let upgraded = hyper::upgrade::on(response).await.map_err(io::Error::other)?;
    // What drives the connection until then has nothing left to do.
    connection.detach();
    Ok(Box::new(TokioIo::new(upgraded)))
}

/// The beginning of an answer, to be put after what it is about.
async fn reason(mut body: Incoming) -> String {
    let mut text = Vec::new();
    while text.len() < REASON {
        let Some(Ok(frame)) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await else { break };
        let Ok(data) = frame.into_data() else { break };
        text.extend_from_slice(&data[..data.len().min(REASON - text.len())]);
    }
    // Engines answer in JSON, and proxies before them in what they like.
    let json = serde_json::from_slice::<serde_json::Value>(&text).ok();
    let message = json.as_ref().and_then(|json| json.get("message")?.as_str());
    let shown = message.map_or_else(|| String::from_utf8_lossy(&text).into_owned(), str::to_owned);
    let shown = shown.trim();
    if shown.is_empty() { String::new() } else { format!(": {shown}") }
}

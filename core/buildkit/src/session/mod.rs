//! The session of a build: what the daemon asks its client for, such as files, tokens and secrets.
//!
//! The client is the gRPC server of a session. Its services are run where all connections are, on a thread that
//! must answer health checks in time: what computes or blocks goes to
//! [`spawn_blocking`](tokio::task::spawn_blocking).

mod auth;
mod content;
mod fsutil;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod heard;
mod local;
mod messages;
mod output;
mod routes;
mod secrets;
mod seeds;
mod ssh;
#[cfg(test)]
mod testing;
mod tunnel;
mod upload;

use std::time::Duration;

use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio_util::task::AbortOnDropHandle;

use crate::client::{CONNECTION_WINDOW, FRAME, STREAM_WINDOW};
use crate::error::Error;
use crate::id::new_id;
use crate::network::{Network, Spawner};
use crate::{Client, Io};
use heard::Heard;
use messages::DiffCopy;
use routes::Routes;

pub use auth::Auth;
pub use content::Contents;
pub use local::{LocalError, Locals};
pub use output::{OpenPipe, Output, Outputs, Pipe};
pub use secrets::Secrets;
pub use ssh::Ssh;
pub use upload::Uploads;

/// The most requests that a daemon may have under way in one session.
const STREAMS: u32 = 1024;
/// The most that headers of a request may have in all: patterns of files come in them.
const HEADERS: u32 = 4 << 20;
/// How long nothing may come from a daemon. It looks after the health of a session every 5 s, and every 22 s at most
/// while it waits for an answer.
const SILENCE: Duration = Duration::from_secs(if cfg!(test) { 2 } else { 40 });
/// When a daemon that says nothing is asked whether it is there (`PING`). It is the client here, of which nobody
/// demands that it is not asked often.
const PING: Duration = Duration::from_millis(if cfg!(test) { 200 } else { 10_000 });
/// How long the answer may take. It may have to wait behind much else, so what counts is that anything comes.
const PONG: Duration = Duration::from_hours(24);

/// What a session offers. Where something is absent, the daemon is not told of it.
#[derive(Debug, Default)]
pub struct Services {
    /// Directories of this machine that are read, such as the context.
    pub locals: Locals,
    /// Where outputs go that are sent to the client.
    pub outputs: Outputs,
    /// Who the user is to registries.
    pub auth: Option<Auth>,
    /// What `--mount=type=secret` shows.
    pub secrets: Option<Secrets>,
    /// What `--mount=type=ssh` shows.
    pub ssh: Option<Ssh>,
    /// A context that comes as standard input.
    pub uploads: Option<Uploads>,
    /// OCI layouts: caches, bases, and images that are exported.
    pub contents: Option<Contents>,
}

impl Services {
    /// All of them by name, and health, which every session has.
    fn into_routes(self) -> Routes {
        let mut routes = Routes::default();
        routes.add(routes::health(), &["Check", "Watch"]);
        if !self.locals.is_empty() {
            routes.add(self.locals.server(), &["DiffCopy"]);
        }
        if !self.outputs.is_empty() {
            routes.add(self.outputs.server(), &["DiffCopy"]);
        }
        if let Some(auth) = self.auth {
            let methods = ["Credentials", "FetchToken", "GetTokenAuthority", "VerifyTokenAuthority"];
            routes.add(auth.server(), &methods);
        }
        if let Some(secrets) = self.secrets {
            routes.add(secrets.server(), &["GetSecret"]);
        }
        if let Some(ssh) = self.ssh {
            routes.add(ssh.server(), &["CheckAgent", "ForwardAgent"]);
        }
        if let Some(uploads) = self.uploads {
            routes.add(uploads.server(), &["Pull"]);
        }
        if let Some(contents) = self.contents {
            let methods = ["Info", "List", "Read", "Status", "ListStatuses", "Write", "Abort"];
            routes.add(contents.server(), &methods);
        }
        routes
    }
}

/// A session that can be opened.
#[derive(Debug)]
pub struct Session {
    id: String,
    name: String,
    shared_key: String,
    services: Services,
}

impl Session {
    /// A session under a random id. Directories that sessions with the same `shared_key` send are compared with what
    /// the daemon has of them.
    pub fn new(name: impl Into<String>, shared_key: impl Into<String>, services: Services) -> Self {
        Self { id: new_id(), name: name.into(), shared_key: shared_key.into(), services }
    }

    /// Its id, by which the daemon's requests name it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Opens it and serves it until what is answered is dropped, or the daemon closes it.
    pub(crate) fn serve(self, client: &Client) -> Result<Serving, Error> {
        // Of its own, so that it can be waited for what services have begun.
        let network = Network::start().map_err(|error| Error::dial(&error))?;
        let spawner = network.spawner();
        let dial = client.dial().clone();
        let control = client.control();
        let routes = self.services.into_routes();
        let mut headers = vec![
            ("X-Docker-Expose-Session-Uuid".to_owned(), self.id),
            ("X-Docker-Expose-Session-Name".to_owned(), header_value(&self.name)),
            ("X-Docker-Expose-Session-Sharedkey".to_owned(), header_value(&self.shared_key)),
        ];
        let methods = routes.methods().map(str::to_owned);
        headers.extend(methods.map(|method| ("X-Docker-Expose-Session-Grpc-Method".to_owned(), method)));
        let serving = async move {
            let connection = match dial.session(&headers).await {
                Some(connection) => connection.map_err(|error| Error::dial(&error))?,
                None => tunnel::open(control, &headers).await?,
            };
            serve(connection, routes, spawner).await
        };
        Ok(Serving { task: AbortOnDropHandle::new(network.handle().spawn(serving)), network })
    }
}

/// A session that is open, or about to be. It is closed when this is dropped.
#[derive(Debug)]
pub(crate) struct Serving {
    task: AbortOnDropHandle<Result<(), Error>>,
    network: Network,
}

impl Serving {
    /// Why the session ended, once it has: a session ends by itself only if something is wrong.
    pub(crate) async fn ended(&mut self) -> Error {
        match (&mut self.task).await {
            Ok(Ok(())) => Error::lost("the builder closed the session"),
            Ok(Err(error)) => error,
            Err(_) => Error::lost("the session ended"),
        }
    }

    /// Closes it, and waits until its services have ended and removed what they did not finish.
    pub(crate) async fn close(self) {
        drop(self.task);
        self.network.end().await;
    }
}

/// Serves one connection until it ends, or until nobody is there: a proxy may keep it open when the daemon is gone.
async fn serve(connection: Box<dyn Io>, routes: Routes, spawner: Spawner) -> Result<(), Error> {
    let service = hyper::service::service_fn(move |request| routes.answer(request));
    http2::Builder::new(spawner)
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEADERS)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG)
        .serve_connection(TokioIo::new(Heard::new(connection, SILENCE)), service)
        .await
        .map_err(|error| Error::session(&error))
}

/// What may stand in a header: other bytes are written as in addresses.
fn header_value(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b' '..=b'~' if byte != b'%' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

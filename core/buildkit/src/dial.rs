//! How a daemon is reached.

use std::fmt;
use std::io;

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

/// A connection: bytes both ways.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// How a daemon is reached.
pub trait Dial: fmt::Debug + Send + Sync + 'static {
    /// A new connection, over which the daemon serves gRPC (HTTP/2 with prior knowledge).
    fn dial(&self) -> BoxFuture<'_, io::Result<Box<dyn Io>>>;

    /// The host that requests name (`:authority`): the server's name where a certificate or a proxy wants one.
    fn authority(&self) -> String {
        "localhost".to_owned()
    }

    /// A new connection over which the daemon is the client of a session, opened with these headers
    /// (`X-Docker-Expose-Session-…`). `None` where sessions are opened by the daemon's own `Control.Session`.
    fn session<'a>(
        &'a self,
        headers: &'a [(String, String)],
    ) -> BoxFuture<'a, Option<io::Result<Box<dyn Io>>>> {
        let _ = headers;
        Box::pin(async { None })
    }
}

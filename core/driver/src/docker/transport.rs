//! The Engine's API over raw connections.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bollard::errors::Error as BollardError;
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use futures::future::BoxFuture;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rbx_buildkit::Io;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::connection::Connect;

/// What requests call the server. Nobody looks it up.
const SERVER: &str = "http://docker.example.com";

/// The API of the Engine at the end of raw connections, of which those at rest are used again. `answer_time` is how
/// long it may take for an answer, in seconds.
pub(super) fn docker(way: Arc<dyn Connect>, answer_time: u64) -> Result<Docker, BollardError> {
    let connector = tower::service_fn(move |_| -> BoxFuture<'static, io::Result<TokioIo<Raw>>> {
        let way = Arc::clone(&way);
        Box::pin(async move { Ok(TokioIo::new(Raw(way.connect().await?))) })
    });
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let send = move |request: BollardRequest| {
        let answer = client.request(request);
        async move { Ok(answer.await?) }
    };
    Docker::connect_with_custom_transport(send, Some(SERVER), answer_time, API_DEFAULT_VERSION)
}

/// A raw connection, as hyper wants it.
struct Raw(Box<dyn Io>);

impl Connection for Raw {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Raw {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Raw {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

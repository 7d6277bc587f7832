//! Streams of gRPC messages that are encoded by who sends them: they go to HTTP/2 as they lie in memory, and what
//! arrives is handed on as the bytes it is.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::task::{self, Context, Poll};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use tonic::codec::{DecodeBuf, Decoder};
use tonic::codegen::{Service, StdError, http};
use tonic::server::NamedService;
use tonic::{Status, Streaming};

/// Bytes of a message that is received, at most: what sessions of BuildKit's own client take.
const MAX_MESSAGE: usize = 4 << 20;
/// Blocks of messages that wait for the connection.
const WAITING: usize = 8;
/// Bytes before each message: a flag for compression, and the message's length.
const PREFIX: usize = 5;

/// Begins a message of `length` bytes, which have to follow.
pub(crate) fn begin_message(buffer: &mut Vec<u8>, length: usize) {
    buffer.reserve(PREFIX + length);
    buffer.push(0);
    let length = u32::try_from(length).expect("messages are made in parts of less than a megabyte");
    buffer.extend_from_slice(&length.to_be_bytes());
}

/// The peer does not read any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the other side is gone")]
pub(crate) struct Gone;

#[derive(Debug)]
enum Outgoing {
    Messages(Bytes),
    End(Status),
}

/// Where the messages of an answer are sent. Sending waits while the connection has enough to do.
#[derive(Debug, Clone)]
pub(crate) struct MessageSender(mpsc::Sender<Outgoing>);

impl MessageSender {
    /// Sends whole messages, each begun by [`begin_message`].
    pub(crate) async fn send(&self, messages: Vec<u8>) -> Result<(), Gone> {
        self.0.send(Outgoing::Messages(messages.into())).await.map_err(|_| Gone)
    }

    /// The same, for threads that may wait.
    pub(crate) fn blocking_send(&self, messages: Vec<u8>) -> Result<(), Gone> {
        self.0.blocking_send(Outgoing::Messages(messages.into())).map_err(|_| Gone)
    }
}

/// A service of one method, `DiffCopy`, by which messages go both ways.
pub(crate) trait DiffCopy: Clone + Send + Sync + 'static {
    /// The service's name, with its package.
    const NAME: &'static str;

    /// Serves one call, given its headers and the messages that arrive; the result is the status that it ends with.
    fn serve(
        self,
        headers: http::HeaderMap,
        incoming: Streaming<Bytes>,
        sender: MessageSender,
    ) -> impl Future<Output = Result<(), Status>> + Send + 'static;

    /// The same as gRPC takes it.
    fn server(self) -> Copying<Self> {
        Copying(self)
    }
}

/// A service of messages both ways as gRPC takes it.
#[derive(Debug, Clone)]
pub(crate) struct Copying<T>(T);

impl<T: DiffCopy> NamedService for Copying<T> {
    const NAME: &'static str = T::NAME;
}

impl<T, B> Service<http::Request<B>> for Copying<T>
where
    T: DiffCopy,
    B: Body + Send + 'static,
    B::Error: Into<StdError>,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let method = request.uri().path().trim_start_matches('/').strip_prefix(T::NAME);
        if method != Some("/DiffCopy") {
            return ready(Ok(Status::unimplemented("").into_http()));
        }
        let service = self.0.clone();
        ready(Ok(answer(request, |headers, incoming, sender| service.serve(headers, incoming, sender))))
    }
}

/// Answers a call by the messages that `serve` sends until it is done, and the status it ends with. It is given the
/// call's headers and the messages that arrive. When the peer goes away, it is dropped where it is.
fn answer<B, S, F>(request: http::Request<B>, serve: S) -> http::Response<tonic::body::Body>
where
    B: Body + Send + 'static,
    B::Error: Into<StdError>,
    S: FnOnce(http::HeaderMap, Streaming<Bytes>, MessageSender) -> F,
    F: Future<Output = Result<(), Status>> + Send + 'static,
{
    let (parts, body) = request.into_parts();
    let incoming = Streaming::new_request(Raw, body, None, Some(MAX_MESSAGE));
    let (sender, receiver) = mpsc::channel(WAITING);
    let work = serve(parts.headers, incoming, MessageSender(sender.clone()));
    let task = tokio::spawn(async move {
        let status = work.await.err().unwrap_or_else(|| Status::ok(""));
        let _ = sender.send(Outgoing::End(status)).await;
    });
    let body = Answer { receiver, ended: false, _task: AbortOnDropHandle::new(task) };
    let mut response = http::Response::new(tonic::body::Body::new(body));
    let kind = http::HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    response
}

/// Messages as they are.
#[derive(Debug)]
struct Raw;

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, source: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(source.copy_to_bytes(source.remaining())))
    }
}

struct Answer {
    receiver: mpsc::Receiver<Outgoing>,
    ended: bool,
    _task: AbortOnDropHandle<()>,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let status = match task::ready!(self.receiver.poll_recv(context)) {
            Some(Outgoing::Messages(messages)) => return Poll::Ready(Some(Ok(Frame::data(messages)))),
            Some(Outgoing::End(status)) => status,
            // Only where the task panicked.
            None => Status::internal("the service ended early"),
        };
        self.ended = true;
        let mut trailers = http::HeaderMap::new();
        Poll::Ready(Some(status.add_header(&mut trailers).map(|()| Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

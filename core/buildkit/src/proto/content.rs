//! `containerd.services.content.v1`, as far as sessions use it. Fields that nobody reads are left out: labels, and the
//! masks of what may be changed.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

pub(crate) use bollard_buildkit_proto::google::protobuf::Timestamp;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::server::{Grpc, NamedService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::{Service, service_fn};

/// What is known of content.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Info {
    #[prost(string, tag = "1")]
    pub(crate) digest: String,
    #[prost(int64, tag = "2")]
    pub(crate) size: i64,
    #[prost(message, optional, tag = "3")]
    pub(crate) created_at: Option<Timestamp>,
    #[prost(message, optional, tag = "4")]
    pub(crate) updated_at: Option<Timestamp>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct InfoRequest {
    #[prost(string, tag = "1")]
    pub(crate) digest: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct InfoResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) info: Option<Info>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ListContentRequest {
    #[prost(string, repeated, tag = "1")]
    pub(crate) filters: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ListContentResponse {
    #[prost(message, repeated, tag = "1")]
    pub(crate) info: Vec<Info>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ReadContentRequest {
    #[prost(string, tag = "1")]
    pub(crate) digest: String,
    /// The first byte; from the beginning if it is negative.
    #[prost(int64, tag = "2")]
    pub(crate) offset: i64,
    /// Bytes; all that follow if it is not positive.
    #[prost(int64, tag = "3")]
    pub(crate) size: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ReadContentResponse {
    /// The place of the data within what was asked for.
    #[prost(int64, tag = "1")]
    pub(crate) offset: i64,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) data: bytes::Bytes,
}

/// How far something is that is being written.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Ingest {
    #[prost(message, optional, tag = "1")]
    pub(crate) started_at: Option<Timestamp>,
    #[prost(message, optional, tag = "2")]
    pub(crate) updated_at: Option<Timestamp>,
    #[prost(string, tag = "3")]
    pub(crate) reference: String,
    #[prost(int64, tag = "4")]
    pub(crate) offset: i64,
    #[prost(int64, tag = "5")]
    pub(crate) total: i64,
    #[prost(string, tag = "6")]
    pub(crate) expected: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct StatusRequest {
    #[prost(string, tag = "1")]
    pub(crate) reference: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) status: Option<Ingest>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ListStatusesRequest {
    #[prost(string, repeated, tag = "1")]
    pub(crate) filters: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ListStatusesResponse {
    #[prost(message, repeated, tag = "1")]
    pub(crate) statuses: Vec<Ingest>,
}

/// What a message of a write is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum WriteAction {
    Stat = 0,
    Write = 1,
    Commit = 2,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct WriteContentRequest {
    #[prost(enumeration = "WriteAction", tag = "1")]
    pub(crate) action: i32,
    /// What is written, in the first message.
    #[prost(string, tag = "2")]
    pub(crate) reference: String,
    /// Bytes in all, where that is known.
    #[prost(int64, tag = "3")]
    pub(crate) total: i64,
    /// The digest of the whole, where that is known.
    #[prost(string, tag = "4")]
    pub(crate) expected: String,
    #[prost(int64, tag = "5")]
    pub(crate) offset: i64,
    #[prost(bytes = "bytes", tag = "6")]
    pub(crate) data: bytes::Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct WriteContentResponse {
    #[prost(enumeration = "WriteAction", tag = "1")]
    pub(crate) action: i32,
    #[prost(message, optional, tag = "2")]
    pub(crate) started_at: Option<Timestamp>,
    #[prost(message, optional, tag = "3")]
    pub(crate) updated_at: Option<Timestamp>,
    /// Bytes written so far.
    #[prost(int64, tag = "4")]
    pub(crate) offset: i64,
    #[prost(int64, tag = "5")]
    pub(crate) total: i64,
    /// The digest of what was written so far.
    #[prost(string, tag = "6")]
    pub(crate) digest: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct AbortRequest {
    #[prost(string, tag = "1")]
    pub(crate) reference: String,
}

/// The service's methods, of which a session has no `Update` and no `Delete`: the daemon changes nothing that is
/// there.
#[tonic::async_trait]
pub(crate) trait Content: Send + Sync + 'static {
    async fn info(&self, request: Request<InfoRequest>) -> Result<Response<InfoResponse>, Status>;

    async fn list(
        &self,
        request: Request<ListContentRequest>,
    ) -> Result<Response<Messages<ListContentResponse>>, Status>;

    async fn read(
        &self,
        request: Request<ReadContentRequest>,
    ) -> Result<Response<Messages<ReadContentResponse>>, Status>;

    async fn status(&self, request: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status>;

    async fn list_statuses(
        &self,
        request: Request<ListStatusesRequest>,
    ) -> Result<Response<ListStatusesResponse>, Status>;

    async fn write(
        &self,
        request: Request<Streaming<WriteContentRequest>>,
    ) -> Result<Response<Messages<WriteContentResponse>>, Status>;

    async fn abort(&self, request: Request<AbortRequest>) -> Result<Response<()>, Status>;
}

/// The messages of an answer.
pub(crate) type Messages<T> = BoxStream<'static, Result<T, Status>>;

/// The service by its name.
pub(crate) struct ContentServer<T>(Arc<T>);

/// The largest message that is read, in bytes: clients of content send up to 8 MiB of it at a time.
const LARGEST: usize = 16 << 20;

impl<T> ContentServer<T> {
    pub(crate) fn new(inner: T) -> Self {
        Self(Arc::new(inner))
    }
}

impl<T> Clone for ContentServer<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> NamedService for ContentServer<T> {
    const NAME: &'static str = "containerd.services.content.v1.Content";
}

impl<T, B> Service<http::Request<B>> for ContentServer<T>
where
    T: Content,
    B: tonic::codegen::Body + Send + 'static,
    B::Error: Into<tonic::codegen::StdError> + Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let inner = self.0.clone();
        let method = request.uri().path().strip_prefix("/containerd.services.content.v1.Content/");
        // One of these is used; each is as long as a method's name.
        macro_rules! answer {
            ($kind:ident, $method:ident) => {
                Box::pin(async move {
                    let method = service_fn(move |request| {
                        let inner = inner.clone();
                        async move { inner.$method(request).await }
                    });
                    let mut grpc =
                        Grpc::new(ProstCodec::default()).apply_max_message_size_config(Some(LARGEST), None);
                    Ok(grpc.$kind(method, request).await)
                })
            };
        }
        match method {
            Some("Info") => answer!(unary, info),
            Some("List") => answer!(server_streaming, list),
            Some("Read") => answer!(server_streaming, read),
            Some("Status") => answer!(unary, status),
            Some("ListStatuses") => answer!(unary, list_statuses),
            Some("Write") => answer!(streaming, write),
            Some("Abort") => answer!(unary, abort),
            _ => {
                let status = Status::unimplemented("content of a session is neither changed nor removed");
                Box::pin(async move { Ok(status.into_http()) })
            }
        }
    }
}

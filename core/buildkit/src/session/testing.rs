//! Services and their clients in one process.

use std::convert::Infallible;

use hyper_util::rt::TokioIo;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::server::NamedService;
use tonic::transport::{Channel, Endpoint, Server};
use tower::{Service, service_fn};

/// A channel to a service over a connection that is no more than memory.
pub(crate) fn channel<S>(service: S) -> Channel
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>
        + NamedService
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
{
    let (client, server) = tokio::io::duplex(1 << 16);
    let incoming = tokio_stream::once(Ok::<_, std::io::Error>(server));
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
    let mut client = Some(client);
    let connector = service_fn(move |_| {
        let client = client.take().map(TokioIo::new);
        async move { client.ok_or_else(|| std::io::Error::other("one connection is all there is")) }
    });
    Endpoint::from_static("http://session").connect_with_connector_lazy(connector)
}

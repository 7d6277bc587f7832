//! The services of a session by name.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use hyper::body::Incoming;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::server::NamedService;
use tonic::{Status, async_trait};
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceExt};

use crate::proto::health::health_check_response::ServingStatus;
use crate::proto::health::health_server::{Health, HealthServer};
use crate::proto::health::{HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse};

type Route = BoxCloneSyncService<Request<Incoming>, Response<Body>, Infallible>;

/// The services of a session by name, and the methods that the daemon is told of. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Routes {
    services: Arc<BTreeMap<&'static str, Route>>,
    methods: Arc<Vec<String>>,
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.methods.iter()).finish()
    }
}

impl Routes {
    /// Adds a service, and tells the daemon of these of its methods.
    pub(super) fn add<S>(&mut self, service: S, methods: &[&str])
    where
        S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        let urls = methods.iter().map(|method| format!("/{}/{method}", S::NAME));
        Arc::make_mut(&mut self.methods).extend(urls);
        Arc::make_mut(&mut self.services).insert(S::NAME, BoxCloneSyncService::new(service));
    }

    /// The methods that the daemon is told of, `/package.Service/Method`.
    pub(super) fn methods(&self) -> impl Iterator<Item = &str> {
        self.methods.iter().map(String::as_str)
    }

    /// Has the service that is meant answer.
    pub(super) fn answer(
        &self,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<Body>, Infallible>> + Send + use<> {
        let name = request.uri().path().trim_start_matches('/').split('/').next().unwrap_or_default();
        let service = self.services.get(name).cloned();
        async move {
            match service {
                Some(service) => service.oneshot(request).await,
                None => Ok(Status::unimplemented("unknown service").into_http()),
            }
        }
    }
}

/// The service that says the session is alive.
pub(super) fn health() -> HealthServer<Alive> {
    HealthServer::new(Alive)
}

/// A session is alive as long as it can say so.
pub(super) struct Alive;

#[async_trait]
impl Health for Alive {
    async fn check(
        &self,
        _: tonic::Request<HealthCheckRequest>,
    ) -> Result<tonic::Response<HealthCheckResponse>, Status> {
        Ok(tonic::Response::new(serving()))
    }

    async fn list(
        &self,
        _: tonic::Request<HealthListRequest>,
    ) -> Result<tonic::Response<HealthListResponse>, Status> {
        let statuses = [(String::new(), serving())].into();
        Ok(tonic::Response::new(HealthListResponse { statuses }))
    }

    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn watch(
        &self,
        _: tonic::Request<HealthCheckRequest>,
    ) -> Result<tonic::Response<Self::WatchStream>, Status> {
        // Nothing changes as long as the session is open.
        let states = stream::iter([Ok(serving())]).chain(stream::pending());
        Ok(tonic::Response::new(states.boxed()))
    }
}

fn serving() -> HealthCheckResponse {
    HealthCheckResponse { status: ServingStatus::Serving.into() }
}

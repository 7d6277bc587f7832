//! How the nodes of builders are: asked side by side, without a connection to `BuildKit`.

use std::time::Duration;

use futures::StreamExt as _;
use futures::stream;
use rbx_driver::docker::{ContainerState, Endpoint, EndpointChoice, Engine, context_endpoint, context_names};
use rbx_driver::{DriverError, DriverKind, Features, Status};
use rbx_platform::Platform;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::choose::{Builder, Kind};
use crate::error::BuilderError;
use crate::group::Node;
use crate::options;

/// How many builders are asked at once, and how many nodes of each. Who has more waits in turns.
const AT_ONCE: usize = 64;

/// A builder whose nodes were asked.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The builder, with the name of its driver if its endpoint answered.
    pub builder: Builder,
    /// Why nothing could be learned of it.
    pub error: Option<String>,
    /// Its nodes; none if there is an error.
    pub nodes: Vec<LoadedNode>,
}

/// A node that was asked.
#[derive(Debug, Clone)]
pub struct LoadedNode {
    /// The node.
    pub node: Node,
    /// How it is; an error is why that could not be learned.
    pub status: Result<Status, String>,
    /// The version of what builds there; empty if it is not known.
    pub version: String,
    /// The platforms that are known to be built there.
    pub platforms: Vec<Platform>,
    /// What its driver can do.
    pub features: Features,
}

/// What there is to know of the embedded builder.
#[derive(Debug, Clone)]
pub struct Embedded {
    /// Where its store is.
    pub store: String,
    /// The version of this program.
    pub version: String,
    /// The platforms that it builds.
    pub platforms: Vec<Platform>,
}

/// Asks the nodes of builders, side by side; none for longer than `limit`. What there is to know of the embedded
/// builder is asked if it is one of them.
pub async fn load(
    builders: Vec<Builder>,
    endpoints: &EndpointChoice,
    embedded: &dyn Fn() -> Embedded,
    limit: Duration,
) -> Vec<Loaded> {
    let asked = builders.into_iter().map(|builder| load_one(builder, endpoints, embedded, limit));
    stream::iter(asked).buffered(AT_ONCE).collect().await
}

async fn load_one(
    mut builder: Builder,
    endpoints: &EndpointChoice,
    embedded: &dyn Fn() -> Embedded,
    limit: Duration,
) -> Loaded {
    let asked = match builder.kind {
        Kind::Embedded => Ok(vec![load_embedded(&mut builder, embedded())]),
        Kind::Context => load_context(&mut builder, endpoints, limit).await,
        Kind::Instance => match builder.known_driver() {
            Some(driver) if driver.is_creatable() => {
                let nodes = builder.nodes.iter().map(|node| load_node(driver, node, endpoints, limit));
                Ok(stream::iter(nodes).buffered(AT_ONCE).collect().await)
            }
            Some(driver) => {
                Err(format!("additional instances of driver {:?} cannot be created", driver.name()))
            }
            None => Err(format!("failed to find driver {:?}", builder.driver)),
        },
    };
    match asked {
        Ok(nodes) => Loaded { builder, error: None, nodes },
        Err(error) => Loaded { builder, error: Some(error), nodes: Vec::new() },
    }
}

fn load_embedded(builder: &mut Builder, embedded: Embedded) -> LoadedNode {
    for node in &mut builder.nodes {
        node.endpoint.clone_from(&embedded.store);
    }
    LoadedNode {
        node: builder.nodes.first().cloned().unwrap_or_default(),
        status: Ok(Status::Running),
        version: embedded.version,
        platforms: embedded.platforms,
        features: DriverKind::Embedded.features(true),
    }
}

async fn load_context(
    builder: &mut Builder,
    endpoints: &EndpointChoice,
    limit: Duration,
) -> Result<Vec<LoadedNode>, String> {
    let name = builder.name.clone();
    let ask = async {
        let engine = Engine::connect(&context_endpoint(endpoints, &name)?)?;
        engine.info().await
    };
    let info = within(limit, ask).await?;
    DriverKind::Docker.name().clone_into(&mut builder.driver);
    let native = Platform { os: info.os, architecture: info.architecture, variant: None, os_version: None };
    Ok(vec![LoadedNode {
        node: builder.nodes.first().cloned().unwrap_or_default(),
        status: Ok(Status::Running),
        version: String::new(),
        platforms: vec![native.normalized()],
        features: DriverKind::Docker.features(info.containerd_store),
    }])
}

async fn load_node(
    driver: DriverKind,
    node: &Node,
    endpoints: &EndpointChoice,
    limit: Duration,
) -> LoadedNode {
    let mut platforms = node.platforms();
    let status = match options::check(driver, node) {
        Err(reason) => Err(reason),
        Ok(()) => match driver {
            DriverKind::DockerContainer => {
                let ask = async {
                    let engine = engine_of(node, endpoints)?;
                    let state = engine.container(&container_name(node)).await?;
                    // What runs there runs what the machine runs.
                    let info = match state {
                        ContainerState::Running => Some(engine.info().await?),
                        _ => None,
                    };
                    Ok((state, info))
                };
                within(limit, ask).await.map(|(state, info)| {
                    platforms.extend(info.map(|info| {
                        let (os, architecture) = (info.os, info.architecture);
                        Platform { os, architecture, variant: None, os_version: None }.normalized()
                    }));
                    match state {
                        ContainerState::Missing => Status::Inactive,
                        ContainerState::Stopped => Status::Stopped,
                        ContainerState::Running => Status::Running,
                    }
                })
            }
            DriverKind::Remote => Ok(listens(&node.endpoint, limit).await),
            DriverKind::Kubernetes | DriverKind::Docker | DriverKind::Embedded => {
                Err(BuilderError::NotThere { driver, what: "ask its nodes" }.to_string())
            }
        },
    };
    let mut features = driver.features(true);
    features.default_load = node.driver_opts.iter().flatten().any(|(key, value)| {
        key == "default-load" && matches!(value.as_bytes().first(), Some(b'1' | b't' | b'T'))
    });
    LoadedNode { node: node.clone(), status, version: String::new(), platforms, features }
}

async fn within<T>(limit: Duration, ask: impl Future<Output = Result<T, DriverError>>) -> Result<T, String> {
    match timeout(limit, ask).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err("context deadline exceeded".to_owned()),
    }
}

/// Whether somebody listens at an address; who it is, is not asked.
async fn listens(address: &str, limit: Duration) -> Status {
    let connected = match address.split_once("://") {
        Some(("unix", path)) => timeout(limit, UnixStream::connect(path)).await.is_ok_and(|it| it.is_ok()),
        Some(("tcp", address)) => {
            timeout(limit, TcpStream::connect(address)).await.is_ok_and(|it| it.is_ok())
        }
        _ => false,
    };
    if connected { Status::Running } else { Status::Inactive }
}

/// The Engine of a node: a context's, or one at an address.
fn engine_of(node: &Node, endpoints: &EndpointChoice) -> Result<Engine, DriverError> {
    let name = &node.endpoint;
    let endpoint = if context_names(endpoints)?.contains(name) {
        context_endpoint(endpoints, name)?
    } else {
        Endpoint::at(name)
    };
    Engine::connect(&endpoint)
}

/// The container of a node, as buildx names it.
fn container_name(node: &Node) -> String {
    format!("buildx_buildkit_{}", node.name)
}

/// Stops what a node runs in, if anything runs.
pub async fn stop_node(
    driver: DriverKind,
    node: &Node,
    endpoints: &EndpointChoice,
) -> Result<(), BuilderError> {
    match driver {
        DriverKind::DockerContainer => {
            Ok(engine_of(node, endpoints)?.stop_container(&container_name(node)).await?)
        }
        DriverKind::Docker | DriverKind::Embedded | DriverKind::Remote | DriverKind::Kubernetes => Ok(()),
    }
}

/// Removes what a node runs in, with its state unless `keep_state`.
pub async fn remove_node(
    driver: DriverKind,
    node: &Node,
    endpoints: &EndpointChoice,
    keep_state: bool,
) -> Result<(), BuilderError> {
    match driver {
        DriverKind::DockerContainer => {
            let (engine, name) = (engine_of(node, endpoints)?, container_name(node));
            if engine.container(&name).await? == ContainerState::Missing {
                return Ok(());
            }
            engine.stop_container(&name).await?;
            engine.remove_container(&name).await?;
            if !keep_state {
                engine.remove_volume(&format!("{name}_state")).await?;
            }
            Ok(())
        }
        DriverKind::Kubernetes => Err(BuilderError::NotThere { driver, what: "remove its nodes" }),
        DriverKind::Docker | DriverKind::Embedded | DriverKind::Remote => Ok(()),
    }
}

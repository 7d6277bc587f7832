//! How the nodes of builders are: asked side by side.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream;
use rbx_driver::docker::EndpointChoice;
use rbx_driver::{Details, Driver, DriverError, DriverKind, Features, Status, Surroundings, open};
use rbx_platform::Platform;
use tokio::time::timeout;

use crate::choose::{Builder, Kind};
use crate::error::BuilderError;
use crate::group::Node;

/// What is said of who does not answer in time, in Go's words.
const LATE: &str = "context deadline exceeded";
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
    /// What else there is to know of it. Something that runs and does not answer is an error, and runs.
    pub details: Details,
}

impl LoadedNode {
    fn new(node: &Node, asked: Result<Details, String>) -> Self {
        let status = match &asked {
            Ok(Details { error: Some(error), .. }) | Err(error) => Err(error.clone()),
            Ok(details) => Ok(details.status),
        };
        Self { node: node.clone(), status, details: asked.unwrap_or_default() }
    }
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
                let nodes =
                    builder.nodes.iter().map(|node| load_node(driver, &builder, node, endpoints, limit));
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
    let details = Details {
        version: embedded.version,
        platforms: embedded.platforms,
        ..Details::of(Status::Running, DriverKind::Embedded.features(true))
    };
    LoadedNode::new(&builder.nodes.first().cloned().unwrap_or_default(), Ok(details))
}

async fn load_context(
    builder: &mut Builder,
    endpoints: &EndpointChoice,
    limit: Duration,
) -> Result<Vec<LoadedNode>, String> {
    let node = builder.nodes.first().cloned().unwrap_or_default();
    let ask = async {
        let driver = opened(DriverKind::Docker, builder, &node, endpoints)?;
        driver.details().await
    };
    let asked = match timeout(limit, ask).await {
        Ok(Ok(details)) => Ok(details),
        // An Engine is there, and so it is known what the builder is.
        Ok(Err(error @ DriverError::BuildKit { .. })) => Err(error.to_string()),
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err(LATE.to_owned()),
    };
    DriverKind::Docker.name().clone_into(&mut builder.driver);
    Ok(vec![LoadedNode::new(&node, asked)])
}

async fn load_node(
    driver: DriverKind,
    builder: &Builder,
    node: &Node,
    endpoints: &EndpointChoice,
    limit: Duration,
) -> LoadedNode {
    let ask = async {
        if driver == DriverKind::Kubernetes {
            return Err(BuilderError::NotThere { driver, what: "ask its nodes" }.to_string());
        }
        let details = async { opened(driver, builder, node, endpoints)?.details().await };
        details.await.map_err(|error: DriverError| error.to_string())
    };
    let asked = timeout(limit, ask).await.unwrap_or_else(|_| match driver {
        // Nobody has to be there.
        DriverKind::Remote => {
            let features = Features { default_load: node.default_load(), ..driver.features(true) };
            Ok(Details::of(Status::Inactive, features))
        }
        _ => Err(LATE.to_owned()),
    });
    LoadedNode::new(node, asked)
}

/// The driver of a node that is asked, stopped or removed, and not booted.
fn opened(
    driver: DriverKind,
    builder: &Builder,
    node: &Node,
    endpoints: &EndpointChoice,
) -> Result<Arc<dyn Driver>, DriverError> {
    open(driver, &node.settings(builder, endpoints)?, &Surroundings::default())
}

/// Stops what a node runs in, if anything runs.
pub async fn stop_node(
    driver: DriverKind,
    builder: &Builder,
    node: &Node,
    endpoints: &EndpointChoice,
) -> Result<(), BuilderError> {
    match driver {
        DriverKind::Embedded | DriverKind::Kubernetes => Ok(()),
        _ => Ok(opened(driver, builder, node, endpoints)?.stop().await?),
    }
}

/// Removes what a node runs in, with its state unless `keep_state`.
pub async fn remove_node(
    driver: DriverKind,
    builder: &Builder,
    node: &Node,
    endpoints: &EndpointChoice,
    keep_state: bool,
) -> Result<(), BuilderError> {
    match driver {
        DriverKind::Kubernetes => Err(BuilderError::NotThere { driver, what: "remove its nodes" }),
        DriverKind::Embedded => Ok(()),
        _ => Ok(opened(driver, builder, node, endpoints)?.remove(keep_state).await?),
    }
}

//! Making builders, and changing their nodes.

use std::path::PathBuf;

use rbx_driver::DriverKind;
use rbx_driver::docker::{EndpointChoice, context_endpoint, context_names, current_context, parse_address};
use rbx_platform::Platform;

use crate::daemon::{Configuration, flags};
use crate::error::BuilderError;
use crate::group::{self, NodeGroup};
use crate::options;
use crate::state::Change;
use crate::{DEFAULT_CONTEXT, EMBEDDED, endpoint_key};

/// What a builder, or one node of it, is to be.
#[derive(Debug, Clone, Default)]
pub struct Creation {
    /// The builder; a name that is free if `None`.
    pub name: Option<String>,
    /// The driver; found by the endpoint if `None`.
    pub driver: Option<String>,
    /// The node; the next free name if `None`.
    pub node: Option<String>,
    /// The platforms that the node has, each a list with commas.
    pub platforms: Vec<String>,
    /// Options for the driver, each a list with commas.
    pub driver_opts: Vec<String>,
    /// Flags of the daemon, as a shell has words.
    pub flags: String,
    /// The daemon's configuration; the one that the state has for all builders if `None`.
    pub configuration: Option<PathBuf>,
    /// A context of docker, or an address; the current endpoint if `None`.
    pub endpoint: Option<String>,
    /// Adds a node to a builder that is there.
    pub append: bool,
    /// docker's endpoints.
    pub endpoints: EndpointChoice,
    /// `BUILDKIT_HOST`: an address that is taken where nothing else is said.
    pub buildkit_host: Option<String>,
}

/// A builder as it is to be; nothing is written yet.
#[derive(Debug, Clone)]
pub struct Created {
    /// The builder.
    pub group: NodeGroup,
    /// Something changed that a node which runs has to be started again for.
    pub restart: bool,
}

/// Works out what a builder becomes. Asks no node.
pub fn create(state: &Change<'_>, creation: &Creation) -> Result<Created, BuilderError> {
    let given = creation.name.as_deref().filter(|name| !name.is_empty());
    match given {
        Some(name @ (DEFAULT_CONTEXT | EMBEDDED)) => {
            return Err(BuilderError::refused(format!(
                "{name} is a reserved name and cannot be used to identify builder instance"
            )));
        }
        None if creation.append => return Err(BuilderError::refused("append requires a builder name")),
        _ => {}
    }
    let name = match given {
        Some(name) => name.to_owned(),
        None => state.free_name()?,
    };
    if !creation.append && context_names(&creation.endpoints)?.contains(&name) {
        return Err(BuilderError::refused(format!(
            "instance name {name:?} already exists as context builder"
        )));
    }
    let group = state.state().group(&name)?;
    if group.is_none() && creation.append {
        return Err(BuilderError::refused(format!("failed to find instance {name:?} for append")));
    }

    let driver_name = driver_name(creation, group.as_ref());
    if let Some(group) = &group {
        if creation.node.as_deref().is_none_or(str::is_empty) && !creation.append {
            return Err(BuilderError::refused(format!(
                "existing instance for {name:?} but no append mode, specify the node name to make changes for \
                 existing instances"
            )));
        }
        if driver_name != group.driver {
            let driver = &group.driver;
            return Err(BuilderError::refused(format!(
                "existing instance for {name:?} but has mismatched driver {driver:?}"
            )));
        }
    }
    let driver = DriverKind::of(&driver_name)
        .ok_or_else(|| BuilderError::refused(format!("failed to find driver {driver_name:?}")))?;
    if !driver.is_creatable() {
        return Err(BuilderError::refused(format!(
            "additional instances of driver {driver_name:?} cannot be created"
        )));
    }

    let driver_opts = options::parse(&creation.driver_opts)?;
    let standard = state.state().directory().join("buildkitd.default.toml");
    let configuration = match creation.configuration.clone().or_else(|| standard.exists().then_some(standard))
    {
        Some(path) => Some(Configuration::read(&path)?),
        None => None,
    };
    let flags = flags(&creation.flags, driver, driver_opts.as_ref(), configuration.as_ref())?;
    let (endpoint, endpoint_given) = endpoint(creation, driver)?;
    let mut platforms = Vec::new();
    for text in creation.platforms.iter().flat_map(|list| list.split(',')) {
        let platform =
            if text.eq_ignore_ascii_case("local") { Ok(Platform::host()) } else { Platform::parse(text) };
        platforms.push(platform.map_err(|error| BuilderError::refused(error.to_string()))?);
    }
    let files = configuration.map(Configuration::files).transpose()?;

    let mut group = group.unwrap_or_else(|| NodeGroup::new(&name, &driver_name));
    let node = creation.node.clone().filter(|name| !name.is_empty());
    let append = creation.append;
    let change =
        group::Change { node, endpoint, endpoint_given, platforms, append, flags, files, driver_opts };
    let restart = group.update(change)?;
    for node in &group.nodes {
        options::check(driver, node).map_err(|reason| BuilderError::Node {
            builder: group.name.clone(),
            node: node.name.clone(),
            reason,
        })?;
    }
    Ok(Created { group, restart })
}

/// The driver that was named, or that fits what else was said.
fn driver_name(creation: &Creation, group: Option<&NodeGroup>) -> String {
    if let Some(driver) = creation.driver.as_ref().filter(|driver| !driver.is_empty()) {
        return driver.clone();
    }
    if let Some(group) = group {
        return group.driver.clone();
    }
    let endpoint = creation.endpoint.as_deref().or(creation.buildkit_host.as_deref());
    let driver = if endpoint.is_some_and(|endpoint| scheme_of_daemon(endpoint).is_ok()) {
        DriverKind::Remote
    } else {
        DriverKind::DockerContainer
    };
    driver.name().to_owned()
}

/// Where the node is, and whether that was said.
fn endpoint(creation: &Creation, driver: DriverKind) -> Result<(String, bool), BuilderError> {
    let choice = &creation.endpoints;
    match (driver, &creation.endpoint) {
        (DriverKind::Kubernetes, _) => Err(BuilderError::NotThere { driver, what: "make builders" }),
        (DriverKind::Remote, given) => {
            let endpoint = given.as_ref().or(creation.buildkit_host.as_ref());
            let endpoint = endpoint.ok_or_else(|| BuilderError::refused("no remote endpoint provided"))?;
            scheme_of_daemon(endpoint)
                .map_err(|scheme| BuilderError::refused(format!("unrecognized url scheme {scheme}")))?;
            Ok((endpoint.clone(), true))
        }
        (_, Some(given)) if given == DEFAULT_CONTEXT => Ok((context_endpoint(choice, given)?.host, true)),
        (_, Some(given)) if context_names(choice)?.contains(given) => Ok((given.clone(), true)),
        (_, Some(given)) => parse_address(given)
            .map(|address| (address, true))
            .map_err(|error| BuilderError::refused(format!("failed to parse endpoint {given}: {error}"))),
        (_, None) => {
            if current_context(choice)? == DEFAULT_CONTEXT
                && context_endpoint(choice, DEFAULT_CONTEXT)?.tls.is_some()
            {
                return Err(BuilderError::refused(
                    "could not create a builder instance with TLS data loaded from environment. Please use \
                     `docker context create <context-name>` to create a context for current environment and then \
                     create a builder instance with context set to <context-name>",
                ));
            }
            Ok((endpoint_key(choice)?, false))
        }
    }
}

/// The scheme of a daemon's address; an error is one that no daemon has.
fn scheme_of_daemon(endpoint: &str) -> Result<&str, &str> {
    let scheme = endpoint.split_once(':').map_or("", |(scheme, _)| scheme);
    match scheme {
        "docker-container" | "kube-pod" | "npipe" | "ssh" | "tcp" | "unix" => Ok(scheme),
        _ => Err(scheme),
    }
}

/// Takes a node out of a builder, and forgets its builds.
pub fn leave(state: &Change<'_>, name: &str, node: &str) -> Result<(), BuilderError> {
    if name.is_empty() {
        return Err(BuilderError::refused("leave requires instance name"));
    }
    if node.is_empty() {
        return Err(BuilderError::refused("leave requires node name"));
    }
    let mut group = state
        .state()
        .group(name)?
        .ok_or_else(|| BuilderError::refused(format!("failed to find instance {name:?} for leave")))?;
    group.leave(node)?;
    state.forget_builds(name, node)?;
    state.save(&group)
}

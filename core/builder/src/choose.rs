//! Which builders there are, and which one is meant.

use std::fmt;

use jiff::Timestamp;
use rbx_driver::DriverKind;
use rbx_driver::docker::{
    EndpointChoice, context_endpoint, context_names, current_context, resolve_endpoint,
};

use crate::error::BuilderError;
use crate::group::Node;
use crate::state::{Scope, State};
use crate::{DEFAULT_CONTEXT, EMBEDDED};

/// A builder.
#[derive(Debug, Clone, PartialEq)]
pub struct Builder {
    /// The name.
    pub name: String,
    /// Where it comes from.
    pub kind: Kind,
    /// The name of the driver; empty where only asking its endpoint tells.
    pub driver: String,
    /// Its nodes.
    pub nodes: Vec<Node>,
    /// When it was used last, or changed.
    pub last_activity: Option<Timestamp>,
}

/// Where a builder comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It was created.
    Instance,
    /// It is a context of docker.
    Context,
    /// It is this program.
    Embedded,
}

/// The builder that is meant.
#[derive(Debug, Clone, PartialEq)]
pub struct Chosen {
    /// The builder.
    pub builder: Builder,
    /// Why it is this one.
    pub why: Why,
}

/// Why a builder was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// By `--builder`, or as the operand of a command.
    Named,
    /// By `BUILDX_BUILDER`.
    Variable,
    /// By `use`.
    Used(Scope),
    /// Nobody chose another.
    Default,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Named => "chosen by --builder",
            Self::Variable => "chosen by BUILDX_BUILDER",
            Self::Used(Scope::Current) => "chosen by use",
            Self::Used(Scope::Default) => "chosen by use --default",
            Self::Used(Scope::Global) => "chosen by use --global",
            Self::Default => "the default",
        })
    }
}

impl Builder {
    /// The one that needs no creating.
    pub fn embedded() -> Self {
        Self {
            name: EMBEDDED.to_owned(),
            kind: Kind::Embedded,
            driver: DriverKind::Embedded.name().to_owned(),
            nodes: vec![Node::of_context(EMBEDDED)],
            last_activity: None,
        }
    }

    /// The driver, if it is known without asking and this program knows it.
    pub fn known_driver(&self) -> Option<DriverKind> {
        DriverKind::of(&self.driver)
    }
}

/// The endpoint of docker that is current, as the state has it: the context's name, or for `default` the address.
pub fn endpoint_key(endpoints: &EndpointChoice) -> Result<String, BuilderError> {
    let context = current_context(endpoints)?;
    if context != DEFAULT_CONTEXT {
        return Ok(context);
    }
    context_endpoint(endpoints, DEFAULT_CONTEXT)
        .map(|endpoint| endpoint.host)
        .map_err(|_| BuilderError::refused(format!("docker endpoint for {DEFAULT_CONTEXT:?} not found")))
}

/// The builder of a name.
pub fn builder(state: &State, endpoints: &EndpointChoice, name: &str) -> Result<Builder, BuilderError> {
    if name == EMBEDDED {
        return Ok(Builder::embedded());
    }
    match state.group(name) {
        Ok(Some(group)) => {
            return Ok(Builder {
                last_activity: state.last_activity(&group.name),
                name: group.name,
                kind: Kind::Instance,
                driver: group.driver,
                nodes: group.nodes,
            });
        }
        Ok(None) | Err(BuilderError::InvalidName(_)) => {}
        Err(error) => return Err(error),
    }
    if context_names(endpoints)?.iter().any(|context| context == name) {
        return Ok(of_context(state, name));
    }
    Err(BuilderError::NotFound(name.to_owned()))
}

fn of_context(state: &State, name: &str) -> Builder {
    Builder {
        name: name.to_owned(),
        kind: Kind::Context,
        driver: String::new(),
        nodes: vec![Node::of_context(name)],
        last_activity: state.last_activity(name),
    }
}

/// All builders: those that were created, then contexts of docker, then the embedded one. Of a name that two have,
/// the first is meant; only nothing else is ever meant by [`EMBEDDED`].
pub fn builders(state: &State, endpoints: &EndpointChoice) -> Result<Vec<Builder>, BuilderError> {
    let mut builders: Vec<Builder> = Vec::new();
    for group in state.groups()?.into_iter().filter(|group| group.name != EMBEDDED) {
        builders.push(Builder {
            last_activity: state.last_activity(&group.name),
            name: group.name,
            kind: Kind::Instance,
            driver: group.driver,
            nodes: group.nodes,
        });
    }
    let mut contexts = context_names(endpoints)?;
    contexts.sort();
    for name in contexts {
        if name != EMBEDDED && !builders.iter().any(|builder| builder.name == name) {
            builders.push(of_context(state, &name));
        }
    }
    builders.push(Builder::embedded());
    Ok(builders)
}

/// Finds the builder that is meant: by `name`, by `BUILDX_BUILDER`, by what was used for the current endpoint, else
/// that endpoint's own, and the embedded one where there is no sign of an Engine. One that was used and is gone counts
/// as none. Where nobody can tell which endpoint is current, none was used for it.
pub fn choose(
    state: &State,
    endpoints: &EndpointChoice,
    name: Option<&str>,
    variable: Option<&str>,
) -> Result<Chosen, BuilderError> {
    let filled = |name: Option<&str>| name.filter(|name| !name.is_empty()).map(str::to_owned);
    if let Some(name) = filled(name) {
        return Ok(Chosen { builder: builder(state, endpoints, &name)?, why: Why::Named });
    }
    if let Some(name) = filled(variable) {
        return Ok(Chosen { builder: builder(state, endpoints, &name)?, why: Why::Variable });
    }
    if let Some((name, scope)) = state.used(endpoint_key(endpoints).ok().as_deref())? {
        let found = if name == EMBEDDED {
            Some(Builder::embedded())
        } else {
            match state.group(&name) {
                Ok(group) => group.map(|_| builder(state, endpoints, &name)).transpose()?,
                Err(BuilderError::InvalidName(_)) => None,
                Err(error) => return Err(error),
            }
        };
        if let Some(builder) = found {
            return Ok(Chosen { builder, why: Why::Used(scope) });
        }
    }
    let endpoint = resolve_endpoint(endpoints)?;
    let builder = if endpoint.configured { of_context(state, &endpoint.name) } else { Builder::embedded() };
    Ok(Chosen { builder, why: Why::Default })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::NodeGroup;

    /// A state, and endpoints without a sign of an Engine.
    fn place() -> (tempfile::TempDir, State, EndpointChoice) {
        let folder = tempfile::tempdir().unwrap();
        let state = State::new(folder.path().join("buildx"), None);
        let endpoints = EndpointChoice {
            config_dir: Some(folder.path().to_owned()),
            default_socket: Some(folder.path().join("docker.sock")),
            ..EndpointChoice::default()
        };
        (folder, state, endpoints)
    }

    fn chosen(state: &State, endpoints: &EndpointChoice, name: &str, variable: &str) -> String {
        match choose(state, endpoints, Some(name), Some(variable)) {
            Ok(Chosen { builder, why }) => format!("{} ({why})", builder.name),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_current_endpoint_is_the_default_if_there_is_one() {
        let (folder, state, mut endpoints) = place();
        let default = |endpoints: &EndpointChoice| chosen(&state, endpoints, "", "");
        assert_eq!(default(&endpoints), "embedded (the default)");
        // A socket is a sign of an Engine, whoever listens there.
        std::fs::write(folder.path().join("docker.sock"), "").unwrap();
        assert_eq!(default(&endpoints), "default (the default)");
        std::fs::remove_file(folder.path().join("docker.sock")).unwrap();
        endpoints.docker_host = Some("tcp://127.0.0.1:1".to_owned());
        assert_eq!(default(&endpoints), "default (the default)");
        endpoints.docker_host = None;
        endpoints.docker_context = Some("far".to_owned());
        assert!(default(&endpoints).starts_with("context \"far\": context not found: "));
        let id = rbx_oci::Digest::sha256_of(b"far").hex();
        let meta = folder.path().join("contexts/meta").join(id);
        std::fs::create_dir_all(&meta).unwrap();
        let text = r#"{"Name":"far","Metadata":{},"Endpoints":{"docker":{"Host":"unix:///far"}}}"#;
        std::fs::write(meta.join("meta.json"), text).unwrap();
        assert_eq!(default(&endpoints), "far (the default)");
    }

    #[test]
    fn what_was_said_last_counts_first() {
        let (_folder, state, mut endpoints) = place();
        endpoints.docker_host = Some("unix:///a".to_owned());
        for name in ["mine", "other"] {
            state.change().unwrap().save(&NodeGroup::new(name, "remote")).unwrap();
        }
        let used = |name: &str| state.change().unwrap().set_used("unix:///a", name, false, false).unwrap();
        used("mine");
        assert_eq!(chosen(&state, &endpoints, "", ""), "mine (chosen by use)");
        assert_eq!(chosen(&state, &endpoints, "", "other"), "other (chosen by BUILDX_BUILDER)");
        assert_eq!(chosen(&state, &endpoints, "embedded", "other"), "embedded (chosen by --builder)");
        assert_eq!(chosen(&state, &endpoints, "gone", ""), "no builder \"gone\" found");
        used("embedded");
        assert_eq!(chosen(&state, &endpoints, "", ""), "embedded (chosen by use)");
        // One that is gone was never used.
        used("gone");
        assert_eq!(chosen(&state, &endpoints, "", ""), "default (the default)");
    }
}

//! A node as drivers know it.

use rbx_driver::docker::{Endpoint, EndpointChoice, context_endpoint, context_names};
use rbx_driver::{DriverError, NodeSettings};

use crate::choose::{Builder, Kind};
use crate::group::Node;

impl Node {
    /// What a driver is opened with: the node of a builder, and the Engine at its endpoint.
    pub fn settings(
        &self,
        builder: &Builder,
        endpoints: &EndpointChoice,
    ) -> Result<NodeSettings, DriverError> {
        // A node of a context is named like the context, and that is where it is.
        let is_context = builder.kind == Kind::Context || context_names(endpoints)?.contains(&self.endpoint);
        let engine = if is_context {
            context_endpoint(endpoints, &self.endpoint)?
        } else {
            Endpoint::at(self.endpoint.clone())
        };
        Ok(self.settings_at(engine))
    }

    /// The same, where the Engine is known.
    pub(crate) fn settings_at(&self, engine: Endpoint) -> NodeSettings {
        NodeSettings {
            name: self.name.clone(),
            address: self.endpoint.clone(),
            engine,
            platforms: self.platforms(),
            options: self.driver_opts.clone().unwrap_or_default(),
            flags: self.flags.clone().unwrap_or_default(),
            files: self.files().map(|(name, content)| (name.to_owned(), content.to_vec())).collect(),
        }
    }

    /// Whether images go to the Docker Engine unless they are sent elsewhere, as an option for its driver says.
    pub fn default_load(&self) -> bool {
        let value = self.driver_opts.iter().flatten().find(|(key, _)| *key == "default-load");
        value.is_some_and(|(_, value)| matches!(value.as_bytes().first(), Some(b'1' | b't' | b'T')))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_node_is_at_a_context_or_at_an_address() {
        let folder = tempfile::tempdir().unwrap();
        let endpoints = EndpointChoice {
            docker_host: Some("tcp://h:1".to_owned()),
            config_dir: Some(folder.path().to_owned()),
            ..EndpointChoice::default()
        };
        let id = rbx_oci::Digest::sha256_of(b"far").hex();
        let meta = folder.path().join("contexts/meta").join(id);
        fs::create_dir_all(&meta).unwrap();
        let text = r#"{"Name":"far","Metadata":{},"Endpoints":{"docker":{"Host":"unix:///far"}}}"#;
        fs::write(meta.join("meta.json"), text).unwrap();

        let mut builder = Builder { kind: Kind::Instance, ..Builder::embedded() };
        let at = |builder: &Builder, endpoint: &str| {
            Node::of_context(endpoint)
                .settings(builder, &endpoints)
                .map(|settings| (settings.address, settings.engine.host))
        };
        let pair = |address: &str, host: &str| (address.to_owned(), host.to_owned());
        assert_eq!(at(&builder, "far").unwrap(), pair("far", "unix:///far"));
        assert_eq!(at(&builder, "unix:///a").unwrap(), pair("unix:///a", "unix:///a"));
        builder.kind = Kind::Context;
        assert_eq!(at(&builder, "default").unwrap(), pair("default", "tcp://h:1"));
        assert!(at(&builder, "gone").is_err());
    }

    #[test]
    fn an_option_makes_images_be_loaded() {
        let node = |value: &str| {
            let mut node = Node::default();
            node.driver_opts = Some([("default-load".to_owned(), value.to_owned())].into());
            node
        };
        assert!(["1", "true", "T"].iter().all(|value| node(value).default_load()));
        assert!(!node("false").default_load() && !node("").default_load() && !Node::default().default_load());
    }
}

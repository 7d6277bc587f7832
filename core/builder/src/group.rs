//! A builder that was created: its driver and its nodes, as buildx keeps them.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rbx_platform::Platform;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::error::BuilderError;
use crate::name::validate_name;

/// A builder and its nodes.
///
/// Fields that a later buildx adds are kept: what is read and written again loses nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct NodeGroup {
    /// The name, in the case that it was given.
    pub name: String,
    /// The name of the driver.
    pub driver: String,
    /// The nodes.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub nodes: Vec<Node>,
    /// The nodes are found at run time.
    #[serde(default)]
    pub dynamic: bool,
    #[serde(flatten)]
    other: Map<String, Value>,
}

/// A place where a builder builds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Node {
    /// The name.
    pub name: String,
    /// A context of docker, or an address.
    pub endpoint: String,
    #[serde(default)]
    platforms: Option<Vec<Fixed>>,
    /// Options for the driver.
    #[serde(default)]
    pub driver_opts: Option<BTreeMap<String, String>>,
    /// Flags of the daemon.
    #[serde(default)]
    pub flags: Option<Vec<String>>,
    #[serde(default)]
    files: Option<BTreeMap<String, File>>,
    #[serde(flatten)]
    other: Map<String, Value>,
}

/// A platform that a node was told to have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Fixed {
    #[serde(flatten)]
    platform: Platform,
    #[serde(flatten)]
    other: Map<String, Value>,
}

/// The content of a file, base64 in JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
struct File(Vec<u8>);

impl Serialize for File {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for File {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
        STANDARD.decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}

fn null_is_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Node>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// What is to change about a node.
#[derive(Debug, Clone, Default)]
pub(crate) struct Change {
    /// The node; the next free name if `None`.
    pub(crate) node: Option<String>,
    /// Where it is.
    pub(crate) endpoint: String,
    /// The endpoint was given, and not found out.
    pub(crate) endpoint_given: bool,
    /// Platforms, if any were given.
    pub(crate) platforms: Vec<Platform>,
    /// A new node is added to those there are.
    pub(crate) append: bool,
    /// Flags of the daemon.
    pub(crate) flags: Option<Vec<String>>,
    /// Files of the daemon.
    pub(crate) files: Option<BTreeMap<String, Vec<u8>>>,
    /// Options for the driver.
    pub(crate) driver_opts: Option<BTreeMap<String, String>>,
}

impl NodeGroup {
    pub(crate) fn new(name: &str, driver: &str) -> Self {
        Self {
            name: name.to_owned(),
            driver: driver.to_owned(),
            nodes: Vec::new(),
            dynamic: false,
            other: Map::new(),
        }
    }

    /// Reads what buildx wrote.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, String> {
        let group: Self = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let names = group.nodes.iter().map(|node| &node.name);
        for name in std::iter::once(&group.name).chain(names) {
            validate_name(name).map_err(|error| error.to_string())?;
        }
        Ok(group)
    }

    /// The bytes that buildx would write.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        let text = serde_json::to_string(self).expect("texts, lists and maps with texts as keys become JSON");
        // Go escapes what means something in HTML, which is never outside of a text.
        let text = text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
        text.replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029").into_bytes()
    }

    /// Takes a node out.
    pub(crate) fn leave(&mut self, node: &str) -> Result<(), BuilderError> {
        if self.dynamic {
            return Err(BuilderError::refused("dynamic node group does not support Leave"));
        }
        let at = self
            .find(node)
            .ok_or_else(|| BuilderError::refused(format!("node {node:?} not found for {}", self.name)))?;
        if self.nodes.len() == 1 {
            return Err(BuilderError::refused(
                "can not leave last node, do you want to rm instance instead?",
            ));
        }
        self.nodes.remove(at);
        Ok(())
    }

    /// Changes a node or adds one; answers whether a running one would have to be started again for it.
    pub(crate) fn update(&mut self, change: Change) -> Result<bool, BuilderError> {
        if self.dynamic {
            return Err(BuilderError::refused("dynamic node group does not support Update"));
        }
        let found = change.node.as_deref().and_then(|name| self.find(name));
        let Change { node, endpoint, endpoint_given, platforms, append, flags, files, driver_opts } = change;
        let fixed = (!platforms.is_empty())
            .then(|| platforms.into_iter().map(|platform| Fixed { platform, other: Map::new() }).collect());
        let files: Option<BTreeMap<_, _>> =
            files.map(|files| files.into_iter().map(|(name, content)| (name, File(content))).collect());
        let mut restart = false;
        let at = if let Some(at) = found {
            let node = &mut self.nodes[at];
            restart = endpoint_given || flags.is_some() || files.is_some() || driver_opts.is_some();
            if endpoint_given {
                node.endpoint.clone_from(&endpoint);
            }
            node.platforms = fixed.or_else(|| node.platforms.take());
            node.flags = flags.or_else(|| node.flags.take());
            node.driver_opts = driver_opts.or_else(|| node.driver_opts.take());
            if let Some(files) = files {
                node.files.get_or_insert_default().extend(files);
            }
            at
        } else {
            if !append && !self.nodes.is_empty() {
                let name = node.unwrap_or_default();
                return Err(BuilderError::refused(format!("node {name} not found, did you mean to append?")));
            }
            let name = validate_name(&node.unwrap_or_else(|| self.next_name()))?;
            let endpoint = endpoint.clone();
            let other = Map::new();
            self.nodes.push(Node { name, endpoint, platforms: fixed, driver_opts, flags, files, other });
            self.nodes.len() - 1
        };
        self.keep_apart(&endpoint, at)?;
        Ok(restart)
    }

    /// Two nodes are not at one endpoint, and what one was told to build, no other was.
    fn keep_apart(&mut self, endpoint: &str, at: usize) -> Result<(), BuilderError> {
        if self.nodes.iter().filter(|node| node.endpoint == endpoint).count() > 1 {
            return Err(BuilderError::refused(format!("invalid duplicate endpoint {endpoint}")));
        }
        let taken: Vec<String> = self.nodes[at].platforms().iter().map(Platform::to_string).collect();
        for (other, node) in self.nodes.iter_mut().enumerate() {
            if other != at {
                // buildx makes a list of none where there was no list.
                let platforms = node.platforms.get_or_insert_default();
                platforms.retain(|fixed| !taken.contains(&fixed.platform.to_string()));
            }
        }
        Ok(())
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.name == name)
    }

    fn next_name(&self) -> String {
        let name = self.name.to_ascii_lowercase();
        let names = (0..=self.nodes.len()).map(|number| format!("{name}{number}"));
        let mut free = names.filter(|name| self.find(name).is_none());
        free.next().unwrap_or_else(|| self.name.clone())
    }
}

impl Node {
    /// The one node of a builder that is a context of docker.
    pub(crate) fn of_context(name: &str) -> Self {
        Self { name: name.to_owned(), endpoint: name.to_owned(), ..Self::default() }
    }

    /// The platforms that it was told to have.
    pub fn platforms(&self) -> Vec<Platform> {
        self.platforms.iter().flatten().map(|fixed| fixed.platform.normalized()).collect()
    }

    /// The files that its daemon gets, such as `buildkitd.toml`, by their names.
    pub fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.files.iter().flatten().map(|(name, content)| (name.as_str(), content.0.as_slice()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As buildx 0.29 wrote it.
    const WRITTEN: &str = r#"{"Name":"p","Driver":"docker-container","Nodes":[{"Name":"p0","Endpoint":"unix:///run/docker.sock","Platforms":[{"architecture":"arm64","os":"linux"},{"architecture":"arm","os":"linux","variant":"v7"}],"DriverOpts":{"env.A":"b\u003cc\u0026d","image":"x"},"Flags":["--debug"],"Files":{"buildkitd.toml":"ZGVidWcgPSB0cnVlCg=="}}],"Dynamic":false}"#;

    fn parse(text: &str) -> NodeGroup {
        NodeGroup::parse(text.as_bytes()).unwrap()
    }

    fn written(group: &NodeGroup) -> String {
        String::from_utf8(group.to_json()).unwrap()
    }

    #[test]
    fn what_buildx_wrote_is_written_with_the_same_bytes() {
        assert_eq!(written(&parse(WRITTEN)), WRITTEN);
        let nothing = r#"{"Name":"foo","Driver":"remote","Nodes":[{"Name":"foo0","Endpoint":"unix:///x","Platforms":null,"DriverOpts":null,"Flags":null,"Files":null}],"Dynamic":false}"#;
        assert_eq!(written(&parse(nothing)), nothing);
        let node = &parse(WRITTEN).nodes[0];
        assert_eq!(node.files().collect::<Vec<_>>(), [("buildkitd.toml", &b"debug = true\n"[..])]);
    }

    #[test]
    fn fields_of_later_versions_survive() {
        let newer = r#"{"Name":"p","Driver":"new","Nodes":[{"Name":"p0","Endpoint":"e","Platforms":[{"architecture":"amd64","os":"windows","os.features":["win32k"],"os.version":"10.0","more":[1]}],"DriverOpts":{},"Flags":[],"Files":{},"Weight":2.5,"Of":{"b":null,"a":1}}],"Dynamic":true,"Version":18446744073709551615}"#;
        let as_written = r#"{"Name":"p","Driver":"new","Nodes":[{"Name":"p0","Endpoint":"e","Platforms":[{"architecture":"amd64","os":"windows","os.version":"10.0","os.features":["win32k"],"more":[1]}],"DriverOpts":{},"Flags":[],"Files":{},"Weight":2.5,"Of":{"b":null,"a":1}}],"Dynamic":true,"Version":18446744073709551615}"#;
        assert_eq!(written(&parse(newer)), as_written);
        // Fields that are missing are no more than missing.
        let less = parse(r#"{"Name":"p","Driver":"d","Nodes":null}"#);
        assert_eq!(less.nodes, []);
    }

    #[test]
    fn what_is_no_builder_is_refused() {
        for text in [
            "",
            "{",
            "[]",
            "3",
            r#"{"Name":"p","Driver":7}"#,
            r#"{"Name":"../p","Driver":"d","Nodes":[]}"#,
            r#"{"Name":"p","Driver":"d","Nodes":[{"Name":"a/b","Endpoint":""}]}"#,
            r#"{"Name":"p","Driver":"d","Nodes":[{"Name":"a","Endpoint":"","Files":{"x":"%"}}]}"#,
            r#"{"Name":"p","Driver":"d","Nodes":{}}"#,
        ] {
            assert!(NodeGroup::parse(text.as_bytes()).is_err(), "{text}");
        }
        let deep = "[".repeat(100_000);
        let deep = format!(r#"{{"Name":"p","Driver":"d","Nodes":[],"X":{deep}"#);
        assert!(NodeGroup::parse(deep.as_bytes()).is_err());
    }

    fn change(node: Option<&str>, endpoint: &str, platforms: &str, append: bool) -> Change {
        Change {
            node: node.map(str::to_owned),
            endpoint: endpoint.to_owned(),
            endpoint_given: true,
            platforms: platforms.split_whitespace().map(|text| Platform::parse(text).unwrap()).collect(),
            append,
            ..Change::default()
        }
    }

    fn shown(group: &NodeGroup) -> String {
        let node = |node: &Node| {
            let platforms: Vec<String> = node.platforms().iter().map(Platform::to_string).collect();
            format!("{} {} [{}]", node.name, node.endpoint, platforms.join(" "))
        };
        group.nodes.iter().map(node).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn nodes_come_change_and_go() {
        let mut group = NodeGroup::new("Foo", "remote");
        assert!(!group.update(change(None, "tcp://a:1", "linux/amd64 linux/arm64", false)).unwrap());
        group.update(change(None, "tcp://b:1", "linux/arm64 linux/s390x", true)).unwrap();
        group.update(change(Some("Big"), "tcp://c:1", "", true)).unwrap();
        assert_eq!(
            shown(&group),
            "foo0 tcp://a:1 [linux/amd64]; foo1 tcp://b:1 [linux/arm64 linux/s390x]; big tcp://c:1 []"
        );
        assert!(group.update(change(Some("foo1"), "tcp://d:1", "linux/amd64", false)).unwrap());
        assert_eq!(shown(&group), "foo0 tcp://a:1 []; foo1 tcp://d:1 [linux/amd64]; big tcp://c:1 []");

        let refused = |group: &mut NodeGroup, change| group.update(change).unwrap_err().to_string();
        assert_eq!(
            refused(&mut group, change(Some("x"), "tcp://e:1", "", false)),
            "node x not found, did you mean to append?"
        );
        assert_eq!(
            refused(&mut group.clone(), change(None, "tcp://a:1", "", true)),
            "invalid duplicate endpoint tcp://a:1"
        );
        assert!(
            refused(&mut group, change(Some("a b"), "tcp://e:1", "", true)).starts_with("invalid name a b,")
        );

        group.leave("foo0").unwrap();
        group.leave("big").unwrap();
        assert_eq!(group.leave("foo0").unwrap_err().to_string(), "node \"foo0\" not found for Foo");
        assert_eq!(
            group.leave("foo1").unwrap_err().to_string(),
            "can not leave last node, do you want to rm instance instead?"
        );
    }

    proptest::proptest! {
        #[test]
        fn nonsense_is_refused_or_kept(text in r#"\{?("Name":"p",)?("Driver":"d",)?("Nodes":)?[\[\]{}"a-z0-9:,\\]{0,60}"#) {
            if let Ok(group) = NodeGroup::parse(text.as_bytes()) {
                proptest::prop_assert_eq!(NodeGroup::parse(&group.to_json()), Ok(group));
            }
        }
    }
}

//! The configuration of an image: its platform, history and what runs in it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use rbx_platform::Platform;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::digest::Digest;
use crate::json::{self, DocumentError, null_default, set};

/// The configuration of an image. The digest of its bytes is the image's ID.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// CPU architecture, Go's name.
    pub architecture: String,
    /// Operating system, Go's name.
    pub os: String,
    /// Variant of the CPU.
    pub variant: Option<String>,
    /// Operating system version, for Windows.
    pub os_version: Option<String>,
    /// When the image was made.
    pub created: Option<Timestamp>,
    /// Who made it.
    pub author: Option<String>,
    /// What runs in a container of it, and how.
    pub config: RunConfig,
    /// Digests of the layers' uncompressed archives, the base first.
    pub diff_ids: Vec<Digest>,
    /// The steps that made it, the first one first.
    pub history: Vec<History>,
    /// Keys this program does not know, `os.features` and `moby.buildkit.cache.v0` among them.
    pub extra: Map<String, Value>,
}

/// What runs in a container of an image, and how. Names and meaning are Docker's; what is empty is not set.
///
/// `BuildKit` drops keys it does not know when it builds upon an image; clear [`RunConfig::extra`] to do the same.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RunConfig {
    /// User and group of processes: `user[:group]`, names or numbers.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Ports it listens on: `80/tcp`.
    #[serde(with = "set", skip_serializing_if = "BTreeSet::is_empty")]
    pub exposed_ports: BTreeSet<String>,
    /// Environment variables, `name=value`, in order.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Command that [`RunConfig::cmd`] is given to.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// Command, or arguments of the entry point.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// Directories whose content outlives a container.
    #[serde(with = "set", skip_serializing_if = "BTreeSet::is_empty")]
    pub volumes: BTreeSet<String>,
    /// Directory in which processes start.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// Labels.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Signal that stops it.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// Whether `cmd` is a command line already escaped, on Windows.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_false")]
    pub args_escaped: bool,
    /// How to find out whether it is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Instructions for builds upon it.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub on_build: Vec<String>,
    /// Shell of commands in shell form.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub shell: Vec<String>,
    /// Keys this program does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// How to find out whether a container is well. Durations are in nanoseconds; 0 is Docker's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Healthcheck {
    /// `NONE`, `CMD` with arguments, or `CMD-SHELL` with a command line; empty to inherit.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    /// Time between two checks.
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// Time after which a check has failed.
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// Time in which failures do not count.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Time between two checks in the start period.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// Failures in a row after which it is not well.
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: i64,
}

/// A step that made an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// When.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// By which command.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    /// By whom.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// By which program.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// Whether it made no layer.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_false")]
    pub empty_layer: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_false(value: &bool) -> bool {
    !value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_zero(value: &i64) -> bool {
    *value == 0
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct RootFs {
    #[serde(rename = "type")]
    kind: String,
    #[serde(deserialize_with = "null_default")]
    diff_ids: Vec<Digest>,
}

/// The keys of the document that are known. Written in alphabetical order, as Go writes maps.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Known {
    #[serde(deserialize_with = "null_default")]
    architecture: String,
    author: Option<String>,
    #[serde(deserialize_with = "null_default")]
    config: RunConfig,
    created: Option<Timestamp>,
    #[serde(deserialize_with = "null_default")]
    history: Vec<History>,
    #[serde(deserialize_with = "null_default")]
    os: String,
    #[serde(rename = "os.version")]
    os_version: Option<String>,
    #[serde(deserialize_with = "null_default")]
    rootfs: RootFs,
    variant: Option<String>,
    #[serde(flatten)]
    extra: Map<String, Value>,
}

impl RunConfig {
    /// The environment, names and values apart.
    pub fn variables(&self) -> Vec<(String, String)> {
        let split = |variable: &String| match variable.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => (variable.clone(), String::new()),
        };
        self.env.iter().map(split).collect()
    }
}

impl ImageConfig {
    /// A configuration for `platform` that says nothing else.
    pub fn new(platform: &Platform) -> ImageConfig {
        ImageConfig {
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            variant: platform.variant.clone(),
            os_version: platform.os_version.clone(),
            ..ImageConfig::default()
        }
    }

    /// Reads a configuration of at most [`crate::DOCUMENT_LIMIT`] bytes.
    pub fn parse(bytes: &[u8]) -> Result<ImageConfig, DocumentError> {
        let known: Known = json::parse("image config", bytes)?;
        let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
        Ok(ImageConfig {
            architecture: known.architecture,
            os: known.os,
            variant: filled(known.variant),
            os_version: filled(known.os_version),
            created: known.created,
            author: filled(known.author),
            config: known.config,
            diff_ids: known.rootfs.diff_ids,
            history: known.history,
            extra: known.extra,
        })
    }

    /// The bytes that are stored and whose digest is the image's ID, as `BuildKit` writes them: without spaces, the
    /// keys at the top sorted, those below in the order of Go's structs.
    pub fn to_bytes(&self) -> Vec<u8> {
        let value = |value: serde_json::Result<Value>| value.expect("maps have string keys");
        let mut keys: BTreeMap<&str, Value> =
            self.extra.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
        keys.insert("architecture", self.architecture.clone().into());
        keys.insert("os", self.os.clone().into());
        keys.insert("config", value(serde_json::to_value(&self.config)));
        let root_fs = RootFs { kind: "layers".into(), diff_ids: self.diff_ids.clone() };
        keys.insert("rootfs", value(serde_json::to_value(root_fs)));
        if !self.history.is_empty() {
            keys.insert("history", value(serde_json::to_value(&self.history)));
        }
        if let Some(created) = self.created {
            keys.insert("created", value(serde_json::to_value(created)));
        }
        for (key, text) in
            [("variant", &self.variant), ("os.version", &self.os_version), ("author", &self.author)]
        {
            if let Some(text) = text.as_ref().filter(|text| !text.is_empty()) {
                keys.insert(key, text.clone().into());
            }
        }
        json::compact(&keys)
    }

    /// The platform it is for.
    pub fn platform(&self) -> Platform {
        Platform {
            os: self.os.clone(),
            architecture: self.architecture.clone(),
            variant: self.variant.clone(),
            os_version: self.os_version.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    /// A configuration with every key, as Go lays it out.
    fn full() -> String {
        format!(
            r#"{{"architecture":"arm64","author":"me \u003cme@x\u003e","config":{{"User":"1000:1000","ExposedPorts":{{"443/tcp":{{}},"80/tcp":{{}}}},"Env":["PATH=/bin","A=1 \u0026\u0026 2"],"Entrypoint":["/e"],"Cmd":["sh","-c","x \u003e y"],"Volumes":{{"/data":{{}}}},"WorkingDir":"/w","Labels":{{"a":"1","b":"2"}},"StopSignal":"SIGINT","ArgsEscaped":true,"Healthcheck":{{"Test":["CMD","true"],"Interval":30000000000,"Timeout":1,"StartPeriod":2,"StartInterval":3,"Retries":4}},"OnBuild":["RUN x"],"Shell":["/bin/bash","-c"],"Hostname":"","StopTimeout":5,"x.unknown":{{"deep":[1,null,"é"]}}}},"created":"2024-06-01T10:20:30.123456789Z","history":[{{"created":"2024-06-01T10:20:30Z","created_by":"RUN x \u003e y","author":"me","comment":"buildkit.dockerfile.v0","empty_layer":true}},{{"created_by":"COPY . ."}}],"moby.buildkit.cache.v0":"e30=","os":"linux","os.features":["win32k"],"os.version":"10.0","rootfs":{{"type":"layers","diff_ids":["{EMPTY}"]}},"variant":"v8","zz":[]}}"#
        )
    }

    #[test]
    fn every_key_survives_a_round_trip_byte_for_byte() {
        let config = ImageConfig::parse(full().as_bytes()).unwrap();
        assert_eq!(String::from_utf8(config.to_bytes()).unwrap(), full());
        assert_eq!(config.config.env[1], "A=1 && 2");
        assert_eq!(config.config.exposed_ports.iter().next().unwrap(), "443/tcp");
        assert_eq!(config.config.extra["StopTimeout"], 5);
        assert_eq!(config.diff_ids, [Digest::sha256_of(b"")]);
        assert_eq!(config.platform().to_string(), "linux/arm64/v8");
        assert_eq!(config.extra["zz"], Value::Array(vec![]));
    }

    #[test]
    fn reads_null_and_missing_as_go_does() {
        let config = ImageConfig::parse(
            br#"{"architecture":"amd64","os":"linux","variant":"","config":{"Env":null,"Cmd":null,"Entrypoint":null,"Volumes":null,"ExposedPorts":null,"Labels":null,"OnBuild":null,"User":"","Healthcheck":null},"rootfs":{"type":"layers","diff_ids":null},"history":null}"#,
        )
        .unwrap();
        assert_eq!(config.config, RunConfig::default());
        assert_eq!(
            String::from_utf8(config.to_bytes()).unwrap(),
            r#"{"architecture":"amd64","config":{},"os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#
        );
        assert_eq!(ImageConfig::parse(b"{}").unwrap(), ImageConfig::default());
        assert_eq!(ImageConfig::parse(br#"{"config":null,"rootfs":null}"#).unwrap(), ImageConfig::default());
    }

    #[test]
    fn times_are_written_as_go_writes_them() {
        for (read, written) in [
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
            ("2024-06-01T12:00:00.5+02:00", "2024-06-01T10:00:00.5Z"),
            ("2024-06-01T10:00:00.000000000Z", "2024-06-01T10:00:00Z"),
            ("2024-06-01T10:00:00.120Z", "2024-06-01T10:00:00.12Z"),
        ] {
            let config = ImageConfig::parse(format!(r#"{{"created":"{read}"}}"#).as_bytes()).unwrap();
            let bytes = String::from_utf8(config.to_bytes()).unwrap();
            assert!(bytes.contains(&format!(r#""created":"{written}""#)), "{bytes}");
        }
    }

    #[test]
    fn wrong_types_are_errors() {
        for bad in [
            "",
            "[]",
            r#"{"os":1}"#,
            r#"{"config":{"Env":"A=1"}}"#,
            r#"{"rootfs":{"diff_ids":["sha256:x"]}}"#,
            r#"{"created":"yesterday"}"#,
        ] {
            assert!(ImageConfig::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}

//! The event stream of a build, in the shapes of BuildKit's `client.SolveStatus`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

/// One thing that happened during a build.
///
/// Progress output, JSON, editor progress and failure diagnostics are folds over these.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A vertex was announced, started, or ended. The newest event of a digest replaces those before it.
    Vertex(Vertex),
    /// A countable part of a vertex moved on, such as a layer being fetched.
    Status(VertexStatus),
    /// A step wrote output.
    Log(Log),
    /// Something to tell the user once the build is over.
    Warning(Warning),
}

/// A node of the build graph: one step, as people see it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Vertex {
    /// Identity within the build, `sha256:…`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub digest: String,
    /// Digests of the vertices this one waits for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<String>,
    /// What people read, such as `[builder 2/3] RUN make`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// When it began; `None` while it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// When it ended, well or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed: Option<Timestamp>,
    /// The result came from the cache.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cached: bool,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Vertices shown as one.
    #[serde(rename = "progressGroup", skip_serializing_if = "Option::is_none")]
    pub progress_group: Option<ProgressGroup>,
}

/// Several vertices that people see as one line.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProgressGroup {
    /// Identity of the group.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// Name of the group.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The vertex alone is no reason to show the group.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub weak: bool,
}

/// Progress of a countable part of a vertex.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VertexStatus {
    /// Identity within the vertex, such as a layer's digest.
    pub id: String,
    /// The vertex it belongs to.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub vertex: String,
    /// What people read.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Units in all, usually bytes; 0 when unknown.
    #[serde(skip_serializing_if = "is_zero")]
    pub total: u64,
    /// Units done.
    pub current: u64,
    /// When this was said.
    #[serde(serialize_with = "go_time", deserialize_with = "from_go_time")]
    pub timestamp: Option<Timestamp>,
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed: Option<Timestamp>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// The time that stands for none in Go: the first of year 1.
const GO_ZERO: Timestamp = Timestamp::constant(-62_135_596_800, 0);

/// A time that Go does not leave out; where there is none, its zero time.
#[expect(clippy::ref_option, reason = "serde hands a reference")]
fn go_time<S: serde::Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    time.unwrap_or(GO_ZERO).serialize(serializer)
}

fn from_go_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let time = Option::<Timestamp>::deserialize(deserializer)?;
    Ok(time.filter(|time| *time != GO_ZERO))
}

/// Which descriptor a step wrote to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Descriptor 1.
    Stdout,
    /// Descriptor 2.
    Stderr,
}

/// Output of a step, as it came: not cut at lines, not necessarily UTF-8.
#[derive(Debug, Clone, PartialEq)]
pub struct Log {
    /// The vertex that wrote it.
    pub vertex: String,
    /// Which descriptor.
    pub stream: Stream,
    /// The bytes.
    pub data: Vec<u8>,
    /// When it was read.
    pub timestamp: Timestamp,
}

/// Something to tell the user once the build is over.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Warning {
    /// The vertex it belongs to.
    pub vertex: String,
    /// 1 is the default; higher is less important.
    pub level: u32,
    /// One line.
    pub short: String,
    /// More lines.
    pub detail: Vec<String>,
    /// Where it is explained.
    pub url: String,
    /// The file it is about, by name.
    pub file: String,
    /// Lines of that file, first and last, from 1.
    pub lines: Vec<(u32, u32)>,
    /// The text of that file.
    pub source: String,
}

/// Free-form answers of exporters, as `--metadata-file` prints them.
pub type Metadata = BTreeMap<String, serde_json::Value>;

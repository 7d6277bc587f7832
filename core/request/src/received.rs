//! Events as they are read from `--progress=rawjson`.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, de};

use crate::event::{Event, Log, Stream, Vertex, VertexStatus, Warning};

/// Reads one line of `--progress=rawjson`, a `client.SolveStatus` of BuildKit's: the opposite of
/// [`solve_status`](crate::solve_status). Vertices come first, then what is said about them.
pub fn parse_status(json: &[u8]) -> Result<Vec<Event>, serde_json::Error> {
    let status: Status = serde_json::from_slice(json)?;
    let vertices = status.vertexes.into_iter().map(Event::Vertex);
    let parts = status.statuses.into_iter().map(Event::Status);
    let logs = status.logs.into_iter().map(|log| {
        let stream = if log.stream == 2 { Stream::Stderr } else { Stream::Stdout };
        Event::Log(Log { vertex: log.vertex, stream, data: log.data.0, timestamp: log.timestamp })
    });
    let warnings = status.warnings.into_iter().map(|warning| Event::Warning(warning.into()));
    Ok(vertices.chain(parts).chain(logs).chain(warnings).collect())
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    vertexes: Vec<Vertex>,
    statuses: Vec<VertexStatus>,
    logs: Vec<VertexLog>,
    warnings: Vec<VertexWarning>,
}

/// Bytes, which Go writes in base64.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn into_text(self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
        BASE64_STANDARD.decode(text).map(Self).map_err(de::Error::custom)
    }
}

#[derive(Deserialize)]
struct VertexLog {
    #[serde(default)]
    vertex: String,
    #[serde(default)]
    stream: u8,
    #[serde(default)]
    data: Bytes,
    timestamp: Timestamp,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct VertexWarning {
    vertex: String,
    level: u32,
    short: Bytes,
    detail: Vec<Bytes>,
    url: String,
    #[serde(rename = "sourceInfo")]
    source_info: SourceInfo,
    range: Vec<Range>,
}

impl From<VertexWarning> for Warning {
    fn from(warning: VertexWarning) -> Self {
        Self {
            vertex: warning.vertex,
            level: warning.level,
            short: warning.short.into_text(),
            detail: warning.detail.into_iter().map(Bytes::into_text).collect(),
            url: warning.url,
            file: warning.source_info.filename,
            lines: warning.range.iter().map(|range| (range.start.line, range.end.line)).collect(),
            source: warning.source_info.data.into_text(),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SourceInfo {
    filename: String,
    data: Bytes,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Range {
    start: Position,
    end: Position,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Position {
    line: u32,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::ProgressGroup;
    use crate::status::solve_status;

    fn time() -> impl Strategy<Value = Timestamp> {
        (0..2_000_000_000_000_i64).prop_map(|at| Timestamp::from_millisecond(at).unwrap())
    }

    fn maybe_time() -> impl Strategy<Value = Option<Timestamp>> {
        proptest::option::of(time())
    }

    fn vertex() -> impl Strategy<Value = Event> {
        let group = ("[a-z]{0,3}", ".{0,5}", any::<bool>()).prop_map(|(id, name, weak)| ProgressGroup {
            id,
            name,
            weak,
        });
        let rest = (any::<bool>(), proptest::option::of(".{0,9}"), proptest::option::of(group));
        let words = ("[a-z]{0,3}", proptest::collection::vec("[a-z]{0,3}", 0..3), ".{0,9}");
        (words, maybe_time(), maybe_time(), rest).prop_map(|(words, started, completed, rest)| {
            let ((digest, inputs, name), (cached, error, progress_group)) = (words, rest);
            Event::Vertex(Vertex { digest, inputs, name, started, completed, cached, error, progress_group })
        })
    }

    fn part() -> impl Strategy<Value = Event> {
        let words = (".{0,9}", "[a-z]{0,3}", ".{0,9}");
        let times = (maybe_time(), maybe_time(), maybe_time());
        (words, any::<u64>(), any::<u64>(), times).prop_map(|(words, total, current, times)| {
            let ((id, vertex, name), (timestamp, started, completed)) = (words, times);
            Event::Status(VertexStatus { id, vertex, name, total, current, timestamp, started, completed })
        })
    }

    fn log() -> impl Strategy<Value = Event> {
        let stream = prop_oneof![Just(Stream::Stdout), Just(Stream::Stderr)];
        ("[a-z]{0,3}", stream, any::<Vec<u8>>(), time())
            .prop_map(|(vertex, stream, data, timestamp)| Event::Log(Log { vertex, stream, data, timestamp }))
    }

    fn warning() -> impl Strategy<Value = Event> {
        let texts = (".{0,9}", proptest::collection::vec(".{0,9}", 0..3), ".{0,9}", ".{0,9}", ".{0,9}");
        let lines = proptest::collection::vec(any::<(u32, u32)>(), 0..3);
        ("[a-z]{0,3}", any::<u32>(), texts, lines).prop_map(|(vertex, level, texts, lines)| {
            let (short, detail, url, file, source) = texts;
            Event::Warning(Warning { vertex, level, short, detail, url, file, lines, source })
        })
    }

    proptest! {
        #[test]
        fn what_is_written_can_be_read(
            vertices in proptest::collection::vec(vertex(), 0..4),
            parts in proptest::collection::vec(part(), 0..4),
            logs in proptest::collection::vec(log(), 0..4),
            warnings in proptest::collection::vec(warning(), 0..4),
        ) {
            let events: Vec<Event> = [vertices, parts, logs, warnings].concat();
            let json = serde_json::to_vec(&solve_status(&events)).unwrap();
            prop_assert_eq!(parse_status(&json).unwrap(), events);
        }

        #[test]
        fn nothing_breaks_it(json in "[\\[\\]{}\":,a-z0-9]{0,40}") {
            let _ = parse_status(json.as_bytes());
        }
    }

    #[test]
    fn what_go_adds_is_no_error() {
        let json = br#"{"vertexes":[{"digest":"sha256:a","constraint":1,"started":null}],"more":{}}"#;
        let vertex = Vertex { digest: "sha256:a".to_owned(), ..Vertex::default() };
        assert_eq!(parse_status(json).unwrap(), [Event::Vertex(vertex)]);
        assert!(parse_status(br#"{"logs":[{"data":"*"}]}"#).is_err());
        assert!(parse_status(b"ERROR: failed").is_err());
    }
}

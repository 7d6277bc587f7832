//! Events as `--progress=rawjson` writes them.

use base64::display::Base64Display;
use base64::engine::GeneralPurpose;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use serde::ser::{Serialize, Serializer};

use crate::event::{Event, Log, Stream, Vertex, VertexStatus, Warning};

/// Events as one JSON object: BuildKit's `client.SolveStatus`, with the names and forms that Go gives it.
#[derive(Debug, serde::Serialize)]
pub struct SolveStatus<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    vertexes: Vec<&'a Vertex>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    statuses: Vec<&'a VertexStatus>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    logs: Vec<VertexLog<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<VertexWarning<'a>>,
}

/// Sorts events into the lists of a [`SolveStatus`], each in their order.
pub fn solve_status(events: &[Event]) -> SolveStatus<'_> {
    let mut status =
        SolveStatus { vertexes: Vec::new(), statuses: Vec::new(), logs: Vec::new(), warnings: Vec::new() };
    for event in events {
        match event {
            Event::Vertex(vertex) => status.vertexes.push(vertex),
            Event::Status(part) => status.statuses.push(part),
            Event::Log(log) => status.logs.push(VertexLog::new(log)),
            Event::Warning(warning) => status.warnings.push(VertexWarning::new(warning)),
        }
    }
    status
}

/// Bytes, which Go writes in base64.
#[derive(Debug)]
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Base64Display::<GeneralPurpose>::new(self.0, &BASE64_STANDARD))
    }
}

#[derive(Debug, serde::Serialize)]
struct VertexLog<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    vertex: &'a str,
    stream: u8,
    data: Bytes<'a>,
    timestamp: Timestamp,
}

impl<'a> VertexLog<'a> {
    fn new(log: &'a Log) -> Self {
        let stream = match log.stream {
            Stream::Stdout => 1,
            Stream::Stderr => 2,
        };
        Self { vertex: &log.vertex, stream, data: Bytes(&log.data), timestamp: log.timestamp }
    }
}

#[derive(Debug, serde::Serialize)]
struct VertexWarning<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    vertex: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    level: u32,
    #[serde(skip_serializing_if = "Bytes::is_empty")]
    short: Bytes<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    detail: Vec<Bytes<'a>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    url: &'a str,
    #[serde(rename = "sourceInfo", skip_serializing_if = "Option::is_none")]
    source_info: Option<SourceInfo<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    range: Vec<Range>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

impl<'a> VertexWarning<'a> {
    fn new(warning: &'a Warning) -> Self {
        let has_source = !(warning.file.is_empty() && warning.source.is_empty());
        Self {
            vertex: &warning.vertex,
            level: warning.level,
            short: Bytes(warning.short.as_bytes()),
            detail: warning.detail.iter().map(|line| Bytes(line.as_bytes())).collect(),
            url: &warning.url,
            source_info: has_source
                .then(|| SourceInfo { filename: &warning.file, data: Bytes(warning.source.as_bytes()) }),
            range: warning
                .lines
                .iter()
                .map(|&(start, end)| Range { start: Position { line: start }, end: Position { line: end } })
                .collect(),
        }
    }
}

#[derive(Debug, serde::Serialize)]
struct SourceInfo<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    filename: &'a str,
    #[serde(skip_serializing_if = "Bytes::is_empty")]
    data: Bytes<'a>,
}

#[derive(Debug, serde::Serialize)]
struct Range {
    start: Position,
    end: Position,
}

#[derive(Debug, serde::Serialize)]
struct Position {
    #[serde(skip_serializing_if = "is_zero")]
    line: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::ProgressGroup;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn has_the_form_go_gives_it() {
        let events = [
            Event::Log(Log {
                vertex: "sha256:a".to_owned(),
                stream: Stream::Stderr,
                data: b"hi\xff\n".to_vec(),
                timestamp: at("2024-05-06T07:08:09.123456789Z"),
            }),
            Event::Vertex(Vertex {
                digest: "sha256:a".to_owned(),
                inputs: vec!["sha256:b".to_owned()],
                name: "[1/2] RUN <x>".to_owned(),
                started: Some(at("2024-05-06T07:08:09.5Z")),
                completed: Some(at("2024-05-06T07:08:10Z")),
                cached: true,
                error: Some("no".to_owned()),
                progress_group: Some(ProgressGroup { id: "g".to_owned(), ..ProgressGroup::default() }),
            }),
            Event::Vertex(Vertex { digest: "sha256:b".to_owned(), ..Vertex::default() }),
            Event::Status(VertexStatus {
                id: "extracting".to_owned(),
                vertex: "sha256:a".to_owned(),
                total: 5,
                ..VertexStatus::default()
            }),
            Event::Warning(Warning {
                vertex: "sha256:a".to_owned(),
                level: 1,
                short: "Short".to_owned(),
                detail: vec!["One".to_owned(), "Two".to_owned()],
                url: "https://x".to_owned(),
                file: "Dockerfile".to_owned(),
                lines: vec![(3, 4)],
                source: "FROM a".to_owned(),
            }),
        ];
        insta::assert_snapshot!(serde_json::to_string_pretty(&solve_status(&events)).unwrap(), @r#"
        {
          "vertexes": [
            {
              "digest": "sha256:a",
              "inputs": [
                "sha256:b"
              ],
              "name": "[1/2] RUN <x>",
              "started": "2024-05-06T07:08:09.5Z",
              "completed": "2024-05-06T07:08:10Z",
              "cached": true,
              "error": "no",
              "progressGroup": {
                "id": "g"
              }
            },
            {
              "digest": "sha256:b"
            }
          ],
          "statuses": [
            {
              "id": "extracting",
              "vertex": "sha256:a",
              "total": 5,
              "current": 0,
              "timestamp": "0001-01-01T00:00:00Z"
            }
          ],
          "logs": [
            {
              "vertex": "sha256:a",
              "stream": 2,
              "data": "aGn/Cg==",
              "timestamp": "2024-05-06T07:08:09.123456789Z"
            }
          ],
          "warnings": [
            {
              "vertex": "sha256:a",
              "level": 1,
              "short": "U2hvcnQ=",
              "detail": [
                "T25l",
                "VHdv"
              ],
              "url": "https://x",
              "sourceInfo": {
                "filename": "Dockerfile",
                "data": "RlJPTSBh"
              },
              "range": [
                {
                  "start": {
                    "line": 3
                  },
                  "end": {
                    "line": 4
                  }
                }
              ]
            }
          ]
        }
        "#);
    }

    #[test]
    fn leaves_out_what_go_leaves_out() {
        assert_eq!(serde_json::to_string(&solve_status(&[])).unwrap(), "{}");
        let events = [Event::Warning(Warning::default()), Event::Vertex(Vertex::default())];
        assert_eq!(
            serde_json::to_string(&solve_status(&events)).unwrap(),
            r#"{"vertexes":[{}],"warnings":[{}]}"#
        );
    }
}

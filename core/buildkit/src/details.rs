//! What a daemon says about an error besides its message.
//!
//! `BuildKit` sends them in `grpc-status-details-bin`, under the names of its Go types, as JSON.

use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use rbx_request::SourceRange;
use serde::Deserialize;

use crate::proto::rpc;

/// The most details that are read.
const DETAILS: usize = 256;
/// The longest Dockerfile that is taken.
const SOURCE: usize = 4 << 20;
/// The most ranges that are taken of one.
const RANGES: usize = 256;

/// What a daemon says about an error besides its message.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Details {
    /// The digest of the vertex that failed.
    pub(crate) vertex: Option<String>,
    /// Where it is in the sources, the innermost first. Those that BuildKit tells of one text have one text.
    pub(crate) sources: Vec<SourceRange>,
    /// The subrequest that the frontend does not know.
    pub(crate) subrequest: Option<String>,
    /// What the process that failed ended with.
    pub(crate) exit_code: Option<i32>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Vertex {
    digest: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Named {
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Exit {
    #[serde(rename = "Code")]
    code: u32,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Source {
    info: Option<Info>,
    ranges: Vec<Range>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Info {
    filename: String,
    data: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Range {
    start: Option<Position>,
    end: Option<Position>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Position {
    line: i64,
}

impl Details {
    /// Reads those that are known. What cannot be read is left out: the message is what matters.
    pub(crate) fn read(status: &rpc::Status) -> Self {
        let mut details = Self::default();
        for any in status.details.iter().take(DETAILS) {
            let name = any.type_url.rsplit('/').next().unwrap_or_default();
            let value = any.value.as_slice();
            match name.strip_suffix("+json").unwrap_or(name) {
                "errdefs.Vertex" => {
                    details.vertex = json(value).map(|vertex: Vertex| vertex.digest).or(details.vertex);
                }
                "errdefs.Source" => {
                    details.sources.extend(json(value).map(Source::into_ranges).unwrap_or_default());
                }
                "errdefs.Subrequest" => {
                    details.subrequest = json(value).map(|it: Named| it.name).or(details.subrequest);
                }
                "gatewayapi.ExitMessage" => {
                    let code = json(value).and_then(|exit: Exit| i32::try_from(exit.code).ok());
                    details.exit_code = code.or(details.exit_code);
                }
                _ => {}
            }
        }
        details
    }
}

fn json<'a, T: Deserialize<'a>>(value: &'a [u8]) -> Option<T> {
    serde_json::from_slice(value).ok()
}

impl Source {
    /// The file with the lines of each range.
    fn into_ranges(self) -> Vec<SourceRange> {
        let Some(info) = self.info else { return Vec::new() };
        let line = |position: Option<Position>| u32::try_from(position?.line).ok();
        let lines = self.ranges.into_iter().filter_map(|range| {
            let first = line(range.start)?;
            Some((first, line(range.end).unwrap_or(first).max(first)))
        });
        if info.data.len() > SOURCE {
            return Vec::new();
        }
        let Ok(text) = BASE64_STANDARD.decode(info.data) else { return Vec::new() };
        let text: Arc<str> = String::from_utf8_lossy(&text).into();
        let range =
            |(first, last)| SourceRange { file: info.filename.clone(), text: text.clone(), first, last };
        lines.take(RANGES).map(range).collect()
    }
}

#[cfg(test)]
mod tests {
    use bollard_buildkit_proto::google::protobuf::Any;
    use proptest::prelude::*;

    use super::*;

    fn read(details: &[(&str, &str)]) -> Details {
        let any = |(name, json): &(&str, &str)| Any {
            type_url: format!("github.com/moby/buildkit/{name}+json"),
            value: json.as_bytes().to_vec(),
        };
        let details = details.iter().map(any).collect();
        Details::read(&rpc::Status { code: 2, message: "no".to_owned(), details })
    }

    #[test]
    fn what_is_known_is_read() {
        // "RlJPTSBhClJVTiBiCg==" is "FROM a\nRUN b\n".
        let source = r#"{"info":{"filename":"d","data":"RlJPTSBhClJVTiBiCg==","language":"Dockerfile"},
            "ranges":[{"start":{"line":2},"end":{"line":2}},{"start":{"line":1},"end":{}}]}"#;
        let details = read(&[
            ("stack.Stack", r#"{"frames":[{"Name":"main","File":"x.go","Line":1}],"pid":1}"#),
            ("errdefs.Vertex", r#"{"digest":"sha256:a"}"#),
            ("errdefs.Source", source),
            ("errdefs.Subrequest", r#"{"name":"frontend.lint"}"#),
            ("gatewayapi.ExitMessage", r#"{"Code":137}"#),
        ]);
        let text: Arc<str> = Arc::from("FROM a\nRUN b\n");
        let range = |first, last| SourceRange { file: "d".to_owned(), text: text.clone(), first, last };
        let expected = Details {
            vertex: Some("sha256:a".to_owned()),
            sources: vec![range(2, 2), range(1, 1)],
            subrequest: Some("frontend.lint".to_owned()),
            exit_code: Some(137),
        };
        assert_eq!(details, expected);
    }

    #[test]
    fn what_makes_no_sense_is_left_out() {
        let details = read(&[
            ("errdefs.Vertex", "{"),
            ("errdefs.Vertex", r#"{"digest":1}"#),
            ("errdefs.Source", r#"{"info":{"filename":"d","data":"!"},"ranges":[{"start":{"line":2}}]}"#),
            ("errdefs.Source", r#"{"info":{"filename":"d"},"ranges":[{"start":{"line":-2}}]}"#),
            ("errdefs.Source", r#"{"info":{"filename":"d"},"ranges":[]}"#),
            ("gatewayapi.ExitMessage", r#"{"Code":4294967295}"#),
        ]);
        assert_eq!(details, Details::default());
    }

    proptest! {
        #[test]
        fn nothing_breaks_it(name in "[a-z.]{0,9}|errdefs.(Source|Vertex)", json in "[\\[\\]{}\":,a-z0-9-]{0,60}") {
            read(&[(&name, &json)]);
        }
    }
}

//! The answer to the call `targets`: the stages of a Dockerfile.

use std::fmt::Write as _;

use rbx_dockerfile::{Body, FromBody};
use rbx_request::CallAnswer;
use serde_json::{Map, Value, json};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::checks::Location;
use crate::source::Source;

/// Lists the stages as BuildKit's front end does.
pub(crate) fn answer(source: &Source) -> CallAnswer {
    let file = &source.file;
    let stages: Vec<_> = file.stages().collect();
    let mut rows = vec![("TARGET".to_owned(), "DESCRIPTION".to_owned())];
    let mut targets = Vec::new();
    for (index, stage) in stages.iter().enumerate() {
        let Body::From(FromBody { image, name, .. }) = &stage[0].body else { continue };
        let name = name.as_ref().map(|name| name.text.to_lowercase()).unwrap_or_default();
        let is_default = index + 1 == stages.len();
        let description = file.description(&stage[0], &name).unwrap_or_default();
        rows.push((
            match (name.as_str(), is_default) {
                ("", true) => "(default)".to_owned(),
                (name, true) => format!("{name} (default)"),
                (name, false) => name.to_owned(),
            },
            description.to_owned(),
        ));
        let location = Location::of(file.line_index.lines_of(stage[0].span));
        let platform = stage[0].flag_value("platform").map_or("", |value| value.text.as_str());
        let mut target = Map::new();
        for (key, text) in [
            ("name", name.as_str()),
            ("description", description),
            ("base", &image.text),
            ("platform", platform),
        ] {
            if !text.is_empty() {
                target.insert(key.to_owned(), text.into());
            }
        }
        if is_default {
            target.insert("default".to_owned(), true.into());
        }
        target.insert("location".to_owned(), json!(location));
        targets.push(Value::from(target));
    }
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0) + 1;
    let mut text = String::new();
    for (name, description) in rows {
        let _ = writeln!(text, "{name:width$}{description}");
    }
    let json = json!({ "targets": targets, "sources": [BASE64_STANDARD.encode(source.text.as_bytes())] });
    CallAnswer { json: serde_json::to_string_pretty(&json).ok(), text: Some(text), status: 0 }
}

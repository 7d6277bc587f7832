//! What a builder answers to `--call`, printed as buildx prints it.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rbx_request::{Call, CallAnswer};
use serde::Deserialize;

use crate::errors::CliError;

/// What is printed, and how the program ends.
#[derive(Debug)]
pub(crate) struct Printed {
    /// For standard output.
    pub(crate) text: String,
    /// The exit code, or what was wrong with the Dockerfile.
    pub(crate) ended: Result<u8, CliError>,
}

/// The answer to `lint`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Lint {
    warnings: Option<Vec<Warning>>,
    sources: Option<Vec<Source>>,
    #[serde(rename = "buildError")]
    error: Option<Wrong>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Warning {
    rule_name: String,
    url: String,
    detail: String,
    location: Location,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Wrong {
    message: String,
    location: Location,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Location {
    #[serde(rename = "sourceIndex")]
    source: i32,
    ranges: Vec<Range>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Range {
    start: Position,
    end: Position,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(default)]
struct Position {
    line: u32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Source {
    filename: String,
    data: String,
}

/// Lays out the answer to a call; `dockerfile` is the file as the user named it.
pub(crate) fn print(call: &Call, answer: &CallAnswer, dockerfile: &str) -> Result<Printed, CliError> {
    let for_programs = call.format.as_deref() == Some("json");
    let json = answer.json.as_deref().unwrap_or_default();
    // What an exit code has no room for is a failure all the same.
    let status =
        if call.ignore_status || answer.status == 0 { 0 } else { u8::try_from(answer.status).unwrap_or(1) };
    if call.name == "lint" {
        return lint(json, for_programs, status, dockerfile);
    }
    let text = if for_programs { format!("{json}\n") } else { answer.text.clone().unwrap_or_default() };
    // Nobody asks how these ended.
    let told = matches!(call.name.as_str(), "outline" | "targets" | "subrequests.describe");
    Ok(Printed { text, ended: Ok(if told { 0 } else { status }) })
}

fn lint(json: &str, for_programs: bool, status: u8, dockerfile: &str) -> Result<Printed, CliError> {
    let lint: Lint = if json.is_empty() {
        Lint::default()
    } else {
        serde_json::from_str(json)
            .map_err(|error| CliError::new(format!("{error}: the builder's answer to lint")))?
    };
    let (mut warnings, sources) = (lint.warnings.unwrap_or_default(), lint.sources.unwrap_or_default());
    let mut out = String::new();
    if for_programs {
        let _ = writeln!(out, "{json}");
    } else {
        match warnings.len() {
            0 => {}
            1 => out.push_str("Check complete, 1 warning has been found!\n"),
            count => {
                let _ = writeln!(out, "Check complete, {count} warnings have been found!");
            }
        }
        if warnings.iter().any(|it| source(&it.location, &sources).is_none() && it.location.source >= 0) {
            return Err(CliError::new("sourceIndex is out of range"));
        }
        warnings.sort_by_key(|warning| {
            let line = warning.location.ranges.first().map(|range| range.start.line);
            let file = source(&warning.location, &sources).map(|source| source.filename.clone());
            (file, line, line.is_none().then(|| warning.rule_name.clone()))
        });
        for warning in &warnings {
            let url = if warning.url.is_empty() { String::new() } else { format!(" - {}", warning.url) };
            let _ = writeln!(out, "\nWARNING: {}{}", clean(&warning.rule_name), clean(&url));
            let _ = writeln!(out, "{}", clean(&warning.detail));
            out.push_str(&snippet(&warning.location, &sources, dockerfile));
        }
    }
    if let Some(error) = lint.error {
        if !for_programs && !warnings.is_empty() {
            out.push('\n');
        }
        let place = snippet(&error.location, &sources, dockerfile);
        let error = CliError::new(format!("{}\n{}", error.message, place));
        return Ok(Printed { text: out, ended: Err(error) });
    }
    if warnings.is_empty() && !for_programs {
        out.push_str("Check complete, no warnings found.\n");
    }
    Ok(Printed { text: out, ended: Ok(status) })
}

fn source<'a>(location: &Location, sources: &'a [Source]) -> Option<&'a Source> {
    sources.get(usize::try_from(location.source).ok()?)
}

fn snippet(location: &Location, sources: &[Source], dockerfile: &str) -> String {
    let Some(source) = source(location, sources) else { return String::new() };
    let text = STANDARD.decode(&source.data).unwrap_or_default();
    let lines: Vec<(u32, u32)> =
        location.ranges.iter().map(|range| (range.start.line, range.end.line)).collect();
    rbx_progress::snippet(dockerfile, &String::from_utf8_lossy(&text), &lines)
}

/// A text of a Dockerfile, without what could direct a terminal.
fn clean(text: &str) -> String {
    text.split('\n').map(rbx_progress::clean).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn printed(call: &str, json: &str, status: i32) -> String {
        let call = Call::parse(call).unwrap().unwrap();
        let json = Some(json.to_owned()).filter(|json| !json.is_empty());
        let answer = CallAnswer { json, text: Some("TARGET:  x\n".to_owned()), status };
        match print(&call, &answer, "app/Dockerfile") {
            Ok(Printed { text, ended: Ok(code) }) => format!("{text}exit code {code}"),
            Ok(Printed { text, ended: Err(error) }) => format!("{text}ERROR: {}", error.message()),
            Err(error) => format!("no answer: {}", error.message()),
        }
    }

    fn warning(rule: &str, source: i32, line: u32) -> Value {
        json!({
            "ruleName": rule, "description": "d", "url": format!("https://docs/{rule}"), "detail": "wrong \u{1b}[31m",
            "location": { "sourceIndex": source, "ranges": [{ "start": { "line": line }, "end": { "line": line } }] },
        })
    }

    fn lint(warnings: &[Value], error: Option<Value>) -> String {
        let data = STANDARD.encode("FROM a\nRUN b\n");
        let sources = json!([{ "filename": "Dockerfile", "language": "Dockerfile", "data": data }]);
        let mut answer = json!({ "warnings": warnings, "sources": sources });
        if let Some(error) = error {
            answer["buildError"] = error;
        }
        answer.to_string()
    }

    #[test]
    fn findings_are_printed_as_by_buildx() {
        let none = lint(&[], None);
        for json in [none.as_str(), "", r#"{"warnings":null,"sources":null}"#] {
            assert_eq!(printed("check", json, 0), "Check complete, no warnings found.\nexit code 0");
        }
        let two = lint(&[warning("Second", 0, 2), warning("First", 0, 1)], None);
        insta::assert_snapshot!(printed("check", &two, 1), @r"
        Check complete, 2 warnings have been found!

        WARNING: First - https://docs/First
        wrong [31m
        app/Dockerfile:1
        --------------------
           1 | >>> FROM a
           2 |     RUN b
           3 |     
        --------------------

        WARNING: Second - https://docs/Second
        wrong [31m
        app/Dockerfile:2
        --------------------
           1 |     FROM a
           2 | >>> RUN b
           3 |     
        --------------------
        exit code 1
        ");
        assert!(printed("check,ignorestatus=true", &two, 1).ends_with("\nexit code 0"));
        assert_eq!(printed("check,format=json", &two, 1), format!("{two}\nexit code 1"));
    }

    #[test]
    fn what_cannot_be_built_is_an_error() {
        let error =
            json!({ "message": "no such stage", "location": { "ranges": [{ "start": { "line": 2 } }] } });
        let answer = lint(&[], Some(error));
        insta::assert_snapshot!(printed("check", &answer, 1), @r"
        ERROR: no such stage
        app/Dockerfile:2
        --------------------
           1 |     FROM a
           2 | >>> RUN b
           3 |     
        --------------------
        ");
        let outside = lint(&[warning("A", 7, 1)], None);
        assert_eq!(printed("check", &outside, 1), "no answer: sourceIndex is out of range");
        assert!(printed("check", "{", 1).starts_with("no answer: EOF"));
        let nowhere = lint(&[warning("A", -1, 1)], None);
        assert!(printed("check", &nowhere, 0).ends_with("wrong [31m\nexit code 0"));
    }

    #[test]
    fn other_answers_are_printed_as_they_come() {
        assert_eq!(printed("outline", "{}", 3), "TARGET:  x\nexit code 0");
        assert_eq!(printed("targets,format=json", "{}", 3), "{}\nexit code 0");
        assert_eq!(printed("other", "{}", 3), "TARGET:  x\nexit code 3");
        assert_eq!(printed("other", "{}", 300), "TARGET:  x\nexit code 1");
    }
}

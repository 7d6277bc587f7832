//! The run of GitHub's Actions that a builder is booted in: buildx has it put into provenance.

use std::fs::File;
use std::io::Read;

use serde_json::{Map, Value};

use crate::env::Env;
use crate::errors::CliError;

/// Bound on the description of an event, in bytes.
const EVENT_LIMIT: u64 = 25 << 20;

/// Variables that count together: where one of them is missing, none is told. Their names in what is told are in lower
/// case, unless it is said otherwise.
const GROUPS: [&[&str]; 5] = [
    &["GITHUB_ACTOR", "GITHUB_ACTOR_ID", "GITHUB_TRIGGERING_ACTOR"],
    &["GITHUB_REF", "GITHUB_REF_NAME", "GITHUB_REF_PROTECTED", "GITHUB_REF_TYPE"],
    &["GITHUB_REPOSITORY", "GITHUB_REPOSITORY_ID", "GITHUB_REPOSITORY_OWNER", "GITHUB_REPOSITORY_OWNER_ID"],
    &[
        "GITHUB_JOB",
        "GITHUB_RUN_ATTEMPT",
        "GITHUB_RUN_ID",
        "GITHUB_RUN_NUMBER",
        "GITHUB_SERVER_URL",
        "GITHUB_WORKFLOW",
        "GITHUB_WORKFLOW_REF",
        "GITHUB_WORKFLOW_SHA",
    ],
    &[
        "ImageOS",
        "ImageVersion",
        "RUNNER_ARCH",
        "RUNNER_ENVIRONMENT",
        "RUNNER_NAME",
        "RUNNER_OS",
        "RUNNER_TRACKING_ID",
    ],
];

/// What is known of the run, as JSON; `None` where this is no run of GitHub's.
pub(super) fn context(env: &Env) -> Result<Option<Vec<u8>>, CliError> {
    let running = env.filled("GITHUB_ACTIONS").is_some_and(|it| rbx_request::parse_bool(it) == Ok(true));
    let (Some(name), Some(path)) = (env.filled("GITHUB_EVENT_NAME"), env.path("GITHUB_EVENT_PATH")) else {
        return Ok(None);
    };
    if !running {
        return Ok(None);
    }
    let mut known = Map::new();
    known.insert("github_event_name".to_owned(), name.into());
    let failed = |what: &str, reason: String| {
        CliError::new(format!("failed to {what} GITHUB_EVENT_PATH {:?}: {reason}", path.display()))
    };
    let mut text = Vec::new();
    let read = File::open(&path).and_then(|file| file.take(EVENT_LIMIT + 1).read_to_end(&mut text));
    read.map_err(|error| failed("read", error.to_string()))?;
    if text.len() as u64 > EVENT_LIMIT {
        return Err(failed("read", "file too large".to_owned()));
    }
    let event: Map<String, Value> =
        serde_json::from_slice(&text).map_err(|error| failed("parse", error.to_string()))?;
    known.insert("github_event_payload".to_owned(), event.into());
    for group in GROUPS {
        let values = group.iter().map(|name| Some((told(name), env.filled(name)?)));
        let Some(values) = values.collect::<Option<Vec<_>>>() else { continue };
        known.extend(values.into_iter().map(|(name, value)| (name, value.into())));
    }
    Ok(Some(Value::from(known).to_string().into_bytes()))
}

/// What a variable is called in what is told.
fn told(variable: &str) -> String {
    match variable {
        "ImageOS" => "github_runner_image_os".to_owned(),
        "ImageVersion" => "github_runner_image_version".to_owned(),
        _ if variable.starts_with("RUNNER_") => format!("github_{}", variable.to_ascii_lowercase()),
        _ => variable.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_a_run_is_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), r#"{"ref":"refs/heads/main"}"#).unwrap();
        let path = file.path().to_str().unwrap();
        let mut variables = vec![("GITHUB_EVENT_NAME", "push"), ("GITHUB_EVENT_PATH", path)];
        let shown = |variables: &[(&str, &str)]| {
            context(&Env::with(variables)).unwrap().map(|json| String::from_utf8(json).unwrap())
        };
        assert_eq!(shown(&variables), None);
        variables.push(("GITHUB_ACTIONS", "true"));
        let event = r#""github_event_name":"push","github_event_payload":{"ref":"refs/heads/main"}"#;
        assert_eq!(shown(&variables), Some(format!("{{{event}}}")));
        // One alone is not enough.
        variables.extend([("GITHUB_ACTOR", "ann"), ("GITHUB_ACTOR_ID", "7")]);
        assert_eq!(shown(&variables), Some(format!("{{{event}}}")));
        variables.push(("GITHUB_TRIGGERING_ACTOR", "ann"));
        let actor = r#""github_actor":"ann","github_actor_id":"7","github_triggering_actor":"ann""#;
        assert_eq!(shown(&variables), Some(format!("{{{event},{actor}}}")));
        assert_eq!(told("RUNNER_OS"), "github_runner_os");
        variables[1].1 = "/nonexistent";
        let error = context(&Env::with(&variables)).unwrap_err();
        assert!(error.message().starts_with("failed to read GITHUB_EVENT_PATH \"/nonexistent\": "));
    }
}

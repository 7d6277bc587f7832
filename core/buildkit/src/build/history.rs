//! What a daemon's history has of a build.

use jiff::Timestamp;
use rbx_oci::{Digest, media_type};
use rbx_request::{Cancel, Event, EventSender, Failure, Metadata, Vertex};
use serde_json::Value;

use super::provenance::shown;
use super::settings::MetadataProvenance;
use crate::Client;
use crate::error::Error;
use crate::proto::control;

/// The key of a build's provenance in its metadata.
const KEY: &str = "buildx.build.provenance";
/// The annotation that says what an attestation is about.
const PREDICATE_TYPE: &str = "in-toto.io/predicate-type";
const PROVENANCE: &str = "https://slsa.dev/provenance/";
/// Bytes that the provenance of one platform may have.
const LIMIT: i64 = 64 << 20;
/// Results of one build, at most: one for each platform.
const RESULTS: usize = 1000;

/// The provenance of a build, as its metadata has it: nothing where the daemon has no history, or recorded none.
pub(super) async fn provenance(
    client: &Client,
    reference: &str,
    mode: MetadataProvenance,
    events: &EventSender,
    cancel: &Cancel,
) -> Result<Metadata, Failure> {
    if mode == MetadataProvenance::Disabled {
        return Ok(Metadata::new());
    }
    let name = "resolving provenance for metadata file";
    let mut vertex = Vertex {
        digest: Digest::sha256_of(format!("{name} {reference}").as_bytes()).to_string(),
        name: name.to_owned(),
        started: Some(Timestamp::now()),
        ..Vertex::default()
    };
    events.send(Event::Vertex(vertex.clone()));
    let fetch = Box::pin(async {
        fetch(client, reference, mode).await.map_err(|error| error.into_failure(|_| Some(name.to_owned())))
    });
    let fetched = cancel.unless(fetch).await;
    vertex.completed = Some(Timestamp::now());
    vertex.error = fetched.as_ref().err().map(|failure| failure.reason.clone());
    events.send(Event::Vertex(vertex));
    fetched
}

async fn fetch(client: &Client, reference: &str, mode: MetadataProvenance) -> Result<Metadata, Error> {
    let mut found = Metadata::new();
    let request = control::BuildHistoryRequest {
        r#ref: reference.to_owned(),
        early_exit: true,
        ..control::BuildHistoryRequest::default()
    };
    let mut history = match client.control().listen_build_history(request).await.map_err(Error::from) {
        Ok(history) => history.into_inner(),
        Err(error) if error.is_unimplemented() => return Ok(found),
        Err(error) => return Err(error),
    };
    let mut results = Vec::new();
    loop {
        let event = match history.message().await.map_err(Error::from) {
            Ok(Some(event)) => event,
            Ok(None) => break,
            Err(error) if error.is_unimplemented() => break,
            Err(error) => return Err(error),
        };
        let Some(record) = event.record else { continue };
        if record.results.is_empty() {
            results.extend(record.result.map(|result| (KEY.to_owned(), result)));
        } else {
            let keyed =
                record.results.into_iter().map(|(platform, result)| (format!("{KEY}/{platform}"), result));
            results.extend(keyed);
        }
        results.truncate(RESULTS);
    }
    for (key, result) in results {
        let is_provenance = |it: &&control::Descriptor| {
            let about = it.annotations.get(PREDICATE_TYPE);
            it.media_type == media_type::IN_TOTO && about.is_some_and(|about| about.starts_with(PROVENANCE))
        };
        let Some(attestation) = result.attestations.iter().find(is_provenance) else { continue };
        let predicate: Value = serde_json::from_slice(&read(client, attestation).await?)
            .map_err(|error| Error::answer(&format!("{error}: failed to read provenance of the build")))?;
        let predicate_type = attestation.annotations.get(PREDICATE_TYPE).map(String::as_str);
        found.insert(key, shown(predicate, predicate_type.unwrap_or_default(), mode));
    }
    Ok(found)
}

/// Reads a blob that the daemon has.
async fn read(client: &Client, blob: &control::Descriptor) -> Result<Vec<u8>, Error> {
    let damaged = |why: &str| Error::answer(&format!("{why}: failed to read provenance {}", blob.digest));
    let expected = Digest::parse(&blob.digest).map_err(|error| damaged(&error.to_string()))?;
    if blob.size > LIMIT {
        return Err(damaged("it is too large"));
    }
    let mut parts = client.read_content(expected).await?;
    let mut content = Vec::new();
    while let Some(part) = parts.message().await.map_err(Error::from)? {
        content.extend_from_slice(&part.data);
        if i64::try_from(content.len()).is_ok_and(|length| length > LIMIT) {
            return Err(damaged("it is too large"));
        }
    }
    if Digest::sha256_of(&content) == expected { Ok(content) } else { Err(damaged("it is damaged")) }
}

//! What a daemon remembers about builds.

use std::collections::BTreeMap;

use rbx_oci::Digest;
use serde_json::{Map, Value, json};
use tonic::Request;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic_prost::ProstCodec;

use crate::client::{Client, MESSAGE, quick};
use crate::error::Error;
use crate::proto::control;

/// The largest provenance that is read.
const BLOB: usize = 64 << 20;
/// For how many platforms it is read.
const PLATFORMS: usize = 256;

/// How much of a provenance is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProvenanceMode {
    /// Without the steps and the times of the build.
    Min,
    /// All of it.
    Max,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ReadContentRequest {
    #[prost(string, tag = "1")]
    digest: String,
    #[prost(int64, tag = "2")]
    offset: i64,
    #[prost(int64, tag = "3")]
    size: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ReadContentResponse {
    #[prost(int64, tag = "1")]
    offset: i64,
    #[prost(bytes = "vec", tag = "2")]
    data: Vec<u8>,
}

impl Client {
    /// Whether the daemon remembers builds.
    pub async fn has_history(&self) -> bool {
        // The name that buildx asks for, too: no build has it.
        let events = self.records("buildx-test-history-api-feature");
        quick(events).await.is_ok()
    }

    /// The provenance of a build by the keys that `--metadata-file` has it under, `buildx.build.provenance` or, of
    /// several platforms, `buildx.build.provenance/PLATFORM`. It is that of SLSA 0.2, whichever the daemon keeps.
    ///
    /// Nothing if the daemon has none of the build.
    pub async fn provenance(
        &self,
        build: &str,
        mode: ProvenanceMode,
    ) -> Result<BTreeMap<String, Value>, Error> {
        let mut events = self.records(build).await?.into_inner();
        let mut found = BTreeMap::new();
        while let Some(event) = events.message().await? {
            let Some(record) = event.record.filter(|record| record.r#ref == build) else { continue };
            let results =
                record.results.into_iter().map(|(platform, result)| (format!("/{platform}"), result));
            let results: Vec<_> = match record.result {
                Some(result) if results.len() == 0 => vec![(String::new(), result)],
                _ => results.take(PLATFORMS).collect(),
            };
            for (platform, result) in results {
                if let Some((descriptor, kind)) = attestation(&result) {
                    let blob = self.blob(descriptor).await?;
                    let provenance = provenance(&blob, kind, mode)?;
                    found.insert(format!("buildx.build.provenance{platform}"), provenance);
                }
            }
        }
        Ok(found)
    }

    /// What the daemon has recorded about a build until now.
    async fn records(
        &self,
        build: &str,
    ) -> Result<tonic::Response<tonic::Streaming<control::BuildHistoryEvent>>, tonic::Status> {
        let request = control::BuildHistoryRequest {
            r#ref: build.to_owned(),
            early_exit: true,
            ..control::BuildHistoryRequest::default()
        };
        self.control().listen_build_history(request).await
    }

    /// A blob of the daemon's history.
    async fn blob(&self, descriptor: &control::Descriptor) -> Result<Vec<u8>, Error> {
        let digest = Digest::parse(&descriptor.digest).map_err(|error| Error::answer(&error.to_string()))?;
        let mut service = Grpc::new(self.channel()).max_decoding_message_size(MESSAGE);
        service.ready().await.map_err(Error::transport)?;
        let request = ReadContentRequest { digest: digest.to_string(), offset: 0, size: 0 };
        let path = PathAndQuery::from_static("/containerd.services.content.v1.Content/Read");
        let codec = ProstCodec::<ReadContentRequest, ReadContentResponse>::default();
        let mut parts = service.server_streaming(Request::new(request), path, codec).await?.into_inner();
        let mut blob = Vec::new();
        while let Some(part) = parts.message().await? {
            blob.extend(part.data);
            if blob.len() > BLOB {
                return Err(Error::answer(&format!("{digest} in the builder's history is too large")));
            }
        }
        if Digest::sha256_of(&blob) != digest {
            return Err(Error::answer(&format!("{digest} in the builder's history has another digest")));
        }
        Ok(blob)
    }
}

/// The provenance among the attestations of a result, and which kind it is.
fn attestation(result: &control::BuildResultInfo) -> Option<(&control::Descriptor, &str)> {
    result.attestations.iter().find_map(|descriptor| {
        let kind = descriptor.annotations.get("in-toto.io/predicate-type")?;
        let is = descriptor.media_type == "application/vnd.in-toto+json"
            && kind.starts_with("https://slsa.dev/provenance/");
        is.then_some((descriptor, kind.as_str()))
    })
}

/// A provenance as `--metadata-file` has it.
fn provenance(blob: &[u8], kind: &str, mode: ProvenanceMode) -> Result<Value, Error> {
    let invalid =
        |error| Error::answer(&format!("the provenance in the builder's history is not valid: {error}"));
    let mut predicate: Map<String, Value> = serde_json::from_slice(blob).map_err(invalid)?;
    if kind == "https://slsa.dev/provenance/v1" {
        predicate = as_slsa_02(&Value::Object(predicate));
    }
    if mode == ProvenanceMode::Min {
        predicate.shift_remove("buildConfig");
        predicate.shift_remove("metadata");
    }
    Ok(Value::Object(predicate))
}

/// A provenance of SLSA 1 as one of SLSA 0.2, the way `BuildKit` does it.
fn as_slsa_02(provenance: &Value) -> Map<String, Value> {
    let definition = &provenance["buildDefinition"];
    let (external, internal) = (&definition["externalParameters"], &definition["internalParameters"]);
    let details = &provenance["runDetails"];
    let or_false = |value: &Value| json!(value.as_bool().unwrap_or_default());

    let mut environment = internal.as_object().cloned().unwrap_or_default();
    environment.shift_remove("buildConfig");
    let platform = environment.shift_remove("builderPlatform").unwrap_or_else(|| json!(""));
    environment.insert("platform".to_owned(), platform);
    environment.sort_keys();

    let materials = definition["resolvedDependencies"].as_array().map(|dependencies| {
        let materials =
            dependencies.iter().map(|dependency| picked(dependency, &[("uri", "uri"), ("digest", "digest")]));
        Value::Array(materials.collect())
    });
    let source = [("uri", "uri"), ("digest", "digest"), ("path", "entryPoint")];

    let mut predicate = Map::new();
    predicate
        .insert("builder".to_owned(), json!({ "id": details["builder"]["id"].as_str().unwrap_or_default() }));
    predicate.insert("buildType".to_owned(), json!("https://mobyproject.org/buildkit@v1"));
    predicate.extend(materials.map(|materials| ("materials".to_owned(), materials)));
    let invocation = json!({
        "configSource": picked(&external["configSource"], &source),
        "parameters": external.get("request").cloned().unwrap_or_else(|| json!({})),
        "environment": environment,
    });
    predicate.insert("invocation".to_owned(), invocation);
    if let Some(config) = internal.get("buildConfig").filter(|config| !config.is_null()) {
        predicate.insert("buildConfig".to_owned(), config.clone());
    }
    let metadata = &details["metadata"];
    if metadata.is_object() {
        let times = [
            ("invocationId", "buildInvocationID"),
            ("startedOn", "buildStartedOn"),
            ("finishedOn", "buildFinishedOn"),
        ];
        let mut answer = picked(metadata, &times);
        let completeness = &metadata["buildkit_completeness"];
        answer["completeness"] = json!({
            "parameters": or_false(&completeness["request"]),
            "environment": true,
            "materials": or_false(&completeness["resolvedDependencies"]),
        });
        answer["reproducible"] = or_false(&metadata["buildkit_reproducible"]);
        answer["https://mobyproject.org/buildkit@v1#metadata"] =
            metadata.get("buildkit_metadata").cloned().unwrap_or_else(|| json!({}));
        if metadata["buildkit_hermetic"] == json!(true) {
            answer["https://mobyproject.org/buildkit@v1#hermetic"] = json!(true);
        }
        predicate.insert("metadata".to_owned(), answer);
    }
    predicate
}

/// An object of these fields of another, by their new names.
fn picked(object: &Value, fields: &[(&str, &str)]) -> Value {
    let fields = fields.iter().filter_map(|(from, to)| Some(((*to).to_owned(), object.get(from)?.clone())));
    Value::Object(fields.collect())
}

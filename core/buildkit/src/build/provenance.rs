//! The provenance of a build, as its metadata has it.

use serde_json::{Map, Value, json};

use super::settings::MetadataProvenance;

/// The older form of provenance, which metadata is in whatever the daemon writes.
const BUILD_TYPE: &str = "https://mobyproject.org/buildkit@v1";
/// The newer form.
const SLSA_1: &str = "https://slsa.dev/provenance/v1";

/// What metadata says of a predicate that a daemon recorded.
pub(super) fn shown(predicate: Value, predicate_type: &str, mode: MetadataProvenance) -> Value {
    let mut shown = if predicate_type == SLSA_1 { older(&predicate) } else { predicate };
    if mode == MetadataProvenance::Min
        && let Value::Object(fields) = &mut shown
    {
        fields.remove("buildConfig");
        fields.remove("metadata");
    }
    shown
}

/// A predicate of SLSA 1 in the form of SLSA 0.2, as BuildKit converts it.
fn older(predicate: &Value) -> Value {
    let (definition, run) = (&predicate["buildDefinition"], &predicate["runDetails"]);
    let (external, internal) = (&definition["externalParameters"], &definition["internalParameters"]);
    let materials: Vec<Value> = definition["resolvedDependencies"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|dependency| object([("uri", &dependency["uri"]), ("digest", &dependency["digest"])]))
        .collect();
    let source = &external["configSource"];
    let source =
        object([("uri", &source["uri"]), ("digest", &source["digest"]), ("entryPoint", &source["path"])]);

    let mut environment = Map::new();
    for (key, value) in internal.as_object().into_iter().flatten() {
        match key.as_str() {
            "buildConfig" => {}
            "builderPlatform" => drop(environment.insert("platform".to_owned(), value.clone())),
            key => drop(environment.insert(key.to_owned(), value.clone())),
        }
    }
    let mut shown = Map::from_iter([
        ("builder".to_owned(), object([("id", &run["builder"]["id"])])),
        ("buildType".to_owned(), json!(BUILD_TYPE)),
        ("materials".to_owned(), Value::Array(materials)),
        (
            "invocation".to_owned(),
            json!({
                "configSource": source,
                "parameters": external["request"],
                "environment": environment,
            }),
        ),
    ]);
    if !internal["buildConfig"].is_null() {
        shown.insert("buildConfig".to_owned(), internal["buildConfig"].clone());
    }
    let metadata = &run["metadata"];
    if metadata.is_object() {
        let complete = &metadata["buildkit_completeness"];
        let of = |value: &Value| value.as_bool().unwrap_or_default();
        let mut older = object([
            ("buildInvocationID", &metadata["invocationId"]),
            ("buildStartedOn", &metadata["startedOn"]),
            ("buildFinishedOn", &metadata["finishedOn"]),
        ]);
        older["completeness"] = json!({
            "parameters": of(&complete["request"]),
            "environment": true,
            "materials": of(&complete["resolvedDependencies"]),
        });
        older["reproducible"] = json!(of(&metadata["buildkit_reproducible"]));
        older["https://mobyproject.org/buildkit@v1#metadata"] = metadata["buildkit_metadata"].clone();
        if of(&metadata["buildkit_hermetic"]) {
            older["https://mobyproject.org/buildkit@v1#hermetic"] = json!(true);
        }
        shown.insert("metadata".to_owned(), older);
    }
    Value::Object(shown)
}

/// An object of those fields that there are.
fn object<const N: usize>(fields: [(&str, &Value); N]) -> Value {
    let there = fields.into_iter().filter(|(_, value)| !value.is_null());
    Value::Object(there.map(|(key, value)| (key.to_owned(), value.clone())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn newer() -> Value {
        json!({
            "buildDefinition": {
                "buildType": "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md",
                "externalParameters": {
                    "configSource": {"uri": "https://h/x.git", "digest": {"sha1": "c"}, "path": "Dockerfile"},
                    "request": {"frontend": "dockerfile.v0"},
                },
                "internalParameters": {
                    "buildConfig": {"llbDefinition": []}, "builderPlatform": "linux/amd64", "custom": 1,
                },
                "resolvedDependencies": [{"uri": "pkg:docker/a", "digest": {"sha256": "d"}, "name": "n"}],
            },
            "runDetails": {
                "builder": {"id": "me"},
                "metadata": {
                    "invocationId": "i", "startedOn": "s", "finishedOn": "f",
                    "buildkit_metadata": {"source": {}}, "buildkit_hermetic": true,
                    "buildkit_completeness": {"request": true, "resolvedDependencies": false},
                },
            },
        })
    }

    #[test]
    fn the_newer_form_is_written_in_the_older() {
        let shown = shown(newer(), SLSA_1, MetadataProvenance::Max);
        let expected = json!({
            "builder": {"id": "me"},
            "buildType": BUILD_TYPE,
            "materials": [{"uri": "pkg:docker/a", "digest": {"sha256": "d"}}],
            "invocation": {
                "configSource": {"uri": "https://h/x.git", "digest": {"sha1": "c"}, "entryPoint": "Dockerfile"},
                "parameters": {"frontend": "dockerfile.v0"},
                "environment": {"platform": "linux/amd64", "custom": 1},
            },
            "buildConfig": {"llbDefinition": []},
            "metadata": {
                "buildInvocationID": "i", "buildStartedOn": "s", "buildFinishedOn": "f",
                "completeness": {"parameters": true, "environment": true, "materials": false},
                "reproducible": false,
                "https://mobyproject.org/buildkit@v1#metadata": {"source": {}},
                "https://mobyproject.org/buildkit@v1#hermetic": true,
            },
        });
        assert_eq!(shown, expected);
    }

    #[test]
    fn less_is_shown_unless_all_is_wanted() {
        let older = json!({"builder": {"id": ""}, "buildConfig": {}, "metadata": {"a": 1}});
        let is = |mode| shown(older.clone(), "https://slsa.dev/provenance/v0.2", mode);
        assert_eq!(is(MetadataProvenance::Min), json!({"builder": {"id": ""}}));
        assert_eq!(is(MetadataProvenance::Max), older);
        let min = shown(newer(), SLSA_1, MetadataProvenance::Min);
        assert!(
            min.get("buildConfig").is_none()
                && min.get("metadata").is_none()
                && min.get("invocation").is_some()
        );
        // Nonsense is no panic.
        assert!(shown(json!([1]), SLSA_1, MetadataProvenance::Min).is_object());
    }
}

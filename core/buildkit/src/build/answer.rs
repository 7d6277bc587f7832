//! What a build answered, as those who asked for it know it.

use std::collections::HashMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rbx_oci::Descriptor;
use rbx_request::{BuildResult, CallAnswer, Metadata};
use serde_json::Value;

/// Keys of exporters' and frontends' answers.
pub(super) const IMAGE_DIGEST: &str = "containerimage.digest";
pub(super) const CONFIG_DIGEST: &str = "containerimage.config.digest";
pub(super) const DESCRIPTOR: &str = "containerimage.descriptor";
pub(super) const IMAGE_NAME: &str = "image.name";
pub(super) const CACHE_MANIFEST: &str = "cache.manifest";
const RESULT_JSON: &str = "result.json";
const RESULT_TEXT: &str = "result.txt";
const RESULT_STATUS: &str = "result.statuscode";
const MESSAGE: &str = "frontend.result.inlinemessage";

/// What a frontend answered to `--call`.
pub(super) fn call(answered: &HashMap<String, Vec<u8>>) -> CallAnswer {
    let text = |key| answered.get(key).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    CallAnswer {
        json: text(RESULT_JSON),
        text: text(RESULT_TEXT),
        status: text(RESULT_STATUS).and_then(|status| status.trim().parse().ok()).unwrap_or_default(),
    }
}

/// The result of a build whose exporters answered this, and whose frontend answered a call so. `by_image_digest`: the
/// image has no other name than the digest of its manifest or index.
pub(super) fn result(
    exported: &HashMap<String, String>,
    answered: Option<&HashMap<String, Vec<u8>>>,
    by_image_digest: bool,
) -> BuildResult {
    let exported = exported.iter().map(|(key, value)| (key.clone(), decoded(key, value)));
    let answered = answered.into_iter().flatten();
    let answered = answered.map(|(key, value)| (key.clone(), decoded(key, &String::from_utf8_lossy(value))));
    let mut metadata: Metadata = exported.chain(answered).collect();
    if by_image_digest {
        metadata.remove(CONFIG_DIGEST);
    }
    let text = |key| metadata.get(key).and_then(Value::as_str).map(str::to_owned);
    BuildResult {
        image_digest: text(IMAGE_DIGEST),
        config_digest: text(CONFIG_DIGEST),
        notes: text(MESSAGE).into_iter().collect(),
        metadata,
    }
}

/// A descriptor as exporters answer it.
pub(super) fn descriptor(encoded: &str) -> Option<Descriptor> {
    serde_json::from_slice(&BASE64_STANDARD.decode(encoded).ok()?).ok()
}

/// A value as files of metadata have it: those that are JSON in base64 as what they are, all others as text.
fn decoded(key: &str, value: &str) -> Value {
    let json =
        if key == RESULT_JSON { Some(value.as_bytes().to_vec()) } else { BASE64_STANDARD.decode(value).ok() };
    let is_structure = |value: &Value| match value {
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(items) => !items.is_empty() && items.iter().all(Value::is_object),
        _ => false,
    };
    json.and_then(|json| serde_json::from_slice(&json).ok())
        .filter(is_structure)
        .unwrap_or_else(|| Value::String(value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exported(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_is_json_in_base64_is_taken_out_of_it() {
        let encoded = |text: &str| BASE64_STANDARD.encode(text);
        let cases = [
            (encoded(r#"{"a":1}"#), r#"{"a":1}"#.to_owned()),
            (encoded(r#"[{"a":1}]"#), r#"[{"a":1}]"#.to_owned()),
            (encoded("{}"), format!("{:?}", encoded("{}"))),
            (encoded("[1]"), format!("{:?}", encoded("[1]"))),
            (encoded("text"), format!("{:?}", encoded("text"))),
            ("sha256:1".to_owned(), "\"sha256:1\"".to_owned()),
            (r#"{"a":1}"#.to_owned(), r#""{\"a\":1}""#.to_owned()),
        ];
        for (value, shown) in cases {
            assert_eq!(decoded("key", &value).to_string(), shown, "{value}");
        }
        assert_eq!(decoded(RESULT_JSON, r#"{"a":1}"#).to_string(), r#"{"a":1}"#);
    }

    #[test]
    fn an_image_has_one_name_or_two() {
        let answer = exported(&[(IMAGE_DIGEST, "sha256:1"), (CONFIG_DIGEST, "sha256:2"), ("x", "y")]);
        let both = result(&answer, None, false);
        assert_eq!(
            (both.image_digest.as_deref(), both.config_digest.as_deref()),
            (Some("sha256:1"), Some("sha256:2"))
        );
        let one = result(&answer, None, true);
        assert_eq!((one.image_digest.as_deref(), one.config_digest), (Some("sha256:1"), None));
        assert_eq!(one.metadata.keys().collect::<Vec<_>>(), [IMAGE_DIGEST, "x"]);
    }

    #[test]
    fn calls_are_answered_in_words_json_and_by_a_status() {
        let bytes = |text: &str| text.as_bytes().to_vec();
        let answered = HashMap::from([
            (RESULT_JSON.to_owned(), bytes(r#"{"warnings":[]}"#)),
            (RESULT_TEXT.to_owned(), bytes("fine")),
            (RESULT_STATUS.to_owned(), bytes("1")),
        ]);
        let call = call(&answered);
        assert_eq!(
            (call.json.as_deref(), call.text.as_deref(), call.status),
            (Some(r#"{"warnings":[]}"#), Some("fine"), 1)
        );
        assert_eq!(super::call(&HashMap::new()), CallAnswer::default());
        let metadata = result(&HashMap::new(), Some(&answered), false).metadata;
        assert!(metadata[RESULT_JSON]["warnings"].is_array());
    }
}

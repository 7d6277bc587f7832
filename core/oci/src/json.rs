//! JSON as Go's `encoding/json` writes and reads it.

use std::io;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::ser::{CharEscape, CompactFormatter, Formatter, PrettyFormatter, Serializer};

/// Largest manifest, index or configuration that is read, the limit of most registries: 4 MiB.
pub const DOCUMENT_LIMIT: usize = 4 << 20;

/// Why a manifest, an index or a configuration could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// More than [`DOCUMENT_LIMIT`] bytes.
    #[error("{what} is too large: {size} bytes, at most {DOCUMENT_LIMIT} are read")]
    TooLarge {
        /// What was to be read: `manifest`, `index`, `image config`.
        what: &'static str,
        /// Its size in bytes.
        size: usize,
    },
    /// Not JSON, or not of the form it has to have.
    #[error("{what} is malformed")]
    Malformed {
        /// What was to be read.
        what: &'static str,
        /// What is wrong, and where.
        #[source]
        source: serde_json::Error,
    },
    /// Another kind of document than expected, or one that could be read as either of two.
    #[error("{what} is not valid: {reason}")]
    Invalid {
        /// What was to be read.
        what: &'static str,
        /// What is wrong.
        reason: String,
    },
}

pub(crate) fn parse<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, DocumentError> {
    if bytes.len() > DOCUMENT_LIMIT {
        return Err(DocumentError::TooLarge { what, size: bytes.len() });
    }
    serde_json::from_slice(bytes).map_err(|source| DocumentError::Malformed { what, source })
}

/// As `json.Marshal`.
pub(crate) fn compact(value: &impl Serialize) -> Vec<u8> {
    write(value, CompactFormatter)
}

/// As `json.MarshalIndent(value, "", "  ")`.
pub(crate) fn indented(value: &impl Serialize) -> Vec<u8> {
    write(value, PrettyFormatter::new())
}

fn write(value: &impl Serialize, formatter: impl Formatter) -> Vec<u8> {
    let mut out = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut out, GoFormatter(formatter));
    value.serialize(&mut serializer).expect("maps have string keys and memory takes every byte");
    out
}

/// `null` for a list or a map is an empty one, as for Go.
pub(crate) fn null_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Sets of names, which Go has as maps to empty objects: `{"80/tcp": {}}`.
pub(crate) mod set {
    use std::collections::BTreeSet;

    use serde::{Deserialize, Deserializer, Serializer};
    use serde_json::{Map, Value};

    pub(crate) fn serialize<S: Serializer>(set: &BTreeSet<String>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(set.iter().map(|name| (name, Map::new())))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeSet<String>, D::Error> {
        let map = Option::<Map<String, Value>>::deserialize(deserializer)?;
        Ok(map.unwrap_or_default().into_iter().map(|(name, _)| name).collect())
    }
}

/// Bytes in base 64, as Go has `[]byte`.
pub(crate) mod bytes {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&STANDARD.encode(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
        STANDARD.decode(text).map_err(D::Error::custom)
    }
}

/// Lays out by another formatter and escapes what Go escapes for the sake of HTML and JavaScript.
struct GoFormatter<F>(F);

/// Hands calls on to the wrapped formatter.
macro_rules! forward {
    ($($method:ident($($argument:ident: $type:ty),*);)*) => {
        $(fn $method<W: ?Sized + io::Write>(&mut self, writer: &mut W, $($argument: $type),*) -> io::Result<()> {
            self.0.$method(writer, $($argument),*)
        })*
    };
}

impl<F: Formatter> Formatter for GoFormatter<F> {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        mut text: &str,
    ) -> io::Result<()> {
        const ESCAPED: [char; 5] = ['<', '>', '&', '\u{2028}', '\u{2029}'];
        while let Some(at) = text.find(ESCAPED) {
            let (before, rest) = text.split_at(at);
            writer.write_all(before.as_bytes())?;
            let mut characters = rest.chars();
            if let Some(character) = characters.next() {
                write!(writer, "\\u{:04x}", u32::from(character))?;
            }
            text = characters.as_str();
        }
        writer.write_all(text.as_bytes())
    }

    forward! {
        write_char_escape(escape: CharEscape);
        begin_array();
        end_array();
        begin_array_value(first: bool);
        end_array_value();
        begin_object();
        end_object();
        begin_object_key(first: bool);
        end_object_key();
        begin_object_value();
        end_object_value();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn escapes_as_go_does() {
        let value = json!("<a href=\"x\">&\u{2028}\u{2029}é\u{7f}\u{1}\u{8}\u{c}\n\r\t\\/");
        assert_eq!(
            text(compact(&value)),
            "\"\\u003ca href=\\\"x\\\"\\u003e\\u0026\\u2028\\u2029é\u{7f}\\u0001\\b\\f\\n\\r\\t\\\\/\""
        );
    }

    #[test]
    fn lays_out_as_go_does() {
        let value = json!({"b": [1, {"c": null}], "a<": {}, "d": [], "e": 1.5});
        assert_eq!(text(compact(&value)), r#"{"b":[1,{"c":null}],"a\u003c":{},"d":[],"e":1.5}"#);
        insta::assert_snapshot!(text(indented(&value)), @r#"
        {
          "b": [
            1,
            {
              "c": null
            }
          ],
          "a\u003c": {},
          "d": [],
          "e": 1.5
        }
        "#);
    }
}

//! `--attest`, `--provenance` and `--sbom`.

use std::collections::BTreeMap;
use std::fmt;

use super::GrammarError;
use super::fields::{fields, join, pairs};
use super::number::parse_bool;
use crate::request::Attestation;

impl Attestation {
    /// Reads `type=…[,disabled=…][,key=value…]`.
    pub fn parse(text: &str) -> Result<Self, GrammarError> {
        let mut attestation = Self { kind: String::new(), enabled: true, attributes: BTreeMap::new() };
        for (key, value) in pairs(&fields(text)?)? {
            match key.to_lowercase().trim() {
                "type" => value.clone_into(&mut attestation.kind),
                "disabled" => {
                    attestation.enabled = !parse_bool(value)
                        .map_err(|source| GrammarError::Bool { field: format!("{key}={value}"), source })?;
                }
                _ => drop(attestation.attributes.insert(key.to_owned(), value.to_owned())),
            }
        }
        if attestation.kind.is_empty() { Err(GrammarError::AttestationType) } else { Ok(attestation) }
    }

    /// Reads the value of `--provenance` or `--sbom`, whose type is `kind`: true or false, or keys and values.
    /// An empty value asks for nothing.
    pub fn parse_shorthand(kind: &str, text: &str) -> Result<Option<Self>, GrammarError> {
        if text.is_empty() {
            return Ok(None);
        }
        match parse_bool(text) {
            Ok(enabled) => Ok(Some(Self { kind: kind.to_owned(), enabled, attributes: BTreeMap::new() })),
            Err(_) => Self::parse(&format!("type={kind},{text}")).map(Some),
        }
    }

    /// Reads all attestations of a build. The first of a type counts; `--attest` therefore goes before the
    /// shorthands.
    pub fn parse_all<S: AsRef<str>>(
        attest: &[S],
        provenance: &str,
        sbom: &str,
    ) -> Result<Vec<Self>, GrammarError> {
        let mut all: Vec<Self> =
            attest.iter().map(|text| Self::parse(text.as_ref())).collect::<Result<_, _>>()?;
        all.extend(Self::parse_shorthand("provenance", provenance)?);
        all.extend(Self::parse_shorthand("sbom", sbom)?);
        let mut first: Vec<Self> = Vec::with_capacity(all.len());
        for attestation in all {
            if first.iter().all(|other| other.kind != attestation.kind) {
                first.push(attestation);
            }
        }
        Ok(first)
    }
}

/// The fields, such that [`Attestation::parse`] reads them back.
impl fmt::Display for Attestation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let disabled = (!self.enabled).then_some(("disabled", "true"));
        let attributes = self.attributes.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        f.write_str(&join([("type", self.kind.as_str())].into_iter().chain(disabled).chain(attributes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_attestations() {
        for (text, wanted) in [
            ("type=sbom", "type=sbom"),
            ("Type=provenance,mode=max", "type=provenance,mode=max"),
            ("type=sbom,disabled=1,generator=a", "type=sbom,disabled=true,generator=a"),
            ("type=sbom,disabled=false", "type=sbom"),
            (r#"type=sbom,"generator=a,b""#, r#"type=sbom,"generator=a,b""#),
        ] {
            assert_eq!(Attestation::parse(text).unwrap().to_string(), wanted, "{text}");
        }
    }

    #[test]
    fn rejects_other_attestations() {
        for (text, message) in [
            ("sbom", "invalid value sbom"),
            ("mode=max", "attestation type not specified"),
            (
                "type=sbom,disabled=no",
                r#"invalid value disabled=no: strconv.ParseBool: parsing "no": invalid syntax"#,
            ),
            ("", "EOF"),
        ] {
            assert_eq!(Attestation::parse(text).unwrap_err().to_string(), message, "{text}");
        }
    }

    #[test]
    fn reads_shorthands() {
        let shorthand = |text: &str| Attestation::parse_shorthand("provenance", text);
        assert_eq!(shorthand(""), Ok(None));
        for (text, wanted) in [
            ("true", "type=provenance"),
            ("false", "type=provenance,disabled=true"),
            ("mode=max,version=v1", "type=provenance,mode=max,version=v1"),
        ] {
            assert_eq!(shorthand(text).unwrap().unwrap().to_string(), wanted);
        }
        assert_eq!(shorthand("max").unwrap_err().to_string(), "invalid value max");
    }

    #[test]
    fn the_first_of_a_type_counts() {
        let all =
            Attestation::parse_all(&["type=sbom,generator=a", "type=sbom"], "mode=min", "false").unwrap();
        let all: Vec<String> = all.iter().map(ToString::to_string).collect();
        assert_eq!(all, ["type=sbom,generator=a", "type=provenance,mode=min"]);
    }
}

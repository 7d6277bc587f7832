//! `--annotation`.

use rbx_platform::Platform;

use super::GrammarError;

/// What an annotation is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnnotationKind {
    /// The image's manifest.
    Manifest,
    /// The index of several platforms.
    Index,
    /// The manifest's entry in the index.
    ManifestDescriptor,
    /// The index's entry in an OCI layout.
    IndexDescriptor,
}

impl AnnotationKind {
    fn name(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Index => "index",
            Self::ManifestDescriptor => "manifest-descriptor",
            Self::IndexDescriptor => "index-descriptor",
        }
    }
}

/// One annotation of one part of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotation {
    /// Which part; [`AnnotationKind::Manifest`] if none is named.
    pub kind: Option<AnnotationKind>,
    /// Of which platform; of all if none is named.
    pub platform: Option<Platform>,
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
}

impl Annotation {
    /// Reads `[type[platform][,type…]:]key=value`, which is an annotation for each type.
    pub fn parse(text: &str) -> Result<Vec<Self>, GrammarError> {
        let (key, value) = text.split_once('=').ok_or_else(|| GrammarError::Annotation(text.to_owned()))?;
        let Some((types, key)) = key.split_once(':') else {
            return Ok(vec![Self {
                kind: None,
                platform: None,
                key: key.to_owned(),
                value: value.to_owned(),
            }]);
        };
        let annotation = |part| {
            let (kind, platform) = parse_type(part)?;
            Ok(Self { kind: Some(kind), platform, key: key.to_owned(), value: value.to_owned() })
        };
        types.split(',').map(annotation).collect()
    }

    /// The key that asks BuildKit's exporters for it: `annotation[-type][[platform]].key`.
    pub fn attribute(&self) -> String {
        let kind = self.kind.map(|kind| format!("-{}", kind.name())).unwrap_or_default();
        let platform = self.platform.as_ref().map(|platform| format!("[{}]", platform.format_all()));
        format!("annotation{kind}{}.{}", platform.unwrap_or_default(), self.key)
    }
}

/// Reads `type` or `type[platform]`.
fn parse_type(part: &str) -> Result<(AnnotationKind, Option<Platform>), GrammarError> {
    let invalid = || GrammarError::AnnotationType(part.to_owned());
    let (kind, platform) = match part.split_once('[') {
        Some((kind, platform)) => (kind, Some(platform.strip_suffix(']').ok_or_else(invalid)?)),
        None => (part, None),
    };
    let is_name = |c: char| c.is_ascii_lowercase() || c == '-';
    let is_platform = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '/' | '-');
    if kind.is_empty()
        || !kind.chars().all(is_name)
        || platform.is_some_and(|platform| platform.is_empty() || !platform.chars().all(is_platform))
    {
        return Err(invalid());
    }
    let kinds = [
        AnnotationKind::Manifest,
        AnnotationKind::Index,
        AnnotationKind::ManifestDescriptor,
        AnnotationKind::IndexDescriptor,
    ];
    let kind = kinds
        .into_iter()
        .find(|candidate| candidate.name() == kind)
        .ok_or_else(|| GrammarError::UnknownAnnotationType(kind.to_owned()))?;
    let platform = platform.map(|platform| {
        Platform::parse(platform)
            .map_err(|source| GrammarError::AnnotationPlatform { platform: platform.to_owned(), source })
    });
    Ok((kind, platform.transpose()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_annotations() {
        for (text, wanted) in [
            ("a=b", &["annotation.a"][..]),
            ("a.b/c==", &["annotation.a.b/c"]),
            ("a=b:c", &["annotation.a"]),
            ("manifest:a=b", &["annotation-manifest.a"]),
            ("index,manifest-descriptor:a=b", &["annotation-index.a", "annotation-manifest-descriptor.a"]),
            ("manifest[linux/amd64]:a:c=b", &["annotation-manifest[linux/amd64].a:c"]),
            ("index-descriptor[linux/aarch64]:a=", &["annotation-index-descriptor[linux/arm64].a"]),
        ] {
            let annotations = Annotation::parse(text).unwrap();
            let attributes: Vec<String> = annotations.iter().map(Annotation::attribute).collect();
            assert_eq!(attributes, wanted, "{text}");
            assert_eq!(annotations[0].value, text.split_once('=').unwrap().1);
        }
    }

    #[test]
    fn rejects_other_annotations() {
        let expected = "expected type and optional platform in square brackets";
        for (text, message) in [
            ("a", r#"invalid annotation "a", expected key=value"#.to_owned()),
            ("", r#"invalid annotation "", expected key=value"#.to_owned()),
            (":a=b", format!(r#"invalid annotation type "", {expected}"#)),
            ("index,:a=b", format!(r#"invalid annotation type "", {expected}"#)),
            ("Index:a=b", format!(r#"invalid annotation type "Index", {expected}"#)),
            ("index[]:a=b", format!(r#"invalid annotation type "index[]", {expected}"#)),
            ("index[x:a=b", format!(r#"invalid annotation type "index[x", {expected}"#)),
            ("index[linux(1)/amd64]:a=b", format!(r#"invalid annotation type "index[linux(1)/amd64]", {expected}"#)),
            ("layer:a=b", r#"unknown annotation type "layer""#.to_owned()),
            (
                "index[nowhere]:a=b",
                r#"invalid platform "nowhere": "nowhere": unknown operating system or architecture: invalid argument"#
                    .to_owned(),
            ),
        ] {
            assert_eq!(Annotation::parse(text).unwrap_err().to_string(), message, "{text}");
        }
    }
}

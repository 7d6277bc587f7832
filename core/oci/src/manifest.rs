//! Manifests of images and indexes of manifests, OCI's and Docker's.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::descriptor::Descriptor;
use crate::json::{self, DocumentError, null_default};
use crate::media_type;

const SCHEMA_VERSION: u32 = 2;

/// The manifest of an image of one platform, or of an artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    schema_version: u32,
    /// [`media_type::OCI_MANIFEST`] or [`media_type::DOCKER_MANIFEST`]; OCI allows it to be missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The type of an artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The image's configuration.
    pub config: Descriptor,
    /// The layers, the base first.
    #[serde(default, deserialize_with = "null_default")]
    pub layers: Vec<Descriptor>,
    /// The manifest this one is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Further properties.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Manifest {
    /// A manifest of this media type, without annotations.
    pub fn new(media_type: &str, config: Descriptor, layers: Vec<Descriptor>) -> Manifest {
        Manifest {
            schema_version: SCHEMA_VERSION,
            media_type: Some(media_type.to_owned()),
            artifact_type: None,
            config,
            layers,
            subject: None,
            annotations: BTreeMap::new(),
        }
    }

    /// Reads a manifest of at most [`crate::DOCUMENT_LIMIT`] bytes.
    pub fn parse(bytes: &[u8]) -> Result<Manifest, DocumentError> {
        Shape::of("manifest", bytes)?.expect_manifest()?;
        json::parse("manifest", bytes)
    }

    /// The bytes that are stored and whose digest is the image's, as `BuildKit` writes them: indented by two spaces,
    /// without a newline at the end.
    pub fn to_bytes(&self) -> Vec<u8> {
        json::indented(self)
    }
}

/// A list of manifests, one for each platform of an image, or the table of contents of a layout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    schema_version: u32,
    /// [`media_type::OCI_INDEX`] or [`media_type::DOCKER_MANIFEST_LIST`]; OCI allows it to be missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The type of an artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The manifests, or further indexes.
    #[serde(default, deserialize_with = "null_default")]
    pub manifests: Vec<Descriptor>,
    /// The manifest this index is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Further properties.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Index {
    /// An index of this media type, without annotations.
    pub fn new(media_type: &str, manifests: Vec<Descriptor>) -> Index {
        Index {
            schema_version: SCHEMA_VERSION,
            media_type: Some(media_type.to_owned()),
            artifact_type: None,
            manifests,
            subject: None,
            annotations: BTreeMap::new(),
        }
    }

    /// Reads an index of at most [`crate::DOCUMENT_LIMIT`] bytes.
    pub fn parse(bytes: &[u8]) -> Result<Index, DocumentError> {
        Shape::of("index", bytes)?.expect_index()?;
        json::parse("index", bytes)
    }

    /// The bytes that are stored and whose digest is the image's, laid out as [`Manifest::to_bytes`] does.
    pub fn to_bytes(&self) -> Vec<u8> {
        json::indented(self)
    }

    /// The bytes of a layout's `index.json`, which `BuildKit` and containerd write without spaces.
    pub fn to_compact_bytes(&self) -> Vec<u8> {
        json::compact(self)
    }
}

/// What a registry or a layout has under a name: the one or the other.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time, and it is taken apart at once")]
pub enum Document {
    /// An image of one platform.
    Manifest(Manifest),
    /// An image of several, or a list of lists.
    Index(Index),
}

impl Document {
    /// Reads whichever it is.
    pub fn parse(bytes: &[u8]) -> Result<Document, DocumentError> {
        let shape = Shape::of("manifest", bytes)?;
        if shape.is_index() {
            Ok(Document::Index(Index::parse(bytes)?))
        } else {
            Ok(Document::Manifest(Manifest::parse(bytes)?))
        }
    }
}

/// The keys that tell manifest and index apart. A document that has those of both could be read as one thing here
/// and as another elsewhere under one digest (CVE-2021-41190), so it is refused.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    #[serde(skip)]
    what: &'static str,
    schema_version: Option<u32>,
    media_type: Option<String>,
    manifests: Option<IgnoredAny>,
    config: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
    fs_layers: Option<IgnoredAny>,
}

impl Shape {
    fn of(what: &'static str, bytes: &[u8]) -> Result<Shape, DocumentError> {
        let shape: Shape = json::parse(what, bytes)?;
        let shape = Shape { what, ..shape };
        if shape.schema_version == Some(1) || shape.fs_layers.is_some() {
            return Err(shape.invalid("images of schema version 1 are no longer supported"));
        }
        if shape.schema_version != Some(SCHEMA_VERSION) {
            return Err(shape.invalid("schemaVersion is not 2"));
        }
        if shape.manifests.is_some() && (shape.config.is_some() || shape.layers.is_some()) {
            return Err(shape.invalid("it has the keys of both a manifest and an index"));
        }
        Ok(shape)
    }

    fn is_index(&self) -> bool {
        match &self.media_type {
            Some(media_type) => media_type::is_index(media_type),
            None => self.manifests.is_some(),
        }
    }

    fn expect_manifest(&self) -> Result<(), DocumentError> {
        match &self.media_type {
            Some(media_type) if !media_type::is_manifest(media_type) => {
                Err(self.invalid(&format!("its media type is {media_type:?}")))
            }
            _ if self.manifests.is_some() => Err(self.invalid("it is an index")),
            _ => Ok(()),
        }
    }

    fn expect_index(&self) -> Result<(), DocumentError> {
        match &self.media_type {
            Some(media_type) if !media_type::is_index(media_type) => {
                Err(self.invalid(&format!("its media type is {media_type:?}")))
            }
            _ if self.config.is_some() || self.layers.is_some() => Err(self.invalid("it is a manifest")),
            _ => Ok(()),
        }
    }

    fn invalid(&self, reason: &str) -> DocumentError {
        DocumentError::Invalid { what: self.what, reason: reason.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use rbx_platform::Platform;

    use super::*;
    use crate::digest::Digest;

    fn descriptor(media_type: &str) -> Descriptor {
        Descriptor::of(media_type, b"")
    }

    #[test]
    fn manifest_bytes_are_go_s() {
        let mut layer =
            descriptor(media_type::OCI_LAYER_GZIP).with_annotation("b", "<x>").with_annotation("a", "1");
        layer.urls = vec!["https://x/?a&b".into()];
        layer.data = b"{}".to_vec();
        let manifest =
            Manifest::new(media_type::OCI_MANIFEST, descriptor(media_type::OCI_CONFIG), vec![layer]);
        let bytes = manifest.to_bytes();
        insta::assert_snapshot!(str::from_utf8(&bytes).unwrap(), @r#"
        {
          "schemaVersion": 2,
          "mediaType": "application/vnd.oci.image.manifest.v1+json",
          "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "size": 0
          },
          "layers": [
            {
              "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
              "digest": "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
              "size": 0,
              "urls": [
                "https://x/?a\u0026b"
              ],
              "annotations": {
                "a": "1",
                "b": "\u003cx\u003e"
              },
              "data": "e30="
            }
          ]
        }
        "#);
        assert_eq!(Manifest::parse(&bytes).unwrap(), manifest);
    }

    #[test]
    fn index_bytes_are_go_s() {
        let platform = Platform {
            os: "linux".into(),
            architecture: "arm".into(),
            variant: Some("v7".into()),
            os_version: None,
        };
        let image = descriptor(media_type::OCI_MANIFEST).with_platform(&platform);
        assert_eq!(Platform::from(image.platform.as_ref().unwrap()), platform);
        let mut index = Index::new(media_type::OCI_INDEX, vec![image]);
        index.annotations.insert("k".into(), "v".into());
        let bytes = index.to_compact_bytes();
        insta::assert_snapshot!(str::from_utf8(&bytes).unwrap(), @r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0,"platform":{"architecture":"arm","os":"linux","variant":"v7"}}],"annotations":{"k":"v"}}"#);
        assert_eq!(Index::parse(&bytes).unwrap(), index);
        assert_eq!(Document::parse(&index.to_bytes()).unwrap(), Document::Index(index));
    }

    #[test]
    fn reads_what_go_writes_for_nothing() {
        let empty = br#"{"schemaVersion":2,"manifests":null}"#;
        assert_eq!(Index::parse(empty).unwrap().manifests, []);
        assert!(matches!(Document::parse(empty), Ok(Document::Manifest(_)) | Err(_)));
    }

    #[test]
    fn refuses_other_and_ambiguous_documents() {
        let digest = Digest::sha256_of(b"");
        let config = format!(r#"{{"mediaType":"x","digest":"{digest}","size":0}}"#);
        let refused = |json: &str| Document::parse(json.as_bytes()).unwrap_err().to_string();
        assert_eq!(
            refused(&format!(r#"{{"schemaVersion":2,"manifests":[],"config":{config}}}"#)),
            "manifest is not valid: it has the keys of both a manifest and an index"
        );
        assert_eq!(
            refused(r#"{"schemaVersion":1,"fsLayers":[]}"#),
            "manifest is not valid: images of schema version 1 are no longer supported"
        );
        assert_eq!(
            refused(&format!(
                r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[]}}"#,
                media_type::OCI_MANIFEST
            )),
            "manifest is not valid: it is an index"
        );
        assert_eq!(
            refused(&format!(r#"{{"schemaVersion":2,"mediaType":"text/plain","config":{config}}}"#)),
            "manifest is not valid: its media type is \"text/plain\""
        );
        assert_eq!(refused("{"), "manifest is malformed");
        assert_eq!(refused("{}"), "manifest is not valid: schemaVersion is not 2");
        let negative = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"x","digest":"{digest}","size":-1}},"layers":[]}}"#
        );
        assert_eq!(refused(&negative), "manifest is malformed");
        assert!(Index::parse(format!(r#"{{"schemaVersion":2,"config":{config}}}"#).as_bytes()).is_err());
        let large = vec![b' '; json::DOCUMENT_LIMIT + 1];
        assert!(matches!(Manifest::parse(&large), Err(DocumentError::TooLarge { .. })));
    }

    /// The `oci-spec` crate reads what is written here, and writes what is read here, to the same meaning.
    #[test]
    fn agrees_with_oci_spec() {
        let config = Descriptor::of(media_type::OCI_CONFIG, b"{}");
        let layers = vec![
            Descriptor::of(media_type::OCI_LAYER_GZIP, b"one").with_annotation("a", "b"),
            Descriptor::of(media_type::OCI_LAYER_ZSTD, b"two"),
        ];
        let mut manifest = Manifest::new(media_type::OCI_MANIFEST, config, layers);
        manifest.annotations.insert("org.example.key".to_owned(), "<value> & more".to_owned());
        let theirs: oci_spec::image::ImageManifest = serde_json::from_slice(&manifest.to_bytes()).unwrap();
        assert_eq!(Manifest::parse(&serde_json::to_vec(&theirs).unwrap()).unwrap(), manifest);

        let platform = rbx_platform::Platform::parse("linux/arm/v6").unwrap();
        let bytes = manifest.to_bytes();
        let listed = Descriptor::of(media_type::OCI_MANIFEST, &bytes).with_platform(&platform);
        let index = Index::new(media_type::OCI_INDEX, vec![listed]);
        let theirs: oci_spec::image::ImageIndex = serde_json::from_slice(&index.to_bytes()).unwrap();
        assert_eq!(Index::parse(&serde_json::to_vec(&theirs).unwrap()).unwrap(), index);
    }
}

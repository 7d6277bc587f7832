//! References to content by media type, digest and size.

use std::collections::BTreeMap;

use rbx_platform::Platform;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::json::{bytes, null_default};

/// A tag within a layout: `org.opencontainers.image.ref.name`.
pub const ANNOTATION_REF_NAME: &str = "org.opencontainers.image.ref.name";
/// An image's full name within a layout: `io.containerd.image.name`.
pub const ANNOTATION_IMAGE_NAME: &str = "io.containerd.image.name";

/// A reference to content, as manifests and indexes hold it. Fields stand in the order in which Go's `ocispec`
/// writes them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the content is; see [`crate::media_type`].
    #[serde(default)]
    pub media_type: String,
    /// The content's digest.
    pub digest: Digest,
    /// The content's size in bytes.
    pub size: u64,
    /// Where else the content can be had.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Further properties, free of meaning to the specification.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The content itself, if it is embedded; empty if not.
    #[serde(default, with = "bytes", skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<u8>,
    /// The platform of an image in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<DescriptorPlatform>,
    /// The type of an artifact whose manifest this is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

impl Descriptor {
    /// A reference without annotations and platform.
    pub fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Descriptor {
        Descriptor {
            media_type: media_type.into(),
            digest,
            size,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
            data: Vec::new(),
            platform: None,
            artifact_type: None,
        }
    }

    /// A reference to `content`.
    pub fn of(media_type: impl Into<String>, content: &[u8]) -> Descriptor {
        Descriptor::new(media_type, Digest::sha256_of(content), content.len() as u64)
    }

    /// The same with an annotation more.
    #[must_use]
    pub fn with_annotation(mut self, key: impl Into<String>, value: impl Into<String>) -> Descriptor {
        self.annotations.insert(key.into(), value.into());
        self
    }

    /// The same for a platform.
    #[must_use]
    pub fn with_platform(mut self, platform: &Platform) -> Descriptor {
        self.platform = Some(platform.into());
        self
    }
}

/// A platform as descriptors hold it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescriptorPlatform {
    /// CPU architecture, Go's name.
    #[serde(default)]
    pub architecture: String,
    /// Operating system, Go's name.
    #[serde(default)]
    pub os: String,
    /// Operating system version, for Windows.
    #[serde(default, rename = "os.version", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// Operating system features, for Windows.
    #[serde(
        default,
        rename = "os.features",
        deserialize_with = "null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub os_features: Vec<String>,
    /// Variant of the CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl From<&Platform> for DescriptorPlatform {
    fn from(platform: &Platform) -> DescriptorPlatform {
        DescriptorPlatform {
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            os_version: platform.os_version.clone(),
            os_features: Vec::new(),
            variant: platform.variant.clone(),
        }
    }
}

impl From<&DescriptorPlatform> for Platform {
    fn from(platform: &DescriptorPlatform) -> Platform {
        let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        Platform {
            os: platform.os.clone(),
            architecture: platform.architecture.clone(),
            variant: filled(&platform.variant),
            os_version: filled(&platform.os_version),
        }
    }
}

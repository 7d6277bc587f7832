//! Platforms: parse, normalise, match, order.
//!
//! All of it follows containerd's `platforms` package, which is what Docker, BuildKit and buildx go by: names,
//! aliases, error messages, and which platforms a machine accepts in the place of its own.

use std::fmt;
use std::str::FromStr;

use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Serialize, Serializer};

mod compatible;
mod host;
mod parse;

pub use compatible::best;
pub use parse::ParsePlatformError;

/// A platform an image is built for: operating system, CPU architecture, variant.
///
/// The order is that of the fields. As JSON it is the `platform` object of the OCI image specification.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub struct Platform {
    /// Operating system, Go's name: `linux`.
    pub os: String,
    /// CPU architecture, Go's name: `amd64`, `arm64`, `arm`.
    pub architecture: String,
    /// Variant, such as `v7` of `arm`.
    #[serde(default, deserialize_with = "not_empty")]
    pub variant: Option<String>,
    /// Operating system version, for Windows.
    #[serde(default, rename = "os.version", deserialize_with = "not_empty")]
    pub os_version: Option<String>,
}

/// Go programs write an absent string as an empty one, too.
fn not_empty<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.filter(|text| !text.is_empty()))
}

impl Platform {
    /// Reads `os[(version)]/architecture[/variant]`, an operating system alone or an architecture alone, and
    /// [normalises](Self::normalized) it. What is missing is the [host's](Self::host).
    pub fn parse(specifier: &str) -> Result<Self, ParsePlatformError> {
        Self::parse_for(specifier, &Self::host())
    }

    /// [`parse`](Self::parse), where what is missing is `host`'s.
    pub fn parse_for(specifier: &str, host: &Self) -> Result<Self, ParsePlatformError> {
        parse::parse(specifier, host)
    }

    /// The platform of the machine this runs on. Only `arm` has a variant.
    pub fn host() -> Self {
        host::host()
    }

    /// The same platform under its usual name: `x86_64` is `amd64`, `arm64/v8` is `arm64`, `arm` is `arm/v7`.
    #[must_use]
    pub fn normalized(&self) -> Self {
        parse::normalized(self)
    }

    /// Whether an image for `other` is one for this platform. Names are normalised; a Windows version has to be
    /// compatible, if both have one.
    pub fn matches(&self, other: &Self) -> bool {
        compatible::matches(self, other)
    }

    /// Every platform that a machine of this platform accepts, best first: itself, smaller variants of the same
    /// architecture, and the 32-bit architecture that the CPU also runs.
    pub fn accepted(&self) -> Vec<Self> {
        compatible::accepted(self)
    }

    /// `os(version)/architecture/variant`, as [`parse`](Self::parse) reads it back. [`Display`](fmt::Display)
    /// leaves the version out.
    pub fn format_all(&self) -> String {
        match self.os_version.as_deref() {
            None | Some("") => self.to_string(),
            Some(version) => {
                let os = format!("{}({})", self.os, parse::encode_option(version));
                Self { os, ..self.clone() }.to_string()
            }
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Platform {
    type Err = ParsePlatformError;

    fn from_str(specifier: &str) -> Result<Self, Self::Err> {
        Self::parse(specifier)
    }
}

impl Serialize for Platform {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // The order of the Go type's fields, so that digests of documents that hold a platform agree.
        let mut object = serializer.serialize_struct("Platform", 4)?;
        object.serialize_field("architecture", &self.architecture)?;
        object.serialize_field("os", &self.os)?;
        match &self.os_version {
            Some(version) => object.serialize_field("os.version", version)?,
            None => object.skip_field("os.version")?,
        }
        match &self.variant {
            Some(variant) => object.serialize_field("variant", variant)?,
            None => object.skip_field("variant")?,
        }
        object.end()
    }
}

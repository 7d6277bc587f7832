//! Platforms: parse, normalise, match, order.

use std::fmt;

/// A platform an image is built for: operating system, CPU architecture, variant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Platform {
    /// Operating system, Go's name: `linux`.
    pub os: String,
    /// CPU architecture, Go's name: `amd64`, `arm64`, `arm`.
    pub architecture: String,
    /// Variant, such as `v7` of `arm`.
    pub variant: Option<String>,
    /// Operating system version, for Windows.
    pub os_version: Option<String>,
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

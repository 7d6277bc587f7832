//! What a driver can do, as data.

/// What a driver can do. The words for them are buildx's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Features {
    /// Writes OCI archives.
    pub oci_exporter: bool,
    /// Writes archives for `docker load`.
    pub docker_exporter: bool,
    /// Writes cache elsewhere.
    pub cache_export: bool,
    /// Builds for several platforms at once.
    pub multi_platform: bool,
    /// Pushes by itself, not through the Engine.
    pub direct_push: bool,
    /// Images go to the Docker Engine unless they are sent elsewhere.
    pub default_load: bool,
}

impl Features {
    /// Each with its name, in the order of those.
    pub fn list(&self) -> [(&'static str, bool); 6] {
        [
            ("Automatically load images to the Docker Engine image store", self.default_load),
            ("Cache export", self.cache_export),
            ("Direct push", self.direct_push),
            ("Docker exporter", self.docker_exporter),
            ("Multi-platform build", self.multi_platform),
            ("OCI exporter", self.oci_exporter),
        ]
    }
}

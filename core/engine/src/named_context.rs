//! `--build-context`: other sources by name.

use std::path::PathBuf;

use crate::error::{BuildError, INSTEAD};

/// A `--build-context`.
#[derive(Debug)]
pub(crate) enum NamedContext {
    Directory(PathBuf),
    /// `docker-image://`: an image by another name.
    Image(String),
    /// `oci-layout://`: an image in a directory, by tag or digest.
    Layout {
        path: PathBuf,
        name: Option<String>,
    },
}

impl NamedContext {
    /// Reads the value of `--build-context name=value`.
    pub(crate) fn parse(name: &str, value: &str) -> Result<Self, BuildError> {
        if let Some(image) = value.strip_prefix("docker-image://") {
            return Ok(Self::Image(image.to_owned()));
        }
        if let Some(layout) = value.strip_prefix("oci-layout://") {
            // A tag comes after the last colon, a digest after an at sign.
            let (path, wanted) = match (layout.rsplit_once('@'), layout.rsplit_once(':')) {
                (Some((path, digest)), _) => {
                    (path.split_once(':').map_or(path, |(path, _)| path), Some(digest))
                }
                (None, Some((path, tag))) if !tag.contains('/') => (path, Some(tag)),
                _ => (layout, None),
            };
            return Ok(Self::Layout { path: PathBuf::from(path), name: wanted.map(str::to_owned) });
        }
        if value.contains("://") || value.starts_with("git@") {
            return Err(BuildError::invalid(format!(
                "--build-context {name}={value}: the embedded engine does not have remote contexts yet"
            ))
            .hint(INSTEAD));
        }
        Ok(Self::Directory(PathBuf::from(value)))
    }
}

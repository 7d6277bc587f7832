//! `--build-context`: other sources by name.

use std::path::PathBuf;

use rbx_request::LayoutAddress;
use rbx_source::GitAddress;

use crate::error::BuildError;
use crate::fetch::{CONTEXT_FILE, GitSource, HttpSource, Remote};

/// A `--build-context`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NamedContext {
    Directory(PathBuf),
    /// `docker-image://`: an image by another name.
    Image(String),
    /// `docker-image://scratch`: nothing.
    Scratch,
    /// `oci-layout://`: an image in a directory, by tag or digest.
    Layout {
        path: PathBuf,
        name: Option<String>,
    },
    /// A git repository, or a file over HTTP.
    Remote(Remote),
}

impl NamedContext {
    /// Reads the value of `--build-context name=value`.
    pub(crate) fn parse(name: &str, value: &str) -> Result<Self, BuildError> {
        if let Some(image) = value.strip_prefix("docker-image://") {
            return Ok(if image == "scratch" { Self::Scratch } else { Self::Image(image.to_owned()) });
        }
        if let Some(layout) = LayoutAddress::parse(value) {
            return Ok(Self::Layout { name: layout.wanted(), path: layout.path });
        }
        if let Some(remote) = remote(value, CONTEXT_FILE)? {
            return Ok(Self::Remote(remote));
        }
        match value.split_once(':') {
            Some((scheme, _)) if !value.starts_with('/') => {
                Err(BuildError::invalid(format!("unsupported context source {scheme} for {name}")))
            }
            _ => Ok(Self::Directory(PathBuf::from(value))),
        }
    }

    /// Whether it is an image, whose configuration a stage begins with.
    pub(crate) fn is_image(&self) -> bool {
        matches!(self, Self::Image(_) | Self::Layout { .. })
    }
}

/// What an address that stands for a context means: a repository, else a file over HTTP, which gets `name`; `None`
/// if it is neither.
pub(crate) fn remote(address: &str, name: &str) -> Result<Option<Remote>, BuildError> {
    let git = GitAddress::parse(address).map_err(|error| BuildError::invalid(error.to_string()))?;
    if let Some(address) = git {
        let keep_git_dir = address.keep_git_dir == Some(true);
        return Ok(Some(Remote::Git(GitSource { address, keep_git_dir })));
    }
    let is_http = address.starts_with("http://") || address.starts_with("https://");
    Ok(is_http
        .then(|| Remote::Http(HttpSource { url: address.to_owned(), name: name.to_owned(), checksum: None })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: &str) -> NamedContext {
        NamedContext::parse("n", value).unwrap()
    }

    #[test]
    fn every_kind_of_source() {
        let layout = |path: &str, name: Option<&str>| NamedContext::Layout {
            path: path.into(),
            name: name.map(str::to_owned),
        };
        assert_eq!(parse("docker-image://alpine:3"), NamedContext::Image("alpine:3".to_owned()));
        assert_eq!(parse("docker-image://scratch"), NamedContext::Scratch);
        assert_eq!(parse("oci-layout:///l"), layout("/l", None));
        assert_eq!(parse("oci-layout:///l:tag"), layout("/l", Some("tag")));
        let digest = format!("sha256:{}", "1".repeat(64));
        assert_eq!(parse(&format!("oci-layout:///l:tag@{digest}")), layout("/l", Some(&digest)));
        assert_eq!(parse("/a:b"), NamedContext::Directory("/a:b".into()));
        assert!(matches!(parse("https://h/x.git"), NamedContext::Remote(Remote::Git(_))));
        assert!(matches!(parse("git@h:x"), NamedContext::Remote(Remote::Git(_))));
        assert!(matches!(parse("https://h/x"), NamedContext::Remote(Remote::Http(_))));
        let error = NamedContext::parse("n", "target:x").unwrap_err();
        assert_eq!(error.reason, "unsupported context source target for n");
    }
}

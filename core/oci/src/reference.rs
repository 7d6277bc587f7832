//! Names of images, by the rules of `github.com/distribution/reference`.

use std::fmt;
use std::str::FromStr;

use crate::digest::{Digest, DigestError};

const DEFAULT_DOMAIN: &str = "docker.io";
const LEGACY_DEFAULT_DOMAIN: &str = "index.docker.io";
const OFFICIAL_PREFIX: &str = "library/";
const DEFAULT_TAG: &str = "latest";
/// Longest path of a repository, the domain not counted.
const PATH_LIMIT: usize = 255;
const TAG_LIMIT: usize = 128;

/// Why a text is not a reference to an image. The wording is Docker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Not of the form `[domain/]path[:tag][@digest]`.
    #[error("invalid reference format")]
    InvalidFormat,
    /// The repository's name has an upper-case letter.
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    Uppercase(String),
    /// 64 hex digits, which would be taken for an image's ID.
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    Identifier(String),
    /// The repository's path is longer than 255 bytes.
    #[error("repository name must not be more than {PATH_LIMIT} characters")]
    NameTooLong,
    /// Not a tag: 1 to 128 letters, digits, `_`, `.` or `-`, the first neither `.` nor `-`.
    #[error("invalid tag format")]
    InvalidTag,
    /// What follows `@` is no digest this program can check.
    #[error(transparent)]
    Digest(#[from] DigestError),
}

/// The full name of an image: a repository in a registry, with a tag, a digest or both.
///
/// ```
/// let reference = rbx_oci::Reference::parse("alpine").unwrap();
/// assert_eq!(reference.to_string(), "docker.io/library/alpine:latest");
/// assert_eq!(reference.familiar(), "alpine:latest");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Parses a name as users write it: without a registry it is Docker Hub's, without a namespace there it is
    /// `library/`, with neither tag nor digest its tag is `latest`.
    ///
    /// In one rare case this is stricter than Go's package: `my_host.com/x`, whose first part looks like a
    /// domain but cannot be one, is an error here and a name without a domain there.
    pub fn parse(text: &str) -> Result<Reference, ReferenceError> {
        if text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(ReferenceError::Identifier(text.to_owned()));
        }
        let (domain, remainder) = split_domain(text);
        let untagged = remainder.split_once(':').map_or(remainder.as_str(), |(name, _)| name);
        if untagged.to_lowercase() != untagged {
            return Err(ReferenceError::Uppercase(untagged.to_owned()));
        }

        // Neither `:` nor `@` may stand in a path, nor `@` in a tag, so the first of each divides.
        let (named, digest) = match remainder.split_once('@') {
            Some((named, digest)) => (named, Some(digest)),
            None => (remainder.as_str(), None),
        };
        let (path, tag) = match named.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (named, None),
        };
        if !is_domain(domain)
            || !path.split('/').all(is_path_component)
            || tag.is_some_and(|tag| !is_tag(tag))
            || digest.is_some_and(|digest| !is_digest(digest))
        {
            return Err(ReferenceError::InvalidFormat);
        }
        if path.len() > PATH_LIMIT {
            return Err(ReferenceError::NameTooLong);
        }
        let digest = digest.map(Digest::parse).transpose()?;
        let tag = match (tag, digest) {
            (None, None) => Some(DEFAULT_TAG),
            (tag, _) => tag,
        };
        Ok(Reference {
            domain: domain.to_owned(),
            path: path.to_owned(),
            tag: tag.map(str::to_owned),
            digest,
        })
    }

    /// The registry: `docker.io`, `localhost:5000`. Docker Hub is always `docker.io`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository within the registry: `library/alpine`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Registry and repository, without tag and digest: `docker.io/library/alpine`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The tag; there is none only if there is a digest.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// The same repository and digest under another tag.
    pub fn with_tag(&self, tag: &str) -> Result<Reference, ReferenceError> {
        if !is_tag(tag) {
            return Err(ReferenceError::InvalidTag);
        }
        Ok(Reference { tag: Some(tag.to_owned()), ..self.clone() })
    }

    /// The same repository and tag, fixed to `digest`.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Reference {
        Reference { digest: Some(digest), ..self.clone() }
    }

    /// The same repository at `digest`, without a tag.
    #[must_use]
    pub fn at_digest(&self, digest: Digest) -> Reference {
        Reference { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// The repository as Docker shows it: `alpine`, `user/app`, `ghcr.io/user/app`.
    pub fn familiar_name(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return self.name();
        }
        match self.path.strip_prefix(OFFICIAL_PREFIX) {
            Some(official) if !official.contains('/') => official.to_owned(),
            _ => self.path.clone(),
        }
    }

    /// The whole reference as Docker shows it: `alpine:latest`.
    pub fn familiar(&self) -> String {
        format!("{}{}", self.familiar_name(), Suffix(self))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}{}", self.domain, self.path, Suffix(self)))
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Reference, ReferenceError> {
        Reference::parse(text)
    }
}

/// `:tag@digest`.
struct Suffix<'a>(&'a Reference);

impl fmt::Display for Suffix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(tag) = &self.0.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.0.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// Divides the registry from the rest, and fills in Docker Hub's.
fn split_domain(text: &str) -> (&str, String) {
    let (domain, remainder) = match text.split_once('/') {
        Some((LEGACY_DEFAULT_DOMAIN, rest)) => (DEFAULT_DOMAIN, rest),
        Some((first, rest))
            if first == "localhost" || first.contains(['.', ':']) || first.to_lowercase() != first =>
        {
            (first, rest)
        }
        _ => (DEFAULT_DOMAIN, text),
    };
    if domain == DEFAULT_DOMAIN && !remainder.contains('/') {
        (domain, format!("{OFFICIAL_PREFIX}{remainder}"))
    } else {
        (domain, remainder.to_owned())
    }
}

fn is_domain(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let Some((address, port)) = rest.split_once(']') else { return false };
            if address.is_empty() || !address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':') {
                return false;
            }
            return port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let component = |part: &str| {
        !part.is_empty()
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    host.split('.').all(component) && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// Lower-case letters and digits, divided by `.`, `_`, `__` or any number of `-`.
fn is_path_component(text: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    if !bytes.first().copied().is_some_and(alphanumeric) || !bytes.last().copied().is_some_and(alphanumeric) {
        return false;
    }
    bytes.split(|&b| alphanumeric(b)).all(|separator| {
        matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|&b| b == b'-')
    })
}

fn is_tag(text: &str) -> bool {
    text.len() <= TAG_LIMIT
        && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// The looser form that a reference may hold; [`Digest::parse`] then says what is wrong with it.
fn is_digest(text: &str) -> bool {
    let Some((algorithm, hex)) = text.split_once(':') else { return false };
    algorithm.split(['-', '_', '+', '.']).all(|part| {
        part.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
            && part.bytes().all(|b| b.is_ascii_alphanumeric())
    }) && hex.len() >= 32
        && hex.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn full(text: &str) -> Result<String, String> {
        Reference::parse(text).map(|r| r.to_string()).map_err(|e| e.to_string())
    }

    #[test]
    fn normalises() {
        let digest = format!("sha256:{HEX}");
        let table = [
            ("alpine", "docker.io/library/alpine:latest", "alpine:latest"),
            ("alpine:3.20", "docker.io/library/alpine:3.20", "alpine:3.20"),
            ("user/app", "docker.io/user/app:latest", "user/app:latest"),
            ("docker.io/alpine", "docker.io/library/alpine:latest", "alpine:latest"),
            ("docker.io/library/alpine", "docker.io/library/alpine:latest", "alpine:latest"),
            ("index.docker.io/user/app:1", "docker.io/user/app:1", "user/app:1"),
            ("library/a/b:1", "docker.io/library/a/b:1", "library/a/b:1"),
            ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
            ("localhost", "docker.io/library/localhost:latest", "localhost:latest"),
            ("localhost:5000/x", "localhost:5000/x:latest", "localhost:5000/x:latest"),
            ("localhost:5000", "docker.io/library/localhost:5000", "localhost:5000"),
            ("[::1]:5000/x:y", "[::1]:5000/x:y", "[::1]:5000/x:y"),
            ("[fe80::1]/x", "[fe80::1]/x:latest", "[fe80::1]/x:latest"),
            ("Registry/x", "Registry/x:latest", "Registry/x:latest"),
            ("127.0.0.1/x", "127.0.0.1/x:latest", "127.0.0.1/x:latest"),
        ];
        for (text, expected, familiar) in table {
            let reference = Reference::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(reference.to_string(), expected, "{text}");
            assert_eq!(reference.familiar(), familiar, "{text}");
            assert_eq!(Reference::parse(familiar).unwrap().familiar(), familiar);
        }
        let both = Reference::parse(&format!("x:1@{digest}")).unwrap();
        assert_eq!(both.to_string(), format!("docker.io/library/x:1@{digest}"));
        assert_eq!((both.tag(), both.digest()), (Some("1"), Some(Digest::sha256_of(b""))));
        let only = Reference::parse(&format!("x@{digest}")).unwrap();
        assert_eq!((only.tag(), only.familiar()), (None, format!("x@{digest}")));
    }

    #[test]
    fn accepts_and_refuses_paths_and_tags() {
        let accepted =
            ["a/b/c", "a.b/c", "x/a_b", "x/a__b", "x/a---b", "x/0", "x:_", "x:A", "x.y:80/a", "foo/a.b.c"];
        for text in accepted {
            assert!(Reference::parse(text).is_ok(), "{text}");
        }
        let refused = [
            "",
            "/",
            "a//b",
            "a/",
            "/a",
            ":tag",
            "x:",
            "x:-a",
            "x:.a",
            "x:a b",
            "x@",
            "x@sha256",
            "x@sha256:abc",
            "x/a..b",
            "x/a___b",
            "x/-a",
            "x/a-",
            "x/_a",
            "x/a._b",
            "x/é",
            "-x.y/a",
            "x-.y/a",
            "x.y:/a",
            "x:y/z",
            "[::1/x",
            "[]/x",
            "[::g]/x",
            "[::1]x/y",
            "[::1]:/y",
            "my_host.com/x",
            "https://x.y/z",
            "a@b@c",
            "x:a:b",
            "x\n",
            "x\0",
        ];
        for text in refused {
            assert_eq!(full(text), Err("invalid reference format".to_owned()), "{text:?}");
        }
    }

    #[test]
    fn says_what_docker_says() {
        assert_eq!(
            full("Alpine").unwrap_err(),
            "invalid reference format: repository name (library/Alpine) must be lowercase"
        );
        assert_eq!(
            full("ghcr.io/User/app:1").unwrap_err(),
            "invalid reference format: repository name (User/app) must be lowercase"
        );
        assert_eq!(
            full(HEX).unwrap_err(),
            format!("invalid repository name ({HEX}), cannot specify 64-byte hexadecimal strings")
        );
        assert_eq!(full(&format!("x@sha256:{}", &HEX[1..])).unwrap_err(), "invalid checksum digest length");
        assert_eq!(full(&format!("x@sha512:{HEX}{HEX}")).unwrap_err(), "unsupported digest algorithm");
        assert_eq!(
            full(&format!("x@sha256:{}", HEX.to_uppercase())).unwrap_err(),
            "invalid checksum digest format"
        );
        assert_eq!(
            full(&"a".repeat(248)).unwrap_err(),
            "repository name must not be more than 255 characters"
        );
        assert!(full(&"a".repeat(247)).is_ok());
        assert!(full(&format!("x:{}", "a".repeat(128))).is_ok());
        assert_eq!(full(&format!("x:{}", "a".repeat(129))).unwrap_err(), "invalid reference format");
    }

    #[test]
    fn changes_tag_and_digest() {
        let reference = Reference::parse("x:1").unwrap();
        assert_eq!(reference.with_tag("2").unwrap().to_string(), "docker.io/library/x:2");
        assert_eq!(reference.with_tag("a/b"), Err(ReferenceError::InvalidTag));
        assert_eq!(
            reference.with_digest(Digest::sha256_of(b"")).to_string(),
            format!("docker.io/library/x:1@sha256:{HEX}")
        );
    }

    proptest! {
        #[test]
        fn what_parses_parses_again_to_the_same(text in "[a-zA-Z0-9._:/@\\[\\]-]{0,40}|\\PC{0,20}") {
            if let Ok(reference) = Reference::parse(&text) {
                prop_assert_eq!(Reference::parse(&reference.to_string()).unwrap(), reference.clone());
                prop_assert_eq!(Reference::parse(&reference.familiar()).unwrap(), reference);
            }
        }
    }
}

//! `oci-layout://`: an image in a directory.

use std::fmt;
use std::path::PathBuf;

use rbx_oci::Digest;

/// What an address of an image in a directory begins with.
const SCHEME: &str = "oci-layout://";

/// The address of an image in an OCI layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayoutAddress {
    /// The layout.
    pub path: PathBuf,
    /// The image's tag there.
    pub tag: Option<String>,
    /// The digest of the image's manifest or index, which goes before a tag.
    pub digest: Option<Digest>,
}

impl LayoutAddress {
    /// Reads `oci-layout://path[:tag][@digest]`; `None` for what does not begin so. What does not have the form of a
    /// tag or a digest belongs to the path.
    pub fn parse(text: &str) -> Option<Self> {
        let mut path = text.strip_prefix(SCHEME)?;
        let mut digest = None;
        if let Some((before, after)) = path.rsplit_once('@')
            && let Ok(found) = Digest::parse(after)
        {
            (path, digest) = (before, Some(found));
        }
        let mut tag = None;
        if let Some((before, after)) = path.rsplit_once(':')
            && is_tag(after)
        {
            (path, tag) = (before, Some(after.to_owned()));
        }
        Some(Self { path: PathBuf::from(path), tag, digest })
    }

    /// What the image is looked for by: its digest, else its tag, if any is named.
    pub fn wanted(&self) -> Option<String> {
        self.digest.map(|digest| digest.to_string()).or_else(|| self.tag.clone())
    }
}

/// The text that [`LayoutAddress::parse`] reads.
impl fmt::Display for LayoutAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.path.display())?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// The form of a tag, as references have it.
fn is_tag(text: &str) -> bool {
    let mut bytes = text.bytes();
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    bytes.next().is_some_and(is_word)
        && bytes.all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'))
        && text.len() <= 128
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tags_and_digests_are_told_from_paths() {
        let hex = "a".repeat(64);
        let digest = format!("sha256:{hex}");
        let cases = [
            ("/a/b".to_owned(), "/a/b", None, None),
            ("/a/b:v1".to_owned(), "/a/b", Some("v1"), None),
            (format!("/a/b@{digest}"), "/a/b", None, Some(&digest)),
            (format!("/a/b:v1@{digest}"), "/a/b", Some("v1"), Some(&digest)),
            ("/a:b/c".to_owned(), "/a:b/c", None, None),
            ("/a@b/c:v1".to_owned(), "/a@b/c", Some("v1"), None),
            ("/a@sha256:1".to_owned(), "/a@sha256", Some("1"), None),
            ("C:/a".to_owned(), "C:/a", None, None),
        ];
        for (text, path, tag, digest) in cases {
            let text = format!("oci-layout://{text}");
            let found = LayoutAddress::parse(&text).unwrap();
            assert_eq!(found.path, PathBuf::from(path), "{text}");
            assert_eq!(found.tag.as_deref(), tag, "{text}");
            assert_eq!(found.digest.map(|it| it.to_string()).as_ref(), digest, "{text}");
            assert_eq!(found.to_string(), text);
        }
        assert_eq!(LayoutAddress::parse("/a/b"), None);
    }

    proptest! {
        #[test]
        fn every_address_is_written_as_it_was_read(text in "oci-layout://[a-z/:@.-]{0,20}") {
            prop_assert_eq!(LayoutAddress::parse(&text).unwrap().to_string(), text);
        }
    }
}

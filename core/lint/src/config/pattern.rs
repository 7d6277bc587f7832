//! Patterns of paths.

use std::path::Path;

use globset::{Error, GlobBuilder, GlobSet, GlobSetBuilder};

/// Paths below the directory of a file of settings.
///
/// As in a `.gitignore`: a pattern without a slash is the name of a file or directory anywhere; others begin in the
/// directory. `*` and `?` stand for no slash, `**` for any part of a path. A directory stands for all that is in it.
#[derive(Debug, Clone, Default)]
pub(super) struct Patterns(GlobSet);

impl Patterns {
    pub(super) fn new<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, Error> {
        let mut set = GlobSetBuilder::new();
        for pattern in patterns {
            let bare = pattern.trim_end_matches('/');
            let from_root = match bare.strip_prefix('/') {
                Some(rest) => rest.to_owned(),
                None if bare.contains('/') => bare.strip_prefix("./").unwrap_or(bare).to_owned(),
                None => format!("**/{bare}"),
            };
            for pattern in [format!("{from_root}/**"), from_root] {
                set.add(GlobBuilder::new(&pattern).literal_separator(true).build()?);
            }
        }
        Ok(Self(set.build()?))
    }

    pub(super) fn has(&self, path: &Path) -> bool {
        self.0.is_match(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_ignore_files() {
        let has = |pattern: &str, path: &str| Patterns::new([pattern]).unwrap().has(Path::new(path));
        for (pattern, path) in [
            ("Dockerfile.*", "Dockerfile.dev"),
            ("Dockerfile.*", "a/b/Dockerfile.dev"),
            ("vendor", "vendor/a/Dockerfile"),
            ("vendor/", "a/vendor/Dockerfile"),
            ("/vendor", "vendor/Dockerfile"),
            ("a/*/Dockerfile", "a/b/Dockerfile"),
            ("./a/b", "a/b/c/Dockerfile"),
            ("a/**/Dockerfile", "a/b/c/Dockerfile"),
            ("**/x/Dockerfile", "a/x/Dockerfile"),
        ] {
            assert!(has(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in [
            ("/vendor", "a/vendor/Dockerfile"),
            ("a/*/Dockerfile", "a/b/c/Dockerfile"),
            ("a/b", "x/a/b/Dockerfile"),
            ("Dockerfile", "Dockerfile.dev"),
        ] {
            assert!(!has(pattern, path), "{pattern} {path}");
        }
        assert!(Patterns::new(["a[", "b"]).is_err());
    }
}

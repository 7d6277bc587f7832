//! The names of named contexts.

use std::collections::{BTreeSet, HashMap};

/// Contexts by their short names.
pub(crate) fn contexts(names: &BTreeSet<String>) -> HashMap<String, &str> {
    let mut contexts = HashMap::new();
    for name in names {
        let short = match name.split_once("::") {
            Some((name, platform)) => format!("{}::{platform}", familiar(name)),
            None => familiar(name).to_owned(),
        };
        contexts.entry(short).or_insert(name.as_str());
    }
    contexts
}

/// An image's name without what is there by default: `docker.io/library/` and `:latest`.
pub(crate) fn familiar(name: &str) -> &str {
    let name = name.strip_prefix("index.").unwrap_or(name);
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    let name = name.strip_prefix("library/").unwrap_or(name);
    name.strip_suffix(":latest").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::familiar;

    #[test]
    fn shortens_names() {
        for (name, short) in [
            ("docker.io/library/alpine:latest", "alpine"),
            ("index.docker.io/a/b:1", "a/b:1"),
            ("ghcr.io/a/b:latest", "ghcr.io/a/b"),
            ("alpine", "alpine"),
        ] {
            assert_eq!(familiar(name), short);
        }
    }
}

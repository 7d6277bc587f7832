//! `--cache-from` and `--cache-to`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use super::GrammarError;
use super::fields::{fields, join, pairs};
use crate::request::CacheEntry;

impl CacheEntry {
    /// Reads one entry: fields, or the name of an image, which is `type=registry,ref=…`.
    pub fn parse(text: &str) -> Result<Self, GrammarError> {
        let fields = fields(text)?;
        if let [reference] = fields.as_slice()
            && !reference.contains('=')
        {
            return Ok(Self::registry(reference));
        }
        let mut entry = Self { kind: String::new(), attributes: BTreeMap::new() };
        for (key, value) in pairs(&fields)? {
            match key.to_lowercase().as_str() {
                "type" => value.clone_into(&mut entry.kind),
                key => drop(entry.attributes.insert(key.to_owned(), value.to_owned())),
            }
        }
        if entry.kind.is_empty() { Err(GrammarError::CacheType(text.to_owned())) } else { Ok(entry) }
    }

    /// Reads one flag: an entry, or several names of images.
    pub fn parse_flag(text: &str) -> Result<Vec<Self>, GrammarError> {
        if text.contains('=') {
            Ok(vec![Self::parse(text)?])
        } else {
            Ok(fields(text)?.iter().map(|reference| Self::registry(reference)).collect())
        }
    }

    fn registry(reference: &str) -> Self {
        let attributes = BTreeMap::from([("ref".to_owned(), reference.to_owned())]);
        Self { kind: "registry".to_owned(), attributes }
    }

    /// The same entry with the directory of a `local` one made absolute.
    #[must_use]
    pub fn resolve(mut self, cwd: &Path) -> Self {
        if self.kind == "local" {
            for key in ["src", "dest"] {
                if let Some(path) = self.attributes.get_mut(key)
                    && !path.is_empty()
                {
                    *path = cwd.join(&*path).to_string_lossy().into_owned();
                }
            }
        }
        self
    }
}

/// The fields, such that [`CacheEntry::parse`] reads them back.
impl fmt::Display for CacheEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind == "registry"
            && self.attributes.len() == 1
            && let Some(reference) = self.attributes.get("ref")
        {
            return f.write_str(reference);
        }
        let attributes = self.attributes.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        f.write_str(&join([("type", self.kind.as_str())].into_iter().chain(attributes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_entries() {
        for (text, wanted) in [
            ("user/app:cache", "user/app:cache"),
            ("type=registry,ref=user/app", "user/app"),
            ("ref=a,TYPE=registry,Mode=max", "type=registry,mode=max,ref=a"),
            ("type=inline", "type=inline"),
            (r#"type=gha,"scope=a,b""#, r#"type=gha,"scope=a,b""#),
        ] {
            let entry = CacheEntry::parse(text).unwrap();
            assert_eq!(entry.to_string(), wanted);
            assert_eq!(CacheEntry::parse(wanted).unwrap(), entry);
        }
        let entries = CacheEntry::parse_flag("a,b:1").unwrap();
        assert_eq!(entries, [CacheEntry::registry("a"), CacheEntry::registry("b:1")]);
        assert_eq!(CacheEntry::parse_flag("type=inline").unwrap().len(), 1);
    }

    #[test]
    fn rejects_other_entries() {
        for (text, message) in [
            ("", "EOF"),
            ("type=local,dest", "invalid value dest"),
            ("a,b", "invalid value a"),
            ("ref=a,\"x=b\"", r#"type required for "ref=a,\"x=b\"""#),
            ("type=", r#"type required for "type=""#),
        ] {
            assert_eq!(CacheEntry::parse(text).unwrap_err().to_string(), message, "{text}");
        }
    }

    #[test]
    fn makes_local_directories_absolute() {
        let resolve = |text: &str| CacheEntry::parse(text).unwrap().resolve(Path::new("/cwd")).to_string();
        assert_eq!(resolve("type=local,dest=c,src=/s"), "type=local,dest=/cwd/c,src=/s");
        assert_eq!(resolve("type=s3,src=c"), "type=s3,src=c");
    }
}

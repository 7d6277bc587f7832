//! `--platform`, `--build-arg`, `--label` and `--build-context`.

use std::collections::BTreeMap;

use rbx_oci::Reference;
use rbx_platform::Platform;

use super::{GrammarError, Lookup};

/// Reads all `--platform` of a build: specifiers with commas between them, where `local` is `host`, and so is what a
/// specifier leaves out.
pub fn parse_platforms<S: AsRef<str>>(texts: &[S], host: &Platform) -> Result<Vec<Platform>, GrammarError> {
    let platform = |text: &str| {
        if text.eq_ignore_ascii_case("local") {
            Ok(host.normalized())
        } else {
            Platform::parse_for(text, host)
        }
    };
    texts.iter().flat_map(|text| text.as_ref().split(',')).map(|text| Ok(platform(text)?)).collect()
}

/// Reads all `--build-arg` or `--label` of a build, of which the last of a key counts. A key without a value takes
/// it from `env`, which looks a variable of the environment up, and is left out if there is none; without `env`, as
/// for labels, its value is empty.
pub fn parse_pairs<S: AsRef<str>>(
    texts: &[S],
    env: Option<Lookup<'_>>,
) -> Result<BTreeMap<String, String>, GrammarError> {
    let mut pairs = BTreeMap::new();
    for text in texts.iter().map(AsRef::as_ref) {
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (text, env.map_or_else(|| Some(String::new()), |env| env(text))),
        };
        if key.is_empty() {
            return Err(GrammarError::EmptyKey(text.to_owned()));
        }
        if let Some(value) = value {
            pairs.insert(key.to_owned(), value);
        }
    }
    Ok(pairs)
}

/// Reads all `--build-context` of a build, by their names in Docker's short form without the tag `latest`.
pub fn parse_contexts<S: AsRef<str>>(texts: &[S]) -> Result<BTreeMap<String, String>, GrammarError> {
    let mut contexts = BTreeMap::new();
    for text in texts.iter().map(AsRef::as_ref).filter(|text| !text.is_empty()) {
        let (name, value) = text.split_once('=').ok_or_else(|| GrammarError::Context(text.to_owned()))?;
        let reference = Reference::parse(name)
            .map_err(|source| GrammarError::ContextName { name: name.to_owned(), source })?
            .familiar();
        contexts.insert(reference.strip_suffix(":latest").unwrap_or(&reference).to_owned(), value.to_owned());
    }
    Ok(contexts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_platforms() {
        let host = Platform::parse("linux/riscv64").unwrap();
        let read = |texts: &[&str]| {
            let platforms = parse_platforms(texts, &host).map_err(|error| error.to_string())?;
            Ok::<_, String>(platforms.iter().map(Platform::format_all).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(read(&[]).unwrap(), "");
        assert_eq!(
            read(&["linux/x86_64,linux/arm", "Local", "windows", "windows(10.0)/arm64/v8"]).unwrap(),
            "linux/amd64 linux/arm/v7 linux/riscv64 windows/riscv64 windows(10.0)/arm64"
        );
        assert!(read(&["linux/amd64,"]).unwrap_err().starts_with(r#""" is an invalid OS component of """#));
        assert_eq!(
            read(&["nowhere"]).unwrap_err(),
            r#""nowhere": unknown operating system or architecture: invalid argument"#
        );
    }

    #[test]
    fn reads_pairs() {
        let env = |name: &str| (name == "SET").then(|| "value".to_owned());
        let args = parse_pairs(&["a=1", "b=", "SET", "UNSET", "a=2=3"], Some(&env)).unwrap();
        let args: Vec<(&str, &str)> =
            args.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(args, [("SET", "value"), ("a", "2=3"), ("b", "")]);
        assert_eq!(parse_pairs(&["SET"], None).unwrap(), BTreeMap::from([("SET".to_owned(), String::new())]));
        for text in ["", "=x"] {
            let message = format!("invalid key-value pair {text:?}: empty key");
            assert_eq!(parse_pairs(&[text], Some(&env)).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn reads_contexts() {
        let texts =
            ["base=.", "", "docker.io/library/alpine:latest=docker-image://a=b", "ghcr.io/a/b:1=target:x"];
        let contexts = parse_contexts(&texts).unwrap();
        let contexts: Vec<(&str, &str)> =
            contexts.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(
            contexts,
            [("alpine", "docker-image://a=b"), ("base", "."), ("ghcr.io/a/b:1", "target:x")]
        );
        assert_eq!(
            parse_contexts(&["x"]).unwrap_err().to_string(),
            "invalid context value: x, expected key=value"
        );
        assert_eq!(
            parse_contexts(&["a b=."]).unwrap_err().to_string(),
            "invalid context name a b: invalid reference format"
        );
    }
}

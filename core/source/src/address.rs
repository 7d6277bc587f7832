//! Addresses of git repositories, as BuildKit reads them.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// A repository, and what of it is meant: `https://host/x.git#ref:directory`, `git://…`, `ssh://…`,
/// `user@host:path`, `github.com/x/y`; the part after the `#` can also be given as a query
/// (`?branch=main&subdir=x`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GitAddress {
    /// Where the repository is, as git takes it.
    pub remote: String,
    /// A branch, tag, full name of a reference, or commit; `None` is the default branch.
    pub reference: Option<String>,
    /// What the commit's name must begin with.
    pub checksum: Option<String>,
    /// The directory that is meant, relative and without `.` and `..`; `None` is all.
    pub directory: Option<String>,
    /// Whether `.git` is kept.
    pub keep_git_dir: Option<bool>,
    /// Whether submodules are fetched, as they are if nothing is said.
    pub submodules: Option<bool>,
    /// Files get the commit's time.
    pub commit_times: bool,
    /// The commit of the checksum is fetched whatever the reference is.
    pub fetch_by_commit: bool,
    /// It could as well be the path of a file: `github.com/…`.
    pub looks_local: bool,
}

/// Why the address of a repository says nothing that can be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct GitAddressError(String);

impl GitAddress {
    /// Reads an address; `None` if it is none of a git repository. An address over HTTP is one if its path ends in
    /// `.git`.
    pub fn parse(text: &str) -> Result<Option<Self>, GitAddressError> {
        let Some(parts) = Parts::of(text) else { return Ok(None) };
        let mut address = Self { remote: parts.remote, looks_local: parts.looks_local, ..Self::default() };
        if !parts.fragment.is_empty() {
            let (reference, directory) = match parts.fragment.split_once(':') {
                Some((reference, directory)) => (reference, clean(directory)),
                None => (&*parts.fragment, String::new()),
            };
            address.reference = filled(reference);
            address.directory = filled(&directory);
        }
        address.query(&parts.query)?;
        address.directory = address.directory.and_then(|directory| filled(&clean(&directory)));
        if address.reference.as_ref().is_some_and(|reference| reference.starts_with('-')) {
            return Err(wrong("invalid git ref", address.reference.as_deref()));
        }
        if let Some(checksum) = &address.checksum
            && !checksum.bytes().all(|byte| byte.is_ascii_hexdigit())
        {
            let reason = format!("invalid checksum {checksum} for Git URL, expected hex commit hash");
            return Err(GitAddressError(reason));
        }
        Ok(Some(address))
    }

    /// The repository without user and password.
    pub fn shown(&self) -> String {
        crate::http::redacted(&self.remote)
    }

    /// The host with its port, as it is written.
    pub fn host(&self) -> &str {
        let rest = self.remote.split_once("://").map_or(self.remote.as_str(), |(_, rest)| rest);
        let host = rest.split('/').next().unwrap_or_default();
        host.rsplit_once('@').map_or(host, |(_, host)| host)
    }

    /// Whether the repository is reached over SSH.
    pub fn is_ssh(&self) -> bool {
        !self.remote.contains("://") || self.remote.starts_with("ssh://")
    }

    fn query(&mut self, query: &[(String, Vec<String>)]) -> Result<(), GitAddressError> {
        let (mut tag, mut branch) = (None, None);
        for (name, values) in query {
            let value = match values.as_slice() {
                [one] => one.as_str(),
                _ => return Err(GitAddressError(format!("query {name:?} has multiple values"))),
            };
            let flag = || -> Result<bool, GitAddressError> {
                match value {
                    "" | "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
                    "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
                    _ => Err(GitAddressError(format!("invalid {name} value: {value:?}"))),
                }
            };
            match name.as_str() {
                "keep-git-dir" => self.keep_git_dir = Some(flag()?),
                "submodules" => self.submodules = Some(flag()?),
                "fetch-by-commit" => self.fetch_by_commit = flag()?,
                _ if value.is_empty() => return Err(GitAddressError(format!("query {name:?} has no value"))),
                "ref" => unite("ref", &mut self.reference, value)?,
                "subdir" => unite("subdir", &mut self.directory, value)?,
                "tag" => tag = Some(value),
                "branch" => branch = Some(value),
                "checksum" | "commit" => self.checksum = Some(value.to_owned()),
                "mtime" => {
                    self.commit_times = match value {
                        "commit" => true,
                        "checkout" => false,
                        _ => {
                            let reason = format!(
                                "invalid mtime value: {value:?} (must be \"checkout\" or \"commit\")"
                            );
                            return Err(GitAddressError(reason));
                        }
                    }
                }
                _ => return Err(GitAddressError(format!("unexpected query {name:?}"))),
            }
        }
        if tag.is_some() && branch.is_some() {
            return Err(GitAddressError("branch conflicts with tag".to_owned()));
        }
        for (value, prefix) in [(tag, "refs/tags/"), (branch, "refs/heads/")] {
            if let Some(value) = value {
                let full =
                    if value.starts_with(prefix) { value.to_owned() } else { format!("{prefix}{value}") };
                unite("ref", &mut self.reference, &full)?;
            }
        }
        Ok(())
    }
}

fn wrong(what: &str, value: Option<&str>) -> GitAddressError {
    GitAddressError(format!("{what} {:?}", value.unwrap_or_default()))
}

fn filled(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

/// Takes a value that must not contradict the one there is.
fn unite(name: &str, known: &mut Option<String>, value: &str) -> Result<(), GitAddressError> {
    match known {
        Some(known) if known != value => {
            Err(GitAddressError(format!("{name} conflicts: {known:?} vs {value:?}")))
        }
        _ => {
            *known = Some(value.to_owned());
            Ok(())
        }
    }
}

/// A path without leading slash, `.`, `..` and empty parts.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// An address taken apart.
struct Parts {
    remote: String,
    query: Vec<(String, Vec<String>)>,
    fragment: String,
    looks_local: bool,
}

impl Parts {
    fn of(text: &str) -> Option<Self> {
        if text.starts_with("./") || text.starts_with("../") || text.contains(char::is_control) {
            return None;
        }
        if text.starts_with("github.com/") {
            return Some(Self { looks_local: true, ..Self::of_url(&format!("https://{text}")) });
        }
        match text.split_once("://") {
            Some((scheme, _)) if scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
                let parts = Self::of_url(text);
                let path = parts.remote.split_once("://")?.1.split_once('/').map_or("", |(_, path)| path);
                match scheme.to_ascii_lowercase().as_str() {
                    "git" | "ssh" => Some(parts),
                    "http" | "https" if path.strip_suffix(".git").is_some() => Some(parts),
                    _ => None,
                }
            }
            _ => Self::of_scp(text),
        }
    }

    fn of_url(text: &str) -> Self {
        let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
        let (remote, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (scheme, rest) = remote.split_once("://").unwrap_or(("https", remote));
        Self {
            remote: format!("{}://{rest}", scheme.to_ascii_lowercase()),
            query: pairs(query),
            fragment: percent_decode_str(fragment).decode_utf8_lossy().into_owned(),
            looks_local: false,
        }
    }

    /// `user@host:path`, git's short form of SSH.
    fn of_scp(text: &str) -> Option<Self> {
        let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
        let (remote, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (user, rest) = remote.split_once('@')?;
        let (host, _) = rest.split_once(':')?;
        let word = |text: &str, extra: [char; 2]| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || extra.contains(&c))
        };
        let usable = word(user, ['-', '_']) && word(host, ['-', '.']);
        usable.then(|| Self {
            remote: remote.to_owned(),
            query: pairs(query),
            fragment: fragment.to_owned(),
            looks_local: false,
        })
    }
}

/// A query's values by name, in the order in which the names come up.
fn pairs(query: &str) -> Vec<(String, Vec<String>)> {
    let decoded = |text: &str| {
        let spaced: Cow<'_, str> =
            if text.contains('+') { text.replace('+', " ").into() } else { text.into() };
        percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
    };
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    for part in query.split('&').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let (name, value) = (decoded(name), decoded(value));
        match found.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => values.push(value),
            None => found.push((name, vec![value])),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Remote, reference and directory, a dash for what is not given.
    fn read(text: &str) -> String {
        match GitAddress::parse(text) {
            Ok(None) => "none".to_owned(),
            Err(error) => format!("error: {error}"),
            Ok(Some(it)) => {
                let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
                format!("{} {} {}", it.remote, or_dash(&it.reference), or_dash(&it.directory))
            }
        }
    }

    #[test]
    fn every_form_of_address() {
        for (text, wanted) in [
            ("https://github.com/a/b.git", "https://github.com/a/b.git - -"),
            ("https://github.com/a/b.git#main:x/../y/", "https://github.com/a/b.git main y"),
            ("https://host/b.git#:x", "https://host/b.git - x"),
            ("https://host/b.git#a/b", "https://host/b.git a/b -"),
            ("http://host:8080/b.git?ref=v1", "http://host:8080/b.git v1 -"),
            ("HTTPS://host/b.git", "https://host/b.git - -"),
            ("https://user:pw@host/b.git#x", "https://user:pw@host/b.git x -"),
            ("git://host/anything#1:2", "git://host/anything 1 2"),
            ("ssh://git@host:22/x/y", "ssh://git@host:22/x/y - -"),
            ("git@github.com:a/b.git#main", "git@github.com:a/b.git main -"),
            ("git@host:a?branch=x&subdir=/d/", "git@host:a refs/heads/x d"),
            ("github.com/a/b#x", "https://github.com/a/b x -"),
            ("https://host/b.git?tag=v1", "https://host/b.git refs/tags/v1 -"),
            ("https://host/b.git?tag=refs/tags/v1#refs/tags/v1", "https://host/b.git refs/tags/v1 -"),
            ("https://host/b", "none"),
            ("https://host/b.git/x", "none"),
            ("https://host.git", "none"),
            ("file:///a/b.git", "none"),
            ("ext::sh -c x", "none"),
            ("./git@host:x", "none"),
            ("a/b", "none"),
            ("us er@host:x", "none"),
            ("", "none"),
        ] {
            assert_eq!(read(text), wanted, "{text}");
        }
    }

    #[test]
    fn queries_are_checked() {
        for (query, wanted) in [
            ("ref=", "query \"ref\" has no value"),
            ("ref=a&ref=b", "query \"ref\" has multiple values"),
            ("ref=a#b", "ref conflicts: \"b\" vs \"a\""),
            ("subdir=a#b:c", "subdir conflicts: \"c\" vs \"a\""),
            ("tag=a&branch=b", "branch conflicts with tag"),
            ("keep-git-dir=x", "invalid keep-git-dir value: \"x\""),
            ("mtime=x", "invalid mtime value: \"x\" (must be \"checkout\" or \"commit\")"),
            ("x=y", "unexpected query \"x\""),
            ("ref=-x", "invalid git ref \"-x\""),
            ("checksum=xyz", "invalid checksum xyz for Git URL, expected hex commit hash"),
        ] {
            assert_eq!(read(&format!("https://host/b.git?{query}")), format!("error: {wanted}"), "{query}");
        }
        let parse = |text: &str| GitAddress::parse(text).unwrap().unwrap();
        let all = parse("git://h/x?keep-git-dir&submodules=0&commit=abc&mtime=commit&fetch-by-commit=1");
        assert_eq!((all.keep_git_dir, all.submodules), (Some(true), Some(false)));
        assert_eq!(
            (all.checksum.as_deref(), all.commit_times, all.fetch_by_commit),
            (Some("abc"), true, true)
        );
    }

    #[test]
    fn ways_to_a_repository() {
        let parse = |text: &str| GitAddress::parse(text).unwrap().unwrap();
        assert!(parse("git@host:x").is_ssh() && parse("ssh://host/x").is_ssh());
        assert!(!parse("git://host/x").is_ssh());
        assert!(parse("github.com/x/y").looks_local);
        assert_eq!(parse("https://a:b@host:80/x.git").host(), "host:80");
        assert_eq!(parse("https://a:b@host/x.git").shown(), "https://xxxxx:xxxxx@host/x.git");
    }

    proptest! {
        #[test]
        fn anything_can_be_read(text in "\\PC{0,60}", rest in "[a-z:/@#?&=.%0-9-]{0,60}") {
            let _ = GitAddress::parse(&text);
            for start in ["https://h/x.git", "git@h:", "git://", "github.com/"] {
                if let Ok(Some(address)) = GitAddress::parse(&format!("{start}{rest}")) {
                    prop_assert!(!address.remote.starts_with('-'));
                    prop_assert!(address.reference.is_none_or(|it| !it.starts_with('-')));
                    let directory = address.directory.unwrap_or_default();
                    prop_assert!(directory.split('/').all(|part| part != "..") && !directory.starts_with('/'));
                }
            }
        }
    }
}

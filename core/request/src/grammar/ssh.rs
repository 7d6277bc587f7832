//! `--ssh`.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use super::GrammarError;
use super::fields::join;
use crate::request::SshForward;

/// One `--ssh` as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshEntry {
    /// The id.
    pub id: String,
    /// An agent's socket or key files; none for the user's agent.
    pub paths: Vec<String>,
}

impl SshEntry {
    /// Reads `id[=path[,path…]]`. Every text is one.
    pub fn parse(text: &str) -> Self {
        match text.split_once('=') {
            Some((id, paths)) => {
                Self { id: id.to_owned(), paths: paths.split(',').map(ToOwned::to_owned).collect() }
            }
            None => Self { id: text.to_owned(), paths: Vec::new() },
        }
    }

    /// Makes paths absolute. `agent` is the socket of the user's agent, `SSH_AUTH_SOCK`.
    pub fn resolve(&self, cwd: &Path, agent: Option<&str>) -> Result<SshForward, GrammarError> {
        let id = if self.id.is_empty() { "default" } else { &self.id };
        let paths = match self.paths.as_slice() {
            [] => vec![""],
            paths => paths.iter().map(String::as_str).collect(),
        };
        let agent = agent.filter(|agent| !agent.is_empty());
        let paths = match paths.as_slice() {
            [""] => vec![agent.ok_or(GrammarError::SshSocket)?],
            ["", ..] => return Err(GrammarError::SshSocket),
            _ => paths,
        };
        Ok(SshForward { id: id.to_owned(), paths: paths.iter().map(|path| cwd.join(path)).collect() })
    }
}

/// The text as buildx prints it, with quotes around several paths.
impl fmt::Display for SshEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.paths.is_empty() {
            return f.write_str(&self.id);
        }
        f.write_str(&join([(self.id.as_str(), self.paths.join(",").as_str())]))
    }
}

impl SshForward {
    /// Reads and resolves one `--ssh`. `agent` is the socket of the user's agent, `SSH_AUTH_SOCK`.
    pub fn parse(text: &str, cwd: &Path, agent: Option<&str>) -> Result<Self, GrammarError> {
        SshEntry::parse(text).resolve(cwd, agent)
    }

    /// Resolves all of a build, no two of which can have the same id.
    pub fn resolve_all(
        entries: &[SshEntry],
        cwd: &Path,
        agent: Option<&str>,
    ) -> Result<Vec<Self>, GrammarError> {
        let mut ids = BTreeSet::new();
        let mut forwards = Vec::with_capacity(entries.len());
        for entry in entries {
            let forward = entry.resolve(cwd, agent)?;
            if !ids.insert(forward.id.clone()) {
                return Err(GrammarError::SshDuplicate(forward.id));
            }
            forwards.push(forward);
        }
        Ok(forwards)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_agents_and_keys() {
        for (text, id, paths) in [
            ("default", "default", &["/agent"][..]),
            ("", "default", &["/agent"]),
            ("work", "work", &["/agent"]),
            ("work=", "work", &["/agent"]),
            ("default=/sock", "default", &["/sock"]),
            ("keys=a,/b=c", "keys", &["/cwd/a", "/b=c"]),
        ] {
            let forward = SshForward::parse(text, Path::new("/cwd"), Some("/agent")).unwrap();
            assert_eq!(
                (forward.id.as_str(), forward.paths),
                (id, paths.iter().map(Into::into).collect()),
                "{text}"
            );
        }
    }

    #[test]
    fn needs_an_agent_and_different_ids() {
        for (text, agent) in [("default", None), ("default=", Some("")), ("a=,b", Some("/agent"))] {
            let error = SshForward::parse(text, Path::new("/"), agent).unwrap_err().to_string();
            assert_eq!(error, "invalid empty ssh agent socket: make sure SSH_AUTH_SOCK is set");
        }
        let all = |texts: &[&str]| {
            let entries: Vec<SshEntry> = texts.iter().map(|text| SshEntry::parse(text)).collect();
            SshForward::resolve_all(&entries, Path::new("/"), Some("/agent"))
        };
        assert_eq!(all(&["a", "b", "default"]).unwrap().len(), 3);
        assert_eq!(all(&["=x", "default"]).unwrap_err().to_string(), r#"duplicate agent ID "default""#);
    }

    #[test]
    fn writes_what_it_reads() {
        for (text, wanted) in [("default", "default"), ("a=b", "a=b"), ("a=b,c", "\"a=b,c\"")] {
            assert_eq!(SshEntry::parse(text).to_string(), wanted);
        }
    }
}

//! What the program finds around itself, gathered once: nothing else reads the environment.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

/// Variables, directories and terminals.
#[derive(Debug, Clone, Default)]
pub(crate) struct Env {
    /// What the program was called as: the first word of its command line.
    pub(crate) program: String,
    /// The current directory.
    pub(crate) cwd: PathBuf,
    /// Standard output is a terminal.
    pub(crate) stdout_is_terminal: bool,
    /// Standard error is a terminal.
    pub(crate) stderr_is_terminal: bool,
    variables: BTreeMap<String, String>,
}

impl Env {
    /// Gathers what the process was started with. Variables that are not UTF-8 are as good as unset.
    pub(crate) fn gather(program: String) -> io::Result<Self> {
        let text = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Ok(Self {
            program,
            cwd: std::env::current_dir()?,
            stdout_is_terminal: io::stdout().is_terminal(),
            stderr_is_terminal: io::stderr().is_terminal(),
            variables: text.collect(),
        })
    }

    /// A variable that is set, be it to nothing.
    pub(crate) fn var(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// A variable that is set to something.
    pub(crate) fn filled(&self, name: &str) -> Option<&str> {
        self.var(name).filter(|value| !value.is_empty())
    }

    /// A variable as a path, relative ones from the current directory.
    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        self.filled(name).map(|path| self.cwd.join(path))
    }

    /// The user's home.
    pub(crate) fn home(&self) -> Option<&Path> {
        self.filled("HOME").map(Path::new)
    }

    /// The name of the program, without directories.
    pub(crate) fn program_name(&self) -> String {
        let name = Path::new(&self.program).file_name().map(|name| name.to_string_lossy().into_owned());
        name.unwrap_or_else(|| "docker-rbx".to_owned())
    }
}

#[cfg(test)]
impl Env {
    /// An environment with these variables, for tests.
    pub(crate) fn with(variables: &[(&str, &str)]) -> Self {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Self {
            program: "docker-rbx".to_owned(),
            cwd: PathBuf::from("/work"),
            variables: variables.collect(),
            ..Self::default()
        }
    }
}

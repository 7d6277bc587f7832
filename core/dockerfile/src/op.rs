//! What a step of a stage does, everything expanded.

use std::time::Duration;

use crate::run::{Device, Mount, Network, Security};

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// `RUN`
    Run(Run),
    /// `COPY` and `ADD`
    Copy(Copy),
    /// `WORKDIR`: the directory from the root. As in BuildKit a relative path is joined and cleaned, an absolute
    /// one stays as it is written.
    Workdir(String),
    /// `USER`
    User(String),
    /// `ENV`
    Env(Vec<(String, String)>),
    /// `ARG`: names and the values they have from here on; `None` where there is neither default nor build argument.
    Arg(Vec<(String, Option<String>)>),
    /// `LABEL`
    Label(Vec<(String, String)>),
    /// `CMD`
    Cmd(Command),
    /// `ENTRYPOINT`
    Entrypoint(Command),
    /// `EXPOSE`: each `port/protocol`, ranges taken apart.
    Expose(Vec<String>),
    /// `VOLUME`
    Volume(Vec<String>),
    /// `STOPSIGNAL`
    StopSignal(String),
    /// `HEALTHCHECK`
    Healthcheck(Healthcheck),
    /// `ONBUILD`: the trigger's text, to be stored in the image.
    OnBuild(String),
    /// `SHELL`
    Shell(Vec<String>),
    /// `MAINTAINER`
    Maintainer(String),
}

/// A command in shell form or exec form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A text for the shell.
    Shell(String),
    /// An argument vector.
    Exec(Vec<String>),
}

impl Command {
    /// The argument vector, the shell's put before a text.
    pub fn argv(&self, shell: &[String]) -> Vec<String> {
        match self {
            Self::Shell(text) => shell.iter().chain([text]).cloned().collect(),
            Self::Exec(argv) => argv.clone(),
        }
    }
}

/// `RUN`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// What runs. Of a `RUN` that is nothing but one heredoc, its content; with other heredocs, the text with their
    /// contents after it, which the shell reads.
    pub command: Command,
    /// A file to be put into `/dev/pipes`, mode 0755, read-only: a lone heredoc that begins with `#!`. The command
    /// names it.
    pub script: Option<InlineFile>,
    /// `--mount`
    pub mounts: Vec<Mount>,
    /// `--network`
    pub network: Network,
    /// `--security`
    pub security: Security,
    /// `--device`
    pub devices: Vec<Device>,
}

/// A file written in the Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InlineFile {
    /// Its name, as the heredoc has it. May hold slashes: a caller must keep it inside its directory.
    pub name: String,
    /// Its content.
    pub content: String,
}

/// `COPY` and `ADD`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// It is an `ADD`.
    pub add: bool,
    /// What is copied: first the paths, then the heredocs, as BuildKit orders them.
    pub sources: Vec<Source>,
    /// Where to, as written, variables expanded. A relative path begins in the working directory.
    pub destination: String,
    /// Where the paths are.
    pub from: From,
    /// `--chown`
    pub chown: Option<String>,
    /// `--chmod`: octal or symbolic.
    pub chmod: Option<String>,
    /// `--link`
    pub link: bool,
    /// `--parents`
    pub parents: bool,
    /// `--exclude`, unexpanded, as BuildKit leaves it.
    pub exclude: Vec<String>,
    /// `--checksum`
    pub checksum: Option<String>,
    /// `--keep-git-dir`
    pub keep_git_dir: bool,
    /// `--unpack`; `None` is BuildKit's choice: local archives of `ADD` are unpacked.
    pub unpack: Option<bool>,
}

/// What `COPY` and `ADD` copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A path or pattern, for `ADD` also a URL or a Git repository.
    Path(String),
    /// A file written in the Dockerfile, mode 0644; variables are expanded already.
    Heredoc(InlineFile),
}

/// A source that is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remote {
    /// A file over HTTP.
    Http,
    /// A Git repository.
    Git,
}

impl Source {
    /// How the source is fetched; `None` for one that is at hand.
    pub fn remote(&self) -> Option<Remote> {
        match self {
            Self::Path(path) => remote(path),
            Self::Heredoc(_) => None,
        }
    }
}

fn remote(path: &str) -> Option<Remote> {
    if path.starts_with("git://") || path.starts_with("ssh://") {
        return Some(Remote::Git);
    }
    if let Some(rest) = path.strip_prefix("https://").or_else(|| path.strip_prefix("http://")) {
        let end = rest.find(['#', '?']).unwrap_or(rest.len());
        let (_, url_path) = rest[..end].split_once('/').unwrap_or((rest, ""));
        let repository = url_path.strip_suffix(".git").is_some();
        return Some(if repository { Remote::Git } else { Remote::Http });
    }
    // `user@host:path`, Git's short form of SSH.
    let (user, rest) = path.split_once('@')?;
    let (host, _) = rest.split_once(':')?;
    let name = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    (name(user) && name(host)).then_some(Remote::Git)
}

/// Where files come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// The build context.
    Context,
    /// A stage, by its index.
    Stage(usize),
    /// An image, as written.
    Image(String),
    /// A named context, by the name in [`Scope::named_contexts`](crate::Scope::named_contexts).
    Named(String),
    /// Nothing: `scratch`, and cache mounts without a `from`.
    Scratch,
}

/// `HEALTHCHECK`. A duration of zero, and zero retries, inherit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Healthcheck {
    /// What is run; `None` is `HEALTHCHECK NONE`.
    pub command: Option<Command>,
    /// Time between two checks.
    pub interval: Duration,
    /// How long a check may take.
    pub timeout: Duration,
    /// Time in which failures do not count.
    pub start_period: Duration,
    /// Time between two checks in the start period.
    pub start_interval: Duration,
    /// Failures in a row that make a container unhealthy.
    pub retries: u32,
}

impl Healthcheck {
    /// The check as image configurations have it: `NONE`, or `CMD` or `CMD-SHELL` and what follows.
    pub fn test(&self) -> Vec<String> {
        let list = |kind: &str, rest: &[String]| {
            std::iter::once(kind.to_owned()).chain(rest.iter().cloned()).collect()
        };
        match &self.command {
            None => list("NONE", &[]),
            Some(Command::Exec(argv)) => list("CMD", argv),
            Some(Command::Shell(text)) => list("CMD-SHELL", std::slice::from_ref(text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_remote_sources() {
        for (path, expected) in [
            ("https://example.com/a.tar.gz", Some(Remote::Http)),
            ("https://github.com/a/b.git", Some(Remote::Git)),
            ("https://github.com/a/b.git#main:sub", Some(Remote::Git)),
            ("https://example.com", Some(Remote::Http)),
            ("git@github.com:a/b", Some(Remote::Git)),
            ("a/b", None),
            ("name@1.0/x", None),
            ("", None),
        ] {
            assert_eq!(Source::Path(path.to_owned()).remote(), expected, "{path}");
        }
    }
}

//! Which platforms a file is built for.

use std::path::Path;

use rbx_dockerfile::{Dockerfile, Span};
use rbx_platform::Platform;
use rbx_request::parse_platforms;

use crate::projects::Projects;

/// The platforms a file is built for, and who says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platforms {
    /// Them, each once; at least one.
    pub list: Vec<Platform>,
    /// Who says so.
    pub source: Source,
    /// What the file names that is no platform: where, and what is wrong with it.
    pub wrong: Vec<(Span, String)>,
}

/// Who says what a file is built for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Whoever asks, by `--platform`.
    Flag,
    /// A comment in the file.
    Comment,
    /// The configuration.
    Configuration,
    /// Workflows of GitHub that build it: their paths in the repository.
    Workflow(Vec<String>),
    /// `DOCKER_DEFAULT_PLATFORM`.
    Environment,
    /// Nobody: it is what a build without `--platform` is for.
    Default,
}

/// What is said of a file's platforms by others than the file.
#[derive(Debug, Clone, Copy)]
pub struct Said<'a> {
    /// By `--platform`.
    pub flag: &'a [Platform],
    /// By the configuration.
    pub configured: &'a [Platform],
    /// By workflows of the repository that the file at this path, an absolute one, is in.
    pub projects: Option<(&'a Projects, &'a Path)>,
    /// By `DOCKER_DEFAULT_PLATFORM`.
    pub environment: &'a [Platform],
    /// This machine's platform.
    pub host: &'a Platform,
}

impl Source {
    /// In a word, for programs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Flag => "flag",
            Self::Comment => "comment",
            Self::Configuration => "configuration",
            Self::Workflow(_) => "workflow",
            Self::Environment | Self::Default => "default",
        }
    }
}

impl Platforms {
    /// The platforms of a file: those of the first who names any.
    pub fn of(file: &Dockerfile, said: &Said<'_>) -> Self {
        let (mut named, mut wrong) = (Vec::new(), Vec::new());
        if said.flag.is_empty() {
            for word in file.platforms() {
                match parse_platforms(&[&word.text], said.host) {
                    Ok(platforms) => named.extend(platforms),
                    Err(error) => wrong.push((word.span, error.to_string())),
                }
            }
        }
        let (list, source) = if !said.flag.is_empty() {
            (said.flag.to_vec(), Source::Flag)
        } else if !named.is_empty() {
            (named, Source::Comment)
        } else if !said.configured.is_empty() {
            (said.configured.to_vec(), Source::Configuration)
        } else if let Some((list, workflows)) = said.workflows() {
            (list, Source::Workflow(workflows))
        } else if !said.environment.is_empty() {
            (said.environment.to_vec(), Source::Environment)
        } else {
            (vec![said.host.clone()], Source::Default)
        };
        Self { list: once(list), source, wrong }
    }
}

impl Said<'_> {
    fn workflows(&self) -> Option<(Vec<Platform>, Vec<String>)> {
        let (projects, path) = self.projects?;
        projects.platforms(path, self.host)
    }
}

/// Each platform once, in order.
pub(crate) fn once(platforms: Vec<Platform>) -> Vec<Platform> {
    let mut list: Vec<Platform> = Vec::with_capacity(platforms.len());
    for platform in platforms {
        if !list.contains(&platform) {
            list.push(platform);
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, flag: &str, configured: &str, environment: &str) -> String {
        let host = Platform::host();
        let platforms = |list: &str| match list {
            "" => Vec::new(),
            list => parse_platforms(&[list], &host).unwrap(),
        };
        let (flag, configured, environment) =
            (platforms(flag), platforms(configured), platforms(environment));
        let said = Said {
            flag: &flag,
            configured: &configured,
            projects: None,
            environment: &environment,
            host: &host,
        };
        let found = Platforms::of(&rbx_dockerfile::parse(text), &said);
        let names: Vec<_> = found.list.iter().map(Platform::format_all).collect();
        let wrong = found.wrong.iter().map(|(span, reason)| format!("; {:?}: {reason}", span.slice(text)));
        format!("{:?}: {}{}", found.source, names.join(", "), wrong.collect::<String>())
    }

    #[test]
    fn who_is_nearer_counts() {
        let comment = "# rbx: platforms=arm64, linux/arm64/v8,linux/arm\nFROM a";
        assert_eq!(of(comment, "linux/amd64,linux/amd64", "linux/386", ""), "Flag: linux/amd64");
        assert_eq!(of(comment, "", "linux/386", "linux/riscv64"), "Comment: linux/arm64, linux/arm/v7");
        assert_eq!(of("FROM a", "", "linux/386", "linux/riscv64"), "Configuration: linux/386");
        assert_eq!(of("FROM a", "", "", "linux/riscv64"), "Environment: linux/riscv64");
        assert_eq!(of("FROM a", "", "", ""), format!("Default: {}", Platform::host()));
    }

    #[test]
    fn what_is_no_platform_is_told_with_its_place() {
        insta::assert_snapshot!(of("# rbx: platforms=linux/amd64,linux/ar*m,x/y/z/w", "", "", ""), @r#"Comment: linux/amd64; "linux/ar*m": "linux/ar*m": wildcards not yet supported: invalid argument; "x/y/z/w": "x/y/z/w": cannot parse platform specifier: invalid argument"#);
        assert!(of("# rbx: platforms=a/b/c/d", "", "linux/386", "").starts_with("Configuration: linux/386;"));
    }
}

//! Which platforms a file is built for.

use rbx_dockerfile::{Dockerfile, Span};
use rbx_platform::Platform;

use crate::configuration::{self, Configuration};

/// The platforms a file is built for, and who says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Platforms {
    /// Them, each once; at least one.
    pub(crate) list: Vec<Platform>,
    /// Who says so.
    pub(crate) source: Source,
    /// What the file names that is no platform: where, and what is wrong with it.
    pub(crate) wrong: Vec<(Span, String)>,
}

/// Who says what a file is built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// A comment in the file.
    Comment,
    /// The client's configuration.
    Configuration,
    /// Nobody: it is what a build without `--platform` is for.
    Default,
}

impl Source {
    /// As clients are told.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Comment => "comment",
            Self::Configuration => "configuration",
            Self::Default => "default",
        }
    }
}

impl Platforms {
    /// The platforms of a file: those of its comment, else those that are configured, else `default`, else this
    /// machine's.
    pub(crate) fn of(file: &Dockerfile, configuration: &Configuration, default: &[Platform]) -> Self {
        let (mut list, mut wrong) = (Vec::new(), Vec::new());
        for word in file.platforms() {
            match configuration::platforms(std::slice::from_ref(&word.text)) {
                Ok(named) => list.extend(
                    named.into_iter().filter(|platform| !list.contains(platform)).collect::<Vec<_>>(),
                ),
                Err(reason) => wrong.push((word.span, reason)),
            }
        }
        let (list, source) = if !list.is_empty() {
            (list, Source::Comment)
        } else if !configuration.platforms.is_empty() {
            (configuration.platforms.clone(), Source::Configuration)
        } else if !default.is_empty() {
            (default.to_vec(), Source::Default)
        } else {
            (vec![Platform::host()], Source::Default)
        };
        Self { list, source, wrong }
    }
}

/// Names of platforms with commas between them.
pub(crate) fn names(platforms: &[Platform]) -> String {
    platforms.iter().map(Platform::format_all).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, configured: &[&str], default: &[&str]) -> String {
        let platforms = |names: &[&str]| names.iter().map(|name| Platform::parse(name).unwrap()).collect();
        let configuration = Configuration { platforms: platforms(configured), ..Configuration::default() };
        let default: Vec<Platform> = platforms(default);
        let found = Platforms::of(&rbx_dockerfile::parse(text), &configuration, &default);
        let wrong = found.wrong.iter().map(|(span, reason)| format!("; {:?}: {reason}", span.slice(text)));
        format!("{}: {}{}", found.source.name(), names(&found.list), wrong.collect::<String>())
    }

    #[test]
    fn the_file_goes_before_the_configuration_and_that_before_the_default() {
        let comment = "# rbx: platforms=arm64, linux/arm64/v8,linux/arm\nFROM a";
        assert_eq!(of(comment, &["linux/386"], &["linux/riscv64"]), "comment: linux/arm64, linux/arm/v7");
        assert_eq!(of("FROM a", &["linux/386"], &["linux/riscv64"]), "configuration: linux/386");
        assert_eq!(of("FROM a", &[], &["linux/riscv64"]), "default: linux/riscv64");
        assert_eq!(of("FROM a", &[], &[]), format!("default: {}", Platform::host()));
    }

    #[test]
    fn what_is_no_platform_is_told_with_its_place() {
        insta::assert_snapshot!(of("# rbx: platforms=linux/amd64,linux/ar*m,x/y/z/w", &[], &[]), @r#"comment: linux/amd64; "linux/ar*m": "linux/ar*m": wildcards not yet supported: invalid argument; "x/y/z/w": "x/y/z/w": cannot parse platform specifier: invalid argument"#);
        assert!(of("# rbx: platforms=a/b/c/d", &["linux/386"], &[]).starts_with("configuration: linux/386;"));
    }
}

//! Files in which a project says how its Dockerfiles are checked: `rbx.toml`, or that of hadolint.
//!
//! Text goes in, data or an error comes out. Finding and reading the file is for the caller: [`Config::find`] knows
//! where to look.

mod error;
mod hadolint;
mod pattern;
mod toml;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rbx_platform::Platform;

use crate::finding::Severity;
use crate::settings::{Level, Settings};
pub use error::ConfigError;
use pattern::Patterns;

/// The name of this program's file.
const NAME: &str = "rbx.toml";
/// The names of hadolint's file.
const HADOLINT: [&str; 2] = [".hadolint.yaml", ".hadolint.yml"];

/// What a project says of how its Dockerfiles are checked.
#[derive(Debug, Clone, Default)]
pub struct Config {
    settings: Settings,
    severity: Option<Severity>,
    ignored: Patterns,
    all: Part,
    /// What holds for some files, the last one counting most.
    some: Vec<(Patterns, Part)>,
}

/// What may be different for some files.
#[derive(Debug, Clone, Default)]
struct Part {
    levels: BTreeMap<String, Level>,
    platforms: Vec<Platform>,
    build_args: BTreeMap<String, String>,
}

/// What a [`Config`] says of one Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FileConfig {
    /// It is not to be checked.
    pub ignored: bool,
    /// How rules are asked. [`Settings::threshold`] is that of [`severity`](Self::severity).
    pub settings: Settings,
    /// From which severity on findings are shown, if the file says so.
    pub severity: Option<Severity>,
    /// The platforms it is built for; none if nothing is said of them.
    pub platforms: Vec<Platform>,
    /// `--build-arg`
    pub build_args: BTreeMap<String, String>,
}

impl Config {
    /// Where the file for Dockerfiles in a directory is: the nearest `rbx.toml` there and above, up to the root of the
    /// repository; without one, the nearest file of hadolint. `exists` says whether there is a file or directory.
    pub fn find(directory: &Path, exists: impl Fn(&Path) -> bool) -> Option<PathBuf> {
        let mut inside = true;
        let directories: Vec<&Path> = directory
            .ancestors()
            .take_while(|directory| {
                let is_inside = inside;
                inside = inside && !exists(&directory.join(".git"));
                is_inside
            })
            .collect();
        let nearest = |names: &[&str]| {
            let paths =
                directories.iter().flat_map(|directory| names.iter().map(|name| directory.join(name)));
            paths.into_iter().find(|path| exists(path))
        };
        nearest(&[NAME]).or_else(|| nearest(&HADOLINT))
    }

    /// Reads the text of a file. What is in it depends on its name: that of a YAML file is hadolint's.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let is_yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        if is_yaml { hadolint::parse(text) } else { toml::parse(text) }
    }

    /// What holds for a Dockerfile, by its path from the directory that the file is in; `None` for one that has no
    /// path.
    pub fn file(&self, path: Option<&Path>) -> FileConfig {
        let mut file = FileConfig {
            ignored: path.is_some_and(|path| self.ignored.has(path)),
            settings: self.settings.clone(),
            severity: self.severity,
            platforms: Vec::new(),
            build_args: BTreeMap::new(),
        };
        if let Some(severity) = self.severity {
            file.settings.threshold = Some(severity);
        }
        let some = self.some.iter().filter(|(patterns, _)| path.is_some_and(|path| patterns.has(path)));
        for part in std::iter::once(&self.all).chain(some.map(|(_, part)| part)) {
            file.settings.levels.extend(part.levels.clone());
            file.build_args.extend(part.build_args.clone());
            if !part.platforms.is_empty() {
                file.platforms.clone_from(&part.platforms);
            }
        }
        file
    }

    /// The JSON schema of `rbx.toml`, for editors.
    pub fn schema() -> String {
        toml::schema()
    }
}

#[cfg(test)]
mod tests;

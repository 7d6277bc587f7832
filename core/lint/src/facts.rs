//! What is known of the world around a Dockerfile. Rules are handed it; nothing here asks anybody.

mod bases;
mod binary;
mod wanted;

use std::collections::BTreeMap;

pub use bases::{BaseBuild, BaseImage, base_images};
pub use binary::{Binary, Format};
use rbx_dockerfile::{BaseFacts, Ignore};
use rbx_oci::ImageConfig;
use rbx_platform::{Platform, best};
pub(crate) use wanted::{syntax_image, without_digest};
pub use wanted::{wanted_images, wanted_sources};

use crate::shellcheck::ScriptComment;

/// What is known of the world around a Dockerfile. What is not in it is not known.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The configurations of base images, by name and platform as [`Scope::bases`](rbx_dockerfile::Scope::bases) has
    /// them.
    pub bases: BTreeMap<(String, Platform), BaseFacts>,
    /// What registries have under a name, as the Dockerfile has the name after expansion.
    pub images: BTreeMap<String, ImageFacts>,
    /// The build context, if it is a directory.
    pub context: Option<ContextFacts>,
    /// What shellcheck says of the texts that [`wanted_scripts`](crate::wanted_scripts) names.
    pub scripts: BTreeMap<String, Vec<ScriptComment>>,
}

/// What an image's configuration says to those who build on it.
pub fn base_facts(config: &ImageConfig) -> BaseFacts {
    let run = &config.config;
    let filled = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    BaseFacts {
        env: run.variables(),
        working_dir: filled(&run.working_dir),
        user: filled(&run.user),
        shell: Some(run.shell.clone()).filter(|shell| !shell.is_empty()),
        on_build: run.on_build.clone(),
    }
}

/// What a registry has under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageFacts {
    /// Nothing.
    Missing,
    /// One image, whatever platform is asked for.
    Manifest {
        /// Of the manifest.
        digest: String,
        /// What its configuration says that it is for.
        platform: Option<Platform>,
    },
    /// An image for each of several platforms.
    Index {
        /// Of the index.
        digest: String,
        /// Its images, in its order. What is no image, such as an attestation, is left out.
        entries: Vec<IndexEntry>,
    },
}

/// An image of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexEntry {
    /// Of its manifest.
    pub digest: String,
    /// What the index says that it is for.
    pub platform: Option<Platform>,
    /// What its own configuration says, if that was looked at.
    pub config: Option<Platform>,
}

impl ImageFacts {
    /// The image of an index that a build for a platform takes: the one that suits best, else the first that does not
    /// say what it is for.
    pub fn picked(&self, platform: &Platform) -> Option<&IndexEntry> {
        let Self::Index { entries, .. } = self else { return None };
        let known = entries.iter().filter_map(|entry| Some((entry, entry.platform.as_ref()?)));
        let (known, platforms): (Vec<_>, Vec<_>) = known.unzip();
        match best(platform, platforms.into_iter()) {
            Some(at) => known.get(at).copied(),
            None => entries.iter().find(|entry| entry.platform.is_none()),
        }
    }

    /// What the image is for that a build for a platform takes, by its own configuration if that is known.
    pub fn platform_for(&self, platform: &Platform) -> Option<&Platform> {
        match self {
            Self::Missing => None,
            Self::Manifest { platform, .. } => platform.as_ref(),
            Self::Index { .. } => {
                let entry = self.picked(platform)?;
                entry.config.as_ref().or(entry.platform.as_ref())
            }
        }
    }

    /// What it is there for.
    pub fn platforms(&self) -> Vec<&Platform> {
        match self {
            Self::Missing => Vec::new(),
            Self::Manifest { platform, .. } => platform.iter().collect(),
            Self::Index { entries, .. } => {
                entries.iter().filter_map(|entry| entry.platform.as_ref()).collect()
            }
        }
    }
}

/// What is known of a build context.
#[derive(Debug, Clone, Default)]
pub struct ContextFacts {
    /// What stays out of it.
    pub ignore: Ignore,
    /// The sources that were looked for, by their names as [`source_name`] has them.
    pub sources: BTreeMap<String, SourceFacts>,
}

/// What a source of `COPY` or `ADD` is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceFacts {
    /// What it names or matches, and, of directories, the programs below them. What stays out of the context is left
    /// out, and so is what stands behind a link.
    pub files: Vec<ContextFile>,
    /// There is more than was looked at.
    pub more: bool,
}

/// Something in a build context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextFile {
    /// Where, from the context's root, without a slash in front.
    pub path: String,
    /// It is a directory.
    pub is_directory: bool,
    /// What runs it, if it is a program or library.
    pub binary: Option<Binary>,
}

/// The name under which [`ContextFacts::sources`] has a source: without a slash in front, without `.` and `..`.
/// Empty is all of the context.
pub fn source_name(path: &str) -> String {
    let mut names: Vec<&str> = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    names.join("/")
}

/// Whether what is for one platform takes what is for another.
pub(crate) fn accepts(platform: &Platform, other: &Platform) -> bool {
    best(platform, std::iter::once(other)).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(name: &str) -> Platform {
        Platform::parse(name).unwrap()
    }

    #[test]
    fn builds_take_from_an_index_what_suits_best() {
        let entry = |name: &str| IndexEntry {
            digest: format!("sha256:{name}"),
            platform: (!name.is_empty()).then(|| platform(name)),
            config: None,
        };
        let index = |names: &[&str]| ImageFacts::Index {
            digest: String::new(),
            entries: names.iter().map(|name| entry(name)).collect(),
        };
        let picked = |names: &[&str], wanted: &str| {
            index(names).picked(&platform(wanted)).map(|entry| entry.digest.clone())
        };
        assert_eq!(picked(&["linux/386", "linux/amd64"], "linux/amd64").unwrap(), "sha256:linux/amd64");
        assert_eq!(picked(&["linux/arm64", "linux/arm/v6"], "linux/arm/v7").unwrap(), "sha256:linux/arm/v6");
        assert_eq!(picked(&["linux/arm64", ""], "linux/amd64").unwrap(), "sha256:");
        assert_eq!(picked(&["linux/arm/v7"], "linux/arm/v6"), None);
    }

    #[test]
    fn sources_have_one_name() {
        for (path, name) in
            [("/a/./b/", "a/b"), (".", ""), ("a/../../b", "b"), ("a*/b", "a*/b"), ("../x", "x")]
        {
            assert_eq!(source_name(path), name);
        }
    }
}

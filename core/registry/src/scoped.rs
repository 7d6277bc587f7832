//! Configurations for parts of registries, as buildx finds them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::challenge;
use crate::credentials::{is_hub, same_registry};

/// The file looked for in every directory.
const FILE: &str = "config.json";
/// Components of a repository's name, at most, and directories looked into.
const DEPTH_LIMIT: usize = 16;
const DIRECTORY_LIMIT: usize = 4096;

/// A configuration that is good for a part of a registry.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Scoped {
    pub(crate) file: PathBuf,
    host: String,
    /// Empty for all of the host's.
    repository: String,
    /// What must be asked for.
    actions: BTreeSet<String>,
}

/// The configurations below a directory: `<host>[/<repository>][@<action>,…]/config.json`. Nothing where it cannot be
/// read, and no links are followed.
pub(crate) fn list(root: &Path) -> Vec<Scoped> {
    let mut found = Vec::new();
    let mut directories = vec![(root.to_owned(), 0)];
    let mut seen = 0;
    while let Some((directory, depth)) = directories.pop() {
        seen += 1;
        if seen > DIRECTORY_LIMIT {
            break;
        }
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() && depth < DEPTH_LIMIT {
                directories.push((entry.path(), depth + 1));
            } else if kind.is_file() && entry.file_name() == FILE {
                let name = directory.strip_prefix(root).ok().and_then(Path::to_str);
                found
                    .extend(name.filter(|name| !name.is_empty()).map(|name| Scoped::new(name, entry.path())));
            }
        }
    }
    // The order of a directory is nobody's.
    found.sort_by(|a, b| a.file.cmp(&b.file));
    found
}

impl Scoped {
    fn new(name: &str, file: PathBuf) -> Self {
        let (place, actions) = name.split_once('@').unwrap_or((name, ""));
        let (host, repository) = place.split_once('/').unwrap_or((place, ""));
        let actions = actions.split(',').map(str::trim).filter(|action| !action.is_empty());
        Self {
            file,
            host: host.to_owned(),
            repository: repository.to_owned(),
            actions: actions.map(str::to_owned).collect(),
        }
    }

    fn is_for(&self, resource: &str, actions: &BTreeSet<&str>) -> bool {
        let named = resource.strip_prefix("repository:").unwrap_or_default();
        (self.repository.is_empty() || self.repository == named)
            && self.actions.iter().all(|action| actions.contains(action.as_str()))
    }
}

/// The configuration for scopes, if they are all about one thing: one of the repository before one of the registry,
/// one with more actions before one with fewer.
pub(crate) fn choose<'a>(all: &'a [Scoped], registry: &str, scope: &str) -> Option<&'a Scoped> {
    if all.is_empty() {
        return None;
    }
    let scope = challenge::union(&[scope]);
    if scope.is_empty() || scope.contains(' ') {
        return None;
    }
    let (resource, actions) = scope.rsplit_once(':')?;
    let actions = actions.split(',').collect();
    let is_host = |host: &str| host == registry || (is_hub(registry) && same_registry(host, registry));
    all.iter()
        .filter(|scoped| is_host(&scoped.host) && scoped.is_for(resource, &actions))
        .max_by(|a, b| (&a.repository, a.actions.len()).cmp(&(&b.repository, b.actions.len())))
}

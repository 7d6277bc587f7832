//! Repositories, and the workflows in them.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rbx_platform::Platform;
use rbx_request::parse_platforms;

use crate::platforms::once;
use crate::workflow::{Build, Workflows, builds, read};

/// Where workflows are.
const WORKFLOWS: &str = ".github/workflows";
/// Bytes of a workflow that are read, at most; GitHub refuses longer ones.
const LONGEST: u64 = 512 << 10;
/// Workflows of a repository that are read, at most.
const MOST: usize = 200;

/// What is known of repositories. Each is read once: a [`Projects`] is for one answer, or as long as nothing changes.
#[derive(Debug, Default)]
pub struct Projects {
    /// The repository of each directory; none where it is in no repository.
    known: Mutex<HashMap<PathBuf, Option<Arc<Project>>>>,
}

/// A repository.
#[derive(Debug)]
struct Project {
    root: PathBuf,
    /// The builds of its workflows, with their paths in the repository.
    builds: Vec<(String, Build)>,
}

impl Projects {
    /// The platforms for which workflows build a Dockerfile, and the paths of these workflows in its repository.
    /// `path` is absolute.
    pub(crate) fn platforms(&self, path: &Path, host: &Platform) -> Option<(Vec<Platform>, Vec<String>)> {
        let path = plain(path)?;
        let project = self.project(path.parent()?)?;
        let inside = path.strip_prefix(&project.root).ok()?;
        let (mut platforms, mut names) = (Vec::new(), Vec::new());
        for (name, build) in &project.builds {
            if build.dockerfile == inside
                && let Ok(found) = parse_platforms(&build.platforms, host)
            {
                platforms.extend(found);
                if !names.contains(name) {
                    names.push(name.clone());
                }
            }
        }
        (!platforms.is_empty()).then(|| (once(platforms), names))
    }

    fn project(&self, directory: &Path) -> Option<Arc<Project>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(project) = known.get(directory) {
            return project.clone();
        }
        let is_root = |directory: &&Path| {
            directory.join(".git").symlink_metadata().is_ok() || directory.join(WORKFLOWS).is_dir()
        };
        let root = directory.ancestors().find(is_root);
        let project = root.map(|root| match known.get(root) {
            Some(Some(project)) => Arc::clone(project),
            _ => Arc::new(Project::read(root)),
        });
        if let Some(root) = root {
            known.insert(root.to_owned(), project.clone());
        }
        known.insert(directory.to_owned(), project.clone());
        project
    }
}

impl Project {
    fn read(root: &Path) -> Self {
        let entries = fs::read_dir(root.join(WORKFLOWS)).into_iter().flatten().filter_map(Result::ok);
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        paths.retain(|path| matches!(path.extension().and_then(|end| end.to_str()), Some("yml" | "yaml")));
        paths.sort();
        let workflow = |path: &PathBuf| {
            let name = path.file_name()?.to_string_lossy().into_owned();
            Some((name, read(&text(path, LONGEST).ok()?)?))
        };
        let workflows: Workflows = paths.iter().take(MOST).filter_map(workflow).collect();
        let mut found = Vec::new();
        for (name, workflow) in &workflows {
            let of_one = builds(workflow, &workflows).into_iter();
            found.extend(of_one.map(|build| (format!("{WORKFLOWS}/{name}"), build)));
        }
        Self { root: root.to_owned(), builds: found }
    }
}

/// The text of a file that has no more bytes than `most`.
pub(crate) fn text(path: &Path, most: u64) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(most + 1).read_to_string(&mut text)?;
    if text.len() as u64 > most {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("more than {most} bytes")));
    }
    Ok(text)
}

/// A path without `.` and `..`, as it is written; `None` where it leaves what it is in.
pub(crate) fn plain(path: &Path) -> Option<PathBuf> {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                if !plain.pop() {
                    return None;
                }
            }
            other => plain.push(other),
        }
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workflow_of_the_repository_says_it() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let write = |path: &str, text: &str| {
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs::write(root.join(path), text).unwrap();
        };
        let workflow = |platforms: &str| {
            format!(
                "jobs:\n  a:\n    steps:\n      - uses: docker/build-push-action@v6\n        with: {{ context: app, platforms: \"{platforms}\" }}\n"
            )
        };
        write(".github/workflows/b.yml", &workflow("linux/amd64,linux/arm64"));
        write(".github/workflows/a.yaml", &workflow("arm64,linux/s390x"));
        write(".github/workflows/c.yml", &workflow("no/such/platform/here"));
        write(".github/workflows/d.yml", "\t: [");
        write(".github/workflows/e.json", &workflow("linux/386"));
        write("app/deep/.git", "");
        let platforms = |path: &str| {
            let found = Projects::default().platforms(&root.join(path), &Platform::host());
            found.map(|(list, names)| {
                let list: Vec<_> = list.iter().map(Platform::format_all).collect();
                format!("{} by {}", list.join(", "), names.join(", "))
            })
        };
        let found =
            "linux/arm64, linux/s390x, linux/amd64 by .github/workflows/a.yaml, .github/workflows/b.yml";
        assert_eq!(platforms("app/Dockerfile").as_deref(), Some(found));
        assert_eq!(platforms("./x/../app/./Dockerfile").as_deref(), Some(found));
        assert_eq!(platforms("Dockerfile"), None);
        assert_eq!(platforms("app/deep/Dockerfile"), None, "another repository");
    }
}

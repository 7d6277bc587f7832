//! The files in which projects say how their Dockerfiles are checked.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use rbx_lint::{Config, FileConfig};

use crate::projects::{plain, text};

/// Bytes of such a file that are read, at most.
const MAX_BYTES: u64 = 1 << 20;

/// The files in which projects say how their Dockerfiles are checked. Each is read once, and again when it changes.
#[derive(Debug, Default)]
pub struct Configs {
    read: Mutex<HashMap<PathBuf, Known>>,
    /// What is there, if it is looked for only once.
    there: Option<Mutex<HashMap<PathBuf, bool>>>,
}

/// A file that was read: its time and size, and what it says.
#[derive(Debug)]
struct Known {
    stamp: (Option<SystemTime>, u64),
    config: Result<Arc<Config>, String>,
}

impl Configs {
    /// For programs that end soon: which files there are does not change for them.
    pub fn once() -> Self {
        Self { there: Some(Mutex::default()), ..Self::default() }
    }

    /// What holds for a Dockerfile of that name in a directory, whose path is absolute; for one without a name, what
    /// holds in the directory. `named` is the file that says so, if it is not to be looked for. The error names the
    /// file, and may have a hint on another line.
    pub fn of(
        &self,
        directory: &Path,
        name: Option<&str>,
        named: Option<&Path>,
    ) -> Result<FileConfig, String> {
        let directory = plain(directory).unwrap_or_else(|| directory.to_owned());
        let found = || Config::find(&directory, |path| self.exists(path));
        let Some(path) = named.map(Path::to_owned).or_else(found) else { return Ok(FileConfig::default()) };
        let config = self.config(&path)?;
        let root = path.parent().and_then(plain);
        let inside = root.and_then(|root| directory.strip_prefix(root).map(Path::to_owned).ok());
        let file = inside.zip(name).map(|(directory, name)| directory.join(name));
        Ok(config.file(file.as_deref()))
    }

    fn exists(&self, path: &Path) -> bool {
        let Some(there) = &self.there else { return path.exists() };
        *lock(there).entry(path.to_owned()).or_insert_with(|| path.exists())
    }

    fn config(&self, path: &Path) -> Result<Arc<Config>, String> {
        let failed = |error: io::Error| format!("{error}: failed to read {}", path.display());
        let data = path.metadata().map_err(failed)?;
        let stamp = (data.modified().ok(), data.len());
        let mut read = lock(&self.read);
        if let Some(known) = read.get(path).filter(|known| known.stamp == stamp) {
            return known.config.clone();
        }
        let config = text(path, MAX_BYTES).map_err(failed).and_then(|text| {
            Config::parse(path, &text).map(Arc::new).map_err(|error| {
                let hint = error.hint.as_ref().map(|hint| format!("\n{hint}")).unwrap_or_default();
                error.in_file(path) + &hint
            })
        });
        read.insert(path.to_owned(), Known { stamp, config: config.clone() });
        config
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_project_says_is_read_again_when_it_changes() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::create_dir(root.join(".git")).unwrap();
        let write = |text: &str| std::fs::write(root.join("rbx.toml"), text).unwrap();
        let (server, once) = (Configs::default(), Configs::once());
        let ignored = |projects: &Configs, path: &str, name| {
            projects.of(&root.join(path), name, None).map(|file| file.ignored)
        };
        assert_eq!(ignored(&server, "a/b", Some("Dockerfile")), Ok(false));
        assert_eq!(ignored(&once, "a/b", Some("Dockerfile")), Ok(false));
        write("ignore = ['/a/b/Dockerfile']");
        assert_eq!(ignored(&server, "a/b", Some("Dockerfile")), Ok(true));
        assert_eq!(ignored(&server, "a/b/../../a/b", Some("Dockerfile")), Ok(true));
        assert_eq!(ignored(&server, "a", Some("Dockerfile")), Ok(false));
        assert_eq!(ignored(&server, "a/b", None), Ok(false));
        assert_eq!(ignored(&once, "a/b", Some("Dockerfile")), Ok(false));
        write("ignored = 1");
        let path = root.join("rbx.toml");
        let error = format!("unknown key \"ignored\": {}:1:1\ndid you mean \"ignore\"?", path.display());
        assert_eq!(ignored(&server, "a", None), Err(error));
        let named = root.join("other.toml");
        let error = server.of(root, None, Some(&named)).unwrap_err();
        assert!(error.ends_with(&format!("failed to read {}", named.display())), "{error}");
    }
}

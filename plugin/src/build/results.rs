//! The files that tell programs what a build made.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rbx_progress::Summary;
use rbx_request::{BuildFailure, Event, Metadata, parse_bool, solve_status};
use serde_json::Value;

use crate::cli::build::BuildArgs;
use crate::env::Env;
use crate::errors::CliError;

/// `--iidfile` and `--metadata-file`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Files {
    id: Option<PathBuf>,
    metadata: Option<PathBuf>,
    /// `BUILDX_METADATA_WARNINGS`
    warnings: bool,
}

impl Files {
    /// Takes the flags, and removes an image ID of an earlier build, lest it be taken for this one's.
    pub(crate) fn new(args: &BuildArgs, env: &Env) -> Result<Self, CliError> {
        let path = |flag: &Option<String>| {
            flag.as_ref().filter(|path| !path.is_empty()).map(|path| env.cwd.join(path))
        };
        let files = Self {
            id: path(&args.iidfile),
            metadata: path(&args.metadata_file),
            warnings: env.filled("BUILDX_METADATA_WARNINGS").is_some_and(is_true),
        };
        if let Some(path) = &files.id {
            match fs::symlink_metadata(path) {
                Ok(old) if old.is_file() => {
                    fs::remove_file(path).map_err(|error| failed(&error, "remove", path))?;
                }
                _ => {}
            }
        }
        Ok(files)
    }

    /// Writes both.
    pub(crate) fn write(&self, id: &str, metadata: Metadata, summary: &Summary) -> Result<(), CliError> {
        if let Some(path) = &self.id {
            fs::write(path, id).map_err(|error| failed(&error, "write", path))?;
        }
        if let Some(path) = &self.metadata {
            let mut metadata = metadata;
            if self.warnings && !summary.warnings.is_empty() {
                metadata.insert("buildx.build.warnings".to_owned(), warnings(summary));
            }
            let text = serde_json::to_string_pretty(&metadata).unwrap_or_default();
            write_whole(path, text.as_bytes()).map_err(|error| failed(&error, "write", path))?;
        }
        Ok(())
    }
}

/// Writes why a build failed to the file of `--failure-file`. Nobody is there to be told if that fails, too.
pub(crate) fn write_failure(error: &CliError, args: &BuildArgs, env: &Env) {
    if let Some(path) = args.failure_file.as_deref().filter(|path| !path.is_empty()) {
        let text = serde_json::to_string(&BuildFailure::from(error)).unwrap_or_default();
        let _ = write_whole(&env.cwd.join(path), text.as_bytes());
    }
}

/// Warnings as clients of builders have them.
fn warnings(summary: &Summary) -> Value {
    let events: Vec<Event> = summary.warnings.iter().cloned().map(Event::Warning).collect();
    let mut status = serde_json::to_value(solve_status(&events)).unwrap_or_default();
    status["warnings"].take()
}

/// Writes a file such that nobody sees a part of it.
fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".rbx-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        builder.permissions(fs::Permissions::from_mode(0o644));
    }
    let mut file = builder.tempfile_in(directory)?;
    file.write_all(content)?;
    file.persist(path)?;
    Ok(())
}

fn failed(error: &io::Error, what: &str, path: &Path) -> CliError {
    CliError::new(format!("{error}: failed to {what} {}", path.display()))
}

/// The words that Go takes for true.
pub(crate) fn is_true(text: &str) -> bool {
    parse_bool(text) == Ok(true)
}

/// The words that Go takes for false.
pub(crate) fn is_false(text: &str) -> bool {
    parse_bool(text) == Ok(false)
}

#[cfg(test)]
mod tests {
    use rbx_request::Warning;

    use super::*;

    #[test]
    fn metadata_is_written_whole_with_warnings_where_asked() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("metadata.json");
        fs::write(&path, "old").unwrap();
        let files =
            Files { id: Some(directory.path().join("id")), metadata: Some(path.clone()), warnings: true };
        let summary = Summary {
            warnings: vec![Warning { short: "Casing".to_owned(), level: 1, ..Warning::default() }],
            ..Summary::default()
        };
        let metadata = Metadata::from([("image.name".to_owned(), "docker.io/library/a:latest".into())]);
        files.write("sha256:1", metadata, &summary).unwrap();
        insta::assert_snapshot!(fs::read_to_string(&path).unwrap(), @r#"
        {
          "buildx.build.warnings": [
            {
              "level": 1,
              "short": "Q2FzaW5n"
            }
          ],
          "image.name": "docker.io/library/a:latest"
        }
        "#);
        assert_eq!(fs::read_to_string(directory.path().join("id")).unwrap(), "sha256:1");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "nothing else is left");
    }
}

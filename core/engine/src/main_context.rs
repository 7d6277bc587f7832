//! The build context, wherever it comes from.

use std::path::{Path, PathBuf};

use rbx_request::{BuildRequest, ContextSource, EventSender, parse_bool};
use rbx_store::LayerId;

use crate::error::BuildError;
use crate::fetch::{CONTEXT_FILE, Fetcher, Remote, is_archive_file};
use crate::named_context::remote;
use crate::progress::Task;

/// The build argument that keeps `.git` in a context from git.
const KEEP_GIT_DIR: &str = "BUILDKIT_CONTEXT_KEEP_GIT_DIR";

/// Where `COPY` and `ADD` read from when they name no stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MainContext {
    /// A directory of this machine; `None` is an empty one. Its ignore file says what stays out.
    Directory(Option<PathBuf>),
    /// What was fetched, whole: as in BuildKit no ignore file is read.
    Fetched {
        layer: LayerId,
        /// It is nothing but the Dockerfile, which is this file of it.
        dockerfile: Option<&'static str>,
    },
}

impl MainContext {
    /// Finds the context of a request, and brings it here if it is not of this machine.
    pub(crate) async fn find(
        request: &BuildRequest,
        fetcher: &Fetcher,
        events: &EventSender,
    ) -> Result<Self, BuildError> {
        match &request.context {
            ContextSource::Empty => Ok(Self::Directory(None)),
            ContextSource::Directory(path) => Ok(Self::Directory(Some(canonical(path)?))),
            ContextSource::Tar(stream) => {
                let task = Task::internal(events, "[internal] load remote build context");
                let layer = task.end(fetcher.stream(stream).await)?;
                Ok(Self::Fetched { layer, dockerfile: None })
            }
            ContextSource::Url(address) => Self::fetch(address, request, fetcher, events).await,
        }
    }

    async fn fetch(
        address: &str,
        request: &BuildRequest,
        fetcher: &Fetcher,
        events: &EventSender,
    ) -> Result<Self, BuildError> {
        let given = |name: &str| request.build_args.get(name).map(String::as_str);
        let unknown =
            || BuildError::invalid(format!("unable to prepare context: path {address:?} not found"));
        let mut found = remote(address, CONTEXT_FILE)?.ok_or_else(unknown)?;
        let name = match &mut found {
            Remote::Git(source) => {
                source.keep_git_dir |= given(KEEP_GIT_DIR).is_some_and(|it| parse_bool(it) == Ok(true));
                // As later BuildKits: where times are to be the same again, files have those of the commit.
                source.address.commit_times |= given("SOURCE_DATE_EPOCH").is_some_and(|it| !it.is_empty());
                format!("[internal] load git source {}", rbx_source::redacted(address))
            }
            Remote::Http(_) => "[internal] load remote build context".to_owned(),
        };
        let task = Task::internal(events, &name);
        let fetched = fetcher.fetch(&found, &task).await;
        task.finish(fetched.as_ref().is_ok_and(|it| it.cached), fetched.as_ref().err());
        let layer = fetched?.layer;
        if matches!(found, Remote::Git(_)) {
            return Ok(Self::Fetched { layer, dockerfile: None });
        }
        if is_archive_file(&fetcher.tree(layer)?, CONTEXT_FILE)? {
            let task = Task::internal(events, &format!("copy /{CONTEXT_FILE} /"));
            let layer = task.end(fetcher.unpacked(layer, CONTEXT_FILE).await)?;
            return Ok(Self::Fetched { layer, dockerfile: None });
        }
        Ok(Self::Fetched { layer, dockerfile: Some(CONTEXT_FILE) })
    }
}

/// The directory that a path names, links followed.
pub(crate) fn canonical(path: &Path) -> Result<PathBuf, BuildError> {
    std::fs::canonicalize(path).map_err(|_| {
        let path = path.display().to_string();
        BuildError::invalid(format!("unable to prepare context: path {path:?} not found"))
    })
}

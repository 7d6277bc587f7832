//! Directories of this machine that a daemon reads: `moby.filesync.v1.FileSync`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use percent_encoding::percent_decode;
use rbx_request::parse_bool;
use tonic::codegen::http;
use tonic::{Status, Streaming};

use super::fsutil::{MemoryFile, Root, Selection, send, send_file};
use super::messages::{DiffCopy, MessageSender};

/// The directories that a daemon may read, by name: `context`, `dockerfile`, and those of named contexts. Cheap to
/// clone.
///
/// The daemon chooses by patterns what it wants to see of one, and which contents it wants to have. Owners become
/// root. Everything is resolved inside the directory, which is opened once: links are sent, never followed out of
/// it. A file that vanishes, shrinks or changes while it is read is an error that names it.
#[derive(Debug, Clone, Default)]
pub struct Locals(Arc<BTreeMap<String, Local>>);

/// What a daemon reads as a directory.
#[derive(Debug, Clone)]
enum Local {
    Directory(Arc<Root>),
    /// A file alone, or nothing, of no disk.
    File(Option<MemoryFile>),
}

/// A directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: failed to open directory {}", rbx_request::reason(.error), .path.display())]
pub struct LocalError {
    path: PathBuf,
    #[source]
    error: std::io::Error,
}

impl Locals {
    /// Opens directories, each of which a daemon may read under the name beside it.
    pub fn new<N: Into<String>, P: AsRef<Path>>(
        directories: impl IntoIterator<Item = (N, P)>,
    ) -> Result<Self, LocalError> {
        let open = |(name, path): (N, P)| {
            let path = path.as_ref();
            let root = Root::open(path).map_err(|error| LocalError { path: path.to_owned(), error })?;
            Ok((name.into(), Local::Directory(Arc::new(root))))
        };
        Ok(Self(Arc::new(directories.into_iter().map(open).collect::<Result<_, _>>()?)))
    }

    /// Adds a directory that is on no disk: it has this file alone, by name and content, or nothing.
    pub fn add_file(&mut self, name: impl Into<String>, file: Option<(String, Vec<u8>)>) {
        let file = file.map(|(name, content)| MemoryFile { name, content: content.into() });
        Arc::make_mut(&mut self.0).insert(name.into(), Local::File(file));
    }

    /// There are none, so that the service need not be offered.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl DiffCopy for Locals {
    const NAME: &'static str = "moby.filesync.v1.FileSync";

    async fn serve(
        self,
        headers: http::HeaderMap,
        incoming: Streaming<Bytes>,
        sender: MessageSender,
    ) -> Result<(), Status> {
        let names = values(&headers, "dir-name");
        let name = names.first().map_or("", String::as_str);
        let root = match self.0.get(name).cloned() {
            Some(Local::Directory(root)) => root,
            Some(Local::File(file)) => return send_file(file, incoming, sender).await,
            None => return Err(Status::not_found(format!("no access allowed to dir {name:?}"))),
        };
        let selection = Selection {
            include: values(&headers, "include-patterns"),
            exclude: values(&headers, "exclude-patterns"),
            follow: values(&headers, "followpaths"),
        };
        let filter = tokio::task::spawn_blocking({
            let root = root.clone();
            move || selection.filter(&root)
        });
        let filter = filter.await.map_err(|error| Status::internal(error.to_string()))?;
        send(root, filter.map_err(Status::unknown)?, incoming, sender).await
    }
}

/// The values of a header. Beside one that has characters other than ASCII's stands that they are encoded as in the
/// query of a URL.
fn values(headers: &http::HeaderMap, name: &str) -> Vec<String> {
    let encoded = headers.get(format!("{name}-encoded"));
    let encoded =
        encoded.and_then(|value| value.to_str().ok()).is_some_and(|value| parse_bool(value) == Ok(true));
    let decode = |value: &http::HeaderValue| {
        if encoded {
            let value: Vec<u8> =
                value.as_bytes().iter().map(|&byte| if byte == b'+' { b' ' } else { byte }).collect();
            percent_decode(&value).decode_utf8_lossy().into_owned()
        } else {
            String::from_utf8_lossy(value.as_bytes()).into_owned()
        }
    };
    headers.get_all(name).iter().map(decode).collect()
}

#[cfg(test)]
mod tests;

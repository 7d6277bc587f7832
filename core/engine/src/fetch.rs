//! What a build names by address, brought into the store as layers: files over HTTP, git repositories, and the
//! archives that contexts come in.
//!
//! Each is a layer of one tree, found again by what it holds: a file by its digest, a repository by its commit. So a
//! source that is the same as before is the same layer, and what was copied from it is found by definition.

mod archive;
mod git;
mod http;

use std::collections::BTreeMap;
use std::sync::Arc;

use rbx_request::{Cancel, SshForward};
use rbx_source::{Git, Http, SourceError, redacted};
use rbx_store::{
    Key, KeyHasher, LayerId, LayerIndex, Lease, NewLayer, PreparedTree, Record, Store, UsageType,
};

use crate::error::BuildError;
use crate::layer::{self, Origin};
use crate::progress::Task;
use crate::solve::Solver;
use crate::tree::Tree;

pub(crate) use archive::is_archive_file;
pub(crate) use git::GitSource;
pub(crate) use http::HttpSource;

/// What the one file of a context over HTTP is called, as in BuildKit.
pub(crate) const CONTEXT_FILE: &str = "context";

/// Something at an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Remote {
    Http(HttpSource),
    Git(GitSource),
}

impl Remote {
    /// Adds what is named, not what is found there.
    pub(crate) fn hash(&self, hasher: &mut KeyHasher) {
        match self {
            Self::Http(source) => source.hash(hasher),
            Self::Git(source) => source.hash(hasher),
        }
    }

    /// The address without user and password.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Http(source) => redacted(&source.url),
            Self::Git(source) => source.address.shown(),
        }
    }
}

/// What brings sources here, for one build.
pub(crate) struct Fetcher {
    pub(crate) store: Store,
    pub(crate) lease: Arc<Lease>,
    pub(crate) http: Http,
    pub(crate) git: Git,
    /// Values by id, among them those that open servers.
    pub(crate) secrets: Arc<BTreeMap<String, Vec<u8>>>,
    pub(crate) ssh: Vec<SshForward>,
    pub(crate) cancel: Cancel,
    pub(crate) threads: usize,
}

/// A layer that was fetched, or found to be the one that is there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fetched {
    pub(crate) layer: LayerId,
    pub(crate) created: i64,
    pub(crate) cached: bool,
}

impl Fetcher {
    /// Brings something here, unless it is here.
    pub(crate) async fn fetch(&self, remote: &Remote, task: &Task) -> Result<Fetched, BuildError> {
        let work = async {
            match remote {
                Remote::Http(source) => self.http(source, task).await,
                Remote::Git(source) => self.git(source, task).await,
            }
        };
        self.cancel.unless(work).await
    }

    /// The layer that a key led to. One that went missing meanwhile counts as none.
    fn find(&self, key: &Key) -> Result<Option<Fetched>, BuildError> {
        let Some(Record { layer: Some(layer), created, .. }) = self.store.record(&self.lease, key)? else {
            return Ok(None);
        };
        let whole = self.store.tree(layer).is_some();
        Ok(whole.then_some(Fetched { layer, created, cached: true }))
    }

    /// Puts a tree into the store as a layer, under a key. If another process has done so meanwhile, its layer counts.
    ///
    /// `description` and `kind` are what lists of the store say of it.
    fn keep(
        &self,
        key: &Key,
        tree: PreparedTree,
        index: LayerIndex,
        description: String,
        kind: UsageType,
    ) -> Result<Fetched, BuildError> {
        let created = Solver::created_now();
        let layer = NewLayer { parent: None, index: Arc::new(index), tree: Some(tree), created, description };
        let layer = self.store.put_layer(&self.lease, layer)?;
        if kind != UsageType::Regular {
            self.store.set_layer_kind(layer, kind)?;
        }
        let record = Record { layer: Some(layer), value: Vec::new(), created };
        let known = self.store.put_record(&self.lease, key, &record, false)?;
        let usable = known.layer.is_some_and(|layer| self.store.tree(layer).is_some());
        let kept = if usable { known } else { self.store.put_record(&self.lease, key, &record, true)? };
        Ok(Fetched { layer: kept.layer.unwrap_or(layer), created: kept.created, cached: false })
    }

    /// The files of a layer, to be read.
    pub(crate) fn tree(&self, layer: LayerId) -> Result<Tree, BuildError> {
        let paths = layer::directories(&self.store, &self.lease, layer, None, self.threads)?;
        let origin = Origin::directories(&paths)
            .map_err(|error| BuildError::failed(format!("{error}: failed to open layer {layer}")))?;
        let index = self.store.layer_index(layer)?;
        Ok(Tree::from_layers([(&*index, Some(origin))]))
    }

    /// Reads a file of a layer, following links inside it; `None` where there is none. One of more than `limit`
    /// bytes is an error.
    pub(crate) fn read(&self, layer: LayerId, path: &str, limit: u64) -> Result<Option<Vec<u8>>, BuildError> {
        let tree = self.tree(layer)?;
        let lookup = |path: &[u8]| tree.get(path).map(|node| &node.entry);
        let found = crate::tree::resolve(path.as_bytes(), true, lookup);
        let Some(node) = found.and_then(|found| tree.get(&found)) else { return Ok(None) };
        let size = node.entry.size();
        if size > limit {
            return Err(BuildError::invalid(format!("{path} has {size} bytes, more than {limit}")));
        }
        let Some(source) = node.source() else {
            return Err(BuildError::invalid(format!("failed to read {path}: not a regular file")));
        };
        let read = source.open().and_then(|file| {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut std::io::Read::take(file, limit), &mut bytes)?;
            Ok(bytes)
        });
        read.map(Some).map_err(|error| BuildError::failed(format!("{error}: failed to read {path}")))
    }

    fn secret(&self, id: &str) -> Option<&[u8]> {
        self.secrets.get(id).map(Vec::as_slice)
    }
}

impl From<SourceError> for BuildError {
    fn from(error: SourceError) -> Self {
        let told = Self::failed(&error);
        match error {
            SourceError::NoGit { .. } => told.hint("install git, and make sure that it is found on PATH"),
            _ => told,
        }
    }
}

/// Runs what blocks.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BuildError> + Send + 'static,
) -> Result<T, BuildError> {
    tokio::task::spawn_blocking(work).await.map_err(BuildError::failed)?
}

/// Whether a name can be that of a file in a directory.
fn is_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\0'])
}

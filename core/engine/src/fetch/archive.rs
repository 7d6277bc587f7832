//! Contexts that come as archives.

use std::fs::File;
use std::io::{self, Read, Seek};

use rbx_oci::{Digest, Sha256Writer};
use rbx_request::ArchiveStream;
use rbx_store::{Key, LayerId, UsageType};

use super::{Fetched, Fetcher, blocking};
use crate::error::BuildError;
use crate::layer;
use crate::tree::{Node, Tree};

/// Bytes that an archive may have before it is unpacked: 64 GiB.
const MAX_SIZE: u64 = 64 << 30;

impl Fetcher {
    /// Reads an archive to its end, into a file of the store's, and unpacks it unless the same one is unpacked already.
    pub(crate) async fn stream(&self, stream: &ArchiveStream) -> Result<LayerId, BuildError> {
        let reader = stream.take().ok_or_else(|| BuildError::failed("the context was read already"))?;
        let directory = self.store.temp_dir()?;
        let path = directory.path().join("archive");
        let spool = blocking(move || -> Result<(File, Digest), BuildError> {
            let failed = |error: io::Error| BuildError::failed(format!("{error}: failed to read context"));
            let file = File::options().read(true).write(true).create_new(true).open(&path).map_err(failed)?;
            let mut writer = Sha256Writer::new(file);
            let size = io::copy(&mut reader.take(MAX_SIZE + 1), &mut writer).map_err(failed)?;
            if size > MAX_SIZE {
                return Err(BuildError::invalid(format!("the context has more than {MAX_SIZE} bytes")));
            }
            let (mut file, digest, _) = writer.finish();
            file.rewind().map_err(failed)?;
            Ok((file, digest))
        });
        let (file, digest) = self.cancel.unless(spool).await?;
        let mut hasher = Key::hasher("archive");
        hasher.field(digest.to_string());
        let key = hasher.finish();
        let found = match self.find(&key)? {
            Some(found) => found,
            None => self.unpack(&key, file).await?,
        };
        Ok(found.layer)
    }

    /// Unpacks a file of a layer that is an archive.
    pub(crate) async fn unpacked(&self, layer: LayerId, name: &str) -> Result<LayerId, BuildError> {
        let mut hasher = Key::hasher("archive in a layer");
        hasher.field(layer.as_bytes()).field(name);
        let key = hasher.finish();
        if let Some(found) = self.find(&key)? {
            return Ok(found.layer);
        }
        let tree = self.tree(layer)?;
        let source = tree.get(name.as_bytes()).and_then(Node::source);
        let source = source.ok_or_else(|| BuildError::failed("a fetched file left the store"))?;
        let file = source.open().map_err(BuildError::failed)?;
        Ok(self.unpack(&key, file).await?.layer)
    }

    /// Unpacks an archive, compressed or not, inside a tree of its own.
    async fn unpack(&self, key: &Key, archive: impl Read + Send + 'static) -> Result<Fetched, BuildError> {
        let store = self.store.clone();
        let unpack = blocking(move || {
            let unpacked = layer::unpack(&store, archive, "context").map_err(|error| match error {
                crate::error::LayerError::Archive { reason, .. } => {
                    BuildError::invalid(format!("{reason}: failed to unpack the context"))
                }
                error => error.into(),
            })?;
            Ok(unpacked.settle(&Tree::default())?)
        });
        let (tree, index) = self.cancel.unless(unpack).await?;
        self.keep(key, tree, index, "unpacked build context".to_owned(), UsageType::LocalSource)
    }
}

/// Whether a file of a layer is an archive by its beginning, as BuildKit tells it.
pub(crate) fn is_archive_file(tree: &Tree, name: &str) -> Result<bool, BuildError> {
    let Some(source) = tree.get(name.as_bytes()).and_then(Node::source) else { return Ok(false) };
    let mut head = Vec::new();
    let read = source.open().and_then(|file| file.take(1024).read_to_end(&mut head));
    read.map_err(|error| BuildError::failed(format!("{error}: failed to read downloaded context")))?;
    Ok(rbx_oci::tar::begins_archive(&head))
}

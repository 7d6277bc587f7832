//! An image that is taken from its builder part by part.

use std::io;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use rbx_oci::layout::DirectoryWriter;
use rbx_oci::{Descriptor, Digest, Document, Reference};
use tempfile::TempDir;
use tokio_util::io::ReaderStream;

use crate::Client;
use crate::error::Error;

/// Bytes that a manifest or a configuration may have.
const LIMIT: u64 = 64 << 20;
/// Bytes that are read of a file at once.
const CHUNK: usize = 256 << 10;

/// An image that was built to be loaded. Its manifests and configurations are here, its layers are read from the builder
/// when they are asked for.
#[derive(Debug)]
pub struct Exported {
    /// Which load it is for, among those of the settings.
    pub load: usize,
    /// The image's names.
    pub names: Vec<Reference>,
    pub(super) client: Client,
    pub(super) descriptor: Descriptor,
    pub(super) here: DirectoryWriter,
    /// What is here goes with this.
    pub(super) _directory: TempDir,
}

impl Exported {
    /// The image's manifest or index.
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// Content of the image. Whether it is what it should be is for the caller to check.
    pub async fn content(&self, blob: &Descriptor) -> Result<BoxStream<'static, io::Result<Bytes>>, Error> {
        if let Ok((file, _)) = self.here.open_blob(blob.digest) {
            return Ok(ReaderStream::with_capacity(tokio::fs::File::from_std(file), CHUNK).boxed());
        }
        let parts = self.client.read_content(blob.digest).await?;
        Ok(parts.map_ok(|part| part.data).map_err(io::Error::other).boxed())
    }

    /// A manifest, an index or a configuration.
    pub async fn bytes(&self, blob: &Descriptor) -> Result<Vec<u8>, Error> {
        let damaged =
            |why: &str| Error::answer(&format!("{why}: failed to read {} of the image", blob.digest));
        if blob.size > LIMIT {
            return Err(damaged("it is too large"));
        }
        let mut parts = self.content(blob).await?;
        let mut content = Vec::new();
        while let Some(part) = parts.next().await {
            content.extend_from_slice(&part.map_err(|error| damaged(&rbx_request::reason(&error)))?);
            if content.len() as u64 > blob.size {
                return Err(damaged("it is too large"));
            }
        }
        if Digest::sha256_of(&content) == blob.digest { Ok(content) } else { Err(damaged("it is damaged")) }
    }

    /// A manifest or an index.
    pub async fn document(&self, blob: &Descriptor) -> Result<Document, Error> {
        Document::parse(&self.bytes(blob).await?)
            .map_err(|error| Error::answer(&format!("{error}: failed to read {} of the image", blob.digest)))
    }
}

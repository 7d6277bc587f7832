//! Content of OCI layouts: caches in directories of this machine (`type=local`), images that a build is based on
//! (`oci-layout`), and images that are exported into a directory.
//!
//! The daemon reads and writes them as a store of containerd's, by the store's id. It finds content by digests alone,
//! and what it writes has a name only once it is complete and its digest is right.

mod ingest;
mod read;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use futures::{StreamExt, stream};
use rbx_oci::Digest;
use rbx_oci::layout::{DirectoryWriter, Layout, LayoutError};
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use self::ingest::Ingests;
use crate::proto::content::{
    AbortRequest, Content, ContentServer, Info, InfoRequest, InfoResponse, ListContentRequest,
    ListContentResponse, ListStatusesRequest, ListStatusesResponse, Messages, ReadContentRequest,
    ReadContentResponse, StatusRequest, StatusResponse, Timestamp, WriteContentRequest, WriteContentResponse,
};

/// The header that names a store.
const ID: &str = "buildkit-attachable-store-id";
/// How much of a list is sent in one message.
const PAGE: usize = 100;

/// The layouts that a daemon may use, by the ids under which it asks for them: `local:<directory>` for a cache as the
/// request names its directory, `oci:<id>` for an image that a build is based on, `export` for the images that are
/// exported.
#[derive(Debug, Default)]
pub struct Contents(BTreeMap<String, Arc<Store>>);

/// One layout.
#[derive(Debug)]
enum Store {
    Layout(Box<Layout>),
    Directory {
        writer: Arc<DirectoryWriter>,
        ingests: Arc<Ingests>,
        /// Layers are written, too.
        layers: bool,
    },
}

impl Contents {
    /// Lets the daemon read a layout.
    pub fn add_layout(&mut self, id: impl Into<String>, layout: Layout) {
        self.0.insert(id.into(), Arc::new(Store::Layout(Box::new(layout))));
    }

    /// Lets the daemon read a directory and add content to it. What the content means, `index.json` says, which is
    /// for the caller to write.
    pub fn add_directory(&mut self, id: impl Into<String>, writer: DirectoryWriter) {
        self.add(id.into(), writer, true);
    }

    /// The same for all of an image but its layers: to the daemon they are there already.
    pub fn add_documents(&mut self, id: impl Into<String>, writer: DirectoryWriter) {
        self.add(id.into(), writer, false);
    }

    fn add(&mut self, id: String, writer: DirectoryWriter, layers: bool) {
        let store = Store::Directory { writer: Arc::new(writer), ingests: Arc::default(), layers };
        self.0.insert(id, Arc::new(store));
    }

    /// Whether there is nothing the daemon could ask for.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn server(self) -> ContentServer<Self> {
        ContentServer::new(self)
    }

    /// The store that a request is about.
    fn store(&self, metadata: &MetadataMap) -> Result<Arc<Store>, Status> {
        let id = metadata.get(ID);
        let id = id.ok_or_else(|| Status::invalid_argument(format!("request lacks metadata {ID:?}")))?;
        // A directory's name may be no ASCII: what is compared is bytes.
        let found = self.0.iter().find(|(name, _)| name.as_bytes() == id.as_bytes());
        let id = || String::from_utf8_lossy(id.as_bytes()).into_owned();
        found
            .map(|(_, store)| store.clone())
            .ok_or_else(|| Status::not_found(format!("unknown store {}", id())))
    }
}

impl Store {
    /// The file in which a blob is, at its first byte, and the blob's size.
    fn open(&self, digest: Digest) -> Result<(File, u64), Status> {
        let opened = match self {
            Self::Layout(layout) => layout.open_blob(digest).map_err(|error| match error {
                LayoutError::MissingBlob { .. } => io::ErrorKind::NotFound.into(),
                LayoutError::Blob { source, .. } => source,
                error => io::Error::other(error),
            }),
            Self::Directory { writer, .. } => writer.open_blob(digest),
        };
        opened.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Status::not_found(format!("content {digest}: not found")),
            _ => Status::unknown(format!("{}: content {digest}", rbx_request::reason(&error))),
        })
    }

    fn info(&self, digest: Digest) -> Result<Info, Status> {
        let (file, size) = self.open(digest)?;
        let changed = file.metadata().and_then(|metadata| metadata.modified()).ok().map(timestamp);
        Ok(Info {
            digest: digest.to_string(),
            size: size.try_into().unwrap_or(i64::MAX),
            created_at: changed,
            updated_at: changed,
        })
    }

    /// What is being written here.
    fn ingests(&self) -> Result<&Arc<Ingests>, Status> {
        match self {
            Self::Directory { ingests, .. } => Ok(ingests),
            Self::Layout(_) => Err(Status::failed_precondition("content store is read-only")),
        }
    }

    fn list(&self) -> Result<Vec<Info>, Status> {
        let Self::Directory { writer, .. } = self else {
            return Err(Status::unimplemented("content of a layout cannot be listed"));
        };
        let failed = |error: io::Error| Status::unknown(rbx_request::reason(&error));
        let mut blobs = writer.blobs().map_err(failed)?;
        blobs.sort_unstable();
        // One that is gone by now is not there.
        Ok(blobs.into_iter().filter_map(|(digest, _)| self.info(digest).ok()).collect())
    }
}

/// Does what may block where that holds up nobody.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Status> + Send + 'static,
) -> Result<T, Status> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Status::unknown(error.to_string()))?
}

fn parse_digest(text: &str) -> Result<Digest, Status> {
    Digest::parse(text).map_err(|error| Status::invalid_argument(format!("{text:?}: {error}")))
}

fn timestamp(time: SystemTime) -> Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp {
        seconds: since.as_secs().try_into().unwrap_or(i64::MAX),
        nanos: since.subsec_nanos().try_into().unwrap_or_default(),
    }
}

/// Filters have a language of their own, which no daemon has been seen to use here.
fn no_filters(filters: &[String]) -> Result<(), Status> {
    if filters.is_empty() { Ok(()) } else { Err(Status::unimplemented("filters are not supported")) }
}

#[tonic::async_trait]
impl Content for Contents {
    async fn info(&self, request: Request<InfoRequest>) -> Result<Response<InfoResponse>, Status> {
        let store = self.store(request.metadata())?;
        let digest = parse_digest(&request.get_ref().digest)?;
        let info = blocking(move || store.info(digest)).await?;
        Ok(Response::new(InfoResponse { info: Some(info) }))
    }

    async fn list(
        &self,
        request: Request<ListContentRequest>,
    ) -> Result<Response<Messages<ListContentResponse>>, Status> {
        let store = self.store(request.metadata())?;
        no_filters(&request.get_ref().filters)?;
        let all = blocking(move || store.list()).await?;
        let pages: Vec<_> =
            all.chunks(PAGE).map(|page| Ok(ListContentResponse { info: page.to_vec() })).collect();
        Ok(Response::new(stream::iter(pages).boxed()))
    }

    async fn read(
        &self,
        request: Request<ReadContentRequest>,
    ) -> Result<Response<Messages<ReadContentResponse>>, Status> {
        let store = self.store(request.metadata())?;
        let ReadContentRequest { digest, offset, size } = request.into_inner();
        let digest = parse_digest(&digest)?;
        let part = blocking(move || read::part(store.open(digest)?, offset, size)).await?;
        Ok(Response::new(read::messages(part)))
    }

    async fn status(&self, request: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let status = self.store(request.metadata())?.ingests()?.status(&request.get_ref().reference)?;
        Ok(Response::new(StatusResponse { status: Some(status) }))
    }

    async fn list_statuses(
        &self,
        request: Request<ListStatusesRequest>,
    ) -> Result<Response<ListStatusesResponse>, Status> {
        no_filters(&request.get_ref().filters)?;
        let statuses = self.store(request.metadata())?.ingests()?.statuses();
        Ok(Response::new(ListStatusesResponse { statuses }))
    }

    async fn write(
        &self,
        request: Request<Streaming<WriteContentRequest>>,
    ) -> Result<Response<Messages<WriteContentResponse>>, Status> {
        let store = self.store(request.metadata())?;
        let Store::Directory { writer, ingests, layers } = &*store else {
            return Err(Status::failed_precondition("content store is read-only"));
        };
        Ok(Response::new(ingest::write(writer.clone(), ingests.clone(), *layers, request.into_inner())))
    }

    async fn abort(&self, request: Request<AbortRequest>) -> Result<Response<()>, Status> {
        let store = self.store(request.metadata())?;
        let reference = request.into_inner().reference;
        blocking(move || store.ingests()?.abort(&reference)).await?;
        Ok(Response::new(()))
    }
}

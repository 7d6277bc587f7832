//! What the daemon fetches from its client as if it were a file over HTTP: a context that came as standard input.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::io::AsyncRead;
use tokio_util::io::ReaderStream;
use tonic::{Request, Response, Status, Streaming};

use crate::id::new_id;
use crate::proto::upload::BytesMessage;
use crate::proto::upload::upload_server::{self, UploadServer};

/// Where the daemon thinks that uploads are.
const ADDRESS: &str = "http://buildkit-session/";
/// The header that names what is asked for.
const PATH: &str = "urlpath";
/// Bytes of a message.
const CHUNK: usize = 256 << 10;

type Reader = Box<dyn AsyncRead + Send + Unpin>;

/// Readers that the daemon may read, each of them once.
#[derive(Default)]
pub struct Uploads(Mutex<HashMap<String, Reader>>);

impl fmt::Debug for Uploads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let uploads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("Uploads").field("waiting", &uploads.len()).finish()
    }
}

impl Uploads {
    /// Adds a reader. The answer is the address at which the daemon finds it.
    pub fn add(&self, reader: impl AsyncRead + Send + Unpin + 'static) -> String {
        let id = new_id();
        let address = format!("{ADDRESS}{id}");
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, Box::new(reader));
        address
    }

    pub(crate) fn server(self) -> UploadServer<Self> {
        UploadServer::new(self)
    }
}

#[tonic::async_trait]
impl upload_server::Upload for Uploads {
    type PullStream = BoxStream<'static, Result<BytesMessage, Status>>;

    async fn pull(
        &self,
        request: Request<Streaming<BytesMessage>>,
    ) -> Result<Response<Self::PullStream>, Status> {
        let path = request.metadata().get(PATH).and_then(|path| path.to_str().ok()).unwrap_or_default();
        let id = path.rsplit('/').find(|part| !part.is_empty()).unwrap_or_default();
        let reader = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        let reader =
            reader.ok_or_else(|| Status::unknown(format!("no http response from session for {id}")))?;
        let messages = ReaderStream::with_capacity(reader, CHUNK).map(|chunk| match chunk {
            Ok(chunk) => Ok(BytesMessage { data: chunk.into() }),
            Err(error) => Err(Status::unknown(rbx_request::reason(&error))),
        });
        Ok(Response::new(messages.boxed()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::upload::upload_client::UploadClient;
    use crate::session::testing::channel;

    #[tokio::test]
    async fn a_reader_is_read_once() {
        let content: Vec<u8> = (0..=250).cycle().take(3 * CHUNK + 5).collect();
        let uploads = Uploads::default();
        let address = uploads.add(std::io::Cursor::new(content.clone()));
        let other = uploads.add(tokio_util::io::StreamReader::new(tokio_stream::iter([
            Ok(bytes::Bytes::from_static(b"begun")),
            Err(std::io::Error::other("cut short")),
        ])));
        assert_ne!(address, other);
        let mut client = UploadClient::new(channel(uploads.server()));
        let mut pull = async |path: Option<&str>| {
            let mut request = Request::new(tokio_stream::empty());
            if let Some(path) = path {
                request.metadata_mut().insert(PATH, path.parse().unwrap());
            }
            let mut answer = client.pull(request).await?.into_inner();
            let mut read = Vec::new();
            while let Some(message) = answer.message().await? {
                read.extend(message.data);
            }
            Ok::<_, Status>(read)
        };
        let path = address.strip_prefix("http://buildkit-session").unwrap();
        assert!(pull(Some(path)).await.unwrap() == content);
        for path in [Some(path), None, Some("/"), Some("/../x"), Some("/é")] {
            let error = pull(path).await.unwrap_err();
            assert!(error.message().starts_with("no http response from session for "), "{error}");
        }
        let error = pull(Some(&other)).await.unwrap_err();
        assert_eq!(error.message(), "cut short");
    }
}

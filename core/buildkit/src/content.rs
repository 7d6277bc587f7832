//! What a daemon has: the blobs of images and of what it has built.

use rbx_oci::Digest;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request, Streaming};
use tonic_prost::ProstCodec;

use crate::Client;
use crate::client::{MESSAGE, quick};
use crate::error::{Error, ErrorKind};
use crate::proto::content::{InfoRequest, InfoResponse, ReadContentRequest, ReadContentResponse};

impl Client {
    /// Whether the daemon has this content now. `None` where it does not show what it has, as those before 0.11.
    ///
    /// The `BuildKit` in an Engine that keeps images in containerd has what its images have.
    pub async fn has_content(&self, digest: Digest) -> Result<Option<bool>, Error> {
        let mut grpc = Grpc::new(self.channel());
        grpc.ready().await.map_err(Error::transport)?;
        let path = PathAndQuery::from_static("/containerd.services.content.v1.Content/Info");
        let request = Request::new(InfoRequest { digest: digest.to_string() });
        let codec = ProstCodec::<InfoRequest, InfoResponse>::default();
        match quick(grpc.unary(request, path, codec)).await {
            Ok(_) => Ok(Some(true)),
            Err(error) if error.kind() == ErrorKind::Answer(Code::NotFound) => Ok(Some(false)),
            Err(error) if error.is_unimplemented() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads content. Its digest is for the caller to check.
    pub(crate) async fn read_content(&self, digest: Digest) -> Result<Streaming<ReadContentResponse>, Error> {
        let mut grpc = Grpc::new(self.channel()).max_decoding_message_size(MESSAGE);
        grpc.ready().await.map_err(Error::transport)?;
        let path = PathAndQuery::from_static("/containerd.services.content.v1.Content/Read");
        let request = ReadContentRequest { digest: digest.to_string(), ..ReadContentRequest::default() };
        let codec = ProstCodec::<ReadContentRequest, ReadContentResponse>::default();
        let answer = grpc.server_streaming(Request::new(request), path, codec).await.map_err(Error::from)?;
        Ok(answer.into_inner())
    }
}

//! A connection within messages of `Control.Session`, where the daemon is reached by gRPC alone.

use std::future::ready;
use std::io;

use bytes::Bytes;
use futures::{SinkExt, TryStreamExt};
use tokio::sync::mpsc;
use tokio_util::io::{CopyToBytes, SinkWriter, StreamReader};
use tokio_util::sync::PollSender;
use tonic::Request;
use tonic::metadata::{AsciiMetadataValue, MetadataKey};
use tonic::transport::Channel;

use crate::Io;
use crate::error::Error;
use crate::proto::control::BytesMessage;
use crate::proto::control::control_client::ControlClient;

/// How many messages wait to be sent. Each is what HTTP/2 writes at once, up to a frame.
const WAITING: usize = 16;

/// Opens a session with these headers.
pub(super) async fn open(
    mut control: ControlClient<Channel>,
    headers: &[(String, String)],
) -> Result<Box<dyn Io>, Error> {
    let (sender, receiver) = mpsc::channel::<BytesMessage>(WAITING);
    let mut request = Request::new(tokio_stream::wrappers::ReceiverStream::new(receiver));
    for (name, value) in headers {
        let name = MetadataKey::from_bytes(name.to_ascii_lowercase().as_bytes()).map_err(Error::transport)?;
        let value = AsciiMetadataValue::try_from(value.as_str()).map_err(Error::transport)?;
        request.metadata_mut().append(name, value);
    }
    let received = control.session(request).await.map_err(Error::from)?.into_inner();
    let received = received.map_ok(|message| Bytes::from(message.data)).map_err(io::Error::other);
    let sent = PollSender::new(sender)
        .sink_map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
        .with(|data: Bytes| ready(Ok::<_, io::Error>(BytesMessage { data: data.into() })));
    let writer = SinkWriter::new(CopyToBytes::new(sent));
    Ok(Box::new(tokio::io::join(StreamReader::new(received), writer)))
}

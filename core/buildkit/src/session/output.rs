//! What a daemon sends at the end of a build: `moby.filesync.v1.FileSend`.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use prost::Message;
use rbx_request::{DestinationError, NewFile, Stdout, check_destination, reason};
use tokio::sync::mpsc;
use tonic::codegen::http;
use tonic::{Code, Status, Streaming};

use super::fsutil::{Packet, Receiver, Root};
use super::messages::{DiffCopy, MessageSender};

/// Bytes that are handed on at once, about.
const BATCH: usize = 256 << 10;

/// Where the outputs of a build go, by the number of their exporter: its place among the exporters of the request,
/// from 0. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Outputs(Arc<BTreeMap<usize, Output>>);

/// Where one output goes.
#[derive(Clone)]
pub enum Output {
    /// One stream of bytes, to a file that appears under its name when it is whole. What is there and is no regular
    /// file is written to as it is.
    File(PathBuf),
    /// One stream of bytes, to standard output.
    Stdout(Stdout),
    /// One stream of bytes, to the caller.
    Pipe(OpenPipe),
    /// Files below a directory, which is made if it is missing. They belong to who runs this.
    Directory {
        /// The directory.
        path: PathBuf,
        /// What is in it and not among the files is removed when all of them are there.
        delete: bool,
    },
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Stdout(_) => f.write_str("Stdout"),
            Self::Pipe(_) => f.write_str("Pipe"),
            Self::Directory { path, delete } => {
                f.debug_struct("Directory").field("path", path).field("delete", delete).finish()
            }
        }
    }
}

/// Opens a pipe when the daemon begins to send: it is given what the exporter says of the image, such as
/// `containerimage.digest`. `None` where the caller has that already, and nothing needs to be sent.
pub type OpenPipe =
    Arc<dyn Fn(BTreeMap<String, String>) -> BoxFuture<'static, Result<Option<Pipe>, String>> + Send + Sync>;

/// What an output is written to that the caller reads.
pub struct Pipe {
    /// Takes the bytes. It is dropped after the last ones; if sending is broken off, the last item is an error.
    pub sender: mpsc::Sender<io::Result<Bytes>>,
    /// Ends when the caller has done with them what it wants. An error fails the build.
    pub done: BoxFuture<'static, Result<(), String>>,
}

impl Outputs {
    /// Outputs by the numbers of their exporters. What is in their way already is an error now.
    pub fn new(outputs: impl IntoIterator<Item = (usize, Output)>) -> Result<Self, DestinationError> {
        let check = |(number, output): (usize, Output)| {
            match &output {
                Output::File(path) => check_destination(path, false)?,
                Output::Directory { path, .. } => check_destination(path, true)?,
                Output::Stdout(_) | Output::Pipe(_) => {}
            }
            Ok((number, output))
        };
        Ok(Self(Arc::new(outputs.into_iter().map(check).collect::<Result<_, _>>()?)))
    }

    /// There are none, so that the service need not be offered.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl DiffCopy for Outputs {
    const NAME: &'static str = "moby.filesync.v1.FileSend";

    async fn serve(
        self,
        headers: http::HeaderMap,
        incoming: Streaming<Bytes>,
        sender: MessageSender,
    ) -> Result<(), Status> {
        // As BuildKit, whose daemons had one exporter once and sent no number.
        let number = headers.get("buildkit-attachable-exporter-id").and_then(|value| value.to_str().ok());
        let number = number.and_then(|number| number.parse().ok()).unwrap_or(0);
        let Some(output) = self.0.get(&number).cloned() else {
            return Err(Status::unknown(format!("exporter {number} not found")));
        };
        match output {
            Output::File(path) => {
                write(incoming, path.display().to_string(), move || NewFile::create(&path)).await
            }
            Output::Stdout(stdout) => write(incoming, "standard output".to_owned(), move || Ok(stdout)).await,
            Output::Pipe(open) => pipe(incoming, open(metadata(&headers))).await,
            Output::Directory { path, delete } => {
                let at_once = headers.get("buildkit-exporter-multi-platform");
                // Before, platforms came one by one, and each would have removed the others.
                if delete && at_once.is_none_or(|value| value != "1") {
                    return Err(Status::unknown(
                        "local exporter mode=delete requires a BuildKit daemon with multi-platform local \
                         export support",
                    ));
                }
                directory(incoming, sender, path, delete).await
            }
        }
    }
}

/// What the exporter says of its output.
fn metadata(headers: &http::HeaderMap) -> BTreeMap<String, String> {
    let mut metadata: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in headers {
        let Some(name) = name.as_str().strip_prefix("exporter-md-") else { continue };
        let value = String::from_utf8_lossy(value.as_bytes());
        metadata
            .entry(name.to_owned())
            .and_modify(|all| *all = format!("{all},{value}"))
            .or_insert(value.into());
    }
    metadata
}

/// A part of a stream of bytes.
#[derive(Clone, PartialEq, Message)]
struct Chunk {
    #[prost(bytes = "bytes", tag = "1")]
    data: Bytes,
}

/// The next messages, as many as have arrived. `None` at the end; an error if the stream is broken off.
async fn batch(incoming: &mut Streaming<Bytes>) -> Result<Option<Vec<Bytes>>, Status> {
    let mut batch = Vec::new();
    let mut size = 0;
    let mut next = incoming.next().await;
    loop {
        match next {
            None if batch.is_empty() => return Ok(None),
            None => return Ok(Some(batch)),
            Some(message) => {
                let message = message?;
                size += message.len();
                batch.push(message);
            }
        }
        if size >= BATCH {
            return Ok(Some(batch));
        }
        match incoming.next().now_or_never() {
            Some(message) => next = message,
            None => return Ok(Some(batch)),
        }
    }
}

fn chunk(message: Bytes) -> Result<Bytes, Status> {
    Ok(Chunk::decode(message).map_err(|error| Status::unknown(error.to_string()))?.data)
}

/// Somewhere that bytes are written to.
trait Sink: Send + 'static {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// All of them were written.
    fn finish(self) -> io::Result<()>;
}

impl Sink for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn finish(self) -> io::Result<()> {
        self.keep()
    }
}

impl Sink for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.lock().unwrap_or_else(PoisonError::into_inner).write_all(bytes)
    }

    fn finish(self) -> io::Result<()> {
        self.lock().unwrap_or_else(PoisonError::into_inner).flush()
    }
}

/// Has a thread that may wait do `work` with the messages that arrive, in batches. It is done when the stream ends;
/// if that is broken off, `work` is not told of an end.
async fn on_thread<W>(mut incoming: Streaming<Bytes>, work: W) -> Result<(), Status>
where
    W: FnOnce(&mut mpsc::Receiver<Option<Vec<Bytes>>>) -> Result<(), Status> + Send + 'static,
{
    let (sender, mut receiver) = mpsc::channel(4);
    let mut working = tokio::task::spawn_blocking(move || work(&mut receiver));
    let ended = |outcome: Result<Result<(), Status>, tokio::task::JoinError>| {
        outcome.unwrap_or_else(|error| Err(Status::internal(error.to_string())))
    };
    loop {
        let batch = tokio::select! {
            outcome = &mut working => return ended(outcome),
            batch = batch(&mut incoming) => batch?,
        };
        let is_last = batch.is_none();
        // Where nobody takes it, the outcome says why.
        if sender.send(batch).await.is_err() || is_last {
            return ended(working.await);
        }
    }
}

/// Writes what arrives. Errors call the place `name`.
async fn write<S: Sink>(
    incoming: Streaming<Bytes>,
    name: String,
    open: impl FnOnce() -> io::Result<S> + Send + 'static,
) -> Result<(), Status> {
    on_thread(incoming, move |batches| {
        let failed =
            |error: io::Error| Status::unknown(format!("{}: failed to write {name}", reason(&error)));
        let mut sink = open().map_err(failed)?;
        loop {
            match batches.blocking_recv() {
                Some(Some(batch)) => {
                    for message in batch {
                        sink.write(&chunk(message)?).map_err(failed)?;
                    }
                }
                Some(None) => return sink.finish().map_err(failed),
                None => return Err(Status::cancelled("context canceled")),
            }
        }
    })
    .await
}

async fn pipe(
    mut incoming: Streaming<Bytes>,
    opening: BoxFuture<'static, Result<Option<Pipe>, String>>,
) -> Result<(), Status> {
    let Some(Pipe { sender, done }) = opening.await.map_err(Status::unknown)? else {
        return Err(Status::new(Code::AlreadyExists, "target already exists"));
    };
    loop {
        match batch(&mut incoming).await {
            Ok(None) => break,
            Ok(Some(batch)) => {
                for message in batch {
                    // Where nobody takes it, what is done says why.
                    if sender.send(Ok(chunk(message)?)).await.is_err() {
                        return Err(Status::unknown(done.await.err().unwrap_or("nobody reads".to_owned())));
                    }
                }
            }
            Err(status) => {
                let _ = sender.send(Err(io::Error::other("the builder broke off"))).await;
                return Err(status);
            }
        }
    }
    drop(sender);
    done.await.map_err(Status::unknown)
}

async fn directory(
    incoming: Streaming<Bytes>,
    sender: MessageSender,
    path: PathBuf,
    delete: bool,
) -> Result<(), Status> {
    on_thread(incoming, move |batches| {
        let received = open_directory(&path).and_then(|root| receive(root, delete, batches, &sender));
        received.map_err(|reason| {
            let mut message = Vec::new();
            Packet::error(&reason).write(&mut message);
            let _ = sender.blocking_send(message);
            Status::unknown(reason)
        })
    })
    .await
}

fn open_directory(path: &Path) -> Result<Root, String> {
    // Only for its owner: there may be programs in it that run as another user.
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    let opened = made.and_then(|()| Root::open(path));
    opened.map_err(|error| format!("{}: failed to write to directory {}", reason(&error), path.display()))
}

fn receive(
    root: Root,
    delete: bool,
    batches: &mut mpsc::Receiver<Option<Vec<Bytes>>>,
    sender: &MessageSender,
) -> Result<(), String> {
    let mut receiver = Receiver::new(root, delete);
    let mut answers = Vec::new();
    while let Some(Some(batch)) = batches.blocking_recv() {
        for message in batch {
            receiver.message(message, &mut answers)?;
        }
        if !answers.is_empty() {
            sender.blocking_send(std::mem::take(&mut answers)).map_err(|gone| gone.to_string())?;
        }
        if receiver.is_done() {
            return Ok(());
        }
    }
    Err("context canceled".to_owned())
}

#[cfg(test)]
mod tests;

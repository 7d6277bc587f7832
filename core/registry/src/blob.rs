//! A blob while it is fetched.

use std::fmt;
use std::io::{self, Cursor};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use futures::stream;
use rbx_oci::{Descriptor, Digest, Reference};
use reqwest::header::CONTENT_RANGE;
use reqwest::{Method, Response, StatusCode};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncBufRead, AsyncRead, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::io::StreamReader;

use crate::client::{Access, Ask, Client, all_failed, note};
use crate::endpoint::Endpoint;
use crate::error::RegistryError;
use crate::transport::wait;

/// How much must come, in bytes, for a break after it to count as the first one again.
const PROGRESS: u64 = 1 << 20;

/// The bytes of a blob. The end is given only when size and digest were found right; until then, what was read is
/// not to be trusted. Errors are [`io::Error`]s that hold a [`RegistryError`].
///
/// It holds one of its host's places for transfers until it ended or is dropped.
pub struct BlobStream {
    bytes: Pin<Box<dyn AsyncBufRead + Send>>,
    size: u64,
    /// An error was given; after it comes no end.
    failed: bool,
}

impl fmt::Debug for BlobStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobStream").field("size", &self.size).finish_non_exhaustive()
    }
}

impl BlobStream {
    /// The size in bytes, by the descriptor.
    pub fn size(&self) -> u64 {
        self.size
    }

    pub(crate) async fn open(
        client: Client,
        endpoints: Vec<Endpoint>,
        reference: &Reference,
        descriptor: &Descriptor,
    ) -> Result<Self, RegistryError> {
        let size = descriptor.size;
        let what = format!("{}@{}", reference.name(), descriptor.digest);
        if let Some(content) = embedded(descriptor) {
            return Ok(Self { bytes: Box::pin(Cursor::new(content)), size, failed: false });
        }
        let mut transfer = Transfer {
            client,
            endpoints,
            current: 0,
            digest: descriptor.digest,
            size,
            what,
            connection: None,
            received: 0,
            hasher: Sha256::new(),
            failures: 0,
        };
        // Errors of the request itself are the caller's at once, not at its first read.
        transfer.connection = Some(transfer.connect().await?);
        let chunks = stream::try_unfold(transfer, |mut transfer| async move {
            let chunk = transfer.next().await.map_err(io::Error::other)?;
            Ok::<_, io::Error>(chunk.map(|chunk| (chunk, transfer)))
        });
        Ok(Self { bytes: Box::pin(StreamReader::new(chunks)), size, failed: false })
    }
}

impl AsyncRead for BlobStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let available = ready!(self.as_mut().poll_fill_buf(cx))?;
        let count = available.len().min(buf.remaining());
        buf.put_slice(&available[..count]);
        self.consume(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncBufRead for BlobStream {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        if this.failed {
            return Poll::Ready(Err(io::Error::other("the transfer failed before")));
        }
        let result = ready!(this.bytes.as_mut().poll_fill_buf(cx));
        this.failed = result.is_err();
        Poll::Ready(result)
    }

    fn consume(mut self: Pin<&mut Self>, amount: usize) {
        self.bytes.as_mut().consume(amount);
    }
}

struct Transfer {
    client: Client,
    /// Mirrors, then the origin.
    endpoints: Vec<Endpoint>,
    current: usize,
    digest: Digest,
    size: u64,
    /// For messages.
    what: String,
    connection: Option<Connection>,
    received: u64,
    hasher: Sha256,
    /// Breaks since the last one after which much was received.
    failures: u32,
}

struct Connection {
    response: Response,
    /// Bytes to throw away: the server sends all anew.
    skip: u64,
    /// Where this connection began.
    start: u64,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Transfer {
    /// The next bytes; `None` once all of them came and are right.
    async fn next(&mut self) -> Result<Option<Bytes>, RegistryError> {
        loop {
            let connection = match self.connection.take() {
                Some(connection) => connection,
                None => self.connect().await?,
            };
            let connection = self.connection.insert(connection);
            let broken = match connection.response.chunk().await {
                Ok(Some(mut chunk)) => {
                    let skipped = connection.skip.min(chunk.len() as u64);
                    connection.skip -= skipped;
                    // At most the chunk's length, which is a `usize`.
                    chunk.advance(usize::try_from(skipped).unwrap_or(chunk.len()));
                    if chunk.is_empty() {
                        continue;
                    }
                    self.received += chunk.len() as u64;
                    if self.received > self.size {
                        return Err(self.wrong_size(self.received));
                    }
                    self.hasher.update(&chunk);
                    return Ok(Some(chunk));
                }
                _ if self.received == self.size => {
                    self.connection = None;
                    return self.verify().map(|()| None);
                }
                Ok(None) => None,
                Err(error) => Some(error.without_url()),
            };
            let start = connection.start;
            self.connection = None;
            self.pause(start, broken).await?;
        }
    }

    /// Waits before the transfer goes on, at the next host if this one broke off too often.
    async fn pause(&mut self, start: u64, broken: Option<reqwest::Error>) -> Result<(), RegistryError> {
        if self.received - start >= PROGRESS {
            self.failures = 0;
        }
        if let Some(wait) = wait(self.failures, None) {
            tracing::debug!(self.what, self.received, "transfer cut short");
            self.failures += 1;
            tokio::time::sleep(wait).await;
        } else if self.current + 1 < self.endpoints.len() {
            self.current += 1;
            self.failures = 0;
        } else {
            return Err(RegistryError::CutShort {
                what: self.what.clone(),
                host: self.host(),
                received: self.received,
                size: self.size,
                source: broken.map(Into::into),
            });
        }
        Ok(())
    }

    /// Asks one host after another for what is missing.
    async fn connect(&mut self) -> Result<Connection, RegistryError> {
        let mut failures = Vec::new();
        while let Some(endpoint) = self.endpoints.get(self.current).cloned() {
            match self.connect_to(&endpoint).await {
                Ok(connection) => return Ok(connection),
                Err(error) => note(&mut failures, error),
            }
            self.current += 1;
        }
        Err(all_failed(failures))
    }

    async fn connect_to(&mut self, endpoint: &Endpoint) -> Result<Connection, RegistryError> {
        let permit = Arc::clone(&endpoint.host.blobs).acquire_owned().await.ok();
        let ask = Ask {
            method: Method::GET,
            thing: format!("blobs/{}", self.digest),
            accept: None,
            from: self.received,
            what: &self.what,
            access: Access::Pull,
            content: None,
        };
        let response = self.client.request(endpoint, &ask).await?;
        let begins_at = match response.status() {
            StatusCode::OK => 0,
            StatusCode::PARTIAL_CONTENT => range_start(&response).unwrap_or(u64::MAX),
            _ => u64::MAX,
        };
        // The start must be where we are, or the beginning.
        if begins_at != self.received && begins_at != 0 {
            return Err(RegistryError::Status {
                what: self.what.clone(),
                host: response.url().authority().to_owned(),
                status: response.status().as_u16(),
                message: "the answer is not the range that was asked for".to_owned(),
            });
        }
        if let Some(length) = response.content_length()
            && begins_at.checked_add(length) != Some(self.size)
        {
            return Err(self.wrong_size(begins_at.saturating_add(length)));
        }
        let start = self.received;
        Ok(Connection { response, skip: start - begins_at, start, _permit: permit })
    }

    fn verify(&mut self) -> Result<(), RegistryError> {
        let actual = Digest::from_hasher(std::mem::take(&mut self.hasher));
        if actual == self.digest {
            return Ok(());
        }
        let (what, host) = (self.what.clone(), self.host());
        Err(RegistryError::DigestMismatch { what, host, actual: actual.to_string() })
    }

    fn wrong_size(&self, actual: u64) -> RegistryError {
        let (what, host) = (self.what.clone(), self.host());
        RegistryError::SizeMismatch { what, host, expected: self.size, actual }
    }

    fn host(&self) -> String {
        self.endpoints.get(self.current).map_or_else(String::new, |endpoint| endpoint.host.authority.clone())
    }
}

/// The first byte of `Content-Range: bytes 10-99/100`.
fn range_start(response: &Response) -> Option<u64> {
    let range = response.headers().get(CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?;
    range.split('-').next()?.trim().parse().ok()
}

/// The content that a descriptor carries itself, if it is right; else the registry is asked.
fn embedded(descriptor: &Descriptor) -> Option<Vec<u8>> {
    let content = &descriptor.data;
    // Empty content is not told from none.
    let is_right = !content.is_empty()
        && content.len() as u64 == descriptor.size
        && Digest::sha256_of(content) == descriptor.digest;
    is_right.then(|| content.clone())
}

//! Pushing: blobs that a repository does not have, then the manifests that name them.

use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::stream;
use rbx_oci::{Descriptor, Digest, Reference};
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION};
use reqwest::{Body, Method, Request, StatusCode, Url};
use tokio::sync::mpsc;

use crate::client::{Access, Ask, Client, content_digest};
use crate::endpoint::Endpoint;
use crate::error::RegistryError;
use crate::transport::{is_passing, passes, retry_after, wait};

/// Bytes that are read and sent at once.
const CHUNK: usize = 256 << 10;
/// Chunks that are read ahead of what was sent.
const AHEAD: usize = 4;

/// What became of a blob or a manifest that was to be pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It was sent.
    Sent,
    /// The repository had it.
    Present,
    /// The registry took it from another of its repositories.
    Mounted,
}

/// Opens a blob's content at its beginning. It is called again when a transfer has to begin anew.
pub type OpenBlob<'a> = dyn Fn() -> io::Result<Box<dyn Read + Send>> + Send + Sync + 'a;

/// Why one attempt to send a blob failed.
enum Failure {
    /// Another attempt may not meet it.
    Passing(RegistryError, Option<std::time::Duration>),
    Lasting(RegistryError),
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        Self::Lasting(error)
    }
}

impl Client {
    /// Puts a blob into the repository that a reference names, unless it is there. `from` is another repository of
    /// the same registry that has it, from which the registry may take it. Goes to the registry itself, never to a
    /// mirror. The registry verifies the digest.
    ///
    /// Transfers that break off begin anew, a few times. At most 8 blobs go to one host at a time.
    pub async fn push_blob(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        from: Option<&str>,
        open: &OpenBlob<'_>,
    ) -> Result<Pushed, RegistryError> {
        let endpoint = self.origin(reference)?;
        let _permit = endpoint.host.blobs.acquire().await.ok();
        let what = format!("{}@{}", reference.name(), descriptor.digest);
        let mut attempt = 0;
        loop {
            match self.push_once(&endpoint, descriptor, from, &what, open).await {
                Ok(pushed) => return Ok(pushed),
                Err(Failure::Lasting(error)) => return Err(error),
                Err(Failure::Passing(error, asked)) => {
                    let Some(wait) = wait(attempt, asked) else { return Err(error) };
                    tracing::debug!(what, attempt, ?wait, "upload failed in passing: {error}");
                    tokio::time::sleep(wait).await;
                    attempt += 1;
                }
            }
        }
    }

    /// Gives a manifest or index the name that the reference has, its digest if it has one, else its tag, unless it
    /// has that name. Everything that it names has to be there before.
    pub async fn push_manifest(
        &self,
        reference: &Reference,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<Pushed, RegistryError> {
        let endpoint = self.origin(reference)?;
        let what = reference.to_string();
        let access = Access::Push { from: None };
        let known = Ask { access, ..Ask::manifest(Method::HEAD, reference, &what) };
        match self.request(&endpoint, &known).await {
            Ok(answer) if content_digest(answer.headers()) == Some(Digest::sha256_of(bytes)) => {
                return Ok(Pushed::Present);
            }
            Err(error @ (RegistryError::Denied { .. } | RegistryError::Unreachable { .. })) => {
                return Err(error);
            }
            // What else there is to say is said of the manifest itself.
            Ok(_) | Err(_) => {}
        }
        let ask = Ask {
            access,
            content: Some((media_type, Bytes::copy_from_slice(bytes))),
            ..Ask::manifest(Method::PUT, reference, &what)
        };
        self.request(&endpoint, &ask).await.map(|_| Pushed::Sent)
    }

    async fn push_once(
        &self,
        endpoint: &Endpoint,
        descriptor: &Descriptor,
        from: Option<&str>,
        what: &str,
        open: &OpenBlob<'_>,
    ) -> Result<Pushed, Failure> {
        let digest = &descriptor.digest;
        let ask = |method, thing| Ask {
            method,
            thing,
            accept: None,
            from: 0,
            what,
            access: Access::Push { from },
            content: None,
        };
        match self.request(endpoint, &ask(Method::HEAD, format!("blobs/{digest}"))).await {
            Ok(_) => return Ok(Pushed::Present),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
        let mount = from.map_or_else(String::new, |from| format!("?mount={digest}&from={from}"));
        let begun = match self.request(endpoint, &ask(Method::POST, format!("blobs/uploads/{mount}"))).await {
            // Whoever may not read the other repository may still write to this one.
            Err(RegistryError::Denied { .. }) if from.is_some() => {
                let plain = Ask {
                    access: Access::Push { from: None },
                    ..ask(Method::POST, "blobs/uploads/".to_owned())
                };
                self.request(endpoint, &plain).await?
            }
            begun => begun?,
        };
        if begun.status() == StatusCode::CREATED {
            return Ok(Pushed::Mounted);
        }
        let location = begun.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let location = location.and_then(|location| begun.url().join(location).ok());
        let Some(mut location) = location.filter(|url| matches!(url.scheme(), "http" | "https")) else {
            return Err(Failure::Lasting(RegistryError::Status {
                what: what.to_owned(),
                host: endpoint.host.authority.clone(),
                status: begun.status().as_u16(),
                message: "the answer has no address for the upload".to_owned(),
            }));
        };
        // Credentials are for the host that asked for them, by no less safe a way.
        let own = location.origin() == begun.url().origin();
        location.query_pairs_mut().append_pair("digest", &digest.to_string());
        self.send_blob(endpoint, descriptor, location, own, &ask(Method::PUT, String::new()), open).await
    }

    async fn send_blob(
        &self,
        endpoint: &Endpoint,
        descriptor: &Descriptor,
        location: Url,
        own: bool,
        ask: &Ask<'_>,
        open: &OpenBlob<'_>,
    ) -> Result<Pushed, Failure> {
        let unreadable =
            |source| Failure::Lasting(RegistryError::Content { what: ask.what.to_owned(), source });
        let mut request = Request::new(Method::PUT, location);
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(descriptor.size));
        if own && let Some(authorization) = self.authorization(endpoint, ask).await? {
            headers.insert(AUTHORIZATION, authorization);
        }
        let sending = Sending::default();
        *request.body_mut() = Some(sending.body(open().map_err(unreadable)?, descriptor));
        let answer = self.upload(request, &sending.sent).await?;
        if let Some(error) = sending.failure() {
            return Err(unreadable(error));
        }
        let Some(answer) = answer else {
            let stalled = io::Error::new(io::ErrorKind::TimedOut, "the upload made no progress");
            return Err(Failure::Passing(Self::unreachable(endpoint, ask, stalled), None));
        };
        match answer {
            Ok(response) if response.status().is_success() => Ok(Pushed::Sent),
            Ok(response) => {
                let status = response.status();
                let retry_after = retry_after(response.headers());
                let error = self.failure(&endpoint.host, ask, response).await;
                // A token may have expired on the way; another attempt asks for a new one.
                if passes(status) || status == StatusCode::UNAUTHORIZED {
                    self.forget_token(endpoint, ask).await;
                    return Err(Failure::Passing(error, retry_after));
                }
                Err(error.into())
            }
            Err(error) => {
                let passing = is_passing(&error);
                let error = Self::unreachable(endpoint, ask, error.without_url());
                Err(if passing { Failure::Passing(error, None) } else { error.into() })
            }
        }
    }
}

/// A blob on its way.
#[derive(Default)]
struct Sending {
    /// Bytes that the connection took.
    sent: Arc<AtomicU64>,
    /// Why reading the blob here failed.
    failure: Arc<Mutex<Option<io::Error>>>,
}

impl Sending {
    /// The content as a request's body, read by a thread of its own.
    fn body(&self, mut content: Box<dyn Read + Send>, descriptor: &Descriptor) -> Body {
        let (sender, receiver) = mpsc::channel::<Bytes>(AHEAD);
        let (failure, size, digest) = (Arc::clone(&self.failure), descriptor.size, descriptor.digest);
        let reading = tokio::task::spawn_blocking(move || {
            let read = read_all(&mut content, size, digest, &sender);
            *failure.lock().unwrap_or_else(PoisonError::into_inner) = read.err();
        });
        let sent = Arc::clone(&self.sent);
        let chunks = stream::unfold((receiver, Some(reading)), move |(mut receiver, reading)| {
            let sent = Arc::clone(&sent);
            async move {
                if let Some(chunk) = receiver.recv().await {
                    sent.fetch_add(chunk.len() as u64, Ordering::Relaxed);
                    return Some((Ok(chunk), (receiver, reading)));
                }
                // The reader's verdict has to be there before the end, or a failure, is told.
                reading?.await.ok()?;
                None::<(io::Result<Bytes>, _)>
            }
        });
        Body::wrap_stream(chunks)
    }

    fn failure(&self) -> Option<io::Error> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Reads a blob to its end, and checks that it is what its descriptor says: a registry tells only that it is not.
fn read_all(
    content: &mut dyn Read,
    size: u64,
    digest: Digest,
    sender: &mpsc::Sender<Bytes>,
) -> io::Result<()> {
    use sha2::Digest as _;

    let mut hasher = sha2::Sha256::new();
    let mut left = size;
    loop {
        let mut chunk = vec![0; CHUNK];
        let mut filled = 0;
        while filled < chunk.len() {
            match content.read(&mut chunk[filled..]) {
                Ok(0) => break,
                Ok(length) => filled += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        chunk.truncate(filled);
        hasher.update(&chunk);
        left = left
            .checked_sub(filled as u64)
            .ok_or_else(|| io::Error::other("it is longer than it should be"))?;
        if filled == 0 {
            break;
        }
        // The last bytes are kept back until all of them are known to be right.
        let last = left == 0;
        if last && Digest::from_hasher(hasher.clone()) != digest {
            return Err(io::Error::other("its digest is another"));
        }
        if sender.blocking_send(chunk.into()).is_err() {
            // Nobody sends it any more, which is told elsewhere.
            return Ok(());
        }
    }
    if left > 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

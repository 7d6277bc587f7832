//! Content that is being written: what containerd calls ingests.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use futures::{StreamExt, stream};
use rbx_oci::Digest;
use rbx_oci::layout::{BlobWriter, CommitError, DirectoryWriter};
use tonic::{Status, Streaming};

use super::{blocking, parse_digest, timestamp};
use crate::proto::content::{Ingest, Messages, WriteAction, WriteContentRequest, WriteContentResponse};

/// How many may be begun and not finished.
const MOST: usize = 1024;
/// How long the name of one may be, in bytes.
const LONGEST_NAME: usize = 4096;
/// What the names of layers begin with, as containerd gives them.
const LAYER: &str = "layer-";

/// What is being written into a layout, by the names that the daemon gives it. What was begun and left can be gone on
/// with until the session ends.
#[derive(Debug, Default)]
pub(super) struct Ingests(Mutex<BTreeMap<String, State>>);

/// One of them.
#[derive(Debug)]
struct State {
    status: Ingest,
    /// Absent while somebody writes.
    blob: Option<BlobWriter>,
}

impl Ingests {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn status(&self, reference: &str) -> Result<Ingest, Status> {
        let status = self.lock().get(reference).map(|state| state.status.clone());
        status.ok_or_else(|| not_found(reference))
    }

    pub(super) fn statuses(&self) -> Vec<Ingest> {
        self.lock().values().map(|state| state.status.clone()).collect()
    }

    /// Forgets what was written, if nobody is writing. Blocks on files.
    pub(super) fn abort(&self, reference: &str) -> Result<(), Status> {
        let mut ingests = self.lock();
        match ingests.get(reference) {
            None => Err(not_found(reference)),
            Some(State { blob: None, .. }) => Err(locked(reference)),
            Some(State { blob: Some(_), .. }) => {
                let removed = ingests.remove(reference);
                drop(ingests);
                drop(removed);
                Ok(())
            }
        }
    }
}

fn not_found(reference: &str) -> Status {
    Status::not_found(format!("ingest ref {reference:?}: not found"))
}

fn locked(reference: &str) -> Status {
    Status::unavailable(format!("ref {reference} locked"))
}

/// Answers the messages of one write. Without `layers`, every layer is said to be there.
pub(super) fn write(
    writer: Arc<DirectoryWriter>,
    ingests: Arc<Ingests>,
    layers: bool,
    messages: Streaming<WriteContentRequest>,
) -> Messages<WriteContentResponse> {
    let begun = Step::First(writer, ingests);
    stream::try_unfold((begun, messages), move |(step, mut messages)| async move {
        if matches!(step, Step::Done) {
            return Ok(None);
        }
        let Some(request) = messages.message().await? else { return Ok(None) };
        if !layers && request.reference.starts_with(LAYER) {
            return Err(exists(&request.expected));
        }
        let (answer, step) = blocking(move || step.take(&request)).await?;
        Ok(Some((answer, (step, messages))))
    })
    .boxed()
}

enum Step {
    First(Arc<DirectoryWriter>, Arc<Ingests>),
    Writing(Box<Writing>),
    Done,
}

impl Step {
    fn take(self, request: &WriteContentRequest) -> Result<(WriteContentResponse, Self), Status> {
        let mut writing = match self {
            Self::First(writer, ingests) => Box::new(Writing::begin(writer, ingests, request)?),
            Self::Writing(writing) => writing,
            Self::Done => return Err(Status::failed_precondition("the content was committed")),
        };
        let answer = writing.take(request)?;
        let done = request.action == i32::from(WriteAction::Commit);
        Ok((answer, if done { Self::Done } else { Self::Writing(writing) }))
    }
}

/// One that is being written. When it is dropped, somebody else may go on with it.
struct Writing {
    writer: Arc<DirectoryWriter>,
    ingests: Arc<Ingests>,
    status: Ingest,
    blob: Option<BlobWriter>,
}

impl Drop for Writing {
    fn drop(&mut self) {
        let mut ingests = self.ingests.lock();
        match self.blob.take() {
            Some(blob) => {
                let state = State { status: self.status.clone(), blob: Some(blob) };
                ingests.insert(self.status.reference.clone(), state);
            }
            None => drop(ingests.remove(&self.status.reference)),
        }
    }
}

impl Writing {
    fn begin(
        writer: Arc<DirectoryWriter>,
        ingests: Arc<Ingests>,
        request: &WriteContentRequest,
    ) -> Result<Self, Status> {
        let reference = &request.reference;
        if reference.is_empty() {
            return Err(Status::invalid_argument("first message must have a reference"));
        }
        if reference.len() > LONGEST_NAME {
            return Err(Status::invalid_argument("reference is too long"));
        }
        absent(&writer, &request.expected)?;
        let mut all = ingests.lock();
        let is_full = all.len() >= MOST;
        let (status, blob) = match all.get_mut(reference) {
            Some(State { blob: None, .. }) => return Err(locked(reference)),
            Some(State { status, blob }) => (status.clone(), blob.take()),
            None if is_full => return Err(Status::resource_exhausted("too many ingests")),
            None => {
                let now = Some(timestamp(SystemTime::now()));
                let reference = reference.clone();
                let status = Ingest { started_at: now, updated_at: now, reference, ..Ingest::default() };
                all.insert(status.reference.clone(), State { status: status.clone(), blob: None });
                (status, None)
            }
        };
        drop(all);
        // From here on its drop gives the name free again.
        let mut writing = Self { writer, ingests, status, blob };
        if writing.blob.is_none() {
            let made = writing.writer.blob_writer();
            writing.blob = Some(made.map_err(|error| failed(&error))?);
        }
        Ok(writing)
    }

    fn take(&mut self, request: &WriteContentRequest) -> Result<WriteContentResponse, Status> {
        if !request.expected.is_empty() {
            if let Err(status) = absent(&self.writer, &request.expected) {
                // Nobody will go on with it.
                self.blob = None;
                return Err(status);
            }
            self.status.expected.clone_from(&request.expected);
        }
        if request.total > 0 {
            self.status.total = request.total;
        }
        let action = WriteAction::try_from(request.action);
        let action = action.map_err(|_| Status::invalid_argument("unknown action of a write"))?;
        if action == WriteAction::Stat {
            return Ok(self.answer(action, self.digest()?));
        }
        self.append(request)?;
        let digest = if action == WriteAction::Commit { self.commit()? } else { self.digest()? };
        Ok(self.answer(action, digest))
    }

    fn blob(&mut self) -> Result<&mut BlobWriter, Status> {
        self.blob.as_mut().ok_or_else(|| Status::failed_precondition("cannot write on closed writer"))
    }

    fn digest(&self) -> Result<Digest, Status> {
        let blob = self.blob.as_ref();
        blob.map(BlobWriter::digest)
            .ok_or_else(|| Status::failed_precondition("cannot write on closed writer"))
    }

    fn append(&mut self, request: &WriteContentRequest) -> Result<(), Status> {
        let blob = self.blob()?;
        let at = i64::try_from(blob.written()).unwrap_or(i64::MAX);
        if request.offset == 0 && at > 0 {
            blob.restart().map_err(|error| failed(&error))?;
        } else if request.offset != at {
            let offset = request.offset;
            return Err(Status::out_of_range(format!("write @{offset} must occur at current offset {at}")));
        }
        blob.write_all(&request.data).map_err(|error| failed(&error))?;
        let written = blob.written();
        self.status.offset = i64::try_from(written).unwrap_or(i64::MAX);
        self.status.updated_at = Some(timestamp(SystemTime::now()));
        if let Some(state) = self.ingests.lock().get_mut(&self.status.reference) {
            state.status = self.status.clone();
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<Digest, Status> {
        let expected = Some(self.status.expected.as_str()).filter(|text| !text.is_empty());
        let expected = expected.map(parse_digest).transpose()?;
        let size = u64::try_from(self.status.total).ok().filter(|total| *total > 0);
        let blob = self.blob.take();
        let blob = blob.ok_or_else(|| Status::failed_precondition("cannot commit on closed writer"))?;
        blob.commit(expected, size).map_err(|error| match error {
            CommitError::Exists(_) => Status::already_exists(error.to_string()),
            CommitError::Io(error) => failed(&error),
            _ => Status::failed_precondition(error.to_string()),
        })
    }

    fn answer(&self, action: WriteAction, digest: Digest) -> WriteContentResponse {
        WriteContentResponse {
            action: action.into(),
            started_at: self.status.started_at,
            updated_at: self.status.updated_at,
            offset: self.status.offset,
            total: self.status.total,
            digest: digest.to_string(),
        }
    }
}

/// Content that is there already is not written again.
fn absent(writer: &DirectoryWriter, expected: &str) -> Result<(), Status> {
    if expected.is_empty() {
        return Ok(());
    }
    let digest = parse_digest(expected)?;
    match writer.open_blob(digest) {
        Ok(_) => Err(exists(expected)),
        Err(_) => Ok(()),
    }
}

fn exists(digest: &str) -> Status {
    Status::already_exists(format!("content {digest}: already exists"))
}

fn failed(error: &std::io::Error) -> Status {
    Status::unknown(rbx_request::reason(error))
}

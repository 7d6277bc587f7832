//! What a build says while it works.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use rbx_oci::Digest;
use rbx_request::{Event, EventSender, FailureKind, Log, Stream, Vertex, VertexStatus};

use crate::error::BuildError;

/// Bytes between two reports of one transfer.
const REPORT_EVERY: u64 = 1 << 20;

/// One vertex that is being worked on.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    events: EventSender,
    vertex: Arc<Vertex>,
}

/// A vertex as it is announced, before anything is done for it.
pub(crate) fn announce(events: &EventSender, digest: &str, name: &str, inputs: Vec<String>) {
    events.send(Event::Vertex(Vertex {
        digest: digest.to_owned(),
        name: name.to_owned(),
        inputs,
        ..Vertex::default()
    }));
}

/// A name for vertices that are no step of the Dockerfile.
pub(crate) fn internal_digest(name: &str) -> String {
    Digest::sha256_of(name.as_bytes()).to_string()
}

impl Task {
    /// Starts what [`announce`] announced.
    pub(crate) fn start(events: &EventSender, digest: &str, name: &str, inputs: Vec<String>) -> Self {
        let vertex = Vertex {
            digest: digest.to_owned(),
            name: name.to_owned(),
            inputs,
            started: Some(Timestamp::now()),
            ..Vertex::default()
        };
        events.send(Event::Vertex(vertex.clone()));
        Self { events: events.clone(), vertex: Arc::new(vertex) }
    }

    /// Starts a vertex that is no step of the Dockerfile.
    pub(crate) fn internal(events: &EventSender, name: &str) -> Self {
        Self::start(events, &internal_digest(name), name, Vec::new())
    }

    /// Ends it.
    pub(crate) fn finish(&self, cached: bool, error: Option<&BuildError>) {
        let error = error.map(|error| match error.kind {
            FailureKind::Cancelled => "context canceled".to_owned(),
            _ => error.reason.clone(),
        });
        self.events.send(Event::Vertex(Vertex {
            completed: Some(Timestamp::now()),
            cached,
            error,
            ..(*self.vertex).clone()
        }));
    }

    /// Ends it as a result says, and gives the result on.
    pub(crate) fn end<T>(&self, result: Result<T, BuildError>) -> Result<T, BuildError> {
        self.finish(false, result.as_ref().err());
        result
    }

    /// Something countable that is part of it; `total` is 0 where nobody knows.
    pub(crate) fn part(&self, name: &str, total: u64) -> Part {
        let part = Part {
            task: self.clone(),
            name: name.to_owned(),
            total,
            started: Timestamp::now(),
            current: AtomicU64::new(0),
            reported: AtomicU64::new(0),
        };
        part.report(0, false);
        part
    }

    /// A part that is done as soon as it is said.
    pub(crate) fn done(&self, name: &str) {
        self.part(name, 0).done();
    }

    /// Output of the step. Waits until there is room for it: see [`EventSender::send_log`].
    pub(crate) fn log(&self, stream: Stream, data: Vec<u8>) {
        let vertex = self.vertex.digest.clone();
        self.events.send_log(Log { vertex, stream, data, timestamp: Timestamp::now() });
    }
}

/// See [`Task::part`].
#[derive(Debug)]
pub(crate) struct Part {
    task: Task,
    name: String,
    total: u64,
    started: Timestamp,
    current: AtomicU64,
    reported: AtomicU64,
}

impl Part {
    /// Says that so many units more are done.
    pub(crate) fn advance(&self, units: u64) {
        let current = self.current.fetch_add(units, Ordering::Relaxed) + units;
        let reported = self.reported.load(Ordering::Relaxed);
        if current - reported >= REPORT_EVERY {
            self.reported.store(current, Ordering::Relaxed);
            self.report(current, false);
        }
    }

    /// Says that it is done.
    pub(crate) fn done(&self) {
        self.report(self.current.load(Ordering::Relaxed).max(self.total), true);
    }

    fn report(&self, current: u64, done: bool) {
        let now = Timestamp::now();
        self.task.events.send(Event::Status(VertexStatus {
            id: self.name.clone(),
            vertex: self.task.vertex.digest.clone(),
            name: String::new(),
            total: self.total,
            current,
            timestamp: Some(now),
            started: Some(self.started),
            completed: done.then_some(now),
        }));
    }
}

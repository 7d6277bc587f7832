//! What a driver says while it works: one vertex, and a line of it for each thing that is done.

use jiff::Timestamp;
use rbx_oci::Digest;
use rbx_request::{Event, EventSender, Vertex, VertexStatus};

use crate::error::DriverError;

/// A vertex that is worked on. One that is dropped before it ended was cancelled.
#[derive(Debug)]
pub(crate) struct Progress {
    events: EventSender,
    vertex: Vertex,
}

impl Progress {
    /// Starts a vertex of this name, about a container or an address.
    pub(crate) fn start(events: &EventSender, name: &str, about: &str) -> Self {
        let vertex = Vertex {
            digest: Digest::sha256_of(format!("{about} {name}").as_bytes()).to_string(),
            name: name.to_owned(),
            started: Some(Timestamp::now()),
            ..Vertex::default()
        };
        events.send(Event::Vertex(vertex.clone()));
        Self { events: events.clone(), vertex }
    }

    /// Ends it, and gives the result on.
    pub(crate) fn end<T>(mut self, result: Result<T, DriverError>) -> Result<T, DriverError> {
        self.complete(result.as_ref().err().map(DriverError::reason));
        result
    }

    fn complete(&mut self, error: Option<String>) {
        self.vertex.completed = Some(Timestamp::now());
        self.vertex.error = error;
        self.events.send(Event::Vertex(self.vertex.clone()));
    }

    /// Does something that has a line of its own.
    pub(crate) async fn step<T>(
        &self,
        name: &str,
        work: impl Future<Output = Result<T, DriverError>>,
    ) -> Result<T, DriverError> {
        let started = Timestamp::now();
        self.part(name, (0, 0), started, false);
        let result = work.await;
        self.part(name, (0, 0), started, true);
        result
    }

    /// Says something that is done.
    pub(crate) fn note(&self, text: &str) {
        self.part(text, (0, 0), Timestamp::now(), true);
    }

    /// Says how far a part is, in bytes done and in all.
    pub(crate) fn part(&self, name: &str, (current, total): (u64, u64), started: Timestamp, done: bool) {
        let now = Timestamp::now();
        self.events.send(Event::Status(VertexStatus {
            id: name.to_owned(),
            vertex: self.vertex.digest.clone(),
            name: String::new(),
            total,
            current,
            timestamp: Some(now),
            started: Some(started),
            completed: done.then_some(now),
        }));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.vertex.completed.is_none() {
            self.complete(Some("context canceled".to_owned()));
        }
    }
}

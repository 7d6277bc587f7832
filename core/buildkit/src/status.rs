//! The status stream of a build, as events.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rbx_request::{Event, EventSender, Log, ProgressGroup, Stream, Vertex, VertexStatus, Warning};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::Client;
use crate::error::without_codes;
use crate::proto::{control, google};

/// How long a stream may be quiet once the build has ended before it is taken to have ended, too.
const QUIET: Duration = Duration::from_secs(5);
/// The same where nothing was ever said.
const SILENT: Duration = Duration::from_secs(1);
/// How many vertices a build can have, and warnings.
const VERTICES: usize = 200_000;
/// The longest name of a vertex that is remembered.
const NAME: usize = 16 << 10;

/// The status stream of one build, followed on a thread of its own: whoever sends output waits for its reader.
/// Dropping this ends it.
pub(crate) struct Following {
    names: Names,
    task: JoinHandle<()>,
    /// Told when the build has ended.
    ended: CancellationToken,
    /// Told when nothing more is wanted.
    _stop: DropGuard,
}

/// What vertices are called, by digest.
type Names = Arc<Mutex<HashMap<String, String>>>;

impl Following {
    /// Sends what the daemon says about a build to `events`. The build may be one that is yet to begin.
    pub(crate) fn start(client: &Client, reference: String, events: EventSender) -> Self {
        let names = Names::default();
        let (ended, stop) = (CancellationToken::new(), CancellationToken::new());
        let mut follower = Follower {
            names: names.clone(),
            warnings: 0,
            events,
            ended: ended.clone(),
            stop: stop.clone(),
            heard: false,
        };
        let mut control = client.control();
        let handle = client.network().handle().clone();
        let task = client.network().handle().spawn_blocking(move || {
            let request = control::StatusRequest { r#ref: reference };
            let stream = handle.block_on(follower.unless_ended(control.status(request)));
            let Some(Ok(stream)) = stream else { return };
            let mut stream = stream.into_inner();
            while let Some(Ok(Some(response))) = handle.block_on(follower.unless_ended(stream.message())) {
                follower.tell(response);
            }
        });
        Self { names, task, ended, _stop: stop.drop_guard() }
    }

    /// Waits for the last words about a build that has ended, and answers what its vertices are called. They may be
    /// many, and wait for their reader, until that is `enough`.
    pub(crate) async fn last_words(mut self, enough: impl Future<Output = ()>) -> HashMap<String, String> {
        self.ended.cancel();
        tokio::select! {
            // An error says that it panicked or that the connection's thread is gone: there is nothing to wait for.
            _ = &mut self.task => {}
            () = enough => {}
        }
        std::mem::take(&mut *self.names.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

struct Follower {
    names: Names,
    warnings: usize,
    events: EventSender,
    ended: CancellationToken,
    stop: CancellationToken,
    /// Something was said.
    heard: bool,
}

impl Follower {
    /// The result of `work`, unless the build has ended and it does not come.
    async fn unless_ended<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let quiet = async {
            self.ended.cancelled().await;
            tokio::time::sleep(if self.heard { QUIET } else { SILENT }).await;
        };
        tokio::select! {
            biased;
            result = work => Some(result),
            // Before the timer, which cannot be asked any more where the connection's thread has ended.
            () = self.stop.cancelled() => None,
            () = quiet => None,
        }
    }

    fn tell(&mut self, response: control::StatusResponse) {
        self.heard = true;
        self.events.wait_for_room();
        for event in as_events(response) {
            match event {
                Event::Log(log) => self.events.send_log(log),
                Event::Vertex(vertex) if !self.name(&vertex) => {}
                Event::Warning(_) if self.warnings == VERTICES => {}
                event => {
                    self.warnings += usize::from(matches!(event, Event::Warning(_)));
                    self.events.send(event);
                }
            }
        }
    }

    /// Remembers a vertex; not if there are too many.
    fn name(&self, vertex: &Vertex) -> bool {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let known = names.contains_key(&vertex.digest);
        if !known && names.len() < VERTICES {
            let name = &vertex.name[..vertex.name.floor_char_boundary(NAME)];
            names.insert(vertex.digest.clone(), name.to_owned());
            return true;
        }
        known
    }
}

/// What a daemon says, vertices first, since the rest is about them.
pub(crate) fn as_events(response: control::StatusResponse) -> impl Iterator<Item = Event> {
    let vertices = response.vertexes.into_iter().map(|vertex| Event::Vertex(vertex_event(vertex)));
    let statuses = response.statuses.into_iter().map(|status| Event::Status(status_event(status)));
    let logs = response.logs.into_iter().map(|log| Event::Log(log_event(log)));
    let warnings = response.warnings.into_iter().map(|warning| Event::Warning(warning_event(warning)));
    vertices.chain(statuses).chain(logs).chain(warnings)
}

/// A time, if it is one.
pub(crate) fn time(time: Option<google::Timestamp>) -> Option<Timestamp> {
    let time = time?;
    Timestamp::new(time.seconds, time.nanos).ok()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn vertex_event(vertex: control::Vertex) -> Vertex {
    let group = vertex.progress_group;
    let group = group.map(|group| ProgressGroup { id: group.id, name: group.name, weak: group.weak });
    Vertex {
        digest: vertex.digest,
        inputs: vertex.inputs,
        name: vertex.name,
        started: time(vertex.started),
        completed: time(vertex.completed),
        cached: vertex.cached,
        error: Some(without_codes(vertex.error)).filter(|error| !error.is_empty()),
        progress_group: group,
    }
}

fn status_event(status: control::VertexStatus) -> VertexStatus {
    VertexStatus {
        id: status.id,
        vertex: status.vertex,
        name: status.name,
        total: status.total.try_into().unwrap_or_default(),
        current: status.current.try_into().unwrap_or_default(),
        timestamp: time(status.timestamp),
        started: time(status.started),
        completed: time(status.completed),
    }
}

fn log_event(log: control::VertexLog) -> Log {
    Log {
        vertex: log.vertex,
        stream: if log.stream == 2 { Stream::Stderr } else { Stream::Stdout },
        data: log.msg,
        timestamp: time(log.timestamp).unwrap_or_else(Timestamp::now),
    }
}

fn warning_event(warning: control::VertexWarning) -> Warning {
    let info = warning.info.unwrap_or_default();
    let line = |position: Option<crate::proto::pb::Position>| {
        position.and_then(|position| u32::try_from(position.line).ok()).unwrap_or_default()
    };
    Warning {
        vertex: warning.vertex,
        level: warning.level.try_into().unwrap_or_default(),
        short: text(&warning.short),
        detail: warning.detail.iter().map(|line| text(line)).collect(),
        url: warning.url,
        file: info.filename,
        lines: warning.ranges.into_iter().map(|range| (line(range.start), line(range.end))).collect(),
        source: text(&info.data),
    }
}

#[cfg(test)]
mod tests {
    use rbx_request::events;

    use super::*;

    fn follower(events: EventSender) -> Follower {
        let (names, token) = (Names::default(), CancellationToken::new());
        Follower { names, warnings: 0, events, ended: token.clone(), stop: token, heard: false }
    }

    #[tokio::test]
    async fn output_waits_for_its_reader() {
        let (sender, mut receiver) = events();
        let log =
            control::VertexLog { msg: vec![b'x'; 64 << 10], stream: 2, ..control::VertexLog::default() };
        let response = control::StatusResponse { logs: vec![log; 64], ..control::StatusResponse::default() };
        let telling = std::thread::spawn(move || follower(sender).tell(response));
        // As long as nobody reads, this ends at no time.
        std::thread::sleep(Duration::from_millis(50));
        assert!(!telling.is_finished());
        let mut batch = Vec::new();
        while receiver.recv_many(&mut batch, 1).await > 0 {}
        telling.join().unwrap();
        let stderr = |event: &&Event| matches!(event, Event::Log(log) if log.stream == Stream::Stderr);
        assert_eq!(batch.iter().filter(stderr).count(), 64);
    }

    #[tokio::test]
    async fn states_have_all_that_the_daemon_says() {
        let (sender, mut receiver) = events();
        let at = |seconds| Some(google::Timestamp { seconds, nanos: 5 });
        let range = |first, last| crate::proto::pb::Range {
            start: Some(crate::proto::pb::Position { line: first, character: 0 }),
            end: Some(crate::proto::pb::Position { line: last, character: 0 }),
        };
        let vertex = control::Vertex {
            digest: "sha256:a".to_owned(),
            inputs: vec!["sha256:b".to_owned()],
            name: "[1/2] RUN x".to_owned(),
            cached: true,
            started: at(1),
            // No time that there is.
            completed: at(i64::MAX),
            error: "failed to copy: rpc error: code = Unknown desc = no".to_owned(),
            progress_group: Some(crate::proto::pb::ProgressGroup {
                id: "g".to_owned(),
                name: "group".to_owned(),
                weak: true,
            }),
        };
        let status = control::VertexStatus {
            id: "layer".to_owned(),
            vertex: "sha256:a".to_owned(),
            current: -1,
            total: 7,
            timestamp: at(2),
            ..control::VertexStatus::default()
        };
        let warning = control::VertexWarning {
            vertex: "sha256:a".to_owned(),
            level: 1,
            short: b"short \xff".to_vec(),
            detail: vec![b"detail".to_vec()],
            url: "https://x".to_owned(),
            info: Some(crate::proto::pb::SourceInfo {
                filename: "Dockerfile".to_owned(),
                data: b"FROM a".to_vec(),
                ..crate::proto::pb::SourceInfo::default()
            }),
            ranges: vec![range(1, 2), range(-1, 4)],
        };
        follower(sender).tell(control::StatusResponse {
            vertexes: vec![vertex],
            statuses: vec![status],
            logs: Vec::new(),
            warnings: vec![warning],
        });
        let mut batch = Vec::new();
        while receiver.recv_many(&mut batch, 10).await > 0 {}
        let json = serde_json::to_string(&rbx_request::solve_status(&batch)).unwrap();
        let expected = concat!(
            r#"{"vertexes":[{"digest":"sha256:a","inputs":["sha256:b"],"name":"[1/2] RUN x","#,
            r#""started":"1970-01-01T00:00:01.000000005Z","cached":true,"error":"failed to copy: no","#,
            r#""progressGroup":{"id":"g","name":"group","weak":true}}],"#,
            r#""statuses":[{"id":"layer","vertex":"sha256:a","total":7,"current":0,"#,
            r#""timestamp":"1970-01-01T00:00:02.000000005Z"}],"#,
            r#""warnings":[{"vertex":"sha256:a","level":1,"short":"c2hvcnQg77+9","detail":["ZGV0YWls"],"#,
            r#""url":"https://x","sourceInfo":{"filename":"Dockerfile","data":"RlJPTSBh"},"#,
            r#""range":[{"start":{"line":1},"end":{"line":2}},{"start":{},"end":{"line":4}}]}]}"#
        );
        assert_eq!(json, expected);
    }
}

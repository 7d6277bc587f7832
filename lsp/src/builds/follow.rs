//! What a running build says: its events, and how far it is.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};

use rbx_progress::{Colors, Mode, Options, Summary, display};
use rbx_request::{Event, EventSender, Vertex, events, parse_status};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::outlook::{Done, State};

/// Longest line that is read.
const LINE_LIMIT: u64 = 16 << 20;
/// How many of the last lines are kept that are no events, and how much of each.
const KEPT_LINES: usize = 20;
const KEPT_COLUMNS: usize = 1000;
/// How many steps of a build are remembered.
const MOST_STEPS: usize = 20_000;

/// How far a build is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Position {
    /// Steps that have ended, without what comes before the plan.
    pub(crate) done: usize,
    /// Steps that are known, without those, too.
    pub(crate) all: usize,
    /// The step that began last of those that run.
    pub(crate) step: Option<String>,
}

/// What was seen of a build beside what is shown.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The last lines that are no events.
    pub(crate) others: Vec<String>,
    /// What became of the steps that ended.
    pub(crate) done: Vec<Done>,
}

/// Follows a build on threads of its own until it says no more.
pub(crate) struct Following {
    /// What is to be shown of it, a few lines at a time.
    pub(crate) log: mpsc::Receiver<String>,
    /// How far it is.
    pub(crate) position: watch::Receiver<Position>,
    reading: JoinHandle<Seen>,
    showing: JoinHandle<Summary>,
}

impl Following {
    /// Begins to read what a build writes with `--progress=rawjson`.
    pub(crate) fn begin(errors: impl Read + Send + 'static) -> Self {
        // Of little room: who does not read slows the build's steps down, as a slow terminal does.
        let (lines, log) = mpsc::channel(4);
        let (moved, position) = watch::channel(Position::default());
        let (sender, receiver) = events();
        let reading = tokio::task::spawn_blocking(move || read(errors, &sender, &moved));
        let runtime = Handle::current();
        let showing = tokio::task::spawn_blocking(move || {
            let options = Options { colors: Colors::none(), ..Options::default() };
            runtime.block_on(display(Mode::Plain, receiver, &mut Lines(lines), &options))
        });
        Self { log, position, reading, showing }
    }

    /// What was seen, and what was said besides, once nothing is said any more.
    pub(crate) async fn end(self) -> (Summary, Seen) {
        // Where nobody reads the log, nobody waits for that.
        drop(self.log);
        (self.showing.await.unwrap_or_default(), self.reading.await.unwrap_or_default())
    }
}

/// Where the log is written.
struct Lines(mpsc::Sender<String>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes).trim_end().to_owned();
        // The display blocks its thread, but does so inside of the runtime, where a channel's own way of blocking is
        // refused, and where nobody would give it a new budget of messages.
        let sending = tokio::task::unconstrained(self.0.send(text));
        futures::executor::block_on(sending).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads events and tells of them; answers what became of steps, and the last lines that are no events.
fn read(errors: impl Read, events: &EventSender, moved: &watch::Sender<Position>) -> Seen {
    let mut errors = BufReader::new(errors);
    let mut vertices = Vertices::default();
    let mut others: Vec<String> = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        if !matches!(errors.by_ref().take(LINE_LIMIT).read_until(b'\n', &mut line), Ok(1..)) {
            return Seen { others, done: vertices.ended };
        }
        let Ok(said) = parse_status(&line) else {
            let text: String = String::from_utf8_lossy(&line).trim_end().chars().take(KEPT_COLUMNS).collect();
            if others.len() == KEPT_LINES {
                others.remove(0);
            }
            others.push(rbx_progress::clean(&text));
            continue;
        };
        for event in said {
            if let Event::Vertex(vertex) = &event {
                vertices.take(vertex);
            }
            match event {
                Event::Log(log) => events.send_log(log),
                event => events.send(event),
            }
        }
        moved.send_if_modified(|position| vertices.moved(position));
    }
}

/// Whether a vertex is one of those that are done before it is known how many there are.
fn comes_before_plan(name: &str) -> bool {
    name.starts_with("[internal]") || name.contains("] load metadata")
}

/// The vertices that were seen.
#[derive(Default)]
struct Vertices {
    known: HashMap<String, bool>,
    running: Vec<(String, String)>,
    done: usize,
    ended: Vec<Done>,
}

impl Vertices {
    fn take(&mut self, vertex: &Vertex) {
        let ended = vertex.completed.is_some();
        if !comes_before_plan(&vertex.name) {
            let was = self.known.insert(vertex.digest.clone(), ended).unwrap_or(false);
            self.done = self.done + usize::from(ended) - usize::from(was);
            // A vertex that was not begun was cancelled with the build.
            let begun = vertex.started.is_some() || vertex.cached;
            if ended && !was && begun && self.ended.len() < MOST_STEPS {
                let state = match vertex {
                    Vertex { error: Some(_), .. } => State::Fails,
                    Vertex { cached: true, .. } => State::Cached,
                    _ => State::Run,
                };
                self.ended.push(Done { name: rbx_progress::clean(&vertex.name), state });
            }
        }
        self.running.retain(|(digest, _)| *digest != vertex.digest);
        if vertex.started.is_some() && !ended {
            self.running.push((vertex.digest.clone(), rbx_progress::clean(&vertex.name)));
        }
    }

    fn moved(&self, position: &mut Position) -> bool {
        let step = self.running.last().map(|(_, name)| name.clone());
        let now = Position { done: self.done, all: self.known.len(), step };
        let moved = now != *position;
        *position = now;
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_counted_once_and_the_newest_is_named() {
        let (sender, _receiver) = events();
        let (moved, position) = watch::channel(Position::default());
        let at = "2024-05-06T07:08:09Z";
        let vertex = |digest: &str, started: bool, completed: bool| {
            let mut vertex = serde_json::json!({ "digest": digest, "name": format!("step {digest}\u{7}") });
            if started {
                vertex["started"] = at.into();
            }
            if completed {
                vertex["completed"] = at.into();
            }
            format!("{}\n", serde_json::json!({ "vertexes": [vertex] }))
        };
        let text = [
            vertex("a", false, false),
            vertex("b", true, false),
            vertex("a", true, false),
            vertex("a", true, true),
            vertex("a", true, true),
            vertex("c", true, true).replace("step c", "[internal] load .dockerignore"),
            "{}\n".to_owned(),
            "ERROR: failed\u{1b}[2J\r\n".to_owned(),
        ]
        .concat();
        let Seen { others, done } = read(text.as_bytes(), &sender, &moved);
        assert_eq!(done, [Done { name: "step a".to_owned(), state: State::Run }]);
        let seen = position.borrow().clone();
        assert_eq!(seen, Position { done: 1, all: 2, step: Some("step b".to_owned()) });
        assert_eq!(others, ["ERROR: failed[2J"]);
    }

    #[test]
    fn of_what_is_no_event_the_end_is_kept() {
        let many: Vec<String> = (0..100).map(|i| format!("line {i} {}", "x".repeat(5000))).collect();
        let (sender, _receiver) = events();
        let (moved, _position) = watch::channel(Position::default());
        let Seen { others, .. } = read(many.join("\n").as_bytes(), &sender, &moved);
        assert_eq!(others.len(), KEPT_LINES);
        assert!(others[19].starts_with("line 99 x") && others[19].len() == KEPT_COLUMNS, "{}", others[19]);
    }
}

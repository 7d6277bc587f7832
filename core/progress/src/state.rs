//! The model of a build: what its events say so far.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU16;

use jiff::{SignedDuration, Timestamp};
use rbx_request::{Event, Vertex as VertexEvent, VertexStatus, Warning};

use crate::log::{Carry, Log, chunks};
use crate::text::clean;

/// Bytes of output that are kept for a screen at the next picture.
const UNDRAWN: usize = 32 * 1024;

/// What one event changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// The vertex itself: it started, ended, failed.
    Vertex(usize),
    /// One of a vertex's statuses.
    Status { vertex: usize, status: usize },
    /// A vertex's output.
    Log(usize),
    /// A vertex got a warning.
    Warning(usize),
}

/// The model of a build.
#[derive(Default)]
pub(crate) struct State {
    vertices: Vec<Vertex>,
    /// Vertices in the order in which they started, or began to be shown.
    started: Vec<usize>,
    /// By digest; members of a group stand for the group.
    by_digest: HashMap<String, usize>,
    by_group: HashMap<String, usize>,
    warnings: Vec<Warning>,
    /// When the build began, by the builder's clock.
    began: Option<Timestamp>,
    /// What this machine's clock is ahead of the builder's.
    ahead: SignedDuration,
    /// Rows and columns of the screens on which running steps write; none without them.
    pane: Option<(NonZeroU16, NonZeroU16)>,
}

/// One step, or several that are shown as one.
#[derive(Default)]
pub(crate) struct Vertex {
    /// Identity: the digest, or the id of the group.
    pub(crate) digest: String,
    /// What people read, safe to print.
    pub(crate) name: String,
    /// All of it came from the cache.
    pub(crate) cached: bool,
    /// Why it failed.
    pub(crate) error: Option<String>,
    /// Parts that have begun at some time, in the order in which they were announced.
    pub(crate) statuses: Vec<Status>,
    /// Short texts of its warnings.
    pub(crate) warnings: Vec<String>,
    /// Its output.
    pub(crate) log: Log,
    /// Its output as a terminal would show it, but for what is in `undrawn`.
    pub(crate) pane: Option<vt100::Parser>,
    /// The end of its output that is not on its screen yet.
    undrawn: Vec<u8>,
    /// How many bytes it wrote.
    pub(crate) output: u64,
    carry: Carry,
    /// When it ran: from, by whom (a member of the group), until.
    runs: BTreeMap<(Timestamp, String), Option<Timestamp>>,
    by_status: HashMap<String, usize>,
    /// People see it: it started, and not only with members that are no reason to.
    shown: bool,
    /// Members of a group with what matters of their newest event.
    members: BTreeMap<String, (bool, Option<String>)>,
}

/// A countable part of a vertex.
#[derive(Debug, Default)]
pub(crate) struct Status {
    /// What people read, safe to print.
    pub(crate) id: String,
    pub(crate) current: u64,
    pub(crate) total: u64,
    pub(crate) timestamp: Option<Timestamp>,
    pub(crate) started: Option<Timestamp>,
    pub(crate) completed: Option<Timestamp>,
}

impl Vertex {
    /// Whether it ran at some time.
    pub(crate) fn is_started(&self) -> bool {
        !self.runs.is_empty()
    }

    /// Whether it ran and does no more.
    pub(crate) fn is_completed(&self) -> bool {
        self.is_started() && self.runs.values().all(Option::is_some)
    }

    /// When it ended, by the builder's clock.
    pub(crate) fn completed_at(&self) -> Option<Timestamp> {
        self.runs.values().copied().max().flatten().filter(|_| self.is_completed())
    }

    /// Whether it was stopped because something else failed or the user wanted so.
    pub(crate) fn is_canceled(&self) -> bool {
        self.error.as_deref().is_some_and(|error| error.ends_with("context canceled"))
    }

    /// Why it failed, unless it was merely cancelled.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.error.as_deref().filter(|_| !self.is_canceled())
    }

    /// How long it ran, overlaps counted once. `now` is by the builder's clock.
    pub(crate) fn elapsed(&self, now: Timestamp) -> SignedDuration {
        let mut total = SignedDuration::ZERO;
        let mut reached = Timestamp::MIN;
        for ((from, _), until) in &self.runs {
            let until = until.unwrap_or_else(|| now.max(*from));
            let from = (*from).max(reached);
            if until > from {
                total = total.saturating_add(until.duration_since(from));
                reached = until;
            }
        }
        total
    }

    /// When the newest of its runs that do not touch began.
    fn last_start(&self) -> Option<Timestamp> {
        let mut start: Option<Timestamp> = None;
        let mut reached = Timestamp::MIN;
        for ((from, _), until) in &self.runs {
            if start.is_none() || *from > reached {
                start = Some(*from);
            }
            reached = reached.max(until.unwrap_or(Timestamp::MAX));
        }
        start
    }
}

impl State {
    /// Gives steps screens of so many rows and columns to write on, or changes their size.
    pub(crate) fn resize_panes(&mut self, rows: u16, columns: u16) {
        let size = (NonZeroU16::new(rows).unwrap_or(NonZeroU16::MIN), pane_columns(columns));
        if self.pane == Some(size) {
            return;
        }
        self.pane = Some(size);
        for pane in self.vertices.iter_mut().filter_map(|vertex| vertex.pane.as_mut()) {
            pane.set_size(size.0, size.1);
        }
    }

    /// Brings the screens of running steps up to date. Between two pictures nobody looks at them.
    pub(crate) fn draw_panes(&mut self) {
        let Some((rows, columns)) = self.pane else {
            return;
        };
        for vertex in &mut self.vertices {
            let undrawn = std::mem::take(&mut vertex.undrawn);
            if vertex.is_completed() {
                vertex.pane = None;
            } else if !undrawn.is_empty() {
                draw(vertex.pane.get_or_insert_with(|| vt100::Parser::new(rows, columns, 0)), &undrawn);
            }
        }
    }

    /// Folds one event in. `now` is this machine's clock. Events about unknown vertices change nothing.
    pub(crate) fn apply(&mut self, event: Event, now: Timestamp) -> Option<Change> {
        match event {
            Event::Vertex(vertex) => self.apply_vertex(vertex, now),
            Event::Status(status) => self.apply_status(&status),
            Event::Log(log) => {
                let index = *self.by_digest.get(&log.vertex)?;
                let vertex = &mut self.vertices[index];
                let at = vertex
                    .last_start()
                    .map_or(SignedDuration::ZERO, |start| log.timestamp.duration_since(start));
                vertex.output += log.data.len() as u64;
                let data = vertex.carry.take(&log.data);
                vertex.log.write(&data, at);
                if self.pane.is_some() {
                    vertex.undrawn.extend_from_slice(&data);
                    drop_scrolled_off(&mut vertex.undrawn);
                }
                Some(Change::Log(index))
            }
            Event::Warning(warning) => {
                let index = self.by_digest.get(&warning.vertex).copied();
                if let Some(index) = index {
                    self.vertices[index].warnings.push(clean(&warning.short));
                }
                self.warnings.push(warning);
                index.map(Change::Warning)
            }
        }
    }

    fn apply_vertex(&mut self, event: VertexEvent, now: Timestamp) -> Option<Change> {
        if let Some(started) = event.started
            && self.began.is_none()
        {
            self.began = Some(started);
            self.ahead = now.duration_since(started);
        }

        let (index, is_group) = match &event.progress_group {
            Some(group) => {
                let known = self.by_group.get(&group.id).copied();
                let index = known.unwrap_or_else(|| self.add(&group.id, &group.name));
                self.by_group.insert(group.id.clone(), index);
                (index, true)
            }
            None => match self.by_digest.get(&event.digest) {
                Some(&index) => (index, false),
                None => (self.add(&event.digest, &event.name), false),
            },
        };
        self.by_digest.insert(event.digest.clone(), index);

        let vertex = &mut self.vertices[index];
        let was_started = vertex.is_started();
        let weak = event.progress_group.as_ref().is_some_and(|group| group.weak);
        let error = event.error.filter(|error| !error.is_empty());
        let before = (vertex.cached, vertex.error.clone());
        if is_group {
            vertex.members.insert(event.digest.clone(), (event.cached, error));
            vertex.cached = vertex.members.values().all(|(cached, _)| *cached);
            vertex.error = vertex.members.values().find_map(|(_, error)| error.clone());
        } else if event.started.is_some() || !was_started {
            // A vertex is announced again, without times, by builds that share it: that takes nothing back.
            vertex.cached = event.cached;
            vertex.error = error;
            vertex.name = clean(&event.name);
        }
        let started = event.started?;
        let ran = vertex.runs.insert((started, event.digest), event.completed);
        let newly_shown = !vertex.shown && (!weak || vertex.error.is_some());
        vertex.shown |= newly_shown;
        if newly_shown {
            self.started.push(index);
        }
        let vertex = &self.vertices[index];
        if newly_shown || !vertex.shown {
            return vertex.shown.then_some(Change::Vertex(index));
        }
        let same = ran == Some(event.completed) && before.0 == vertex.cached && before.1 == vertex.error;
        (!same).then_some(Change::Vertex(index))
    }

    fn apply_status(&mut self, event: &VertexStatus) -> Option<Change> {
        let index = *self.by_digest.get(&event.vertex)?;
        let vertex = &mut self.vertices[index];
        let status = match vertex.by_status.get(&event.id) {
            Some(&status) => status,
            None if event.started.is_none() => return None,
            None => {
                vertex.by_status.insert(event.id.clone(), vertex.statuses.len());
                vertex.statuses.push(Status { id: clean(&event.id), ..Status::default() });
                vertex.statuses.len() - 1
            }
        };
        let slot = &mut vertex.statuses[status];
        slot.current = event.current;
        slot.total = event.total;
        slot.timestamp = event.timestamp;
        slot.started = event.started.or(slot.started);
        slot.completed = event.completed;
        Some(Change::Status { vertex: index, status })
    }

    fn add(&mut self, digest: &str, name: &str) -> usize {
        self.vertices.push(Vertex { digest: digest.to_owned(), name: clean(name), ..Vertex::default() });
        self.vertices.len() - 1
    }

    /// All vertices, by index.
    pub(crate) fn vertices(&self) -> &[Vertex] {
        &self.vertices
    }

    /// One vertex's output, to be trimmed.
    pub(crate) fn log_mut(&mut self, index: usize) -> &mut Log {
        &mut self.vertices[index].log
    }

    /// The indices of the vertices that have run, in the order in which they started.
    pub(crate) fn started(&self) -> &[usize] {
        &self.started
    }

    /// The warnings so far, as they came.
    pub(crate) fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// A time of this machine's clock by the builder's clock.
    pub(crate) fn builder_time(&self, now: Timestamp) -> Timestamp {
        now.saturating_sub(self.ahead).unwrap_or(now)
    }

    /// How long the build has been going on.
    pub(crate) fn elapsed(&self, now: Timestamp) -> SignedDuration {
        self.began.map_or(SignedDuration::ZERO, |began| self.builder_time(now).duration_since(began))
    }
}

/// Screens of less are not worth having, and the emulator is tried at these.
fn pane_columns(columns: u16) -> NonZeroU16 {
    const LEAST: NonZeroU16 = NonZeroU16::new(10).expect("not zero");
    NonZeroU16::new(columns).unwrap_or(LEAST).max(LEAST)
}

/// Drops the beginning of output, which has left the screen when the rest is drawn.
fn drop_scrolled_off(output: &mut Vec<u8>) {
    if output.len() > 2 * UNDRAWN {
        let cut = output.len() - UNDRAWN;
        let line = output[cut..].iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        output.drain(..cut + line);
    }
}

/// Writes a step's output on its screen. Steps write to pipes, so nothing has put carriage returns before their
/// line feeds.
fn draw(pane: &mut vt100::Parser, data: &[u8]) {
    for line in data.split_inclusive(|byte| *byte == b'\n') {
        let (text, end) = line.split_at(line.len() - usize::from(line.ends_with(b"\n")));
        chunks(text).for_each(|chunk| pane.process(chunk));
        if !end.is_empty() {
            pane.process(b"\r\n");
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;
    use rbx_request::{Log as LogEvent, ProgressGroup, Stream};

    use super::*;

    /// So many milliseconds after an arbitrary point in time.
    pub(crate) fn at(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(1_700_000_000_000 + ms).unwrap()
    }

    pub(crate) fn vertex(
        digest: &str,
        name: &str,
        started: Option<i64>,
        completed: Option<i64>,
    ) -> VertexEvent {
        VertexEvent {
            digest: digest.to_owned(),
            name: name.to_owned(),
            started: started.map(at),
            completed: completed.map(at),
            ..VertexEvent::default()
        }
    }

    pub(crate) fn log(digest: &str, ms: i64, text: &str) -> Event {
        Event::Log(LogEvent {
            vertex: digest.to_owned(),
            stream: Stream::Stdout,
            data: text.as_bytes().to_vec(),
            timestamp: at(ms),
        })
    }

    pub(crate) fn status(
        digest: &str,
        id: &str,
        amounts: (u64, u64),
        times: (i64, i64),
        done: bool,
    ) -> Event {
        Event::Status(VertexStatus {
            id: id.to_owned(),
            vertex: digest.to_owned(),
            current: amounts.0,
            total: amounts.1,
            timestamp: Some(at(times.1)),
            started: Some(at(times.0)),
            completed: done.then(|| at(times.1)),
            ..VertexStatus::default()
        })
    }

    pub(crate) fn member(mut vertex: VertexEvent, group: &str) -> VertexEvent {
        vertex.progress_group =
            Some(ProgressGroup { id: group.to_owned(), name: group.to_owned(), weak: false });
        vertex
    }

    fn elapsed_ms(state: &State, now: i64) -> i128 {
        state.vertices()[0].elapsed(at(now)).as_millis()
    }

    #[test]
    fn runs_that_overlap_count_once() {
        let mut state = State::default();
        for (from, until) in [(0, 100), (50, 150), (60, 70), (300, 400)] {
            let event = vertex("a", "A", Some(from), Some(until));
            assert_eq!(state.apply(Event::Vertex(event), at(0)), Some(Change::Vertex(0)));
        }
        assert_eq!(elapsed_ms(&state, 1000), 250);
        assert_eq!(state.vertices()[0].last_start(), Some(at(300)));
        assert!(state.vertices()[0].is_completed());
        state.apply(Event::Vertex(vertex("a", "A", Some(350), None)), at(0));
        assert_eq!(elapsed_ms(&state, 1000), 850);
        assert!(!state.vertices()[0].is_completed());
    }

    #[test]
    fn announcing_again_changes_nothing() {
        let mut state = State::default();
        let done = VertexEvent { cached: true, ..vertex("a", "A", Some(0), Some(1)) };
        assert_eq!(state.apply(Event::Vertex(vertex("a", "A", None, None)), at(0)), None);
        assert!(state.started().is_empty());
        assert_eq!(state.apply(Event::Vertex(done.clone()), at(0)), Some(Change::Vertex(0)));
        assert_eq!(state.apply(Event::Vertex(done), at(0)), None);
        assert_eq!(state.apply(Event::Vertex(vertex("a", "A", None, None)), at(0)), None);
        assert!(state.vertices()[0].cached);
        assert_eq!(state.started(), [0]);
        assert_eq!(state.apply(log("unknown", 0, "x"), at(0)), None);
    }

    #[test]
    fn a_group_is_shown_when_one_of_its_own_starts() {
        let weak = |mut vertex: VertexEvent| {
            vertex = member(vertex, "G");
            vertex.progress_group.as_mut().unwrap().weak = true;
            Event::Vertex(vertex)
        };
        let mut state = State::default();
        assert_eq!(state.apply(weak(vertex("a", "A", Some(0), Some(10))), at(0)), None);
        assert!(state.started().is_empty());
        let own = Event::Vertex(member(vertex("b", "B", Some(10), Some(20)), "G"));
        assert_eq!(state.apply(own, at(0)), Some(Change::Vertex(0)));
        assert_eq!(state.started(), [0]);
        assert_eq!(elapsed_ms(&state, 1000), 20);
        let failed = weak(VertexEvent { error: Some("no".to_owned()), ..vertex("c", "C", Some(0), Some(1)) });
        let mut state = State::default();
        assert_eq!(state.apply(failed, at(0)), Some(Change::Vertex(0)));
    }

    #[test]
    fn a_group_is_one_vertex() {
        let mut state = State::default();
        let first = VertexEvent { cached: true, ..member(vertex("a", "A", Some(0), Some(10)), "G") };
        state.apply(Event::Vertex(first), at(0));
        assert!(state.vertices()[0].cached);
        state.apply(Event::Vertex(member(vertex("b", "B", Some(20), None), "G")), at(0));
        assert!(!state.vertices()[0].cached && !state.vertices()[0].is_completed());
        let failed =
            VertexEvent { error: Some("no".into()), ..member(vertex("b", "B", Some(20), Some(30)), "G") };
        state.apply(Event::Vertex(failed), at(0));
        assert_eq!(state.apply(log("b", 25, "x\n"), at(0)), Some(Change::Log(0)));
        assert_eq!(state.vertices().len(), 1);
        assert_eq!(state.vertices()[0].failure(), Some("no"));
        assert_eq!(elapsed_ms(&state, 1000), 20);
        assert_eq!(state.vertices()[0].log.lines_from(0).next().unwrap().at.as_millis(), 5);
    }

    #[test]
    fn clocks_may_differ() {
        let mut state = State::default();
        state.apply(Event::Vertex(vertex("a", "A", Some(0), None)), at(3_600_000));
        assert_eq!(state.elapsed(at(3_601_500)).as_millis(), 1500);
        assert_eq!(state.builder_time(at(3_601_500)), at(1500));
    }

    #[test]
    fn statuses_wait_for_their_start() {
        let mut state = State::default();
        state.apply(Event::Vertex(vertex("a", "A", Some(0), None)), at(0));
        let mut waiting = VertexStatus { id: "x".into(), vertex: "a".into(), ..VertexStatus::default() };
        assert_eq!(state.apply(Event::Status(waiting.clone()), at(0)), None);
        waiting.started = Some(at(1));
        let change = state.apply(Event::Status(waiting), at(0));
        assert_eq!(change, Some(Change::Status { vertex: 0, status: 0 }));
    }

    #[test]
    fn screens_show_the_end_of_much_output() {
        let mut state = State::default();
        state.resize_panes(3, 20);
        state.apply(Event::Vertex(vertex("a", "A", Some(0), None)), at(0));
        for i in 0..100_000 {
            state.apply(log("a", 0, &format!("line {i}\n")), at(0));
            assert!(state.vertices()[0].undrawn.len() <= 2 * UNDRAWN);
        }
        state.draw_panes();
        let shown = |state: &State| state.vertices()[0].pane.as_ref().map(|pane| pane.screen().contents());
        assert_eq!(shown(&state).as_deref(), Some("line 99998\nline 99999"));
        state.apply(log("a", 0, "end"), at(0));
        state.apply(Event::Vertex(vertex("a", "A", Some(0), Some(1))), at(0));
        state.draw_panes();
        assert_eq!(shown(&state), None, "the screen of a step that has ended");
    }

    proptest! {
        #[test]
        fn no_output_breaks_the_screen(
            chunks in proptest::collection::vec("(\x1b\\[[0-9;?]{0,6}[@-~]|[ -~ü構🐳\r\n\t\u{8}]|\x1b[ -~]|\\PC){0,30}", 0..12),
            rows in 0..8u16, columns in 0..40u16,
        ) {
            let mut state = State::default();
            state.resize_panes(rows, columns);
            state.apply(Event::Vertex(vertex("a", "A", Some(0), None)), at(0));
            for (i, chunk) in chunks.iter().enumerate() {
                state.apply(log("a", 0, chunk), at(0));
                state.draw_panes();
                if i % 3 == 2 {
                    state.resize_panes(rows + 1, columns / 2);
                }
            }
            if let Some(pane) = &state.vertices()[0].pane {
                for row in pane.screen().rows(0, u16::MAX) {
                    prop_assert!(!row.chars().any(char::is_control), "{:?}", row);
                }
            }
        }
    }
}

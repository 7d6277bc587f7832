//! Numbered lines, for logs and pipes.
//!
//! One step is printed at a time. Another takes its place when it ends, when others have waited for long, or
//! when it has had its fair share of the time.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;

use jiff::Timestamp;

use crate::log::without_colors;
use crate::options::{Colors, Options};
use crate::state::{Change, State, Status, Vertex};
use crate::text::{amount, clean, log_time};

/// A step is shown at least this long, in seconds, before another that is as busy takes its place.
const ANTI_FLICKER: f64 = 5.0;
/// A step that has something to say waits no longer than this, in seconds.
const MAX_DELAY: f64 = 10.0;
/// A status is printed again after so many seconds …
const MIN_TIME_DELTA: f64 = 5.0;
/// … or after this part of its total.
const MIN_PROGRESS_DELTA: f64 = 0.05;
/// How many of its last lines are printed again when a step fails.
pub(crate) const LOG_TAIL: usize = 10;
/// A step that has written so many bytes which are not printed yet takes the place of any other.
const MAX_UNPRINTED: u64 = 256 * 1024;
/// Bytes that are printed and not yet written.
const MAX_UNWRITTEN: usize = 256 * 1024;
/// Where names are cut if they are cut.
const NAME_LIMIT: usize = 72;

/// The renderer: what has been printed of which vertex.
pub(crate) struct Printer {
    out: String,
    header: Option<String>,
    no_trunc: bool,
    keep_colors: bool,
    shown: Vec<Shown>,
    current: Option<usize>,
    last_number: usize,
}

/// What has been printed of one vertex.
#[derive(Default)]
struct Shown {
    /// Its number; 0 before it is printed first.
    number: usize,
    /// It has something to say.
    changed: bool,
    /// Statuses that moved on.
    statuses: BTreeSet<usize>,
    /// What was printed last of a status: amount and time.
    last: HashMap<usize, (u64, Option<Timestamp>)>,
    /// How many of its warnings were printed.
    warnings: usize,
    /// How many of its lines were printed to the end.
    lines: u64,
    /// How much of the line after those was printed.
    offset: usize,
    /// How much of its output was seen when it was last printed.
    output: u64,
    /// How many events it had since it last gave way to another, and the time of the first.
    events: u32,
    since: Timestamp,
}

impl Printer {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            out: String::new(),
            header: options.header.clone(),
            no_trunc: options.no_trunc,
            keep_colors: options.colors != Colors::none(),
            shown: Vec::new(),
            current: None,
            last_number: 0,
        }
    }

    /// Takes note of a change; prints at once only if too much would have to be kept.
    pub(crate) fn note(&mut self, change: Change, state: &mut State, now: Timestamp) {
        self.shown.resize_with(state.vertices().len(), Shown::default);
        let index = match change {
            Change::Vertex(vertex)
            | Change::Status { vertex, .. }
            | Change::Log(vertex)
            | Change::Warning(vertex) => vertex,
        };
        let shown = &mut self.shown[index];
        if let Change::Status { status, .. } = change {
            shown.statuses.insert(status);
        }
        // A warning is printed along with what comes next; all of them are repeated in the end anyway.
        shown.changed |= !matches!(change, Change::Warning(_));
        if shown.events == 0 {
            shown.since = now;
        }
        shown.events = shown.events.saturating_add(1);
        if state.vertices()[index].output - shown.output > MAX_UNPRINTED {
            self.print(state, index, now);
        }
    }

    /// What was printed so far, if it is much.
    pub(crate) fn overflow(&mut self) -> String {
        if self.out.len() > MAX_UNWRITTEN { std::mem::take(&mut self.out) } else { String::new() }
    }

    /// Prints what there is to say, of the steps whose turn it is, and returns all that is to be written.
    pub(crate) fn update(&mut self, state: &mut State, now: Timestamp) -> String {
        self.shown.resize_with(state.vertices().len(), Shown::default);
        let current = self.current;
        let (mut completed, mut rest): (Vec<usize>, Vec<usize>) = (0..self.shown.len())
            .filter(|&i| self.shown[i].changed)
            .partition(|&i| state.vertices()[i].is_completed());

        // What has ended comes first, beginning with the current step.
        completed.sort_by_key(|&i| (Some(i) != current, state.vertices()[i].completed_at(), i));
        for &index in &completed {
            self.print(state, index, now);
        }
        if let Some(index) = self.choose(state, &mut rest, current, now) {
            self.print(state, index, now);
        }
        std::mem::take(&mut self.out)
    }

    /// Prints the current step if it goes on, and returns the one that is to take its place, if any.
    fn choose(
        &mut self,
        state: &mut State,
        rest: &mut Vec<usize>,
        current: Option<usize>,
        now: Timestamp,
    ) -> Option<usize> {
        if rest.is_empty() {
            // Show what is running, even if it has nothing to say.
            let running = |i: usize| state.vertices()[i].is_started() && !state.vertices()[i].is_completed();
            if self.current.is_some_and(running) {
                return None;
            }
            return state.started().iter().copied().find(|&i| running(i));
        }
        if let Some(index) = current.filter(|index| rest.contains(index)) {
            self.print(state, index, now);
        } else {
            rest.extend(self.current);
        }

        let waited = |i: usize| now.duration_since(self.shown[i].since).as_secs_f64().max(0.001);
        let speed = |i: usize| f64::from(self.shown[i].events) / waited(i);
        let over_limit = |i: usize| waited(i) > MAX_DELAY && Some(i) != self.current;
        let busiest = rest.iter().copied().max_by(|&a, &b| {
            over_limit(a).cmp(&over_limit(b)).then(speed(a).total_cmp(&speed(b))).then(b.cmp(&a))
        })?;
        let Some(current) = self.current else {
            return Some(busiest);
        };
        if over_limit(busiest) {
            return Some(busiest);
        }
        let all: f64 = rest.iter().map(|&i| speed(i)).sum();
        let share = speed(current) / all;
        (busiest != current && ANTI_FLICKER / (1.0 - share) < waited(current)).then_some(busiest)
    }

    /// Prints what there is to say of a vertex.
    fn print(&mut self, state: &mut State, index: usize, now: Timestamp) {
        let vertex = &state.vertices()[index];
        self.turn_to(state, index, now);
        let number = self.shown[index].number;
        self.shown[index].changed = false;

        let mut open_status = false;
        for status in std::mem::take(&mut self.shown[index].statuses) {
            let slot = &vertex.statuses[status];
            let shown = &mut self.shown[index];
            let skip = slot.completed.is_none()
                && shown.last.get(&status).is_some_and(|last| is_small_step(*last, slot));
            if skip {
                continue;
            }
            shown.last.insert(status, (slot.current, slot.timestamp));
            open_status |= slot.completed.is_none();
            self.end_open_line(vertex, index);
            let _ = writeln!(self.out, "#{number} {}", status_line(slot));
        }
        let warnings = std::mem::replace(&mut self.shown[index].warnings, vertex.warnings.len());
        for warning in &vertex.warnings[warnings..] {
            self.end_open_line(vertex, index);
            let _ = writeln!(self.out, "#{number} WARN: {warning}");
        }
        self.print_log(vertex, index);

        if vertex.is_completed() && !open_status {
            self.current = None;
            self.end_open_line(vertex, index);
            self.shown[index].events = 0;
            self.print_end(vertex, number, state.builder_time(now));
        }
        state.log_mut(index).trim(0, LOG_TAIL + 1);
    }

    /// Makes a vertex the current one.
    fn turn_to(&mut self, state: &State, index: usize, now: Timestamp) {
        if self.shown[index].number == 0 {
            self.last_number += 1;
            self.shown[index].number = self.last_number;
        }
        let previous = self.current.replace(index);
        if previous == Some(index) {
            return;
        }
        // It has its time from now on, however long it waited.
        self.shown[index].since = now;
        if let Some(previous) = previous {
            self.end_open_line(&state.vertices()[previous], previous);
            self.shown[previous].events = 0;
            let _ = writeln!(self.out, "#{} ...", self.shown[previous].number);
        }
        if let Some(header) = self.header.take() {
            let _ = writeln!(self.out, "#0 {}\n", clean(&header));
        } else if previous.is_some() || self.last_number > 1 {
            self.out.push('\n');
        }
        let name = &state.vertices()[index].name;
        let cut = name.floor_char_boundary(NAME_LIMIT);
        let number = self.shown[index].number;
        let _ = if self.no_trunc || cut == name.len() {
            writeln!(self.out, "#{number} {name}")
        } else {
            writeln!(self.out, "#{number} {}...", &name[..cut])
        };
    }

    fn print_log(&mut self, vertex: &Vertex, index: usize) {
        let shown = &mut self.shown[index];
        let number = shown.number;
        shown.output = vertex.output;
        let first = shown.lines.max(vertex.log.dropped());
        let count = vertex.log.count();
        for (i, line) in (first..).zip(vertex.log.lines_from(first)) {
            let is_open = i + 1 == count && vertex.log.is_open();
            if is_open && line.text.len() == shown.offset && shown.offset > 0 {
                break;
            }
            let rest = line.text.get(shown.offset..).unwrap_or_default();
            let rest = if self.keep_colors { rest.into() } else { without_colors(rest) };
            if shown.offset == 0 {
                let _ = write!(self.out, "#{number} {} ", log_time(line.at));
            }
            self.out.push_str(&rest);
            if is_open {
                shown.offset = line.text.len();
            } else {
                self.out.push('\n');
                shown.offset = 0;
                shown.lines = i + 1;
            }
        }
    }

    /// Ends a line of output that was printed before the step had ended it. If more of it comes, it is printed
    /// again from its beginning.
    fn end_open_line(&mut self, vertex: &Vertex, index: usize) {
        if std::mem::take(&mut self.shown[index].offset) == 0 {
            return;
        }
        let styled = vertex.log.lines_from(self.shown[index].lines).any(|line| line.text.contains('\x1b'));
        self.out.push_str(if styled && self.keep_colors { "\x1b[0m\n" } else { "\n" });
    }

    fn print_end(&mut self, vertex: &Vertex, number: usize, now: Timestamp) {
        let _ = match vertex.failure() {
            Some(error) => {
                let mut lines = error.lines();
                let _ = writeln!(self.out, "#{number} ERROR: {}", clean(lines.next().unwrap_or_default()));
                lines.try_for_each(|line| writeln!(self.out, "#{number} {}", clean(line)))
            }
            None if vertex.is_canceled() => writeln!(self.out, "#{number} CANCELED"),
            None if vertex.cached => writeln!(self.out, "#{number} CACHED"),
            None => writeln!(self.out, "#{number} DONE {:.1}s", vertex.elapsed(now).as_secs_f64()),
        };
    }
}

/// Whether a status has hardly moved since it was printed.
fn is_small_step((current, at): (u64, Option<Timestamp>), status: &Status) -> bool {
    #[expect(clippy::cast_precision_loss, reason = "compared with five percent")]
    let progress = match status.total {
        0 => 0.0,
        total => (status.current as f64 - current as f64) / total as f64,
    };
    let seconds = match (status.timestamp, at) {
        (Some(now), Some(then)) => now.duration_since(then).as_secs_f64(),
        _ => 0.0,
    };
    progress < MIN_PROGRESS_DELTA && seconds < MIN_TIME_DELTA
}

fn status_line(status: &Status) -> String {
    let mut line = status.id.clone();
    if let Some(amount) = amount(status.current, status.total) {
        line.push(' ');
        line.push_str(&amount);
    }
    if let (Some(from), Some(until)) = (status.started, status.completed.or(status.timestamp)) {
        let seconds = until.duration_since(from).as_secs_f64();
        if seconds > 0.01 {
            let _ = write!(line, " {seconds:.1}s");
        }
    }
    if status.completed.is_some() {
        line.push_str(" done");
    }
    line
}

/// The last lines of the steps that failed, as they are repeated at the end of a build.
pub(crate) fn failure_blocks(state: &State, lines: usize, colors: bool) -> String {
    let mut out = String::new();
    for vertex in
        state.started().iter().map(|&i| &state.vertices()[i]).filter(|vertex| vertex.failure().is_some())
    {
        let _ = writeln!(out, "------\n > {}:", vertex.name);
        let first = vertex.log.count().saturating_sub(lines as u64);
        for line in vertex.log.lines_from(first) {
            let text = if colors { line.text.clone() } else { without_colors(&line.text) };
            let _ = write!(out, "{} {text}", log_time(line.at));
            out.push_str(if colors && text.contains('\x1b') { "\x1b[0m\n" } else { "\n" });
        }
        out.push_str("------\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use rbx_request::{Event, Vertex as VertexEvent, Warning};

    use super::*;
    use crate::state::tests::{at, log, status, vertex};

    struct Session {
        state: State,
        printer: Printer,
        out: String,
    }

    impl Session {
        fn new(options: &Options) -> Self {
            Self { state: State::default(), printer: Printer::new(options), out: String::new() }
        }

        fn event(&mut self, ms: i64, event: Event) {
            if let Some(change) = self.state.apply(event, at(ms)) {
                self.printer.note(change, &mut self.state, at(ms));
            }
            self.tick(ms);
        }

        fn vertex(&mut self, ms: i64, vertex: VertexEvent) {
            self.event(ms, Event::Vertex(vertex));
        }

        fn tick(&mut self, ms: i64) {
            self.out.push_str(&self.printer.update(&mut self.state, at(ms)));
        }
    }

    fn plain() -> Session {
        Session::new(&Options::default())
    }

    #[test]
    fn a_build_that_fails() {
        let mut session = Session::new(&Options {
            header: Some("building with \"default\" instance using docker driver".into()),
            ..Options::default()
        });
        session.vertex(0, vertex("load", "[internal] load build definition from Dockerfile", Some(0), None));
        session.event(10, status("load", "transferring dockerfile:", (31, 0), (1, 1), false));
        session.event(20, status("load", "transferring dockerfile:", (313, 0), (1, 9), true));
        session.vertex(
            30,
            vertex("load", "[internal] load build definition from Dockerfile", Some(0), Some(30)),
        );
        let cached = VertexEvent {
            cached: true,
            ..vertex("from", "[1/3] FROM docker.io/library/alpine", Some(31), Some(31))
        };
        session.vertex(31, cached);
        session.vertex(40, vertex("run", "[2/3] RUN make", Some(40), None));
        session.event(163, log("run", 163, "cc main.c\nld"));
        session.event(190, log("run", 190, " main\nmake: error\n"));
        let error = "process \"/bin/sh -c make\" did not complete successfully: exit code: 2";
        session.vertex(
            1_300,
            VertexEvent {
                error: Some(error.into()),
                ..vertex("run", "[2/3] RUN make", Some(40), Some(1_300))
            },
        );
        let canceled = VertexEvent {
            error: Some("context canceled".into()),
            ..vertex("x", "[3/3] COPY . .", Some(41), Some(1_301))
        };
        session.vertex(1_301, canceled);
        session.out.push_str(&failure_blocks(&session.state, LOG_TAIL, true));
        insta::assert_snapshot!(session.out, @r#"
        #0 building with "default" instance using docker driver

        #1 [internal] load build definition from Dockerfile
        #1 transferring dockerfile: 31B
        #1 transferring dockerfile: 313B done
        #1 DONE 0.0s

        #2 [1/3] FROM docker.io/library/alpine
        #2 CACHED

        #3 [2/3] RUN make
        #3 0.123 cc main.c
        #3 0.123 ld main
        #3 0.150 make: error
        #3 ERROR: process "/bin/sh -c make" did not complete successfully: exit code: 2

        #4 [3/3] COPY . .
        #4 CANCELED
        ------
         > [2/3] RUN make:
        0.123 cc main.c
        0.123 ld main
        0.150 make: error
        ------
        "#);
    }

    #[test]
    fn downloads_are_printed_every_twentieth_or_five_seconds() {
        let mut session = plain();
        session.vertex(0, vertex("a", "FROM x", Some(0), None));
        for (ms, current) in [(0, 0), (100, 4), (200, 6), (300, 8), (5_400, 9), (6_000, 100)] {
            let done = current == 100;
            let event = status("a", "sha256:0123", (current * 1_000_000, 100_000_000), (0, ms), done);
            session.event(ms, event);
        }
        session.vertex(6_100, vertex("a", "FROM x", Some(0), Some(6_100)));
        insta::assert_snapshot!(session.out, @"
        #1 FROM x
        #1 sha256:0123 0B / 100.00MB
        #1 sha256:0123 6.00MB / 100.00MB 0.2s
        #1 sha256:0123 9.00MB / 100.00MB 5.4s
        #1 sha256:0123 100.00MB / 100.00MB 6.0s done
        #1 DONE 6.1s
        ");
    }

    #[test]
    fn busy_steps_take_turns() {
        let mut session = plain();
        session.vertex(0, vertex("a", "A", Some(0), None));
        session.vertex(0, vertex("b", "B", Some(0), None));
        for ms in (100..=14_000).step_by(100) {
            session.event(ms, log("a", ms, if ms % 1000 == 0 { "a\n" } else { "" }));
            session.event(ms, log("b", ms, if ms % 1000 == 0 { "b\n" } else { "" }));
        }
        insta::assert_snapshot!(session.out, @"
        #1 A
        #1 1.000 a
        #1 2.000 a
        #1 3.000 a
        #1 4.000 a
        #1 5.000 a
        #1 6.000 a
        #1 7.000 a
        #1 8.000 a
        #1 9.000 a
        #1 10.00 a
        #1 ...

        #2 B
        #2 1.000 b
        #2 2.000 b
        #2 3.000 b
        #2 4.000 b
        #2 5.000 b
        #2 6.000 b
        #2 7.000 b
        #2 8.000 b
        #2 9.000 b
        #2 10.00 b
        #2 11.00 b
        #2 12.00 b
        #2 13.00 b
        #2 14.00 b
        ");
    }

    #[test]
    fn a_quiet_step_waits_ten_seconds_at_most() {
        let mut session = plain();
        session.vertex(0, vertex("a", "A", Some(0), None));
        session.event(0, log("a", 0, "first\n"));
        session.vertex(0, vertex("b", "B", Some(0), None));
        for ms in (100..=10_200).step_by(10) {
            session.event(ms, log("a", ms, ""));
        }
        assert!(session.out.ends_with("#1 0.000 first\n#1 ...\n\n#2 B\n"), "{}", session.out);
    }

    #[test]
    fn unfinished_lines() {
        let mut session = plain();
        session.vertex(0, vertex("a", "A", Some(0), None));
        session.event(0, log("a", 0, "down\x1b[32mload"));
        session.event(10, log("a", 10, "ing"));
        session.event(20, status("a", "id", (1, 0), (20, 20), true));
        session.event(30, log("a", 30, " x\nlast"));
        session.vertex(40, vertex("a", "A", Some(0), Some(40)));
        insta::assert_snapshot!(session.out.replace('\x1b', "^["), @"
        #1 A
        #1 0.000 down^[[32mloading^[[0m
        #1 id 1B done
        #1 0.000 down^[[32mloading x^[[0m
        #1 0.030 last
        #1 DONE 0.0s
        ");
    }

    #[test]
    fn what_steps_write_stays_on_its_lines() {
        let mut session =
            Session::new(&Options { colors: Colors::none(), no_trunc: false, ..Options::default() });
        session.vertex(0, vertex("a", &format!("A\n#9 DONE\x1b[2J{}", "ü".repeat(50)), Some(0), None));
        session.event(0, log("a", 0, "50%\r100%\r\n\x1b[31mred\x1b[2J\x1b[A\n"));
        session.event(
            0,
            Event::Warning(Warning { vertex: "a".into(), short: "w\nx".into(), ..Warning::default() }),
        );
        let error = "first\nsecond\x1b[1m".to_owned();
        session.vertex(7, VertexEvent { error: Some(error), ..vertex("a", "A", Some(0), Some(7)) });
        insta::assert_snapshot!(session.out, @"
        #1 A #9 DONE[2Jüüüüüüüüüüüüüüüüüüüüüüüüüüüüüü...
        #1 0.000 50%
        #1 0.000 100%
        #1 0.000 red
        #1 WARN: w x
        #1 ERROR: first
        #1 second[1m
        ");
    }

    #[test]
    fn much_output_is_neither_kept_nor_lost() {
        let mut session = plain();
        session.vertex(0, vertex("a", "A", Some(0), None));
        session.vertex(0, vertex("b", "B", Some(0), None));
        let chunk = "0123456789\n".repeat(3000);
        for _ in 0..40 {
            session.event(1, log("b", 1, &chunk));
            assert!(session.state.vertices()[1].log.bytes() < 2_100_000);
        }
        session.vertex(2, vertex("b", "B", Some(0), Some(2)));
        assert_eq!(session.out.lines().filter(|line| line.ends_with(" 0123456789")).count(), 120_000);
    }
}

//! A picture of the build on a terminal, redrawn in place.

use std::cmp::Reverse;
use std::fmt::Write as _;

use jiff::Timestamp;

use crate::options::{Colors, Options};
use crate::state::{State, Vertex};
use crate::text::{amount, clean, columns, fit, spread};

/// Columns that are left free at the right of a step's output.
const PANE_MARGIN: u16 = 10;
/// Names shorter than this say nothing: lines without place for as many columns are left out.
const LEAST_NAME: usize = 12;

/// For whom and when a picture is drawn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View {
    /// Columns of the terminal.
    pub(crate) width: u16,
    /// Rows of the terminal.
    pub(crate) height: u16,
    /// This machine's clock.
    pub(crate) now: Timestamp,
    /// The build is over: everything is shown, however high.
    pub(crate) last: bool,
}

/// The columns that steps write on, on a terminal of so many.
pub(crate) fn pane_columns(width: u16) -> u16 {
    width.saturating_sub(PANE_MARGIN)
}

/// One line of the picture before it is cut to the width.
struct Row {
    name: String,
    status: Option<String>,
    seconds: f64,
    running: bool,
    color: Option<String>,
    /// The output of a running step.
    pane: Vec<String>,
    /// How many bytes the step wrote.
    output: u64,
}

/// The picture: lines that end with a line feed, none wider than the terminal, and (but for the last picture)
/// no more than fit on it.
pub(crate) fn frame(state: &State, options: &Options, view: View) -> String {
    let width = usize::from(view.width).saturating_sub(1);
    let shown: Vec<&Vertex> = state.vertices().iter().collect();
    let completed = shown.iter().filter(|vertex| vertex.is_completed()).count();
    let mut header = format!(
        "[+] {} {:.1}s ({completed}/{})",
        clean(&options.title),
        state.elapsed(view.now).as_secs_f64().max(0.0),
        shown.len()
    );
    if view.last && completed > 0 && completed == shown.len() {
        header.push_str(" FINISHED");
    }
    let header = spread(&header, &clean(&options.builder), width);

    let mut out = format!("{}\n", fit(&header, width).trim_end());
    for row in arrange(rows(state, options, view), options.log_lines, view) {
        draw(&mut out, &row, width, options);
    }
    out
}

fn rows(state: &State, options: &Options, view: View) -> Vec<Row> {
    let colors = &options.colors;
    let now = state.builder_time(view.now);
    let mut rows = Vec::new();
    for vertex in state.started().iter().map(|&i| &state.vertices()[i]) {
        let (mark, color) = match (vertex.is_canceled(), vertex.failure()) {
            (true, _) => ("CANCELED ", &colors.cancel),
            (_, Some(_)) => ("ERROR ", &colors.error),
            _ => ("", &colors.run),
        };
        let cached = if vertex.cached { "CACHED " } else { "" };
        let running = !vertex.is_completed();
        let seconds = vertex.elapsed(now).as_secs_f64();
        rows.push(Row {
            name: format!("{cached}{mark}{}", vertex.name),
            status: None,
            seconds,
            running,
            color: color.clone().filter(|_| !running),
            pane: if running { screen(vertex) } else { Vec::new() },
            output: vertex.output,
        });
        for status in &vertex.statuses {
            // A part that was never said to end has ended with its step.
            let until = status.completed.or_else(|| vertex.completed_at()).unwrap_or(now);
            let done = status.completed.is_some();
            rows.push(Row {
                name: format!("=> {}", status.id),
                status: amount(status.current, status.total),
                seconds: status.started.map_or(0.0, |from| until.duration_since(from).as_secs_f64()),
                running: !done && running,
                color: colors.run.clone().filter(|_| done),
                pane: Vec::new(),
                output: 0,
            });
        }
        for warning in &vertex.warnings {
            rows.push(Row {
                name: format!("WARN: {warning}"),
                status: None,
                seconds,
                running: false,
                color: colors.warning.clone(),
                pane: Vec::new(),
                output: 0,
            });
        }
    }
    rows
}

/// The lines of a step's screen that hold something.
fn screen(vertex: &Vertex) -> Vec<String> {
    let Some(pane) = &vertex.pane else {
        return Vec::new();
    };
    let columns = pane.screen().size().1.get();
    pane.screen().rows(0, columns).map(|row| clean(row.trim_end())).filter(|row| !row.is_empty()).collect()
}

/// Decides whose output is shown and, on a terminal that is not high enough, which lines are.
fn arrange(mut rows: Vec<Row>, log_lines: u16, view: View) -> Vec<Row> {
    let height = usize::from(view.height).saturating_sub(2);
    let running = rows.iter().filter(|row| row.running).count();

    // The output of running steps where there is place, the busiest first; what is done gives way.
    let mut free = height.saturating_sub(running);
    let mut panes: Vec<usize> = (0..rows.len()).filter(|&i| !rows[i].pane.is_empty()).collect();
    panes.sort_by_key(|&i| (Reverse(rows[i].output), i));
    let mut used = 0;
    for i in panes {
        if free > usize::from(log_lines) + 2 {
            free -= usize::from(log_lines) + 2;
            used += rows[i].pane.len();
        } else {
            rows[i].pane.clear();
        }
    }
    let limit = height.saturating_sub(used);
    if view.last || rows.len() <= limit {
        return rows;
    }

    let mut running_left = running.min(limit);
    let mut done_left = limit - running_left;
    let mut kept: Vec<Row> = rows
        .into_iter()
        .rev()
        .filter(|row| {
            let left = if row.running { &mut running_left } else { &mut done_left };
            let keep = *left > 0;
            *left = left.saturating_sub(1);
            keep
        })
        .collect();
    kept.reverse();
    kept
}

fn draw(out: &mut String, row: &Row, width: usize, options: &Options) {
    let seconds = if row.seconds < 0.05 { 0.0 } else { row.seconds };
    let timer = format!(" {seconds:.1}s");
    let Some(mut left) = width.checked_sub(" => ".len() + timer.len() + 1) else {
        return;
    };
    let mut status = String::new();
    if let Some(text) = &row.status
        && left > text.len() + 1 + LEAST_NAME
    {
        status = format!(" {text}");
        left -= status.len();
    }
    if left < LEAST_NAME {
        return;
    }
    let line = spread(&format!(" => {}{status}", fit(&row.name, left)), &timer, width);
    let _ = writeln!(out, "{}", Colors::paint(row.color.as_deref(), &line));
    for text in &row.pane {
        let line = format!(" => => # {text}");
        let _ = writeln!(out, "{}", Colors::paint(options.colors.faint.as_deref(), fit(&line, width)));
    }
}

/// What is on the terminal, so that only what changed is written.
#[derive(Default)]
pub(crate) struct Painter {
    lines: Vec<String>,
    width: u16,
}

impl Painter {
    /// The bytes that turn the picture on the terminal into `frame`. The cursor stands below the picture before
    /// and after.
    pub(crate) fn paint(&mut self, frame: &str, width: u16) -> String {
        let lines: Vec<&str> = frame.lines().collect();
        let resized = self.width != width;
        // A terminal that became narrower has broken the lines that no longer fit.
        let up: usize = match usize::from(width) {
            width if resized && width > 0 => {
                self.lines.iter().map(|line| visible_columns(line).div_ceil(width).max(1)).sum()
            }
            _ => self.lines.len(),
        };

        // One update for terminals that know the mode; the cursor is hidden while it runs about.
        let mut out = String::from("\x1b[?2026h\x1b[?25l");
        if up > 0 {
            let _ = write!(out, "\x1b[{up}A");
        }
        out.push('\r');
        if resized {
            out.push_str("\x1b[J");
        }
        for (i, line) in lines.iter().enumerate() {
            if resized || self.lines.get(i).is_none_or(|old| old != line) {
                out.push_str(line);
                out.push_str("\x1b[K");
            }
            out.push('\n');
        }
        if lines.len() < self.lines.len() {
            out.push_str("\x1b[J");
        }
        out.push_str("\x1b[?25h\x1b[?2026l");
        self.lines = lines.into_iter().map(str::to_owned).collect();
        self.width = width;
        out
    }
}

fn visible_columns(line: &str) -> usize {
    columns(&crate::log::without_colors(line))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rbx_request::{Event, Vertex as VertexEvent, Warning};

    use super::*;
    use crate::state::tests::{at, log, status, vertex};

    fn options() -> Options {
        Options { builder: "docker:default".into(), colors: Colors::none(), ..Options::default() }
    }

    fn view(width: u16, height: u16, ms: i64) -> View {
        View { width, height, now: at(ms), last: false }
    }

    fn model(width: u16, events: impl IntoIterator<Item = Event>) -> State {
        let mut state = State::default();
        state.resize_panes(6, pane_columns(width));
        for event in events {
            state.apply(event, at(0));
        }
        state.draw_panes();
        state
    }

    fn build() -> Vec<Event> {
        let cached =
            VertexEvent { cached: true, ..vertex("c", "[stage-1 2/3] WORKDIR /src", Some(100), Some(100)) };
        vec![
            Event::Vertex(vertex("l", "[internal] load build definition from Dockerfile", Some(0), Some(30))),
            status("l", "transferring dockerfile:", (313, 0), (0, 20), true),
            Event::Vertex(vertex(
                "f",
                "[stage-1 1/3] FROM docker.io/library/golang:latest@sha256:0123",
                Some(40),
                None,
            )),
            status("f", "sha256:4567", (31_000_000, 65_200_000), (60, 900), false),
            Event::Vertex(cached),
            Event::Warning(Warning {
                vertex: "l".into(),
                short: "FromAsCasing: x".into(),
                ..Warning::default()
            }),
            Event::Vertex(vertex("r", "[tools 2/2] RUN make\tall", Some(200), None)),
            log("r", 210, "one\ntwo\n\n10%\r20%\nseven\neight\nnine\n\x1b[2Aten\x1b[K\n"),
            Event::Vertex(vertex("w", "[stage-1 3/3] COPY . .", None, None)),
        ]
    }

    #[test]
    fn a_running_build() {
        insta::assert_snapshot!(frame(&model(80, build()), &options(), view(80, 30, 1234)), @"
        [+] Building 1.2s (2/5)                                          docker:default
         => [internal] load build definition from Dockerfile                       0.0s
         => => transferring dockerfile: 313B                                       0.0s
         => WARN: FromAsCasing: x                                                  0.0s
         => [stage-1 1/3] FROM docker.io/library/golang:latest@sha256:0123         1.2s
         => => sha256:4567 31.00MB / 65.20MB                                       1.2s
         => CACHED [stage-1 2/3] WORKDIR /src                                      0.0s
         => [tools 2/2] RUN make all                                               1.0s
         => => # 20%
         => => # seven
         => => # ten
         => => # nine
        ");
    }

    #[test]
    fn a_finished_build() {
        let mut events = build();
        events.push(Event::Vertex(vertex("f", "[stage-1 1/3] FROM golang", Some(40), Some(2_000))));
        events.push(status("f", "sha256:4567", (65_200_000, 65_200_000), (60, 1_900), true));
        events.push(Event::Vertex(vertex("r", "[tools 2/2] RUN make", Some(200), Some(3_000))));
        events.push(Event::Vertex(vertex("w", "[stage-1 3/3] COPY . .", Some(3_000), Some(3_020))));
        let last = View { last: true, ..view(80, 5, 3_100) };
        insta::assert_snapshot!(frame(&model(80, events), &options(), last), @"
        [+] Building 3.1s (5/5) FINISHED                                 docker:default
         => [internal] load build definition from Dockerfile                       0.0s
         => => transferring dockerfile: 313B                                       0.0s
         => WARN: FromAsCasing: x                                                  0.0s
         => [stage-1 1/3] FROM golang                                              2.0s
         => => sha256:4567 65.20MB / 65.20MB                                       1.8s
         => CACHED [stage-1 2/3] WORKDIR /src                                      0.0s
         => [tools 2/2] RUN make                                                   2.8s
         => [stage-1 3/3] COPY . .                                                 0.0s
        ");
    }

    #[test]
    fn a_failed_build_in_color() {
        let mut events = build();
        let failed = |event| VertexEvent { error: Some("exit code: 1".into()), ..event };
        let canceled = |event| VertexEvent { error: Some("context canceled".into()), ..event };
        events.push(Event::Vertex(failed(vertex("r", "[tools 2/2] RUN make", Some(200), Some(3_000)))));
        events.push(Event::Vertex(canceled(vertex("f", "[stage-1 1/3] FROM golang", Some(40), Some(3_000)))));
        let options = Options { colors: Colors::default(), ..options() };
        let text = frame(&model(60, events), &options, View { last: true, ..view(60, 30, 3_100) });
        insta::assert_snapshot!(text.replace('\x1b', "^["), @"
        [+] Building 3.1s (4/5)                      docker:default
        ^[[34m => [internal] load build definition from Dockerfile   0.0s^[[0m
        ^[[34m => => transferring dockerfile: 313B                   0.0s^[[0m
        ^[[33m => WARN: FromAsCasing: x                              0.0s^[[0m
        ^[[33m => CANCELED [stage-1 1/3] FROM golang                 3.0s^[[0m
         => => sha256:4567 31.00MB / 65.20MB                   2.9s
        ^[[34m => CACHED [stage-1 2/3] WORKDIR /src                  0.0s^[[0m
        ^[[31m => ERROR [tools 2/2] RUN make                         2.8s^[[0m
        ");
    }

    #[test]
    fn low_terminals_keep_what_runs() {
        let state = model(60, build());
        insta::assert_snapshot!(frame(&state, &options(), view(60, 10, 1234)), @"
        [+] Building 1.2s (2/5)                      docker:default
         => [internal] load build definition from Dockerfile   0.0s
         => => transferring dockerfile: 313B                   0.0s
         => WARN: FromAsCasing: x                              0.0s
         => [stage-1 1/3] FROM docker.io/library/golang:lates  1.2s
         => => sha256:4567 31.00MB / 65.20MB                   1.2s
         => CACHED [stage-1 2/3] WORKDIR /src                  0.0s
         => [tools 2/2] RUN make all                           1.0s
        ");
        insta::assert_snapshot!(frame(&state, &options(), view(60, 4, 1234)), @"
        [+] Building 1.2s (2/5)                      docker:default
         => => sha256:4567 31.00MB / 65.20MB                   1.2s
         => [tools 2/2] RUN make all                           1.0s
        ");
        assert_eq!(frame(&state, &options(), view(0, 0, 1234)), "\n");
    }

    #[test]
    fn wide_characters_are_cut_by_columns() {
        let state = model(
            30,
            [
                Event::Vertex(vertex("a", "構築する構築する構築する構築する", Some(0), None)),
                log("a", 0, "進行中進行中進行中進行中進行中進行中\n"),
            ],
        );
        let text = frame(&state, &options(), view(30, 20, 0));
        assert!(text.lines().all(|line| columns(line) <= 29), "{text}");
        insta::assert_snapshot!(text, @"
        [+] Building 0.0s (0/1) docke
         => 構築する構築する構   0.0s
         => => # 進行中進行中進行中進
         => => # 行中進行中進行中
        ");
    }

    /// What a terminal shows after some bytes.
    fn terminal(rows: u16, columns: u16) -> vt100::Parser {
        vt100::Parser::new(rows.try_into().unwrap(), columns.try_into().unwrap(), 0)
    }

    fn feed(terminal: &mut vt100::Parser, text: &str) {
        terminal.process(text.replace('\n', "\r\n").as_bytes());
    }

    #[test]
    fn only_changes_are_written() {
        let mut painter = Painter::default();
        painter.paint("head\none\ntwo\n", 20);
        let out = painter.paint("head\nONE\ntwo\n", 20);
        assert_eq!(out.replace('\x1b', "^["), "^[[?2026h^[[?25l^[[3A\r\nONE^[[K\n\n^[[?25h^[[?2026l");
    }

    proptest! {
        #[test]
        fn the_terminal_shows_the_newest_picture(
            frames in proptest::collection::vec(proptest::collection::vec("[a-c構]{0,9}", 0..8), 1..8)
        ) {
            let mut terminal = terminal(12, 20);
            let mut painter = Painter::default();
            feed(&mut terminal, "before\n");
            for lines in frames {
                let frame = lines.join("\n");
                feed(&mut terminal, &painter.paint(&frame, 20));
                let shown: Vec<String> = terminal.screen().rows(0, 20).map(|row| row.trim_end().to_owned()).collect();
                let mut wanted = vec!["before".to_owned()];
                wanted.extend(lines);
                wanted.resize(12, String::new());
                prop_assert_eq!(shown, wanted);
            }
        }

        #[test]
        fn frames_fit(width in 0..100u16, height in 0..30u16, ms in 0..100_000i64) {
            let state = model(width, build());
            let text = frame(&state, &options(), view(width, height, ms));
            prop_assert!(text.lines().count() < usize::from(height).max(2), "{}", text);
            prop_assert!(text.lines().all(|line| columns(line) < usize::from(width).max(1)), "{}", text);
        }
    }
}

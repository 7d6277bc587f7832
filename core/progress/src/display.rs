//! The loop that feeds a renderer.

use std::io::Write;
use std::time::Duration;

use jiff::Timestamp;
use rbx_request::{Event, EventReceiver, solve_status};
use tokio::time::{Instant, MissedTickBehavior};

use crate::options::{Mode, Options};
use crate::plain::{LOG_TAIL, Printer, failure_blocks};
use crate::state::{Change, State};
use crate::summary::Summary;
use crate::tty::{Painter, View, frame, pane_columns};

/// Events taken at once.
const BATCH: usize = 1024;
/// Output that is kept of a running step, to be shown if it fails.
const KEPT_LOG: usize = 1024 * 1024;

/// Shows a build until its event stream ends, and returns what was seen.
///
/// `out` is written to from the calling task and blocks its thread; what is slow to take it slows steps down, since
/// of their output only so much waits to be read ([`EventSender::send_log`](rbx_request::EventSender::send_log)). Once it fails (a closed pipe, say), nothing more
/// is written, but the events are taken to the end. The block about warnings and the error itself are the
/// caller's: [`Summary::warnings_text`].
pub async fn display(
    mode: Mode,
    mut events: EventReceiver,
    out: &mut (dyn Write + Send),
    options: &Options,
) -> Summary {
    let mut state = State::default();
    let mut renderer = Renderer::new(mode, options);
    let mut out = Some(out);
    let mut batch = Vec::with_capacity(BATCH);
    let mut shown: Option<Instant> = None;
    let mut ticker = tokio::time::interval(options.max_interval.max(Duration::from_millis(1)));
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);

    loop {
        tokio::select! {
            biased;
            count = events.recv_many(&mut batch, BATCH) => {
                if count == 0 {
                    break;
                }
                let now = Timestamp::now();
                write(&mut out, &renderer.before(&batch, &mut state, options));
                for event in batch.drain(..) {
                    renderer.event(event, &mut state, now);
                    write(&mut out, &renderer.overflow());
                }
                if shown.is_some_and(|shown| shown.elapsed() < options.min_interval) {
                    continue;
                }
            }
            _ = ticker.tick() => {}
        }
        write(&mut out, &renderer.picture(&mut state, options, Timestamp::now(), false));
        shown = Some(Instant::now());
        ticker.reset();
    }
    write(&mut out, &renderer.picture(&mut state, options, Timestamp::now(), true));
    write(&mut out, &renderer.end(&state, options));
    Summary::of(&state)
}

fn write(out: &mut Option<&mut (dyn Write + Send)>, text: &str) {
    if !text.is_empty()
        && let Some(writer) = out
        && writer.write_all(text.as_bytes()).and_then(|()| writer.flush()).is_err()
    {
        *out = None;
    }
}

enum Renderer {
    Plain(Box<Printer>),
    Tty(Painter),
    RawJson,
    Quiet,
}

impl Renderer {
    fn new(mode: Mode, options: &Options) -> Self {
        match mode {
            Mode::Auto | Mode::Plain => Self::Plain(Box::new(Printer::new(options))),
            Mode::Tty => Self::Tty(Painter::default()),
            Mode::RawJson => Self::RawJson,
            Mode::Quiet => Self::Quiet,
        }
    }

    /// Before events are applied: what is to be written about them at once.
    fn before(&self, batch: &[Event], state: &mut State, options: &Options) -> String {
        match self {
            Self::RawJson => match serde_json::to_string(&solve_status(batch)) {
                Ok(line) => line + "\n",
                // Nothing in an event cannot be said in JSON.
                Err(_) => String::new(),
            },
            Self::Tty(_) => {
                // The screens of steps follow the terminal. On low ones they are smaller, but not tiny.
                let (width, height) = size(options);
                let rows =
                    options.log_lines.min(height.saturating_sub(7)).max(6.min(options.log_lines)).max(1);
                state.resize_panes(rows, pane_columns(width));
                String::new()
            }
            Self::Plain(_) | Self::Quiet => String::new(),
        }
    }

    /// Takes an event in.
    fn event(&mut self, event: Event, state: &mut State, now: Timestamp) {
        let Some(change) = state.apply(event, now) else {
            return;
        };
        if let Self::Plain(printer) = self {
            printer.note(change, state, now);
        } else {
            trim(change, state);
        }
    }

    /// What is to be written though it is not time for a picture, since too much would have to be kept.
    fn overflow(&mut self) -> String {
        match self {
            Self::Plain(printer) => printer.overflow(),
            Self::Tty(_) | Self::RawJson | Self::Quiet => String::new(),
        }
    }

    /// What is to be written now that it is time for a picture.
    fn picture(&mut self, state: &mut State, options: &Options, now: Timestamp, last: bool) -> String {
        match self {
            Self::Plain(printer) => printer.update(state, now),
            Self::Tty(painter) => {
                if state.vertices().is_empty() && last {
                    return String::new();
                }
                let (width, height) = size(options);
                state.draw_panes();
                let text = frame(state, options, View { width, height, now, last });
                painter.paint(&text, width)
            }
            Self::RawJson | Self::Quiet => String::new(),
        }
    }

    /// What follows the last picture.
    fn end(&self, state: &State, options: &Options) -> String {
        let colors = options.colors != crate::Colors::none();
        match self {
            Self::Plain(_) => failure_blocks(state, LOG_TAIL, colors),
            Self::Tty(_) => failure_blocks(state, usize::MAX, colors),
            Self::RawJson | Self::Quiet => String::new(),
        }
    }
}

/// Lets go of output that nobody will ask for.
fn trim(change: Change, state: &mut State) {
    match change {
        Change::Log(index) => state.log_mut(index).trim(KEPT_LOG, LOG_TAIL),
        Change::Vertex(index)
            if state.vertices()[index].is_completed() && state.vertices()[index].error.is_none() =>
        {
            state.log_mut(index).trim(0, 0);
        }
        _ => {}
    }
}

/// The terminal's columns and rows.
fn size(options: &Options) -> (u16, u16) {
    match (options.size)() {
        (0, _) | (_, 0) => (80, 10),
        size => size,
    }
}

#[cfg(test)]
mod tests {
    use rbx_request::{Vertex, events};

    use super::*;
    use crate::options::Colors;
    use crate::state::tests::{log, vertex};

    async fn shown(mode: Mode, list: Vec<Event>) -> (String, Summary) {
        let (sender, receiver) = events();
        for event in list {
            sender.send(event);
        }
        drop(sender);
        let mut out = Vec::new();
        let options = Options { colors: Colors::none(), size: Box::new(|| (60, 20)), ..Options::default() };
        let summary = display(mode, receiver, &mut out, &options).await;
        (String::from_utf8(out).unwrap(), summary)
    }

    fn failing() -> Vec<Event> {
        let error = Some("exit code: 1".to_owned());
        vec![
            Event::Vertex(vertex("a", "RUN false", Some(0), None)),
            log("a", 5, "no\n"),
            Event::Vertex(Vertex { error, ..vertex("a", "RUN false", Some(0), Some(10)) }),
        ]
    }

    #[tokio::test]
    async fn plain_ends_with_the_failure() {
        let (out, summary) = shown(Mode::Plain, failing()).await;
        insta::assert_snapshot!(out, @"
        #1 RUN false
        #1 0.005 no
        #1 ERROR: exit code: 1
        ------
         > RUN false:
        0.005 no
        ------
        ");
        assert_eq!(summary.failed[0].name, "RUN false");
    }

    #[tokio::test]
    async fn tty_ends_with_the_failure() {
        let (out, _) = shown(Mode::Tty, failing()).await;
        let mut terminal = vt100::Parser::new(20.try_into().unwrap(), 60.try_into().unwrap(), 0);
        terminal.process(out.replace('\n', "\r\n").as_bytes());
        let screen = terminal.screen().contents();
        let (header, rest) = screen.split_once('\n').unwrap();
        assert!(header.starts_with("[+] Building 0.0s (1/1) FINISHED"), "{header}");
        insta::assert_snapshot!(rest, @"
         => ERROR RUN false                                    0.0s
        ------
         > RUN false:
        0.005 no
        ------
        ");
        assert!(!terminal.screen().hide_cursor());
    }

    #[tokio::test]
    async fn rawjson_is_one_object_a_line() {
        let (out, summary) = shown(Mode::RawJson, failing()).await;
        insta::assert_snapshot!(out, @r#"
        {"vertexes":[{"digest":"a","name":"RUN false","started":"2023-11-14T22:13:20Z"},{"digest":"a","name":"RUN false","started":"2023-11-14T22:13:20Z","completed":"2023-11-14T22:13:20.01Z","error":"exit code: 1"}],"logs":[{"vertex":"a","stream":1,"data":"bm8K","timestamp":"2023-11-14T22:13:20.005Z"}]}
        "#);
        assert_eq!(summary.failed.len(), 1);
    }

    #[tokio::test]
    async fn quiet_says_nothing_but_sees_all() {
        let (out, summary) = shown(Mode::Quiet, failing()).await;
        assert_eq!(out, "");
        assert_eq!(summary.failed[0].log, ["no"]);
    }

    #[tokio::test]
    async fn a_closed_pipe_ends_the_writing_only() {
        struct Closed(usize);
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                self.0 += 1;
                Err(std::io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let (sender, receiver) = events();
        for event in failing() {
            sender.send(event);
        }
        drop(sender);
        let mut out = Closed(0);
        let summary = display(Mode::Plain, receiver, &mut out, &Options::default()).await;
        assert_eq!((out.0, summary.failed.len()), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn pictures_are_not_drawn_more_often_than_asked() {
        let (sender, receiver) = events();
        let mut out = Vec::new();
        let options = Options { min_interval: Duration::from_millis(100), ..Options::default() };
        let feed = async move {
            sender.send(Event::Vertex(vertex("a", "A", Some(0), None)));
            for ms in 0..1000 {
                sender.send(log("a", ms, "x\n"));
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::join!(feed, display(Mode::Tty, receiver, &mut out, &options));
        let pictures = String::from_utf8(out).unwrap().matches("\x1b[?2026h").count();
        assert!((8..=12).contains(&pictures), "{pictures}");
    }
}

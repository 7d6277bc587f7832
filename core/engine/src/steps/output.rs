//! What a step writes: read as long as it runs, passed on within limits.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rbx_request::Stream;
use rbx_sandbox::Output;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

use crate::error::BuildError;
use crate::progress::Task;

/// Bytes of output that are read at once.
const READ: usize = 32 << 10;
/// Bytes of what was clipped last that are kept, to be shown if the step fails.
const KEPT: usize = 256 << 10;
/// Bytes of a stream's end that are kept, shown or not: what the step said last may tell why it failed.
const END: usize = 16 << 10;

/// How much of its output a step may show, for each of its two streams. What is more is read and thrown away, so
/// that the step goes on; of what was thrown away the end is shown if the step fails.
///
/// The same limits as those of BuildKit's workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLimits {
    /// Bytes in all (`BUILDKIT_STEP_LOG_MAX_SIZE`). `None` means no limit at all, not of speed either.
    pub size: Option<u64>,
    /// Bytes for each second since the step began (`BUILDKIT_STEP_LOG_MAX_SPEED`).
    pub speed: Option<u64>,
}

impl Default for LogLimits {
    /// 2 MiB, and 200 KiB a second.
    fn default() -> Self {
        Self { size: Some(2 << 20), speed: Some(200 << 10) }
    }
}

/// The two streams of a step, from the reading side.
pub(super) struct Streams {
    stdout: OwnedFd,
    stderr: OwnedFd,
}

impl Streams {
    /// Makes the streams: the side that is read, and the side that is given to the step.
    pub(super) fn new() -> Result<(Self, Output), BuildError> {
        let (read_out, stdout) = pipe()?;
        let (read_err, stderr) = pipe()?;
        Ok((Self { stdout: read_out, stderr: read_err }, Output { stdout, stderr }))
    }

    /// Passes output on while `wait` waits for the step's end, and what is left then. With `show_rest`, which is
    /// asked about the step's end, the end of what was clipped is shown too, and the ends of both streams are
    /// answered; otherwise nothing is.
    pub(super) fn forward<T>(
        self,
        task: &Task,
        limits: LogLimits,
        wait: impl FnOnce() -> T,
        show_rest: impl FnOnce(&T) -> bool,
    ) -> Result<(T, Vec<u8>), BuildError> {
        // Two ends that are hung up when the step has ended. Its pipes may stay open: the step can have given
        // them to a process outside, and nobody waits for that.
        let (out_ended, ends) = pipe()?;
        let err_ended = out_ended
            .try_clone()
            .map_err(|error| BuildError::failed(format!("{error}: failed to copy a descriptor")))?;
        let started = Instant::now();
        Ok(std::thread::scope(|scope| {
            let read_log = move |pipe, ended: OwnedFd, stream| {
                let mut log = ClippedLog::new(limits);
                let mut pass = |data: Vec<u8>| task.log(stream, data);
                read(pipe, &ended, &mut |data| log.take(data, started.elapsed(), &mut pass));
                log
            };
            let out = scope.spawn(move || read_log(self.stdout, out_ended, Stream::Stdout));
            let err = scope.spawn(move || read_log(self.stderr, err_ended, Stream::Stderr));
            let end = wait();
            drop(ends);
            let logs = [(out.join(), Stream::Stdout), (err.join(), Stream::Stderr)];
            let mut said = Vec::new();
            if show_rest(&end) {
                for (log, stream) in logs {
                    if let Ok(log) = log {
                        said.extend(&log.end);
                        log.rest(&mut |data| task.log(stream, data));
                    }
                }
            }
            (end, said)
        }))
    }
}

/// A pipe whose ends are closed when another program is executed.
fn pipe() -> Result<(OwnedFd, OwnedFd), BuildError> {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(|error| BuildError::failed(format!("{error}: failed to make a pipe")))
}

/// Reads a pipe to its end, or, once `ended` is hung up, what is in it by then.
fn read(pipe: OwnedFd, ended: &OwnedFd, take: &mut dyn FnMut(&[u8])) {
    let mut buffer = vec![0; READ];
    let mut left = None;
    let mut file = File::from(pipe);
    loop {
        if left.is_none() {
            let mut fds = [PollFd::new(&file, PollFlags::IN), PollFd::new(ended, PollFlags::IN)];
            match rustix::event::poll(&mut fds, None) {
                Err(Errno::INTR) => continue,
                Err(_) => return,
                Ok(_) => {}
            }
            if !fds[1].revents().is_empty() {
                left = Some(rustix::io::ioctl_fionread(&file).unwrap_or_default());
            }
        }
        let most = left.map_or(READ, |left| usize::try_from(left).unwrap_or(READ).min(READ));
        match file.read(&mut buffer[..most]) {
            Ok(0) => return,
            Ok(length) => {
                take(&buffer[..length]);
                left = left.map(|left| left.saturating_sub(length as u64));
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// One stream of a step, clipped to its limits.
#[derive(Debug)]
struct ClippedLog {
    limits: LogLimits,
    /// Bytes seen, whether they were shown or not.
    seen: u64,
    clipping: bool,
    /// The end of what was not shown since it was last clipped.
    hidden: VecDeque<u8>,
    /// The end of all that was seen.
    end: VecDeque<u8>,
}

impl ClippedLog {
    fn new(limits: LogLimits) -> Self {
        Self { limits, seen: 0, clipping: false, hidden: VecDeque::new(), end: VecDeque::new() }
    }

    /// How much may have been seen by now, and the words for it; none without a limit.
    fn allowed(&self, elapsed: Duration) -> Option<(u64, String)> {
        let size = self.limits.size?;
        let seconds = elapsed.as_secs() + u64::from(elapsed.subsec_nanos() > 0);
        let by_speed = self.limits.speed.map(|speed| (speed.saturating_mul(seconds), speed));
        Some(match by_speed.filter(|(allowed, _)| *allowed <= size) {
            Some((allowed, speed)) => (allowed, format!("{}/s", binary_size(speed))),
            None => (size, binary_size(size)),
        })
    }

    /// Takes what was read so long after the step began, and passes on what may be shown.
    fn take(&mut self, data: &[u8], elapsed: Duration, pass: &mut dyn FnMut(Vec<u8>)) {
        self.end.extend(&data[data.len().saturating_sub(END)..]);
        self.end.drain(..self.end.len().saturating_sub(END));
        let before = self.seen;
        self.seen = self.seen.saturating_add(data.len() as u64);
        let limit = self.allowed(elapsed).filter(|(allowed, _)| self.seen > *allowed);
        let Some((allowed, words)) = limit else {
            // A step that was too fast for a while has come back into its limits.
            self.clipping = false;
            self.hidden.clear();
            pass(data.to_vec());
            return;
        };
        let shown = usize::try_from(allowed.saturating_sub(before)).unwrap_or(data.len()).min(data.len());
        let (shown, hidden) = data.split_at(shown);
        let mut shown = shown.to_vec();
        if !self.clipping {
            self.clipping = true;
            shown.extend_from_slice(format!("\n[output clipped, log limit {words} reached]\n").as_bytes());
        }
        if !shown.is_empty() {
            pass(shown);
        }
        self.hidden.extend(hidden);
        self.hidden.drain(..self.hidden.len().saturating_sub(KEPT));
    }

    /// Passes on the end of what was not shown.
    fn rest(mut self, pass: &mut dyn FnMut(Vec<u8>)) {
        self.hidden.make_contiguous().chunks(READ).for_each(|chunk| pass(chunk.to_vec()));
    }
}

/// A size in binary units: `2MiB`, `1.5KiB`, `1000B`.
fn binary_size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let power = (0..units.len() - 1).take_while(|power| bytes >> (10 * (power + 1)) > 0).count();
    #[expect(clippy::cast_precision_loss, reason = "it is shown to people")]
    let value = bytes as f64 / (1_u64 << (10 * power)) as f64;
    format!("{value}{}", units[power])
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn shown(limits: LogLimits, writes: &[(&[u8], u64)]) -> (Vec<String>, String) {
        let mut log = ClippedLog::new(limits);
        let mut shown = Vec::new();
        for (data, ms) in writes {
            log.take(data, Duration::from_millis(*ms), &mut |data| {
                shown.push(String::from_utf8(data).unwrap());
            });
        }
        let mut rest = String::new();
        log.rest(&mut |data| rest.push_str(std::str::from_utf8(&data).unwrap()));
        (shown, rest)
    }

    #[test]
    fn output_is_clipped_by_size_and_by_speed() {
        let limits = LogLimits { size: Some(8), speed: None };
        let (text, rest) = shown(limits, &[(b"12345", 1), (b"67890", 2), (b"abc", 9000)]);
        assert_eq!(text, ["12345", "678\n[output clipped, log limit 8B reached]\n"]);
        assert_eq!(rest, "90abc");

        let limits = LogLimits { size: Some(100), speed: Some(4) };
        let writes: &[(&[u8], u64)] = &[(b"12", 1), (b"3456", 10), (b"78", 999), (b"9", 2001), (b"0", 2002)];
        let (text, rest) = shown(limits, writes);
        assert_eq!(text, ["12", "34\n[output clipped, log limit 4B/s reached]\n", "9", "0"]);
        assert_eq!(rest, "", "it has come back into its limits");
        let (text, rest) = shown(limits, &writes[..3]);
        assert_eq!((text.len(), rest.as_str()), (2, "5678"));
    }

    #[test]
    fn without_a_size_there_is_no_limit() {
        let long = "x".repeat(10 << 20);
        let limits = LogLimits { size: None, speed: Some(1) };
        assert_eq!(shown(limits, &[(long.as_bytes(), 1)]).0, [long]);
    }

    #[test]
    fn of_what_is_clipped_only_the_end_is_kept() {
        let mut log = ClippedLog::new(LogLimits { size: Some(0), speed: None });
        for number in 0..100_000 {
            log.take(format!("{number}\n").as_bytes(), Duration::ZERO, &mut |_| {});
            assert!(log.hidden.len() <= KEPT);
        }
        let mut rest = Vec::new();
        log.rest(&mut |data| rest.extend(data));
        assert_eq!(rest.len(), KEPT);
        assert!(rest.ends_with(b"99998\n99999\n"));
    }

    #[test]
    fn the_end_is_kept_whether_it_was_shown_or_not() {
        for limits in [LogLimits { size: Some(0), speed: None }, LogLimits { size: None, speed: None }] {
            let mut log = ClippedLog::new(limits);
            for _ in 0..10 {
                log.take(&[b'x'; END], Duration::ZERO, &mut |_| {});
                log.take(b"the end", Duration::ZERO, &mut |_| {});
            }
            assert_eq!(log.end.len(), END);
            assert!(log.end.make_contiguous().ends_with(b"xthe end"));
        }
    }

    #[test]
    fn sizes_have_the_words_of_buildkit() {
        let sizes = [0, 1000, 1024, 200 << 10, 2 << 20, 3 << 19, u64::MAX].map(binary_size);
        assert_eq!(sizes, ["0B", "1000B", "1KiB", "200KiB", "2MiB", "1.5MiB", "16EiB"]);
    }

    #[test]
    fn a_pipe_that_stays_open_is_read_to_what_is_in_it() {
        let (ours, theirs) = pipe().unwrap();
        let (ended, ends) = pipe().unwrap();
        let mut theirs = File::from(theirs);
        theirs.write_all(b"the last words").unwrap();
        drop(ends);
        let mut seen = Vec::new();
        read(ours, &ended, &mut |data| {
            seen.extend_from_slice(data);
            // Whoever holds the other end goes on, but is not heard any more.
            let _ = theirs.write_all(b"more");
        });
        assert_eq!(seen, b"the last words");
    }
}

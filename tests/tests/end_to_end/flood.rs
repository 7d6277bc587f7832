//! Steps that write more than anybody can read, and readers that are slow or gone.

use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use rbx_tests::{Parts, Terminal, interrupt, rbx};
use wait4::Wait4;

/// The most memory that docker-rbx may take, in bytes.
const MEMORY: u64 = 64 << 20;

/// The tests of this module.
pub(crate) fn trials() -> Vec<Trial> {
    let trial = |name: &str, test: fn() -> Result<(), String>| {
        Trial::test(format!("flood::{name}"), move || test().map_err(Failed::from))
    };
    vec![
        trial("plain_takes_a_gigabyte_of_lines", plain_takes_a_gigabyte_of_lines),
        trial("tty_takes_a_gigabyte_in_one_line", tty_takes_a_gigabyte_in_one_line),
        trial("rawjson_takes_binary_output_without_limits", rawjson_takes_binary_output_without_limits),
        trial("quiet_takes_escapes_without_limits", quiet_takes_escapes_without_limits),
        trial("a_reader_that_hangs_up_changes_nothing", a_reader_that_hangs_up_changes_nothing),
        trial("a_slow_reader_holds_the_step_up", a_slow_reader_holds_the_step_up),
        trial("a_reader_that_stops_cannot_hold_up_the_end", a_reader_that_stops_cannot_hold_up_the_end),
    ]
}

struct Work {
    directory: tempfile::TempDir,
    layout: PathBuf,
    parts: Parts,
}

impl Work {
    /// A context with one step.
    fn new(run: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(directory.path().join("context")).expect("a context");
        let dockerfile = format!("FROM base\nRUN {run}\n");
        fs::write(directory.path().join("context/Dockerfile"), dockerfile).expect("a Dockerfile");
        let parts = Parts::locate();
        Self { directory, layout: parts.layout("busybox"), parts }
    }

    fn build(&self, progress: &str) -> Command {
        let mut command = rbx(&self.parts, self.directory.path());
        let layout = format!("base=oci-layout://{}", self.layout.display());
        command
            .args(["build", "--build-context", &layout, "--progress", progress])
            .arg(self.directory.path().join("context"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    }
}

/// What came of a build whose output was read.
struct Seen {
    code: Option<i32>,
    bytes: u64,
    /// The last of it, up to 4 MiB.
    end: String,
}

/// Runs a build and reads what it writes; fails if that takes too much memory.
fn read(mut command: Command, terminal: Option<Terminal>) -> Result<Seen, String> {
    if let Some(terminal) = &terminal {
        command.stderr(terminal.program_side());
    }
    let mut child = command.spawn().expect("docker-rbx runs");
    // The program's side of the terminal, which is open as long as somebody has it.
    drop(command);
    let (mut bytes, mut end) = (0, Vec::new());
    let mut reader: Box<dyn Read> = match terminal {
        Some(terminal) => Box::new(terminal.into_reader()),
        None => Box::new(child.stderr.take().expect("standard error")),
    };
    let mut buffer = vec![0; 1 << 16];
    // A terminal ends with an error.
    while let Ok(length @ 1..) = reader.read(&mut buffer) {
        bytes += length as u64;
        end.extend_from_slice(&buffer[..length]);
        let cut = end.len().saturating_sub(4 << 20);
        end.drain(..cut);
    }
    let used = child.wait4().map_err(|error| error.to_string())?;
    if used.rusage.maxrss > MEMORY {
        return Err(format!("docker-rbx took {} MiB", used.rusage.maxrss >> 20));
    }
    Ok(Seen { code: used.status.code(), bytes, end: String::from_utf8_lossy(&end).into_owned() })
}

fn expect(found: bool, what: &str, seen: &Seen) -> Result<(), String> {
    let Seen { code, bytes, end } = seen;
    let last = &end[end.ceil_char_boundary(end.len().saturating_sub(2000))..];
    if found { Ok(()) } else { Err(format!("{what}: exit code {code:?}, {bytes} bytes ending\n{last}")) }
}

fn plain_takes_a_gigabyte_of_lines() -> Result<(), String> {
    let work = Work::new("yes 0123456789 | head -c 999999990; echo the reason; exit 3");
    let seen = read(work.build("plain"), None)?;
    expect(seen.code == Some(1) && seen.bytes < 20 << 20, "clipped", &seen)?;
    let block = seen.end.split_once("------\n > ").map_or("", |(_, block)| block);
    let lines: Vec<&str> = block.split("------").next().unwrap_or_default().lines().collect();
    let right = lines.len() == 11
        && lines[10].ends_with(" the reason")
        && lines[1..10].iter().all(|line| line.ends_with(" 0123456789"));
    expect(right, "the end of the output", &seen)?;
    expect(seen.end.ends_with("exit code: 3\n"), "the error", &seen)
}

fn tty_takes_a_gigabyte_in_one_line() -> Result<(), String> {
    let work = Work::new("head -c 1000000000 /dev/zero | tr '\\0' x; echo; echo the reason; exit 3");
    let seen = read(work.build("tty"), Some(Terminal::new(80, 24)))?;
    expect(seen.code == Some(1), "the exit code", &seen)?;
    expect(seen.end.contains("x\r\n") && seen.end.contains(" the reason\r\n"), "the output", &seen)?;
    let shown = seen.end.rfind("\x1b[?25h") > seen.end.rfind("\x1b[?25l");
    expect(shown, "the cursor is shown again", &seen)
}

fn rawjson_takes_binary_output_without_limits() -> Result<(), String> {
    let work = Work::new("head -c 60000000 /dev/urandom");
    let mut command = work.build("rawjson");
    command.env("BUILDKIT_STEP_LOG_MAX_SIZE", "-1");
    let seen = read(command, None)?;
    expect(seen.code == Some(0) && seen.bytes > 80_000_000, "all of it is there", &seen)
}

fn quiet_takes_escapes_without_limits() -> Result<(), String> {
    // A string that hardly ends, then empty lines.
    let strings = r"printf '\033]'; head -c 4000000 /dev/zero | tr '\0' x; printf '\a'";
    let work = Work::new(&format!("{strings}; yes '' | head -c 4000000; exit 3"));
    let mut command = work.build("quiet");
    command.env("BUILDKIT_STEP_LOG_MAX_SIZE", "-1");
    let seen = read(command, None)?;
    expect(seen.code == Some(1) && seen.end.ends_with("exit code: 3\n"), "the error", &seen)
}

fn a_reader_that_hangs_up_changes_nothing() -> Result<(), String> {
    let work = Work::new("yes | head -c 5000000 && echo done >/done");
    let out = work.directory.path().join("out.tar");
    let mut command = work.build("plain");
    command.env("BUILDKIT_STEP_LOG_MAX_SIZE", "-1");
    command.arg(format!("--output=type=tar,dest={}", out.display()));
    let mut child = command.spawn().expect("docker-rbx runs");
    let mut stderr = child.stderr.take().expect("standard error");
    stderr.read_exact(&mut [0; 100]).expect("a first line");
    drop(stderr);
    let status = child.wait().expect("it ends");
    let written = fs::read(&out).unwrap_or_default();
    if !status.success() || !written.windows(5).any(|bytes| bytes == b"done\n") {
        return Err(format!("{status}, {} bytes of an archive", written.len()));
    }
    Ok(())
}

fn a_slow_reader_holds_the_step_up() -> Result<(), String> {
    let work = Work::new("echo begun; yes | head -c 300000000; touch /ended");
    let mut command = work.build("plain");
    command.env("BUILDKIT_STEP_LOG_MAX_SIZE", "-1");
    let mut child = command.spawn().expect("docker-rbx runs");
    let mut stderr = child.stderr.take().expect("standard error");
    let mut seen = Vec::new();
    while !seen.windows(6).any(|bytes| bytes == b" begun") {
        let mut byte = [0];
        stderr.read_exact(&mut byte).expect("output");
        seen.push(byte[0]);
    }
    // Nothing more is read: the step cannot end, and one request is enough to end the build.
    std::thread::sleep(Duration::from_secs(2));
    let running = child.try_wait().expect("a child").is_none();
    interrupt(&child);
    let mut rest = Vec::new();
    stderr.read_to_end(&mut rest).expect("the rest");
    let used = child.wait4().map_err(|error| error.to_string())?;
    let end = String::from_utf8_lossy(&rest[rest.len().saturating_sub(1000)..]).into_owned();
    let seen = Seen { code: used.status.code(), bytes: rest.len() as u64, end };
    expect(running, "it ended though nobody read", &seen)?;
    expect(seen.code == Some(130) && seen.end.contains("context canceled"), "it was cancelled", &seen)?;
    expect(used.rusage.maxrss < MEMORY && seen.bytes < 64 << 20, "little was waiting", &seen)
}

fn a_reader_that_stops_cannot_hold_up_the_end() -> Result<(), String> {
    let work = Work::new("yes");
    let mut command = work.build("plain");
    command.env("BUILDKIT_STEP_LOG_MAX_SIZE", "-1");
    let mut child = command.spawn().expect("docker-rbx runs");
    let mut stderr = child.stderr.take().expect("standard error");
    let mut seen = Vec::new();
    while !seen.windows(3).any(|bytes| bytes == b" y\n") {
        let mut byte = [0];
        stderr.read_exact(&mut byte).expect("output");
        seen.push(byte[0]);
    }
    std::thread::sleep(Duration::from_secs(1));
    interrupt(&child);
    std::thread::sleep(Duration::from_secs(1));
    interrupt(&child);
    let status = child.wait().expect("it ends");
    drop(stderr);
    if status.code() != Some(130) {
        return Err(format!("{status}"));
    }
    Ok(())
}

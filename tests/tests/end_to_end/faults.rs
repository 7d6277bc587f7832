//! What goes wrong in the middle of a build on other people's daemons: one clear error each, buildx's exit status,
//! nothing left behind, and a builder that builds again.
//!
//! `RBX_PROGRAM=buildx` holds buildx against the same expectations.

mod containers;

use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use rbx_tests::builders::{Builder, Program, Row};
use rbx_tests::{Parts, Pipe, Terminal, interrupt};
use rustix::process::{Pid, Signal, kill_process};

/// What takes longer hangs.
const LONGEST: Duration = Duration::from_mins(1);

/// The tests of this module.
pub(crate) fn trials() -> Vec<Trial> {
    let trial = |name: &str, row: Row, test: fn(Row) -> Result<(), String>| {
        Trial::test(format!("faults::{}::{name}", row.name()), move || test(row).map_err(Failed::from))
    };
    let mut trials = Vec::new();
    for row in ROWS {
        trials.push(trial("the_daemon_is_killed", row, the_daemon_is_killed));
        trials.push(trial("ctrl_c_once", row, ctrl_c_once));
        trials.push(trial("the_terminal_goes_away", row, the_terminal_goes_away));
    }
    for row in containers::ROWS {
        trials.push(trial("the_container_is_taken_away", row, containers::the_container_is_taken_away));
    }
    // There a relay can be put between.
    for (name, test) in [
        ("the_socket_closes", the_socket_closes as fn(Row) -> Result<(), String>),
        ("ctrl_c_three_times", ctrl_c_three_times),
        ("a_file_vanishes", a_file_vanishes),
        ("a_file_changes", a_file_changes),
    ] {
        trials.push(trial(name, Row::DockerContainerd, test));
    }
    trials
}

/// The rows whose daemon is another process.
const ROWS: [Row; 2] = [Row::DockerContainerd, Row::RemoteUnix];

/// Who is tried.
fn program() -> Program {
    match std::env::var("RBX_PROGRAM").as_deref() {
        Ok("buildx") => Program::Buildx,
        _ => Program::Rbx,
    }
}

/// A builder, a context, and a directory for temporary files.
struct Work {
    builder: Builder,
    directory: tempfile::TempDir,
    /// A number that is in the command line of the step that never ends, and in no other.
    marker: String,
}

/// A build that runs.
struct Running {
    child: Child,
    said: Arc<Mutex<String>>,
    reader: Option<thread::JoinHandle<()>>,
}

impl Work {
    fn new(row: Row) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let nanos = std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.subsec_nanos());
        let work = Self {
            builder: Builder::start(row),
            marker: format!("{}{nanos:09}", std::process::id()),
            directory,
        };
        for name in ["context", "tmp"] {
            fs::create_dir(work.path(name)).expect("a directory");
        }
        work.dockerfile("FROM base\nRUN true\n");
        work
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn dockerfile(&self, text: &str) {
        fs::write(self.path("context/Dockerfile"), text).expect("a Dockerfile");
    }

    /// A step that says `begun` and goes on for ever.
    fn never_ending(&self) {
        self.dockerfile(&format!("FROM base\nRUN echo begun; sleep {}\n", self.marker));
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.builder.command(program());
        command.args(words).env("TMPDIR", self.path("tmp")).stdin(Stdio::null());
        command.current_dir(self.directory.path());
        command
    }

    fn build(&self, progress: &str) -> Command {
        let base = format!("base=oci-layout://{}", Parts::locate().layout("busybox").display());
        let mut command = self.command(&["build", "--network=host", "--provenance=false"]);
        command.args(["--output=type=cacheonly", "--progress", progress, "--build-context", &base]);
        command.arg(self.path("context"));
        command
    }

    /// A build whose step has begun, and the pipe by which it speaks with the daemon.
    fn begun_by_a_pipe(&self) -> Result<(Pipe, Running), String> {
        let pipe = Pipe::start(&self.builder.engine().socket());
        self.never_ending();
        let mut command = self.build("plain");
        command.env("DOCKER_HOST", pipe.host());
        let mut running = Running::start(command);
        running.begun()?;
        Ok((pipe, running))
    }

    /// That nothing is left, the builder is what it was, and it builds.
    fn is_well(&self) -> Result<(), String> {
        let left: Vec<PathBuf> = fs::read_dir(self.path("tmp"))
            .expect("the directory can be read")
            .map(|entry| entry.expect("the directory can be read").path())
            .collect();
        if !left.is_empty() {
            return Err(format!("temporary files are left: {left:?}"));
        }
        let started = Instant::now();
        while let Some((_, process)) = process_with(&self.marker) {
            if started.elapsed() > LONGEST {
                return Err(format!("a process is left: {process}"));
            }
            thread::sleep(Duration::from_millis(20));
        }
        let inspected = self.command(&["inspect"]).output().map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&inspected.stdout).into_owned();
        if !inspected.status.success() || !text.contains("running") {
            return Err(format!("the builder is not what it was: {text}{}", lossy(&inspected.stderr)));
        }
        self.dockerfile("FROM base\nRUN echo again > /again\n");
        let output = self.build("plain").output().map_err(|error| error.to_string())?;
        if output.status.success() {
            Ok(())
        } else {
            Err(format!("the next build: {}", lossy(&output.stderr)))
        }
    }
}

impl Running {
    fn start(mut command: Command) -> Self {
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program can be run");
        let stream = child.stderr.take().expect("a pipe");
        let mut running = Self { child, said: Arc::default(), reader: None };
        running.read(stream);
        running
    }

    fn read(&mut self, mut stream: impl Read + Send + 'static) {
        let said = self.said.clone();
        self.reader = Some(thread::spawn(move || {
            let mut buffer = vec![0; 1 << 14];
            while let Ok(length @ 1..) = stream.read(&mut buffer) {
                said.lock().unwrap_or_else(PoisonError::into_inner).push_str(&lossy(&buffer[..length]));
            }
        }));
    }

    fn said(&self) -> String {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until the step that never ends has begun.
    fn begun(&mut self) -> Result<(), String> {
        let started = Instant::now();
        loop {
            let said = self.said();
            // Not in the command line of the step.
            if said.lines().any(|line| line.trim_end().ends_with(" begun")) {
                return Ok(());
            }
            if self.child.try_wait().expect("a child").is_some() || started.elapsed() > LONGEST {
                let _ = self.child.kill();
                return Err(format!("it never begins: {said}"));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until it has ended, and gives what it said.
    fn ended(mut self) -> Result<(ExitStatus, String), String> {
        let started = Instant::now();
        let status = loop {
            match self.child.try_wait().expect("a child") {
                Some(status) => break status,
                None if started.elapsed() > LONGEST => {
                    let _ = self.child.kill();
                    let _ = self.child.wait();
                    return Err(format!("it hangs: {}", self.said()));
                }
                None => thread::sleep(Duration::from_millis(5)),
            }
        };
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        Ok((status, self.said()))
    }

    /// The same for one that fails: with this status, and one error.
    fn fails(self, code: i32) -> Result<String, String> {
        let (status, said) = self.ended()?;
        let errors: Vec<&str> = said.lines().filter(|line| line.starts_with("ERROR: ")).collect();
        let clear = program() == Program::Buildx || !said.contains("rpc error") && !said.contains("panicked");
        match (status.code(), &errors[..]) {
            (Some(found), [error]) if found == code && clear => Ok((*error).to_owned()),
            _ => Err(format!("{status}, where {code} and one error should be: {errors:?}\n{said}")),
        }
    }
}

impl Running {
    /// The same for one whose builder is gone: the error says so, and what to look at.
    fn loses_the_builder(self) -> Result<(), String> {
        let said = self.said.clone();
        let lost = "lost the connection to the builder: it was closed at the other end";
        expect(&self.fails(1)?, &[lost, "the builder closed the session"])?;
        let said = said.lock().unwrap_or_else(PoisonError::into_inner);
        expect(&said, &["\nHint: is the Docker daemon running? ", "\nHint: is the builder at unix://"])
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A process that has a word in its command line, if there is any; not this one's children, whose words are others.
fn process_with(word: &str) -> Option<(Pid, String)> {
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let line = fs::read_to_string(entry.path().join("cmdline")).ok()?.replace('\0', " ");
        let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
        line.contains(word).then_some((pid, line))
    })
}

fn expect(error: &str, words: &[&str]) -> Result<(), String> {
    if program() == Program::Buildx || words.iter().any(|word| error.contains(word)) {
        return Ok(());
    }
    Err(format!("{error:?} has none of {words:?}"))
}

fn the_daemon_is_killed(row: Row) -> Result<(), String> {
    let mut work = Work::new(row);
    work.never_ending();
    let mut running = Running::start(work.build("plain"));
    running.begun()?;
    work.builder.engine().kill();
    running.loses_the_builder()?;
    // The step's own process is nobody's any more.
    while let Some((pid, _)) = process_with(&work.marker) {
        // It may have ended by itself.
        let _ = kill_process(pid, Signal::KILL);
        thread::sleep(Duration::from_millis(20));
    }
    work.builder.engine_mut().start_again();
    work.is_well()
}

fn the_socket_closes(row: Row) -> Result<(), String> {
    let work = Work::new(row);
    let (pipe, running) = work.begun_by_a_pipe()?;
    pipe.cut();
    running.loses_the_builder()?;
    work.is_well()
}

fn ctrl_c_once(row: Row) -> Result<(), String> {
    let work = Work::new(row);
    work.never_ending();
    let mut running = Running::start(work.build("plain"));
    running.begun()?;
    interrupt(&running.child);
    let error = running.fails(130)?;
    expect(&error, &["context canceled"])?;
    work.is_well()
}

fn ctrl_c_three_times(row: Row) -> Result<(), String> {
    let work = Work::new(row);
    let (pipe, mut running) = work.begun_by_a_pipe()?;
    // Nothing that is said to the daemon comes there any more.
    pipe.stop_after(0);
    for _ in 0..3 {
        interrupt(&running.child);
        // Signals of one kind are one if they come at once.
        thread::sleep(Duration::from_millis(300));
        if running.child.try_wait().expect("a child").is_some() {
            break;
        }
    }
    let (status, said) = running.ended()?;
    if !matches!(status.code(), Some(1 | 130)) {
        return Err(format!("{status}: {said}"));
    }
    pipe.cut();
    pipe.resume();
    work.is_well()
}

fn the_terminal_goes_away(row: Row) -> Result<(), String> {
    let work = Work::new(row);
    work.never_ending();
    let terminal = Terminal::new(80, 24);
    let mut command = Command::new("setsid");
    command.env_clear();
    let inner = work.build("tty");
    command.args(["--ctty", "--wait"]).arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    command.process_group(0).current_dir(work.directory.path());
    command.stdin(terminal.program_side()).stdout(terminal.program_side()).stderr(terminal.program_side());
    let child = command.spawn().expect("setsid can be run");
    drop(command);
    let reader = Arc::new(Mutex::new(Some(terminal.into_reader())));
    let mut running = Running { child, said: Arc::default(), reader: None };
    let stream = reader.lock().unwrap_or_else(PoisonError::into_inner).take().expect("a terminal");
    // It is read until the step runs; then nobody has it any more.
    let (begun, said) = (Arc::new(Mutex::new(false)), running.said.clone());
    let seen = begun.clone();
    let reading = thread::spawn(move || {
        let (mut stream, mut buffer) = (stream, vec![0; 1 << 14]);
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
            said.push_str(&lossy(&buffer[..length]));
            if said.contains(" begun\u{1b}") || said.lines().any(|line| line.trim_end().ends_with(" begun")) {
                *seen.lock().unwrap_or_else(PoisonError::into_inner) = true;
                break;
            }
        }
    });
    let started = Instant::now();
    while !reading.is_finished() && started.elapsed() < LONGEST {
        thread::sleep(Duration::from_millis(5));
    }
    if !*begun.lock().unwrap_or_else(PoisonError::into_inner) {
        let _ = running.child.kill();
        return Err(format!("it never begins: {}", running.said()));
    }
    reading.join().map_err(|_| "the reader panicked".to_owned())?;
    running.reader = None;
    running.ended()?;
    work.is_well()
}

/// Files that take a while to be sent, and one that is sent after them, which is answered. The builder has its base
/// before: BuildKit cannot go on with a blob of a layout that was half copied when a build ended.
fn many_files(work: &Work) -> Result<PathBuf, String> {
    work.is_well()?;
    work.dockerfile("FROM base\nCOPY . /all/\n");
    for number in 0..12 {
        let mut text = vec![0; 6 << 20];
        let mut random = fs::File::open("/dev/urandom").expect("a source of bytes");
        random.read_exact(&mut text).expect("bytes");
        fs::write(work.path(&format!("context/file-{number:02}")), text).expect("a file");
    }
    let last = work.path("context/last");
    fs::write(&last, "last\n").expect("a file");
    Ok(last)
}

/// Builds, and does something while files are being sent.
fn while_sending(work: &Work, change: impl FnOnce()) -> Running {
    let pipe = Pipe::start(&work.builder.engine().socket());
    pipe.stop_after(3 << 20);
    let mut command = work.build("plain");
    command.env("DOCKER_HOST", pipe.host());
    let running = Running::start(command);
    pipe.wait_until_stopped();
    change();
    pipe.resume();
    // Goes on for as long as the program has it open.
    thread::spawn(move || {
        thread::sleep(LONGEST);
        drop(pipe);
    });
    running
}

fn a_file_vanishes(row: Row) -> Result<(), String> {
    let work = Work::new(row);
    let last = many_files(&work)?;
    let running = while_sending(&work, || fs::remove_file(&last).expect("it is there"));
    if program() == Program::Buildx {
        // It sends an empty file in its place, and says nothing.
        running.ended()?;
    } else {
        expect(&running.fails(1)?, &["last"])?;
    }
    fs::remove_dir_all(work.path("context"))
        .and_then(|()| fs::create_dir(work.path("context")))
        .expect("anew");
    work.is_well()
}

fn a_file_changes(row: Row) -> Result<(), String> {
    let work = Work::new(row);
    many_files(&work)?;
    let first = work.path("context/file-00");
    let shorten = |path: &Path| {
        let file = fs::OpenOptions::new().write(true).open(path).expect("it is there");
        file.set_len(1000).expect("it can be made shorter");
    };
    let (status, said) = while_sending(&work, || shorten(&first)).ended()?;
    // What was read is what is built, or it is an error: never a wait without end.
    if !matches!(status.code(), Some(0 | 1)) {
        return Err(format!("{status}: {said}"));
    }
    fs::remove_dir_all(work.path("context"))
        .and_then(|()| fs::create_dir(work.path("context")))
        .expect("anew");
    work.is_well()
}

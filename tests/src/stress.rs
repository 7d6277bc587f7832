//! Builds that are disturbed at random moments, and many builds at once: what they leave must be right.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rbx_store::Store;
use rustix::process::{Pid, Signal};

use crate::{Engine, Parts, Registry, rbx};

/// A build that lasts longer than this hangs.
const LONGEST: Duration = Duration::from_mins(3);
/// A plain build follows after so many disturbed ones.
const CHECK_EVERY: u32 = 10;

/// Pulls, copies, runs, mounts a cache and a stage; the same input gives the same image.
const DOCKERFILE: &str = r"FROM registry.test/busybox AS one
COPY src /src
RUN --mount=type=cache,target=/cache cd /src && find . -type f | sort | xargs cat >/all && cp /all /cache/all && sleep 0.05
FROM registry.test/busybox AS two
RUN echo two >/two && rm /bin/vi && mkdir -p /deep/er && ln -s /two /deep/er/link
FROM one
COPY --link src/d1 /again
COPY --from=two /deep /deep
ARG VARIANT=plain
RUN --mount=from=two,target=/mnt cat /all /mnt/two >/all2 && rm -r /src && echo $VARIANT >/variant
";

/// Numbers that look random and are the same for the same seed (`splitmix64`).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Numbers for a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (number ^ (number >> 31)) % end.max(1)
    }
}

/// A registry, a context, and stores that are built in.
#[derive(Debug)]
pub struct Stress {
    directory: tempfile::TempDir,
    parts: Parts,
    _registry: Registry,
    engine: Option<Engine>,
}

/// What is done to a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Disturbance {
    Kill,
    Terminate,
    Interrupt,
    InterruptTwice,
    Pause,
    KillHelper,
}

impl Stress {
    /// Starts what builds need; with an Engine, images are loaded into it too.
    ///
    /// # Panics
    ///
    /// If the parts are missing or do not start.
    pub fn new(engine: Option<Engine>) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let registry = Registry::with_images();
        let context = directory.path().join("context");
        for number in 0..400 {
            let path = context.join(format!("src/d{}/f{number}", number % 9));
            fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
            fs::write(&path, format!("{number} ").repeat(500)).expect("a file");
        }
        let dockerfile = DOCKERFILE.replace("registry.test", registry.address());
        fs::write(context.join("Dockerfile"), dockerfile).expect("a Dockerfile");
        Self { directory, parts: Parts::locate(), _registry: registry, engine }
    }

    fn home(&self, home: &str) -> PathBuf {
        self.directory.path().join(home)
    }

    fn command(&self, home: &str) -> Command {
        let path = self.home(home);
        fs::create_dir_all(&path).expect("a home");
        let mut command = rbx(&self.parts, &path);
        if let Some(engine) = &self.engine {
            command.env("DOCKER_HOST", engine.host());
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    /// A build whose files are named after `name`.
    fn build(&self, home: &str, name: &str, more: &[&str]) -> Command {
        let path = self.home(home);
        let mut command = self.command(home);
        command
            .args(["build", "--progress=plain", "--build-arg=SOURCE_DATE_EPOCH=1700000000"])
            .arg(format!("--iidfile={}", path.join(format!("{name}.id")).display()))
            .arg(format!(
                "--output=type=oci,rewrite-timestamp=true,dest={}",
                path.join(format!("{name}.tar")).display()
            ))
            .args(more);
        if self.engine.is_some() {
            command.arg("--output=type=docker,rewrite-timestamp=true").arg("--tag=rbx.test/stress");
        }
        command.arg(self.directory.path().join("context"));
        command
    }

    /// Builds to the end; answers the image's ID and how long it took.
    fn finish(&self, home: &str, name: &str, more: &[&str]) -> Result<(String, Duration), String> {
        let started = Instant::now();
        ended_well(self.build(home, name, more))?;
        let id = fs::read_to_string(self.home(home).join(format!("{name}.id"))).map_err(|e| e.to_string())?;
        Ok((id, started.elapsed()))
    }

    /// Disturbs so many builds at random moments, most with `kill -9`. After every few of them a plain build must
    /// give the right image, and the store must be whole.
    ///
    /// # Errors
    ///
    /// What was wrong, with the number of the build.
    pub fn disturbed(&self, builds: u32, seed: u64, said: &mut dyn FnMut(&str)) -> Result<(), String> {
        let mut random = Random::new(seed);
        let (expected, whole) = self.finish("whole", "plain", &[])?;
        said(&format!("undisturbed: {expected} in {whole:?}"));
        for number in 1..=builds {
            let at = |fault: String| format!("seed {seed}, build {number}: {fault}");
            let what = match random.below(12) {
                0..6 => Disturbance::Kill,
                6 => Disturbance::Terminate,
                7 => Disturbance::Interrupt,
                8 => Disturbance::InterruptTwice,
                9 => Disturbance::Pause,
                _ => Disturbance::KillHelper,
            };
            let more: &[&str] = match random.below(4) {
                0 => &["--no-cache"],
                1 => &["--pull", "--no-cache-filter=one"],
                _ => &[],
            };
            if random.below(4) == 0 {
                let mut prune = self.command("disturbed");
                prune.args(["prune", "--all", "--force"]);
                ended_well(prune).map_err(at)?;
            }
            let moment = whole.mul_f64(f64::from(u32::try_from(random.below(1200)).unwrap_or(0)) / 1000.0);
            let child = self.build("disturbed", "plain", more).spawn().expect("docker-rbx runs");
            let (status, text) = disturb(child, what, moment).map_err(at)?;
            let fine = match what {
                Disturbance::Kill => true,
                // It may have been done by then.
                Disturbance::Terminate | Disturbance::Interrupt | Disturbance::InterruptTwice => {
                    matches!(status.code(), Some(0 | 130))
                }
                Disturbance::Pause => status.success(),
                Disturbance::KillHelper => matches!(status.code(), Some(0 | 1)),
            };
            said(&format!("{number}: {what:?} after {moment:?} {more:?}: {status}"));
            if !fine {
                return Err(at(format!("{what:?} ended with {status}: {text}")));
            }
            self.nothing_runs("disturbed").map_err(at)?;
            if number % CHECK_EVERY == 0 || number == builds {
                let (found, _) = self.finish("disturbed", "plain", &[]).map_err(at)?;
                if found != expected {
                    return Err(at(format!("the image is {found} instead of {expected}")));
                }
                self.check("disturbed").map_err(at)?;
            }
        }
        Ok(())
    }

    /// Does so many builds at once on one store while another process removes everything it can: half of them the
    /// same, half with a last step of their own.
    ///
    /// # Errors
    ///
    /// What was wrong, with the number of the build.
    pub fn at_once(&self, builds: u32, prune: bool, said: &mut dyn FnMut(&str)) -> Result<(), String> {
        let variant = |number: u32| match number % 2 {
            0 => "--build-arg=VARIANT=plain".to_owned(),
            _ => format!("--build-arg=VARIANT={number}"),
        };
        let (expected, _) = self.finish("whole", "plain", &[])?;
        let started = Instant::now();
        let done = std::sync::atomic::AtomicBool::new(false);
        let built: Vec<Result<String, String>> = thread::scope(|scope| {
            let pruning = prune.then(|| {
                scope.spawn(|| {
                    let mut rounds = 0;
                    while !done.load(std::sync::atomic::Ordering::Relaxed) {
                        let mut prune = self.command("many");
                        prune.args(["prune", "--all", "--force"]);
                        ended_well(prune)?;
                        rounds += 1;
                    }
                    Ok::<u32, String>(rounds)
                })
            });
            let work: Vec<_> = (0..builds)
                .map(|number| {
                    scope.spawn(move || {
                        let name = format!("build{number}");
                        self.finish("many", &name, &[&variant(number)]).map(|(id, _)| id)
                    })
                })
                .collect();
            let mut built: Vec<_> = work.into_iter().map(|work| work.join().expect("a thread")).collect();
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            if let Some(pruning) = pruning {
                match pruning.join().expect("a thread") {
                    Ok(rounds) => said(&format!("{rounds} times everything was pruned meanwhile")),
                    Err(error) => built.push(Err(error)),
                }
            }
            built
        });
        said(&format!("{builds} builds took {:?}", started.elapsed()));
        for (number, built) in (0..).zip(built) {
            let at = |fault: String| format!("build {number} of {builds}: {fault}");
            let found = built.map_err(at)?;
            if number % 2 == 0 && found != expected {
                return Err(at(format!("the image is {found} instead of {expected}")));
            }
        }
        self.nothing_runs("many")?;
        self.check("many")
    }

    /// Checks a store: whole as it is, and without anything left over after a collection.
    fn check(&self, home: &str) -> Result<(), String> {
        whole(&self.home(home).join("store"))
    }

    /// Fails if some process works below a home, or has something of it mounted.
    fn nothing_runs(&self, home: &str) -> Result<(), String> {
        let home = self.home(home).join("store");
        let home = home.to_string_lossy();
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let running = fs::read_dir("/proc").expect("/proc").flatten().find(|process| {
                fs::read_to_string(process.path().join("mountinfo"))
                    .is_ok_and(|mounts| mounts.contains(&*home))
            });
            match running {
                None => return Ok(()),
                // The kernel ends processes, and their mounts with them, in its own time.
                Some(_) if Instant::now() < deadline => thread::sleep(Duration::from_millis(20)),
                Some(process) => {
                    let status = fs::read_to_string(process.path().join("status")).unwrap_or_default();
                    return Err(format!(
                        "something still runs: {}",
                        status.lines().next().unwrap_or_default()
                    ));
                }
            }
        }
    }
}

/// Checks the store under a directory: whole as it is, and without anything left over after a collection.
///
/// # Errors
///
/// The faults.
pub fn whole(root: &Path) -> Result<(), String> {
    let show = |error: rbx_store::StoreError| format!("{error}: {error:?}");
    let store = Store::open(root).map_err(show)?;
    let faults = store.check().map_err(show)?;
    if !faults.damaged.is_empty() {
        return Err(format!("the store is damaged: {:#?}", faults.damaged));
    }
    store.collect(&rbx_store::Policy { max_used_space: u64::MAX, ..Default::default() }).map_err(show)?;
    let faults = store.check().map_err(show)?;
    if faults != rbx_store::Faults::default() {
        return Err(format!("after a collection: {faults:#?}"));
    }
    Ok(())
}

/// Waits for a program, at most as long as no build takes, and answers what it wrote to standard error.
fn wait(mut child: Child) -> Result<(ExitStatus, String), String> {
    let mut stderr = child.stderr.take().expect("standard error");
    let reading = thread::spawn(move || {
        let mut text = Vec::new();
        let _ = std::io::Read::read_to_end(&mut stderr, &mut text);
        String::from_utf8_lossy(&text).into_owned()
    });
    let deadline = Instant::now() + LONGEST;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
            break status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("it hangs: {}", reading.join().unwrap_or_default()));
        }
        thread::sleep(Duration::from_millis(5));
    };
    Ok((status, reading.join().unwrap_or_default()))
}

fn ended_well(mut command: Command) -> Result<(), String> {
    let child = command.spawn().map_err(|error| error.to_string())?;
    let (status, text) = wait(child)?;
    if status.success() { Ok(()) } else { Err(format!("{status}: {text}")) }
}

fn disturb(mut child: Child, what: Disturbance, moment: Duration) -> Result<(ExitStatus, String), String> {
    thread::sleep(moment);
    if matches!(child.try_wait(), Ok(Some(_))) {
        return wait(child);
    }
    let pid = Pid::from_child(&child);
    let send = |signal| {
        // It may end at this very moment, but is not waited for.
        let _ = rustix::process::kill_process(pid, signal);
    };
    match what {
        Disturbance::Kill => send(Signal::KILL),
        Disturbance::Terminate => send(Signal::TERM),
        Disturbance::Interrupt => send(Signal::INT),
        Disturbance::InterruptTwice => {
            send(Signal::INT);
            thread::sleep(Duration::from_millis(2));
            send(Signal::INT);
        }
        Disturbance::Pause => {
            send(Signal::STOP);
            thread::sleep(Duration::from_millis(300));
            send(Signal::CONT);
        }
        Disturbance::KillHelper => {
            for helper in children(child.id()) {
                let _ = rustix::process::kill_process(helper, Signal::KILL);
            }
        }
    }
    wait(child)
}

/// The processes that a process has started.
fn children(pid: u32) -> Vec<Pid> {
    let mut children = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let list = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        children.extend(list.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)));
    }
    children
}

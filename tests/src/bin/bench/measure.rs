//! One timed run, and runs of both sides in turn.

use std::cell::OnceCell;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rbx_emulation::Architecture;
use rbx_tests::binfmt::Registered;
use rbx_tests::dind::BUILDKIT;
use rbx_tests::{Engine, Parts, Registry, Store, rbx, rbx_program};
use serde_json::json;
use wait4::Wait4;

use crate::daemon;
use crate::lint::{Peer, Peers};
use crate::memory::{self, Watch};
use crate::rows::Row;
use crate::workload;

/// What the rows of several platforms emulate.
const FOREIGN: [Architecture; 4] =
    [Architecture::Arm, Architecture::Arm64, Architecture::Riscv64, Architecture::S390x];

/// Who builds or checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// buildx with the BuildKit of a Docker Engine.
    BuildKit,
    /// docker-rbx with its embedded engine.
    Rbx,
    /// Another linter.
    Peer(Peer),
}

/// What one run took.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sample {
    /// Milliseconds from start to exit.
    pub(crate) milliseconds: f64,
    /// Milliseconds of CPU time that the client and its helpers used.
    pub(crate) cpu: f64,
    /// Milliseconds of [`Self::milliseconds`] in which no step of a daemon ran, where that is known.
    pub(crate) share: Option<f64>,
    /// Peak memory of the client in MiB.
    pub(crate) client: f64,
    /// Peak memory of the daemons in MiB.
    pub(crate) daemons: f64,
}

impl Sample {
    /// What `self` took beyond `base`, for each of `count` things.
    pub(crate) fn beyond(self, base: Self, count: f64) -> Self {
        Self { milliseconds: (self.milliseconds - base.milliseconds) / count, ..self }
    }
}

/// Everything that the rows work on.
pub(crate) struct Bench {
    parts: Parts,
    engine: Engine,
    registry: Registry,
    /// Made when a row first needs it.
    hub: OnceCell<Registry>,
    /// The same.
    container: OnceCell<String>,
    directory: PathBuf,
    peers: Peers,
    _handlers: Option<Registered>,
}

/// Where the benchmark keeps its files.
pub(crate) fn directory() -> PathBuf {
    let parts = Parts::locate();
    let directory = parts.directory().join("bench");
    fs::create_dir_all(&directory).expect("a directory for the benchmark can be made");
    fs::canonicalize(directory).expect("a made directory has a path")
}

impl Bench {
    /// Starts what builds are measured with. For emulated steps BuildKit has handlers on the host, which others must
    /// not change meanwhile; docker-rbx makes itself a namespace, as where there are none. QEMU is the same.
    pub(crate) fn new(emulated: bool, peers: Peers) -> Self {
        let (directory, parts) = (directory(), Parts::locate());
        // Before the Engine starts: it looks once.
        let handlers = emulated.then(|| Registered::qemu(&FOREIGN));
        let bench = Self {
            engine: Engine::start(Store::Containerd),
            registry: Registry::with_images(),
            hub: OnceCell::new(),
            container: OnceCell::new(),
            directory,
            peers,
            _handlers: handlers,
            parts,
        };
        bench.clear(Side::Rbx);
        if emulated {
            bench.configure();
        }
        bench
    }

    /// Has docker-rbx emulate with the QEMU of the parts and no handler of the host.
    fn configure(&self) {
        let config = self.home().join("config/rbx");
        fs::create_dir_all(&config).expect("a directory for the configuration can be made");
        let qemu = self.parts.program("qemu-aarch64");
        let emulation = json!({ "registration": "namespace", "qemu": { "directories": [qemu.parent()] } });
        fs::write(config.join("config.json"), json!({ "emulation": emulation }).to_string())
            .expect("the configuration can be written");
    }

    /// The generated context of 20,000 files.
    pub(crate) fn workload(&self) -> PathBuf {
        let path = self.directory.join("context");
        workload::generate(&path);
        path
    }

    /// A directory with these files. `registry.test` in them stands for the registry with the base images, `hub.test`
    /// for the one in the place of Docker Hub.
    pub(crate) fn context(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let path = self.directory.join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a context can be made");
        for (file, content) in files {
            let mut content = content.replace("registry.test", self.registry.address());
            if content.contains("hub.test") {
                content = content.replace("hub.test", self.hub.get_or_init(Registry::docker_hub).address());
            }
            fs::write(path.join(file), content).expect("a file of the context can be written");
        }
        path
    }

    /// Where a side writes its archive.
    pub(crate) fn archive(&self, side: Side) -> PathBuf {
        self.directory.join(format!("{side:?}.tar"))
    }

    /// Removes all that a side has built and keeps.
    pub(crate) fn clear(&self, side: Side) {
        let _ = fs::remove_file(self.archive(side));
        match side {
            Side::BuildKit => {
                let status =
                    self.engine.buildx().args(["prune", "--all", "--force"]).stdout(Stdio::null()).status();
                assert!(status.is_ok_and(|status| status.success()), "BuildKit's cache can be pruned");
            }
            Side::Rbx => {
                let _ = fs::remove_dir_all(self.home().join("store"));
            }
            Side::Peer(_) => {}
        }
    }

    /// The other linters, and where they are.
    pub(crate) fn peers(&self) -> &Peers {
        &self.peers
    }

    /// A home without anything of the user's.
    pub(crate) fn home(&self) -> PathBuf {
        let home = self.directory.join("home");
        fs::create_dir_all(&home).expect("a home can be made");
        home
    }

    /// Runs a side's program.
    pub(crate) fn run(&self, side: Side, arguments: &[&str]) -> Result<Sample, String> {
        let mut command = match side {
            Side::BuildKit => self.engine.buildx(),
            Side::Rbx | Side::Peer(_) => rbx(&self.parts, &self.home()),
        };
        command.args(arguments);
        self.sample(side, command)
    }

    /// Runs a command of a side.
    pub(crate) fn sample(&self, side: Side, command: Command) -> Result<Sample, String> {
        let daemons = if side == Side::BuildKit { self.engine.pids() } else { Vec::new() };
        timed(command, &daemons, &self.directory.join("log"))
    }

    /// docker-rbx, with its own configuration and store.
    pub(crate) fn rbx(&self) -> Command {
        rbx(&self.parts, &self.home())
    }

    /// Runs a side's program as a client of the same Engine, where `builder` is chosen.
    pub(crate) fn client(&self, side: Side, builder: &str, arguments: &[&str]) -> Result<Sample, String> {
        let mut command = match side {
            Side::BuildKit => self.engine.buildx(),
            Side::Rbx | Side::Peer(_) => self.engine.command(&rbx_program()),
        };
        command.args(arguments).env("BUILDX_BUILDER", builder).env("RBX_ROOT", self.home().join("store"));
        timed(command, &self.engine.pids(), &self.directory.join("log"))
    }

    /// Builds a context as a client of the same Engine. What the daemon did is taken from the progress.
    pub(crate) fn client_build(
        &self,
        side: Side,
        builder: &str,
        context: &Path,
        more: &[&str],
    ) -> Result<Sample, String> {
        let context = context.display().to_string();
        let common = ["build", "--provenance=false", "--network=host", "--progress=rawjson"];
        let mut sample = self.client(side, builder, &[&common, more, &[&context]].concat())?;
        let log = fs::read_to_string(self.directory.join("log")).map_err(|error| error.to_string())?;
        sample.share = Some((sample.milliseconds - daemon::milliseconds(&log)).max(0.0));
        Ok(sample)
    }

    /// Drops all that the Engine's BuildKit keeps.
    pub(crate) fn clear_engine(&self) {
        self.clear(Side::BuildKit);
    }

    /// A builder of its own container on the Engine, made when it is first asked for.
    pub(crate) fn container(&self) -> &str {
        self.container.get_or_init(|| {
            self.engine.load_buildkit();
            let options = format!("image={BUILDKIT},network=host");
            let mut command = self.engine.buildx();
            command.args(["create", "--bootstrap", "--driver=docker-container", "--name=bench"]);
            let output = command.args(["--driver-opt", &options]).output().expect("buildx can be run");
            assert!(output.status.success(), "no builder: {}", String::from_utf8_lossy(&output.stderr));
            "bench".to_owned()
        })
    }

    /// Builds a context; docker-rbx does so on its embedded engine.
    pub(crate) fn build(
        &self,
        side: Side,
        context: &Path,
        output: &str,
        more: &[&str],
    ) -> Result<Sample, String> {
        let builder: &[&str] = match side {
            Side::BuildKit => &["build", "--provenance=false"],
            Side::Rbx | Side::Peer(_) => &["build", "--builder=embedded"],
        };
        let context = context.display().to_string();
        let output = format!("--output={output}");
        let common = ["--network=host", "--progress=plain", &output];
        self.run(side, &[builder, &common, more, &[&context]].concat())
    }
}

/// Runs a command once and measures it.
fn timed(mut command: Command, daemons: &[u32], log: &Path) -> Result<Sample, String> {
    let output = File::create(log).map_err(|error| format!("{}: {error}", log.display()))?;
    let errors = output.try_clone().map_err(|error| error.to_string())?;
    command.stdin(Stdio::null()).stdout(output).stderr(errors);
    // What earlier runs left to be written back would be written during this one.
    let _ = Command::new("sync").status();
    for pid in daemons {
        // 5 sets the peak back to what is resident now: proc_pid_clear_refs(5).
        let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
    }
    let start = Instant::now();
    let child = command
        .spawn()
        .map_err(|error| format!("cannot run {}: {error}", command.get_program().display()))?;
    let watch = Watch::start(child.id());
    let used = child.wait4().map_err(|error| error.to_string())?;
    let time = start.elapsed();
    if !used.status.success() {
        let text = fs::read_to_string(log).unwrap_or_default();
        let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        return Err(format!("{}: {last}", used.status));
    }
    Ok(Sample {
        milliseconds: milliseconds(time),
        cpu: milliseconds(used.rusage.utime + used.rusage.stime),
        share: None,
        client: memory::mebibytes(watch.stop().unwrap_or(used.rusage.maxrss)),
        daemons: memory::mebibytes(daemons.iter().map(|pid| memory::peak(*pid)).sum()),
    })
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// What the runs of one side took, or why it has no figures.
pub(crate) type Runs = Result<Vec<Sample>, String>;

/// The runs of one row.
#[derive(Default)]
pub(crate) struct Sides(Vec<(Side, Runs)>);

impl Sides {
    /// Runs all sides in turn, who is first taking turns too. A side that fails once is not run again.
    pub(crate) fn measure(bench: &Bench, row: &Row, runs: usize, sides: &[Side]) -> Self {
        let mut list: Vec<(Side, Runs)> = sides.iter().map(|side| (*side, Ok(Vec::new()))).collect();
        let state = (row.prepare)(bench);
        let warm_up = usize::from(row.warm_up);
        for round in 0..(runs * row.times + warm_up) {
            (row.change)(&state, round);
            for (side, runs) in &mut list {
                let Ok(samples) = runs else { continue };
                match (row.sample)(bench, *side, &state) {
                    Ok(sample) if round >= warm_up => samples.push(sample),
                    Ok(_) => {}
                    Err(reason) => *runs = Err(reason),
                }
            }
            list.reverse();
        }
        Self(list)
    }

    /// Those of a side, if it was asked for.
    pub(crate) fn of(&self, side: Side) -> Option<&Runs> {
        self.0.iter().find(|(of, _)| *of == side).map(|(_, runs)| runs)
    }

    /// Why a side has no figures.
    pub(crate) fn failures(&self) -> impl Iterator<Item = (Side, &String)> {
        self.0.iter().filter_map(|(side, runs)| Some((*side, runs.as_ref().err()?)))
    }
}

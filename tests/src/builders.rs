//! Builders of every driver: the rows of the table of end-to-end tests.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::buildkit_socket::BuildKitSocket;
use crate::dind::{BUILDKIT, DIND};
use crate::tls::TlsRelay;
use crate::{Engine, Store, rbx_program};

/// A kind of builder: a driver on one of the things it drives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Row {
    /// docker-rbx's own engine, with a Docker Engine beside it.
    Embedded,
    /// The `docker` driver where the Engine keeps images in containerd.
    DockerContainerd,
    /// The `docker` driver where the Engine keeps images in its graph driver.
    DockerGraph,
    /// The `docker-container` driver on a BuildKit image: the real one if [`buildkit_image`] has it, else one with the
    /// BuildKit of an Engine.
    ContainerBuildKit,
    /// The `docker-container` driver on Docker in Docker, which buildx cannot drive: it reaches the same BuildKit by its
    /// `remote` driver.
    ContainerDind,
    /// The `remote` driver over a Unix socket.
    RemoteUnix,
    /// The `remote` driver over TCP with TLS and a client's certificate.
    RemoteTls,
}

/// Whose program works on a builder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Program {
    /// docker-rbx.
    Rbx,
    /// buildx, which shows what is right.
    Buildx,
}

impl Program {
    /// A short name for files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rbx => "rbx",
            Self::Buildx => "buildx",
        }
    }
}

impl Row {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Embedded,
        Self::DockerContainerd,
        Self::DockerGraph,
        Self::ContainerBuildKit,
        Self::ContainerDind,
        Self::RemoteUnix,
        Self::RemoteTls,
    ];

    /// The name, as the table has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::DockerContainerd => "docker-containerd",
            Self::DockerGraph => "docker-graph",
            Self::ContainerBuildKit => "container-buildkit",
            Self::ContainerDind => "container-dind",
            Self::RemoteUnix => "remote-unix",
            Self::RemoteTls => "remote-tls",
        }
    }

    /// Whether BuildKit does the work.
    pub fn is_buildkit(self) -> bool {
        self != Self::Embedded
    }

    /// Whether it has to be started in a container.
    pub fn is_container(self) -> bool {
        matches!(self, Self::ContainerBuildKit | Self::ContainerDind)
    }

    fn store(self) -> Store {
        match self {
            Self::DockerGraph => Store::Graph,
            _ => Store::Containerd,
        }
    }
}

/// A builder, and the Engine it is on or beside.
#[derive(Debug)]
pub struct Builder {
    row: Row,
    engine: Engine,
    /// Held by whoever prunes, shared by whoever counts on what is cached.
    cache: RwLock<()>,
    /// What leads to BuildKit for as long as it runs.
    _door: Option<Door>,
}

#[derive(Debug)]
struct Door {
    _socket: BuildKitSocket,
    _tls: Option<TlsRelay>,
}

impl Builder {
    /// The one of a row that all tests of this process share, started when it is first asked for.
    pub fn shared(row: Row) -> &'static Self {
        static SHARED: [OnceLock<Builder>; Row::ALL.len()] = [const { OnceLock::new() }; Row::ALL.len()];
        let place = Row::ALL.iter().position(|other| *other == row).expect("all rows are listed");
        SHARED[place].get_or_init(|| Self::start(row))
    }

    /// Starts one of a test's own.
    ///
    /// # Panics
    ///
    /// If it does not start; the message has a log.
    pub fn start(row: Row) -> Self {
        let engine = Engine::start(row.store());
        let door = match row {
            Row::Embedded | Row::DockerContainerd | Row::DockerGraph => None,
            Row::ContainerBuildKit => {
                let image = load_buildkit(&engine);
                // The Engine has no bridge, and registries of tests are on the loopback interface.
                let options = format!("image={image},network=host");
                create(&engine, &["--driver=docker-container", "--driver-opt", &options, "--bootstrap"]);
                None
            }
            Row::ContainerDind => {
                engine.load_dind();
                // Handlers of the machine are other tests'.
                let options = format!("image={DIND},network=host,qemu.install=false");
                let mut create = engine.command(&rbx_program());
                create.args(["create", "--name", NAME, "--driver=docker-container", "--bootstrap"]);
                done(create.args(["--driver-opt", &options]));
                let socket = BuildKitSocket::start(&inner_socket(&engine));
                let mut create = engine.buildx();
                create.env("BUILDX_CONFIG", engine.config().join(BESIDE)).args(["create", "--name", NAME]);
                done(create.args(["--driver=remote", &format!("unix://{}", socket.path().display())]));
                Some(Door { _socket: socket, _tls: None })
            }
            Row::RemoteUnix => {
                let socket = BuildKitSocket::start(&engine.socket());
                create(&engine, &["--driver=remote", &format!("unix://{}", socket.path().display())]);
                Some(Door { _socket: socket, _tls: None })
            }
            Row::RemoteTls => {
                let socket = BuildKitSocket::start(&engine.socket());
                let relay = TlsRelay::start(socket.path());
                let [ca, cert, key] = ["ca.pem", "client.pem", "client.key"].map(|name| relay.file(name));
                let options =
                    format!("cacert={},cert={},key={}", ca.display(), cert.display(), key.display());
                let address = format!("tcp://{}", relay.address());
                create(&engine, &["--driver=remote", "--driver-opt", &options, &address]);
                Some(Door { _socket: socket, _tls: Some(relay) })
            }
        };
        Self { row, engine, cache: RwLock::default(), _door: door }
    }

    /// Which it is.
    pub fn row(&self) -> Row {
        self.row
    }

    /// As long as this lives, no test prunes.
    pub fn kept(&self) -> RwLockReadGuard<'_, ()> {
        self.cache.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// As long as this lives, no test counts on what is cached.
    pub(crate) fn pruned(&self) -> RwLockWriteGuard<'_, ()> {
        self.cache.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The Engine that it is on or beside, where its images are loaded.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The same, to be killed and started again.
    pub fn engine_mut(&mut self) -> &mut Engine {
        &mut self.engine
    }

    /// A program for which this is the chosen builder. Both programs have one configuration and one state of builders,
    /// unless buildx cannot have this builder.
    ///
    /// Where docker-rbx is its own builder, buildx has the BuildKit of the Engine beside it.
    pub fn command(&self, program: Program) -> Command {
        let mut command = match program {
            Program::Buildx => self.engine.buildx(),
            Program::Rbx => self.engine.command(&rbx_program()),
        };
        let name = match (self.row, program) {
            (Row::Embedded, Program::Rbx) => "embedded",
            (Row::Embedded | Row::DockerContainerd | Row::DockerGraph, _) => "default",
            (Row::ContainerBuildKit | Row::ContainerDind | Row::RemoteUnix | Row::RemoteTls, _) => NAME,
        };
        let state = match (self.row, program) {
            (Row::ContainerDind, Program::Buildx) => BESIDE,
            _ => "buildx",
        };
        command.env("BUILDX_BUILDER", name).env("BUILDX_CONFIG", self.engine.config().join(state));
        command.env("RBX_ROOT", self.engine.directory().join("store"));
        command
    }
}

/// What builders are called that have to be created.
const NAME: &str = "table";
/// The state of buildx where it has a builder of that name of its own.
const BESIDE: &str = "beside";

/// The socket of the Engine in the builder's container, as seen from here.
fn inner_socket(engine: &Engine) -> PathBuf {
    let pid = done(engine.docker().args(["inspect", "--format={{.State.Pid}}", CONTAINER]));
    PathBuf::from(format!("/proc/{}/root/var/run/docker.sock", pid.trim()))
}

/// The container of a builder that is in one.
pub const CONTAINER: &str = "buildx_buildkit_table0";

/// Where a real BuildKit image is, if one is to be had: an archive for `docker load`, named by `$RBX_BUILDKIT_IMAGE`.
pub fn buildkit_image() -> Option<PathBuf> {
    std::env::var_os("RBX_BUILDKIT_IMAGE").map(PathBuf::from)
}

/// Gives an Engine a BuildKit image, and its name.
fn load_buildkit(engine: &Engine) -> String {
    let Some(archive) = buildkit_image() else {
        engine.load_buildkit();
        return BUILDKIT.to_owned();
    };
    let said = done(engine.docker().args(["load", "--input"]).arg(&archive));
    let name = said.lines().find_map(|line| line.strip_prefix("Loaded image: "));
    name.unwrap_or_else(|| panic!("{} has no name: {said}", archive.display())).to_owned()
}

fn create(engine: &Engine, arguments: &[&str]) {
    done(engine.buildx().args(["create", "--name", NAME]).args(arguments));
}

/// What a command printed that has to end well.
fn done(command: &mut Command) -> String {
    let output = command.output().expect("the program can be run");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

//! A store, a context and builds in them.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use libtest_mimic::{Failed, Trial};
use rbx_engine::{BuildError, Config, Engine, LogLimits, Steps};
use rbx_oci::{Entry, EntryKind, tar};
use rbx_request::{
    BuildRequest, BuildResult, Cancel, ContextSource, DockerfileSource, Event, Output, OutputDestination,
    OutputKind, Stdout,
};

/// A store of its own and a context directory.
pub(crate) struct Fixture {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) request: BuildRequest,
    pub(crate) threads: usize,
    pub(crate) log_limits: LogLimits,
    pub(crate) steps: Steps,
    pub(crate) git: rbx_source::GitConfig,
    pub(crate) emulation: rbx_emulation::Settings,
}

/// What came of a build.
pub(crate) struct Built {
    pub(crate) events: Vec<Event>,
    pub(crate) files: BTreeMap<String, (Entry, Vec<u8>)>,
}

/// One test by name.
pub(crate) fn trial(name: &'static str, test: fn(&mut Fixture)) -> Trial {
    Trial::test(name, move || {
        test(&mut Fixture::new());
        Ok::<(), Failed>(())
    })
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        std::fs::create_dir(directory.path().join("context")).expect("a context");
        let request = BuildRequest {
            context: ContextSource::Directory(directory.path().join("context")),
            ..BuildRequest::default()
        };
        Self {
            directory,
            request,
            threads: 2,
            log_limits: LogLimits::default(),
            steps: Steps::default(),
            git: rbx_source::GitConfig::default(),
            emulation: rbx_emulation::Settings::default(),
        }
    }

    pub(crate) fn context(&self, path: &str) -> PathBuf {
        self.directory.path().join("context").join(path)
    }

    /// Writes a file of the context.
    pub(crate) fn write(&self, path: &str, content: &str) {
        let path = self.context(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        std::fs::write(path, content).expect("a file");
    }

    pub(crate) fn chmod(&self, path: &str, mode: u32) {
        std::fs::set_permissions(self.context(path), std::fs::Permissions::from_mode(mode)).expect("a mode");
    }

    /// Puts a busybox into the context: with it, a stage from scratch can run commands.
    #[expect(clippy::disallowed_methods, reason = "a test finds its tools through the environment")]
    pub(crate) fn busybox(&self) {
        let given = std::env::var_os("RBX_TEST_BUSYBOX").map(PathBuf::from);
        let found = given.into_iter().chain(["/usr/bin/busybox".into(), "/bin/busybox".into()]);
        let busybox = found.into_iter().find(|path: &PathBuf| path.exists());
        let busybox = busybox.expect("a static busybox: run `cargo xtask setup`");
        std::fs::copy(busybox, self.context("busybox")).expect("a copy of busybox");
    }

    /// A Dockerfile whose first stage can run commands, and what comes after it.
    pub(crate) fn dockerfile(&mut self, text: &str) {
        self.request.dockerfile = DockerfileSource::Inline(text.as_bytes().to_vec());
    }

    pub(crate) fn engine(&self) -> Engine {
        self.open().expect("an engine")
    }

    pub(crate) fn open(&self) -> Result<Engine, BuildError> {
        let registry = rbx_registry::Config::default();
        let root = self.directory.path().join("store");
        let (steps, threads, log_limits) = (self.steps.clone(), self.threads, self.log_limits);
        let git = self.git.clone();
        let rights = Ok(rbx_sandbox::Rights::Root);
        let emulation = self.emulation.clone();
        Engine::open(Config { root, registry, git, steps, emulation, threads, log_limits, rights })
    }

    /// Builds and reads the whole root file system back.
    pub(crate) fn build(&mut self) -> Result<Built, BuildError> {
        let path = self.directory.path().join("out.tar");
        self.request.outputs = vec![Output {
            kind: OutputKind::Tar,
            destination: Some(OutputDestination::Path(path.clone())),
            attributes: BTreeMap::new(),
        }];
        let (result, events) = self.run();
        result?;
        Ok(Built { events, files: read_tar(&path) })
    }

    /// Builds an OCI archive and answers its bytes.
    pub(crate) fn archive(&mut self) -> Result<(BuildResult, Vec<u8>), BuildError> {
        let path = self.directory.path().join("image.tar");
        let attributes = BTreeMap::new();
        let destination = Some(OutputDestination::Path(path.clone()));
        self.request.outputs = vec![Output { kind: OutputKind::Oci, destination, attributes }];
        let result = self.run().0?;
        Ok((result, std::fs::read(&path).expect("an archive")))
    }

    /// Builds an image into the store under a name.
    pub(crate) fn tag(&mut self, name: &str) {
        self.request.tags = vec![rbx_oci::Reference::parse(name).expect("a name")];
        let attributes = BTreeMap::new();
        self.request.outputs = vec![Output { kind: OutputKind::Image, destination: None, attributes }];
        self.run().0.expect("an image");
        self.request.tags.clear();
    }

    /// Builds what the request says, in a process state of its own: nothing is kept but the store.
    pub(crate) fn run(&self) -> (Result<BuildResult, BuildError>, Vec<Event>) {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let engine = self.engine();
        let (sender, mut receiver) = rbx_request::events();
        let stdout: Stdout = Arc::new(Mutex::new(std::io::sink()));
        let reading = runtime.spawn(async move {
            let mut events = Vec::new();
            while receiver.recv_many(&mut events, 100).await > 0 {}
            events
        });
        let outcome = runtime.block_on(engine.build(&self.request, &sender, &Cancel::default(), &stdout));
        drop(sender);
        let events = runtime.block_on(reading).expect("events");
        (outcome.map(|outcome| outcome.result), events)
    }
}

impl Built {
    /// A file's bytes as text.
    pub(crate) fn text(&self, path: &str) -> String {
        let (_, content) =
            self.files.get(path).unwrap_or_else(|| panic!("no {path} among {:?}", self.files.keys()));
        String::from_utf8_lossy(content).into_owned()
    }

    pub(crate) fn entry(&self, path: &str) -> &Entry {
        &self.files.get(path).unwrap_or_else(|| panic!("no {path} among {:?}", self.files.keys())).0
    }

    pub(crate) fn has(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }

    /// Whether the vertex whose name ends so came from the cache.
    pub(crate) fn cached(&self, name: &str) -> bool {
        let last = self.events.iter().rev().find_map(|event| match event {
            Event::Vertex(vertex) if vertex.name.contains(name) && vertex.completed.is_some() => Some(vertex),
            _ => None,
        });
        last.unwrap_or_else(|| panic!("no vertex {name:?}")).cached
    }

    /// When the vertex of that name began and ended.
    pub(crate) fn times(&self, name: &str) -> (jiff::Timestamp, jiff::Timestamp) {
        let ended = self.events.iter().find_map(|event| match event {
            Event::Vertex(vertex) if vertex.name.contains(name) => Some((vertex.started?, vertex.completed?)),
            _ => None,
        });
        ended.unwrap_or_else(|| panic!("no vertex {name:?} has ended"))
    }

    /// What the steps wrote.
    pub(crate) fn output(&self) -> String {
        let mut bytes = Vec::new();
        for event in &self.events {
            if let Event::Log(log) = event {
                bytes.write_all(&log.data).expect("memory");
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

fn read_tar(path: &Path) -> BTreeMap<String, (Entry, Vec<u8>)> {
    let mut files = BTreeMap::new();
    let file = std::fs::File::open(path).expect("an archive");
    tar::read_layer(file, &tar::Limits::default(), |entry, content| {
        let mut bytes = Vec::new();
        if matches!(entry.kind, EntryKind::File { .. }) {
            content.read_to_end(&mut bytes)?;
        }
        files.insert(String::from_utf8_lossy(&entry.path).into_owned(), (entry, bytes));
        Ok(())
    })
    .expect("a readable archive");
    files
}

//! The engine: what it is made of, and what it is asked.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rbx_oci::{Digest, Reference};
use rbx_platform::Platform;
use rbx_request::{BuildRequest, BuildResult, CallAnswer, Cancel, EventSender, OutputDestination, Stdout};
use rbx_sandbox::{Helper, Rights, SandboxError};
use rbx_store::{Lease, Limits, Store};

use crate::build::Build;
use crate::error::BuildError;
use crate::export::{self, BuiltImage};
use crate::features;
use crate::probe::Probe;
use crate::rights::claim_ids;
use crate::steps::{LogLimits, refused};
use crate::storage::open_store;

/// What the engine is made of and where it keeps things.
#[derive(Debug)]
pub struct Config {
    /// The directory of the store.
    pub root: PathBuf,
    /// How registries are reached.
    pub registry: rbx_registry::Config,
    /// How steps are run.
    pub steps: Steps,
    /// How steps for platforms of other machines are run.
    pub emulation: rbx_emulation::Settings,
    /// How git repositories are reached.
    pub git: rbx_source::GitConfig,
    /// Threads for hashing, compressing and writing; usually one for each core.
    pub threads: usize,
    /// How much of its output a step may show.
    pub log_limits: LogLimits,
    /// What [`rbx_sandbox::become_root`] answered. That it failed is told by builds that need its rights.
    pub rights: Result<Rights, SandboxError>,
}

/// How steps are run.
#[derive(Debug, Clone, Default)]
pub struct Steps {
    /// Directories with specifications of devices (CDI) for `RUN --device`; of two with the same device, the later
    /// counts.
    pub device_specs: Vec<PathBuf>,
    /// An OCI runtime, an absolute path, that runs steps in place of the engine's own sandbox. What a step leaves is
    /// the same, so it is in no key.
    pub oci_runtime: Option<PathBuf>,
}

/// The embedded engine: builds with no daemon.
#[derive(Debug)]
pub struct Engine {
    pub(crate) store: Store,
    pub(crate) registry: rbx_registry::Client,
    pub(crate) git: rbx_source::Git,
    pub(crate) helper: Arc<OnceLock<Helper>>,
    pub(crate) threads: usize,
    pub(crate) log_limits: LogLimits,
    pub(crate) steps: Steps,
    pub(crate) emulation: rbx_emulation::Settings,
    pub(crate) rights: Result<Rights, BuildError>,
}

/// What a build made: the result, and the image where an output asked for one.
#[derive(Debug)]
pub struct Outcome {
    /// What is told to the user.
    pub result: BuildResult,
    /// The image, for [`Engine::write_docker_archive`].
    pub image: Option<BuiltImage>,
    /// Keeps the image in the store.
    pub(crate) _lease: Arc<Lease>,
}

impl Engine {
    /// Opens the store and readies the rest; nothing is started or reached before it is needed.
    pub fn open(config: Config) -> Result<Self, BuildError> {
        let store = open_store(&config.root).map_err(BuildError::hint_if_disk_is_full)?;
        let registry = rbx_registry::Client::new(config.registry).map_err(BuildError::failed)?;
        let git = rbx_source::Git::new(config.git);
        let rights = config.rights.map_err(|error| refused(&error));
        if rights.is_ok() {
            claim_ids(&store)?;
        }
        Ok(Self {
            store,
            registry,
            git,
            helper: Arc::default(),
            threads: config.threads.max(1),
            log_limits: config.log_limits,
            steps: config.steps,
            emulation: config.emulation,
            rights,
        })
    }

    /// The platform this engine runs on.
    pub fn platform(&self) -> Platform {
        Platform::host()
    }

    /// Does a build. An output of kind `docker` without a destination is a load, which is the caller's to do: its
    /// image is in the [`Outcome`].
    pub async fn build(
        &self,
        request: &BuildRequest,
        events: &EventSender,
        cancel: &Cancel,
        stdout: &Stdout,
    ) -> Result<Outcome, BuildError> {
        features::check(request)?;
        let build = self.begin(request, events, cancel)?;
        build.run(stdout).await.map_err(|error| {
            let about = |path: &Path| error.reason.contains(&*path.to_string_lossy());
            let paths = request.outputs.iter().filter_map(|output| match &output.destination {
                Some(OutputDestination::Path(path)) => Some(path),
                _ => None,
            });
            let elsewhere = paths.into_iter().any(|path| about(path));
            if elsewhere { error } else { error.hint_if_disk_is_full() }
        })
    }

    /// Answers a call (`--call`) in the place of a build: BuildKit's checks, for every platform that is asked for, or
    /// the stages.
    ///
    /// # Errors
    ///
    /// If it is another call, if the Dockerfile cannot be read, or, of stages, if it makes no sense.
    pub async fn call(
        &self,
        name: &str,
        request: &BuildRequest,
        events: &EventSender,
        cancel: &Cancel,
    ) -> Result<CallAnswer, BuildError> {
        let called = features::called(name)?;
        self.begin(request, events, cancel)?.call(called).await
    }

    /// Finds out what a build would do now: which steps are cached, and what would run the others. Nothing is run, and
    /// registries and other servers are asked for nothing, but for base images if the request says `pull`.
    ///
    /// # Errors
    ///
    /// Those by which a build would end before its first step, but for steps that nothing here runs, which are in the
    /// answer; and if the context or the Dockerfile is elsewhere.
    pub async fn probe(
        &self,
        request: &BuildRequest,
        events: &EventSender,
        cancel: &Cancel,
    ) -> Result<Probe, BuildError> {
        features::check(request)?;
        let build = self.begin(request, events, cancel)?;
        Build { offline: !request.pull, ..build }.probe().await
    }

    /// A build that nothing was done for yet, with a lease of what it will find and make.
    fn begin<'a>(
        &'a self,
        request: &'a BuildRequest,
        events: &'a EventSender,
        cancel: &'a Cancel,
    ) -> Result<Build<'a>, BuildError> {
        let lease = self.store.lease().map_err(|error| BuildError::from(error).hint_if_disk_is_full())?;
        Ok(Build { engine: self, request, events, cancel, lease: Arc::new(lease), offline: false })
    }

    /// Whether [`Storage::collect`](crate::Storage::collect) would have something to do, as far as that can be told
    /// at once.
    pub fn collection_due(&self, limits: &Limits) -> Result<bool, BuildError> {
        Ok(self.store.collection_due(limits)?)
    }

    /// Notes that images of these names are elsewhere, too, so that automatic collection may remove them here.
    pub fn set_elsewhere(&self, names: &[Reference]) -> Result<(), BuildError> {
        Ok(names.iter().try_for_each(|name| self.store.set_elsewhere(&name.to_string()))?)
    }

    /// Writes an image as `docker load` takes it. Blobs in `without` are left out: those that an Engine has.
    pub fn write_docker_archive(
        &self,
        image: &BuiltImage,
        names: &[Reference],
        without: &BTreeSet<Digest>,
        out: impl Write,
    ) -> Result<(), BuildError> {
        export::write_archive(&self.store, image, names, true, 0, without, "the archive", out).map(drop)
    }
}

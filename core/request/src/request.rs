//! The build request.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rbx_oci::Reference;
use rbx_platform::Platform;

/// Everything a builder is asked to do in one build. Paths are absolute: nothing here depends on a current
/// directory or an environment.
#[derive(Debug, Clone, Default)]
pub struct BuildRequest {
    /// Where the Dockerfile comes from.
    pub dockerfile: DockerfileSource,
    /// Where `COPY` and `ADD` read from when they name no stage.
    pub context: ContextSource,
    /// `--build-context`: other sources by name, which also override stages and images.
    pub named_contexts: BTreeMap<String, String>,
    /// `--target`: the stage to build; the last one if none is named.
    pub target: Option<String>,
    /// `--platform`, normalised; the builder's own if empty.
    pub platforms: Vec<Platform>,
    /// `--build-arg`, those without a value already resolved from the environment or dropped.
    pub build_args: BTreeMap<String, String>,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// `--tag`.
    pub tags: Vec<Reference>,
    /// `--output`, `--load` and `--push`.
    pub outputs: Vec<Output>,
    /// `--cache-from`.
    pub cache_from: Vec<CacheEntry>,
    /// `--cache-to`.
    pub cache_to: Vec<CacheEntry>,
    /// `--no-cache` and `--no-cache-filter`.
    pub no_cache: NoCache,
    /// `--pull`: ask the registry about base images even if the store has them.
    pub pull: bool,
    /// `--network` of `RUN` steps.
    pub network: Network,
    /// `--add-host`.
    pub add_hosts: Vec<AddHost>,
    /// `--shm-size` in bytes.
    pub shm_size: Option<u64>,
    /// `--ulimit`.
    pub ulimits: Vec<Ulimit>,
    /// `--cgroup-parent`.
    pub cgroup_parent: Option<String>,
    /// `--resource`, by key (`memory`, `cpu-shares`, …).
    pub resources: BTreeMap<String, String>,
    /// `--secret`.
    pub secrets: Vec<Secret>,
    /// `--ssh`.
    pub ssh: Vec<SshForward>,
    /// `--attest`, `--provenance`, `--sbom`.
    pub attestations: Vec<Attestation>,
    /// `--annotation`, as written (`[type[platform]:]key=value`).
    pub annotations: Vec<String>,
    /// `--allow`: entitlements such as `network.host`.
    pub allow: Vec<String>,
    /// `--call` other than `build`: `lint`, `outline`, `targets`, …
    pub call: Option<String>,
}

/// Where a Dockerfile comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DockerfileSource {
    /// A file of this machine.
    Path(PathBuf),
    /// A file of the context, by its path there.
    InContext(String),
    /// A file over HTTP.
    Url(String),
    /// Text that was read already, from standard input say.
    Inline(Vec<u8>),
}

impl Default for DockerfileSource {
    fn default() -> Self {
        Self::Inline(Vec::new())
    }
}

/// Where a build context comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ContextSource {
    /// Nothing: the Dockerfile alone.
    #[default]
    Empty,
    /// A directory, absolute.
    Directory(PathBuf),
    /// A tar archive, compressed or not, that is still to be read.
    Tar(ArchiveStream),
    /// An address: a git repository, an archive over HTTP, or a Dockerfile alone over HTTP.
    Url(String),
}

/// An archive that is read once, such as standard input. Clones share it.
#[derive(Clone)]
pub struct ArchiveStream(Arc<Mutex<Option<Box<dyn Read + Send>>>>);

impl ArchiveStream {
    /// An archive that `reader` gives.
    pub fn new(reader: impl Read + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Some(Box::new(reader)))))
    }

    /// The reader; `None` if somebody has it already.
    pub fn take(&self) -> Option<Box<dyn Read + Send>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What an output that goes to `-` is written to.
pub type Stdout = Arc<Mutex<dyn Write + Send>>;

impl fmt::Debug for ArchiveStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ArchiveStream")
    }
}

impl PartialEq for ArchiveStream {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for ArchiveStream {}

/// One `--output`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The exporter.
    pub kind: OutputKind,
    /// Where to; what none means is the exporter's affair (`docker` without a destination is a load).
    pub destination: Option<OutputDestination>,
    /// All other keys, lower-case, as written.
    pub attributes: BTreeMap<String, String>,
}

/// The exporters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OutputKind {
    /// The root file system as files.
    Local,
    /// The root file system as one tar.
    Tar,
    /// An OCI layout, as a tar or (`tar=false`) as a directory.
    Oci,
    /// A docker archive, or a load into an Engine.
    Docker,
    /// An image in the builder's store, pushed with `push=true`.
    Image,
    /// Nothing but the cache.
    CacheOnly,
}

/// Where an output goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutputDestination {
    /// A file or directory, absolute.
    Path(PathBuf),
    /// Standard output.
    Stdout,
}

/// One `--cache-from` or `--cache-to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheEntry {
    /// `registry`, `local`, `inline`, `gha`, `s3`, `azblob`.
    pub kind: String,
    /// All other keys.
    pub attributes: BTreeMap<String, String>,
}

/// Which steps ignore the cache.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum NoCache {
    /// None: the cache is used.
    #[default]
    Use,
    /// All.
    All,
    /// The steps of these stages.
    Stages(Vec<String>),
}

/// The network of `RUN` steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Network {
    /// The builder's default.
    #[default]
    Default,
    /// Loopback only.
    None,
    /// The host's own.
    Host,
}

/// One `--add-host`: a line of `/etc/hosts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddHost {
    /// The name.
    pub host: String,
    /// Its addresses; `host-gateway` stays a word.
    pub addresses: Vec<String>,
}

/// One `--ulimit`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ulimit {
    /// `nofile`, `nproc`, …
    pub name: String,
    /// Soft limit; -1 is unlimited.
    pub soft: i64,
    /// Hard limit; -1 is unlimited.
    pub hard: i64,
}

/// One `--secret`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    /// The id that `RUN --mount=type=secret` names.
    pub id: String,
    /// Where its value is.
    pub source: SecretSource,
}

/// Where a secret's value is.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// A file, absolute.
    File(PathBuf),
    /// A value that was read from the environment already.
    Value(Vec<u8>),
}

impl fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            // A secret's value never reaches a log.
            Self::Value(_) => f.write_str("Value(…)"),
        }
    }
}

/// One `--ssh`: an agent or keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshForward {
    /// The id that `RUN --mount=type=ssh` names; `default` if none.
    pub id: String,
    /// An agent's socket or key files, absolute.
    pub paths: Vec<PathBuf>,
}

/// One attestation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attestation {
    /// `provenance` or `sbom`.
    pub kind: String,
    /// Asked for, or forbidden.
    pub enabled: bool,
    /// All other keys.
    pub attributes: BTreeMap<String, String>,
}

//! The plan of a build: vertices and how they hang together, and what of each is in a key.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rbx_platform::Platform;
use rbx_request::SourceRange;
use rbx_store::{CacheSharing, Key, KeyHasher, LayerId};

use crate::config::ImagePlan;
use crate::fetch::Remote;
use crate::image::Image;
use crate::mode::Chmod;

pub(crate) type VertexId = usize;

/// Everything a build does, and what it is for.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Inputs come before what needs them.
    pub(crate) vertices: Vec<Vertex>,
    pub(crate) targets: Vec<Target>,
    /// The result is one for several platforms, and has an index.
    pub(crate) index: bool,
    /// Vertices by definition: what two platforms have in common is planned once.
    known: BTreeMap<Key, VertexId>,
}

/// What is built for one platform.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) platform: Platform,
    /// The file system; `None` is an empty one.
    pub(crate) root: Option<VertexId>,
    pub(crate) image: ImagePlan,
}

/// One step.
#[derive(Debug)]
pub(crate) struct Vertex {
    /// Identity within the build.
    pub(crate) digest: String,
    pub(crate) name: String,
    /// What must be done before, each once.
    pub(crate) inputs: Vec<VertexId>,
    pub(crate) operation: Operation,
    /// The part of the Dockerfile it comes from.
    pub(crate) source: Option<SourceRange>,
    /// The cache is not asked.
    pub(crate) fresh: bool,
}

#[derive(Debug)]
pub(crate) enum Operation {
    /// The layers of a base image.
    Image(Arc<Image>),
    /// Layers that are in the store already.
    Layers(Vec<LayerId>),
    /// What is fetched from an address.
    Fetch(Remote),
    Copy(CopyOperation),
    /// `WORKDIR`.
    Directory(DirectoryOperation),
    Run(RunOperation),
}

/// `COPY` or `ADD`.
#[derive(Debug)]
pub(crate) struct CopyOperation {
    pub(crate) base: Option<VertexId>,
    /// What is copied, in this order.
    pub(crate) parts: Vec<CopyPart>,
    /// Files written in the Dockerfile: names and contents.
    pub(crate) inline: Vec<(String, String)>,
    /// Absolute; a trailing slash means a directory.
    pub(crate) destination: String,
    pub(crate) owner: Option<String>,
    pub(crate) chmod: Option<Chmod>,
    pub(crate) exclude: Vec<String>,
    pub(crate) parents: bool,
    /// The layer does not depend on what lies below.
    pub(crate) link: bool,
    pub(crate) epoch: Option<i64>,
}

/// Part of what an instruction copies.
#[derive(Debug)]
pub(crate) struct CopyPart {
    pub(crate) from: CopyFrom,
    pub(crate) paths: CopyPaths,
    /// Archives are unpacked.
    pub(crate) unpack: bool,
}

/// Which files are copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CopyPaths {
    /// What these paths match.
    Patterns(Vec<String>),
    /// The file of this very name.
    File(String),
}

/// Where a copy's paths are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CopyFrom {
    /// A directory of this machine, by its name in the build.
    Context(String),
    Vertex(VertexId),
    /// An empty file system.
    Nothing,
}

#[derive(Debug)]
pub(crate) struct DirectoryOperation {
    pub(crate) base: Option<VertexId>,
    pub(crate) path: String,
    pub(crate) owner: Option<String>,
    pub(crate) epoch: Option<i64>,
}

#[derive(Debug)]
pub(crate) struct RunOperation {
    pub(crate) base: Option<VertexId>,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    /// Variables that are given to the command and change no key: proxies.
    pub(crate) proxy_env: Vec<(String, String)>,
    pub(crate) working_dir: String,
    pub(crate) user: String,
    pub(crate) network: rbx_request::Network,
    /// Without a sandbox: `--security=insecure`.
    pub(crate) insecure: bool,
    /// Devices as the instruction names them; once the machine was asked, by their qualified names.
    pub(crate) devices: Vec<rbx_dockerfile::Device>,
    pub(crate) mounts: Vec<RunMount>,
    /// Variables that hold secrets.
    pub(crate) secret_env: Vec<SecretVariable>,
    /// A script shown in `/dev/pipes`: its name and content.
    pub(crate) script: Option<(String, String)>,
    /// What the command runs on.
    pub(crate) platform: Platform,
}

/// A mount of a `RUN`.
#[derive(Debug)]
pub(crate) struct RunMount {
    pub(crate) target: String,
    pub(crate) kind: RunMountKind,
}

/// A variable that holds a secret. Which one is part of a key, its value is not.
#[derive(Debug)]
pub(crate) struct SecretVariable {
    pub(crate) variable: String,
    pub(crate) id: String,
    pub(crate) required: bool,
}

#[derive(Debug)]
pub(crate) enum RunMountKind {
    /// Files of a stage, an image or a context; `None` is an empty one. What is written is lost.
    Root { vertex: Option<VertexId>, source: String, read_only: bool },
    /// A directory that is kept between builds. What it holds is part of no key.
    Cache(CacheMount),
    Tmpfs {
        /// In bytes; 0 is no limit.
        size: u64,
        read_only: bool,
    },
    /// The socket of an SSH agent.
    Ssh { id: String, mode: u32, uid: u32, gid: u32, required: bool },
    /// A secret as a file. Its value is part of no key.
    Secret { id: String, mode: u32, uid: u32, gid: u32, required: bool },
}

/// A mount of a cache.
#[derive(Debug)]
pub(crate) struct CacheMount {
    /// What it begins with; `None` is nothing.
    pub(crate) vertex: Option<VertexId>,
    pub(crate) id: String,
    /// The id is the one it has when none is given.
    pub(crate) default_id: bool,
    pub(crate) sharing: CacheSharing,
    /// The part of it that is mounted.
    pub(crate) source: String,
    pub(crate) read_only: bool,
    /// Given to the directory when it is made.
    pub(crate) owner: Option<CacheOwner>,
}

/// The owner and mode that a cache begins with.
#[derive(Debug)]
pub(crate) struct CacheOwner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mode: u32,
}

impl RunMountKind {
    /// The vertex whose files are mounted.
    pub(crate) fn vertex(&self) -> Option<VertexId> {
        match self {
            Self::Root { vertex, .. } => *vertex,
            Self::Cache(cache) => cache.vertex,
            Self::Tmpfs { .. } | Self::Secret { .. } | Self::Ssh { .. } => None,
        }
    }
}

impl Operation {
    /// Adds what is done to a key: all but what it is done to.
    pub(crate) fn hash(&self, hasher: &mut KeyHasher) {
        match self {
            Self::Image(image) => {
                hasher.field("image").field(&image.name).field(image.manifest_digest.to_string());
            }
            Self::Layers(layers) => {
                hasher.field("layers").number(layers.len() as u64);
                for layer in layers {
                    hasher.field(layer.as_bytes());
                }
            }
            Self::Fetch(remote) => remote.hash(hasher),
            Self::Copy(copy) => copy.hash(hasher),
            Self::Directory(directory) => directory.hash(hasher),
            Self::Run(run) => run.hash(hasher),
        }
    }
}

fn optional(hasher: &mut KeyHasher, text: Option<&str>) {
    hasher.field(text.map_or([0], |_| [1])).field(text.unwrap_or_default());
}

fn list<T: AsRef<[u8]>>(hasher: &mut KeyHasher, items: &[T]) {
    hasher.number(items.len() as u64);
    for item in items {
        hasher.field(item);
    }
}

fn pairs(hasher: &mut KeyHasher, items: &[(String, String)]) {
    hasher.number(items.len() as u64);
    for (name, value) in items {
        hasher.field(name).field(value);
    }
}

impl CopyOperation {
    /// Adds what the instruction says to a key: all but what lies below and what is copied.
    pub(crate) fn hash(&self, hasher: &mut KeyHasher) {
        hasher.field("copy").field(&self.destination).number(self.parts.len() as u64);
        for part in &self.parts {
            part.hash(hasher);
        }
        pairs(hasher, &self.inline);
        optional(hasher, self.owner.as_deref());
        optional(hasher, self.chmod.as_ref().map(|chmod| format!("{chmod:?}")).as_deref());
        list(hasher, &self.exclude);
        for flag in [self.parents, self.link] {
            hasher.number(u64::from(flag));
        }
        optional(hasher, self.epoch.map(|epoch| epoch.to_string()).as_deref());
    }

    /// The paths that it looks up in a directory of this machine, by the directory's name in the build.
    pub(crate) fn patterns_in<'a>(&'a self, context: &'a str) -> impl Iterator<Item = &'a [String]> {
        self.parts.iter().filter_map(move |part| match (&part.from, &part.paths) {
            (CopyFrom::Context(name), CopyPaths::Patterns(paths)) if name == context => Some(&**paths),
            _ => None,
        })
    }

    /// The vertices that it copies from.
    pub(crate) fn inputs(&self) -> impl Iterator<Item = VertexId> {
        self.parts.iter().filter_map(|part| match part.from {
            CopyFrom::Vertex(vertex) => Some(vertex),
            _ => None,
        })
    }
}

impl CopyPart {
    fn hash(&self, hasher: &mut KeyHasher) {
        match &self.paths {
            CopyPaths::Patterns(paths) => list(hasher, paths),
            CopyPaths::File(name) => {
                hasher.field("file").field(name);
            }
        }
        hasher.number(u64::from(self.unpack));
        match &self.from {
            CopyFrom::Context(name) => hasher.field("context").field(name),
            CopyFrom::Vertex(_) => hasher.field("vertex"),
            CopyFrom::Nothing => hasher.field("nothing"),
        };
    }
}

impl DirectoryOperation {
    /// Adds what the instruction says to a key: all but what lies below.
    pub(crate) fn hash(&self, hasher: &mut KeyHasher) {
        hasher.field("directory").field(&self.path);
        optional(hasher, self.owner.as_deref());
        optional(hasher, self.epoch.map(|epoch| epoch.to_string()).as_deref());
    }
}

impl RunOperation {
    /// Adds what the instruction says to a key: all but the file systems it sees. The platform is part of it, and how
    /// this machine runs that platform is not, as in BuildKit: what was made under emulation is the platform's result
    /// like any other, and is found again when QEMU has another version, or on a machine that needs none.
    pub(crate) fn hash(&self, hasher: &mut KeyHasher) {
        hasher.field("run").field(&self.working_dir).field(&self.user).field(self.platform.format_all());
        list(hasher, &self.args);
        pairs(hasher, &self.env);
        hasher.field(format!("{:?}", self.network)).number(u64::from(self.insecure));
        list(hasher, &self.devices.iter().map(|device| &device.name).collect::<Vec<_>>());
        hasher.number(self.mounts.len() as u64);
        for mount in &self.mounts {
            hasher.field(&mount.target);
            match &mount.kind {
                RunMountKind::Root { vertex, source, read_only } => {
                    hasher.field("root").number(u64::from(vertex.is_some())).field(source);
                    hasher.number(u64::from(*read_only));
                }
                RunMountKind::Cache(cache) => cache.hash(hasher),
                RunMountKind::Tmpfs { size, read_only } => {
                    hasher.field("tmpfs").number(*size).number(u64::from(*read_only));
                }
                RunMountKind::Ssh { id, mode, uid, gid, required }
                | RunMountKind::Secret { id, mode, uid, gid, required } => {
                    let ssh = matches!(mount.kind, RunMountKind::Ssh { .. });
                    hasher.field(if ssh { "ssh" } else { "secret" }).field(id).number(u64::from(*required));
                    hasher.number(u64::from(*mode)).number(u64::from(*uid)).number(u64::from(*gid));
                }
            }
        }
        for secret in &self.secret_env {
            hasher.field("secret variable").field(&secret.variable).field(&secret.id);
            hasher.number(u64::from(secret.required));
        }
        optional(hasher, self.script.as_ref().map(|(_, content)| content.as_str()));
    }
}

impl CacheMount {
    /// Adds what the mount says to a key. As in BuildKit, a name that was given to the cache does not count, nor how
    /// it is shared.
    fn hash(&self, hasher: &mut KeyHasher) {
        hasher.field("cache").number(u64::from(self.vertex.is_some())).field(&self.source);
        hasher.number(u64::from(self.read_only));
        hasher.number(u64::from(self.default_id && self.sharing == CacheSharing::Shared));
        hasher.number(u64::from(self.owner.is_some()));
        if let Some(owner) = &self.owner {
            hasher.number(owner.mode.into()).number(owner.uid.into()).number(owner.gid.into());
        }
    }
}

impl Plan {
    /// An empty one, whose result has an index or has none.
    pub(crate) fn new(index: bool) -> Self {
        Self { index, ..Self::default() }
    }

    /// The names of the directories of this machine that something is copied from.
    pub(crate) fn contexts(&self) -> BTreeSet<String> {
        let copies = self.vertices.iter().filter_map(|vertex| match &vertex.operation {
            Operation::Copy(copy) => Some(copy),
            _ => None,
        });
        let parts = copies.flat_map(|copy| &copy.parts);
        parts
            .filter_map(|part| match &part.from {
                CopyFrom::Context(name) => Some(name.clone()),
                _ => None,
            })
            .collect()
    }

    /// Adds a vertex, unless the same is there already.
    pub(crate) fn add(
        &mut self,
        name: &str,
        operation: Operation,
        inputs: Vec<VertexId>,
        source: Option<SourceRange>,
        fresh: bool,
    ) -> VertexId {
        self.add_step(name.to_owned(), name, operation, inputs, source, fresh)
    }

    /// Adds the vertex of a step, unless the same is there already: one that does the same and is the same step to
    /// people, which `step` says. It is what the name is without a platform, so that what does not depend on one is
    /// done once.
    pub(crate) fn add_step(
        &mut self,
        name: String,
        step: &str,
        operation: Operation,
        mut inputs: Vec<VertexId>,
        source: Option<SourceRange>,
        fresh: bool,
    ) -> VertexId {
        let mut hasher = Key::hasher("vertex");
        operation.hash(&mut hasher);
        hasher.number(u64::from(fresh)).number(inputs.len() as u64);
        for &input in &inputs {
            hasher.field(&self.vertices[input].digest);
        }
        // Steps of two stages may be the same work, but people look for both.
        let is_source = matches!(operation, Operation::Image(_) | Operation::Layers(_) | Operation::Fetch(_));
        hasher.field(if is_source { "" } else { step });
        let key = hasher.finish();
        if let Some(&known) = self.known.get(&key) {
            return known;
        }
        inputs.sort_unstable();
        inputs.dedup();
        let id = self.vertices.len();
        let digest = format!("sha256:{key}");
        self.vertices.push(Vertex { digest, name, inputs, operation, source, fresh });
        self.known.insert(key, id);
        id
    }
}

//! The plan of a build: vertices and how they hang together, worked out from evaluated Dockerfiles. Nothing is
//! read or run here.

use std::collections::BTreeMap;
use std::sync::Arc;

use rbx_dockerfile::{Base, Dockerfile, Evaluation, From, MountKind, Op, Remote, Source, Stage, Step};
use rbx_platform::Platform;
use rbx_request::{BuildRequest, NoCache, SourceRange};
use rbx_store::{Key, KeyHasher};

use crate::config::ImagePlan;
use crate::error::{BuildError, INSTEAD};
use crate::image::Image;
use crate::mode::Chmod;
use crate::tree::clean;

/// The name of the main context among a build's contexts.
pub(crate) const MAIN_CONTEXT: &str = "context";

pub(crate) type VertexId = usize;

/// Everything a build does, and what it is for.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Inputs come before what needs them.
    pub(crate) vertices: Vec<Vertex>,
    pub(crate) targets: Vec<Target>,
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
    Copy(CopyOperation),
    /// `WORKDIR`.
    Directory(DirectoryOperation),
    Run(RunOperation),
}

/// `COPY` or `ADD`.
#[derive(Debug)]
pub(crate) struct CopyOperation {
    pub(crate) base: Option<VertexId>,
    pub(crate) from: CopyFrom,
    pub(crate) paths: Vec<String>,
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
    /// Archives are unpacked.
    pub(crate) unpack: bool,
    pub(crate) epoch: Option<i64>,
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
    pub(crate) mounts: Vec<RunMount>,
    /// Variables that hold secrets.
    pub(crate) secret_env: Vec<SecretVariable>,
    /// A script shown in `/dev/pipes`: its name and content.
    pub(crate) script: Option<(String, String)>,
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
    Root {
        vertex: Option<VertexId>,
        source: String,
        read_only: bool,
    },
    Tmpfs {
        size: u64,
    },
    /// A secret as a file. Its value is part of no key.
    Secret {
        id: String,
        mode: u32,
        uid: u32,
        gid: u32,
        required: bool,
    },
}

impl Operation {
    fn hash(&self, hasher: &mut KeyHasher) {
        match self {
            Self::Image(image) => {
                hasher.field("image").field(&image.name).field(image.manifest_digest.to_string());
            }
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
        hasher.field("copy").field(&self.destination);
        list(hasher, &self.paths);
        pairs(hasher, &self.inline);
        optional(hasher, self.owner.as_deref());
        optional(hasher, self.chmod.as_ref().map(|chmod| format!("{chmod:?}")).as_deref());
        list(hasher, &self.exclude);
        for flag in [self.parents, self.link, self.unpack] {
            hasher.number(u64::from(flag));
        }
        optional(hasher, self.epoch.map(|epoch| epoch.to_string()).as_deref());
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
    /// Adds what the instruction says to a key: all but the file systems it sees.
    pub(crate) fn hash(&self, hasher: &mut KeyHasher) {
        hasher.field("run").field(&self.working_dir).field(&self.user).field(self.platform.format_all());
        list(hasher, &self.args);
        pairs(hasher, &self.env);
        hasher.field(format!("{:?}", self.network));
        hasher.number(self.mounts.len() as u64);
        for mount in &self.mounts {
            hasher.field(&mount.target);
            match &mount.kind {
                RunMountKind::Root { vertex, source, read_only } => {
                    hasher.field("root").number(u64::from(vertex.is_some())).field(source);
                    hasher.number(u64::from(*read_only));
                }
                RunMountKind::Tmpfs { size } => {
                    hasher.field("tmpfs").number(*size);
                }
                RunMountKind::Secret { id, mode, uid, gid, .. } => {
                    hasher.field("secret").field(id);
                    hasher.number(u64::from(*mode)).number(u64::from(*uid)).number(u64::from(*gid));
                }
            }
        }
        for secret in &self.secret_env {
            hasher.field("secret variable").field(&secret.variable).field(&secret.id);
        }
        optional(hasher, self.script.as_ref().map(|(_, content)| content.as_str()));
    }
}

/// One platform's stages, turned into vertices as they are needed.
pub(crate) struct Planner<'a> {
    pub(crate) request: &'a BuildRequest,
    pub(crate) file: &'a Dockerfile,
    pub(crate) file_name: &'a str,
    pub(crate) text: &'a Arc<str>,
    pub(crate) evaluation: &'a Evaluation,
    /// Base images and those copied from, by name and platform.
    pub(crate) images: &'a BTreeMap<(String, Platform), Arc<Image>>,
    pub(crate) platform: &'a Platform,
    /// Several platforms are built: names say which.
    pub(crate) several: bool,
    pub(crate) epoch: Option<i64>,
    stages: BTreeMap<usize, (Option<VertexId>, ImagePlan)>,
}

impl<'a> Planner<'a> {
    #[expect(clippy::too_many_arguments, reason = "one value for each thing a plan is made from")]
    pub(crate) fn new(
        request: &'a BuildRequest,
        file: &'a Dockerfile,
        file_name: &'a str,
        text: &'a Arc<str>,
        evaluation: &'a Evaluation,
        images: &'a BTreeMap<(String, Platform), Arc<Image>>,
        platform: &'a Platform,
        several: bool,
        epoch: Option<i64>,
    ) -> Self {
        let stages = BTreeMap::new();
        Self { request, file, file_name, text, evaluation, images, platform, several, epoch, stages }
    }

    /// Adds what the target of the build needs.
    pub(crate) fn plan(&mut self, plan: &mut Plan) -> Result<(), BuildError> {
        let target = self
            .evaluation
            .target
            .ok_or_else(|| BuildError::invalid("the Dockerfile has no stage to build"))?;
        let (root, mut image) = self.stage(plan, target)?;
        // An image is for what its base is for, unless the build says otherwise.
        let platform = if self.request.platforms.is_empty() {
            image.config.platform().normalized()
        } else {
            image.set_platform(self.platform);
            self.platform.clone()
        };
        for (name, value) in &self.request.labels {
            image.config.config.labels.insert(name.clone(), value.clone());
        }
        plan.targets.push(Target { platform, root, image });
        Ok(())
    }

    fn range(&self, span: rbx_dockerfile::Span) -> SourceRange {
        let (first, last) = self.file.line_index.lines_of(span);
        SourceRange { file: self.file_name.to_owned(), text: self.text.clone(), first, last }
    }

    fn stage(&mut self, plan: &mut Plan, index: usize) -> Result<(Option<VertexId>, ImagePlan), BuildError> {
        if let Some(known) = self.stages.get(&index) {
            return Ok(known.clone());
        }
        let stage = &self.evaluation.stages[index];
        let range = self.range(stage.span);
        let (mut root, mut image) = match &stage.base {
            Base::Scratch => (None, ImagePlan::scratch(&stage.platform)),
            Base::Stage(below) => {
                let (root, mut image) = self.stage(plan, *below)?;
                image.begin_stage();
                (root, image)
            }
            Base::Image(name) | Base::Context(name) => {
                let found =
                    self.image(name, &stage.platform).map_err(|error| error.at(Some(range.clone())))?;
                let prefix = match &stage.base {
                    Base::Context(name) => format!("[context {name}] "),
                    _ => stage.prefix(1, self.shown(&stage.platform)),
                };
                let name = format!("{prefix}FROM {}", found.name);
                let plan_of_image = ImagePlan::from_base(&found.config);
                let vertex = plan.add(name, Operation::Image(found), Vec::new(), Some(range), false);
                (Some(vertex), plan_of_image)
            }
            Base::Unresolved => {
                return Err(BuildError::invalid("the base of a stage is not known").at(Some(range)));
            }
        };
        let fresh = match &self.request.no_cache {
            NoCache::Use => false,
            NoCache::All => true,
            NoCache::Stages(names) => names.iter().any(|name| {
                stage.name.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(name))
                    || stage.index.to_string() == *name
            }),
        };
        for step in &stage.steps {
            let range = self.range(step.span);
            let vertex =
                self.step(plan, stage, step, root, &range, fresh).map_err(|error| error.at(Some(range)))?;
            image.apply(step, vertex);
            root = vertex.or(root);
        }
        image.end_stage(stage);
        self.stages.insert(index, (root, image.clone()));
        Ok((root, image))
    }

    /// The platform that names of vertices say, where several are built.
    fn shown<'p>(&self, platform: &'p Platform) -> Option<&'p Platform> {
        self.several.then_some(platform)
    }

    fn image(&self, name: &str, platform: &Platform) -> Result<Arc<Image>, BuildError> {
        self.images
            .get(&(name.to_owned(), platform.clone()))
            .cloned()
            .ok_or_else(|| BuildError::failed(format!("image {name} was not resolved")))
    }

    /// The vertex of a step that changes files; `None` for those that change the configuration only.
    fn step(
        &mut self,
        plan: &mut Plan,
        stage: &Stage,
        step: &Step,
        base: Option<VertexId>,
        range: &SourceRange,
        fresh: bool,
    ) -> Result<Option<VertexId>, BuildError> {
        let mut inputs: Vec<VertexId> = base.into_iter().collect();
        let operation = match &step.op {
            Op::Run(run) => {
                let (run, mounted) = self.run(plan, stage, step, run, base)?;
                inputs.extend(mounted);
                Operation::Run(run)
            }
            Op::Copy(copy) => {
                let copy = self.copy(plan, stage, step, copy, base)?;
                if let CopyFrom::Vertex(vertex) = copy.from {
                    inputs.push(vertex);
                }
                Operation::Copy(copy)
            }
            Op::Workdir(path) if path != "/" => Operation::Directory(DirectoryOperation {
                base,
                path: path.clone(),
                owner: step.user.as_deref().filter(|user| !user.is_empty()).map(str::to_owned),
                epoch: self.epoch,
            }),
            _ => return Ok(None),
        };
        let name = step.vertex_name(stage, self.shown(&stage.platform));
        Ok(Some(plan.add(name, operation, inputs, Some(range.clone()), fresh)))
    }

    /// The vertex that a `from=` means; `None` for an empty file system.
    fn source(
        &mut self,
        plan: &mut Plan,
        stage: &Stage,
        from: &From,
    ) -> Result<Option<VertexId>, BuildError> {
        match from {
            From::Stage(index) => Ok(self.stage(plan, *index)?.0),
            From::Scratch => Ok(None),
            From::Image(name) | From::Named(name) => {
                let image = self.image(name, &stage.platform)?;
                let name = format!("FROM {}", image.name);
                Ok(Some(plan.add(name, Operation::Image(image), Vec::new(), None, false)))
            }
            From::Context => Err(BuildError::invalid("the build context is no image")),
        }
    }

    /// The directory of this machine that a `from=` means, by its name in the build.
    fn context_of(&self, from: &From, stage: &Stage) -> Option<String> {
        match from {
            From::Context => Some(MAIN_CONTEXT.to_owned()),
            From::Named(name) if !self.images.contains_key(&(name.clone(), stage.platform.clone())) => {
                Some(name.clone())
            }
            _ => None,
        }
    }

    /// The vertex that brings part of a context into the store, for a step to mount.
    fn context_vertex(&self, plan: &mut Plan, context: String, source: &str) -> VertexId {
        let copy = CopyOperation {
            base: None,
            from: CopyFrom::Context(context),
            paths: vec![source.to_owned()],
            inline: Vec::new(),
            destination: "/".to_owned(),
            owner: None,
            chmod: None,
            exclude: Vec::new(),
            // The path stays what it is, so that it is found under it.
            parents: !clean(source.as_bytes()).is_empty(),
            link: false,
            unpack: false,
            epoch: self.epoch,
        };
        let name =
            format!("[internal] mount build context /{}", String::from_utf8_lossy(&clean(source.as_bytes())));
        plan.add(name, Operation::Copy(copy), Vec::new(), None, false)
    }

    fn copy(
        &mut self,
        plan: &mut Plan,
        stage: &Stage,
        step: &Step,
        copy: &rbx_dockerfile::Copy,
        base: Option<VertexId>,
    ) -> Result<CopyOperation, BuildError> {
        let instruction = if copy.add { "ADD" } else { "COPY" };
        let mut paths = Vec::new();
        let mut inline = Vec::new();
        for source in &copy.sources {
            match (source, source.remote()) {
                (Source::Heredoc(file), _) => inline.push((file.name.clone(), file.content.clone())),
                (Source::Path(path), None) => paths.push(path.clone()),
                (Source::Path(_), Some(Remote::Http)) if !copy.add => {
                    return Err(BuildError::invalid("source can't be a URL for COPY"));
                }
                (Source::Path(_), Some(Remote::Git)) if !copy.add => {
                    return Err(BuildError::invalid("source can't be a git ref for COPY"));
                }
                (Source::Path(path), Some(_)) => {
                    return Err(unsupported(&format!("{instruction} {path}"), "remote sources"));
                }
            }
        }
        if copy.checksum.is_some() {
            return Err(BuildError::invalid(if copy.add {
                "checksum requires HTTP(S) or Git sources"
            } else {
                "checksum can't be specified for COPY"
            }));
        }
        let from = match self.context_of(&copy.from, stage) {
            Some(context) => CopyFrom::Context(context),
            None => self.source(plan, stage, &copy.from)?.map_or(CopyFrom::Nothing, CopyFrom::Vertex),
        };
        Ok(CopyOperation {
            base,
            from,
            paths,
            inline,
            destination: absolute(&copy.destination, &step.working_dir),
            owner: copy.chown.clone(),
            chmod: copy.chmod.as_deref().map(Chmod::parse).transpose()?,
            exclude: copy.exclude.clone(),
            parents: copy.parents,
            // As BuildKit: a mode cannot be given to a layer that is merged in later.
            link: copy.link && copy.chmod.is_none(),
            unpack: copy.unpack.unwrap_or(copy.add),
            epoch: self.epoch,
        })
    }

    fn run(
        &mut self,
        plan: &mut Plan,
        stage: &Stage,
        step: &Step,
        run: &rbx_dockerfile::Run,
        base: Option<VertexId>,
    ) -> Result<(RunOperation, Vec<VertexId>), BuildError> {
        if let Some(device) = run.devices.iter().find(|device| device.required) {
            return Err(unsupported(&format!("RUN --device={}", device.name), "CDI devices"));
        }
        if run.security == rbx_dockerfile::Security::Insecure {
            return Err(BuildError::invalid("security.insecure is not allowed").hint(INSTEAD));
        }
        let network = match (run.network, self.request.network) {
            (rbx_dockerfile::Network::Default, asked) => asked,
            (rbx_dockerfile::Network::None, _) => rbx_request::Network::None,
            (rbx_dockerfile::Network::Host, _) => rbx_request::Network::Host,
        };
        if run.network == rbx_dockerfile::Network::Host
            && self.request.network != rbx_request::Network::Host
            && !self.request.allow.iter().any(|entitlement| entitlement == "network.host")
        {
            return Err(BuildError::invalid("network.host is not allowed").hint("add --allow network.host"));
        }
        let mut mounts = Vec::new();
        let mut mounted = Vec::new();
        let mut secret_env = Vec::new();
        for mount in &run.mounts {
            let id = || mount.id.clone().or_else(|| mount.source.clone()).unwrap_or_default();
            if mount.kind == MountKind::Secret
                && let Some(variable) = &mount.env
            {
                let variable = variable.clone();
                secret_env.push(SecretVariable { variable, id: id(), required: mount.required });
            }
            let Some(target) = &mount.target else { continue };
            let kind = match mount.kind {
                MountKind::Tmpfs => RunMountKind::Tmpfs { size: mount.size },
                MountKind::Secret => RunMountKind::Secret {
                    id: id(),
                    mode: mount.mode.unwrap_or(0o400),
                    uid: mount.uid.unwrap_or(0),
                    gid: mount.gid.unwrap_or(0),
                    required: mount.required,
                },
                MountKind::Bind => {
                    let source = mount.source.clone().unwrap_or_default();
                    let vertex = match self.context_of(&mount.from, stage) {
                        Some(context) => Some(self.context_vertex(plan, context, &source)),
                        None => self.source(plan, stage, &mount.from)?,
                    };
                    mounted.extend(vertex);
                    RunMountKind::Root { vertex, source, read_only: mount.read_only }
                }
                kind => {
                    let flag = format!("RUN --mount=type={}", kind.name());
                    return Err(unsupported(&flag, "mounts of this type"));
                }
            };
            mounts.push(RunMount { target: absolute(target, &step.working_dir), kind });
        }
        let operation = RunOperation {
            base,
            args: run.command.argv(&step.shell),
            env: step.run_env.to_vec(),
            proxy_env: rbx_dockerfile::proxy_variables(&self.request.build_args),
            working_dir: step.working_dir.to_string(),
            user: step.user.as_deref().unwrap_or_default().to_owned(),
            network,
            mounts,
            secret_env,
            script: run.script.as_ref().map(|file| (file.name.clone(), file.content.clone())),
            platform: stage.platform.clone(),
        };
        Ok((operation, mounted))
    }
}

/// A path from the root; a trailing slash stays.
fn absolute(path: &str, working_dir: &str) -> String {
    let joined = if path.starts_with('/') { path.to_owned() } else { format!("{working_dir}/{path}") };
    let cleaned = format!("/{}", String::from_utf8_lossy(&clean(joined.as_bytes())));
    let into = joined.ends_with('/') || joined.ends_with("/.") || path.is_empty() || path == ".";
    if into && cleaned != "/" { format!("{cleaned}/") } else { cleaned }
}

fn unsupported(what: &str, feature: &str) -> BuildError {
    BuildError::invalid(format!("{what}: the embedded engine does not have {feature} yet")).hint(INSTEAD)
}

impl Plan {
    fn add(
        &mut self,
        name: String,
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
        hasher.field(if matches!(operation, Operation::Image(_)) { "" } else { &name });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_begin_in_the_working_directory() {
        assert_eq!(absolute("a", "/w"), "/w/a");
        assert_eq!(absolute("a/", "/w"), "/w/a/");
        assert_eq!(absolute("/a/../b", "/w"), "/b");
        assert_eq!(absolute(".", "/w"), "/w/");
        assert_eq!(absolute("./", ""), "/");
        assert_eq!(absolute("../x", "/w/v"), "/w/x");
    }
}

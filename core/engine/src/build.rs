//! One build, from the request to the result.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use jiff::Timestamp;
use rbx_dockerfile::{Base, BaseFacts, Dockerfile, Evaluation, From, Ignore, Op, Scope, Severity};
use rbx_oci::Reference;
use rbx_platform::Platform;
use rbx_request::{
    BuildRequest, BuildResult, ContextSource, DockerfileSource, Event, EventSender, MAX_SECRET_LEN, Output,
    OutputDestination, OutputKind, SecretSource, SourceRange, Warning,
};
use rbx_sandbox::{Helper, Rlimit};
use rbx_store::{Lease, Store};
use serde_json::json;

use crate::cancel::Cancel;
use crate::error::{BuildError, unreadable};
use crate::export::{self, BuiltImage, NewFile};
use crate::features;
use crate::image::{Image, Images};
use crate::plan::{MAIN_CONTEXT, Plan, Planner};
use crate::progress::Task;
use crate::solve::{ContextSlot, Settings, Solver};
use crate::steps::Built;

/// Bytes that a Dockerfile or an ignore file may have.
const TEXT_LIMIT: u64 = 4 << 20;
/// Rounds of reading base images whose triggers name further images.
const TRIGGER_ROUNDS: usize = 16;
/// Where this system says how names are resolved.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// What the engine is made of and where it keeps things.
#[derive(Debug)]
pub struct Config {
    /// The directory of the store.
    pub root: PathBuf,
    /// How registries are reached.
    pub registry: rbx_registry::Config,
    /// Threads for hashing, compressing and writing; usually one for each core.
    pub threads: usize,
}

/// The embedded engine: builds with no daemon.
#[derive(Debug)]
pub struct Engine {
    store: Store,
    registry: rbx_registry::Client,
    helper: Arc<OnceLock<Helper>>,
    threads: usize,
}

/// What a build made: the result, and the image where an output asked for one.
#[derive(Debug)]
pub struct Outcome {
    /// What is told to the user.
    pub result: BuildResult,
    /// The image, for [`Engine::write_docker_archive`].
    pub image: Option<BuiltImage>,
    /// Keeps the image in the store.
    _lease: Arc<Lease>,
}

/// What `--output` with `-` writes to.
pub type Stdout = Arc<Mutex<dyn Write + Send>>;

impl Engine {
    /// Opens the store and readies the rest; nothing is started or reached before it is needed.
    pub fn open(config: Config) -> Result<Self, BuildError> {
        let store = Store::open(&config.root)?;
        let registry = rbx_registry::Client::new(config.registry).map_err(BuildError::failed)?;
        Ok(Self { store, registry, helper: Arc::default(), threads: config.threads.max(1) })
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
        let lease = Arc::new(self.store.lease()?);
        let build = Build { engine: self, request, events, cancel, lease };
        build.run(stdout).await
    }

    /// Writes an image as `docker load` takes it.
    pub fn write_docker_archive(
        &self,
        image: &BuiltImage,
        names: &[Reference],
        out: impl Write,
    ) -> Result<(), BuildError> {
        export::write_archive(&self.store, image, names, true, 0, out).map(drop)
    }
}

/// A build on its way.
struct Build<'a> {
    engine: &'a Engine,
    request: &'a BuildRequest,
    events: &'a EventSender,
    cancel: &'a Cancel,
    lease: Arc<Lease>,
}

/// The Dockerfile of a build.
struct Source {
    file: Dockerfile,
    name: String,
    text: Arc<str>,
    ignore: Ignore,
}

impl Build<'_> {
    async fn run(&self, stdout: &Stdout) -> Result<Outcome, BuildError> {
        let source = self.source()?;
        let epoch = self.epoch()?;
        let host = Platform::host();
        let platforms: Vec<Platform> = if self.request.platforms.is_empty() {
            vec![host.clone()]
        } else {
            self.request.platforms.clone()
        };
        let mut plan = Plan::default();
        let mut images = BTreeMap::new();
        for platform in &platforms {
            let evaluation = self.evaluate(&source, platform, &host, &mut images).await?;
            self.refuse_foreign_steps(&evaluation, &host, &source)?;
            let mut planner = Planner::new(
                self.request,
                &source.file,
                &source.name,
                &source.text,
                &evaluation,
                &images,
                platform,
                platforms.len() > 1,
                epoch,
            );
            planner.plan(&mut plan)?;
        }
        let solver = Arc::new(self.solver(plan, &source, epoch)?);
        let built = solver.solve().await;
        solver.save_contexts()?;
        let built = built?;
        self.cancel.check()?;
        let (export, outputs) = (solver.clone(), self.request.outputs.clone());
        let (tags, annotations) = (self.request.tags.clone(), self.request.annotations.clone());
        let stdout = stdout.clone();
        let exported = tokio::task::spawn_blocking(move || {
            let export = Export { solver: &export, tags: &tags, annotations: &annotations };
            export.run(&built, &outputs, &stdout)
        });
        let (result, image) = exported.await.map_err(BuildError::failed)??;
        Ok(Outcome { result, image, _lease: self.lease.clone() })
    }

    fn solver(&self, plan: Plan, source: &Source, epoch: Option<i64>) -> Result<Solver, BuildError> {
        let mut contexts = BTreeMap::new();
        let root = match &self.request.context {
            ContextSource::Directory(path) => Some(canonical(path)?),
            _ => None,
        };
        contexts.insert(MAIN_CONTEXT.to_owned(), ContextSlot::new(root, source.ignore.clone()));
        for (name, value) in &self.request.named_contexts {
            if let NamedContext::Directory(path) = NamedContext::parse(name, value)? {
                contexts.insert(name.clone(), ContextSlot::new(Some(canonical(&path)?), Ignore::none()));
            }
        }
        let limit = |value: i64| u64::try_from(value).unwrap_or(u64::MAX);
        let settings = Settings {
            add_hosts: self.request.add_hosts.clone(),
            resolv_conf: std::fs::read(RESOLV_CONF).unwrap_or_default(),
            shm_size: self.request.shm_size,
            rlimits: self
                .request
                .ulimits
                .iter()
                .map(|it| Rlimit { name: it.name.clone(), soft: limit(it.soft), hard: limit(it.hard) })
                .collect(),
            secrets: self.secrets()?,
        };
        Ok(Solver {
            store: self.engine.store.clone(),
            lease: self.lease.clone(),
            registry: self.engine.registry.clone(),
            helper: self.engine.helper.clone(),
            plan,
            contexts,
            settings,
            events: self.events.clone(),
            cancel: self.cancel.clone(),
            threads: self.engine.threads,
            describe: wants_image(&self.request.outputs),
            epoch,
            started: Timestamp::now(),
        })
    }

    fn secrets(&self) -> Result<BTreeMap<String, Vec<u8>>, BuildError> {
        let read = |secret: &rbx_request::Secret| match &secret.source {
            SecretSource::Value(value) => Ok(value.clone()),
            SecretSource::File(path) => {
                let value = std::fs::read(path).map_err(|error| unreadable(path, &error))?;
                if value.len() > MAX_SECRET_LEN {
                    return Err(BuildError::invalid(format!(
                        "invalid secret size {} bytes: secret {} is larger than 500 KiB",
                        value.len(),
                        secret.id
                    )));
                }
                Ok(value)
            }
        };
        self.request.secrets.iter().map(|secret| Ok((secret.id.clone(), read(secret)?))).collect()
    }

    /// `SOURCE_DATE_EPOCH`, in seconds.
    fn epoch(&self) -> Result<Option<i64>, BuildError> {
        match self.request.build_args.get("SOURCE_DATE_EPOCH").map(String::as_str) {
            None | Some("") => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|_| {
                BuildError::invalid(format!("invalid SOURCE_DATE_EPOCH: {text}: not a number of seconds"))
            }),
        }
    }

    fn source(&self) -> Result<Source, BuildError> {
        let (name, bytes, beside) = match &self.request.dockerfile {
            DockerfileSource::Inline(bytes) => ("Dockerfile".to_owned(), bytes.clone(), None),
            DockerfileSource::Path(path) => {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let task =
                    Task::internal(self.events, &format!("[internal] load build definition from {name}"));
                let bytes = task.end(read_text(path).and_then(|bytes| {
                    bytes.ok_or_else(|| {
                        BuildError::invalid(format!(
                            "failed to read dockerfile: open {name}: no such file or directory"
                        ))
                    })
                }))?;
                (name, bytes, Some(path.clone()))
            }
        };
        let text = String::from_utf8(bytes).unwrap_or_else(|error| {
            // What is not text is an unknown instruction, or part of a name that nothing has.
            String::from_utf8_lossy(error.as_bytes()).into_owned()
        });
        let file = rbx_dockerfile::parse(&text);
        let source = Source { file, name, text: Arc::from(text), ignore: self.ignore(beside.as_deref())? };
        source.check_syntax()?;
        if let Some(error) = source.file.first_error() {
            return Err(source.error(error));
        }
        Ok(source)
    }

    /// The ignore file: that of the Dockerfile's own name, else that of the context.
    fn ignore(&self, dockerfile: Option<&Path>) -> Result<Ignore, BuildError> {
        let task = Task::internal(self.events, "[internal] load .dockerignore");
        let own = dockerfile.map(|path| {
            let mut name = path.file_name().unwrap_or_default().to_owned();
            name.push(".dockerignore");
            path.with_file_name(name)
        });
        let of_context = match &self.request.context {
            ContextSource::Directory(path) => Some(path.join(".dockerignore")),
            _ => None,
        };
        let read = || -> Result<Ignore, BuildError> {
            for path in own.iter().chain(&of_context) {
                if let Some(bytes) = read_text(path)? {
                    return Ignore::parse(&bytes).map_err(|error| {
                        BuildError::invalid(format!("{error}: failed to read {}", path.display()))
                    });
                }
            }
            Ok(Ignore::none())
        };
        task.end(read())
    }

    /// Evaluates the Dockerfile for a platform. Bases are looked up as they become known: the triggers of one may
    /// name another.
    async fn evaluate(
        &self,
        source: &Source,
        platform: &Platform,
        host: &Platform,
        images: &mut BTreeMap<(String, Platform), Arc<Image>>,
    ) -> Result<Evaluation, BuildError> {
        let named: BTreeSet<String> = self.request.named_contexts.keys().cloned().collect();
        for _ in 0..TRIGGER_ROUNDS {
            let bases: BTreeMap<(String, Platform), BaseFacts> =
                images.iter().map(|(key, image)| (key.clone(), facts(image))).collect();
            let scope = Scope {
                target_platform: platform,
                build_platform: host,
                build_args: &self.request.build_args,
                target: self.request.target.as_deref(),
                named_contexts: &named,
                bases: &bases,
            };
            let evaluation = rbx_dockerfile::evaluate(&source.file, &scope);
            if let Some(error) = evaluation.diagnostics.iter().find(|it| it.severity == Severity::Error) {
                return Err(source.error(error));
            }
            let missing = self.missing_images(&evaluation, images)?;
            if missing.is_empty() {
                for warning in evaluation.diagnostics.iter().filter(|it| it.severity == Severity::Warning) {
                    self.events.send(Event::Warning(source.warning(warning)));
                }
                return Ok(evaluation);
            }
            for (name, platform, range) in missing {
                let range = range.map(|span| source.range(span));
                let image = self.resolve(&name, &platform).await.map_err(|error| error.at(range))?;
                images.insert((name, platform), Arc::new(image));
            }
        }
        Err(BuildError::invalid("the triggers of base images name further images without end"))
    }

    /// Images that a reachable stage stands on or copies from and that are not looked up yet.
    fn missing_images(
        &self,
        evaluation: &Evaluation,
        known: &BTreeMap<(String, Platform), Arc<Image>>,
    ) -> Result<Vec<(String, Platform, Option<rbx_dockerfile::Span>)>, BuildError> {
        let mut missing: Vec<(String, Platform, Option<rbx_dockerfile::Span>)> = Vec::new();
        let mut need = |name: &str, platform: &Platform, span| -> Result<(), BuildError> {
            let directory = match self.request.named_contexts.get(name) {
                Some(value) => matches!(NamedContext::parse(name, value)?, NamedContext::Directory(_)),
                None => false,
            };
            let key = (name.to_owned(), platform.clone());
            let listed = missing.iter().any(|(name, platform, _)| (name, platform) == (&key.0, &key.1));
            if !directory && !listed && !known.contains_key(&key) {
                missing.push((key.0, key.1, Some(span)));
            }
            Ok(())
        };
        for stage in evaluation.stages.iter().filter(|stage| stage.reachable) {
            if let Base::Image(name) | Base::Context(name) = &stage.base {
                need(name, &stage.platform, stage.span)?;
            }
            for step in &stage.steps {
                let sources: Vec<&From> = match &step.op {
                    Op::Copy(copy) => vec![&copy.from],
                    Op::Run(run) => run.mounts.iter().map(|mount| &mount.from).collect(),
                    _ => Vec::new(),
                };
                for from in sources {
                    if let From::Image(name) | From::Named(name) = from {
                        need(name, &stage.platform, step.span)?;
                    }
                }
            }
        }
        Ok(missing)
    }

    async fn resolve(&self, name: &str, platform: &Platform) -> Result<Image, BuildError> {
        let images = Images {
            store: &self.engine.store,
            lease: &self.lease,
            registry: &self.engine.registry,
            pull: self.request.pull,
        };
        let named = match self.request.named_contexts.get(name) {
            Some(value) => NamedContext::parse(name, value)?,
            None => NamedContext::Image(name.to_owned()),
        };
        match named {
            NamedContext::Image(reference) => {
                let shown = Reference::parse(&reference).map_or(reference.clone(), |it| it.to_string());
                let task = Task::internal(self.events, &format!("[internal] load metadata for {shown}"));
                task.end(images.resolve(&reference, platform).await)
            }
            NamedContext::Layout { path, name: wanted } => {
                let task = Task::internal(self.events, &format!("[context {name}] load metadata"));
                task.end(images.from_layout(name, path, wanted.as_deref(), platform))
            }
            NamedContext::Directory(path) => Err(BuildError::invalid(format!(
                "build context {name:?} is the directory {}, not an image",
                path.display()
            ))),
        }
    }

    /// Nobody waits for a step that cannot run here: there is no emulation yet.
    fn refuse_foreign_steps(
        &self,
        evaluation: &Evaluation,
        host: &Platform,
        source: &Source,
    ) -> Result<(), BuildError> {
        for stage in evaluation.stages.iter().filter(|stage| stage.reachable) {
            let step = stage.steps.iter().find(|step| matches!(step.op, Op::Run(_)));
            if let Some(step) = step
                && rbx_platform::best(host, std::iter::once(&stage.platform)).is_none()
            {
                let reason = format!(
                    "this machine runs {host}, and the embedded engine has no emulation for {} yet",
                    stage.platform
                );
                return Err(BuildError::invalid(reason)
                    .at(Some(source.range(step.span)))
                    .hint("use a BuildKit builder with --builder, or FROM --platform=$BUILDPLATFORM"));
            }
        }
        Ok(())
    }
}

impl Source {
    fn range(&self, span: rbx_dockerfile::Span) -> SourceRange {
        let (first, last) = self.file.line_index.lines_of(span);
        SourceRange { file: self.name.clone(), text: self.text.clone(), first, last }
    }

    fn error(&self, found: &rbx_dockerfile::Diagnostic) -> BuildError {
        let mut error = BuildError::invalid(self.file.error_text(found)).at(Some(self.range(found.span)));
        error.hint.clone_from(&found.hint);
        error
    }

    fn warning(&self, found: &rbx_dockerfile::Diagnostic) -> Warning {
        let lines = self.file.line_index.lines_of(found.span);
        Warning {
            level: 1,
            short: found.to_string(),
            file: self.name.clone(),
            lines: vec![lines],
            source: self.text.to_string(),
            ..Warning::default()
        }
    }

    /// `# syntax=docker/dockerfile:…` means this front end; any other is an image that BuildKit would run.
    fn check_syntax(&self) -> Result<(), BuildError> {
        let Some(directive) = &self.file.directives.syntax else { return Ok(()) };
        let image = directive.value.split_whitespace().next().unwrap_or_default();
        let ours = Reference::parse(image).is_ok_and(|it| {
            it.domain() == "docker.io"
                && matches!(it.path(), "docker/dockerfile" | "docker/dockerfile-upstream")
        });
        if ours {
            return Ok(());
        }
        Err(BuildError::invalid(format!("the embedded engine cannot run the front end {image}"))
            .at(Some(self.range(directive.span)))
            .hint("use a BuildKit builder with --builder"))
    }
}

/// A `--build-context`.
enum NamedContext {
    Directory(PathBuf),
    Image(String),
    Layout { path: PathBuf, name: Option<String> },
}

impl NamedContext {
    fn parse(name: &str, value: &str) -> Result<Self, BuildError> {
        if let Some(image) = value.strip_prefix("docker-image://") {
            return Ok(Self::Image(image.to_owned()));
        }
        if let Some(layout) = value.strip_prefix("oci-layout://") {
            // A tag comes after the last colon, a digest after an at sign.
            let (path, wanted) = match (layout.rsplit_once('@'), layout.rsplit_once(':')) {
                (Some((path, digest)), _) => {
                    (path.split_once(':').map_or(path, |(path, _)| path), Some(digest))
                }
                (None, Some((path, tag))) if !tag.contains('/') => (path, Some(tag)),
                _ => (layout, None),
            };
            return Ok(Self::Layout { path: PathBuf::from(path), name: wanted.map(str::to_owned) });
        }
        if value.contains("://") || value.starts_with("git@") {
            return Err(BuildError::invalid(format!(
                "--build-context {name}={value}: the embedded engine does not have remote contexts yet"
            ))
            .hint("use a BuildKit builder with --builder"));
        }
        Ok(Self::Directory(PathBuf::from(value)))
    }
}

fn facts(image: &Image) -> BaseFacts {
    let run = &image.config.config;
    let filled = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    BaseFacts {
        env: run
            .env
            .iter()
            .map(|variable| match variable.split_once('=') {
                Some((name, value)) => (name.to_owned(), value.to_owned()),
                None => (variable.clone(), String::new()),
            })
            .collect(),
        working_dir: filled(&run.working_dir),
        user: filled(&run.user),
        shell: Some(run.shell.clone()).filter(|shell| !shell.is_empty()),
        on_build: run.on_build.clone(),
    }
}

fn canonical(path: &Path) -> Result<PathBuf, BuildError> {
    std::fs::canonicalize(path).map_err(|_| {
        BuildError::invalid(format!(
            "unable to prepare context: path {:?} not found",
            path.display().to_string()
        ))
    })
}

/// Reads a text file of bounded size; `None` where there is none.
fn read_text(path: &Path) -> Result<Option<Vec<u8>>, BuildError> {
    use std::io::Read;
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(path, &error)),
    };
    let mut bytes = Vec::new();
    file.take(TEXT_LIMIT + 1).read_to_end(&mut bytes).map_err(|error| unreadable(path, &error))?;
    if bytes.len() as u64 > TEXT_LIMIT {
        return Err(BuildError::invalid(format!("{} has more than {TEXT_LIMIT} bytes", path.display())));
    }
    Ok(Some(bytes))
}

fn wants_image(outputs: &[Output]) -> bool {
    outputs
        .iter()
        .any(|output| matches!(output.kind, OutputKind::Oci | OutputKind::Docker | OutputKind::Image))
}

/// The last part of a build: from layers to outputs.
struct Export<'a> {
    solver: &'a Arc<Solver>,
    tags: &'a [Reference],
    annotations: &'a [String],
}

impl Export<'_> {
    fn run(
        &self,
        built: &[Built],
        outputs: &[Output],
        stdout: &Stdout,
    ) -> Result<(BuildResult, Option<BuiltImage>), BuildError> {
        let mut result = BuildResult::default();
        let mut image = None;
        for output in outputs {
            match output.kind {
                OutputKind::CacheOnly => {}
                OutputKind::Local | OutputKind::Tar => self.files(output, built, stdout)?,
                OutputKind::Oci | OutputKind::Docker | OutputKind::Image => {
                    let made = self.image(output, built, stdout)?;
                    self.describe(&made, &mut result);
                    image = Some(made);
                }
            }
        }
        Ok((result, image))
    }

    fn names(&self, output: &Output) -> Result<Vec<Reference>, BuildError> {
        let Some(names) = output.attributes.get("name") else { return Ok(self.tags.to_vec()) };
        names
            .split(',')
            .map(|name| {
                Reference::parse(name).map_err(|error| BuildError::invalid(format!("{error}: {name:?}")))
            })
            .collect()
    }

    fn image(&self, output: &Output, built: &[Built], stdout: &Stdout) -> Result<BuiltImage, BuildError> {
        let title = match output.kind {
            OutputKind::Oci => "exporting to oci image format",
            OutputKind::Docker => "exporting to docker image format",
            _ => "exporting to image",
        };
        let names = self.names(output)?;
        let task = Task::internal(&self.solver.events, title);
        task.end(self.write_image(output, &names, built, stdout, &task))
    }

    fn write_image(
        &self,
        output: &Output,
        names: &[Reference],
        built: &[Built],
        stdout: &Stdout,
        task: &Task,
    ) -> Result<BuiltImage, BuildError> {
        let docker = output.kind == OutputKind::Docker;
        if docker && self.solver.plan.targets.len() > 1 && output.destination.is_some() {
            return Err(BuildError::invalid(
                "docker exporter does not support exporting manifest lists, use the oci exporter instead",
            ));
        }
        let platforms: Vec<&Platform> =
            self.solver.plan.targets.iter().map(|target| &target.platform).collect();
        let options = export::ImageOptions::parse(output, self.annotations)?;
        options.check(&platforms)?;
        let image = export::assemble(self.solver, built, &options, task)?;
        let store = &self.solver.store;
        if !self.tags.is_empty() || output.kind == OutputKind::Image {
            export::store_image(self.solver, &image, names)?;
            for name in names {
                task.done(&format!("naming to {name}"));
            }
        }
        let mtime = self.solver.epoch.unwrap_or(0);
        let directory = !export::boolean(output, "tar", true)?;
        match &output.destination {
            None => {}
            Some(OutputDestination::Path(path)) if directory => {
                export::write_layout(store, &image, names, path)?;
            }
            Some(OutputDestination::Path(path)) => {
                let part = task.part("sending tarball", 0);
                let names_key: Vec<String> = names.iter().map(ToString::to_string).collect();
                // The descriptor has annotations that are in no digest.
                let listed = serde_json::to_string(image.descriptor()).map_err(BuildError::failed)?;
                let content = format!("{docker} {mtime} {} {listed}", names_key.join(","));
                let written = export::Written::new(path, &content);
                if !written.is_there(store) {
                    let file = NewFile::create(path)?;
                    let file = export::write_archive(store, &image, names, docker, mtime, file)?;
                    file.keep().map_err(|error| unreadable(path, &error))?;
                    written.remember(store)?;
                }
                part.done();
            }
            Some(OutputDestination::Stdout) => {
                let mut out = stdout.lock().unwrap_or_else(PoisonError::into_inner);
                export::write_archive(store, &image, names, docker, mtime, &mut *out)?;
            }
        }
        Ok(image)
    }

    fn describe(&self, image: &BuiltImage, result: &mut BuildResult) {
        let digest = image.descriptor().digest.to_string();
        let config = image.config().map(|config| config.digest.to_string());
        result.metadata.insert("containerimage.digest".to_owned(), json!(digest));
        result.metadata.insert("containerimage.descriptor".to_owned(), json!(image.descriptor()));
        if let Some(config) = &config {
            result.metadata.insert("containerimage.config.digest".to_owned(), json!(config));
        }
        if !self.tags.is_empty() {
            let names: Vec<String> = self.tags.iter().map(ToString::to_string).collect();
            result.metadata.insert("image.name".to_owned(), json!(names.join(",")));
        }
        result.image_digest = Some(digest);
        result.config_digest = config;
    }

    fn files(&self, output: &Output, built: &[Built], stdout: &Stdout) -> Result<(), BuildError> {
        let local = output.kind == OutputKind::Local;
        let title = if local { "exporting to client directory" } else { "exporting to client tarball" };
        let task = Task::internal(&self.solver.events, title);
        let write = || -> Result<(), BuildError> {
            let several = self.solver.plan.targets.len() > 1;
            let epoch = self.solver.epoch;
            let split = export::boolean(output, "platform-split", several)?;
            let trees = self
                .solver
                .plan
                .targets
                .iter()
                .map(|target| {
                    let layers = target.root.map_or(&[][..], |root| &built[root].layers);
                    let prefix = if split { export::path_part(&target.platform) } else { String::new() };
                    Ok((prefix, self.solver.readable(layers)?))
                })
                .collect::<Result<Vec<_>, BuildError>>()?;
            match &output.destination {
                Some(OutputDestination::Path(path)) if local => {
                    for (prefix, tree) in &trees {
                        if prefix.is_empty() {
                            export::write_directory(tree, path, epoch)?;
                        } else {
                            export::write_platform_directory(tree, path, prefix, epoch)?;
                        }
                    }
                    Ok(())
                }
                Some(OutputDestination::Path(path)) => {
                    let mut file = NewFile::create(path)?;
                    export::write_tar(&trees, epoch, &mut file)?;
                    file.keep().map_err(|error| unreadable(path, &error))
                }
                Some(OutputDestination::Stdout) => {
                    let mut out = stdout.lock().unwrap_or_else(PoisonError::into_inner);
                    export::write_tar(&trees, epoch, &mut *out)
                }
                None => Err(BuildError::invalid(format!(
                    "dest is required for {} exporter",
                    if local { "local" } else { "tar" }
                ))),
            }
        };
        task.end(write())
    }
}

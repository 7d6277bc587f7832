//! One build, from the request to the result: evaluate, find the base images, plan, solve, export.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use rbx_dockerfile::{
    Base, BaseFacts, Diagnostic, Evaluation, From, Ignore, Moment, Op, Scope, Severity, Span,
};
use rbx_lint::base_facts;
use rbx_oci::Reference;
use rbx_platform::Platform;
use rbx_request::{
    BuildRequest, CallAnswer, Cancel, Event, EventSender, MAX_SECRET_LEN, Output, OutputKind, SecretSource,
    Stdout,
};
use rbx_sandbox::Rights;
use rbx_source::Http;
use rbx_ssh::Agent;
use rbx_store::Lease;

use crate::cdi::Devices;
use crate::checks::Checks;
use crate::emulation::{self, Commands, Emulation};
use crate::engine::{Engine, Outcome};
use crate::entitlements::DeviceGrants;
use crate::error::BuildError;
use crate::export::Export;
use crate::features::{Called, wants_index};
use crate::fetch::Fetcher;
use crate::image::{Image, Images};
use crate::limits;
use crate::main_context::{MainContext, canonical};
use crate::named_context::NamedContext;
use crate::plan::{Operation, Plan};
use crate::planner::{MAIN_CONTEXT, Planner};
use crate::progress::Task;
use crate::resolv_conf::ResolvConf;
use crate::solve::{ContextSlot, Settings, Solver};
use crate::source::{Source, read_text};
use crate::{outlines, targets};

/// Rounds of reading base images whose triggers name further images.
const TRIGGER_ROUNDS: usize = 16;

/// A build on its way.
pub(crate) struct Build<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) request: &'a BuildRequest,
    pub(crate) events: &'a EventSender,
    pub(crate) cancel: &'a Cancel,
    pub(crate) lease: Arc<Lease>,
    /// Only what is here is looked at: see [`crate::probe`].
    pub(crate) offline: bool,
}

impl Build<'_> {
    pub(crate) async fn run(&self, stdout: &Stdout) -> Result<Outcome, BuildError> {
        // A build that was cancelled does not wait for a terminal that was stopped.
        let events = self.events.clone();
        let _listening = self.cancel.on_cancel(move || events.stop_waiting());
        let agents = self.agents()?;
        let (fetcher, context, source) = self.read().await?;
        let epoch = self.epoch()?;
        let platforms = self.platforms();
        let mut checks = Checks::of_build();
        let planned = self.plan(&source, &context, &platforms, epoch, &mut checks).await;
        checks.tell(&source, self.events);
        let (plan, commands) = planned?;
        if let Some(error) = checks.error() {
            return Err(error);
        }
        let emulation = self.emulation(commands).await?;
        self.finish(plan, emulation, &context, &source, fetcher, epoch, agents, stdout).await
    }

    /// Finds the context and reads the Dockerfile; what is fetched later is fetched by the same means.
    pub(crate) async fn read(&self) -> Result<(Arc<Fetcher>, MainContext, Source), BuildError> {
        let fetcher = Arc::new(self.fetcher()?);
        let context = MainContext::find(self.request, &fetcher, self.events).await?;
        let source = Source::load(self.request, &context, &fetcher, self.events).await?;
        Ok((fetcher, context, source))
    }

    /// Finds out what is to be done for each platform.
    pub(crate) async fn plan(
        &self,
        source: &Source,
        context: &MainContext,
        platforms: &[Platform],
        epoch: Option<i64>,
        checks: &mut Checks,
    ) -> Result<(Plan, Commands), BuildError> {
        let host = Platform::host();
        let mut plan = Plan::new(wants_index(self.request, platforms.len())?);
        let mut images = BTreeMap::new();
        let mut commands = Commands::default();
        for platform in platforms {
            let evaluate = self.evaluate(source, platform, &host, &mut images, checks);
            let evaluation = self.cancel.unless(evaluate).await?;
            let runs_on = emulation::platforms(&evaluation, &images);
            commands.add(&evaluation, &runs_on, platform, plan.index, source);
            let mut planner = Planner::new(
                self.request,
                context,
                &source.file,
                &source.name,
                &source.text,
                &evaluation,
                &images,
                platform,
                &runs_on,
                plan.index,
                epoch,
            );
            planner.plan(&mut plan)?;
        }
        Ok((plan, commands))
    }

    /// Does what is to be done.
    #[expect(clippy::too_many_arguments, reason = "one value for each thing a plan is solved with")]
    async fn finish(
        &self,
        mut plan: Plan,
        emulation: Emulation,
        context: &MainContext,
        source: &Source,
        fetcher: Arc<Fetcher>,
        epoch: Option<i64>,
        agents: BTreeMap<String, Arc<Agent>>,
        stdout: &Stdout,
    ) -> Result<Outcome, BuildError> {
        self.engine.prepare_for(&plan)?;
        let devices = self.devices(&mut plan)?;
        let settings = self.settings(&fetcher, devices, agents)?;
        let solver = Arc::new(self.solver(plan, context, source, fetcher, epoch, settings, emulation)?);
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
        let exported = exported.await.map_err(BuildError::failed)?;
        if exported.is_err() {
            self.cancel.check()?;
        }
        let (result, image) = exported?;
        Ok(Outcome { result, image, _lease: self.lease.clone() })
    }

    /// What it is built for.
    pub(crate) fn platforms(&self) -> Vec<Platform> {
        match self.request.platforms.as_slice() {
            [] => vec![Platform::host()],
            platforms => platforms.to_vec(),
        }
    }

    /// Answers a call.
    pub(crate) async fn call(&self, called: Called) -> Result<CallAnswer, BuildError> {
        let (_, _context, source) = self.read().await?;
        match called {
            Called::Targets => match source.file.first_error() {
                Some(error) => Err(source.error(error)),
                None => Ok(targets::answer(&source)),
            },
            Called::Outline => {
                let (host, platforms) = (Platform::host(), self.platforms());
                let platform = platforms.first().unwrap_or(&host);
                let (mut images, mut checks) = (BTreeMap::new(), Checks::of_build());
                let evaluate = self.evaluate(&source, platform, &host, &mut images, &mut checks);
                let evaluation = self.cancel.unless(evaluate).await?;
                Ok(outlines::answer(&source, &evaluation, [platform, &host], &self.request.build_args))
            }
            Called::Lint => {
                let host = Platform::host();
                let mut checks = Checks::alone(self.request.target.is_none());
                let mut images = BTreeMap::new();
                for platform in &self.platforms() {
                    let made = checks.count();
                    let evaluate = self.evaluate(&source, platform, &host, &mut images, &mut checks);
                    let ended = self.cancel.unless(evaluate).await;
                    self.cancel.check()?;
                    // What is wrong with the Dockerfile is in the answer.
                    if checks.count() == made {
                        drop(ended?);
                    }
                }
                Ok(checks.answer(&source))
            }
        }
    }

    /// Finds out how the commands of every platform are run, and says so.
    async fn emulation(&self, commands: Commands) -> Result<Emulation, BuildError> {
        let (settings, runtime) = (self.engine.emulation.clone(), self.engine.steps.oci_runtime.clone());
        // A program of another architecture may be tried out for it.
        let find = move || commands.means(&settings, runtime.as_deref()).map(|means| (commands, means));
        let find = async { tokio::task::spawn_blocking(find).await.map_err(BuildError::failed)? };
        let (commands, means) = self.cancel.unless(find).await?;
        commands.announce(&means, self.events);
        Ok(Emulation::new(means, self.request.pull))
    }

    /// Finds the devices of all steps; a step's key then has their qualified names, as with BuildKit.
    pub(crate) fn devices(&self, plan: &mut Plan) -> Result<Devices, BuildError> {
        let runs = plan.vertices.iter_mut().filter_map(|vertex| match &mut vertex.operation {
            Operation::Run(run) if !run.devices.is_empty() => Some((run, &vertex.source, &vertex.name)),
            _ => None,
        });
        let mut runs = runs.peekable();
        if runs.peek().is_none() {
            return Ok(Devices::default());
        }
        let devices = Devices::read(&self.engine.steps.device_specs);
        let grants = DeviceGrants::of(self.request)?;
        for (run, source, name) in runs {
            let resolved = devices.resolve(&run.devices, &grants).and_then(|names| {
                // What cannot be done is said before the first step.
                devices.changes(&names).map(|_| names)
            });
            let names = resolved.map_err(|error| error.of_step(name).at(source.clone()))?;
            run.devices =
                names.into_iter().map(|name| rbx_dockerfile::Device { name, required: true }).collect();
        }
        Ok(devices)
    }

    pub(crate) fn fetcher(&self) -> Result<Fetcher, BuildError> {
        Ok(Fetcher {
            store: self.engine.store.clone(),
            lease: self.lease.clone(),
            http: Http::new(self.engine.registry.transport().clone()),
            git: self.engine.git.clone(),
            secrets: Arc::new(self.secrets()?),
            ssh: self.request.ssh.clone(),
            cancel: self.cancel.clone(),
            threads: self.engine.threads,
        })
    }

    #[expect(clippy::too_many_arguments, reason = "one value for each thing a plan is solved with")]
    pub(crate) fn solver(
        &self,
        plan: Plan,
        context: &MainContext,
        source: &Source,
        fetcher: Arc<Fetcher>,
        epoch: Option<i64>,
        settings: Settings,
        emulation: Emulation,
    ) -> Result<Solver, BuildError> {
        let mut contexts = BTreeMap::new();
        if let MainContext::Directory(root) = context {
            contexts.insert(MAIN_CONTEXT.to_owned(), ContextSlot::new(root.clone(), source.ignore.clone()));
        }
        for name in plan.contexts() {
            if let Some(value) = self.request.named_contexts.get(&name)
                && let NamedContext::Directory(path) = NamedContext::parse(&name, value)?
            {
                let path = canonical(&path)?;
                let ignore = ignore_of(&path)?;
                contexts.insert(name, ContextSlot::new(Some(path), ignore));
            }
        }
        Ok(Solver {
            store: self.engine.store.clone(),
            lease: self.lease.clone(),
            registry: self.engine.registry.clone(),
            fetcher,
            helper: self.engine.helper.clone(),
            plan,
            contexts,
            settings,
            emulation,
            log_limits: self.engine.log_limits,
            events: self.events.clone(),
            cancel: self.cancel.clone(),
            threads: self.engine.threads,
            describe: wants_image(&self.request.outputs),
            epoch,
            started: Timestamp::now(),
            dry: false,
        })
    }

    /// What every step has.
    pub(crate) fn settings(
        &self,
        fetcher: &Fetcher,
        devices: Devices,
        agents: BTreeMap<String, Arc<Agent>>,
    ) -> Result<Settings, BuildError> {
        Ok(Settings {
            add_hosts: self.request.add_hosts.clone(),
            resolv_conf: ResolvConf::of_this_machine(),
            shm_size: self.request.shm_size,
            more_ids: match &self.engine.rights {
                Ok(Rights::OneId { remedy }) => Some(remedy.clone()),
                _ => None,
            },
            rlimits: limits::rlimits(self.request)?,
            group: limits::group(self.request)?,
            runtime: self.engine.steps.oci_runtime.clone(),
            secrets: fetcher.secrets.clone(),
            agents,
            devices,
        })
    }

    fn agents(&self) -> Result<BTreeMap<String, Arc<Agent>>, BuildError> {
        Ok(Agent::open_all(&self.request.ssh)?)
    }

    fn secrets(&self) -> Result<BTreeMap<String, Vec<u8>>, BuildError> {
        let read = |secret: &rbx_request::Secret| match &secret.source {
            SecretSource::Value(value) => Ok(value.clone()),
            SecretSource::File(path) => {
                let value = read_bounded(path, MAX_SECRET_LEN as u64 + 1).map_err(|error| {
                    let (reason, path) = (rbx_request::reason(&error), path.display());
                    BuildError::invalid(format!("{reason}: failed to read secret {} from {path}", secret.id))
                })?;
                if value.len() > MAX_SECRET_LEN {
                    return Err(BuildError::invalid(format!(
                        "invalid secret size {} bytes: secret {} is larger than 500 KiB",
                        std::fs::metadata(path).map_or(value.len() as u64, |metadata| metadata.len()),
                        secret.id
                    )));
                }
                Ok(value)
            }
        };
        self.request.secrets.iter().map(|secret| Ok((secret.id.clone(), read(secret)?))).collect()
    }

    /// `SOURCE_DATE_EPOCH`, in seconds.
    pub(crate) fn epoch(&self) -> Result<Option<i64>, BuildError> {
        match self.request.build_args.get("SOURCE_DATE_EPOCH").map(String::as_str) {
            None | Some("") => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|_| {
                BuildError::invalid(format!("invalid SOURCE_DATE_EPOCH: {text}: not a number of seconds"))
            }),
        }
    }

    /// Evaluates the Dockerfile for a platform. Bases are looked up as they become known: the triggers of one may
    /// name another.
    async fn evaluate(
        &self,
        source: &Source,
        platform: &Platform,
        host: &Platform,
        images: &mut BTreeMap<(String, Platform), Arc<Image>>,
        checks: &mut Checks,
    ) -> Result<Evaluation, BuildError> {
        let named: BTreeSet<String> = self.request.named_contexts.keys().cloned().collect();
        for _ in 0..TRIGGER_ROUNDS {
            let mut bases: BTreeMap<(String, Platform), BaseFacts> =
                images.iter().map(|(key, image)| (key.clone(), base_facts(&image.config))).collect();
            for (name, value) in &self.request.named_contexts {
                if NamedContext::parse(name, value).is_ok_and(|context| !context.is_image()) {
                    // As BuildKit: what has no configuration has at least this.
                    let facts = BaseFacts { working_dir: Some("/".to_owned()), ..BaseFacts::default() };
                    bases.insert((name.clone(), platform.clone()), facts);
                }
            }
            let scope = Scope {
                target_platform: platform,
                build_platform: host,
                build_args: &self.request.build_args,
                target: self.request.target.as_deref(),
                named_contexts: &named,
                bases: &bases,
            };
            let evaluation = rbx_dockerfile::evaluate(&source.file, &scope);
            let errors = evaluation.diagnostics.iter().filter(|it| it.severity == Severity::Error);
            let error = source.file.first_error().or(errors.into_iter().next());
            // Checks are made with all that is known of base images, where BuildKit would have come to these.
            let by_command = |error: &Diagnostic| matches!(error.moment, Moment::Command { .. });
            let missing = if error.is_none_or(|error| checks.alone && by_command(error)) {
                self.missing_images(&evaluation, images, checks.all_stages)?
            } else {
                Vec::new()
            };
            let check = |checks: &mut Checks, images: &BTreeMap<_, _>, bases| {
                checks.make(source, &evaluation, platform, &self.request.build_args, bases, images);
            };
            if missing.is_empty() {
                check(checks, images, bases.clone());
                if let Some(error) = error {
                    return Err(source.error(error));
                }
                for warning in evaluation.diagnostics.iter().filter(|it| it.severity == Severity::Warning) {
                    self.events.send(Event::Warning(source.warning(warning)));
                }
                return Ok(evaluation);
            }
            for (name, platform, range) in missing {
                let range = range.map(|span| source.range(span));
                let image = match self.resolve(&name, &platform).await.map_err(|error| error.at(range)) {
                    Ok(image) => image,
                    Err(error) => {
                        check(checks, images, bases.clone());
                        checks.stop_at_base(&error);
                        return Err(error);
                    }
                };
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
        all_stages: bool,
    ) -> Result<Vec<(String, Platform, Option<Span>)>, BuildError> {
        let mut missing: Vec<(String, Platform, Option<Span>)> = Vec::new();
        let mut need = |name: &str, platform: &Platform, span| -> Result<(), BuildError> {
            let files = match self.request.named_contexts.get(name) {
                Some(value) => !NamedContext::parse(name, value)?.is_image(),
                None => false,
            };
            let key = (name.to_owned(), platform.clone());
            let listed = missing.iter().any(|(name, platform, _)| (name, platform) == (&key.0, &key.1));
            if !files && !listed && !known.contains_key(&key) {
                missing.push((key.0, key.1, Some(span)));
            }
            Ok(())
        };
        for stage in evaluation.stages.iter().filter(|stage| all_stages || stage.reachable) {
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
            NamedContext::Image(reference) if self.offline => images.known(&reference, platform),
            NamedContext::Image(reference) => {
                let shown = Reference::parse(&reference).map_or(reference.clone(), |it| it.to_string());
                // As with steps: which platform, where there are several.
                let several = self.request.platforms.len() > 1;
                let of = if several { format!("{} ", platform.format_all()) } else { String::new() };
                let name = format!("[{of}internal] load metadata for {shown}");
                let task = Task::internal(self.events, &name);
                task.end(images.resolve(&reference, platform).await)
            }
            NamedContext::Layout { path, name: wanted } => {
                let task = Task::internal(self.events, &format!("[context {name}] load metadata"));
                task.end(Images::in_layout(name, path, wanted.as_deref(), platform))
            }
            NamedContext::Directory(_) | NamedContext::Scratch | NamedContext::Remote(_) => {
                Err(BuildError::invalid(format!("build context {name:?} is no image")))
            }
        }
    }
}

/// What a named context of this machine leaves out by its own ignore file.
fn ignore_of(directory: &Path) -> Result<Ignore, BuildError> {
    let path = directory.join(".dockerignore");
    match read_text(&path)? {
        Some(bytes) => Ignore::parse(&bytes)
            .map_err(|error| BuildError::invalid(format!("{error}: failed to read {}", path.display()))),
        None => Ok(Ignore::none()),
    }
}

fn wants_image(outputs: &[Output]) -> bool {
    outputs
        .iter()
        .any(|output| matches!(output.kind, OutputKind::Oci | OutputKind::Docker | OutputKind::Image))
}

/// A file's bytes, as many as that at most: what was named may have no end.
fn read_bounded(path: &Path, most: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

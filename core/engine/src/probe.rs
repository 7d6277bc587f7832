//! What a build would do, found out without doing any of it.
//!
//! The plan and its keys are those of a build. What a step will make has no name before it is made, so what stands on a
//! step that is not cached cannot be cached either. Two kinds of steps do not look at what they stand on, or not by its
//! name: a linked copy, and one that copies *from* such a step, which is found by the content of what that makes and is
//! not known before.
//!
//! Nothing is recorded and nothing is fetched. What is learned of the files of a context is kept for the next build, as
//! a build would.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rbx_emulation::{Means, Missing};
use rbx_platform::Platform;
use rbx_request::{ContextSource, DockerfileSource, FailureKind, SourceRange};
use rbx_store::{Key, LayerId};

use crate::build::Build;
use crate::checks::Checks;
use crate::emulation::{Emulation, emulator};
use crate::error::BuildError;
use crate::fetch::Remote;
use crate::layer::is_laid_out;
use crate::plan::{CopyFrom, CopyOperation, CopyPaths, Operation, Plan, RunOperation, Vertex, VertexId};
use crate::select::{CopyOptions, select};
use crate::solve::Solver;
use crate::steps::{CopySource, Looked};

/// What a build would do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// What it is built for.
    pub platforms: Vec<Platform>,
    /// All that would be done or found in the cache. What a step needs comes before it.
    pub steps: Vec<ProbedStep>,
}

/// One step of a build, as it would end now. Instructions that change no files are none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbedStep {
    /// The digest and the name that it has in the progress of the build.
    pub digest: String,
    /// See `digest`.
    pub name: String,
    /// What it is.
    pub kind: StepKind,
    /// Its lines, unless it is in no line of the Dockerfile by itself.
    pub source: Option<SourceRange>,
    /// Those platforms of the build that need it.
    pub platforms: Vec<Platform>,
    /// Whether it is cached.
    pub state: StepState,
    /// Why it is not cached, or not known to be.
    pub reason: Option<String>,
    /// Of a command, the platform that it runs on, and what runs it.
    pub run: Option<(Platform, Runner)>,
}

/// What a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepKind {
    /// A base image, or one that files are copied from.
    Image,
    /// What is fetched from an address.
    Fetch,
    /// `COPY` or `ADD`, or files of a context for a mount.
    Copy,
    /// `WORKDIR`.
    Directory,
    /// `RUN`.
    Run,
}

/// Whether a step is cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepState {
    /// Its result is here.
    Cached,
    /// It is done anew.
    Run,
    /// That depends on what other steps make, or on what a server has.
    Unknown,
    /// It cannot be done.
    Fails,
}

/// What runs the commands of a platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Runner {
    /// The CPU.
    Native,
    /// This emulator.
    Emulated(String),
    /// Nothing: the build would be refused.
    Nothing {
        /// Why.
        reason: String,
        /// What to do about it.
        remedy: String,
    },
}

/// How the commands of platforms are run: of those that are not here, natively.
type Runners = BTreeMap<Platform, Result<Means, Box<Missing>>>;

/// What a step hands on to those that stand on it.
#[derive(Debug, Clone)]
enum Output {
    /// Layers that are in the store.
    Known(Vec<LayerId>),
    /// A layer that is made anew, because this step is.
    New(VertexId),
    /// Nobody knows before this step is done.
    Unknown(VertexId),
}

/// What was found out about a step.
struct Seen {
    state: StepState,
    reason: Option<String>,
    output: Output,
}

impl Seen {
    fn cached(layers: Vec<LayerId>) -> Self {
        Self { state: StepState::Cached, reason: None, output: Output::Known(layers) }
    }

    fn run(id: VertexId, reason: impl Into<String>) -> Self {
        Self { state: StepState::Run, reason: Some(reason.into()), output: Output::New(id) }
    }

    fn unknown(id: VertexId, reason: impl Into<String>) -> Self {
        Self { state: StepState::Unknown, reason: Some(reason.into()), output: Output::Unknown(id) }
    }
}

impl Build<'_> {
    /// Finds out what the build would do.
    pub(crate) async fn probe(&self) -> Result<Probe, BuildError> {
        let elsewhere = matches!(self.request.context, ContextSource::Tar(_) | ContextSource::Url(_))
            || matches!(self.request.dockerfile, DockerfileSource::Url(_));
        if elsewhere {
            let reason = "a dry run needs a context and a Dockerfile that are on this machine";
            return Err(BuildError::invalid(reason));
        }
        let (fetcher, context, source) = self.read().await?;
        let epoch = self.epoch()?;
        let platforms = self.platforms();
        let mut checks = Checks::of_build();
        let (mut plan, commands) = self.plan(&source, &context, &platforms, epoch, &mut checks).await?;
        let is_absent = |vertex: &Vertex| matches!(&vertex.operation, Operation::Image(it) if it.is_absent());
        // They may say too much where an image is not known.
        if let Some(error) = checks.error().filter(|_| !plan.vertices.iter().any(is_absent)) {
            return Err(error);
        }
        let (settings, runtime) = (self.engine.emulation.clone(), self.engine.steps.oci_runtime.clone());
        let find = move || commands.each_means(&settings, runtime.as_deref());
        let find = async { tokio::task::spawn_blocking(find).await.map_err(BuildError::failed) };
        let runners: Runners = self.cancel.unless(find).await?;
        self.engine.prepare_for(&plan)?;
        let devices = self.devices(&mut plan)?;
        let settings = self.settings(&fetcher, devices, BTreeMap::new())?;
        let emulation = Emulation::default();
        let mut solver = self.solver(plan, &context, &source, fetcher, epoch, settings, emulation)?;
        solver.dry = true;
        let solver = Arc::new(solver);
        let looked = self.cancel.unless(solver.probe(&runners)).await;
        solver.save_contexts()?;
        Ok(Probe { platforms, steps: looked? })
    }
}

impl Solver {
    /// Looks every vertex of the plan up.
    async fn probe(self: &Arc<Self>, runners: &Runners) -> Result<Vec<ProbedStep>, BuildError> {
        let needed_by = needed_by(&self.plan);
        let mut outputs: Vec<Output> = Vec::with_capacity(self.plan.vertices.len());
        let mut alike = Alike::default();
        let mut twins = Vec::new();
        let mut steps: BTreeMap<VertexId, ProbedStep> = BTreeMap::new();
        for (id, vertex) in self.plan.vertices.iter().enumerate() {
            self.cancel.check()?;
            let seen = match self.look_at(id, &outputs).await {
                Ok(seen) => seen,
                Err(error) if error.kind == FailureKind::Cancelled => return Err(error),
                Err(error) => Seen {
                    state: StepState::Fails,
                    reason: Some(error.reason.clone()),
                    output: Output::Unknown(id),
                },
            };
            if let Some(other) = alike.add(id, vertex, &outputs) {
                twins.push((id, other));
            }
            outputs.push(seen.output);
            let kind = match &vertex.operation {
                Operation::Image(_) => StepKind::Image,
                Operation::Fetch(_) => StepKind::Fetch,
                Operation::Copy(_) => StepKind::Copy,
                Operation::Directory(_) => StepKind::Directory,
                Operation::Run(_) => StepKind::Run,
                // A context that was brought here, which is refused above.
                Operation::Layers(_) => continue,
            };
            let platforms = needed_by.iter().filter(|(_, needed)| needed.contains(&id));
            let step = ProbedStep {
                digest: vertex.digest.clone(),
                name: vertex.name.clone(),
                kind,
                source: vertex.source.clone(),
                platforms: platforms.map(|(platform, _)| platform.clone()).collect(),
                state: seen.state,
                reason: seen.reason,
                run: match &vertex.operation {
                    Operation::Run(run) => Some((run.platform.clone(), runner(runners, run))),
                    _ => None,
                },
            };
            steps.insert(id, step);
        }
        for (one, other) in twins {
            for (id, like) in [(one, other), (other, one)] {
                let step = steps.get_mut(&id).filter(|_| !self.plan.vertices[id].fresh);
                if let Some(step) = step.filter(|step| step.state == StepState::Run) {
                    step.state = StepState::Unknown;
                    step.reason = Some(format!("it is done, or found once {} is done", self.name(like)));
                }
            }
        }
        Ok(steps.into_values().collect())
    }

    async fn look_at(self: &Arc<Self>, id: VertexId, outputs: &[Output]) -> Result<Seen, BuildError> {
        let vertex = &self.plan.vertices[id];
        match &vertex.operation {
            Operation::Image(image) if image.is_absent() => {
                Ok(Seen::unknown(id, format!("{} is not in the store, and no registry is asked", image.name)))
            }
            Operation::Image(image) => Ok(match image.unpacked(&self.store)? {
                Some(layers) => Seen::cached(layers),
                None => Seen::run(id, "its layers are not in the store"),
            }),
            Operation::Layers(layers) => Ok(Seen::cached(layers.clone())),
            Operation::Fetch(remote) => {
                if let Remote::Http(source) = remote
                    && let Some(found) = self.fetcher.pinned(source)?
                {
                    return Ok(Seen::cached(vec![found.layer]));
                }
                Ok(Seen::unknown(id, format!("every build asks for {}", remote.shown())))
            }
            Operation::Copy(copy) => self.look_at_copy(id, copy, outputs).await,
            Operation::Directory(directory) => {
                let needed = directory.base.iter().copied();
                let below = match self.needed(needed, vertex.fresh, id, outputs) {
                    Ok(mut layers) => layers.pop().unwrap_or_default(),
                    Err(seen) => return Ok(seen),
                };
                let found = self.find(&Self::directory_key(directory, &below), &below)?;
                Ok(found.map_or_else(|| not_cached(id), |built| Seen::cached(built.layers)))
            }
            Operation::Run(run) => {
                // An empty file system has no layers.
                let roots: Vec<Option<VertexId>> =
                    std::iter::once(run.base).chain(run.mounts.iter().map(|it| it.kind.vertex())).collect();
                let layers = match self.needed(roots.iter().copied().flatten(), vertex.fresh, id, outputs) {
                    Ok(layers) => layers,
                    Err(seen) => return Ok(seen),
                };
                let mut layers = layers.into_iter();
                let mut of_roots =
                    roots.iter().map(|root| root.and_then(|_| layers.next()).unwrap_or_default());
                let below = of_roots.next().unwrap_or_default();
                let mounted: Vec<Vec<LayerId>> = of_roots.collect();
                let found = self.find(&self.run_key(run, &below, &mounted), &below)?;
                Ok(found.map_or_else(|| not_cached(id), |built| Seen::cached(built.layers)))
            }
        }
    }

    async fn look_at_copy(
        self: &Arc<Self>,
        id: VertexId,
        copy: &CopyOperation,
        outputs: &[Output],
    ) -> Result<Seen, BuildError> {
        let fresh = self.plan.vertices[id].fresh;
        let base = copy.base.filter(|_| !copy.link);
        let base = match self.needed(base.into_iter(), fresh, id, outputs) {
            Ok(mut layers) => layers.pop().unwrap_or_default(),
            Err(seen) => {
                self.check_sources(copy).await?;
                return Ok(seen);
            }
        };
        let mut known: BTreeMap<VertexId, Vec<LayerId>> = BTreeMap::new();
        for input in copy.inputs() {
            match &outputs[input] {
                Output::Known(layers) => drop(known.insert(input, layers.clone())),
                Output::New(cause) | Output::Unknown(cause) => {
                    let reason = format!("that depends on what {} makes", self.name(*cause));
                    return Ok(Seen {
                        state: StepState::Unknown,
                        reason: Some(reason),
                        output: Output::Unknown(*cause),
                    });
                }
            }
        }
        let mut sources = Vec::new();
        for part in &copy.parts {
            sources.push(self.copy_source(&part.from, &known).await?);
        }
        let solver = self.clone();
        let look = move || {
            let Operation::Copy(copy) = &solver.plan.vertices[id].operation else {
                return Err(BuildError::failed("a copy became something else"));
            };
            solver.look_for_copy(copy, &base, &sources, id)
        };
        let mut seen = tokio::task::spawn_blocking(look).await.map_err(BuildError::failed)??;
        // What lies below a linked layer is part of what is handed on.
        if let (true, Some(base), Output::Known(own)) = (copy.link, copy.base, &seen.output) {
            seen.output = match &outputs[base] {
                Output::Known(layers) => Output::Known(layers.iter().chain(own).copied().collect()),
                other => other.clone(),
            };
        }
        Ok(seen)
    }

    /// Fails if what is to be copied is not in its context.
    async fn check_sources(self: &Arc<Self>, copy: &CopyOperation) -> Result<(), BuildError> {
        let options = CopyOptions { parents: copy.parents, ..CopyOptions::default() };
        for part in &copy.parts {
            if let (CopyFrom::Context(_), CopyPaths::Patterns(paths)) = (&part.from, &part.paths)
                && let CopySource::Context(context) = self.copy_source(&part.from, &BTreeMap::new()).await?
            {
                select(context.tree(), paths, &options)?;
            }
        }
        Ok(())
    }

    /// Looks for the result of a copy whose sources are known. Reads what it would copy, but lays no layer out for it.
    fn look_for_copy(
        &self,
        copy: &CopyOperation,
        base: &[LayerId],
        sources: &[CopySource],
        id: VertexId,
    ) -> Result<Seen, BuildError> {
        let by_name = copy.owner.as_deref().is_some_and(|owner| owner.contains(|c: char| c.is_alphabetic()));
        let of_sources = sources.iter().flat_map(|source| match source {
            CopySource::Layers(layers) => layers.as_slice(),
            CopySource::Context(_) | CopySource::Nothing => &[],
        });
        for layer in of_sources.chain(base.iter().filter(|_| by_name)) {
            if !is_laid_out(&self.store, *layer)? {
                let key = Self::stage_key(copy, base, sources);
                let found = key.map(|key| self.find(&key, base)).transpose()?.flatten();
                let unknown = || Seen::unknown(id, "what it copies is not laid out as files");
                return Ok(found.map_or_else(unknown, |built| Seen::cached(built.layers)));
            }
        }
        Ok(match self.find_copy(copy, base, sources, false)? {
            Looked::Found(built) => Seen::cached(built.layers),
            Looked::Missing(_) => not_cached(id),
        })
    }

    /// The layers of what a step stands on; else what that means for the step.
    fn needed(
        &self,
        needed: impl Iterator<Item = VertexId> + Clone,
        fresh: bool,
        id: VertexId,
        outputs: &[Output],
    ) -> Result<Vec<Vec<LayerId>>, Seen> {
        let mut layers = Vec::new();
        let mut unknown = None;
        for input in needed {
            match &outputs[input] {
                Output::Known(known) => layers.push(known.clone()),
                Output::New(cause) => {
                    let reason = Some(format!("it comes after {}", self.name(*cause)));
                    return Err(Seen { state: StepState::Run, reason, output: Output::New(*cause) });
                }
                Output::Unknown(cause) => drop(unknown.get_or_insert(*cause)),
            }
        }
        if fresh {
            return Err(Seen::run(id, "the cache is not to be used"));
        }
        match unknown {
            Some(cause) => Err(Seen {
                state: StepState::Unknown,
                reason: Some(format!("that depends on {}", self.name(cause))),
                output: Output::Unknown(cause),
            }),
            None => Ok(layers),
        }
    }

    fn name(&self, id: VertexId) -> &str {
        &self.plan.vertices[id].name
    }
}

/// Steps that may make the same: whichever of two is done first, the other one may find its result.
#[derive(Debug, Default)]
struct Alike {
    known: BTreeMap<Key, VertexId>,
    /// The first step like each.
    first: Vec<VertexId>,
}

impl Alike {
    /// Adds the next step; answers an earlier one like it. Of copies it is not known that they copy the same.
    fn add(&mut self, id: VertexId, vertex: &Vertex, outputs: &[Output]) -> Option<VertexId> {
        let mut hasher = Key::hasher("alike");
        vertex.operation.hash(&mut hasher);
        let inputs: Vec<Option<VertexId>> = match &vertex.operation {
            Operation::Copy(copy) => vec![copy.base.filter(|_| !copy.link)],
            Operation::Directory(directory) => vec![directory.base],
            Operation::Run(run) => {
                std::iter::once(run.base).chain(run.mounts.iter().map(|it| it.kind.vertex())).collect()
            }
            Operation::Image(_) | Operation::Layers(_) | Operation::Fetch(_) => Vec::new(),
        };
        for input in inputs {
            match input.map(|input| (input, &outputs[input])) {
                None => {
                    hasher.field("layers").number(0);
                }
                Some((_, Output::Known(layers))) => {
                    hasher.field("layers").number(layers.len() as u64);
                    for layer in layers {
                        hasher.field(layer.as_bytes());
                    }
                }
                Some((input, _)) => {
                    hasher.field("step").number(self.first[input] as u64);
                }
            }
        }
        let first = *self.known.entry(hasher.finish()).or_insert(id);
        self.first.push(first);
        (first != id).then_some(first)
    }
}

fn not_cached(id: VertexId) -> Seen {
    Seen::run(id, "its result is not in the cache")
}

fn runner(runners: &Runners, run: &RunOperation) -> Runner {
    match runners.get(&run.platform) {
        None => Runner::Native,
        Some(Ok(means)) => emulator(means).map_or(Runner::Native, Runner::Emulated),
        Some(Err(missing)) => {
            Runner::Nothing { reason: missing.reason.clone(), remedy: missing.remedy.clone() }
        }
    }
}

/// What each platform of a build needs.
fn needed_by(plan: &Plan) -> Vec<(Platform, BTreeSet<VertexId>)> {
    let of = |root: Option<VertexId>| {
        let mut needed = BTreeSet::new();
        let mut waiting: Vec<VertexId> = root.into_iter().collect();
        while let Some(id) = waiting.pop() {
            if needed.insert(id) {
                waiting.extend(&plan.vertices[id].inputs);
            }
        }
        needed
    };
    plan.targets.iter().map(|target| (target.platform.clone(), of(target.root))).collect()
}

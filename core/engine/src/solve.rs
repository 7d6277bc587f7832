//! Solving a plan: every vertex as soon as what it needs is there, as many at once as there are.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use jiff::Timestamp;
use rbx_dockerfile::Ignore;
use rbx_request::{AddHost, Cancel, EventSender};
use rbx_sandbox::{ControlGroup, Helper, Rlimit};
use rbx_ssh::Agent;
use rbx_store::{KeyHasher, LayerId, Lease, Store};
use tokio::sync::OnceCell;

use crate::cdi::Devices;
use crate::context::Context;
use crate::emulation::Emulation;
use crate::error::{BuildError, LayerError};
use crate::fetch::Fetcher;
use crate::plan::{CopyFrom, Operation, Plan, VertexId};
use crate::progress::{Task, announce};
use crate::resolv_conf::ResolvConf;
use crate::select::wanted_paths;
use crate::steps::{Built, CopySource, LogLimits};

/// One build being done.
pub(crate) struct Solver {
    pub(crate) store: Store,
    pub(crate) lease: Arc<Lease>,
    pub(crate) registry: rbx_registry::Client,
    pub(crate) fetcher: Arc<Fetcher>,
    pub(crate) helper: Arc<OnceLock<Helper>>,
    pub(crate) plan: Plan,
    pub(crate) contexts: BTreeMap<String, ContextSlot>,
    pub(crate) settings: Settings,
    pub(crate) emulation: Emulation,
    pub(crate) log_limits: LogLimits,
    pub(crate) events: EventSender,
    pub(crate) cancel: Cancel,
    pub(crate) threads: usize,
    /// The digests of layers will be asked for: they are computed in the pass that makes the layer.
    pub(crate) describe: bool,
    /// `SOURCE_DATE_EPOCH`, in seconds.
    pub(crate) epoch: Option<i64>,
    pub(crate) started: Timestamp,
    /// The store is only looked at: see [`crate::probe`].
    pub(crate) dry: bool,
}

/// What every `RUN` of a build has.
#[derive(Default)]
pub(crate) struct Settings {
    pub(crate) add_hosts: Vec<AddHost>,
    pub(crate) resolv_conf: ResolvConf,
    pub(crate) shm_size: Option<u64>,
    pub(crate) rlimits: Vec<Rlimit>,
    pub(crate) group: ControlGroup,
    /// In no key: steps are the same with it.
    pub(crate) runtime: Option<PathBuf>,
    /// How the user gets more ids than the one that steps have.
    pub(crate) more_ids: Option<String>,
    /// Values by id. They are in no key, no log and no record.
    pub(crate) secrets: Arc<BTreeMap<String, Vec<u8>>>,
    /// SSH agents by id.
    pub(crate) agents: BTreeMap<String, Arc<Agent>>,
    /// Those of this machine. Which a step has is in its key.
    pub(crate) devices: Devices,
}

impl Settings {
    /// Adds what a command can tell apart to its key.
    pub(crate) fn hash(&self, mut hasher: KeyHasher) -> KeyHasher {
        hasher.number(self.add_hosts.len() as u64);
        for host in &self.add_hosts {
            hasher.field(&host.host).field(host.addresses.join(","));
        }
        hasher.number(self.shm_size.unwrap_or(0)).number(self.rlimits.len() as u64);
        for limit in &self.rlimits {
            hasher.field(&limit.name).number(limit.soft).number(limit.hard);
        }
        hasher.field(format!("{:?}", self.group));
        hasher
    }

    /// The `/etc/hosts` of a step.
    pub(crate) fn hosts(&self, own_name: &str) -> Vec<u8> {
        let mut text =
            format!("127.0.0.1\tlocalhost {own_name}\n::1\tlocalhost ip6-localhost ip6-loopback\n");
        for host in &self.add_hosts {
            for address in &host.addresses {
                // As Go writes addresses: IPv6 in its shortest form, IPv4 in IPv6 as IPv4.
                let address = address
                    .parse::<IpAddr>()
                    .map_or_else(|_| address.clone(), |address| address.to_canonical().to_string());
                text.extend([&address, "\t", &host.host, "\n"]);
            }
        }
        text.into_bytes()
    }
}

/// A directory that steps copy from, read when the first of them needs it.
pub(crate) struct ContextSlot {
    pub(crate) root: Option<PathBuf>,
    pub(crate) ignore: Ignore,
    pub(crate) scanned: OnceCell<Arc<Context>>,
}

impl ContextSlot {
    pub(crate) fn new(root: Option<PathBuf>, ignore: Ignore) -> Self {
        Self { root, ignore, scanned: OnceCell::new() }
    }
}

type Outcome = Result<Built, Arc<BuildError>>;
type Pending = Shared<BoxFuture<'static, Outcome>>;

impl Solver {
    /// Does all of the plan. The first failure cancels the rest and is the answer.
    pub(crate) async fn solve(self: &Arc<Self>) -> Result<Vec<Built>, BuildError> {
        for vertex in &self.plan.vertices {
            let inputs = vertex.inputs.iter().map(|&input| self.plan.vertices[input].digest.clone());
            announce(&self.events, &vertex.digest, &vertex.name, inputs.collect());
        }
        let failure: Arc<OnceLock<BuildError>> = Arc::default();
        let mut pending: Vec<Pending> = Vec::with_capacity(self.plan.vertices.len());
        for (id, vertex) in self.plan.vertices.iter().enumerate() {
            let inputs: Vec<Pending> = vertex.inputs.iter().map(|&input| pending[input].clone()).collect();
            let (solver, failure) = (self.clone(), failure.clone());
            let work = async move {
                let inputs = futures::future::try_join_all(inputs).await?;
                let outcome = solver.vertex(id, &inputs).await;
                outcome.map_err(|error| {
                    let _ = failure.set(error.clone());
                    solver.cancel.cancel();
                    Arc::new(error)
                })
            };
            let work = work.boxed().shared();
            tokio::spawn(work.clone());
            pending.push(work);
        }
        let outcomes = futures::future::join_all(pending).await;
        if let Some(error) = failure.get() {
            return Err(error.clone());
        }
        outcomes.into_iter().collect::<Result<_, _>>().map_err(|error| (*error).clone())
    }

    async fn vertex(self: &Arc<Self>, id: VertexId, inputs: &[Built]) -> Result<Built, BuildError> {
        self.cancel.check()?;
        let vertex = &self.plan.vertices[id];
        let layers: BTreeMap<VertexId, Vec<LayerId>> =
            vertex.inputs.iter().copied().zip(inputs.iter().map(|built| built.layers.clone())).collect();
        let digests = vertex.inputs.iter().map(|&input| self.plan.vertices[input].digest.clone()).collect();
        // A context is read before the step that copies from it begins.
        let mut sources = Vec::new();
        if let Operation::Copy(copy) = &vertex.operation {
            for part in &copy.parts {
                sources.push(self.copy_source(&part.from, &layers).await?);
            }
        }
        let task = Task::start(&self.events, &vertex.digest, &vertex.name, digests);
        let outcome = match &vertex.operation {
            Operation::Image(image) => {
                let layers = image.layers(&self.store, &self.lease, &self.registry, &task);
                let found = self.cancel.unless(layers).await;
                found.map(|layers| Built { layers, created: 0, cached: false })
            }
            Operation::Layers(layers) => Ok(Built { layers: layers.clone(), created: 0, cached: true }),
            Operation::Fetch(remote) => {
                let fetched = self.fetcher.fetch(remote, &task).await;
                fetched.map(|it| Built { layers: vec![it.layer], created: it.created, cached: it.cached })
            }
            _ => {
                let (solver, task) = (self.clone(), task.clone());
                let work = move || solver.work(id, &layers, &sources, &task);
                match tokio::task::spawn_blocking(work).await {
                    Ok(outcome) => outcome,
                    Err(error) => Err(BuildError::failed(error)),
                }
            }
        };
        let outcome = outcome.map_err(|error| error.of_step(&vertex.name).at(vertex.source.clone()));
        task.finish(outcome.as_ref().is_ok_and(|built| built.cached), outcome.as_ref().err());
        outcome
    }

    fn work(
        &self,
        id: VertexId,
        layers: &BTreeMap<VertexId, Vec<LayerId>>,
        sources: &[CopySource],
        task: &Task,
    ) -> Result<Built, BuildError> {
        let vertex = &self.plan.vertices[id];
        let name = &vertex.name;
        let of = |input: &Option<VertexId>| {
            input.and_then(|input| layers.get(&input).cloned()).unwrap_or_default()
        };
        match &vertex.operation {
            Operation::Copy(copy) => self.copy(copy, &of(&copy.base), sources, vertex.fresh, name),
            Operation::Directory(directory) => {
                self.directory(directory, &of(&directory.base), vertex.fresh, name)
            }
            Operation::Run(run) => {
                let mounted: Vec<Vec<LayerId>> =
                    run.mounts.iter().map(|mount| of(&mount.kind.vertex())).collect();
                self.run(run, &of(&run.base), &mounted, vertex.fresh, task)
            }
            Operation::Image(_) | Operation::Layers(_) | Operation::Fetch(_) => {
                Err(BuildError::failed("what is fetched is no work for a thread"))
            }
        }
    }

    pub(crate) async fn copy_source(
        self: &Arc<Self>,
        from: &CopyFrom,
        layers: &BTreeMap<VertexId, Vec<LayerId>>,
    ) -> Result<CopySource, BuildError> {
        match from {
            CopyFrom::Nothing => Ok(CopySource::Nothing),
            CopyFrom::Vertex(vertex) => {
                Ok(CopySource::Layers(layers.get(vertex).cloned().unwrap_or_default()))
            }
            CopyFrom::Context(name) => {
                let slot = self
                    .contexts
                    .get(name)
                    .ok_or_else(|| BuildError::invalid(format!("there is no build context {name:?}")))?;
                let context = slot.scanned.get_or_try_init(|| self.scan(name, slot)).await?;
                Ok(CopySource::Context(context.clone()))
            }
        }
    }

    /// Walks a context: all that any step of the plan copies from it.
    async fn scan(self: &Arc<Self>, name: &str, slot: &ContextSlot) -> Result<Arc<Context>, BuildError> {
        let title = match name {
            crate::planner::MAIN_CONTEXT => "[internal] load build context".to_owned(),
            name => format!("[context {name}] load build context"),
        };
        let task = Task::internal(&self.events, &title);
        let wanted: Vec<Vec<u8>> = self
            .plan
            .vertices
            .iter()
            .filter_map(|vertex| match &vertex.operation {
                Operation::Copy(copy) => Some(copy),
                _ => None,
            })
            .flat_map(|copy| copy.patterns_in(name).map(|paths| wanted_paths(paths, copy.parents)))
            .flatten()
            .collect();
        let (store, threads) = (self.store.clone(), self.threads);
        let (root, ignore) = (slot.root.clone(), slot.ignore.clone());
        let walk = move || -> Result<Context, LayerError> {
            match root {
                Some(root) => Context::scan(&store, &root, &ignore, &wanted, threads),
                None => Ok(Context::empty(&store)),
            }
        };
        let outcome = match tokio::task::spawn_blocking(walk).await {
            Ok(outcome) => outcome.map(Arc::new).map_err(BuildError::from),
            Err(error) => Err(BuildError::failed(error)),
        };
        task.end(outcome)
    }

    /// Writes down what was learned about contexts, whatever came of the build.
    pub(crate) fn save_contexts(&self) -> Result<(), BuildError> {
        for slot in self.contexts.values() {
            if let Some(context) = slot.scanned.get() {
                context.save()?;
            }
        }
        Ok(())
    }

    /// The helper that runs the steps of this machine's platforms.
    pub(crate) fn helper(&self) -> Result<&Helper, BuildError> {
        if let Some(helper) = self.helper.get() {
            return Ok(helper);
        }
        let helper = Helper::start(&[]).map_err(|error| crate::steps::refused(&error))?;
        // Of two steps that come at once, the second one's helper ends unused.
        Ok(self.helper.get_or_init(|| helper))
    }

    /// The time that what is made without a time of its own gets, in seconds since the epoch.
    pub(crate) fn now(&self) -> i64 {
        self.epoch.unwrap_or_else(|| self.started.as_second())
    }

    /// The time of a result made now, in nanoseconds since the epoch.
    pub(crate) fn created_now() -> i64 {
        i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
    }
}

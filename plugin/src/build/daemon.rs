//! Builds by a `BuildKit` that runs somewhere.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use rbx_builder::{BuildState, Builder, Node, State, new_build_id, resolve, resolve_fixed};
use rbx_buildkit::Client;
use rbx_buildkit::build::{Built, MetadataProvenance, Settings, Vcs};
use rbx_driver::docker::Engine;
use rbx_driver::{Driver, DriverError, DriverKind, container_name, open};
use rbx_oci::Reference;
use rbx_platform::Platform;
use rbx_progress::Summary;
use rbx_request::{
    Cancelled, ContextSource, DockerfileSource, EventSender, Failure, FailureKind, Features, Network, Stdout,
    parse_bool,
};

use tokio::task::JoinHandle;

use super::archives::Loads;
use super::interrupt::Interrupt;
use super::load::{Loaded, Task};
use super::results::{is_false, is_true};
use super::{Job, caches, calls, foreign, vcs, warn};
use crate::builders::{surroundings, with_hint};
use crate::docker::registry_config;
use crate::env::Env;
use crate::errors::CliError;
use crate::threads;

/// Bound on the file of rules about sources, in bytes.
const POLICY: u64 = 1 << 20;
/// What is said of an Engine that keeps images by itself.
const CONTAINERD: &str = "turn on the containerd image store";
/// How that is turned on.
const TURN_ON: &str =
    "it is turned on by {\"features\": {\"containerd-snapshotter\": true}} in the Engine's daemon.json";

/// Builds.
pub(super) fn build(job: &Job<'_>) -> Result<ExitCode, CliError> {
    if job.args.oci_runtime.is_some() {
        let driver = job.selected.driver;
        return Err(CliError::new(format!("--oci-runtime is not supported for the {driver} driver"))
            .hint("it is for the engine of --builder embedded"));
    }
    let runtime = threads::many()?;
    let ended = runtime.block_on(run(job));
    // Nothing that is still at work after an interruption is waited for.
    runtime.shutdown_background();
    ended
}

async fn run(job: &Job<'_>) -> Result<ExitCode, CliError> {
    let interrupt = Interrupt::listen(job.context.env)?;
    let loads = tokio::select! {
        ready = prepare(job) => ready?,
        () = interrupt.happened() => return Err(Cancelled.into()),
    };
    job.prepared.warning.iter().for_each(|warning| warn(warning));

    let (events, receiver) = rbx_request::events();
    let display = job.show.start(receiver);
    let built = tokio::select! {
        built = Daemon::build(job, loads, &events, &interrupt) => built,
        () = interrupt.overdue() => Err(Cancelled.into()),
    };
    // Whoever is still at work after an interruption is not waited for.
    events.end();
    let summary = display.await.unwrap_or_default();
    job.show.warnings(&summary);
    match built {
        Ok(built) => finish(job, built, &summary),
        Err(error) => Err(explained(error, job, &summary)),
    }
}

/// What is found out before anything is shown: whether the Engine of a context answers, and who takes images.
async fn prepare(job: &Job<'_>) -> Result<Loads, CliError> {
    let selected = &job.selected;
    let is_there = async {
        if selected.driver == DriverKind::Docker
            && let Some(node) = selected.builder.nodes.first()
        {
            let asked = async { Ok::<_, CliError>(opened(job, node)?.status().await?) };
            asked.await.map_err(with_hint)?;
        }
        Ok(())
    };
    let takers = async { Loads::find(job).await.map_err(CliError::of_build) };
    Ok(tokio::try_join!(is_there, takers)?.1)
}

fn opened(job: &Job<'_>, node: &Node) -> Result<Arc<dyn Driver>, CliError> {
    let selected = &job.selected;
    let settings = node.settings(&selected.builder, &selected.endpoints)?;
    Ok(open(selected.driver, &settings, &surroundings(job.context)?)?)
}

/// A node that is there, and what it says of itself.
struct Daemon<'a> {
    node: &'a Node,
    client: Client,
    features: Features,
    /// The network of steps for which nobody named one.
    network: Network,
    /// What it was told to build, and what its workers say: the first is its own.
    platforms: Vec<Platform>,
}

impl<'a> Daemon<'a> {
    async fn build(
        job: &'a Job<'_>,
        loads: Loads,
        events: &EventSender,
        interrupt: &Interrupt,
    ) -> Result<Built, CliError> {
        let (selected, prepared, env) = (&job.selected, &job.prepared, job.context.env);
        let cancel = interrupt.engine();
        let repository = tokio::task::spawn_blocking({
            let (wanted, request, env) = (vcs::Wanted::new(env), prepared.request.clone(), env.clone());
            move || vcs::read(wanted, &request, &env)
        });
        let touched = touch(&selected.state, &selected.builder);
        let daemon = cancel.unless(Self::choose(job, events)).await?;
        let rbx = &job.context.called.path;
        foreign::check(&prepared.request, &daemon.platforms, &selected.builder.name, rbx)?;
        let repository = repository.await.unwrap_or_else(|_| Ok(vcs::Repository::default()));
        let repository = repository.unwrap_or_else(|reason| {
            warn(&format!("current commit information was not captured by the build: {reason}"));
            vcs::Repository::default()
        });

        let reference = new_build_id();
        let saved = save(job, daemon.node, &reference);
        let settings = Settings {
            reference,
            vcs: Vcs { root: repository.root, attributes: repository.attributes },
            loads: loads.to_settings(&prepared.request.tags, events),
            scratch: Some(env.path("TMPDIR").unwrap_or_else(|| PathBuf::from("/tmp"))),
            ..settings(job, &daemon)?
        };
        let stdout: Stdout = Arc::new(Mutex::new(io::stdout()));
        let request = &prepared.request;
        let built =
            rbx_buildkit::build::build(&daemon.client, request, &settings, events, cancel, &stdout).await;
        let _ = tokio::join!(saved, touched);
        let mut built = built?;
        if let Some(image) = built.exported.take() {
            cancel.unless(loads.load(image, events)).await?;
        }
        if !built.pushes.is_empty() {
            push(job, daemon.node, &mut built, events).await?;
        }
        Ok(built)
    }

    /// Finds the node that builds what is wanted.
    async fn choose(job: &'a Job<'_>, events: &EventSender) -> Result<Self, CliError> {
        let (nodes, wanted) = (&job.selected.builder.nodes, &job.prepared.request.platforms);
        let fixed: Vec<Vec<Platform>> = nodes.iter().map(Node::platforms).collect();
        let assigned = match resolve_fixed(&fixed, wanted) {
            Some(assigned) => assigned,
            None if nodes.len() == 1 => resolve(&fixed, wanted).0,
            None => {
                let mut offered = Vec::new();
                for node in nodes {
                    offered.push(Self::boot(job, node, events).await?.platforms);
                }
                resolve(&offered, wanted).0
            }
        };
        let [assignment] = assigned.as_slice() else {
            let places = assigned.iter().map(|it| {
                let platforms: Vec<String> = it.platforms.iter().map(Platform::to_string).collect();
                format!("{} on {:?}", platforms.join(","), nodes[it.node].name)
            });
            let places: Vec<String> = places.collect();
            let reason = format!("builds on several nodes are not there yet: {}", places.join(", "));
            let hint = "build the platforms of each node by themselves, or with a builder that has one node";
            return Err(CliError::new(reason).hint(hint).of_build());
        };
        let none = || CliError::new("no valid drivers found: no drivers found").of_build();
        Self::boot(job, nodes.get(assignment.node).ok_or_else(none)?, events).await
    }

    /// Makes a node be there.
    async fn boot(job: &Job<'_>, node: &'a Node, events: &EventSender) -> Result<Self, CliError> {
        let failed = |error: DriverError| CliError::from(error).of_build();
        let failed_there = |error: rbx_buildkit::Error| CliError::from(Failure::from(error));
        let driver = opened(job, node).map_err(CliError::of_build)?;
        driver.boot(events).await.map_err(failed)?;
        let client = driver.client().await.map_err(failed)?;
        let workers = async { client.workers().await.map_err(failed_there) };
        let network = async { driver.network().await.map_err(failed) };
        let (workers, network) = tokio::try_join!(workers, network)?;
        let features = driver.features(&workers).await.map_err(failed)?;
        let mut platforms = node.platforms();
        platforms.extend(workers.into_iter().flat_map(|worker| worker.platforms));
        Ok(Self { node, client, features, network, platforms })
    }
}

/// What a build needs besides its request.
fn settings(job: &Job<'_>, daemon: &Daemon<'_>) -> Result<Settings, CliError> {
    let (env, selected) = (job.context.env, &job.selected);
    let is = |name: &str| env.var(name).is_some_and(is_true);
    let config_dir = job.context.called.config_dir(env);
    let registry = rbx_registry::Client::new(registry_config(config_dir.as_deref(), env)?)
        .map_err(|error| CliError::new(error.to_string()))?;
    let wants_metadata = job.args.metadata_file.as_deref().is_some_and(|path| !path.is_empty());
    Ok(Settings {
        builder: selected.builder.name.clone(),
        node: daemon.node.name.clone(),
        driver: selected.driver.name().to_owned(),
        in_engine: selected.driver == DriverKind::Docker,
        features: daemon.features,
        network: daemon.network,
        node_id: selected.state.node_id().unwrap_or_default(),
        registry: Some(registry),
        token_seeds: config_dir.filter(|_| !is("BUILDKIT_NO_CLIENT_TOKEN")),
        no_default_attestations: bool_of(env, "BUILDX_NO_DEFAULT_ATTESTATIONS")?,
        no_default_oci_artifact: bool_of(env, "BUILDX_NO_DEFAULT_OCI_ARTIFACT")?,
        no_default_load: is("BUILDX_NO_DEFAULT_LOAD"),
        provenance: if wants_metadata { provenance(env) } else { MetadataProvenance::Disabled },
        source_policy: source_policy(env)?,
        cache_secrets: caches::secrets(env),
        ..Settings::default()
    })
}

/// Has the Engine push what it built, where its `BuildKit` cannot.
async fn push(job: &Job<'_>, node: &Node, built: &mut Built, events: &EventSender) -> Result<(), CliError> {
    let (env, selected) = (job.context.env, &job.selected);
    let credentials = registry_config(job.context.called.config_dir(env).as_deref(), env)?.credentials;
    let settings = node.settings(&selected.builder, &selected.endpoints)?;
    let engine = Engine::connect(&settings.engine).map_err(|error| CliError::from(error).of_build())?;
    let mut first = None;
    for name in &built.pushes {
        let task = Task::start(events, &format!("pushing {name} with docker"));
        let reference =
            Reference::parse(name).map_err(|error| CliError::new(error.to_string()).of_build())?;
        let pushed = engine.push(&reference, Some(&credentials)).await;
        let pushed = pushed.map_err(|error| error.reason().trim_end().to_owned());
        task.end(false, pushed.as_ref().err().map(String::as_str));
        first.get_or_insert(pushed.map_err(|reason| CliError::new(reason).of_build())?);
    }
    if let Some(digest) = first {
        // What the Engine calls the image is not what the registry calls it.
        let result = &mut built.result;
        let own = result.image_digest.replace(digest.clone());
        result.config_digest = result.config_digest.take().or(own);
        if let Some(config) = &result.config_digest {
            result.metadata.insert("containerimage.config.digest".to_owned(), config.as_str().into());
        }
        result.metadata.insert("containerimage.digest".to_owned(), digest.into());
    }
    Ok(())
}

fn bool_of(env: &Env, name: &str) -> Result<bool, CliError> {
    match env.var(name) {
        None => Ok(false),
        Some(text) => {
            parse_bool(text).map_err(|reason| CliError::new(format!("invalid {name}: {reason}")).of_build())
        }
    }
}

/// How much of the provenance goes into the metadata.
fn provenance(env: &Env) -> MetadataProvenance {
    match env.var("BUILDX_METADATA_PROVENANCE") {
        Some("max") => MetadataProvenance::Max,
        Some("disabled") => MetadataProvenance::Disabled,
        Some(text) if is_false(text) => MetadataProvenance::Disabled,
        _ => MetadataProvenance::Min,
    }
}

/// The file with rules about sources.
fn source_policy(env: &Env) -> Result<Option<Vec<u8>>, CliError> {
    let Some(path) = env.path("EXPERIMENTAL_BUILDKIT_SOURCE_POLICY") else { return Ok(None) };
    let failed =
        |error: io::Error| CliError::new(format!("failed to read policy file: {error}: {}", path.display()));
    let mut bytes = Vec::new();
    let file = File::open(&path).map_err(failed)?;
    file.take(POLICY + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > POLICY {
        return Err(CliError::new(format!("policy file too large: {}", path.display())));
    }
    Ok(Some(bytes))
}

/// Remembers when a builder was used. That it cannot be written is no reason not to build.
fn touch(state: &State, builder: &Builder) -> JoinHandle<()> {
    let (state, name) = (state.clone(), builder.name.clone());
    tokio::task::spawn_blocking(move || {
        let touched = state.change().and_then(|change| change.touch(&name));
        if let Err(error) = touched {
            tracing::debug!("failed to update builder last activity time: {error}");
        }
    })
}

/// Remembers where a build reads from, so that `history` can show it.
fn save(job: &Job<'_>, node: &Node, reference: &str) -> JoinHandle<()> {
    let state = job.selected.state.clone();
    let (builder, node) = (job.selected.builder.name.clone(), node.name.clone());
    let (reference, build) = (reference.to_owned(), build_state(job));
    let called = job.prepared.call.is_some();
    tokio::task::spawn_blocking(move || {
        if called {
            return;
        }
        let saved = state.change().and_then(|change| change.save_build(&builder, &node, &reference, &build));
        if let Err(error) = saved {
            tracing::debug!("failed to remember the build: {error}");
        }
    })
}

fn build_state(job: &Job<'_>) -> BuildState {
    let (request, cwd) = (&job.prepared.request, &job.context.env.cwd);
    let absolute = |path: &Path| plain(&cwd.join(path)).display().to_string();
    let local = matches!(request.context, ContextSource::Directory(_));
    let file = job.args.file.as_deref().unwrap_or_default();
    BuildState {
        target: "default".to_owned(),
        local_path: match &request.context {
            ContextSource::Directory(path) => absolute(path),
            ContextSource::Url(address) => rbx_source::redacted(address),
            ContextSource::Empty | ContextSource::Tar(_) => "-".to_owned(),
        },
        dockerfile_path: match &request.dockerfile {
            DockerfileSource::Path(_) if local && !file.is_empty() => absolute(Path::new(file)),
            _ => file.to_owned(),
        },
        group: String::new(),
    }
}

/// A path without `.` and `..`, as Go has it: links are not looked at.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => match plain.components().next_back() {
                Some(Component::Normal(_)) => drop(plain.pop()),
                Some(Component::RootDir) => {}
                _ => plain.push(part),
            },
            part => plain.push(part),
        }
    }
    plain
}

/// The Dockerfile as the user named it.
pub(super) fn dockerfile_name(job: &Job<'_>) -> String {
    match job.args.file.as_deref().filter(|file| !file.is_empty()) {
        Some("-") => "stdin".to_owned(),
        Some(file) => file.to_owned(),
        None if matches!(job.prepared.request.context, ContextSource::Directory(_)) => {
            plain(&Path::new(&job.args.context).join("Dockerfile")).display().to_string()
        }
        None => "Dockerfile".to_owned(),
    }
}

/// Leaves what was asked for besides the outputs.
fn finish(job: &Job<'_>, built: Built, summary: &Summary) -> Result<ExitCode, CliError> {
    job.finish(summary, built.result, &Loaded::default())?;
    let (Some(call), Some(answer)) = (&job.prepared.call, &built.call) else { return Ok(ExitCode::SUCCESS) };
    let printed = calls::print(call, answer, &dockerfile_name(job))?;
    crate::cli::print(&printed.text)?;
    printed.ended.map(ExitCode::from)
}

/// Says what can be done about a failure, where that is known.
fn explained(error: CliError, job: &Job<'_>, summary: &Summary) -> CliError {
    let CliError::Failed(failure) = &error else { return error };
    let hint = match failure.hint.as_deref() {
        Some(hint) if hint.contains(CONTAINERD) => Some(format!("{hint}\n{TURN_ON}")),
        Some(_) => None,
        None if failure.kind == Some(FailureKind::Lost) => {
            Some(lost(&job.selected.builder, job.selected.driver, &job.context.called.path))
        }
        None => {
            let logs = summary.failed.iter().flat_map(|vertex| vertex.log.iter().chain([&vertex.error]));
            let mut said = logs.chain([&failure.message]);
            said.find_map(|text| foreign::hint(text, &job.context.called.path))
        }
    };
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// What to look at when a builder is gone.
fn lost(builder: &Builder, driver: DriverKind, rbx: &str) -> String {
    let node = builder.nodes.first();
    match driver {
        DriverKind::DockerContainer => {
            let container = node.map(|node| container_name(&node.name)).unwrap_or_default();
            let name = &builder.name;
            format!(
                "the builder's container may have ended: `docker logs {container}` says why, and `{rbx} inspect \
                 --bootstrap {name}` starts it again"
            )
        }
        DriverKind::Remote => {
            let (name, endpoint) =
                (&builder.name, node.map(|node| node.endpoint.as_str()).unwrap_or_default());
            format!("is the builder at {endpoint} running? `{rbx} inspect {name}` shows how it is")
        }
        _ => "is the Docker daemon running? `docker info` shows how it is".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_made_plain_as_by_go() {
        for (path, wanted) in
            [("./Dockerfile", "Dockerfile"), ("a/../b/./c", "b/c"), ("/a/../../b", "/b"), ("../a", "../a")]
        {
            assert_eq!(plain(Path::new(path)), Path::new(wanted), "{path}");
        }
    }

    #[test]
    fn variables_say_what_metadata_has_of_provenance() {
        let of = |value| provenance(&Env::with(&[("BUILDX_METADATA_PROVENANCE", value)]));
        assert_eq!(provenance(&Env::default()), MetadataProvenance::Min);
        assert_eq!(of("max"), MetadataProvenance::Max);
        for off in ["disabled", "0", "false"] {
            assert_eq!(of(off), MetadataProvenance::Disabled);
        }
        assert_eq!(of("1"), MetadataProvenance::Min);
        let wrong = bool_of(&Env::with(&[("X", "maybe")]), "X").unwrap_err();
        assert_eq!(
            wrong.message(),
            "failed to build: invalid X: strconv.ParseBool: parsing \"maybe\": invalid syntax"
        );
    }

    #[test]
    fn a_file_of_rules_is_read_whole() {
        let directory = tempfile::tempdir().unwrap();
        let mut env = Env::with(&[("EXPERIMENTAL_BUILDKIT_SOURCE_POLICY", "policy.json")]);
        directory.path().clone_into(&mut env.cwd);
        let error = source_policy(&env).unwrap_err();
        assert!(error.message().starts_with("failed to read policy file: "), "{}", error.message());
        std::fs::write(directory.path().join("policy.json"), "{}").unwrap();
        assert_eq!(source_policy(&env).unwrap().unwrap(), b"{}");
        assert!(source_policy(&Env::default()).unwrap().is_none());
    }
}

//! Commands about builders: `create`, `dial-stdio`, `inspect`, `ls`, `rm`, `stop`, `use`.

mod boot;
mod create;
mod dial;
mod github;
mod inspect;
mod list;
mod platforms;
mod remove;
mod select;
mod surroundings;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use rbx_builder::{
    Builder, BuilderError, Chosen, EMBEDDED, Embedded, Kind, Loaded, State, builder, builders, choose,
    endpoint_key, load, stop_node,
};
use rbx_driver::DriverError;
use rbx_driver::docker::{EndpointChoice, Engine, context_endpoint, current_context};
use rbx_emulation::Machine;
use rbx_platform::Platform;

use crate::build::interrupt::Interrupt;
use crate::build::store_root;
use crate::cli::builders::{StopArgs, UseArgs};
use crate::cli::{Common, Context};
use crate::docker::{Called, emulation_settings};
use crate::env::Env;
use crate::errors::CliError;
use crate::threads;
use crate::version::VERSION;

pub(crate) use create::create;
pub(crate) use dial::dial_stdio;
pub(crate) use inspect::inspect;
pub(crate) use list::ls;
pub(crate) use remove::rm;
pub(crate) use select::{Selected, select, with_hint};
pub(crate) use surroundings::surroundings;

/// The name of the context that is no context.
const DEFAULT: &str = "default";

/// Where builders are kept, and docker's endpoints.
pub(super) struct Place {
    state: State,
    endpoints: EndpointChoice,
}

impl Place {
    fn new(called: &Called, env: &Env) -> Result<Self, CliError> {
        let directory = env
            .path("BUILDX_CONFIG")
            .or_else(|| called.config_dir(env).map(|directory| directory.join("buildx")))
            .ok_or_else(|| {
                CliError::new("no directory for builders").hint("set BUILDX_CONFIG, DOCKER_CONFIG or HOME")
            })?;
        let owner = owner(&directory, env);
        Ok(Self { state: State::new(directory, owner), endpoints: called.endpoint(env) })
    }

    /// The endpoint that builders are used for.
    fn key(&self) -> Result<String, CliError> {
        Ok(endpoint_key(&self.endpoints)?)
    }

    /// The builder that is meant; `name` is an operand.
    fn choose(
        &self,
        context: &Context<'_>,
        common: &Common,
        name: Option<&str>,
    ) -> Result<Chosen, BuilderError> {
        let flag = common.builder.as_deref().or(context.common.builder.as_deref());
        let name = name.or(flag);
        choose(&self.state, &self.endpoints, name, context.env.filled("BUILDX_BUILDER"))
    }

    /// Asks the nodes of builders, until the user ends it.
    fn load(
        &self,
        context: &Context<'_>,
        builders: Vec<Builder>,
        limit: Duration,
    ) -> Result<Vec<Loaded>, CliError> {
        let embedded = || embedded(context);
        wait(context, async { Ok(load(builders, &self.endpoints, &embedded, limit).await) })
    }
}

/// Whose files they are: those of whoever ran the program by sudo, if they are below that user's home.
fn owner(directory: &Path, env: &Env) -> Option<(u32, u32)> {
    env.var("SUDO_COMMAND")?;
    let (user, group) = (env.filled("SUDO_UID")?, env.filled("SUDO_GID")?);
    let home = env.home()?;
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let mut fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let known = fields.find(|fields| fields.get(2) == Some(&user))?;
    let below = directory != home && directory.starts_with(home);
    (below && known.get(5).map(Path::new) == Some(home)).then_some((user.parse().ok()?, group.parse().ok()?))
}

/// What the embedded engine builds here, by the CPU and by emulation. Nothing is tried that would take long: `doctor`
/// does.
fn embedded(context: &Context<'_>) -> Embedded {
    let env = context.env;
    let settings = emulation_settings(context.called.config_dir(env).as_deref(), env);
    // Settings that are wrong are told by commands that need them.
    let platforms = settings.map_or_else(
        |_| vec![Platform::host()],
        |settings| {
            let machine = Machine::inspect(&settings);
            machine.platforms().into_iter().filter(|platform| machine.means(platform).is_ok()).collect()
        },
    );
    Embedded {
        store: store_root(env).map(|root| root.display().to_string()).unwrap_or_default(),
        version: VERSION.to_owned(),
        platforms,
    }
}

/// Does what waits for others, until it is done or the user ends it.
pub(crate) fn wait<T>(
    context: &Context<'_>,
    work: impl Future<Output = Result<T, CliError>>,
) -> Result<T, CliError> {
    let runtime = threads::one()?;
    runtime.block_on(async {
        let interrupt = Interrupt::listen(context.env)?;
        tokio::select! {
            done = work => done,
            () = interrupt.happened() => Err(crate::storage::failed(rbx_engine::BuildError::cancelled())),
        }
    })
}

/// The names of all builders, for completion; none where they cannot be read.
pub(crate) fn names(called: &Called, env: &Env) -> Vec<String> {
    let builders =
        Place::new(called, env).ok().and_then(|place| builders(&place.state, &place.endpoints).ok());
    builders.into_iter().flatten().map(|builder| builder.name).collect()
}

/// Every builder, or the one that was named, and how its nodes are.
pub(crate) fn all(context: &Context<'_>, common: &Common, limit: Duration) -> Result<Vec<Loaded>, CliError> {
    let place = Place::new(context.called, context.env)?;
    let named = common.builder.as_deref().or(context.common.builder.as_deref());
    let wanted = match named.filter(|name| !name.is_empty()) {
        Some(_) => vec![place.choose(context, common, None)?.builder],
        None => builders(&place.state, &place.endpoints)?,
    };
    place.load(context, wanted, limit)
}

/// `use`
pub(crate) fn use_builder(context: &Context<'_>, args: &UseArgs) -> Result<ExitCode, CliError> {
    let place = Place::new(context.called, context.env)?;
    let flag = args.common.builder.as_deref().or(context.common.builder.as_deref());
    let name = args.name.as_deref().or(flag).or(context.env.var("BUILDX_BUILDER")).unwrap_or_default();
    let change = place.state.change()?;
    let known = name == EMBEDDED
        || change
            .state()
            .group(name)
            .map_err(|error| CliError::new(format!("failed to find instance {name:?}: {error}")))?
            .is_some();
    if known {
        change.set_used(&place.key()?, name, args.global, args.default)?;
        return Ok(ExitCode::SUCCESS);
    }
    let current = current_context(&place.endpoints).map_err(BuilderError::from)?;
    if name == current {
        change.set_used(&place.key()?, "", false, false)?;
        return Ok(ExitCode::SUCCESS);
    }
    if name == DEFAULT {
        return Err(CliError::new("run `docker context use default` to switch to default context"));
    }
    match builder(&place.state, &place.endpoints, name) {
        Ok(_) => Err(CliError::new(format!("run `docker context use {name}` to switch to context {name}"))),
        Err(BuilderError::NotFound(_)) => {
            let path = place.state.directory().join("instances").join(name.to_ascii_lowercase());
            Err(BuilderError::NoInstance { name: name.to_owned(), path }.into())
        }
        Err(error) => Err(error.into()),
    }
}

/// `stop`
pub(crate) fn stop(context: &Context<'_>, args: &StopArgs) -> Result<ExitCode, CliError> {
    let place = Place::new(context.called, context.env)?;
    let builder = place.choose(context, &args.common, args.name.as_deref())?.builder;
    wait(context, async {
        if builder.kind == Kind::Context {
            let endpoint = context_endpoint(&place.endpoints, &builder.name).map_err(BuilderError::from)?;
            let engine = Engine::connect(&endpoint).map_err(BuilderError::from)?;
            engine.ping().await.map_err(BuilderError::from)?;
        }
        if let Some(driver) = builder.known_driver() {
            for node in &builder.nodes {
                stop_node(driver, &builder, node, &place.endpoints).await?;
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

impl From<BuilderError> for CliError {
    fn from(error: BuilderError) -> Self {
        match error {
            BuilderError::Driver(error) => error.into(),
            error => Self::new(error.to_string()),
        }
    }
}

impl From<DriverError> for CliError {
    fn from(error: DriverError) -> Self {
        let told = Self::new(error.to_string());
        match error.hint() {
            Some(hint) => told.hint(hint),
            None => told,
        }
    }
}

//! What rules are told of the world: the build context, and what registries say or said.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rbx_dockerfile::Dockerfile;
use rbx_facts::Registries;
use rbx_lint::{Facts, Request, wanted_sources};
use tokio::runtime::Runtime;

use crate::build::store_root;
use crate::cli::Context;
use crate::cli::check::CheckArgs;
use crate::docker::registry_config;
use crate::errors::CliError;
use crate::threads;

/// Where facts come from.
pub(super) struct World {
    registries: Registries,
    /// What asks registries; none without `--online`.
    online: Option<Runtime>,
    /// The build context of all files; else each has its own directory.
    context: Option<PathBuf>,
    /// What could not be learned.
    problems: Mutex<BTreeSet<String>>,
}

impl World {
    pub(super) fn new(context: &Context<'_>, args: &CheckArgs) -> Result<Self, CliError> {
        let env = context.env;
        let cache = store_root(env).ok().map(|root| root.join("facts"));
        let (online, client) = if args.online {
            let config = registry_config(context.called.config_dir(env).as_deref(), env)?;
            let client =
                rbx_registry::Client::new(config).map_err(|error| CliError::new(error.to_string()))?;
            (Some(threads::many()?), Some(client))
        } else {
            (None, None)
        };
        let directory = args.file.as_ref().map(|_| match args.paths.first() {
            Some(path) => env.cwd.join(path),
            None => env.cwd.clone(),
        });
        let registries = Registries::new(client, cache);
        Ok(Self { registries, online, context: directory, problems: Mutex::default() })
    }

    /// What a Dockerfile asks to know; `path` is where it is, if it is a file.
    pub(super) fn facts(&self, file: &Dockerfile, request: &Request, path: Option<&Path>) -> Facts {
        let mut facts = Facts::default();
        match &self.online {
            Some(runtime) => {
                let problems = runtime.block_on(self.registries.learn(file, request, &mut facts));
                self.note(problems.into_iter().map(|problem| format!("{problem}: not checked")));
            }
            None => drop(self.registries.recall(file, request, &mut facts)),
        }
        let directory = self.context.as_deref().or_else(|| path.and_then(Path::parent));
        if let Some(directory) = directory {
            match rbx_facts::context(directory, path, &wanted_sources(file, request)) {
                Ok(context) => facts.context = Some(context),
                Err(problem) => self.note([problem]),
            }
        }
        facts
    }

    fn note(&self, problems: impl IntoIterator<Item = String>) {
        // Nothing panics while it holds the lock.
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).extend(problems);
    }

    /// What could not be learned, each once.
    pub(super) fn problems(&self) -> BTreeSet<String> {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

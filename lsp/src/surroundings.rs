//! What the server finds around itself.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rbx_platform::Platform;
use rbx_registry::Setup;

use crate::configuration;

/// The program that builds.
const PROGRAM: &str = "docker-rbx";
/// Where the Docker CLI has its plugins, beside those of the user.
const PLUGINS: [&str; 4] = [
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
];

/// What the server finds around itself, gathered once: nothing else reads the environment.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// The `docker-rbx` that builds; else it is looked for in `candidates`.
    pub program: Option<PathBuf>,
    /// Where it may be otherwise, the best first.
    pub candidates: Vec<PathBuf>,
    /// The Docker CLI's configuration directory, where builds are to use another than they would find.
    pub docker_config: Option<PathBuf>,
    /// What files are built for where nobody says it; this machine's platform if it is empty.
    pub platforms: Vec<Platform>,
    /// Where it is kept what registries said, if it is known.
    pub registries: Option<PathBuf>,
    /// The client's process, with which the server ends; the client may also name it.
    pub client_process: Option<u32>,
    /// How registries are reached, where the user allows it.
    pub setup: Setup,
    /// The list of directories in which `shellcheck` is looked for.
    pub path: Option<OsString>,
}

impl Surroundings {
    /// Gathers them from the environment.
    pub fn gather() -> Self {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let mut directories: Vec<PathBuf> = Vec::new();
        directories
            .extend(std::env::current_exe().ok().as_deref().and_then(Path::parent).map(Path::to_owned));
        directories
            .extend(variable("PATH").iter().flat_map(std::env::split_paths).filter(|it| it.is_absolute()));
        let home = variable("HOME").map(|home| Path::new(&home).join(".docker"));
        let config = variable("DOCKER_CONFIG").map(PathBuf::from).or(home);
        directories.extend(config.as_ref().map(|config| config.join("cli-plugins")));
        directories.extend(PLUGINS.map(PathBuf::from));
        let data = || {
            let home = || Some(Path::new(&variable("HOME")?).join(".local/share"));
            Some(variable("XDG_DATA_HOME").map(PathBuf::from).or_else(home)?.join("rbx"))
        };
        let store = variable("RBX_ROOT").map(PathBuf::from).or_else(data);
        let name = format!("{PROGRAM}{}", std::env::consts::EXE_SUFFIX);
        let default =
            variable("DOCKER_DEFAULT_PLATFORM").and_then(|value: OsString| value.into_string().ok());
        let setup = Setup {
            user_agent: concat!("rbx-lsp/", env!("CARGO_PKG_VERSION")).to_owned(),
            directory: config,
            buildx: variable("BUILDX_CONFIG").map(PathBuf::from),
            ..Setup::default()
        };
        Self {
            program: None,
            candidates: directories.into_iter().map(|directory| directory.join(&name)).collect(),
            docker_config: None,
            platforms: default.and_then(|list| configuration::platforms(&[list]).ok()).unwrap_or_default(),
            registries: store.map(|store| store.join("facts")),
            client_process: None,
            setup: setup.with_variables(|name| std::env::var(name).ok()),
            path: variable("PATH"),
        }
    }

    /// The program that builds: the one that is configured, else the one that this server is a part of, else the first
    /// that is found.
    pub(crate) fn builder(&self, configured: Option<&str>) -> Result<PathBuf, String> {
        if let Some(path) = configured {
            return Ok(path.into());
        }
        let found = || self.candidates.iter().find(|path| path.is_file()).cloned();
        self.program.clone().or_else(found).ok_or_else(|| {
            format!("{PROGRAM} is neither beside the language server, nor on the PATH, nor a plugin of docker: set rbx.program")
        })
    }
}

//! `doctor`: what can be built here and how, and what is missing with the command that mends it.

mod report;
mod show;
mod trial;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rbx_builder::{Kind, Loaded};
use rbx_driver::docker::{Engine as DockerEngine, resolve_endpoint};
use rbx_emulation::{Architecture, Emulator, Machine, Means, Qemu};
use rbx_platform::Platform;
use rbx_sandbox::{Capabilities, Rights, SandboxError};

use crate::build::{log_debug, store_root};
use crate::builders;
use crate::cli::Context;
use crate::cli::doctor::DoctorArgs;
use crate::docker::{emulation_settings, registry_config};
use crate::doctor::report::{
    Builder, DockerEngineFound, HandlerFound, Ids, MachineFound, NodeFound, PlatformFound, QemuFound,
    RegistryFound, Report, Runs, StepsFound, StoreFound,
};
use crate::doctor::trial::{Emulated, Steps};
use crate::errors::CliError;
use crate::rights::become_root;
use crate::template::{Template, refused};

/// Looks at everything, and prints what it finds. The exit code is 1 if no builder can run a step for any platform.
pub(crate) fn run(context: &Context<'_>, args: &DoctorArgs) -> Result<ExitCode, CliError> {
    let env = context.env;
    let format = Format::new(&args.format)?;
    let config_dir = context.called.config_dir(env);
    let emulation = emulation_settings(config_dir.as_deref(), env)?;
    let registry = registry_config(config_dir.as_deref(), env)?;
    let store = store_root(env)?;
    if args.common.debug || context.common.debug || context.called.debug() {
        log_debug();
    }

    let rights = become_root(env);
    let machine = Machine::inspect(&emulation);
    let (steps, platforms) = look_at_steps(&machine, rights, &store);
    let registries = registry
        .mirrors
        .keys()
        .chain(registry.plain_http.iter().filter(|name| !registry.mirrors.contains_key(*name)))
        .map(|name| RegistryFound {
            name: name.clone(),
            mirrors: registry.mirrors.get(name).cloned().unwrap_or_default(),
            http: registry.plain_http.contains(name),
        })
        .collect();
    let engine = builders::wait(context, async { Ok(docker_engine(context, args).await) })?;
    let mut builders = Vec::new();
    for loaded in builders::all(context, &args.common, args.timeout)? {
        if engine.is_none() && loaded.builder.kind == Kind::Context {
            // docker's default context is there even where nobody set up an Engine.
            continue;
        }
        builders.push(if loaded.builder.kind == Kind::Embedded {
            // Nodes of others tell what they build for; this one is looked at.
            let Loaded { builder, .. } = loaded;
            let platforms = platforms.clone();
            Builder {
                name: builder.name,
                driver: builder.driver,
                error: String::new(),
                nodes: Vec::new(),
                platforms,
            }
        } else {
            other_builder(loaded)
        });
    }
    builders.sort_by_key(|builder| builder.platforms.is_empty());

    let report = Report {
        machine: MachineFound { platform: machine.host().to_string(), kernel: machine.release().to_owned() },
        builders,
        steps,
        store: look_at_store(&store),
        engine,
        registries,
    };
    crate::cli::print(&format.write(&report)?)?;
    Ok(if report.something_runs() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A builder that is asked, and not looked at.
fn other_builder(loaded: Loaded) -> Builder {
    let nodes = loaded.nodes.into_iter().map(|node| {
        let fixed = node.node.platforms();
        let mut platforms: Vec<String> = Vec::new();
        for platform in fixed.iter().chain(&node.details.platforms).map(ToString::to_string) {
            if !platforms.contains(&platform) {
                platforms.push(platform);
            }
        }
        let (status, error) = match node.status {
            Ok(status) => (status.to_string(), String::new()),
            Err(error) => ("error".to_owned(), error),
        };
        let (name, endpoint) = (node.node.name, node.node.endpoint);
        NodeFound { name, endpoint, status, error, version: node.details.version, platforms }
    });
    Builder {
        name: loaded.builder.name,
        driver: loaded.builder.driver,
        error: loaded.error.unwrap_or_default(),
        nodes: nodes.collect(),
        platforms: Vec::new(),
    }
}

/// How the report is written.
enum Format {
    Pretty,
    Template(Template),
}

impl Format {
    fn new(format: &str) -> Result<Self, CliError> {
        let template = match format {
            "" | "pretty" => return Ok(Self::Pretty),
            "json" => "{{json .}}",
            other => other,
        };
        Template::parse(template).map(Self::Template).map_err(|error| refused(&error))
    }

    fn write(&self, report: &Report) -> Result<String, CliError> {
        match self {
            Self::Pretty => Ok(show::pretty(report)),
            Self::Template(template) => {
                let value = serde_json::to_value(report)
                    .map_err(|error| CliError::new(format!("{error}: failed to describe what was found")))?;
                let text = template.run(&value, "*doctor.Report").map_err(|error| refused(&error))?;
                Ok(text + "\n")
            }
        }
    }
}

/// Finds out what steps can do here, and tries one for each platform.
fn look_at_steps(
    machine: &Machine,
    rights: Result<Rights, SandboxError>,
    store: &Path,
) -> (StepsFound, Vec<PlatformFound>) {
    let found: Vec<(Platform, Result<Means, _>)> = machine
        .platforms()
        .into_iter()
        .map(|platform| (platform.clone(), machine.means(&platform)))
        .collect();
    let opened = rights.and_then(|rights| Ok((rights, Steps::open(&existing(store))?)));
    let (steps, mut trials) = match opened {
        Ok((rights, steps)) => {
            let Capabilities { unified_cgroups, .. } = *steps.capabilities();
            let (ids, remedy) = match rights {
                Rights::Root => (Ids::All, String::new()),
                Rights::Ranges => (Ids::Ranges, String::new()),
                Rights::OneId { remedy } => (Ids::One, remedy),
            };
            let control_groups = if unified_cgroups { 2 } else { 1 };
            let found = StepsFound { run: true, ids, control_groups, reason: String::new(), remedy };
            (found, Some(steps))
        }
        Err(error) => {
            let (reason, remedy) = match error {
                SandboxError::Refused { reason, remedy } => (reason, remedy),
                other => (other.to_string(), String::new()),
            };
            (StepsFound { run: false, ids: Ids::Unknown, control_groups: 0, reason, remedy }, None)
        }
    };
    if let Some(steps) = &mut trials {
        let qemus = found.iter().filter_map(|(_, means)| match means {
            Ok(Means::Namespace(_, Emulator::Found(qemu))) => Some(qemu.clone()),
            _ => None,
        });
        steps.emulate(qemus);
    }
    let platforms = found.into_iter().map(|(platform, means)| match means {
        Ok(means) => described(&platform, &means, trials.as_mut(), &steps),
        Err(missing) => PlatformFound {
            platform: platform.to_string(),
            runs: Runs::Missing,
            works: Some(false),
            reason: missing.reason.clone(),
            remedy: missing.remedy.clone(),
            handler: None,
            qemu: None,
        },
    });
    let platforms = platforms.collect();
    (steps, platforms)
}

/// How a platform is run, and whether it is.
fn described(
    platform: &Platform,
    means: &Means,
    trials: Option<&mut Steps>,
    steps: &StepsFound,
) -> PlatformFound {
    let architecture = Architecture::of(platform);
    let (runs, handler, qemu) = match means {
        Means::Native => (Runs::Native, None, None),
        Means::Compatible => (Runs::Compatible, None, None),
        Means::Host(handler) => {
            let qemu = handler.as_ref().zip(architecture).and_then(|(handler, architecture)| {
                // A link by which some QEMUs are told of flags is no name to call them by.
                let path = handler.interpreter.canonicalize().ok()?;
                Qemu::at(architecture, &path).ok()
            });
            let handler = handler.as_ref().map(|handler| HandlerFound {
                name: handler.name.clone(),
                interpreter: handler.interpreter.display().to_string(),
                flags: handler.flags.clone(),
            });
            (Runs::Host, handler, qemu.as_ref().map(on_this_machine))
        }
        Means::Namespace(_, Emulator::Found(qemu)) => (Runs::Namespace, None, Some(on_this_machine(qemu))),
        Means::Namespace(_, Emulator::Image(image)) => {
            let qemu = QemuFound { path: String::new(), version: String::new(), image: image.clone() };
            (Runs::Namespace, None, Some(qemu))
        }
    };
    let (works, reason, remedy) = match (means, trials, architecture) {
        (Means::Namespace(_, Emulator::Image(image)), Some(_), _) => {
            (None, format!("{image} is fetched when a build needs it"), String::new())
        }
        (_, Some(trials), Some(architecture)) => {
            let emulated = if runs == Runs::Namespace { Emulated::Namespace } else { Emulated::No };
            match trials.run(architecture, emulated) {
                Ok(()) => (Some(true), String::new(), String::new()),
                Err(failure) => (Some(false), failure.reason, failure.remedy),
            }
        }
        (_, Some(_), None) => (None, "there is no program to try it with".to_owned(), String::new()),
        (_, None, _) => (Some(false), steps.reason.clone(), steps.remedy.clone()),
    };
    PlatformFound { platform: platform.to_string(), runs, works, reason, remedy, handler, qemu }
}

fn on_this_machine(qemu: &Qemu) -> QemuFound {
    QemuFound {
        path: qemu.path.display().to_string(),
        version: qemu.version().unwrap_or_default(),
        image: String::new(),
    }
}

/// The directory itself, or the nearest above it that is there.
fn existing(path: &Path) -> PathBuf {
    path.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/")).to_owned()
}

fn look_at_store(store: &Path) -> StoreFound {
    let (free, size) = match rustix::fs::statvfs(existing(store)) {
        Ok(space) => {
            (space.f_bavail.saturating_mul(space.f_frsize), space.f_blocks.saturating_mul(space.f_frsize))
        }
        Err(_) => (0, 0),
    };
    StoreFound { path: store.display().to_string(), free, size }
}

/// Asks the Docker Engine that built images are loaded into.
async fn docker_engine(context: &Context<'_>, args: &DoctorArgs) -> Option<DockerEngineFound> {
    let endpoint = match resolve_endpoint(&context.called.endpoint(context.env)) {
        Ok(endpoint) if endpoint.configured => endpoint,
        Ok(_) => return None,
        Err(error) => {
            return Some(DockerEngineFound { error: error.to_string(), ..DockerEngineFound::default() });
        }
    };
    let asked = async {
        let engine = DockerEngine::connect(&endpoint)?;
        engine.ping().await?;
        engine.info().await
    };
    let silent = |error: String| {
        Some(DockerEngineFound { endpoint: endpoint.host.clone(), error, ..DockerEngineFound::default() })
    };
    match tokio::time::timeout(args.timeout, asked).await {
        Ok(Ok(info)) => {
            let platform =
                Platform { os: info.os, architecture: info.architecture, variant: None, os_version: None };
            Some(DockerEngineFound {
                endpoint: endpoint.host.clone(),
                answers: true,
                version: info.version,
                platform: platform.normalized().to_string(),
                image_store: if info.containerd_store { "containerd" } else { "docker" }.to_owned(),
                error: String::new(),
            })
        }
        Ok(Err(error)) => silent(error.to_string()),
        Err(_) => silent(format!("no answer from {} within {:?}", endpoint.host, args.timeout)),
    }
}

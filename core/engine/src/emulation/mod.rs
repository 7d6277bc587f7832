//! Steps for other platforms than this machine's: which there are, how each is run, and what the user is told of it
//! before the first of them runs.

mod failure;
mod notice;
mod qemu;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use rbx_dockerfile::{Base, Evaluation, Op};
use rbx_emulation::{Machine, Means, Missing, Registration, Settings};
use rbx_platform::Platform;
use rbx_request::SourceRange;

pub(crate) use notice::emulator;
pub(crate) use qemu::Emulation;

use crate::error::BuildError;
use crate::image::Image;
use crate::source::Source;

/// What the commands of each stage run on. That is the stage's platform, unless its image is for another architecture
/// and there is no choice: in a build for amd64, `FROM arm64v8/debian` is a stage whose commands run on arm64.
pub(crate) fn platforms(
    evaluation: &Evaluation,
    images: &BTreeMap<(String, Platform), Arc<Image>>,
) -> Vec<Platform> {
    let mut found: Vec<Platform> = Vec::with_capacity(evaluation.stages.len());
    for stage in &evaluation.stages {
        let other = match &stage.base {
            Base::Stage(below) => found.get(*below).cloned(),
            Base::Image(name) | Base::Context(name) => {
                let image = images.get(&(name.clone(), stage.platform.clone()));
                image.map(|image| image.config.platform().normalized()).filter(|image| {
                    let is_said = !image.os.is_empty() && !image.architecture.is_empty();
                    is_said
                        && (&image.os, &image.architecture)
                            != (&stage.platform.os, &stage.platform.architecture)
                })
            }
            Base::Scratch | Base::Unresolved => None,
        };
        found.push(other.unwrap_or_else(|| stage.platform.clone()));
    }
    found
}

/// Why some platforms of a build cannot be run: an error of all of them, at the first step of the first.
fn cannot_run(missing: &[(&OnPlatform, Box<Missing>)], runtime: bool) -> BuildError {
    let mut reasons = Vec::new();
    let mut remedies = Vec::new();
    for (commands, missing) in missing {
        let Missing { platform, host, reason, remedy } = &**missing;
        let first = &commands.first;
        reasons.push(format!("{reason}: cannot run {first} for {platform} on {host}"));
        if !remedies.contains(remedy) {
            remedies.push(remedy.clone());
        }
    }
    if runtime {
        remedies.push("or leave --oci-runtime and RBX_OCI_RUNTIME away, so that none is needed".to_owned());
    }
    remedies.push("or cross-compile in a stage FROM --platform=$BUILDPLATFORM".to_owned());
    let error = BuildError::invalid(reasons.join("; ")).hint(remedies.join("; "));
    match missing.first() {
        Some((commands, _)) => error.of_step(&commands.first).at(Some(commands.range.clone())),
        None => error,
    }
}

/// The commands that a build runs, by what they run on.
#[derive(Debug, Default)]
pub(crate) struct Commands {
    platforms: BTreeMap<Platform, OnPlatform>,
    /// Stages with a platform of their own, by where they begin.
    pinned: BTreeSet<usize>,
}

/// The commands that run on one platform.
#[derive(Debug)]
struct OnPlatform {
    /// The first of them, as progress names it, and where it is.
    first: String,
    range: SourceRange,
    /// Stages that only hand on files, by where they begin: commands could run in them on another platform.
    separate: BTreeMap<usize, Separate>,
}

/// A stage that files are copied from, and nothing else.
#[derive(Debug)]
struct Separate {
    /// As people know it: `"build"`, or its number.
    name: String,
    from: SourceRange,
}

impl Commands {
    /// Adds those of the stages that an evaluation for `target` needs. `several` platforms are built.
    pub(crate) fn add(
        &mut self,
        evaluation: &Evaluation,
        runs_on: &[Platform],
        target: &Platform,
        several: bool,
        source: &Source,
    ) {
        // What each stage stands on in the end.
        let mut roots: Vec<usize> = Vec::with_capacity(evaluation.stages.len());
        for stage in &evaluation.stages {
            roots.push(match stage.base {
                Base::Stage(below) => roots.get(below).copied().unwrap_or(stage.index),
                _ => stage.index,
            });
        }
        let exported = evaluation.target.and_then(|target| roots.get(target)).copied();
        for stage in evaluation.stages.iter().filter(|stage| stage.reachable) {
            let Some(step) = stage.steps.iter().find(|step| matches!(step.op, Op::Run(_))) else { continue };
            let (Some(platform), Some(&root)) = (runs_on.get(stage.index), roots.get(stage.index)) else {
                continue;
            };
            let commands = self.platforms.entry(platform.clone()).or_insert_with(|| OnPlatform {
                first: step.vertex_name(stage, several.then_some(&stage.platform)),
                range: source.range(step.span),
                separate: BTreeMap::new(),
            });
            let root = &evaluation.stages[root];
            if root.platform != *target {
                // It has a platform of its own, by choice.
                self.pinned.insert(root.index);
            } else if Some(root.index) != exported && platform == target {
                commands.separate.entry(root.index).or_insert_with(|| Separate {
                    name: root
                        .name
                        .as_ref()
                        .map_or_else(|| root.index.to_string(), |name| format!("{name:?}")),
                    from: source.range(root.span),
                });
            }
        }
    }

    /// Finds out how the commands of each platform are run. Nobody waits for a step that cannot be: it is an error
    /// before anything is run or fetched.
    ///
    /// An OCI `runtime` runs what handlers of the host run, and nothing in the namespace of a build.
    pub(crate) fn means(
        &self,
        settings: &Settings,
        runtime: Option<&Path>,
    ) -> Result<BTreeMap<Platform, Means>, BuildError> {
        let mut means = BTreeMap::new();
        let mut missing = Vec::new();
        for (platform, found) in self.each_means(settings, runtime) {
            match (found, self.platforms.get(&platform)) {
                (Ok(found), _) => drop(means.insert(platform, found)),
                (Err(error), Some(commands)) => missing.push((commands, error)),
                (Err(_), None) => {}
            }
        }
        match missing.as_slice() {
            [] => Ok(means),
            missing => Err(cannot_run(missing, runtime.is_some())),
        }
    }

    /// How the commands of each platform are run, or why they cannot be. One that is left out is this machine's own:
    /// of a build for that alone, nothing is asked.
    pub(crate) fn each_means(
        &self,
        settings: &Settings,
        runtime: Option<&Path>,
    ) -> BTreeMap<Platform, Result<Means, Box<Missing>>> {
        let host = Platform::host();
        let foreign =
            self.platforms.keys().filter(|platform| **platform != host || !settings.always.is_empty());
        let mut foreign = foreign.peekable();
        if foreign.peek().is_none() {
            return BTreeMap::new();
        }
        let settings = match (settings.registration, runtime) {
            (Registration::Auto | Registration::Namespace, Some(_)) => {
                Settings { registration: Registration::Host, ..settings.clone() }
            }
            _ => settings.clone(),
        };
        let machine = Machine::inspect(&settings);
        foreign.map(|platform| (platform.clone(), machine.means(platform))).collect()
    }
}

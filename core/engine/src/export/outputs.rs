//! From layers to every output that was asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};

use rbx_oci::Reference;
use rbx_platform::Platform;
use rbx_request::{BuildResult, NewFile, Output, OutputDestination, OutputKind, Stdout};
use serde_json::json;

use super::archive::{write_archive, write_layout};
use super::cancellable::Cancellable;
use super::files::{write_directory, write_platform_directory, write_tar};
use super::image::{BuiltImage, assemble, path_part, store_image};
use super::options::{ImageOptions, boolean, platform_split};
use super::placement::Placement;
use super::push::push;
use super::written::Written;
use crate::error::{BuildError, unwritable};
use crate::plan::Target;
use crate::progress::Task;
use crate::solve::Solver;
use crate::steps::Built;
use crate::tree::Tree;

/// The last part of a build: from layers to outputs.
pub(crate) struct Export<'a> {
    pub(crate) solver: &'a Arc<Solver>,
    pub(crate) tags: &'a [Reference],
    pub(crate) annotations: &'a [String],
}

impl Export<'_> {
    /// Makes every output, in order.
    pub(crate) fn run(
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
                    let (made, names) = self.image(output, built, stdout)?;
                    describe(&made, &names, &mut result);
                    image = Some(made);
                }
            }
        }
        Ok((result, image))
    }

    /// The names of the request, else those of the output, as with buildx.
    fn names(&self, output: &Output) -> Result<Vec<Reference>, BuildError> {
        let Some(names) = output.attributes.get("name").filter(|_| self.tags.is_empty()) else {
            return Ok(self.tags.to_vec());
        };
        names
            .split(',')
            .map(|name| {
                Reference::parse(name).map_err(|error| BuildError::invalid(format!("{error}: {name:?}")))
            })
            .collect()
    }

    fn image(
        &self,
        output: &Output,
        built: &[Built],
        stdout: &Stdout,
    ) -> Result<(BuiltImage, Vec<Reference>), BuildError> {
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
    ) -> Result<(BuiltImage, Vec<Reference>), BuildError> {
        let docker = output.kind == OutputKind::Docker;
        let platforms: Vec<&Platform> =
            self.solver.plan.targets.iter().map(|target| &target.platform).collect();
        let options = ImageOptions::parse(output, self.annotations)?;
        options.check(&platforms, self.solver.plan.index)?;
        let placement = Placement::parse(output)?;
        placement.check(names)?;
        let image = assemble(self.solver, built, &options, task)?;
        let names = &*match output.kind {
            OutputKind::Image => placement.names(names, image.top.digest),
            _ => names.to_vec(),
        };
        let store = &self.solver.store;
        let stored = match output.kind {
            OutputKind::Image if placement.store => placement.stored(names, image.top.digest),
            OutputKind::Image => Vec::new(),
            _ => self.tags.to_vec(),
        };
        store_image(self.solver, &image, &stored)?;
        for name in &stored {
            task.done(&format!("naming to {name}"));
        }
        if output.kind == OutputKind::Image && placement.push {
            self.push(&image, names, placement.by_digest, task)?;
            stored.iter().try_for_each(|name| store.set_elsewhere(&name.to_string()))?;
        }
        let mtime = self.solver.epoch.unwrap_or(0);
        let directory = !boolean(output, "tar", true)?;
        let cancel = &self.solver.cancel;
        // Nothing is left out.
        let all = BTreeSet::new();
        match &output.destination {
            None => {}
            Some(OutputDestination::Path(path)) if directory => {
                write_layout(store, &image, names, path)?;
            }
            Some(OutputDestination::Path(path)) => {
                let part = task.part("sending tarball", 0);
                let names_key: Vec<String> = names.iter().map(ToString::to_string).collect();
                // The descriptor has annotations that are in no digest.
                let listed = serde_json::to_string(image.descriptor()).map_err(BuildError::failed)?;
                let content = format!("{docker} {mtime} {} {listed}", names_key.join(","));
                let written = Written::new(path, &content);
                if !written.is_there(store) {
                    let file = NewFile::create(path).map_err(|error| unwritable(path, &error))?;
                    let file = Cancellable::new(file, cancel);
                    let name = path.display().to_string();
                    let file = write_archive(store, &image, names, docker, mtime, &all, &name, file)?;
                    file.into_inner().keep().map_err(|error| unwritable(path, &error))?;
                    written.remember(store)?;
                }
                part.done();
            }
            Some(OutputDestination::Stdout) => {
                let mut out = stdout.lock().unwrap_or_else(PoisonError::into_inner);
                let out = Cancellable::new(&mut *out, cancel);
                write_archive(store, &image, names, docker, mtime, &all, "the archive", out)?;
            }
        }
        Ok((image, names.to_vec()))
    }

    fn push(
        &self,
        image: &BuiltImage,
        names: &[Reference],
        by_digest: bool,
        task: &Task,
    ) -> Result<(), BuildError> {
        if names.is_empty() {
            return Err(BuildError::invalid("tag is needed when pushing to registry"));
        }
        let pushing = push(self.solver, image, names, by_digest, task);
        // Outputs are written by a thread that may wait.
        tokio::runtime::Handle::current().block_on(self.solver.cancel.unless(pushing))
    }

    fn files(&self, output: &Output, built: &[Built], stdout: &Stdout) -> Result<(), BuildError> {
        let local = output.kind == OutputKind::Local;
        let title = if local { "exporting to client directory" } else { "exporting to client tarball" };
        let task = Task::internal(&self.solver.events, title);
        let write = || -> Result<(), BuildError> {
            let targets = &self.solver.plan.targets;
            let epoch = self.solver.epoch;
            // As BuildKit, which reads the attribute for tars, too, and goes by the platforms alone.
            let asked = platform_split(output)?.filter(|_| local);
            let split = asked.unwrap_or(self.solver.plan.index);
            let trees = targets
                .iter()
                .map(|target| {
                    let layers = target.root.map_or(&[][..], |root| &built[root].layers);
                    let prefix = if split { path_part(&target.platform) } else { String::new() };
                    Ok((prefix, self.solver.readable(layers)?))
                })
                .collect::<Result<Vec<_>, BuildError>>()?;
            if !split {
                check_collisions(targets, &trees)?;
            } else if !local
                && let Some((twice, _)) = (1..trees.len())
                    .find(|&at| trees[..at].iter().any(|(prefix, _)| *prefix == trees[at].0))
                    .map(|at| &trees[at])
            {
                return Err(BuildError::invalid(format!("duplicate path {twice}: file exists")));
            }
            match &output.destination {
                Some(OutputDestination::Path(path)) if local => {
                    for (prefix, tree) in &trees {
                        if prefix.is_empty() {
                            write_directory(tree, path, epoch)?;
                        } else {
                            write_platform_directory(tree, path, prefix, epoch)?;
                        }
                    }
                    Ok(())
                }
                Some(OutputDestination::Path(path)) => {
                    let file = NewFile::create(path).map_err(|error| unwritable(path, &error))?;
                    let mut file = Cancellable::new(file, &self.solver.cancel);
                    write_tar(&trees, epoch, &mut file)?;
                    file.into_inner().keep().map_err(|error| unwritable(path, &error))
                }
                Some(OutputDestination::Stdout) => {
                    let mut out = stdout.lock().unwrap_or_else(PoisonError::into_inner);
                    write_tar(&trees, epoch, &mut Cancellable::new(&mut *out, &self.solver.cancel))
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

/// Adds what an exporter says of its image to the answer.
fn describe(image: &BuiltImage, names: &[Reference], result: &mut BuildResult) {
    let digest = image.descriptor().digest.to_string();
    let config = image.config().map(|config| config.digest.to_string());
    result.metadata.insert("containerimage.digest".to_owned(), json!(digest));
    result.metadata.insert("containerimage.descriptor".to_owned(), json!(image.descriptor()));
    if let Some(config) = &config {
        result.metadata.insert("containerimage.config.digest".to_owned(), json!(config));
    }
    if !names.is_empty() {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        result.metadata.insert("image.name".to_owned(), json!(names.join(",")));
    }
    result.image_digest = Some(digest);
    result.config_digest = config;
}

/// Refuses files that two platforms would have at one place, in the words of BuildKit.
fn check_collisions(targets: &[Target], trees: &[(String, Tree)]) -> Result<(), BuildError> {
    let mut written: BTreeMap<&[u8], &Platform> = BTreeMap::new();
    for (target, (_, tree)) in targets.iter().zip(trees) {
        for node in tree.nodes().iter().filter(|node| !node.is_directory()) {
            if let Some(before) = written.insert(&node.entry.path, &target.platform) {
                return Err(BuildError::invalid(format!(
                    "cannot overwrite {} from {} with {} when split option is disabled",
                    String::from_utf8_lossy(&node.entry.path),
                    before.format_all(),
                    target.platform.format_all()
                )));
            }
        }
    }
    Ok(())
}

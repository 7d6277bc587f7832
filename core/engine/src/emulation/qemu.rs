//! QEMU for the steps of a build, and the helper that runs them under it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use rbx_emulation::{Architecture, Emulator, Means, Qemu};
use rbx_oci::Reference;
use rbx_platform::Platform;
use rbx_sandbox::Helper;
use rbx_store::LayerId;
use tokio::runtime::Handle;
use tokio::sync::OnceCell;

use super::failure::Under;
use crate::error::BuildError;
use crate::image::Images;
use crate::layer::lower_directories;
use crate::progress::Task;
use crate::solve::Solver;
use crate::steps::refused;
use crate::tree::{Node, resolve, to_path};

/// How the commands of a build's platforms are run.
#[derive(Debug, Default)]
pub(crate) struct Emulation {
    /// By platform; one that is not here is this machine's own.
    means: BTreeMap<Platform, Means>,
    /// The image with QEMU is asked for even if the store has it: `--pull`.
    pull: bool,
    ready: OnceCell<Result<Ready, BuildError>>,
}

/// What emulated steps run in.
#[derive(Debug)]
struct Ready {
    helper: Helper,
    qemu: BTreeMap<Architecture, Qemu>,
}

impl Emulation {
    pub(crate) fn new(means: BTreeMap<Platform, Means>, pull: bool) -> Self {
        Self { means, pull, ready: OnceCell::new() }
    }
}

impl Solver {
    /// The helper that runs the commands of a platform, started at first need, and what they run under if that is not
    /// the CPU itself. For a thread that may block.
    pub(crate) fn helper_for(&self, platform: &Platform) -> Result<(&Helper, Option<Under>), BuildError> {
        let under = |namespace, qemu: Option<Qemu>, image: Option<String>| Under {
            platform: platform.clone(),
            namespace,
            qemu,
            image,
        };
        match self.emulation.means.get(platform) {
            None | Some(Means::Native | Means::Compatible) => Ok((self.helper()?, None)),
            Some(Means::Host(handler)) => {
                let architecture = Architecture::of(platform);
                let qemu = handler.as_ref().zip(architecture).and_then(|(handler, architecture)| {
                    let is_qemu = handler.interpreter.to_string_lossy().contains("qemu");
                    Qemu::at(architecture, &handler.interpreter).ok().filter(|_| is_qemu)
                });
                Ok((self.helper()?, Some(under(false, qemu, None))))
            }
            Some(Means::Namespace(architecture, emulator)) => {
                let wait = async {
                    Ok::<_, BuildError>(self.emulation.ready.get_or_init(|| self.emulators()).await)
                };
                let ready = Handle::current().block_on(self.cancel.unless(wait))?;
                let ready = ready.as_ref().map_err(Clone::clone)?;
                let image = match emulator {
                    Emulator::Found(_) => None,
                    Emulator::Image(name) => Some(name.clone()),
                };
                Ok((&ready.helper, Some(under(true, ready.qemu.get(architecture).cloned(), image))))
            }
        }
    }

    /// Gets QEMU for every architecture of the build and registers it: one helper runs all steps that are emulated.
    async fn emulators(&self) -> Result<Ready, BuildError> {
        let mut qemu = BTreeMap::new();
        let mut images: BTreeMap<&str, Vec<Architecture>> = BTreeMap::new();
        for means in self.emulation.means.values() {
            match means {
                Means::Namespace(architecture, Emulator::Found(found)) => {
                    qemu.insert(*architecture, found.clone());
                }
                Means::Namespace(architecture, Emulator::Image(name)) => {
                    let wanted = images.entry(name).or_default();
                    if !wanted.contains(architecture) {
                        wanted.push(*architecture);
                    }
                }
                Means::Native | Means::Compatible | Means::Host(_) => {}
            }
        }
        for (name, architectures) in images {
            qemu.extend(self.fetch_qemu(name, &architectures).await?);
        }
        let emulators: Vec<Qemu> = qemu.values().cloned().collect();
        let started = tokio::task::spawn_blocking(move || Helper::start(&emulators)).await;
        let helper = started.map_err(BuildError::failed)?.map_err(|error| refused(&error))?;
        Ok(Ready { helper, qemu })
    }

    /// Brings an image with QEMU here, for this machine's platform. It is an image like any other: of the store if that
    /// has it, else of its registry. The lease keeps it for as long as the build runs.
    async fn fetch_qemu(
        &self,
        name: &str,
        architectures: &[Architecture],
    ) -> Result<BTreeMap<Architecture, Qemu>, BuildError> {
        let shown = Reference::parse(name).map_or_else(|_| name.to_owned(), |name| name.to_string());
        let task = Task::internal(&self.events, &format!("[internal] load QEMU from {shown}"));
        let fetch = async {
            let images = Images {
                store: &self.store,
                lease: &self.lease,
                registry: &self.registry,
                pull: self.emulation.pull,
            };
            let image = Arc::new(images.resolve(name, &Platform::host()).await?);
            let layers = image.layers(&self.store, &self.lease, &self.registry, &task).await?;
            // Brief, and nothing else of the build waits for this thread.
            let found = architectures.iter().map(|it| Ok((*it, self.qemu_in(&layers, *it, &shown)?)));
            found.collect::<Result<_, BuildError>>()
        };
        task.end(fetch.await.map_err(|error| {
            let names: Vec<&str> = architectures.iter().map(|it| it.name()).collect();
            let packaged = format!(
                "QEMU for {} is not on this machine and comes from that image: install it (sudo apt-get install \
                 qemu-user-static), or set emulation.qemu.image in rbx/config.json to an image that can be had",
                names.join(", ")
            );
            error.hint(packaged)
        }))
    }

    /// QEMU for one architecture, in the layers of an image: a file of one of their trees. Links are followed inside
    /// the image.
    fn qemu_in(
        &self,
        layers: &[LayerId],
        architecture: Architecture,
        image: &str,
    ) -> Result<Qemu, BuildError> {
        let tree = self.readable(layers)?;
        let lookup = |path: &[u8]| tree.get(path).map(|node| &node.entry);
        let names = ["", "-static"].map(|suffix| format!("usr/bin/qemu-{}{suffix}", architecture.qemu()));
        let found = names.iter().find_map(|name| {
            let path = resolve(name.as_bytes(), true, lookup)?;
            tree.get(&path).and_then(Node::source).map(|_| (name, path))
        });
        let Some((name, path)) = found else {
            return Err(BuildError::invalid(format!("{image} has no /{}", names[0])));
        };
        // A path that is a file where the layers are merged is one in the topmost tree that has it, and no part of it
        // is a link there.
        let directories = lower_directories(&self.store, &self.lease, layers, self.threads)?;
        let mut places = directories.iter().map(|directory| directory.join(to_path(&path)));
        let is_file = |path: &PathBuf| std::fs::symlink_metadata(path).is_ok_and(|found| found.is_file());
        let place = places
            .find(is_file)
            .ok_or_else(|| BuildError::failed(format!("/{name} of {image} left the store")))?;
        Qemu::at(architecture, &place)
            .map_err(|unusable| BuildError::invalid(format!("{unusable}: /{name} of {image} cannot be used")))
    }
}

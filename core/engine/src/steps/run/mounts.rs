//! What a step sees: its mounts, its environment.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use rbx_request::Network;
use rbx_sandbox::{Mount, MountKind, RootFs, Security, Step};
use rbx_store::{LayerId, PreparedTree, TempDir};

use super::caches::{self, Caches};
use crate::agent::Forward;
use crate::error::BuildError;
use crate::layer::lower_directories;
use crate::plan::{RunMount, RunMountKind, RunOperation};
use crate::progress::Task;
use crate::solve::Solver;
use crate::tree::clean;

/// What a step sees as its host's name.
const HOSTNAME: &str = "buildkitsandbox";

/// What a step has while it runs.
#[derive(Default)]
pub(super) struct Scratch {
    /// What its writable mounts write to.
    writable: Vec<PreparedTree>,
    /// Its script.
    pipes: Option<TempDir>,
    caches: Caches,
    /// The SSH agents it sees.
    forwards: Vec<Forward>,
}

impl Solver {
    /// Puts a step together. What it needs beside its layers is kept in `scratch` until it is done.
    pub(super) fn step(
        &self,
        run: &RunOperation,
        rootfs: RootFs,
        mounted: &[Vec<LayerId>],
        scratch: &mut Scratch,
        task: &Task,
    ) -> Result<Step, BuildError> {
        let file = |target: &str, content: Vec<u8>, mode| Mount {
            target: target.to_owned(),
            kind: MountKind::File { content, read_only: true, mode, uid: 0, gid: 0 },
        };
        let mut mounts = vec![
            file("/etc/hosts", self.settings.hosts(HOSTNAME), 0o644),
            file("/etc/resolv.conf", self.settings.resolv_conf.text(run.network == Network::None), 0o644),
        ];
        if let Some((name, content)) = &run.script {
            let pipes = scratch.pipes.insert(self.pipes(name, content)?);
            let kind = MountKind::Tree { lower: vec![pipes.path().to_owned()], selector: String::new() };
            mounts.push(Mount { target: "/dev/pipes".to_owned(), kind });
        }
        let with_layers: Vec<(&RunMount, &[LayerId])> =
            run.mounts.iter().zip(mounted.iter().map(Vec::as_slice)).collect();
        scratch.caches = self.caches(run, &with_layers, task)?;
        for (mount, layers) in &with_layers {
            if let Some(kind) = self.mount(mount, layers, scratch)? {
                mounts.push(Mount { target: mount.target.clone(), kind });
            }
        }
        let names: Vec<String> = run.devices.iter().map(|device| device.name.clone()).collect();
        let devices = self.settings.devices.changes(&names)?;
        mounts.extend(devices.mounts);
        let mut env: Vec<(String, String)> =
            run.env.iter().chain(&run.proxy_env).chain(&devices.env).cloned().collect();
        for secret in &run.secret_env {
            let value = self.settings.secrets.get(&secret.id);
            if value.is_none() && secret.required {
                return Err(no_secret(&secret.id));
            }
            // As in BuildKit, one that is not there is an empty text.
            let value = String::from_utf8_lossy(value.map_or(&[][..], Vec::as_slice)).into_owned();
            env.push((secret.variable.clone(), value));
        }
        Ok(Step {
            rootfs,
            args: run.args.clone(),
            env,
            working_dir: run.working_dir.clone(),
            user: run.user.clone(),
            hostname: HOSTNAME.to_owned(),
            network: match run.network {
                Network::None => rbx_sandbox::Network::None,
                Network::Default | Network::Host => rbx_sandbox::Network::Host,
            },
            security: if run.insecure { Security::Insecure } else { Security::Sandbox },
            mounts: in_order(mounts),
            shm_size: self.settings.shm_size,
            rlimits: self.settings.rlimits.clone(),
            group: self.settings.group.clone(),
            runtime: self.settings.runtime.clone(),
            init: false,
        })
    }

    /// What one mount shows; `None` for a secret or agent that is not there and need not be.
    fn mount(
        &self,
        mount: &RunMount,
        layers: &[LayerId],
        scratch: &mut Scratch,
    ) -> Result<Option<MountKind>, BuildError> {
        Ok(Some(match &mount.kind {
            RunMountKind::Root { source, read_only, .. } => {
                let lower = lower_directories(&self.store, &self.lease, layers, self.threads)?;
                let selector = source.clone();
                if *read_only {
                    MountKind::Tree { lower, selector }
                } else {
                    let tree = self.store.new_tree()?;
                    let (upper, work) = (tree.fs().to_owned(), tree.work().to_owned());
                    scratch.writable.push(tree);
                    MountKind::Overlay { lower, upper, work, selector }
                }
            }
            RunMountKind::Cache(cache) => {
                let found = scratch.caches.get(&caches::key(cache, layers));
                let found = found.ok_or_else(|| BuildError::failed("a cache was not taken into use"))?;
                let selector = cache.source.clone();
                MountKind::Bind { source: found.path(), selector, read_only: cache.read_only }
            }
            RunMountKind::Tmpfs { size, read_only } => {
                MountKind::Tmpfs { size: (*size > 0).then_some(*size), mode: 0o1777, read_only: *read_only }
            }
            RunMountKind::Ssh { id, mode, uid, gid, required } => match self.settings.agents.get(id) {
                Some(agent) => {
                    let ids = self.store.id_map();
                    let (uid, gid) = (ids.user_or_root(*uid), ids.group_or_root(*gid));
                    let forward = Forward::start(agent.clone(), self.store.temp_dir()?, uid, gid, *mode)
                        .map_err(|error| {
                            BuildError::failed(format!(
                                "{}: failed to listen for SSH",
                                rbx_request::reason(&error)
                            ))
                        })?;
                    let source = forward.path();
                    scratch.forwards.push(forward);
                    MountKind::Bind { source, selector: String::new(), read_only: false }
                }
                None if *required => {
                    return Err(BuildError::invalid(format!("unset ssh forward key {id}"))
                        .hint(format!("give it with --ssh {id}")));
                }
                None => return Ok(None),
            },
            RunMountKind::Secret { id, mode, uid, gid, required } => match self.settings.secrets.get(id) {
                Some(value) => {
                    let (content, mode) = (value.clone(), *mode & 0o777);
                    MountKind::File { content, read_only: true, mode, uid: *uid, gid: *gid }
                }
                None if *required => return Err(no_secret(id)),
                None => return Ok(None),
            },
        }))
    }

    /// A directory that holds the script of a step.
    fn pipes(&self, name: &str, content: &str) -> Result<TempDir, BuildError> {
        let directory = self.store.temp_dir()?;
        let name = String::from_utf8_lossy(&crate::tree::clean(name.as_bytes())).into_owned();
        let path = directory.path().join(name);
        let write = || {
            std::fs::create_dir_all(path.parent().unwrap_or(&path))?;
            std::fs::write(&path, content)?;
            std::fs::set_permissions(directory.path(), Permissions::from_mode(0o755))?;
            std::fs::set_permissions(&path, Permissions::from_mode(0o755))
        };
        write()
            .map_err(|error| BuildError::failed(format!("{error}: failed to write {}", path.display())))?;
        Ok(directory)
    }
}

/// The mounts as BuildKit makes them: by the names of their targets, so that what lies in another one comes after it;
/// of several on one target only the last.
fn in_order(mounts: Vec<Mount>) -> Vec<Mount> {
    let mut ordered: Vec<(Vec<u8>, Mount)> = Vec::with_capacity(mounts.len());
    for mount in mounts {
        let target = clean(mount.target.as_bytes());
        match ordered.iter_mut().find(|(known, _)| *known == target) {
            Some(known) => known.1 = mount,
            None => ordered.push((target, mount)),
        }
    }
    ordered.sort_by(|(a, _), (b, _)| a.cmp(b));
    ordered.into_iter().map(|(_, mount)| mount).collect()
}

fn no_secret(id: &str) -> BuildError {
    BuildError::invalid(format!("secret {id}: not found"))
        .hint(format!("give it with --secret id={id},src=FILE"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_lie_in_each_other_whatever_their_order() {
        let mount = |target: &str, size| Mount {
            target: target.to_owned(),
            kind: MountKind::Tmpfs { size: Some(size), mode: 0o755, read_only: false },
        };
        let mounts = vec![
            mount("/etc/hosts", 0),
            mount("/a/b/", 1),
            mount("/c", 2),
            mount("/a", 3),
            mount("/c/", 4),
            mount("/etc/hosts", 5),
        ];
        let ordered = in_order(mounts);
        let told: Vec<(&str, &MountKind)> =
            ordered.iter().map(|mount| (mount.target.as_str(), &mount.kind)).collect();
        let size = |size| MountKind::Tmpfs { size: Some(size), mode: 0o755, read_only: false };
        let expected = [("/a", size(3)), ("/a/b/", size(1)), ("/c/", size(4)), ("/etc/hosts", size(5))];
        assert_eq!(told, expected.iter().map(|(target, kind)| (*target, kind)).collect::<Vec<_>>());
    }
}

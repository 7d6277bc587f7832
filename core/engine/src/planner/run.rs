//! `RUN`: its network, its mounts.

use rbx_dockerfile::{Mount, MountKind, Sharing, Stage, Step};
use rbx_store::CacheSharing;

use super::{Planner, absolute};
use crate::entitlements;
use crate::error::BuildError;
use crate::plan::{
    CacheMount, CacheOwner, Plan, RunMount, RunMountKind, RunOperation, SecretVariable, VertexId,
};
use crate::tree::clean;

/// The build argument that says whose caches are used: builds with different ones share none.
const CACHE_NAMESPACE: &str = "BUILDKIT_CACHE_MOUNT_NS";

/// The variable that says where an SSH agent is.
const AGENT: &str = "SSH_AUTH_SOCK";

impl Planner<'_> {
    pub(super) fn run(
        &mut self,
        plan: &mut Plan,
        stage: &Stage,
        step: &Step,
        run: &rbx_dockerfile::Run,
        base: Option<VertexId>,
    ) -> Result<(RunOperation, Vec<VertexId>), BuildError> {
        entitlements::check(run, self.request)?;
        let network = match (run.network, self.request.network) {
            (rbx_dockerfile::Network::Default, asked) => asked,
            (rbx_dockerfile::Network::None, _) => rbx_request::Network::None,
            (rbx_dockerfile::Network::Host, _) => rbx_request::Network::Host,
        };
        let mut mounts = Vec::new();
        let mut mounted = Vec::new();
        let mut secret_env = Vec::new();
        for mount in &run.mounts {
            let id = || mount.id.clone().or_else(|| mount.source.clone()).unwrap_or_default();
            if mount.kind == MountKind::Secret
                && let Some(variable) = &mount.env
            {
                let variable = variable.clone();
                secret_env.push(SecretVariable { variable, id: id(), required: mount.required });
            }
            let Some(target) = &mount.target else { continue };
            let target = absolute(target, &step.working_dir);
            if target == "/" && matches!(mount.kind, MountKind::Secret | MountKind::Ssh) {
                let kind = mount.kind.name().to_uppercase();
                return Err(BuildError::invalid(format!("invalid mount type {kind} for /")));
            }
            let kind = match mount.kind {
                MountKind::Tmpfs => RunMountKind::Tmpfs { size: mount.size, read_only: mount.read_only },
                MountKind::Secret => RunMountKind::Secret {
                    id: id(),
                    mode: mount.mode.unwrap_or(0o400),
                    uid: mount.uid.unwrap_or(0),
                    gid: mount.gid.unwrap_or(0),
                    required: mount.required,
                },
                MountKind::Bind => RunMountKind::Root {
                    vertex: self.mounted(plan, stage, mount)?,
                    source: mount.source.clone().unwrap_or_default(),
                    read_only: mount.read_only,
                },
                MountKind::Cache => {
                    let vertex = self.mounted(plan, stage, mount)?;
                    RunMountKind::Cache(self.cache(mount, vertex))
                }
                MountKind::Ssh => RunMountKind::Ssh {
                    id: id(),
                    mode: mount.mode.unwrap_or(0o600),
                    uid: mount.uid.unwrap_or(0),
                    gid: mount.gid.unwrap_or(0),
                    required: mount.required,
                },
            };
            mounted.extend(kind.vertex());
            mounts.push(RunMount { target, kind });
        }
        let operation = RunOperation {
            base,
            args: run.command.argv(&step.shell),
            env: with_agent(step.run_env.to_vec(), &mounts),
            proxy_env: rbx_dockerfile::proxy_variables(&self.request.build_args),
            working_dir: step.working_dir.to_string(),
            user: step.user.as_deref().unwrap_or_default().to_owned(),
            network,
            insecure: run.security == rbx_dockerfile::Security::Insecure,
            devices: run.devices.clone(),
            mounts,
            secret_env,
            script: run.script.as_ref().map(|file| (file.name.clone(), file.content.clone())),
            platform: self.runs_on.get(stage.index).unwrap_or(&stage.platform).clone(),
        };
        Ok((operation, mounted))
    }

    /// The vertex whose files a mount shows, or begins with.
    fn mounted(
        &mut self,
        plan: &mut Plan,
        stage: &Stage,
        mount: &Mount,
    ) -> Result<Option<VertexId>, BuildError> {
        match self.context_of(&mount.from) {
            Some(context) => {
                let source = mount.source.as_deref().unwrap_or_default();
                Ok(Some(self.context_vertex(plan, context, source)))
            }
            None => self.source(plan, stage, &mount.from),
        }
    }

    fn cache(&self, mount: &Mount, vertex: Option<VertexId>) -> CacheMount {
        let target = mount.target.as_deref().unwrap_or_default();
        let own_id = mount.id.as_deref().unwrap_or_default();
        let namespace = self.request.build_args.get(CACHE_NAMESPACE).map_or("", String::as_str);
        let source = mount.source.clone().unwrap_or_default();
        // A part of a cache has the owner that it has.
        let whole = clean(source.as_bytes()).is_empty();
        let given = mount.uid.is_some() || mount.gid.is_some() || mount.mode.is_some();
        CacheMount {
            vertex,
            id: format!("{namespace}/{own_id}"),
            default_id: own_id == target,
            sharing: match mount.sharing {
                Sharing::Shared => CacheSharing::Shared,
                Sharing::Private => CacheSharing::Private,
                Sharing::Locked => CacheSharing::Locked,
            },
            source,
            read_only: mount.read_only,
            owner: (whole && given).then(|| CacheOwner {
                uid: mount.uid.unwrap_or(0),
                gid: mount.gid.unwrap_or(0),
                mode: mount.mode.map_or(0o755, |mode| mode & 0o777),
            }),
        }
    }
}

/// The environment of a step, which says where the first of its agents is unless it says something else: also when
/// none is given, as in BuildKit.
fn with_agent(mut env: Vec<(String, String)>, mounts: &[RunMount]) -> Vec<(String, String)> {
    let first = mounts.iter().find(|mount| matches!(mount.kind, RunMountKind::Ssh { .. }));
    if let Some(first) = first
        && !env.iter().any(|(name, _)| name == AGENT)
    {
        env.push((AGENT.to_owned(), first.target.clone()));
    }
    env
}

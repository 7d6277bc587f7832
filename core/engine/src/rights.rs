//! What a plan needs of the system, found out before its first step.

use rbx_sandbox::Rights;
use rbx_store::{IdMap, Store, StoreError};

use crate::engine::Engine;
use crate::error::BuildError;
use crate::plan::{Operation, Plan};
use crate::steps::refused;

/// The store's note of the last time that a step was tried out.
const PROBED: &str = "steps run";

impl Engine {
    /// Sees to it that what a plan needs is there: layers of images want files of other owners, and steps want
    /// namespaces and mounts.
    pub(crate) fn prepare_for(&self, plan: &Plan) -> Result<(), BuildError> {
        let has = |wanted: fn(&Operation) -> bool| plan.vertices.iter().any(|it| wanted(&it.operation));
        let steps = has(|operation| matches!(operation, Operation::Run(_)));
        if !steps && !has(|operation| matches!(operation, Operation::Image(_))) {
            return Ok(());
        }
        let rights = self.rights.as_ref().map_err(Clone::clone)?;
        if steps && *rights != Rights::Root {
            if self.steps.oci_runtime.is_some() {
                let reason = "steps are run by an OCI runtime for root only";
                return Err(BuildError::invalid(reason)
                    .hint("run it with sudo, or leave --oci-runtime and RBX_OCI_RUNTIME away"));
            }
            probe(&self.store)?;
        }
        Ok(())
    }
}

/// Tells the store which ids this process has, so that every tree is made with them.
pub(crate) fn claim_ids(store: &Store) -> Result<(), BuildError> {
    store.claim_id_map(id_map()).map_err(other_ids)
}

/// The ids of this process's user namespace.
fn id_map() -> IdMap {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}"));
    match (read("uid_map"), read("gid_map")) {
        (Ok(users), Ok(groups)) => IdMap::parse(&users, &groups),
        // A kernel without user namespaces.
        _ => IdMap::whole(),
    }
}

/// Tries out a step, once for each start of the system. What an ordinary user may do depends on many settings, and
/// nobody should hear of the wrong one when half of the build is done.
fn probe(store: &Store) -> Result<(), BuildError> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let mark = format!("{} {}", boot.trim(), store.id_map());
    if store.note(PROBED)?.as_deref() == Some(mark.as_bytes()) {
        return Ok(());
    }
    let directory = store.temp_dir()?;
    rbx_sandbox::probe(directory.path()).map_err(|error| refused(&error))?;
    Ok(store.set_note(PROBED, Some(mark.as_bytes()))?)
}

/// Adds to the error of a store of other ids what can be done.
fn other_ids(error: StoreError) -> BuildError {
    let hint = match &error {
        StoreError::IdMap { path, .. } => Some(format!(
            "builds with other ids need another store: name a directory for it with RBX_ROOT, or remove this one: \
             rm -rf {0}, as root where files in it belong to other ids",
            path.display()
        )),
        _ => None,
    };
    BuildError::from(error).hint_if(hint)
}

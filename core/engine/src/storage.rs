//! What the engine keeps, listed and cleared away without a build.

use std::path::Path;

use rbx_store::{Collected, Limits, Policy, Store, UsageRecord};

use crate::error::BuildError;

/// The engine's store, for who looks after it.
#[derive(Debug)]
pub struct Storage {
    store: Store,
}

/// Opens the store under `root`, making it if there is none.
pub(crate) fn open_store(root: &Path) -> Result<Store, BuildError> {
    Ok(Store::open(root)?)
}

impl Storage {
    /// Opens the store that an engine with this root has.
    pub fn open(root: &Path) -> Result<Self, BuildError> {
        Ok(Self { store: open_store(root)? })
    }

    /// Lists everything in it, the smallest first.
    pub fn usage(&self) -> Result<Vec<UsageRecord>, BuildError> {
        Ok(self.store.disk_usage()?)
    }

    /// The names of images that were built and are in the store.
    pub fn built_images(&self) -> Result<Vec<String>, BuildError> {
        let images = self.store.images()?.into_iter();
        Ok(images.filter(|image| image.built).map(|image| image.name).collect())
    }

    /// Removes by the rules of automatic collection; nothing, if another process does so. It can be killed at any
    /// moment.
    pub fn collect(&self, limits: &Limits) -> Result<Option<Collected>, BuildError> {
        Ok(self.store.collect_automatically(limits)?)
    }

    /// Removes what a policy allows and `wanted` picks, but nothing that is in use; see [`Store::prune`]. It can be
    /// killed at any moment.
    pub fn prune(
        &self,
        policy: &Policy,
        wanted: &dyn Fn(&UsageRecord) -> bool,
        removed: &mut dyn FnMut(UsageRecord),
    ) -> Result<Collected, BuildError> {
        Ok(self.store.prune(policy, wanted, removed)?)
    }
}

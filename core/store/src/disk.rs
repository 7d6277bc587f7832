//! The disk that a store is on.

use crate::{Store, StoreError};

/// Space of a file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    /// All of it.
    pub total: u64,
    /// What its user may still fill.
    pub free: u64,
}

impl Store {
    /// The space of the file system that the store is on.
    pub fn disk_space(&self) -> Result<DiskSpace, StoreError> {
        let path = &self.inner.v1;
        let found =
            rustix::fs::statvfs(path).map_err(|error| StoreError::io("cannot examine", path, error))?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Ok(DiskSpace { total: bytes(found.f_blocks), free: bytes(found.f_bavail) })
    }
}

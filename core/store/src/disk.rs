//! The disk that a store is on.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::FallocateFlags;

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

/// A file that is there to be removed: on a disk that is full, collection needs some room for the database's log
/// before it can make more.
const RESERVE: &str = "reserve";
/// Its size in bytes. The log of a transaction of collection is smaller.
const RESERVE_BYTES: u64 = 1 << 20;

/// Makes the reserve, if there is room for it.
pub(crate) fn keep_reserve(v1: &Path) {
    let path = v1.join(RESERVE);
    let make = || -> io::Result<()> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, RESERVE_BYTES)?;
        Ok(())
    };
    if let Err(error) = make()
        && error.kind() != ErrorKind::AlreadyExists
    {
        // Part of it would be in the way of one that is whole.
        let _ = std::fs::remove_file(&path);
    }
}

/// Removes the reserve where there is little room.
pub(crate) fn use_reserve(v1: &Path) {
    let free = rustix::fs::statvfs(v1).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    if free.is_ok_and(|free| free < RESERVE_BYTES) {
        // Where it cannot be removed, or is not there, collection fails for what it lacks.
        let _ = std::fs::remove_file(v1.join(RESERVE));
    }
}

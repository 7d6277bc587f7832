//! Leases: what keeps things from being collected.
//!
//! A lease is a locked file. The kernel releases the lock when its process ends, however it ends, so a lease file
//! that can be locked belongs to nobody. What a lease pins is in the database, under the lease's name.

use std::collections::HashSet;
use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rusqlite::Transaction;

use crate::error::TxError;
use crate::ids::random_bytes;
use crate::store::Inner;
use crate::{Store, StoreError};

/// Keeps everything that is looked up or written with it from being collected, until it is dropped or its process
/// ends.
pub struct Lease {
    store: Arc<Inner>,
    /// `None` only while being dropped.
    pins: Option<PinSet>,
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("path", &self.pins().path).finish_non_exhaustive()
    }
}

impl Lease {
    pub(crate) fn pins(&self) -> &PinSet {
        self.pins.as_ref().expect("a lease has its pins until it is dropped")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(pins) = self.pins.take() {
            pins.release(&self.store);
        }
    }
}

impl Store {
    /// Takes a lease.
    pub fn lease(&self) -> Result<Lease, StoreError> {
        let pins = PinSet::create(&self.inner.v1.join("leases"))?;
        Ok(Lease { store: self.inner.clone(), pins: Some(pins) })
    }
}

/// What a pin is on. The numbers are in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Pinned {
    Layer = 0,
    Blob = 1,
    Record = 2,
}

/// A lease's file and pins.
pub(crate) struct PinSet {
    id: [u8; 16],
    path: PathBuf,
    file: File,
    /// What is known to be pinned, so that looking it up again writes nothing.
    known: Mutex<HashSet<(Pinned, Vec<u8>)>>,
}

impl PinSet {
    /// Makes and locks a lease file.
    pub(crate) fn create(directory: &Path) -> Result<Self, StoreError> {
        loop {
            let id = random_bytes()?;
            let path = directory.join(hex::encode(id));
            let io = |source| StoreError::io("cannot make the lease", &path, source);
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(io)?;
            file.lock().map_err(io)?;
            // A sweep may have taken the file for a dead one between its creation and its lock.
            if file.metadata().map_err(io)?.nlink() != 0 {
                return Ok(Self { id, path, file, known: Mutex::default() });
            }
        }
    }

    /// The lease's name, which begins the names of its temporary files.
    pub(crate) fn name(&self) -> String {
        hex::encode(self.id)
    }

    /// Whether this lease is known to pin something; then it cannot go, and looking it up needs no transaction.
    pub(crate) fn knows(&self, kind: Pinned, id: &[u8]) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.contains(&(kind, id.to_vec()))
    }

    /// Pins something within a transaction. Follow with [`PinSet::remember`] once that is committed.
    pub(crate) fn pin(&self, tx: &Transaction<'_>, kind: Pinned, id: &[u8]) -> Result<(), TxError> {
        tx.prepare_cached("INSERT OR IGNORE INTO pins (lease, kind, id) VALUES (?1, ?2, ?3)")?.execute((
            self.id,
            kind as i64,
            id,
        ))?;
        Ok(())
    }

    /// Notes that a pin is committed.
    pub(crate) fn remember(&self, kind: Pinned, id: &[u8]) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert((kind, id.to_vec()));
    }

    /// Ends the lease. What fails here is put right by the next sweep, for which the file then stays.
    pub(crate) fn release(self, store: &Inner) {
        let pinned = !self.known.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        if let Err(error) = end(store, &self.path, &self.id, pinned) {
            tracing::warn!(lease = %self.path.display(), %error, "cannot release a lease");
        }
        drop(self.file);
    }
}

/// Removes a lease's pins, then its file. The caller holds the lease's lock.
fn end(store: &Inner, path: &Path, id: &[u8; 16], pinned: bool) -> Result<(), StoreError> {
    if pinned {
        store.write(|tx| {
            tx.prepare_cached("DELETE FROM pins WHERE lease = ?1")?.execute([id])?;
            Ok(())
        })?;
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(StoreError::io("cannot remove the lease", path, error))
        }
        _ => Ok(()),
    }
}

/// The leases that are alive, and since when the oldest of them is, by the file system's clock.
#[derive(Debug, Default)]
pub(crate) struct LiveLeases {
    pub(crate) names: HashSet<String>,
    pub(crate) oldest: Option<SystemTime>,
}

/// Ends dead leases, and removes temporary files that no live lease owns.
pub(crate) fn sweep(store: &Inner) -> Result<LiveLeases, StoreError> {
    let mut live = LiveLeases::default();
    // Temporary files are listed first: one whose lease is not among those seen afterwards is dead, since a lease
    // is there before its files.
    let temporary = names_in(&store.v1.join("tmp"))?;
    let leases = store.v1.join("leases");
    for name in names_in(&leases)? {
        let path = leases.join(&name);
        let Some(id) = hex::decode(&name).ok().and_then(|id| <[u8; 16]>::try_from(id).ok()) else {
            store.remove(&path);
            continue;
        };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(StoreError::io("cannot open the lease", &path, error)),
        };
        match file.try_lock() {
            Ok(()) => {
                let own = temporary.iter().filter(|temporary| owner(temporary) == name);
                let left =
                    own.filter(|temporary| !store.remove(&store.v1.join("tmp").join(temporary))).count();
                // With something left of it the lease stays too, and is tried again.
                if left == 0
                    && let Err(error) = end(store, &path, &id, true)
                {
                    // On a disk that is full, collection has yet to make the room that this takes.
                    tracing::warn!(lease = %path.display(), %error, "cannot end a lease");
                }
            }
            Err(TryLockError::WouldBlock) => {
                let since = file.metadata().and_then(|metadata| metadata.modified());
                let since =
                    since.map_err(|error| StoreError::io("cannot examine the lease", &path, error))?;
                live.oldest = Some(live.oldest.map_or(since, |oldest| oldest.min(since)));
                live.names.insert(name);
            }
            Err(TryLockError::Error(error)) => return Err(StoreError::io("cannot lock", &path, error)),
        }
    }
    for name in temporary {
        let path = store.v1.join("tmp").join(&name);
        if !live.names.contains(owner(&name)) && !leases.join(owner(&name)).exists() {
            store.remove(&path);
        }
    }
    Ok(live)
}

/// The lease in a temporary file's name.
fn owner(temporary: &str) -> &str {
    temporary.split('.').next().unwrap_or_default()
}

/// The names in one of the store's directories. Names that are not UTF-8 are none of the store's and are left out.
pub(crate) fn names_in(directory: &Path) -> Result<Vec<String>, StoreError> {
    let list = || -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    };
    match list() {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed.map_err(|source| StoreError::io("cannot list", directory, source)),
    }
}

//! Caches: directories that steps mount (`RUN --mount=type=cache`) and that stay when the steps end.
//!
//! ```text
//! caches/<id>/lock     locked while a step uses the cache
//!             fs       what the steps see
//! ```
//!
//! Several caches may have one key: a step that is to have its own, or that finds those there are taken, makes
//! another. A cache is in use while its `lock` is locked (`flock`), shared or exclusively as the steps use it. Locks
//! are tried, never waited for, and only by who holds the database's write lock, so that looking whether a cache is
//! in use cannot make it seem to be in use to somebody else. Whoever removes a cache holds its lock exclusively; so
//! nothing in use goes, and a process that is killed leaves its caches free.
//!
//! What steps write here is theirs: nothing of it is checked, synced or in any cache key.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Transaction;

use crate::blobs::Temporary;
use crate::error::TxError;
use crate::store::{Inner, from_db, now, to_db};
use crate::sweep::{each, tree_bytes};
use crate::{CacheId, Key, Store, StoreError};

/// How a step uses a cache while others may want it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheSharing {
    /// Together with all others that share it.
    Shared,
    /// Alone; where the caches there are have users, another one is made.
    Private,
    /// Alone; where the caches there are have users, it waits.
    Locked,
}

/// What a step that wants a cache has to do.
#[derive(Debug)]
pub enum CacheUse {
    /// Use this one.
    Ready(Cache),
    /// Try again later: all are in use.
    Wait,
    /// Make one with [`Store::new_cache`] and [`Store::add_cache`].
    Make,
}

/// A cache in use, until this is dropped or the process ends.
#[derive(Debug)]
pub struct Cache {
    id: CacheId,
    store: Arc<Inner>,
    _lock: File,
}

impl Cache {
    /// Its name.
    pub fn id(&self) -> CacheId {
        self.id
    }

    /// The directory that steps see.
    pub fn path(&self) -> PathBuf {
        self.store.cache_path(&self.id).join(FS)
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        let touched = self.store.write(|tx| {
            tx.prepare_cached("UPDATE caches SET last_used = ?2 WHERE id = ?1")?
                .execute((self.id.as_bytes(), now()))?;
            Ok(())
        });
        if let Err(error) = touched {
            tracing::warn!(cache = %self.id, %error, "cannot note the use of a cache");
        }
    }
}

/// A cache being made. Dropped without being added, it is removed.
#[derive(Debug)]
pub struct PreparedCache {
    temporary: Temporary,
    fs: PathBuf,
    lock: File,
}

impl PreparedCache {
    /// The directory that steps will see: empty, of mode 0755.
    pub fn fs(&self) -> &Path {
        &self.fs
    }
}

/// What is known of a cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheRecord {
    /// Its name.
    pub id: CacheId,
    /// What it was made for, in the words of whoever made it.
    pub description: String,
    /// When it was made: nanoseconds since 1970.
    pub created: i64,
    /// When a step last began or ended to use it: nanoseconds since 1970.
    pub last_used: i64,
    /// How many steps have used it.
    pub uses: u64,
    /// Space on disk, in bytes, when no step used it. One that is in use is measured as it is now.
    pub bytes: u64,
    /// Whether a step uses it now.
    pub in_use: bool,
}

const FS: &str = "fs";
const LOCK: &str = "lock";

impl Store {
    /// Finds a cache for a step and takes it into use: the oldest that is free.
    pub fn use_cache(&self, key: &Key, sharing: CacheSharing) -> Result<CacheUse, StoreError> {
        let found = self.inner.write(|tx| find(tx, &self.inner, key, sharing))?;
        Ok(found.cache_use(&self.inner))
    }

    /// Starts a cache.
    pub fn new_cache(&self) -> Result<PreparedCache, StoreError> {
        let temporary = Temporary::new(&self.inner)?;
        let fs = temporary.path.join(FS);
        for path in [&temporary.path, &fs] {
            DirBuilder::new()
                .mode(0o700)
                .create(path)
                .map_err(|source| StoreError::io("cannot create", path, source))?;
        }
        std::fs::set_permissions(&fs, Permissions::from_mode(0o755))
            .map_err(|source| StoreError::io("cannot set the mode of", &fs, source))?;
        let path = temporary.path.join(LOCK);
        let lock = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
        let lock = lock.map_err(|source| StoreError::io("cannot create", &path, source))?;
        Ok(PreparedCache { temporary, fs, lock })
    }

    /// Adds a cache and takes it into use, unless by now there is another that will do, or to wait for. The answer
    /// is never [`CacheUse::Make`].
    ///
    /// `description` is what lists of caches say of it.
    pub fn add_cache(
        &self,
        key: &Key,
        sharing: CacheSharing,
        description: &str,
        prepared: PreparedCache,
    ) -> Result<CacheUse, StoreError> {
        let inner = &self.inner;
        let id = CacheId::random()?;
        let PreparedCache { temporary, lock, .. } = prepared;
        let mut lock = Some(lock);
        let found = inner.write(|tx| {
            match find(tx, inner, key, sharing)? {
                Found::Nothing => {}
                other => return Ok(other),
            }
            let path = inner.cache_path(&id);
            let locked = lock.take().filter(|lock| try_lock(lock, sharing).is_ok());
            let lock = locked.ok_or_else(|| {
                StoreError::io("cannot lock", temporary.path.join(LOCK), ErrorKind::ResourceBusy)
            })?;
            temporary.rename(&path)?;
            tx.prepare_cached(
                "INSERT INTO caches (id, key, description, created, last_used, uses)
                 VALUES (?1, ?2, ?3, ?4, ?4, 1)",
            )?
            .execute((id.as_bytes(), key.as_bytes(), description, now()))?;
            Ok(Found::Free(id, lock))
        })?;
        Ok(found.cache_use(inner))
    }

    /// All caches, the oldest first.
    pub fn caches(&self) -> Result<Vec<CacheRecord>, StoreError> {
        let inner = &self.inner;
        let mut records = inner.write(|tx| list(tx, inner))?;
        for (record, measured) in &mut records {
            if *measured && !record.in_use {
                continue;
            }
            record.bytes = tree_bytes(&inner.cache_path(&record.id).join(FS));
            if !record.in_use {
                // Another use since then makes the measure worthless.
                inner.write(|tx| {
                    tx.prepare_cached("UPDATE caches SET bytes = ?3 WHERE id = ?1 AND uses = ?2")?
                        .execute((record.id.as_bytes(), to_db(record.uses), to_db(record.bytes)))?;
                    Ok(())
                })?;
            }
        }
        Ok(records.into_iter().map(|(record, _)| record).collect())
    }

    /// Removes a cache with all that is in it, and says whether that was done: not if it is in use, or gone already.
    pub fn remove_cache(&self, id: CacheId) -> Result<bool, StoreError> {
        let inner = &self.inner;
        let removed = inner.write(|tx| delete(tx, inner, &id))?;
        if removed {
            // The record is gone, so nobody finds it any more.
            let discarded = inner.discard(&inner.cache_path(&id))?;
            inner.remove(&discarded);
        }
        Ok(removed)
    }
}

impl Inner {
    pub(crate) fn cache_path(&self, id: &CacheId) -> PathBuf {
        self.v1.join("caches").join(id.to_string())
    }
}

/// Removes a cache's record unless it is in use. Its directory is then removed by the sweep of `caches`, or by the
/// caller once the transaction is committed.
pub(crate) fn delete(tx: &Transaction<'_>, store: &Inner, id: &CacheId) -> Result<bool, TxError> {
    if is_in_use(store, id)? {
        return Ok(false);
    }
    Ok(tx.prepare_cached("DELETE FROM caches WHERE id = ?1")?.execute([id.as_bytes()])? > 0)
}

/// The records, and whether the size of each is known. To be called with the database's write lock.
fn list(tx: &Transaction<'_>, store: &Inner) -> Result<Vec<(CacheRecord, bool)>, TxError> {
    let mut records = Vec::new();
    let query = "SELECT id, description, created, last_used, uses, bytes FROM caches ORDER BY created, id";
    each(tx, query, |row| {
        let bytes: Option<i64> = row.get(5)?;
        let record = CacheRecord {
            id: CacheId::from_bytes(row.get(0)?),
            description: row.get(1)?,
            created: row.get(2)?,
            last_used: row.get(3)?,
            uses: from_db(row.get(4)?),
            bytes: from_db(bytes.unwrap_or_default()),
            in_use: false,
        };
        records.push((record, bytes.is_some()));
        Ok(())
    })?;
    for (record, _) in &mut records {
        record.in_use = is_in_use(store, &record.id)?;
    }
    Ok(records)
}

/// Whether a step uses a cache. To be called with the database's write lock, which keeps others from asking at the
/// same moment.
fn is_in_use(store: &Inner, id: &CacheId) -> Result<bool, StoreError> {
    let Some(lock) = open_lock(store, id)? else { return Ok(false) };
    let free = try_lock(&lock, CacheSharing::Private);
    match free {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(StoreError::io("cannot lock", store.cache_path(id), error)),
    }
}

/// What a look for a cache comes to. A [`Cache`] is made of it outside of the transaction, since dropping one begins
/// another.
enum Found {
    Free(CacheId, File),
    /// All are in use, and no other is to be made.
    Taken,
    Nothing,
}

impl Found {
    fn cache_use(self, store: &Arc<Inner>) -> CacheUse {
        match self {
            Self::Free(id, lock) => CacheUse::Ready(Cache { id, store: store.clone(), _lock: lock }),
            Self::Taken => CacheUse::Wait,
            Self::Nothing => CacheUse::Make,
        }
    }
}

fn find(tx: &Transaction<'_>, store: &Inner, key: &Key, sharing: CacheSharing) -> Result<Found, TxError> {
    let mut ids = Vec::new();
    let mut statement = tx.prepare_cached("SELECT id FROM caches WHERE key = ?1 ORDER BY created, id")?;
    let mut rows = statement.query([key.as_bytes()])?;
    while let Some(row) = rows.next()? {
        ids.push(CacheId::from_bytes(row.get(0)?));
    }
    let mut taken = false;
    for id in ids {
        let Some(lock) = open_lock(store, &id)? else {
            // Somebody has removed the directory by hand.
            tx.prepare_cached("DELETE FROM caches WHERE id = ?1")?.execute([id.as_bytes()])?;
            continue;
        };
        match try_lock(&lock, sharing) {
            Ok(()) => {
                // What it takes on disk is measured when somebody asks.
                tx.prepare_cached(
                    "UPDATE caches SET last_used = ?2, uses = uses + 1, bytes = NULL WHERE id = ?1",
                )?
                .execute((id.as_bytes(), now()))?;
                return Ok(Found::Free(id, lock));
            }
            Err(TryLockError::WouldBlock) => taken = true,
            Err(TryLockError::Error(error)) => {
                return Err(StoreError::io("cannot lock", store.cache_path(&id), error).into());
            }
        }
    }
    Ok(if taken && sharing == CacheSharing::Locked { Found::Taken } else { Found::Nothing })
}

/// The file to lock; `None` if the cache's directory is gone.
fn open_lock(store: &Inner, id: &CacheId) -> Result<Option<File>, StoreError> {
    let path = store.cache_path(id).join(LOCK);
    match OpenOptions::new().read(true).write(true).open(&path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::io("cannot open", path, error)),
    }
}

fn try_lock(file: &File, sharing: CacheSharing) -> Result<(), TryLockError> {
    match sharing {
        CacheSharing::Shared => file.try_lock_shared(),
        CacheSharing::Private | CacheSharing::Locked => file.try_lock(),
    }
}

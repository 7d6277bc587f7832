//! The store itself: where its files are, its database, and transactions.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::SystemTime;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use crate::error::TxError;
use crate::index::IndexCache;
use crate::leases::PinSet;
use crate::remove::{TreeRemover, remove_tree};
use crate::{IdMap, StoreError, boot, leases, schema};

/// A store: blobs, layers, images, build records and stat caches under one directory.
///
/// Any number of processes share it, and any of them may be killed at any moment: files are written under a
/// temporary name and renamed when they are complete, and what refers to a file is recorded after the file is there.
///
/// Clones share one connection to the database. Every call may block on the disk or on another process's short
/// transaction, so asynchronous code calls it from blocking threads.
///
/// What was looked up or written through a lease, and every blob that was looked up or written through this value
/// or its clones, is not collected while that lease or the last clone lives. A program that runs for long therefore
/// opens a store for each build: opening takes a fraction of a millisecond.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    root: PathBuf,
    /// `<root>/v1`: a change that older programs cannot live with gets another directory.
    pub(crate) v1: PathBuf,
    pub(crate) database: PathBuf,
    connection: Mutex<Connection>,
    /// What names this process's temporary files and pins its blobs; made when first needed.
    session: OnceLock<PinSet>,
    session_made: Mutex<()>,
    temporary: AtomicU64,
    /// Bytes that this process has written and not yet told others of, about.
    pub(crate) written: AtomicU64,
    pub(crate) indexes: Mutex<IndexCache>,
    pub(crate) remover: OnceLock<TreeRemover>,
    id_map: OnceLock<Arc<IdMap>>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("root", &self.inner.root).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store under `root`, making it if there is none, and removes what processes that have died left
    /// behind.
    pub fn open(root: &Path) -> Result<Store, StoreError> {
        let root =
            std::path::absolute(root).map_err(|source| StoreError::io("cannot resolve", root, source))?;
        let v1 = root.join("v1");
        let database = v1.join("store.db");
        let connection = schema::open(&v1, &database)?;
        let inner = Inner {
            root,
            v1,
            database,
            connection: Mutex::new(connection),
            session: OnceLock::new(),
            session_made: Mutex::new(()),
            temporary: AtomicU64::new(0),
            written: AtomicU64::new(0),
            indexes: Mutex::default(),
            remover: OnceLock::new(),
            id_map: OnceLock::new(),
        };
        let store = Store { inner: Arc::new(inner) };
        leases::sweep(&store.inner)?;
        match boot::check(&store) {
            // It is done by the next process that has room; collection must be possible without.
            Err(error) if error.is_no_space() => tracing::warn!(%error, "cannot check trees after a reboot"),
            checked => checked?,
        }
        Ok(store)
    }

    /// The directory given to [`Store::open`], absolute.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// Says how trees are removed where this user may not: rootless, files of other ids can be removed only inside
    /// the user namespace they were made in. Later calls change nothing.
    pub fn set_tree_remover(&self, remove: impl Fn(&Path) -> io::Result<()> + Send + Sync + 'static) {
        // The second one is dropped by intent.
        let _ = self.inner.remover.set(Box::new(remove));
    }

    /// Says which ids this process can give to files, which has to be done before a tree is made, and records it.
    /// With another map than the first one recorded, it fails with [`StoreError::IdMap`], since owners of files would
    /// be misread. A later call with another map changes nothing.
    pub fn claim_id_map(&self, map: IdMap) -> Result<(), StoreError> {
        let given = map.to_string();
        let find = |db: &Connection| -> Result<Option<String>, TxError> {
            let mut statement = db.prepare_cached("SELECT value FROM meta WHERE key = 'id-map'")?;
            Ok(statement.query_row((), |row| row.get(0)).optional()?)
        };
        let recorded = match self.inner.read(find)? {
            Some(recorded) => recorded,
            None => self.inner.write(|tx| {
                tx.execute("INSERT OR IGNORE INTO meta (key, value) VALUES ('id-map', ?1)", [&given])?;
                Ok(find(tx)?.unwrap_or_default())
            })?,
        };
        if recorded == given {
            self.inner.id_map.get_or_init(|| Arc::new(map));
            return Ok(());
        }
        Err(StoreError::IdMap { path: self.inner.v1.clone(), recorded, given })
    }

    /// The map that was claimed; until then that of root.
    pub fn id_map(&self) -> Arc<IdMap> {
        self.inner.id_map.get().cloned().unwrap_or_else(|| Arc::new(IdMap::whole()))
    }

    /// The value noted under `key`, such as what a probe found in this boot.
    pub fn note(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.read(|db| {
            let mut statement = db.prepare_cached("SELECT value FROM notes WHERE key = ?1")?;
            let mut rows = statement.query([key])?;
            Ok(match rows.next()? {
                Some(row) => Some(row.get(0)?),
                None => None,
            })
        })
    }

    /// Notes a small value under `key`; `None` removes it.
    pub fn set_note(&self, key: &str, value: Option<&[u8]>) -> Result<(), StoreError> {
        self.inner.write(|tx| {
            match value {
                Some(value) => tx
                    .prepare_cached("INSERT OR REPLACE INTO notes (key, value) VALUES (?1, ?2)")?
                    .execute((key, value))?,
                None => tx.prepare_cached("DELETE FROM notes WHERE key = ?1")?.execute([key])?,
            };
            Ok(())
        })
    }
}

impl Inner {
    pub(crate) fn connection(&self) -> MutexGuard<'_, Connection> {
        // A transaction that a panic left is rolled back when it drops, so the connection is good.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs statements that only read.
    pub(crate) fn read<T>(&self, f: impl FnOnce(&Connection) -> Result<T, TxError>) -> Result<T, StoreError> {
        f(&self.connection()).map_err(|error| error.at(&self.database))
    }

    /// Runs one transaction that holds the database's write lock, which is also what orders renames of files
    /// against their collection.
    pub(crate) fn write<T>(
        &self,
        f: impl FnOnce(&Transaction<'_>) -> Result<T, TxError>,
    ) -> Result<T, StoreError> {
        let mut connection = self.connection();
        let run = || {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = f(&transaction)?;
            transaction.commit()?;
            Ok(value)
        };
        run().map_err(|error: TxError| error.at(&self.database))
    }

    /// The lease of this process's temporary files and blobs.
    pub(crate) fn session(&self) -> Result<&PinSet, StoreError> {
        if let Some(session) = self.session.get() {
            return Ok(session);
        }
        let _made = self.session_made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = self.session.get() {
            return Ok(session);
        }
        let session = PinSet::create(&self.v1.join("leases"))?;
        Ok(self.session.get_or_init(|| session))
    }

    /// An unused path in `tmp`, swept by others once this process is gone.
    pub(crate) fn temporary_path(&self) -> Result<PathBuf, StoreError> {
        let number = self.temporary.fetch_add(1, Ordering::Relaxed);
        let session = self.session()?;
        let mut path = self.v1.join("tmp");
        path.push(format!("{}.{number}", session.name()));
        Ok(path)
    }

    /// Counts what was written.
    pub(crate) fn count(&self, bytes: u64) {
        self.written.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Removes a file or tree of the store's. What cannot be removed stays, for the next sweep.
    pub(crate) fn remove(&self, path: &Path) -> bool {
        match remove_tree(path, self.remover.get()) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot remove from the store");
                false
            }
        }
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("root", &self.root).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            session.release(self);
        }
    }
}

/// Nanoseconds since 1970 by the system's clock.
pub(crate) fn now() -> i64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// `last_used` is written anew only when it is this much older: nanoseconds.
pub(crate) const USE_INTERVAL: i64 = 60_000_000_000;

/// `SQLite`'s integers are signed; what exceeds them (no file does) is kept as the largest.
pub(crate) fn to_db(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// A size read back; a negative one, which is never written, counts as 0.
pub(crate) fn from_db(size: i64) -> u64 {
    u64::try_from(size).unwrap_or(0)
}

//! The files' side of collection: measuring them, and removing those that no record names.

use std::collections::HashSet;
use std::fs::Metadata;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rusqlite::{Row, Transaction};

use crate::error::TxError;
use crate::layers::member_keys;
use crate::leases::{LiveLeases, names_in};
use crate::members::MEMBER_AGE;
use crate::store::{Inner, to_db};
use crate::{Key, LayerId, StoreError};

/// Stat caches not used for this long are removed.
const STAT_CACHE_AGE: Duration = Duration::from_hours(30 * 24);
/// How many files are looked at in one transaction, for which other processes wait.
const BATCH: usize = 256;

/// Members not on any layer's list are kept if they were used since.
pub(crate) struct Horizon(Option<SystemTime>);

impl Horizon {
    pub(crate) fn of(live: &LiveLeases) -> Self {
        Self(live.oldest.map(|oldest| oldest.checked_sub(MEMBER_AGE).unwrap_or(SystemTime::UNIX_EPOCH)))
    }

    pub(crate) fn passed(&self, modified: SystemTime) -> bool {
        self.0.is_none_or(|horizon| modified < horizon)
    }
}

/// Removes pins of leases that have no file. Such a lease is not alive: its file is there before its pins.
pub(crate) fn drop_dead_pins(tx: &Transaction<'_>, store: &Inner) -> Result<(), TxError> {
    let mut leases: Vec<[u8; 16]> = Vec::new();
    each(tx, "SELECT DISTINCT lease FROM pins", |row| {
        leases.push(row.get(0)?);
        Ok(())
    })?;
    for lease in leases {
        if !store.v1.join("leases").join(hex::encode(lease)).exists() {
            tx.execute("DELETE FROM pins WHERE lease = ?1", [lease])?;
        }
    }
    Ok(())
}

/// Removes the files of a directory whose names are not in a table; answers the space that they took. `condition`
/// names the row of the file `?1`.
pub(crate) fn sweep_files(
    store: &Inner,
    directory: &str,
    table: &str,
    condition: &str,
) -> Result<u64, StoreError> {
    let directory = store.v1.join(directory);
    let mut bytes = 0;
    for names in names_in(&directory)?.chunks(BATCH) {
        let mut discarded = Vec::new();
        // While this holds the write lock, no file gets its name and no record is added.
        let swept = store.write(|tx| {
            let mut exists = tx.prepare_cached(&format!("SELECT 1 FROM {table} WHERE {condition}"))?;
            for name in names {
                let recorded = match hex::decode(name) {
                    Ok(id) => exists.exists([id])?,
                    Err(_) => false,
                };
                if !recorded {
                    discarded.extend(discard(store, &directory.join(name))?);
                }
            }
            Ok(())
        });
        bytes += remove_all(store, &discarded);
        swept?;
    }
    Ok(bytes)
}

/// Removes the files of blobs whose records were removed, unless they have new ones; answers which, and the space
/// that they took.
pub(crate) fn sweep_blobs<'a>(
    store: &Inner,
    digests: impl Iterator<Item = &'a [u8; 32]>,
) -> Result<Vec<([u8; 32], u64)>, StoreError> {
    let mut discarded = Vec::new();
    store.write(|tx| {
        let mut exists = tx.prepare_cached("SELECT 1 FROM blobs WHERE digest = ?1")?;
        for digest in digests {
            let path = store.blob_path(&rbx_oci::Digest::from_bytes(*digest));
            if !exists.exists([digest])?
                && let Some(path) = discard(store, &path)?
            {
                discarded.push((*digest, path));
            }
        }
        Ok(())
    })?;
    let remove = |(digest, path)| (digest, remove_all(store, &[path]));
    Ok(discarded.into_iter().map(remove).collect())
}

/// Gives a file a temporary name; `None` if another process was faster.
fn discard(store: &Inner, path: &Path) -> Result<Option<PathBuf>, StoreError> {
    match store.discard(path) {
        Ok(path) => Ok(Some(path)),
        Err(StoreError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes files; answers the space that they took.
fn remove_all(store: &Inner, paths: &[PathBuf]) -> u64 {
    let mut bytes = 0;
    for path in paths {
        let size = tree_bytes(path);
        if store.remove(path) {
            bytes += size;
        }
    }
    bytes
}

/// Removes those of some members that are on no layer's list and have not been used since the horizon; answers which,
/// and the space that they took.
pub(crate) fn sweep_members<'a>(
    store: &Inner,
    members: impl Iterator<Item = &'a Key>,
    horizon: &Horizon,
) -> Result<Vec<(Key, u64)>, StoreError> {
    let members: Vec<&Key> = members.collect();
    let mut removed = Vec::new();
    for keys in members.chunks(BATCH) {
        store.write(|tx| {
            // Anew within every transaction: a layer's list may have been written since the last one.
            let wanted: HashSet<Key> = keys.iter().map(|key| **key).collect();
            let mut listed = HashSet::new();
            each(tx, "SELECT keys FROM layer_members", |row| {
                let keys = row.get::<_, Vec<u8>>(0)?;
                listed.extend(member_keys(&keys).filter(|key| wanted.contains(key)));
                Ok(())
            })?;
            for &key in keys.iter().filter(|key| !listed.contains(**key)) {
                let path = store.member_path(key);
                // It may have been used since it was chosen.
                let Ok(metadata) = std::fs::metadata(&path) else { continue };
                if metadata.modified().is_ok_and(|modified| horizon.passed(modified)) {
                    match std::fs::remove_file(&path) {
                        Ok(()) => removed.push((*key, disk_bytes(&metadata))),
                        Err(error) if error.kind() == ErrorKind::NotFound => {}
                        Err(source) => return Err(StoreError::io("cannot remove", &path, source).into()),
                    }
                }
            }
            Ok(())
        })?;
    }
    Ok(removed)
}

/// Calls `f` for every member there is. Files that are not members are passed over.
pub(crate) fn walk_members(
    store: &Inner,
    mut f: impl FnMut(Key, PathBuf, &Metadata) -> io::Result<()>,
) -> Result<(), StoreError> {
    let root = store.v1.join("members");
    for directory in names_in(&root)? {
        let directory = root.join(directory);
        for name in names_in(&directory)? {
            let Ok(key) = name.parse() else { continue };
            let path = directory.join(name);
            let result = match std::fs::symlink_metadata(&path) {
                Ok(metadata) => f(key, path.clone(), &metadata),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
                Err(error) => Err(error),
            };
            result.map_err(|source| StoreError::io("cannot examine", &path, source))?;
        }
    }
    Ok(())
}

/// Removes stat caches that have not been used for long.
pub(crate) fn sweep_stat_caches(store: &Inner) -> Result<(), StoreError> {
    let directory = store.v1.join("stat");
    for name in names_in(&directory)? {
        let path = directory.join(name);
        let old = std::fs::metadata(&path)
            .and_then(|metadata| metadata.modified())
            .is_ok_and(|modified| modified.elapsed().is_ok_and(|age| age > STAT_CACHE_AGE));
        if old {
            store.remove(&path);
        }
    }
    Ok(())
}

/// Measures the trees whose size is not known yet. Committing a tree does not wait for that.
pub(crate) fn measure_trees(store: &Inner) -> Result<(), StoreError> {
    let mut unmeasured: Vec<[u8; 16]> = Vec::new();
    store.read(|db| {
        each(db, "SELECT id FROM layers WHERE has_tree AND tree_bytes IS NULL", |row| {
            unmeasured.push(row.get(0)?);
            Ok(())
        })
    })?;
    for id in unmeasured {
        let bytes = tree_bytes(&store.tree_path(&LayerId::from_bytes(id)));
        store.write(|tx| {
            tx.prepare_cached("UPDATE layers SET tree_bytes = ?2 WHERE id = ?1")?
                .execute((id, to_db(bytes)))?;
            Ok(())
        })?;
    }
    Ok(())
}

/// Space that a file or a directory with all in it takes, as far as this user may look into it. A file with several
/// names counts once.
pub(crate) fn tree_bytes(root: &Path) -> u64 {
    let Ok(metadata) = std::fs::symlink_metadata(root) else { return 0 };
    let mut bytes = disk_bytes(&metadata);
    let mut linked = HashSet::new();
    let mut directories = if metadata.is_dir() { vec![root.to_owned()] } else { Vec::new() };
    while let Some(directory) = directories.pop() {
        let Ok(entries) = std::fs::read_dir(directory) else { continue };
        for entry in entries.flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                directories.push(entry.path());
            } else if metadata.nlink() > 1 && !linked.insert((metadata.dev(), metadata.ino())) {
                continue;
            }
            bytes += disk_bytes(&metadata);
        }
    }
    bytes
}

/// A file's time: nanoseconds since 1970.
pub(crate) fn nanoseconds(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// Space that a file takes on disk.
pub(crate) fn disk_bytes(metadata: &Metadata) -> u64 {
    metadata.blocks().saturating_mul(512)
}

/// Calls `f` with every row of a query.
pub(crate) fn each(
    db: &rusqlite::Connection,
    query: &str,
    mut f: impl FnMut(&Row<'_>) -> rusqlite::Result<()>,
) -> Result<(), TxError> {
    let mut statement = db.prepare_cached(query)?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        f(row)?;
    }
    Ok(())
}

//! The database: opening it, and the tables of each format.

use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::StoreError;
use crate::disk::keep_reserve;
use crate::error::TxError;

/// The format this program writes; the database's `user_version`.
const FORMAT: i64 = 2;

/// Directories of a store, relative to its `v1`.
const DIRECTORIES: [&str; 8] =
    ["tmp", "leases", "blobs/sha256", "members", "layers", "trees", "caches", "stat"];

const TABLES: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE blobs (
    digest BLOB PRIMARY KEY, size INTEGER NOT NULL, created INTEGER NOT NULL, last_used INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE layers (
    id BLOB PRIMARY KEY, parent BLOB REFERENCES layers (id), created INTEGER NOT NULL, size INTEGER NOT NULL,
    has_tree INTEGER NOT NULL, tree_bytes INTEGER, diff_id BLOB, description TEXT NOT NULL,
    kind TEXT NOT NULL DEFAULT 'regular',
    stored INTEGER NOT NULL, last_used INTEGER NOT NULL, uses INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX layers_parent ON layers (parent);
CREATE TABLE layer_blobs (
    layer BLOB NOT NULL REFERENCES layers (id) ON DELETE CASCADE, compression TEXT NOT NULL,
    digest BLOB NOT NULL, size INTEGER NOT NULL, media_type TEXT NOT NULL,
    PRIMARY KEY (layer, compression)
) WITHOUT ROWID;
CREATE INDEX layer_blobs_digest ON layer_blobs (digest);
CREATE TABLE layer_members (
    layer BLOB NOT NULL REFERENCES layers (id) ON DELETE CASCADE, compression TEXT NOT NULL, keys BLOB NOT NULL,
    PRIMARY KEY (layer, compression)
) WITHOUT ROWID;
CREATE TABLE chains (
    chain BLOB PRIMARY KEY, layer BLOB NOT NULL REFERENCES layers (id) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX chains_layer ON chains (layer);
CREATE TABLE records (
    key BLOB PRIMARY KEY, layer BLOB REFERENCES layers (id) ON DELETE CASCADE, value BLOB NOT NULL,
    created INTEGER NOT NULL, last_used INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX records_layer ON records (layer);
CREATE TABLE images (
    name TEXT PRIMARY KEY, target TEXT NOT NULL, built INTEGER NOT NULL, elsewhere INTEGER NOT NULL,
    created INTEGER NOT NULL, last_used INTEGER NOT NULL, uses INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE image_blobs (
    name TEXT NOT NULL REFERENCES images (name) ON DELETE CASCADE, digest BLOB NOT NULL,
    PRIMARY KEY (name, digest)
) WITHOUT ROWID;
CREATE INDEX image_blobs_digest ON image_blobs (digest);
CREATE TABLE image_layers (
    name TEXT NOT NULL REFERENCES images (name) ON DELETE CASCADE,
    layer BLOB NOT NULL REFERENCES layers (id),
    PRIMARY KEY (name, layer)
) WITHOUT ROWID;
CREATE INDEX image_layers_layer ON image_layers (layer);
CREATE TABLE caches (
    id BLOB PRIMARY KEY, key BLOB NOT NULL, description TEXT NOT NULL, created INTEGER NOT NULL,
    last_used INTEGER NOT NULL, uses INTEGER NOT NULL, bytes INTEGER
) WITHOUT ROWID;
CREATE INDEX caches_key ON caches (key);
CREATE TABLE notes (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE pins (lease BLOB NOT NULL, kind INTEGER NOT NULL, id BLOB NOT NULL, PRIMARY KEY (lease, kind, id))
    WITHOUT ROWID;
CREATE INDEX pins_id ON pins (kind, id);
";

/// Opens the database of the store in `v1`, creating directories and tables that are not there yet.
pub(crate) fn open(v1: &Path, database: &Path) -> Result<Connection, StoreError> {
    if !database.exists() {
        create_directories(v1)?;
    }
    check_owner(v1)?;
    let at = |error: TxError| error.at(database);
    let connection = connect(database).map_err(|error| at(error.into()))?;
    let format = user_version(&connection).map_err(|error| at(error.into()))?;
    match format {
        FORMAT => Ok(connection),
        0 => create_tables(v1, connection, database),
        found => Err(StoreError::Format { path: database.to_owned(), found, known: FORMAT }),
    }
}

fn connect(database: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(
        database,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_timeout(Duration::from_secs(30))?;
    // The checkpoint at the last close syncs the disk, which may hold a build's exit up for as long as it takes to
    // write out everything the build has written. The log is written back when it has 128 pages instead: opening
    // reads the log, so it must stay short.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.set_prepared_statement_cache_capacity(64);
    connection.execute_batch(
        "PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON; PRAGMA wal_autocheckpoint = 128;",
    )?;
    Ok(connection)
}

fn user_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", (), |row| row.get(0))
}

/// One process makes the tables; others wait for it.
fn create_tables(v1: &Path, mut connection: Connection, database: &Path) -> Result<Connection, StoreError> {
    let path = v1.join("create.lock");
    let io = |source| StoreError::io("cannot lock", &path, source);
    let lock =
        OpenOptions::new().create(true).write(true).truncate(false).mode(0o600).open(&path).map_err(io)?;
    lock.lock().map_err(io)?;
    let mut create = || -> rusqlite::Result<()> {
        if user_version(&connection)? != 0 {
            return Ok(());
        }
        // Only before there are tables.
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        transaction.execute_batch(TABLES)?;
        transaction.execute(
            "INSERT INTO meta (key, value) VALUES ('owner', ?1)",
            [rustix::process::geteuid().as_raw()],
        )?;
        transaction.pragma_update(None, "user_version", FORMAT)?;
        transaction.commit()
    };
    create().map_err(|source| StoreError::database(database, source))?;
    keep_reserve(v1);
    Ok(connection)
}

fn create_directories(v1: &Path) -> Result<(), StoreError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(v1).map_err(|source| StoreError::io("cannot create", v1, source))?;
    for name in DIRECTORIES {
        let path = v1.join(name);
        builder.create(&path).map_err(|source| StoreError::io("cannot create", &path, source))?;
    }
    Ok(())
}

/// A store belongs to one user, and nobody else reads it.
fn check_owner(v1: &Path) -> Result<(), StoreError> {
    let metadata = v1.metadata().map_err(|source| StoreError::io("cannot open", v1, source))?;
    let user = rustix::process::geteuid().as_raw();
    if metadata.uid() != user {
        return Err(StoreError::Owner { path: v1.to_owned(), owner: metadata.uid(), user });
    }
    if metadata.mode() & 0o077 != 0 {
        std::fs::set_permissions(v1, std::fs::Permissions::from_mode(0o700))
            .map_err(|source| StoreError::io("cannot restrict access to", v1, source))?;
    }
    Ok(())
}

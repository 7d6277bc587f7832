//! Layers: their records, indexes, and what is known of their archives.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use rbx_oci::Digest;
use rusqlite::{Connection, OptionalExtension, Transaction};

use crate::blobs::{Temporary, create_new};
use crate::error::TxError;
use crate::leases::Pinned;
use crate::store::{Inner, from_db, now, to_db};
use crate::{Key, LayerId, LayerIndex, Lease, PreparedTree, Store, StoreError, UsageType};

/// A layer to be stored.
#[derive(Debug)]
pub struct NewLayer {
    /// The layer below, which is kept as long as this one.
    pub parent: Option<LayerId>,
    /// What the layer holds.
    pub index: Arc<LayerIndex>,
    /// Its directory tree, where there is one.
    pub tree: Option<PreparedTree>,
    /// When it was made: nanoseconds since 1970.
    pub created: i64,
    /// What it is, for people who look at what the store takes.
    pub description: String,
}

/// A layer in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Its name.
    pub id: LayerId,
    /// The layer below.
    pub parent: Option<LayerId>,
    /// When it was made: nanoseconds since 1970.
    pub created: i64,
    /// The sum of the sizes of its regular files.
    pub size: u64,
    /// Whether it has a directory tree.
    pub has_tree: bool,
    /// The digest of its uncompressed archive, once it is known.
    pub diff_id: Option<Digest>,
    /// What is known of its compressed archives, by the compression's name, such as `gzip-3`. The blobs themselves
    /// need not be in the store.
    pub blobs: BTreeMap<String, BlobInfo>,
}

/// What a manifest says of a layer's archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobInfo {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Its media type.
    pub media_type: String,
}

impl Store {
    /// Stores a layer: its index, its tree if it has one, and its record.
    pub fn put_layer(&self, lease: &Lease, new: NewLayer) -> Result<LayerId, StoreError> {
        let inner = &self.inner;
        let id = LayerId::random()?;
        let bytes = new.index.encode();
        let bytes = bytes.map_err(|error| StoreError::damaged(inner.index_path(&id), error.to_string()))?;
        let temporary = Temporary::new(inner)?;
        create_new(&temporary.path)?
            .write_all(&bytes)
            .map_err(|source| StoreError::io("cannot write", &temporary.path, source))?;
        if let Some(tree) = &new.tree {
            tree.finish();
        }
        inner.write(|tx| {
            if let Some(parent) = new.parent {
                require_layer(tx, &parent)?;
            }
            temporary.rename(&inner.index_path(&id))?;
            if let Some(tree) = &new.tree {
                tree.temporary.rename(&inner.tree_path(&id))?;
            }
            let now = now();
            tx.prepare_cached(
                "INSERT INTO layers (id, parent, created, size, has_tree, description, stored, last_used, uses)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7, 1)",
            )?
            .execute((
                id.as_bytes(),
                new.parent.as_ref().map(LayerId::as_bytes),
                new.created,
                to_db(new.index.size()),
                new.tree.is_some(),
                &new.description,
                now,
            ))?;
            lease.pins().pin(tx, Pinned::Layer, id.as_bytes())
        })?;
        lease.pins().remember(Pinned::Layer, id.as_bytes());
        inner.count(bytes.len() as u64 + if new.tree.is_some() { new.index.size() } else { 0 });
        self.cache_index(id, new.index);
        Ok(id)
    }

    /// Finds a layer. The lease keeps it, and the layers below it, from then on.
    pub fn layer(&self, lease: &Lease, id: LayerId) -> Result<Option<Layer>, StoreError> {
        if lease.pins().knows(Pinned::Layer, id.as_bytes()) {
            return self.inner.read(|db| select(db, id));
        }
        let found = self.inner.write(|tx| {
            let Some(layer) = select(tx, id)? else { return Ok(None) };
            use_layer(tx, lease, &id)?;
            Ok(Some(layer))
        })?;
        if found.is_some() {
            lease.pins().remember(Pinned::Layer, id.as_bytes());
        }
        Ok(found)
    }

    /// Reads a layer's index. If it is missing or damaged, no record leads to the layer any more once this has
    /// failed, so that the next build makes it anew.
    pub fn layer_index(&self, id: LayerId) -> Result<Arc<LayerIndex>, StoreError> {
        if let Some(index) = self.inner.indexes.lock().unwrap_or_else(PoisonError::into_inner).get(&id) {
            return Ok(index);
        }
        let path = self.inner.index_path(&id);
        let read = std::fs::read(&path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => StoreError::damaged(&path, "the index is missing"),
            _ => StoreError::io("cannot read", &path, source),
        });
        let decoded = read.and_then(|bytes| {
            LayerIndex::decode(&bytes).map_err(|error| StoreError::damaged(&path, error.to_string()))
        });
        match decoded {
            Ok(index) => {
                let index = Arc::new(index);
                self.cache_index(id, index.clone());
                Ok(index)
            }
            Err(error) => {
                self.forget_layer(id)?;
                Err(error)
            }
        }
    }

    /// Removes all records and chains that lead to a layer or to one above it, so that these layers are made anew
    /// when they are needed. The layers themselves are collected once nothing holds them.
    pub fn forget_layer(&self, id: LayerId) -> Result<(), StoreError> {
        self.inner.indexes.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        self.inner.write(|tx| {
            for table in ["records", "chains"] {
                tx.prepare_cached(&format!(
                    "WITH RECURSIVE above (id) AS (
                         VALUES (?1) UNION SELECT layers.id FROM layers JOIN above ON layers.parent = above.id
                     )
                     DELETE FROM {table} WHERE layer IN above"
                ))?
                .execute([id.as_bytes()])?;
            }
            Ok(())
        })
    }

    /// Notes what kind of thing a layer is, if it is not the result of a step.
    pub fn set_layer_kind(&self, id: LayerId, kind: UsageType) -> Result<(), StoreError> {
        self.inner.write(|tx| {
            tx.prepare_cached("UPDATE layers SET kind = ?2 WHERE id = ?1")?
                .execute((id.as_bytes(), kind.as_str()))?;
            Ok(())
        })
    }

    /// Notes the digest of a layer's uncompressed archive.
    pub fn set_diff_id(&self, id: LayerId, diff_id: &Digest) -> Result<(), StoreError> {
        self.inner.write(|tx| {
            let changed = tx
                .prepare_cached("UPDATE layers SET diff_id = ?2 WHERE id = ?1")?
                .execute((id.as_bytes(), diff_id.as_bytes()))?;
            if changed == 0 { Err(StoreError::NoLayer(id).into()) } else { Ok(()) }
        })
    }

    /// Notes what a layer's archive is under a compression. If that blob is in the store, the layer keeps it there.
    pub fn set_layer_blob(&self, id: LayerId, compression: &str, info: &BlobInfo) -> Result<(), StoreError> {
        self.inner.write(|tx| {
            require_layer(tx, &id)?;
            tx.prepare_cached(
                "INSERT OR REPLACE INTO layer_blobs (layer, compression, digest, size, media_type)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute((
                id.as_bytes(),
                compression,
                info.digest.as_bytes(),
                to_db(info.size),
                &info.media_type,
            ))?;
            Ok(())
        })
    }

    /// Notes the members that make up a layer's archive under a compression, in order. They are kept as long as the
    /// layer. Fails with [`StoreError::NoMembers`] where some are not in the store (any more).
    pub fn set_layer_members(&self, id: LayerId, compression: &str, keys: &[Key]) -> Result<(), StoreError> {
        let mut bytes = Vec::with_capacity(keys.len() * 32);
        for key in keys {
            bytes.extend_from_slice(key.as_bytes());
        }
        self.inner.write(|tx| {
            require_layer(tx, &id)?;
            // Within the write lock, which collection also holds while it removes members.
            let missing = keys.iter().filter(|key| !self.inner.member_path(key).exists()).count();
            if missing > 0 {
                return Err(StoreError::NoMembers { layer: id, missing, total: keys.len() }.into());
            }
            tx.prepare_cached(
                "INSERT OR REPLACE INTO layer_members (layer, compression, keys) VALUES (?1, ?2, ?3)",
            )?
            .execute((id.as_bytes(), compression, &bytes))?;
            Ok(())
        })
    }

    /// The members that make up a layer's archive under a compression, in order, if they were noted.
    pub fn layer_members(&self, id: LayerId, compression: &str) -> Result<Option<Vec<Key>>, StoreError> {
        let bytes: Option<Vec<u8>> = self.inner.read(|db| {
            let mut statement =
                db.prepare_cached("SELECT keys FROM layer_members WHERE layer = ?1 AND compression = ?2")?;
            Ok(statement.query_row((id.as_bytes(), compression), |row| row.get(0)).optional()?)
        })?;
        Ok(bytes.map(|bytes| member_keys(&bytes).collect()))
    }

    /// Finds the layer that a base image's chain of layers ends in, by the chain's OCI `ChainID`. The lease keeps
    /// it from then on.
    pub fn layer_by_chain(&self, lease: &Lease, chain: &Digest) -> Result<Option<LayerId>, StoreError> {
        let found = self.inner.write(|tx| find_chain(tx, lease, chain))?;
        if let Some(id) = &found {
            lease.pins().remember(Pinned::Layer, id.as_bytes());
        }
        Ok(found)
    }

    /// Finds the same layer and leaves everything as it is: it may be collected at any moment.
    pub fn peek_chain(&self, chain: &Digest) -> Result<Option<LayerId>, StoreError> {
        self.inner.read(|db| {
            let mut statement = db.prepare_cached("SELECT layer FROM chains WHERE chain = ?1")?;
            let found: Option<[u8; 16]> =
                statement.query_row([chain.as_bytes()], |row| row.get(0)).optional()?;
            Ok(found.map(LayerId::from_bytes))
        })
    }

    /// Records the layer that a chain of layers ends in, and gives the one recorded from then on: of two processes
    /// that have unpacked the same layers, the second one goes on with the first one's.
    pub fn set_chain(&self, lease: &Lease, chain: &Digest, id: LayerId) -> Result<LayerId, StoreError> {
        let id = self.inner.write(|tx| {
            if let Some(first) = find_chain(tx, lease, chain)? {
                return Ok(first);
            }
            require_layer(tx, &id)?;
            tx.prepare_cached("INSERT INTO chains (chain, layer) VALUES (?1, ?2)")?
                .execute((chain.as_bytes(), id.as_bytes()))?;
            lease.pins().pin(tx, Pinned::Layer, id.as_bytes())?;
            Ok(id)
        })?;
        lease.pins().remember(Pinned::Layer, id.as_bytes());
        Ok(id)
    }

    fn cache_index(&self, id: LayerId, index: Arc<LayerIndex>) {
        self.inner.indexes.lock().unwrap_or_else(PoisonError::into_inner).put(id, index);
    }
}

impl Inner {
    pub(crate) fn index_path(&self, id: &LayerId) -> PathBuf {
        self.v1.join("layers").join(id.to_string())
    }
}

/// The keys in a `layer_members` row.
pub(crate) fn member_keys(bytes: &[u8]) -> impl Iterator<Item = Key> {
    bytes.as_chunks::<32>().0.iter().map(|key| Key::from_bytes(*key))
}

fn require_layer(tx: &Transaction<'_>, id: &LayerId) -> Result<(), TxError> {
    let exists = tx.prepare_cached("SELECT 1 FROM layers WHERE id = ?1")?.exists([id.as_bytes()])?;
    if exists { Ok(()) } else { Err(StoreError::NoLayer(*id).into()) }
}

fn find_chain(tx: &Transaction<'_>, lease: &Lease, chain: &Digest) -> Result<Option<LayerId>, TxError> {
    let found: Option<[u8; 16]> = tx
        .prepare_cached("SELECT layer FROM chains WHERE chain = ?1")?
        .query_row([chain.as_bytes()], |row| row.get(0))
        .optional()?;
    let Some(id) = found else { return Ok(None) };
    let id = LayerId::from_bytes(id);
    use_layer(tx, lease, &id)?;
    Ok(Some(id))
}

/// Pins a layer and notes its use, once for each lease.
pub(crate) fn use_layer(tx: &Transaction<'_>, lease: &Lease, id: &LayerId) -> Result<(), TxError> {
    if lease.pins().knows(Pinned::Layer, id.as_bytes()) {
        return Ok(());
    }
    lease.pins().pin(tx, Pinned::Layer, id.as_bytes())?;
    tx.prepare_cached("UPDATE layers SET last_used = ?2, uses = uses + 1 WHERE id = ?1")?
        .execute((id.as_bytes(), now()))?;
    Ok(())
}

fn select(db: &Connection, id: LayerId) -> Result<Option<Layer>, TxError> {
    let mut statement =
        db.prepare_cached("SELECT parent, created, size, has_tree, diff_id FROM layers WHERE id = ?1")?;
    let found = statement.query_row([id.as_bytes()], |row| {
        let parent: Option<[u8; 16]> = row.get(0)?;
        let diff_id: Option<[u8; 32]> = row.get(4)?;
        Ok(Layer {
            id,
            parent: parent.map(LayerId::from_bytes),
            created: row.get(1)?,
            size: from_db(row.get(2)?),
            has_tree: row.get(3)?,
            diff_id: diff_id.map(Digest::from_bytes),
            blobs: BTreeMap::new(),
        })
    });
    let Some(mut layer) = found.optional()? else { return Ok(None) };
    let mut statement =
        db.prepare_cached("SELECT compression, digest, size, media_type FROM layer_blobs WHERE layer = ?1")?;
    let mut rows = statement.query([id.as_bytes()])?;
    while let Some(row) = rows.next()? {
        let info = BlobInfo {
            digest: Digest::from_bytes(row.get(1)?),
            size: from_db(row.get(2)?),
            media_type: row.get(3)?,
        };
        layer.blobs.insert(row.get(0)?, info);
    }
    Ok(Some(layer))
}

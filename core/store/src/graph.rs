//! Everything in the store and what holds what, as it was at one moment: what lists and collection are made of.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::SystemTime;

use rusqlite::{Connection, Row};

use crate::error::TxError;
use crate::layers::member_keys;
use crate::leases::{Pinned, names_in};
use crate::store::from_db;
use crate::sweep::{Horizon, disk_bytes, each, measure_trees, nanoseconds, walk_members};
use crate::{CacheId, Key, LayerId, Store, StoreError, UsageType, stat_cache};

/// Something that is removed as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum What {
    Image(String),
    /// A record without a layer. Those with one go with the layer.
    Record([u8; 32]),
    Layer(LayerId),
    Cache(CacheId),
    /// By its file's name.
    StatCache(String),
    Blob([u8; 32]),
    Member(Key),
}

impl What {
    /// Whether it is a part of the layers and images that hold it, and goes with the last of them.
    pub(crate) fn is_part(&self) -> bool {
        matches!(self, Self::Blob(_) | Self::Member(_))
    }
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) what: What,
    /// Space on disk of this alone.
    pub(crate) bytes: u64,
    pub(crate) created: i64,
    pub(crate) last_used: i64,
    pub(crate) uses: u64,
    pub(crate) description: String,
    pub(crate) kind: UsageType,
    /// Somebody uses it now.
    pub(crate) pinned: bool,
    /// A built image, and whether it is known to be elsewhere, too.
    pub(crate) built: Option<bool>,
    /// How many nodes hold this one.
    holders: usize,
    /// Positions of the nodes that this one holds.
    pub(crate) holds: Vec<usize>,
}

/// What has changed since it was read is found out when a thing is removed.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    pub(crate) nodes: Vec<Node>,
    numbers: HashMap<What, usize>,
}

impl Graph {
    pub(crate) fn read(store: &Store, horizon: &Horizon) -> Result<Self, StoreError> {
        let inner = &store.inner;
        measure_trees(inner)?;
        let mut graph = Self::default();
        walk_members(inner, |key, _, metadata| {
            let modified = metadata.modified()?;
            let node = graph.add(What::Member(key), disk_bytes(metadata), nanoseconds(modified));
            // Somebody may be about to put it on a layer's list.
            node.pinned = !horizon.passed(modified);
            Ok(())
        })?;
        graph.read_caches(store)?;
        graph.read_stat_caches(store)?;
        inner.read(|db| {
            // One snapshot for all of it.
            let snapshot = db.unchecked_transaction()?;
            graph.read_nodes(&snapshot)?;
            graph.read_holders(&snapshot)
        })?;
        for node in &mut graph.nodes {
            let path = match &node.what {
                What::Layer(id) => inner.index_path(id),
                What::Blob(digest) => inner.blob_path(&rbx_oci::Digest::from_bytes(*digest)),
                _ => continue,
            };
            node.bytes += std::fs::metadata(path).map_or(0, |metadata| disk_bytes(&metadata));
        }
        Ok(graph)
    }

    fn read_caches(&mut self, store: &Store) -> Result<(), StoreError> {
        for cache in store.caches()? {
            let directory = std::fs::metadata(store.inner.cache_path(&cache.id));
            let bytes = cache.bytes + directory.map_or(0, |metadata| disk_bytes(&metadata));
            let node = self.add(What::Cache(cache.id), bytes, cache.last_used);
            node.created = cache.created;
            node.uses = cache.uses;
            node.description = cache.description;
            node.kind = UsageType::CacheMount;
            node.pinned = cache.in_use;
        }
        Ok(())
    }

    fn read_stat_caches(&mut self, store: &Store) -> Result<(), StoreError> {
        let directory = store.inner.v1.join("stat");
        for name in names_in(&directory)? {
            let path = directory.join(&name);
            let Ok(metadata) = std::fs::metadata(&path) else { continue };
            let modified = nanoseconds(metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH));
            let node = self.add(What::StatCache(name), disk_bytes(&metadata), modified);
            node.created = metadata.created().map_or(modified, nanoseconds);
            node.uses = 1;
            node.kind = UsageType::Internal;
            node.description = match stat_cache::root_of(&path) {
                Some(root) => format!("digests of files in context {root}"),
                None => "digests of files in a context".to_owned(),
            };
        }
        Ok(())
    }

    fn read_nodes(&mut self, db: &Connection) -> Result<(), TxError> {
        each(db, "SELECT name, last_used, built, created, elsewhere, uses FROM images", |row| {
            let name: String = row.get(0)?;
            let built: bool = row.get(2)?;
            let description =
                if built { format!("image {name}") } else { format!("metadata pulled from {name}") };
            let node = self.add(What::Image(name), 0, row.get(1)?);
            node.created = row.get(3)?;
            node.uses = from_db(row.get(5)?);
            node.description = description;
            node.built = if built { Some(row.get(4)?) } else { None };
            Ok(())
        })?;
        each(db, "SELECT key, last_used, created FROM records WHERE layer IS NULL", |row| {
            self.add(What::Record(row.get(0)?), 0, row.get(1)?).created = row.get(2)?;
            Ok(())
        })?;
        let query =
            "SELECT id, last_used, coalesce(tree_bytes, 0), stored, uses, description, kind FROM layers";
        each(db, query, |row| {
            let what = What::Layer(LayerId::from_bytes(row.get(0)?));
            let node = self.add(what, from_db(row.get(2)?), row.get(1)?);
            node.created = row.get(3)?;
            node.uses = from_db(row.get(4)?);
            node.description = row.get(5)?;
            node.kind = UsageType::of(&row.get::<_, String>(6)?);
            Ok(())
        })?;
        each(db, "SELECT digest, last_used, created FROM blobs", |row| {
            self.add(What::Blob(row.get(0)?), 0, row.get(1)?).created = row.get(2)?;
            Ok(())
        })
    }

    fn read_holders(&mut self, db: &Connection) -> Result<(), TxError> {
        let layer = |row: &Row<'_>, at| -> rusqlite::Result<What> {
            Ok(What::Layer(LayerId::from_bytes(row.get(at)?)))
        };
        each(db, "SELECT id, parent FROM layers WHERE parent IS NOT NULL", |row| {
            self.hold(&layer(row, 0)?, &layer(row, 1)?);
            Ok(())
        })?;
        each(db, "SELECT layer, digest FROM layer_blobs", |row| {
            self.hold(&layer(row, 0)?, &What::Blob(row.get(1)?));
            Ok(())
        })?;
        each(db, "SELECT layer, keys FROM layer_members", |row| {
            let layer = layer(row, 0)?;
            for key in member_keys(&row.get::<_, Vec<u8>>(1)?) {
                self.hold(&layer, &What::Member(key));
            }
            Ok(())
        })?;
        each(db, "SELECT name, digest FROM image_blobs", |row| {
            self.hold(&What::Image(row.get(0)?), &What::Blob(row.get(1)?));
            Ok(())
        })?;
        each(db, "SELECT name, layer FROM image_layers", |row| {
            self.hold(&What::Image(row.get(0)?), &layer(row, 1)?);
            Ok(())
        })?;
        each(db, "SELECT DISTINCT kind, id FROM pins", |row| {
            let kind: i64 = row.get(0)?;
            let what = match kind {
                kind if kind == Pinned::Layer as i64 => layer(row, 1)?,
                kind if kind == Pinned::Blob as i64 => What::Blob(row.get(1)?),
                _ => What::Record(row.get(1)?),
            };
            if let Some(&number) = self.numbers.get(&what) {
                self.nodes[number].pinned = true;
            }
            Ok(())
        })
    }

    fn add(&mut self, what: What, bytes: u64, last_used: i64) -> &mut Node {
        let number = self.nodes.len();
        self.numbers.insert(what.clone(), number);
        self.nodes.push(Node {
            what,
            bytes,
            created: last_used,
            last_used,
            uses: 0,
            description: String::new(),
            kind: UsageType::Regular,
            pinned: false,
            built: None,
            holders: 0,
            holds: Vec::new(),
        });
        &mut self.nodes[number]
    }

    fn hold(&mut self, holder: &What, held: &What) {
        if let (Some(&holder), Some(&held)) = (self.numbers.get(holder), self.numbers.get(held)) {
            self.nodes[holder].holds.push(held);
            self.nodes[held].holders += 1;
        }
    }

    /// What there is of it.
    pub(crate) fn get(&self, what: &What) -> Option<&Node> {
        self.numbers.get(what).map(|&number| &self.nodes[number])
    }

    /// Everything together, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.nodes.iter().map(|node| node.bytes).sum()
    }

    /// Whether nothing holds a node.
    pub(crate) fn is_free(&self, number: usize) -> bool {
        self.nodes[number].holders == 0
    }

    /// For every node, whether one of those that `from` picks leads to it, or is it.
    pub(crate) fn reached(&self, from: impl Fn(&Node) -> bool) -> Vec<bool> {
        let mut reached = vec![false; self.nodes.len()];
        let mut next: Vec<usize> =
            (0..self.nodes.len()).filter(|&number| from(&self.nodes[number])).collect();
        while let Some(number) = next.pop() {
            if !std::mem::replace(&mut reached[number], true) {
                next.extend(&self.nodes[number].holds);
            }
        }
        reached
    }

    /// Takes the store apart: always the least recently used of what nothing holds, if `may` says that it can go.
    pub(crate) fn removals<F: Fn(usize) -> bool>(&self, may: F) -> Removals<'_, F> {
        let holders = self.nodes.iter().map(|node| node.holders).collect();
        let free = (0..self.nodes.len()).filter(|&number| self.is_free(number) && may(number));
        let free = free.map(|number| Reverse((self.nodes[number].last_used, number))).collect();
        Removals { graph: self, holders, free, may }
    }
}

/// See [`Graph::removals`].
pub(crate) struct Removals<'a, F> {
    graph: &'a Graph,
    holders: Vec<usize>,
    free: BinaryHeap<Reverse<(i64, usize)>>,
    may: F,
}

/// What goes at once.
#[derive(Debug)]
pub(crate) struct Removal {
    pub(crate) number: usize,
    /// Blobs and members that nothing else holds any more.
    pub(crate) parts: Vec<usize>,
    /// Space on disk of all that.
    pub(crate) bytes: u64,
}

impl<F: Fn(usize) -> bool> Iterator for Removals<'_, F> {
    type Item = Removal;

    fn next(&mut self) -> Option<Removal> {
        let Reverse((_, number)) = self.free.pop()?;
        let nodes = &self.graph.nodes;
        let mut removal = Removal { number, parts: Vec::new(), bytes: nodes[number].bytes };
        for &held in &nodes[number].holds {
            self.holders[held] -= 1;
            if self.holders[held] > 0 || !(self.may)(held) {
                continue;
            }
            if nodes[held].what.is_part() {
                removal.parts.push(held);
                removal.bytes += nodes[held].bytes;
            } else {
                self.free.push(Reverse((nodes[held].last_used, held)));
            }
        }
        Some(removal)
    }
}

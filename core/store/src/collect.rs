//! Collection: what nothing holds any more is removed, the least recently used first.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, Row, Transaction};

use crate::error::TxError;
use crate::layers::member_keys;
use crate::leases::{Pinned, sweep};
use crate::store::{Inner, from_db, now};
use crate::sweep::{
    Horizon, disk_bytes, drop_dead_pins, each, measure_trees, sweep_files, sweep_members, sweep_stat_caches,
    walk_members,
};
use crate::{Key, LayerId, Store, StoreError};

/// What collection may remove. What a lease or a built image holds stays whatever the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policy {
    /// Stop once the store takes no more than this many bytes.
    pub keep_bytes: Option<u64>,
    /// Remove only what has not been used for this long.
    pub unused_for: Option<Duration>,
}

/// What a collection has removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Collected {
    /// Layers, with their indexes and trees.
    pub layers: u64,
    /// Records of results without a layer. Those with one go with it and are not counted.
    pub records: u64,
    /// Pulled images.
    pub images: u64,
    /// Blobs.
    pub blobs: u64,
    /// Members.
    pub members: u64,
    /// Space freed, in bytes.
    pub bytes: u64,
}

/// What the store takes on disk, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Blobs.
    pub blobs: u64,
    /// Members.
    pub members: u64,
    /// Layer indexes and trees.
    pub layers: u64,
    /// Of all this, what a collection without limits would leave, since leases or built images hold it.
    pub held: u64,
}

impl Usage {
    /// Everything together.
    pub fn total(&self) -> u64 {
        self.blobs.saturating_add(self.members).saturating_add(self.layers)
    }
}

/// How many things are removed in one transaction, for which other processes wait.
const BATCH: usize = 128;

impl Store {
    /// What the store takes on disk.
    pub fn usage(&self) -> Result<Usage, StoreError> {
        let live = sweep(&self.inner)?;
        let graph = Graph::read(&self.inner, &Horizon::of(&live))?;
        let mut usage = graph.usage();
        let total = usage.total();
        let removable = graph.plan(Policy::default()).into_iter().map(|number| graph.nodes[number].bytes);
        usage.held = total.saturating_sub(removable.sum());
        Ok(usage)
    }

    /// Removes what the policy allows, and whatever processes that were killed have left.
    pub fn collect(&self, policy: Policy) -> Result<Collected, StoreError> {
        let inner = &self.inner;
        let live = sweep(inner)?;
        let horizon = Horizon::of(&live);
        inner.write(|tx| drop_dead_pins(tx, inner))?;
        let graph = Graph::read(inner, &horizon)?;
        let plan: Vec<&Node> = graph.plan(policy).into_iter().map(|number| &graph.nodes[number]).collect();
        let mut collected = Collected::default();
        for batch in plan.chunks(BATCH) {
            inner.write(|tx| batch.iter().try_for_each(|node| delete(tx, node, &mut collected)))?;
        }
        // The records are gone, so nobody finds these any more.
        sweep_files(inner, "blobs/sha256", "blobs", "digest = ?1")?;
        sweep_files(inner, "trees", "layers", "id = ?1 AND has_tree")?;
        sweep_files(inner, "layers", "layers", "id = ?1")?;
        sweep_files(inner, "caches", "caches", "id = ?1")?;
        let members = plan.iter().filter_map(|node| match node.what {
            What::Member(key) => Some(key),
            _ => None,
        });
        sweep_members(inner, &members.collect::<Vec<_>>(), &horizon, &mut collected)?;
        sweep_stat_caches(inner)?;
        // Waits for nobody: with readers or writers about, the log is written back as far as it can be.
        inner.read(|db| Ok(db.query_row("PRAGMA wal_checkpoint(PASSIVE)", (), |_| Ok(()))?))?;
        Ok(collected)
    }
}

/// Something that is removed as a whole. Records of results with a layer go with the layer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum What {
    Image(String),
    Record([u8; 32]),
    Layer([u8; 16]),
    Blob([u8; 32]),
    Member(Key),
}

#[derive(Debug)]
struct Node {
    what: What,
    bytes: u64,
    last_used: i64,
    /// How many nodes hold this one, and pins and other reasons to keep it.
    holders: usize,
    /// Positions of the nodes that this one holds.
    holds: Vec<usize>,
}

/// Everything in the store and what holds it, as it was at one moment. What has changed since is found out when a
/// thing is removed.
#[derive(Debug, Default)]
struct Graph {
    nodes: Vec<Node>,
    numbers: HashMap<What, usize>,
}

impl Graph {
    fn read(store: &Inner, horizon: &Horizon) -> Result<Self, StoreError> {
        measure_trees(store)?;
        let mut graph = Self::default();
        walk_members(store, |key, _, metadata| {
            let modified = metadata.modified()?;
            let used = modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let used = i64::try_from(used.as_nanos()).unwrap_or(i64::MAX);
            let number = graph.add(What::Member(key), disk_bytes(metadata), used);
            // Somebody may be about to put it on a layer's list.
            graph.nodes[number].holders += usize::from(!horizon.passed(modified));
            Ok(())
        })?;
        store.read(|db| {
            // One snapshot for all of it.
            let snapshot = db.unchecked_transaction()?;
            graph.read_nodes(&snapshot)?;
            graph.read_holders(&snapshot)
        })?;
        for node in &mut graph.nodes {
            if let What::Layer(id) = node.what {
                let index = std::fs::metadata(store.index_path(&LayerId::from_bytes(id)));
                node.bytes += index.map_or(0, |index| disk_bytes(&index));
            }
        }
        Ok(graph)
    }

    fn read_nodes(&mut self, db: &Connection) -> Result<(), TxError> {
        each(db, "SELECT name, last_used, built FROM images", |row| {
            let number = self.add(What::Image(row.get(0)?), 0, row.get(1)?);
            self.nodes[number].holders += usize::from(row.get::<_, bool>(2)?);
            Ok(())
        })?;
        each(db, "SELECT key, last_used FROM records WHERE layer IS NULL", |row| {
            self.add(What::Record(row.get(0)?), 0, row.get(1)?);
            Ok(())
        })?;
        each(db, "SELECT id, last_used, coalesce(tree_bytes, 0) FROM layers", |row| {
            self.add(What::Layer(row.get(0)?), from_db(row.get(2)?), row.get(1)?);
            Ok(())
        })?;
        each(db, "SELECT digest, last_used, size FROM blobs", |row| {
            self.add(What::Blob(row.get(0)?), from_db(row.get(2)?), row.get(1)?);
            Ok(())
        })
    }

    fn read_holders(&mut self, db: &Connection) -> Result<(), TxError> {
        each(db, "SELECT id, parent FROM layers WHERE parent IS NOT NULL", |row| {
            self.hold(&What::Layer(row.get(0)?), &What::Layer(row.get(1)?));
            Ok(())
        })?;
        each(db, "SELECT layer, digest FROM layer_blobs", |row| {
            self.hold(&What::Layer(row.get(0)?), &What::Blob(row.get(1)?));
            Ok(())
        })?;
        each(db, "SELECT layer, keys FROM layer_members", |row| {
            let layer = What::Layer(row.get(0)?);
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
            self.hold(&What::Image(row.get(0)?), &What::Layer(row.get(1)?));
            Ok(())
        })?;
        for (kind, what) in [
            (Pinned::Layer, (|row| Ok(What::Layer(row.get(0)?))) as fn(&Row<'_>) -> rusqlite::Result<What>),
            (Pinned::Blob, |row| Ok(What::Blob(row.get(0)?))),
            (Pinned::Record, |row| Ok(What::Record(row.get(0)?))),
        ] {
            each(db, &format!("SELECT id FROM pins WHERE kind = {}", kind as i64), |row| {
                if let Some(&number) = self.numbers.get(&what(row)?) {
                    self.nodes[number].holders += 1;
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    fn add(&mut self, what: What, bytes: u64, last_used: i64) -> usize {
        let number = self.nodes.len();
        self.numbers.insert(what.clone(), number);
        self.nodes.push(Node { what, bytes, last_used, holders: 0, holds: Vec::new() });
        number
    }

    fn hold(&mut self, holder: &What, held: &What) {
        if let (Some(&holder), Some(&held)) = (self.numbers.get(holder), self.numbers.get(held)) {
            self.nodes[holder].holds.push(held);
            self.nodes[held].holders += 1;
        }
    }

    fn usage(&self) -> Usage {
        let mut usage = Usage::default();
        for node in &self.nodes {
            match node.what {
                What::Blob(_) => usage.blobs += node.bytes,
                What::Member(_) => usage.members += node.bytes,
                What::Layer(_) => usage.layers += node.bytes,
                What::Image(_) | What::Record(_) => {}
            }
        }
        usage
    }

    /// Chooses what to remove: always the least recently used of what nothing holds, until the policy is content.
    fn plan(&self, policy: Policy) -> Vec<usize> {
        let newest = policy
            .unused_for
            .map(|age| now().saturating_sub(i64::try_from(age.as_nanos()).unwrap_or(i64::MAX)));
        let mut holders: Vec<usize> = self.nodes.iter().map(|node| node.holders).collect();
        let free = (0..self.nodes.len()).filter(|number| holders[*number] == 0);
        let free = free.map(|number| Reverse((self.nodes[number].last_used, number)));
        let mut free: BinaryHeap<_> = free.collect();
        let mut left = self.usage().total();
        let mut plan = Vec::new();
        while let Some(Reverse((last_used, number))) = free.pop() {
            let enough = policy.keep_bytes.is_some_and(|keep| left <= keep);
            if enough || newest.is_some_and(|newest| last_used > newest) {
                break;
            }
            plan.push(number);
            left = left.saturating_sub(self.nodes[number].bytes);
            for &held in &self.nodes[number].holds {
                holders[held] -= 1;
                if holders[held] == 0 {
                    free.push(Reverse((self.nodes[held].last_used, held)));
                }
            }
        }
        plan
    }
}

/// Removes a thing's record, unless something holds it by now. Members have none.
fn delete(tx: &Transaction<'_>, node: &Node, collected: &mut Collected) -> Result<(), TxError> {
    let deleted = match &node.what {
        What::Image(name) => {
            let mut statement =
                tx.prepare_cached("DELETE FROM images WHERE name = ?1 AND NOT built AND last_used = ?2")?;
            let deleted = statement.execute((name, node.last_used))? as u64;
            collected.images += deleted;
            deleted
        }
        What::Record(key) => {
            let mut statement = tx.prepare_cached(
                "DELETE FROM records WHERE key = ?1 AND layer IS NULL
                 AND NOT EXISTS (SELECT 1 FROM pins WHERE kind = 2 AND id = ?1)",
            )?;
            let deleted = statement.execute([key])? as u64;
            collected.records += deleted;
            deleted
        }
        What::Layer(id) => {
            let mut statement = tx.prepare_cached(
                "DELETE FROM layers WHERE id = ?1
                 AND NOT EXISTS (SELECT 1 FROM pins WHERE kind = 0 AND id = ?1)
                 AND NOT EXISTS (SELECT 1 FROM layers WHERE parent = ?1)
                 AND NOT EXISTS (SELECT 1 FROM image_layers WHERE layer = ?1)",
            )?;
            let deleted = statement.execute([id])? as u64;
            collected.layers += deleted;
            deleted
        }
        What::Blob(digest) => {
            let mut statement = tx.prepare_cached(
                "DELETE FROM blobs WHERE digest = ?1
                 AND NOT EXISTS (SELECT 1 FROM pins WHERE kind = 1 AND id = ?1)
                 AND NOT EXISTS (SELECT 1 FROM layer_blobs WHERE digest = ?1)
                 AND NOT EXISTS (SELECT 1 FROM image_blobs WHERE digest = ?1)",
            )?;
            let deleted = statement.execute([digest])? as u64;
            collected.blobs += deleted;
            deleted
        }
        What::Member(_) => 0,
    };
    collected.bytes += deleted * node.bytes;
    Ok(())
}

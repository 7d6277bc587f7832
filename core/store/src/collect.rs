//! Collection: what nothing holds any more is removed, the least recently used first.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, Transaction};

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
        let graph = Graph::read(&self.inner)?;
        let mut usage = graph.usage();
        let total = usage.total();
        let removable = graph.plan(Policy::default(), &Horizon::of(&live)).freed;
        usage.held = total.saturating_sub(removable);
        Ok(usage)
    }

    /// Removes what the policy allows, and whatever processes that were killed have left.
    pub fn collect(&self, policy: Policy) -> Result<Collected, StoreError> {
        let inner = &self.inner;
        let live = sweep(inner)?;
        let horizon = Horizon::of(&live);
        inner.write(|tx| drop_dead_pins(tx, inner))?;
        let graph = Graph::read(inner)?;
        let plan = graph.plan(policy, &horizon);
        let mut collected = Collected::default();
        for batch in plan.nodes.chunks(BATCH) {
            inner.write(|tx| {
                for node in batch {
                    graph.delete(tx, *node, &mut collected)?;
                }
                Ok(())
            })?;
        }
        // The records are gone, so nobody finds these any more.
        sweep_files(inner, "blobs/sha256", "blobs", "digest = ?1")?;
        sweep_files(inner, "trees", "layers", "id = ?1 AND has_tree")?;
        sweep_files(inner, "layers", "layers", "id = ?1")?;
        sweep_members(inner, &horizon, &mut collected)?;
        sweep_stat_caches(inner)?;
        // Waits for nobody: with readers or writers about, the log is written back as far as it can be.
        inner.read(|db| Ok(db.query_row("PRAGMA wal_checkpoint(PASSIVE)", (), |_| Ok(()))?))?;
        Ok(collected)
    }
}

/// Something that is removed as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Node {
    Image(usize),
    Record(usize),
    Layer(usize),
    Blob(usize),
}

#[derive(Debug, Default)]
struct LayerNode {
    id: [u8; 16],
    parent: Option<[u8; 16]>,
    last_used: i64,
    bytes: u64,
    blobs: Vec<[u8; 32]>,
    members: Vec<Key>,
    holders: usize,
}

#[derive(Debug)]
struct BlobNode {
    digest: [u8; 32],
    last_used: i64,
    bytes: u64,
    holders: usize,
}

#[derive(Debug)]
struct ImageNode {
    name: String,
    built: bool,
    last_used: i64,
    blobs: Vec<[u8; 32]>,
    layers: Vec<[u8; 16]>,
}

#[derive(Debug)]
struct RecordNode {
    key: [u8; 32],
    last_used: i64,
}

#[derive(Debug)]
struct MemberNode {
    bytes: u64,
    modified: SystemTime,
    holders: usize,
}

/// Everything in the store and what holds it, as it was at one moment. What has changed since is found out when a
/// thing is removed.
#[derive(Debug, Default)]
struct Graph {
    layers: Vec<LayerNode>,
    layer_numbers: HashMap<[u8; 16], usize>,
    blobs: Vec<BlobNode>,
    blob_numbers: HashMap<[u8; 32], usize>,
    images: Vec<ImageNode>,
    records: Vec<RecordNode>,
    members: HashMap<Key, MemberNode>,
}

/// What to remove, in order, and how much that frees.
struct Plan {
    nodes: Vec<Node>,
    freed: u64,
}

impl Graph {
    fn read(store: &Inner) -> Result<Self, StoreError> {
        measure_trees(store)?;
        let mut graph = store.read(Self::read_records)?;
        for layer in &mut graph.layers {
            let index = std::fs::metadata(store.index_path(&LayerId::from_bytes(layer.id)));
            layer.bytes += index.map_or(0, |index| disk_bytes(&index));
        }
        walk_members(store, |key, _, metadata| {
            let modified = metadata.modified()?;
            graph.members.insert(key, MemberNode { bytes: disk_bytes(metadata), modified, holders: 0 });
            Ok(())
        })?;
        for layer in &graph.layers {
            for key in &layer.members {
                if let Some(member) = graph.members.get_mut(key) {
                    member.holders += 1;
                }
            }
        }
        Ok(graph)
    }

    fn read_records(db: &Connection) -> Result<Self, TxError> {
        // One snapshot for all of it.
        let db = db.unchecked_transaction()?;
        let mut graph = Self::default();
        each(&db, "SELECT id, parent, last_used, coalesce(tree_bytes, 0) FROM layers", |row| {
            let (id, parent, last_used) = (row.get(0)?, row.get(1)?, row.get(2)?);
            graph.layer_numbers.insert(id, graph.layers.len());
            let bytes = from_db(row.get(3)?);
            graph.layers.push(LayerNode { id, parent, last_used, bytes, ..LayerNode::default() });
            Ok(())
        })?;
        each(&db, "SELECT digest, last_used, size FROM blobs", |row| {
            let (digest, last_used, bytes) = (row.get(0)?, row.get(1)?, from_db(row.get(2)?));
            graph.blob_numbers.insert(digest, graph.blobs.len());
            graph.blobs.push(BlobNode { digest, last_used, bytes, holders: 0 });
            Ok(())
        })?;
        each(&db, "SELECT layer, digest FROM layer_blobs", |row| {
            if let Some(&layer) = graph.layer_numbers.get(&row.get::<_, [u8; 16]>(0)?) {
                graph.layers[layer].blobs.push(row.get(1)?);
            }
            Ok(())
        })?;
        each(&db, "SELECT layer, keys FROM layer_members", |row| {
            if let Some(&layer) = graph.layer_numbers.get(&row.get::<_, [u8; 16]>(0)?) {
                graph.layers[layer].members.extend(member_keys(&row.get::<_, Vec<u8>>(1)?));
            }
            Ok(())
        })?;
        each(&db, "SELECT name, built, last_used FROM images", |row| {
            let (name, built, last_used) = (row.get(0)?, row.get(1)?, row.get(2)?);
            graph.images.push(ImageNode { name, built, last_used, blobs: Vec::new(), layers: Vec::new() });
            Ok(())
        })?;
        let images: HashMap<String, usize> =
            graph.images.iter().enumerate().map(|(number, image)| (image.name.clone(), number)).collect();
        each(&db, "SELECT name, digest FROM image_blobs", |row| {
            if let Some(&image) = images.get(&row.get::<_, String>(0)?) {
                graph.images[image].blobs.push(row.get(1)?);
            }
            Ok(())
        })?;
        each(&db, "SELECT name, layer FROM image_layers", |row| {
            if let Some(&image) = images.get(&row.get::<_, String>(0)?) {
                graph.images[image].layers.push(row.get(1)?);
            }
            Ok(())
        })?;
        each(&db, "SELECT key, last_used FROM records WHERE layer IS NULL", |row| {
            graph.records.push(RecordNode { key: row.get(0)?, last_used: row.get(1)? });
            Ok(())
        })?;
        graph.count_holders();
        let mut pinned_records = HashSet::new();
        each(&db, "SELECT kind, id FROM pins", |row| {
            let (kind, id): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
            if kind == Pinned::Layer as i64 {
                graph.hold_layer(id.try_into().unwrap_or_default());
            } else if kind == Pinned::Blob as i64 {
                graph.hold_blob(id.try_into().unwrap_or_default());
            } else if let Ok(key) = <[u8; 32]>::try_from(id) {
                pinned_records.insert(key);
            }
            Ok(())
        })?;
        graph.records.retain(|record| !pinned_records.contains(&record.key));
        Ok(graph)
    }

    fn count_holders(&mut self) {
        for layer in 0..self.layers.len() {
            if let Some(parent) = self.layers[layer].parent {
                self.hold_layer(parent);
            }
            for blob in self.layers[layer].blobs.clone() {
                self.hold_blob(blob);
            }
        }
        for image in 0..self.images.len() {
            for layer in self.images[image].layers.clone() {
                self.hold_layer(layer);
            }
            for blob in self.images[image].blobs.clone() {
                self.hold_blob(blob);
            }
        }
    }

    fn hold_layer(&mut self, id: [u8; 16]) {
        if let Some(&number) = self.layer_numbers.get(&id) {
            self.layers[number].holders += 1;
        }
    }

    fn hold_blob(&mut self, digest: [u8; 32]) {
        if let Some(&number) = self.blob_numbers.get(&digest) {
            self.blobs[number].holders += 1;
        }
    }

    fn usage(&self) -> Usage {
        Usage {
            blobs: self.blobs.iter().map(|blob| blob.bytes).sum(),
            members: self.members.values().map(|member| member.bytes).sum(),
            layers: self.layers.iter().map(|layer| layer.bytes).sum(),
            held: 0,
        }
    }

    /// Chooses what to remove: always the least recently used of what nothing holds, until the policy is content.
    fn plan(&self, policy: Policy, horizon: &Horizon) -> Plan {
        let newest = policy
            .unused_for
            .map(|age| now().saturating_sub(i64::try_from(age.as_nanos()).unwrap_or(i64::MAX)));
        let mut layer_holders: Vec<usize> = self.layers.iter().map(|layer| layer.holders).collect();
        let mut blob_holders: Vec<usize> = self.blobs.iter().map(|blob| blob.holders).collect();
        let mut member_holders: HashMap<Key, usize> = HashMap::new();
        // A layer was used when one above it was.
        let mut used: Vec<i64> = self.layers.iter().map(|layer| layer.last_used).collect();
        let mut free = BinaryHeap::new();
        let images = self.images.iter().enumerate().filter(|(_, image)| !image.built);
        free.extend(images.map(|(number, image)| Reverse((image.last_used, Node::Image(number)))));
        let records = self.records.iter().enumerate();
        free.extend(records.map(|(number, record)| Reverse((record.last_used, Node::Record(number)))));
        let layers = self.layers.iter().enumerate().filter(|(_, layer)| layer.holders == 0);
        free.extend(layers.map(|(number, layer)| Reverse((layer.last_used, Node::Layer(number)))));
        let blobs = self.blobs.iter().enumerate().filter(|(_, blob)| blob.holders == 0);
        free.extend(blobs.map(|(number, blob)| Reverse((blob.last_used, Node::Blob(number)))));

        // Members that no layer lists are swept in any case.
        let unlisted = self.members.values().filter(|member| member.holders == 0);
        let unlisted = unlisted.filter(|member| horizon.passed(member.modified)).map(|member| member.bytes);
        let mut plan = Plan { nodes: Vec::new(), freed: unlisted.sum() };
        let total = self.usage().total();
        while let Some(Reverse((last_used, node))) = free.pop() {
            let enough = policy.keep_bytes.is_some_and(|keep| total.saturating_sub(plan.freed) <= keep);
            if enough || newest.is_some_and(|newest| last_used > newest) {
                break;
            }
            plan.nodes.push(node);
            let (layers, blobs): (&[[u8; 16]], &[[u8; 32]]) = match node {
                Node::Image(number) => (&self.images[number].layers, &self.images[number].blobs),
                Node::Layer(number) => (self.layers[number].parent.as_slice(), &self.layers[number].blobs),
                Node::Record(_) | Node::Blob(_) => (&[], &[]),
            };
            for number in layers.iter().filter_map(|id| self.layer_numbers.get(id)).copied() {
                used[number] = used[number].max(last_used);
                layer_holders[number] -= 1;
                if layer_holders[number] == 0 {
                    free.push(Reverse((used[number], Node::Layer(number))));
                }
            }
            for number in blobs.iter().filter_map(|digest| self.blob_numbers.get(digest)).copied() {
                blob_holders[number] -= 1;
                if blob_holders[number] == 0 {
                    free.push(Reverse((self.blobs[number].last_used, Node::Blob(number))));
                }
            }
            plan.freed += match node {
                Node::Blob(number) => self.blobs[number].bytes,
                Node::Record(_) | Node::Image(_) => 0,
                Node::Layer(number) => {
                    let mut bytes = self.layers[number].bytes;
                    for key in &self.layers[number].members {
                        let Some(member) = self.members.get(key) else { continue };
                        let holders = member_holders.entry(*key).or_insert(member.holders);
                        *holders -= 1;
                        if *holders == 0 && horizon.passed(member.modified) {
                            bytes += member.bytes;
                        }
                    }
                    bytes
                }
            };
        }
        plan
    }

    /// Removes a thing's records, unless something holds it by now.
    fn delete(&self, tx: &Transaction<'_>, node: Node, collected: &mut Collected) -> Result<(), TxError> {
        match node {
            Node::Image(number) => {
                let image = &self.images[number];
                let mut statement =
                    tx.prepare_cached("DELETE FROM images WHERE name = ?1 AND NOT built AND last_used = ?2")?;
                collected.images += statement.execute((&image.name, image.last_used))? as u64;
            }
            Node::Record(number) => {
                let mut statement = tx.prepare_cached(
                    "DELETE FROM records WHERE key = ?1 AND layer IS NULL
                     AND NOT EXISTS (SELECT 1 FROM pins WHERE kind = 2 AND id = ?1)",
                )?;
                collected.records += statement.execute([self.records[number].key])? as u64;
            }
            Node::Layer(number) => {
                let mut statement = tx.prepare_cached(
                    "DELETE FROM layers WHERE id = ?1
                     AND NOT EXISTS (SELECT 1 FROM pins WHERE kind = 0 AND id = ?1)
                     AND NOT EXISTS (SELECT 1 FROM layers WHERE parent = ?1)
                     AND NOT EXISTS (SELECT 1 FROM image_layers WHERE layer = ?1)",
                )?;
                let deleted = statement.execute([self.layers[number].id])? as u64;
                collected.layers += deleted;
                collected.bytes += deleted * self.layers[number].bytes;
            }
            Node::Blob(number) => {
                let mut statement = tx.prepare_cached(
                    "DELETE FROM blobs WHERE digest = ?1
                     AND NOT EXISTS (SELECT 1 FROM pins WHERE kind = 1 AND id = ?1)
                     AND NOT EXISTS (SELECT 1 FROM layer_blobs WHERE digest = ?1)
                     AND NOT EXISTS (SELECT 1 FROM image_blobs WHERE digest = ?1)",
                )?;
                let deleted = statement.execute([self.blobs[number].digest])? as u64;
                collected.blobs += deleted;
                collected.bytes += deleted * self.blobs[number].bytes;
            }
        }
        Ok(())
    }
}

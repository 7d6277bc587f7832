//! Collection: what nothing holds any more is removed, the least recently used first.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use rusqlite::Transaction;

use crate::disk::{keep_reserve, use_reserve};
use crate::error::TxError;
use crate::graph::{Graph, Node, Removal, What};
use crate::leases::sweep;
use crate::store::now;
use crate::sweep::{
    Horizon, drop_dead_pins, nanoseconds, sweep_blobs, sweep_files, sweep_members, sweep_stat_caches,
};
use crate::usage::{LEFTOVERS, Listing, UsageRecord, UsageType, internal};
use crate::{Key, Store, StoreError, caches};

/// What collection may remove, in `BuildKit`'s terms. What a lease or a running step holds stays whatever the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policy {
    /// Remove also what the store keeps for itself, and what built images hold.
    pub all: bool,
    /// Which built images go, if `all` is set.
    pub built_images: BuiltImages,
    /// Remove only what has not been used for this long.
    pub unused_for: Option<Duration>,
    /// Stop once what can be collected takes no more than this many bytes, whatever the other limits. 0 is no limit.
    pub reserved_space: u64,
    /// Stop once what can be collected takes no more than this many bytes. 0 is no limit.
    pub max_used_space: u64,
    /// Stop once this many bytes of the disk are free. 0 is no limit.
    pub min_free_space: u64,
}

impl Policy {
    /// Bytes to stop at, if there is a limit, for a store of `total` bytes on a disk with `free` bytes.
    fn keep(&self, total: u64, free: u64) -> Option<u64> {
        let Self { reserved_space, max_used_space, min_free_space, .. } = *self;
        if (reserved_space, max_used_space, min_free_space) == (0, 0, 0) {
            return None;
        }
        let most = Some(max_used_space).filter(|most| *most > 0);
        let missing = min_free_space.saturating_sub(free);
        let keep = match most {
            Some(most) if missing == 0 => most,
            Some(most) => most.min(total.saturating_sub(missing)),
            // With enough free, nothing is too much.
            None if min_free_space > 0 => total.saturating_sub(missing),
            None => 0,
        };
        Some(keep.max(reserved_space))
    }
}

/// Which built images collection removes. Pulled ones are like anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BuiltImages {
    /// They stay, with all that they hold.
    #[default]
    Keep,
    /// Those go that are elsewhere, too: see [`Store::set_elsewhere`].
    Copies,
    /// All go.
    Remove,
}

/// What a collection has removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Collected {
    /// Layers, with their indexes and trees.
    pub layers: u64,
    /// Records of results without a layer. Those with one go with it and are not counted.
    pub records: u64,
    /// Images.
    pub images: u64,
    /// Blobs.
    pub blobs: u64,
    /// Members.
    pub members: u64,
    /// Directories that steps mount.
    pub caches: u64,
    /// Stat caches.
    pub stat_caches: u64,
    /// Space freed, in bytes.
    pub bytes: u64,
}

impl std::ops::AddAssign for Collected {
    fn add_assign(&mut self, other: Self) {
        self.layers += other.layers;
        self.records += other.records;
        self.images += other.images;
        self.blobs += other.blobs;
        self.members += other.members;
        self.caches += other.caches;
        self.stat_caches += other.stat_caches;
        self.bytes += other.bytes;
    }
}

/// How many things are removed in one transaction, for which other processes wait.
const BATCH: usize = 32;
/// Pages of the database that are given back at once.
const VACUUM: u32 = 4096;

impl Store {
    /// Removes what the policy allows, and whatever processes that were killed have left.
    pub fn collect(&self, policy: &Policy) -> Result<Collected, StoreError> {
        self.prune(policy, &|_| true, &mut |_| {})
    }

    /// Removes what the policy allows and `wanted` picks, and whatever processes that were killed have left. `removed`
    /// is told of every record when it is gone, with the space that this has freed.
    pub fn prune(
        &self,
        policy: &Policy,
        wanted: &dyn Fn(&UsageRecord) -> bool,
        removed: &mut dyn FnMut(UsageRecord),
    ) -> Result<Collected, StoreError> {
        let inner = &self.inner;
        use_reserve(&inner.v1);
        let live = sweep(inner)?;
        let horizon = Horizon::of(&live);
        inner.write(|tx| drop_dead_pins(tx, inner))?;
        let graph = Graph::read(self, &horizon)?;
        let listing = Listing::of(&graph);
        let plan = self.plan(&graph, &listing, policy, wanted)?;
        let mut collected = Collected::default();
        let mut pieces: Option<UsageRecord> = None;
        for batch in plan.chunks(BATCH) {
            for (number, bytes) in self.remove(&graph, batch, &horizon, &mut collected)? {
                let record = UsageRecord { size: bytes, ..listing.record(number) };
                match graph.nodes[number].what {
                    What::Record(_) => {}
                    // They are many, and small.
                    What::Member(_) => match &mut pieces {
                        Some(pieces) => pieces.size += bytes,
                        None => pieces = Some(record),
                    },
                    _ => removed(record),
                }
            }
        }
        pieces.into_iter().for_each(&mut *removed);
        let left = self.sweep(&mut collected)?;
        if left > 0 {
            removed(internal(LEFTOVERS, left, false, now()));
        }
        keep_reserve(&inner.v1);
        Ok(collected)
    }

    /// Chooses what to remove, until the policy is content.
    fn plan(
        &self,
        graph: &Graph,
        listing: &Listing<'_>,
        policy: &Policy,
        wanted: &dyn Fn(&UsageRecord) -> bool,
    ) -> Result<Vec<Removal>, StoreError> {
        let newest = policy
            .unused_for
            .map(|age| now().saturating_sub(i64::try_from(age.as_nanos()).unwrap_or(i64::MAX)));
        let may = |number: usize| {
            let node = &graph.nodes[number];
            if node.pinned {
                return false;
            }
            if node.what.is_part() && !graph.is_free(number) {
                // It goes with what held it.
                return true;
            }
            let kept = match (node.built, policy.built_images) {
                (None, _) | (Some(_), BuiltImages::Remove) => false,
                (Some(elsewhere), BuiltImages::Copies) => !elsewhere,
                (Some(_), BuiltImages::Keep) => true,
            };
            if kept || newest.is_some_and(|newest| node.last_used > newest) {
                return false;
            }
            let record = listing.record(number);
            (policy.all || record.kind != UsageType::Internal && !record.shared) && wanted(&record)
        };
        let mut left = graph.bytes();
        let free = if policy.min_free_space > 0 { self.disk_space()?.free } else { u64::MAX };
        let keep = policy.keep(left, free);
        let mut plan = Vec::new();
        let mut removals = graph.removals(may);
        while keep.is_none_or(|keep| left > keep) {
            let Some(removal) = removals.next() else { break };
            left = left.saturating_sub(removal.bytes);
            plan.push(removal);
        }
        Ok(plan)
    }

    /// Removes what nothing holds by now either. Answers what went, and the space that this has freed.
    fn remove(
        &self,
        graph: &Graph,
        batch: &[Removal],
        horizon: &Horizon,
        collected: &mut Collected,
    ) -> Result<Vec<(usize, u64)>, StoreError> {
        let inner = &self.inner;
        let mut gone = vec![false; batch.len()];
        let mut blobs: HashMap<[u8; 32], usize> = HashMap::new();
        inner.write(|tx| {
            for (at, removal) in batch.iter().enumerate() {
                gone[at] = delete(tx, self, &graph.nodes[removal.number])?;
                for &number in std::iter::once(&removal.number).chain(&removal.parts) {
                    if let What::Blob(digest) = graph.nodes[number].what
                        && delete_blob(tx, &digest)?
                    {
                        gone[at] |= number == removal.number;
                        blobs.insert(digest, at);
                    }
                }
            }
            Ok(())
        })?;

        // The records are gone, so nobody finds these any more.
        let mut freed = vec![0; batch.len()];
        let mut members: HashMap<Key, usize> = HashMap::new();
        for (at, removal) in batch.iter().enumerate() {
            let node = &graph.nodes[removal.number];
            for &number in std::iter::once(&removal.number).chain(&removal.parts) {
                if let What::Member(key) = graph.nodes[number].what {
                    members.insert(key, at);
                }
            }
            if !gone[at] {
                continue;
            }
            match &node.what {
                What::Layer(id) => {
                    inner.remove(&inner.tree_path(id));
                    inner.remove(&inner.index_path(id));
                    collected.layers += 1;
                }
                What::Cache(id) => {
                    inner.remove(&inner.cache_path(id));
                    collected.caches += 1;
                }
                What::Image(_) => collected.images += 1,
                What::Record(_) => collected.records += 1,
                What::StatCache(name) => {
                    inner.remove(&inner.v1.join("stat").join(name));
                    collected.stat_caches += 1;
                }
                What::Blob(_) | What::Member(_) => continue,
            }
            freed[at] += node.bytes;
        }
        for (digest, bytes) in sweep_blobs(inner, blobs.keys())? {
            freed[blobs[&digest]] += bytes;
            collected.blobs += 1;
        }
        for (key, bytes) in sweep_members(inner, members.keys(), horizon)? {
            let at = members[&key];
            freed[at] += bytes;
            gone[at] |= matches!(graph.nodes[batch[at].number].what, What::Member(_));
            collected.members += 1;
        }
        collected.bytes += freed.iter().sum::<u64>();
        let removed = batch.iter().zip(&gone).zip(&freed).filter(|((_, gone), _)| **gone);
        Ok(removed.map(|((removal, _), freed)| (removal.number, *freed)).collect())
    }

    /// Removes what has no record, and gives unused space of the database back. Answers the bytes that had no record.
    fn sweep(&self, collected: &mut Collected) -> Result<u64, StoreError> {
        let inner = &self.inner;
        let left = sweep_files(inner, "blobs/sha256", "blobs", "digest = ?1")?
            + sweep_files(inner, "trees", "layers", "id = ?1 AND has_tree")?
            + sweep_files(inner, "layers", "layers", "id = ?1")?
            + sweep_files(inner, "caches", "caches", "id = ?1")?;
        collected.bytes += left;
        sweep_stat_caches(inner)?;
        inner.read(|db| {
            let mut statement = db.prepare(&format!("PRAGMA incremental_vacuum({VACUUM})"))?;
            let mut rows = statement.query(())?;
            while rows.next()?.is_some() {}
            // Waits for nobody: with readers or writers about, the log is written back as far as it can be.
            Ok(db.query_row("PRAGMA wal_checkpoint(PASSIVE)", (), |_| Ok(()))?)
        })?;
        Ok(left)
    }
}

/// Removes a thing's record, unless something holds it by now or has used it, and says whether it can go. Blobs and
/// members are looked at later.
fn delete(tx: &Transaction<'_>, store: &Store, node: &Node) -> Result<bool, TxError> {
    let deleted = match &node.what {
        What::Image(name) => tx
            .prepare_cached("DELETE FROM images WHERE name = ?1 AND built = ?2 AND last_used = ?3")?
            .execute((name, node.built.is_some(), node.last_used))?,
        What::Record(key) => tx
            .prepare_cached(
                "DELETE FROM records WHERE key = ?1 AND layer IS NULL
                 AND NOT EXISTS (SELECT 1 FROM pins WHERE kind = 2 AND id = ?1)",
            )?
            .execute([key])?,
        What::Layer(id) => tx
            .prepare_cached(
                "DELETE FROM layers WHERE id = ?1
                 AND NOT EXISTS (SELECT 1 FROM pins WHERE kind = 0 AND id = ?1)
                 AND NOT EXISTS (SELECT 1 FROM layers WHERE parent = ?1)
                 AND NOT EXISTS (SELECT 1 FROM image_layers WHERE layer = ?1)",
            )?
            .execute([id.as_bytes()])?,
        What::Cache(id) => return caches::delete(tx, &store.inner, id),
        What::StatCache(name) => {
            let found = std::fs::metadata(store.inner.v1.join("stat").join(name));
            let modified = found.and_then(|metadata| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
            return Ok(nanoseconds(modified) == node.last_used);
        }
        What::Blob(_) | What::Member(_) => 0,
    };
    Ok(deleted > 0)
}

fn delete_blob(tx: &Transaction<'_>, digest: &[u8; 32]) -> Result<bool, TxError> {
    let mut statement = tx.prepare_cached(
        "DELETE FROM blobs WHERE digest = ?1
         AND NOT EXISTS (SELECT 1 FROM pins WHERE kind = 1 AND id = ?1)
         AND NOT EXISTS (SELECT 1 FROM layer_blobs WHERE digest = ?1)
         AND NOT EXISTS (SELECT 1 FROM image_blobs WHERE digest = ?1)",
    )?;
    Ok(statement.execute([digest])? > 0)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::{BlobInfo, LayerId, LayerIndex, Lease, NewImage, NewLayer};

    #[test]
    fn limits_are_weighed_as_by_buildkit() {
        // Reserved, most, least free; total and free; what is kept.
        let table = [
            ((0, 0, 0), (100, 10), None),
            ((30, 0, 0), (100, 10), Some(30)),
            ((0, 60, 0), (100, 10), Some(60)),
            ((70, 60, 0), (100, 10), Some(70)),
            ((0, 0, 10), (100, 10), Some(100)),
            ((0, 0, 25), (100, 10), Some(85)),
            ((0, 60, 25), (100, 10), Some(60)),
            ((0, 60, 80), (100, 10), Some(30)),
            ((50, 60, 80), (100, 10), Some(50)),
            ((0, 60, 500), (100, 10), Some(0)),
        ];
        for ((reserved_space, max_used_space, min_free_space), (total, free), wanted) in table {
            let policy = Policy { reserved_space, max_used_space, min_free_space, ..Policy::default() };
            assert_eq!(policy.keep(total, free), wanted, "{policy:?}");
        }
    }

    fn layer(store: &Store, lease: &Lease) -> LayerId {
        let index = Arc::new(LayerIndex { entries: Vec::new() });
        let new = NewLayer { parent: None, index, tree: None, created: 0, description: String::new() };
        store.put_layer(lease, new).unwrap()
    }

    /// Collects everything, where somebody else does something after it was chosen and before it is removed.
    fn collect_with(root: &Path, meanwhile: impl FnOnce(&Store)) -> Collected {
        let store = Store::open(root).unwrap();
        let horizon = Horizon::of(&sweep(&store.inner).unwrap());
        let graph = Graph::read(&store, &horizon).unwrap();
        let policy = Policy { all: true, built_images: BuiltImages::Remove, ..Policy::default() };
        let plan = store.plan(&graph, &Listing::of(&graph), &policy, &|_| true).unwrap();
        assert!(!plan.is_empty());
        meanwhile(&Store::open(root).unwrap());
        let mut collected = Collected::default();
        store.remove(&graph, &plan, &horizon, &mut collected).unwrap();
        store.sweep(&mut collected).unwrap();
        collected
    }

    #[test]
    fn what_is_held_again_after_it_was_chosen_stays() {
        let key = |name: &str| Key::hasher(name).finish();
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let lease = store.lease().unwrap();
        let members = ["listed before", "listed again", "not listed"].map(|name| {
            store.put_member(&key(name), b"x").unwrap();
            key(name)
        });
        let [first, second] = [layer(&store, &lease), layer(&store, &lease)];
        store.set_layer_members(first, "gzip-3", &members[..1]).unwrap();
        let blob = store.put_blob(b"blob").unwrap();
        store.put_blob(b"other").unwrap();
        let built = NewImage { target: "{}".into(), built: true, blobs: [].into(), layers: [].into() };
        store.set_image("image", &built).unwrap();
        drop((lease, store));

        // Everything is put to use again, and nobody who uses it is there any more when it is removed: what counts
        // is what the database says then.
        let collected = collect_with(directory.path(), |other| {
            let lease = other.lease().unwrap();
            let third = layer(other, &lease);
            other.set_layer_members(third, "gzip-3", &members[..2]).unwrap();
            let info = BlobInfo { digest: blob, size: 4, media_type: String::new() };
            other.set_layer_blob(third, "gzip-3", &info).unwrap();
            let image = NewImage { layers: [second].into(), ..built.clone() };
            other.set_image("image", &image).unwrap();
        });
        let store = Store::open(directory.path()).unwrap();
        let there = members.map(|member| store.member(&member).unwrap().is_some());
        assert_eq!(there, [true, true, false], "members on a new layer's list");
        assert!(store.read_blob(&blob, 10).unwrap().is_some(), "a blob of a new layer");
        assert_eq!(store.images().unwrap().len(), 1, "a name that another image has now");
        assert!(store.layer_index(second).is_ok(), "a layer of that image");
        assert!(!store.inner.index_path(&first).exists());
        assert_eq!((collected.layers, collected.members, collected.blobs, collected.images), (1, 1, 1, 0));
    }

    #[test]
    fn what_is_looked_up_after_it_was_chosen_stays() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let lease = store.lease().unwrap();
        let id = layer(&store, &lease);
        let digest = store.put_blob(b"blob").unwrap();
        drop((lease, store));
        let user = Store::open(directory.path()).unwrap();
        let lease = user.lease().unwrap();
        let collected = collect_with(directory.path(), |_| {
            user.layer(&lease, id).unwrap().unwrap();
            user.blob(&digest).unwrap().unwrap();
        });
        assert_eq!(collected, Collected::default());
        assert!(user.layer_index(id).is_ok() && user.blob(&digest).unwrap().is_some());
    }
}

//! What a power failure may have left: trees with files cut short.
//!
//! Objects are not synced one by one, and all others are checked whenever they are read; a tree is mounted as it is.
//! So the trees that were in use shortly before the machine last went down are checked when the store is first opened
//! after that.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::{ffi::OsStr, fs};

use rbx_oci::EntryKind;
use rusqlite::OptionalExtension;

use crate::store::{Inner, Store};
use crate::sweep::each;
use crate::{LayerId, LayerIndex, StoreError};

/// The kernel writes everything out within about 35 s; what is older was on disk: nanoseconds.
const UNWRITTEN: i64 = 120_000_000_000;

/// Checks trees if this is another boot of the machine than the last one that the store was opened in.
pub(crate) fn check(store: &Store) -> Result<(), StoreError> {
    // Without it nothing can be said, and systems without it are not built on.
    let Ok(boot) = fs::read_to_string("/proc/sys/kernel/random/boot_id") else { return Ok(()) };
    check_for(store, boot.trim())
}

fn check_for(store: &Store, boot: &str) -> Result<(), StoreError> {
    let inner = &store.inner;
    let last: Option<String> = inner.read(|db| {
        let mut statement = db.prepare_cached("SELECT value FROM meta WHERE key = 'boot'")?;
        Ok(statement.query_row((), |row| row.get(0)).optional()?)
    })?;
    if last.as_deref() == Some(boot) {
        return Ok(());
    }
    let mut suspects: Vec<LayerId> = Vec::new();
    inner.read(|db| {
        let query = format!(
            "SELECT id FROM layers WHERE has_tree
             AND last_used >= (SELECT max(last_used) FROM layers) - {UNWRITTEN}"
        );
        each(db, &query, |row| {
            suspects.push(LayerId::from_bytes(row.get(0)?));
            Ok(())
        })
    })?;
    for id in suspects {
        if !is_whole(inner, &id) {
            tracing::warn!(layer = %id, "a tree was cut short when the machine went down; it is made anew");
            if !has_other_content(inner, &id)? {
                store.forget_layer(id)?;
            }
            let tree = inner.tree_path(&id);
            let discarded = inner.write(|tx| {
                tx.execute(
                    "UPDATE layers SET has_tree = 0, tree_bytes = NULL WHERE id = ?1",
                    [id.as_bytes()],
                )?;
                if tree.exists() { Ok(Some(inner.discard(&tree)?)) } else { Ok(None) }
            })?;
            if let Some(discarded) = discarded {
                inner.remove(&discarded);
            }
        }
    }
    inner.write(|tx| {
        tx.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('boot', ?1)", [boot])?;
        Ok(())
    })
}

/// Whether a layer's tree can be made again from what is in the store.
fn has_other_content(store: &Inner, id: &LayerId) -> Result<bool, StoreError> {
    store.read(|db| {
        let mut statement = db.prepare_cached(
            "SELECT 1 FROM layer_members WHERE layer = ?1
             UNION ALL SELECT 1 FROM layer_blobs JOIN blobs USING (digest) WHERE layer = ?1",
        )?;
        Ok(statement.exists([id.as_bytes()])?)
    })
}

/// Whether a layer's regular files are as long in its tree as in its index, where this user may look.
fn is_whole(store: &Inner, id: &LayerId) -> bool {
    let Ok(bytes) = fs::read(store.index_path(id)) else { return false };
    let Ok(index) = LayerIndex::decode(&bytes) else { return false };
    let root = store.tree_path(id).join("fs");
    index.entries.iter().all(|entry| match entry.entry.kind {
        EntryKind::File { size } => {
            match fs::symlink_metadata(root.join(Path::new(OsStr::from_bytes(&entry.entry.path)))) {
                Ok(metadata) => metadata.is_file() && metadata.len() == size,
                Err(error) => error.kind() == std::io::ErrorKind::PermissionDenied,
            }
        }
        _ => true,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rbx_oci::Entry;

    use super::*;
    use crate::{IndexEntry, Key, NewLayer, Record};

    #[test]
    fn trees_cut_short_are_forgotten_after_a_reboot() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let lease = store.lease().unwrap();
        let names = ["whole", "short", "again"];
        let [whole, short, again] = names.map(|name| {
            let tree = store.new_tree().unwrap();
            fs::write(tree.fs().join("file"), name).unwrap();
            let entry = Entry::new("file", EntryKind::File { size: 5 });
            let index = Arc::new(LayerIndex { entries: vec![IndexEntry { entry, content: None }] });
            let new =
                NewLayer { parent: None, index, tree: Some(tree), created: 0, description: String::new() };
            let id = store.put_layer(&lease, new).unwrap();
            let record = Record { layer: Some(id), value: vec![], created: 0 };
            store.put_record(&lease, &Key::hasher(name).finish(), &record, false).unwrap();
            id
        });
        for cut in [short, again] {
            fs::write(store.tree(cut).unwrap().join("file"), "").unwrap();
        }
        // Its tree can be made again from these.
        let member = Key::hasher("member").finish();
        store.put_member(&member, b"again").unwrap();
        store.set_layer_members(again, "gzip-3", &[member]).unwrap();
        let there = || {
            [("whole", whole), ("short", short), ("again", again)].map(|(name, id)| {
                let record = store.record(&lease, &Key::hasher(name).finish()).unwrap();
                assert_eq!(store.layer(&lease, id).unwrap().unwrap().has_tree, store.tree(id).is_some());
                (record.is_some(), store.tree(id).is_some())
            })
        };
        // The same boot: nothing is looked at.
        check(&store).unwrap();
        assert_eq!(there(), [(true, true), (true, true), (true, true)]);
        check_for(&store, "another").unwrap();
        assert_eq!(there(), [(true, true), (false, false), (true, false)]);
        fs::write(store.tree(whole).unwrap().join("file"), "").unwrap();
        check_for(&store, "another").unwrap();
        assert_eq!(there(), [(true, true), (false, false), (true, false)]);
    }
}

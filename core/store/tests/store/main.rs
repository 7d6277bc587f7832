//! The store as its users see it: one process, several, and ones that are killed.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests are tests too")]

mod automatic;
mod basics;
mod caches;
mod collection;
mod damage;
mod graphs;
mod layers;
mod processes;
mod records;
mod speed;
mod stat_cache;

use std::path::Path;
use std::sync::Arc;

use rbx_oci::{Entry, EntryKind};
use rbx_store::{ContentDigest, IndexEntry, Key, LayerId, LayerIndex, Lease, NewLayer, Store};
use tempfile::TempDir;

/// A store in a directory of its own.
fn new_store() -> (TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("store")).unwrap();
    (directory, store)
}

/// A key with a name.
fn key(name: &str) -> Key {
    Key::hasher("test").field(name).finish()
}

/// An index of one file that holds `content`.
fn index(content: &str) -> Arc<LayerIndex> {
    let mut entry = Entry::new("file", EntryKind::File { size: content.len() as u64 });
    entry.mode = 0o644;
    let content = Some(ContentDigest::of(content.as_bytes()));
    Arc::new(LayerIndex { entries: vec![IndexEntry { entry, content }] })
}

/// A layer without a tree.
fn put_layer(store: &Store, lease: &Lease, parent: Option<LayerId>, content: &str) -> LayerId {
    store
        .put_layer(
            lease,
            NewLayer { parent, index: index(content), tree: None, created: 7, description: String::new() },
        )
        .unwrap()
}

/// The names in a directory of the store, sorted.
fn names(store: &Store, directory: &str) -> Vec<String> {
    let mut names: Vec<String> = list(&store.root().join("v1").join(directory));
    names.sort();
    names
}

fn list(directory: &Path) -> Vec<String> {
    std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// The store's database, to look at or change behind its back.
fn database(store: &Store) -> rusqlite::Connection {
    let connection = rusqlite::Connection::open(store.root().join("v1/store.db")).unwrap();
    connection.busy_timeout(std::time::Duration::from_secs(30)).unwrap();
    connection
}

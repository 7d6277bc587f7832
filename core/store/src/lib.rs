//! The store: everything the embedded engine keeps, under one directory that any number of processes share.
//!
//! Records are in an `SQLite` database, content in files:
//!
//! ```text
//! <root>/v1/store.db               records: layers, blobs, chains, build results, images, caches, pins
//!           blobs/sha256/<hex>     blobs
//!           members/<ab>/<hex>     compressed pieces of layer archives
//!           layers/<id>            layer indexes
//!           trees/<id>/fs          layer trees
//!           trees/<id>/unshown     what a tree made by an ordinary user does not show as it is
//!           caches/<id>/fs         directories that steps keep things in
//!           stat/<hex>             one stat cache for each context root
//!           leases/<lease>         locked while its process lives
//!           tmp/<lease>.<number>   what is being written
//!           reserve                makes room for collection on a full disk
//!           clock                  written to learn the file system's time
//!           collect.lock           locked by the process that collects by itself
//! ```
//!
//! A file gets its name by a rename, when it is complete, in a transaction that also records it; collection removes
//! records first, and then, again holding the database's write lock, the files that no record names. So a process
//! that is killed leaves at worst a file that nothing refers to, and no process sees a record without its file.
//!
//! Objects are not synced to disk one by one. After a power failure some may be short or empty; everything that is
//! read back is checked for that, and what is damaged counts as missing.

mod automatic;
mod blobs;
mod boot;
mod caches;
mod check;
mod collect;
mod disk;
mod error;
mod graph;
mod id_map;
mod ids;
mod images;
mod index;
mod layers;
mod leases;
mod members;
mod records;
mod remove;
mod schema;
mod stat_cache;
mod store;
mod sweep;
mod trees;
mod usage;

pub use automatic::{Limits, Space};
pub use blobs::{Blob, BlobWriter};
pub use caches::{Cache, CacheRecord, CacheSharing, CacheUse, PreparedCache};
pub use check::Faults;
pub use collect::{BuiltImages, Collected, Policy};
pub use disk::DiskSpace;
pub use error::StoreError;
pub use id_map::IdMap;
pub use ids::{CacheId, ContentDigest, InvalidId, Key, KeyHasher, LayerId};
pub use images::{Image, NewImage};
pub use index::{IndexEntry, IndexError, LayerIndex};
pub use layers::{BlobInfo, Layer, NewLayer};
pub use leases::Lease;
pub use records::Record;
pub use stat_cache::{FileStat, StatCache};
pub use store::Store;
pub use trees::{PreparedTree, TempDir, unshown};
pub use usage::{UsageRecord, UsageType};

//! Checking that a store has all that its records speak of, and nothing else.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rbx_oci::{Digest, EntryKind};

use crate::layers::member_keys;
use crate::leases::names_in;
use crate::sweep::each;
use crate::{LayerId, LayerIndex, Store, StoreError, unshown};

/// What [`Store::check`] has found: one line for each fault, with the file or record it is about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Faults {
    /// Records without their files, files that are not what their records say, a damaged database. No build may
    /// leave any.
    pub damaged: Vec<String>,
    /// Files that no record names and pins of leases that are not there. A process that was killed may leave some,
    /// and collection removes them.
    pub left: Vec<String>,
}

impl Store {
    /// Compares records with files and files with what they are to hold, reading everything. What others write
    /// meanwhile may be reported as a fault.
    pub fn check(&self) -> Result<Faults, StoreError> {
        let mut check = Check { store: self, faults: Faults::default() };
        check.database()?;
        check.blobs()?;
        check.layers()?;
        check.members()?;
        check.named("caches", "SELECT id FROM caches")?;
        check.leases()?;
        Ok(check.faults)
    }
}

struct Check<'a> {
    store: &'a Store,
    faults: Faults,
}

impl Check<'_> {
    fn damaged(&mut self, fault: String) {
        self.faults.damaged.push(fault);
    }

    /// Everything in one column.
    fn column(&self, query: &str) -> Result<Vec<Vec<u8>>, StoreError> {
        self.store.inner.read(|db| {
            let mut values = Vec::new();
            each(db, query, |row| {
                values.push(row.get(0)?);
                Ok(())
            })?;
            Ok(values)
        })
    }

    fn database(&mut self) -> Result<(), StoreError> {
        let mut faults = Vec::new();
        self.store.inner.read(|db| {
            each(db, "PRAGMA integrity_check", |row| {
                faults.push(row.get::<_, String>(0)?);
                Ok(())
            })?;
            each(db, "SELECT \"table\" FROM pragma_foreign_key_check", |row| {
                faults.push(format!("a row of {} refers to nothing", row.get::<_, String>(0)?));
                Ok(())
            })
        })?;
        self.faults.damaged.extend(faults.into_iter().filter(|fault| fault != "ok"));
        Ok(())
    }

    fn blobs(&mut self) -> Result<(), StoreError> {
        for digest in self.named("blobs/sha256", "SELECT digest FROM blobs")? {
            let Ok(digest) = <[u8; 32]>::try_from(digest) else { continue };
            let digest = Digest::from_bytes(digest);
            let path = self.store.inner.blob_path(&digest);
            let hash = || {
                let mut writer = rbx_oci::Sha256Writer::new(io::sink());
                io::copy(&mut fs::File::open(&path)?, &mut writer)?;
                let (_, digest, size) = writer.finish();
                Ok::<_, io::Error>((digest, size))
            };
            match hash() {
                Ok((found, _)) if found == digest => {}
                Ok((found, size)) => self.damaged(format!("blob {digest} is {found}, {size} bytes")),
                Err(error) => self.damaged(format!("blob {digest}: {error}")),
            }
        }
        Ok(())
    }

    fn layers(&mut self) -> Result<(), StoreError> {
        let layers = self.named("layers", "SELECT id FROM layers")?;
        self.named("trees", "SELECT id FROM layers WHERE has_tree")?;
        for id in layers {
            let Ok(id) = <[u8; 16]>::try_from(id) else { continue };
            let id = LayerId::from_bytes(id);
            let index = match fs::read(self.store.inner.index_path(&id)) {
                Ok(bytes) => LayerIndex::decode(&bytes).map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            match index {
                Ok(index) => self.tree(id, &index)?,
                Err(error) => self.damaged(format!("index of layer {id}: {error}")),
            }
        }
        Ok(())
    }

    /// Whether all entries of a layer are in its tree, or in those that it is the difference to.
    fn tree(&mut self, id: LayerId, index: &LayerIndex) -> Result<(), StoreError> {
        let Some(top) = self.store.tree(id) else { return Ok(()) };
        let mut trees = vec![top];
        let mut at = id;
        while let Some(base) = self.store.tree_base(at)? {
            match self.store.tree(base) {
                Some(tree) if trees.len() < 100 => trees.push(tree),
                _ => {
                    self.damaged(format!("tree of layer {id}: its base {base} is missing"));
                    return Ok(());
                }
            }
            at = base;
        }
        let mut missing = HashSet::new();
        for tree in &trees {
            missing.extend(unshown(tree)?.entries.into_iter().map(|item| item.entry.path));
        }
        for entry in &index.entries {
            let entry = &entry.entry;
            let path = Path::new(OsStr::from_bytes(&entry.path));
            let found = trees.iter().find_map(|tree| fs::symlink_metadata(tree.join(path)).ok());
            let right = match &entry.kind {
                EntryKind::Whiteout | EntryKind::OpaqueDirectory => true,
                EntryKind::CharDevice { .. } | EntryKind::BlockDevice { .. } if found.is_none() => {
                    missing.contains(&entry.path)
                }
                kind => found.as_ref().is_some_and(|found| is(kind, found)),
            };
            if !right {
                self.damaged(format!("tree of layer {id}: /{} is not {:?}", path.display(), entry.kind));
            }
        }
        Ok(())
    }

    fn members(&mut self) -> Result<(), StoreError> {
        let mut seen = HashSet::new();
        for keys in self.column("SELECT keys FROM layer_members")? {
            for key in member_keys(&keys) {
                if seen.insert(key) && self.store.member(&key)?.is_none() {
                    self.damaged(format!("member {key} is missing or damaged"));
                }
            }
        }
        Ok(())
    }

    /// Compares the names in a directory with ids; answers the ids.
    fn named(&mut self, directory: &str, query: &str) -> Result<Vec<Vec<u8>>, StoreError> {
        let ids = self.column(query)?;
        let mut files: HashSet<String> =
            names_in(&self.store.inner.v1.join(directory))?.into_iter().collect();
        for id in &ids {
            let name = hex::encode(id);
            if !files.remove(&name) {
                self.damaged(format!("{directory}/{name} is missing"));
            }
        }
        self.faults.left.extend(files.into_iter().map(|name| format!("{directory}/{name}")));
        Ok(ids)
    }

    fn leases(&mut self) -> Result<(), StoreError> {
        let inner = &self.store.inner;
        let leases: HashSet<String> = names_in(&inner.v1.join("leases"))?.into_iter().collect();
        for pins in self.column("SELECT DISTINCT lease FROM pins")? {
            let name = hex::encode(pins);
            if !leases.contains(&name) {
                self.faults.left.push(format!("pins of the lease {name}"));
            }
        }
        for name in names_in(&inner.v1.join("tmp"))? {
            if !leases.contains(name.split('.').next().unwrap_or_default()) {
                self.faults.left.push(format!("tmp/{name}"));
            }
        }
        Ok(())
    }
}

fn is(kind: &EntryKind, found: &fs::Metadata) -> bool {
    let format = found.mode() & 0o170_000;
    match kind {
        EntryKind::File { size } => found.is_file() && found.len() == *size,
        EntryKind::Directory => found.is_dir(),
        EntryKind::Symlink { target } => found.is_symlink() && found.len() == target.len() as u64,
        EntryKind::Hardlink { .. } => !found.is_dir(),
        EntryKind::CharDevice { .. } => format == 0o020_000,
        EntryKind::BlockDevice { .. } => format == 0o060_000,
        EntryKind::Fifo => format == 0o010_000,
        EntryKind::Whiteout | EntryKind::OpaqueDirectory => true,
    }
}

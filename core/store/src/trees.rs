//! Directory trees: layers as an overlay mounts them, and temporary directories.

use std::fs::{DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rusqlite::OptionalExtension;

use crate::blobs::Temporary;
use crate::leases::Pinned;
use crate::store::{Inner, from_db};
use crate::{IdMap, IndexEntry, LayerId, LayerIndex, Lease, Store, StoreError};

/// The file beside a tree that names the layer it is the difference to.
const BASE: &str = "base";
/// The file beside a tree that has what the tree does not show as it is.
const UNSHOWN: &str = "unshown";

/// A tree being made. Dropped without being committed, it is removed.
#[derive(Debug)]
pub struct PreparedTree {
    pub(crate) temporary: Temporary,
    fs: PathBuf,
    work: PathBuf,
}

impl PreparedTree {
    /// The tree itself: an empty directory of mode 0755 to fill, or to mount as an overlay's `upperdir`.
    pub fn fs(&self) -> &Path {
        &self.fs
    }

    /// An empty directory beside it, for an overlay's `workdir`.
    pub fn work(&self) -> &Path {
        &self.work
    }

    /// Says that the tree holds only what is different from that of `base`, which the layer's parents must keep.
    pub fn set_base(&self, base: LayerId) -> Result<(), StoreError> {
        let path = self.temporary.path.join(BASE);
        std::fs::write(&path, base.to_string())
            .map_err(|source| StoreError::io("cannot write", &path, source))
    }

    /// Keeps those entries of the layer that its tree cannot show as they are ([`IdMap::shows_whole`]), of `entries`.
    pub fn set_unshown<'a>(
        &self,
        map: &IdMap,
        entries: impl IntoIterator<Item = &'a IndexEntry>,
    ) -> Result<(), StoreError> {
        if map.is_whole() {
            return Ok(());
        }
        let differs = |item: &&IndexEntry| !map.shows_whole(&item.entry);
        let index = LayerIndex { entries: entries.into_iter().filter(differs).cloned().collect() };
        if index.entries.is_empty() {
            return Ok(());
        }
        let path = self.temporary.path.join(UNSHOWN);
        let bytes = index.encode().map_err(|error| StoreError::damaged(&path, error.to_string()))?;
        std::fs::write(&path, bytes).map_err(|source| StoreError::io("cannot write", &path, source))
    }

    /// Removes what the tree does not need once it is complete.
    pub(crate) fn finish(&self) {
        self.temporary.store.remove(&self.work);
    }
}

/// A directory for whatever a build needs, removed when dropped or when its process is gone.
#[derive(Debug)]
pub struct TempDir(Temporary);

impl TempDir {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0.path
    }
}

impl Store {
    /// Makes an empty directory of mode 0700 on the store's file system.
    pub fn temp_dir(&self) -> Result<TempDir, StoreError> {
        let temporary = Temporary::new(&self.inner)?;
        create_directory(&temporary.path)?;
        Ok(TempDir(temporary))
    }

    /// Starts a tree.
    pub fn new_tree(&self) -> Result<PreparedTree, StoreError> {
        let temporary = Temporary::new(&self.inner)?;
        let (fs, work) = (temporary.path.join("fs"), temporary.path.join("work"));
        for path in [&temporary.path, &fs, &work] {
            create_directory(path)?;
        }
        // Whatever the umask: it becomes the root directory of containers.
        std::fs::set_permissions(&fs, Permissions::from_mode(0o755))
            .map_err(|source| StoreError::io("cannot set the mode of", &fs, source))?;
        Ok(PreparedTree { temporary, fs, work })
    }

    /// Gives a layer its tree, and the path of the tree it has from then on: if it has one already, that one.
    pub fn commit_tree(&self, lease: &Lease, id: LayerId, tree: PreparedTree) -> Result<PathBuf, StoreError> {
        let inner = &self.inner;
        let path = inner.tree_path(&id);
        tree.finish();
        let PreparedTree { temporary, .. } = tree;
        // What a process that was killed between rename and commit may have left.
        let mut stale = None;
        inner.write(|tx| {
            let mut statement = tx.prepare_cached("SELECT has_tree, size FROM layers WHERE id = ?1")?;
            let found: Option<(bool, i64)> =
                statement.query_row([id.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
            let Some((has_tree, size)) = found else { return Err(StoreError::NoLayer(id).into()) };
            lease.pins().pin(tx, Pinned::Layer, id.as_bytes())?;
            if has_tree && path.exists() {
                return Ok(());
            }
            if path.exists() {
                stale = Some(inner.discard(&path)?);
            }
            temporary.rename(&path)?;
            tx.prepare_cached("UPDATE layers SET has_tree = 1, tree_bytes = NULL WHERE id = ?1")?
                .execute([id.as_bytes()])?;
            // As if it were no difference to another one.
            inner.count(from_db(size));
            Ok(())
        })?;
        lease.pins().remember(Pinned::Layer, id.as_bytes());
        if let Some(stale) = stale {
            inner.remove(&stale);
        }
        Ok(path.join("fs"))
    }

    /// The directory tree of a layer, if it is there. The layer should be held by a lease. See also
    /// [`Store::tree_base`].
    pub fn tree(&self, id: LayerId) -> Option<PathBuf> {
        let path = self.inner.tree_path(&id).join("fs");
        path.exists().then_some(path)
    }
}

/// The entries of a layer that its tree, the directory `fs`, does not show as they are: files whose owner or group has
/// no id here belong to root in the tree, and device nodes are not there.
pub fn unshown(fs: &Path) -> Result<LayerIndex, StoreError> {
    let path = fs.with_file_name(UNSHOWN);
    match std::fs::read(&path) {
        Ok(bytes) => {
            LayerIndex::decode(&bytes).map_err(|error| StoreError::damaged(&path, error.to_string()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(LayerIndex::default()),
        Err(source) => Err(StoreError::io("cannot read", &path, source)),
    }
}

impl Store {
    /// The layer whose tree is to be mounted below that of a layer, for a tree that was made as the difference to
    /// another ([`PreparedTree::set_base`]).
    pub fn tree_base(&self, id: LayerId) -> Result<Option<LayerId>, StoreError> {
        let path = self.inner.tree_path(&id).join(BASE);
        match std::fs::read_to_string(&path) {
            Ok(text) => match text.parse() {
                Ok(base) => Ok(Some(base)),
                Err(_) => Err(StoreError::damaged(&path, "not the name of a layer".to_owned())),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StoreError::io("cannot read", &path, source)),
        }
    }
}

impl Inner {
    pub(crate) fn tree_path(&self, id: &LayerId) -> PathBuf {
        self.v1.join("trees").join(id.to_string())
    }

    /// Renames something to a temporary name, to be removed at leisure.
    pub(crate) fn discard(&self, path: &Path) -> Result<PathBuf, StoreError> {
        let temporary = self.temporary_path()?;
        std::fs::rename(path, &temporary).map_err(|source| StoreError::io("cannot rename", path, source))?;
        Ok(temporary)
    }
}

fn create_directory(path: &Path) -> Result<(), StoreError> {
    let created = DirBuilder::new().mode(0o700).create(path);
    created.map_err(|source| StoreError::io("cannot create", path, source))
}

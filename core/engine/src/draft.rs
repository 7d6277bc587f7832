//! The layer that copying files or making directories results in, worked out on lists of entries. Bytes are read
//! once, when the layer is packed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rbx_dockerfile::Ignore;
use rbx_oci::{Entry, EntryKind};

use crate::context::CAPABILITY;
use crate::error::BuildError;
use crate::layer::Item;
use crate::mode::Chmod;
use crate::select::{CopyOptions, Selected, excludes, walk};
use crate::tree::{Node, Tree, base_name, clean, compare_paths, join, parent, resolve};

/// A layer in the making, over what lies below it.
pub(crate) struct Draft<'a> {
    below: &'a Tree,
    made: BTreeMap<PathKey, Item>,
    options: &'a CopyOptions,
}

/// Orders a map as layers are ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
struct PathKey(Vec<u8>);

impl Ord for PathKey {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        compare_paths(&self.0, &other.0)
    }
}

impl PartialOrd for PathKey {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<'a> Draft<'a> {
    pub(crate) fn new(below: &'a Tree, options: &'a CopyOptions) -> Self {
        Self { below, made: BTreeMap::new(), options }
    }

    fn get(&self, path: &[u8]) -> Option<&Entry> {
        match self.made.get(&PathKey(path.to_vec())) {
            Some(item) => Some(&item.entry),
            None => self.below.get(path).map(|node| &node.entry),
        }
    }

    fn resolve(&self, path: &[u8]) -> Result<Vec<u8>, BuildError> {
        resolve(path, true, |path| self.get(path)).ok_or_else(|| {
            let path = String::from_utf8_lossy(path);
            BuildError::invalid(format!("too many levels of symbolic links: {path:?}"))
        })
    }

    fn put(&mut self, item: Item) {
        self.made.insert(PathKey(item.entry.path.clone()), item);
    }

    /// Makes a directory and those above it that are missing. Links on the way are followed; `mode` is for
    /// those that are made.
    pub(crate) fn make_directories(&mut self, path: &[u8], mode: u32) -> Result<Vec<u8>, BuildError> {
        let path = self.resolve(path)?;
        let mut missing = Vec::new();
        let mut at = path.as_slice();
        while !at.is_empty() {
            match self.get(at) {
                Some(entry) if entry.is_directory() => break,
                Some(_) => {
                    let at = String::from_utf8_lossy(at);
                    return Err(BuildError::invalid(format!("mkdir /{at}: not a directory")));
                }
                None => missing.push(at.to_vec()),
            }
            at = parent(at).unwrap_or_default();
        }
        let (uid, gid) = self.options.owner.unwrap_or((0, 0));
        for path in missing.into_iter().rev() {
            let entry =
                Entry { mode, uid, gid, mtime: self.options.now, ..Entry::new(path, EntryKind::Directory) };
            self.put(Item { entry, content: None, source: None });
        }
        Ok(path)
    }

    /// Copies what one source path of an instruction means to `destination`.
    pub(crate) fn copy<'s>(
        &mut self,
        tree: &Tree,
        selected: impl IntoIterator<Item = &'s Selected>,
        destination: &str,
    ) -> Result<(), BuildError> {
        let exclude = excludes(self.options)?;
        let directory_mode = self.options.chmod.as_ref().map_or(0o755, Chmod::for_new_directories);
        let last = base_name(destination.as_bytes());
        let above = if last.is_empty() || last == b"." {
            destination.as_bytes()
        } else {
            &destination.as_bytes()[..destination.len() - last.len()]
        };
        for selected in selected {
            self.make_directories(above, directory_mode)?;
            let mut target = self.resolve(&clean(destination.as_bytes()))?;
            let is_directory =
                selected.path.is_empty() || tree.get(&selected.path).is_some_and(Node::is_directory);
            if is_directory {
                // Something else in its place is found when the directory is copied.
                if self.get(&target).is_none() {
                    self.make_directories(&target, directory_mode)?;
                }
            } else {
                if target.is_empty() || self.get(&target).is_some_and(Entry::is_directory) {
                    target = join(&target, &selected.name);
                }
                let parent = parent(&target).unwrap_or_default().to_vec();
                self.make_directories(&parent, directory_mode)?;
            }
            self.copy_nodes(tree, selected, &exclude, &target)?;
        }
        Ok(())
    }

    /// Lays an unpacked archive into a directory, which is made if it is missing.
    pub(crate) fn extract(&mut self, tree: &Tree, destination: &str) -> Result<(), BuildError> {
        let target = self.make_directories(destination.as_bytes(), 0o755)?;
        self.copy_nodes(tree, &Selected::everything(), &Ignore::none(), &target)
    }

    fn copy_nodes(
        &mut self,
        tree: &Tree,
        selected: &Selected,
        exclude: &Ignore,
        target: &[u8],
    ) -> Result<(), BuildError> {
        if selected.path.is_empty()
            && let Some(existing) = self.get(target)
            && !existing.is_directory()
        {
            return Err(not_a_directory(target));
        }
        let mut groups: BTreeMap<Arc<[u8]>, Vec<u8>> = BTreeMap::new();
        for (relative, node) in walk(tree, selected, exclude)? {
            let path = join(target, relative);
            let existing = self.get(&path);
            if node.is_directory() {
                if let Some(existing) = existing
                    && !existing.is_directory()
                {
                    return Err(not_a_directory(&path));
                }
                if relative.is_empty() {
                    // The directory copied into stays what it is, but for its time.
                    if let Some(entry) = existing.cloned() {
                        let entry = Entry { mtime: node.entry.mtime, ..entry };
                        self.put(Item { entry, content: None, source: None });
                    }
                    continue;
                }
            } else if existing.is_some_and(Entry::is_directory) {
                let path = String::from_utf8_lossy(&path);
                return Err(BuildError::invalid(format!("cannot replace to directory /{path} with file")));
            }
            let mut entry = self.copied(&node.entry, path);
            if let Some(group) = &node.link_group {
                match groups.get(group) {
                    Some(first) => entry.kind = EntryKind::Hardlink { target: first.clone() },
                    None => {
                        groups.insert(group.clone(), entry.path.clone());
                    }
                }
            }
            let is_file = matches!(entry.kind, EntryKind::File { .. });
            let source = node.source().filter(|_| is_file);
            let content = node.content.get().copied().filter(|_| is_file);
            self.put(Item { entry, content, source });
        }
        Ok(())
    }

    fn copied(&self, entry: &Entry, path: Vec<u8>) -> Entry {
        let (uid, gid) = self.options.owner.unwrap_or((entry.uid, entry.gid));
        let mode = match &self.options.chmod {
            Some(chmod) if !matches!(entry.kind, EntryKind::Symlink { .. }) => {
                chmod.apply(entry.mode, entry.is_directory())
            }
            _ => entry.mode,
        };
        let mut entry = Entry { path, uid, gid, mode, ..entry.clone() };
        entry.xattrs.retain(|name, _| name == CAPABILITY);
        entry
    }

    /// The entries of the layer, parents before children. Directories of lower layers that something was made in
    /// are in it as they are there, and what is no different from what lies below is left out.
    pub(crate) fn finish(mut self) -> Vec<Item> {
        let mut retimed = self.drop_unchanged();
        let mut above: BTreeMap<PathKey, Item> = BTreeMap::new();
        for PathKey(path) in self.made.keys() {
            let mut at = parent(path).unwrap_or_default();
            while !at.is_empty() {
                let key = PathKey(at.to_vec());
                if self.made.contains_key(&key) || above.contains_key(&key) {
                    break;
                }
                if let Some(item) = retimed.remove(&key) {
                    above.insert(key, item);
                } else if let Some(node) = self.below.get(at) {
                    above.insert(key, Item { entry: node.entry.clone(), content: None, source: None });
                }
                at = parent(at).unwrap_or_default();
            }
        }
        self.made.append(&mut above);
        self.made.into_values().collect()
    }

    /// Takes out what is no different from what lies below. Directories of which only the time is another are
    /// answered: they are part of the layer if something in them is.
    fn drop_unchanged(&mut self) -> BTreeMap<PathKey, Item> {
        let mut retimed = BTreeMap::new();
        let below = self.below;
        let linked: BTreeSet<Vec<u8>> = self
            .made
            .values()
            .filter_map(|item| match &item.entry.kind {
                EntryKind::Hardlink { target } => Some(target.clone()),
                _ => None,
            })
            .collect();
        self.made.retain(|PathKey(path), item| {
            let Some(node) = below.get(path) else { return true };
            if item.entry.is_directory() {
                let changed =
                    Entry { mtime: 0, ..item.entry.clone() } != Entry { mtime: 0, ..node.entry.clone() };
                if !changed {
                    retimed.insert(PathKey(path.clone()), item.clone());
                }
                return changed;
            }
            let same_bytes = match item.entry.kind {
                EntryKind::File { .. } => {
                    item.content.is_some() && item.content.as_ref() == node.content.get()
                }
                EntryKind::Hardlink { .. } => false,
                _ => true,
            };
            !(same_bytes && item.entry == node.entry && !linked.contains(path))
        });
        retimed
    }
}

fn not_a_directory(path: &[u8]) -> BuildError {
    BuildError::invalid(format!("cannot copy to non-directory: /{}", String::from_utf8_lossy(path)))
}

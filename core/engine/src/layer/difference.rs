//! What is different between two versions of a layer.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use rbx_oci::{Entry, EntryKind};
use rbx_store::{IndexEntry, LayerIndex};

use crate::tree::{compare_paths, parent};

/// A difference larger than this part of the layer is not worth a tree of its own.
const LARGEST_PART: usize = 4;

/// The entries of the new version that the old one does not have so, and deletions of those it has no more.
pub(crate) struct Difference {
    changed: Vec<usize>,
    deleted: Vec<Vec<u8>>,
}

impl Difference {
    /// Compares two versions of a layer that a copy made. `None` where they differ in much, or hold hard links: a
    /// link's other names would be in another tree.
    pub(crate) fn between(old: &LayerIndex, new: &LayerIndex) -> Option<Self> {
        let (mut changed, mut deleted) = (Vec::new(), Vec::new());
        let (mut before, mut after) =
            (old.entries.iter().peekable(), new.entries.iter().enumerate().peekable());
        loop {
            let order = match (before.peek(), after.peek()) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(old), Some((_, new))) => compare_paths(&old.entry.path, &new.entry.path),
            };
            let old = if order.is_le() { before.next() } else { None };
            let new = if order.is_ge() { after.next() } else { None };
            if [old, new.map(|(_, new)| new)].into_iter().flatten().any(is_special) {
                return None;
            }
            match (old, new) {
                (Some(old), None) => deleted.push(old.entry.path.clone()),
                (Some(old), Some((at, new))) if old != new => changed.push(at),
                (None, Some((at, _))) => changed.push(at),
                _ => {}
            }
        }
        let small = (changed.len() + deleted.len()) * LARGEST_PART <= new.entries.len();
        small.then_some(Self { changed, deleted })
    }

    /// An index of the difference: every changed entry with the directories it is in, and deletions.
    pub(crate) fn index(&self, new: &LayerIndex) -> LayerIndex {
        let find = |path: &[u8]| {
            let found = new.entries.binary_search_by(|item| compare_paths(&item.entry.path, path));
            found.ok().map(|at| &new.entries[at])
        };
        let mut wanted: BTreeSet<usize> = self.changed.iter().copied().collect();
        let mut entries: Vec<IndexEntry> = Vec::new();
        let mut need_parents: Vec<&[u8]> =
            self.changed.iter().map(|&at| new.entries[at].entry.path.as_slice()).collect();
        for path in &self.deleted {
            // What was deleted with its directory, or is hidden by a file in the directory's place, needs no mark.
            let directory = parent(path).unwrap_or_default();
            if directory.is_empty() || find(directory).is_some_and(|item| item.entry.is_directory()) {
                let entry = Entry::new(path.clone(), EntryKind::Whiteout);
                entries.push(IndexEntry { entry, content: None });
                need_parents.push(path);
            }
        }
        for path in need_parents {
            let mut at = parent(path).unwrap_or_default();
            while !at.is_empty() {
                let found = new.entries.binary_search_by(|item| compare_paths(&item.entry.path, at));
                if !found.is_ok_and(|found| wanted.insert(found)) {
                    break;
                }
                at = parent(at).unwrap_or_default();
            }
        }
        entries.extend(wanted.into_iter().map(|at| new.entries[at].clone()));
        entries.sort_by(|a, b| compare_paths(&a.entry.path, &b.entry.path));
        LayerIndex { entries }
    }
}

fn is_special(item: &IndexEntry) -> bool {
    matches!(item.entry.kind, EntryKind::Hardlink { .. } | EntryKind::Whiteout | EntryKind::OpaqueDirectory)
}

//! An unpacked layer over those below it: what its archive leaves out about directories is completed.

use std::collections::BTreeMap;
use std::io;

use rbx_oci::{Entry, EntryKind};
use rbx_store::{IndexEntry, LayerIndex};
use rustix::fs::OFlags;

use super::files::Files;
use super::materialise::set_metadata;
use super::origin::open_beneath;
use crate::tree::{Tree, base_name, compare_paths, join, parent, resolve};

/// What went wrong, and where.
type Failure = (Vec<u8>, io::Error);

impl Files {
    /// Completes the tree, and lists what it holds.
    pub(super) fn settle(mut self, below: &Tree) -> Result<LayerIndex, Failure> {
        for path in self.implied.clone() {
            // An earlier move may have taken it along.
            if self.implied.contains(&path)
                && matches!(self.seen(below, &path), Some(Entry { kind: EntryKind::Symlink { .. }, .. }))
            {
                self.follow_link(&path, below).map_err(|error| (path, error))?;
            }
        }
        for path in self.implied.clone() {
            if let Some(there) = self.seen(below, &path).filter(|there| there.is_directory()) {
                let entry = there.clone();
                self.entries.insert(path, entry);
            }
        }
        for path in self.opaque.clone() {
            self.mark_opaque(&path).map_err(|error| (path, error))?;
        }
        let mut entries: Vec<Entry> = std::mem::take(&mut self.entries).into_values().collect();
        entries.sort_by(|a, b| compare_paths(&a.path, &b.path));
        // Last, and the innermost first: writing into a directory changes its time.
        let ids = self.ids.clone();
        for entry in entries.iter().rev().filter(|entry| entry.is_directory()) {
            let (directory, name) = self.place(&entry.path).map_err(|error| (entry.path.clone(), error))?;
            set_metadata(directory, name, entry, &ids).map_err(|error| (entry.path.clone(), error))?;
        }
        let opaque = self.opaque.into_iter().map(|path| Entry::new(path, EntryKind::OpaqueDirectory));
        entries.extend(opaque);
        // Stable: a directory's mark comes after the directory.
        entries.sort_by(|a, b| compare_paths(&a.path, &b.path));
        let entries = entries.into_iter().map(|entry| IndexEntry { entry, content: None }).collect();
        Ok(LayerIndex { entries })
    }

    /// What lower layers have at a path, as far as nothing above it in this one hides it.
    fn seen<'t>(&self, below: &'t Tree, path: &[u8]) -> Option<&'t Entry> {
        let mut above = path;
        while let Some(directory) = parent(above) {
            let hidden = self.opaque.contains(directory)
                || self.entries.get(directory).is_some_and(|entry| !entry.is_directory());
            if hidden {
                return None;
            }
            above = directory;
        }
        below.get(path).map(|node| &node.entry)
    }

    /// The place of a path over the layers below. What this layer has itself is looked at first.
    fn resolved_over(&self, below: &Tree, path: &[u8]) -> io::Result<Vec<u8>> {
        let lookup = |path: &[u8]| match self.entries.get(path) {
            Some(entry) => Some(entry),
            None => self.seen(below, path),
        };
        resolve(path, true, lookup).ok_or_else(|| rustix::io::Errno::LOOP.into())
    }

    /// Moves what lies in an implied directory to where the link of that name below leads.
    fn follow_link(&mut self, link: &[u8], below: &Tree) -> io::Result<()> {
        // Away with the directory first, so that the link is seen again.
        let inside = self.below(link);
        let (directory, name) = self.place(link)?;
        let directory = directory.try_clone()?;
        let kept = self.moved.to_string().into_bytes();
        self.moved += 1;
        rustix::fs::renameat(&directory, name, &self.aside, &*kept)?;
        self.last = None;
        self.entries.remove(link);
        self.implied.remove(link);
        let mut moves: Vec<(Entry, bool, bool)> = Vec::with_capacity(inside.len());
        for path in inside {
            let implied = self.implied.remove(&path);
            let opaque = self.opaque.remove(&path);
            if let Some(entry) = self.entries.remove(&path) {
                moves.push((entry, implied, opaque));
            }
        }
        if self.opaque.remove(link) {
            let target = self.resolved_over(below, link)?;
            self.hide_below(&target)?;
        }

        let mut places = BTreeMap::new();
        for (entry, implied, opaque) in moves {
            let from = join(&kept, &entry.path[link.len() + 1..]);
            if implied {
                // What lies in it makes it anew.
                if opaque {
                    let target = self.resolved_over(below, &entry.path)?;
                    self.hide_below(&target)?;
                }
                continue;
            }
            let directory = self.resolved_over(below, parent(&entry.path).unwrap_or_default())?;
            self.imply(&directory)?;
            let to = join(&directory, base_name(&entry.path));
            places.insert(entry.path.clone(), to.clone());
            self.take_back(&from, Entry { path: to.clone(), ..entry })?;
            if opaque {
                self.opaque.insert(to);
            }
        }
        self.rename_links(&places);
        Ok(())
    }

    /// Puts something that was moved aside to its new place.
    fn take_back(&mut self, from: &[u8], entry: Entry) -> io::Result<()> {
        let there = self.entries.get(&entry.path).map(|there| &there.kind);
        match (there, &entry.kind) {
            (None, EntryKind::Directory) => self.make_directory(&entry.path)?,
            (Some(EntryKind::Directory), EntryKind::Directory) => drop(self.implied.remove(&entry.path)),
            // A deletion is about lower layers.
            (Some(EntryKind::Directory), EntryKind::Whiteout) => {
                self.opaque.insert(entry.path);
                return Ok(());
            }
            (Some(_), EntryKind::Whiteout) => return Ok(()),
            (Some(_), _) => {
                return Err(io::Error::other(
                    "two files of the layer have one place, by a link of a layer below",
                ));
            }
            (None, _) if !self.ids.shows(&entry) => {}
            (None, _) => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let old = open_beneath(&self.aside, parent(from).unwrap_or_default(), flags)?;
                let (directory, name) = self.place(&entry.path)?;
                rustix::fs::renameat(&old, base_name(from), directory, name)?;
            }
        }
        self.entries.insert(entry.path.clone(), entry);
        Ok(())
    }

    /// Follows moves of files in the hard links to them.
    fn rename_links(&mut self, places: &BTreeMap<Vec<u8>, Vec<u8>>) {
        let place = |path: &Vec<u8>| places.get(path).unwrap_or(path).clone();
        let links = std::mem::take(&mut self.links);
        for (target, paths) in links {
            let target = place(&target);
            for path in &paths {
                if let Some(entry) = self.entries.get_mut(&place(path)) {
                    entry.kind = EntryKind::Hardlink { target: target.clone() };
                }
            }
            self.links.insert(target, paths.iter().map(place).collect());
        }
    }

    fn mark_opaque(&mut self, path: &[u8]) -> io::Result<()> {
        self.write_special(&Entry::new(path, EntryKind::OpaqueDirectory))
    }
}

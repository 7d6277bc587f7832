//! Root file systems as lists of entries: what a path names, without touching a disk.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rbx_oci::{Entry, EntryKind};
use rbx_store::{ContentDigest, FileStat, LayerIndex};

use crate::layer::{Origin, Source};

/// As many symbolic links as one path may pass through, as in the kernel's own walk and a bit more.
const LINK_LIMIT: usize = 255;
/// As many names as one path may pass through, those of its links included: links to long paths would otherwise make
/// of one short path the work of hundreds of thousands.
const STEP_LIMIT: usize = 8192;

/// One path of a [`Tree`].
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) entry: Entry,
    /// Digest of a regular file's bytes, computed at first need.
    pub(crate) content: OnceLock<ContentDigest>,
    /// Where a regular file's bytes are; `None` where nothing will read them.
    pub(crate) origin: Option<Origin>,
    /// Names the inode where several paths share one: equal groups are hard links of each other.
    pub(crate) link_group: Option<Arc<[u8]>>,
    /// What a file's inode said when a walk met it; `None` for files of layers, which do not change.
    pub(crate) stamp: Option<FileStat>,
}

impl Node {
    pub(crate) fn new(entry: Entry) -> Self {
        Self { entry, content: OnceLock::new(), origin: None, link_group: None, stamp: None }
    }

    pub(crate) fn is_directory(&self) -> bool {
        self.entry.is_directory()
    }

    /// Where a regular file's bytes are; `None` for all else, and where that is not known.
    pub(crate) fn source(&self) -> Option<Source> {
        let origin = self.origin.as_ref().filter(|_| matches!(self.entry.kind, EntryKind::File { .. }))?;
        Some(Source { origin: origin.clone(), path: self.entry.path.clone() })
    }
}

/// A root file system, or the part of it that was asked for: nodes in the order of [`compare_paths`], the root
/// itself left out.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    nodes: Vec<Node>,
}

/// Orders paths as a walk meets them: a directory, then all it holds, then its next sibling.
pub(crate) fn compare_paths(a: &[u8], b: &[u8]) -> Ordering {
    let shared = a.iter().zip(b).position(|(x, y)| x != y);
    match shared {
        None => a.len().cmp(&b.len()),
        Some(at) => rank(a[at]).cmp(&rank(b[at])),
    }
}

fn rank(byte: u8) -> u8 {
    // No path holds a NUL, so its place is free for the separator.
    if byte == b'/' { 0 } else { byte }
}

/// The directory a path is in; `None` for the root and `""` for what lies in the root.
pub(crate) fn parent(path: &[u8]) -> Option<&[u8]> {
    if path.is_empty() {
        return None;
    }
    Some(path.iter().rposition(|&byte| byte == b'/').map_or(&[], |at| &path[..at]))
}

/// The last component of a path.
pub(crate) fn base_name(path: &[u8]) -> &[u8] {
    path.iter().rposition(|&byte| byte == b'/').map_or(path, |at| &path[at + 1..])
}

/// `directory/name`, where the root directory is `""`.
pub(crate) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    match (directory.is_empty(), name.is_empty()) {
        (true, _) => name.to_vec(),
        (false, true) => directory.to_vec(),
        (false, false) => [directory, b"/", name].concat(),
    }
}

/// A path of a tree as this system takes it.
pub(crate) fn to_path(path: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(path))
}

/// A path as Go's `path.Clean("/" + path)` makes it, without the leading slash: no `.`, `..` or empty parts.
pub(crate) fn clean(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}

impl Tree {
    /// A tree of nodes that are in order already.
    pub(crate) fn from_sorted(nodes: Vec<Node>) -> Self {
        debug_assert!(nodes.is_sorted_by(|a, b| compare_paths(&a.entry.path, &b.entry.path).is_lt()));
        Self { nodes }
    }

    /// A tree of nodes in any order; of two with one path the later stays.
    pub(crate) fn from_nodes(nodes: impl IntoIterator<Item = Node>) -> Self {
        let mut nodes: Vec<Node> = nodes.into_iter().collect();
        nodes.sort_by(|a, b| compare_paths(&a.entry.path, &b.entry.path));
        nodes.dedup_by(|later, earlier| {
            let same = later.entry.path == earlier.entry.path;
            if same {
                std::mem::swap(later, earlier);
            }
            same
        });
        Self { nodes }
    }

    /// The file system that layers make, lowest first, each with the place its files can be read from.
    pub(crate) fn from_layers<'a>(
        layers: impl IntoIterator<Item = (&'a LayerIndex, Option<Origin>)>,
    ) -> Self {
        layers.into_iter().fold(Self::default(), |tree, (index, origin)| tree.apply(index, origin.as_ref()))
    }

    fn apply(self, index: &LayerIndex, origin: Option<&Origin>) -> Self {
        let mut upper: Vec<Node> = Vec::with_capacity(index.entries.len());
        let mut hidden: Vec<Vec<u8>> = Vec::new();
        let mut emptied: Vec<Vec<u8>> = Vec::new();
        let files: BTreeMap<&[u8], usize> = index
            .entries
            .iter()
            .enumerate()
            .filter(|(_, item)| matches!(item.entry.kind, EntryKind::File { .. }))
            .map(|(at, item)| (item.entry.path.as_slice(), at))
            .collect();
        for item in &index.entries {
            match &item.entry.kind {
                EntryKind::Whiteout => hidden.push(item.entry.path.clone()),
                EntryKind::OpaqueDirectory => emptied.push(item.entry.path.clone()),
                EntryKind::Hardlink { target } => {
                    // A link to a path of a lower layer was copied up by who wrote the layer; none is left here.
                    if let Some(&at) = files.get(target.as_slice()) {
                        let file = &index.entries[at];
                        let mut node =
                            Node::new(Entry { path: item.entry.path.clone(), ..file.entry.clone() });
                        node.origin = origin.cloned();
                        node.link_group = Some(target.as_slice().into());
                        set_content(&mut node, file.content);
                        upper.push(node);
                    }
                }
                _ => {
                    let mut node = Node::new(item.entry.clone());
                    node.origin = origin.cloned();
                    set_content(&mut node, item.content);
                    upper.push(node);
                }
            }
        }
        mark_link_heads(&mut upper);
        let upper = Self::from_nodes(upper);
        self.merge(upper, &hidden, &emptied)
    }

    /// Lays `upper` over this tree. `hidden` paths are removed with all below, of `emptied` only what is below.
    fn merge(self, upper: Self, hidden: &[Vec<u8>], emptied: &[Vec<u8>]) -> Self {
        let lower = self;
        let mut dropped: Vec<Range<usize>> = Vec::new();
        for path in hidden {
            dropped.push(lower.subtree(path));
        }
        for path in emptied {
            let range = lower.subtree(path);
            let skip = usize::from(!path.is_empty() && lower.get(path).is_some());
            dropped.push(range.start + skip..range.end);
        }
        for node in &upper.nodes {
            // What was a directory and is one no more hides all it held.
            if !node.is_directory() && lower.get(&node.entry.path).is_some_and(Node::is_directory) {
                dropped.push(lower.subtree(&node.entry.path));
            }
        }
        dropped.sort_by_key(|range| range.start);
        let mut dropped = dropped.into_iter().peekable();
        let mut kept = lower.nodes.into_iter().enumerate().filter_map(move |(at, node)| {
            while dropped.peek().is_some_and(|range| range.end <= at) {
                dropped.next();
            }
            let gone = dropped.peek().is_some_and(|range| range.contains(&at));
            (!gone).then_some(node)
        });
        let mut merged = Vec::with_capacity(upper.nodes.len());
        let mut below = kept.next();
        for node in upper.nodes {
            while let Some(old) = below.take() {
                match compare_paths(&old.entry.path, &node.entry.path) {
                    Ordering::Less => {
                        merged.push(old);
                        below = kept.next();
                    }
                    Ordering::Equal => {
                        below = kept.next();
                        break;
                    }
                    Ordering::Greater => {
                        below = Some(old);
                        break;
                    }
                }
            }
            merged.push(node);
        }
        merged.extend(below);
        merged.extend(kept);
        Self { nodes: merged }
    }

    /// All nodes, parents before children.
    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// What a path names, links not followed. The root is not a node.
    pub(crate) fn get(&self, path: &[u8]) -> Option<&Node> {
        let at = self.nodes.binary_search_by(|node| compare_paths(&node.entry.path, path)).ok()?;
        Some(&self.nodes[at])
    }

    /// Positions of a path and all below it; everything for the root.
    pub(crate) fn subtree(&self, path: &[u8]) -> Range<usize> {
        if path.is_empty() {
            return 0..self.nodes.len();
        }
        let start = self.nodes.partition_point(|node| compare_paths(&node.entry.path, path).is_lt());
        let inside = |node: &Node| {
            let own = &node.entry.path;
            own.starts_with(path) && (own.len() == path.len() || own[path.len()] == b'/')
        };
        let length = self.nodes[start..].partition_point(inside);
        start..start + length
    }
}

fn set_content(node: &mut Node, content: Option<ContentDigest>) {
    if let Some(content) = content {
        node.content = OnceLock::from(content);
    }
}

/// Gives the first path of each hard-linked inode the group that its links name.
fn mark_link_heads(nodes: &mut [Node]) {
    let groups: std::collections::BTreeSet<Arc<[u8]>> =
        nodes.iter().filter_map(|node| node.link_group.clone()).collect();
    for node in nodes {
        if node.link_group.is_none()
            && let Some(group) = groups.get(node.entry.path.as_slice())
        {
            node.link_group = Some(group.clone());
        }
    }
}

/// Follows every symbolic link of a path inside a root, as the kernel would in a chroot; what does not exist is
/// taken as it is written, so the target of a dangling link is a path like any other.
///
/// `lookup` tells what a path names; `None` when the walk meets more than [`LINK_LIMIT`] links or takes more than
/// [`STEP_LIMIT`] steps.
pub(crate) fn resolve<'a>(
    path: &[u8],
    follow_last: bool,
    lookup: impl Fn(&[u8]) -> Option<&'a Entry>,
) -> Option<Vec<u8>> {
    let mut rest: Vec<Vec<u8>> = components(path).rev().collect();
    let mut done: Vec<u8> = Vec::new();
    let mut links = 0;
    let mut steps = 0;
    while let Some(part) = rest.pop() {
        steps += 1;
        if steps > STEP_LIMIT {
            return None;
        }
        if part == b".." {
            done = parent(&done).unwrap_or_default().to_vec();
            continue;
        }
        let here = join(&done, &part);
        match lookup(&here).map(|entry| &entry.kind) {
            Some(EntryKind::Symlink { target }) if follow_last || !rest.is_empty() => {
                links += 1;
                if links > LINK_LIMIT {
                    return None;
                }
                if target.starts_with(b"/") {
                    done.clear();
                }
                rest.extend(components(target).rev());
            }
            _ => done = here,
        }
    }
    Some(done)
}

fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = Vec<u8>> {
    path.split(|&byte| byte == b'/').filter(|part| !matches!(*part, b"" | b".")).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rbx_store::IndexEntry;

    fn layer(items: &[(&str, EntryKind)]) -> LayerIndex {
        let entries = items
            .iter()
            .map(|(path, kind)| IndexEntry { entry: Entry::new(*path, kind.clone()), content: None })
            .collect();
        LayerIndex { entries }
    }

    fn paths(tree: &Tree) -> Vec<String> {
        tree.nodes().iter().map(|node| String::from_utf8_lossy(&node.entry.path).into_owned()).collect()
    }

    const FILE: EntryKind = EntryKind::File { size: 0 };
    const DIR: EntryKind = EntryKind::Directory;

    #[test]
    fn a_directory_comes_right_before_what_it_holds() {
        let mut names = ["a-b", "a/b", "a", "a.b", "a/b/c", "b"];
        names.sort_by(|a, b| compare_paths(a.as_bytes(), b.as_bytes()));
        assert_eq!(names, ["a", "a/b", "a/b/c", "a-b", "a.b", "b"]);
    }

    #[test]
    fn whiteouts_and_opaque_directories_hide_lower_layers_only() {
        let lower =
            layer(&[("a", DIR), ("a/x", FILE), ("a/y", FILE), ("b", DIR), ("b/z", FILE), ("c", FILE)]);
        let upper = layer(&[
            ("a", DIR),
            ("a", EntryKind::OpaqueDirectory),
            ("a/new", FILE),
            ("b/z", EntryKind::Whiteout),
            ("c", EntryKind::Whiteout),
        ]);
        let tree = Tree::from_layers([(&lower, None), (&upper, None)]);
        assert_eq!(paths(&tree), ["a", "a/new", "b"]);
    }

    #[test]
    fn a_file_over_a_directory_hides_what_was_below() {
        let lower = layer(&[("a", DIR), ("a/x", FILE), ("ab", FILE)]);
        let upper = layer(&[("a", FILE)]);
        let tree = Tree::from_layers([(&lower, None), (&upper, None)]);
        assert_eq!(paths(&tree), ["a", "ab"]);
    }

    #[test]
    fn links_are_followed_inside_the_root() {
        let link = |target: &str| EntryKind::Symlink { target: target.into() };
        let tree = Tree::from_layers([(
            &layer(&[
                ("abs", link("/usr/lib")),
                ("loop", link("loop")),
                ("up", link("../../../etc")),
                ("usr", DIR),
                ("usr/lib", DIR),
                ("usr/lib/self", link("..")),
            ]),
            None,
        )]);
        let resolve = |path: &str| {
            resolve(path.as_bytes(), true, |path| tree.get(path).map(|node| &node.entry))
                .map(|path| String::from_utf8(path).unwrap())
        };
        assert_eq!(resolve("/abs/x").as_deref(), Some("usr/lib/x"));
        assert_eq!(resolve("abs/self/lib").as_deref(), Some("usr/lib"));
        assert_eq!(resolve("up/passwd").as_deref(), Some("etc/passwd"));
        assert_eq!(resolve("loop/x"), None);
    }
}

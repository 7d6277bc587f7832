//! Which files a `COPY` or `ADD` means.

use std::collections::BTreeMap;

use rbx_dockerfile::{DirState, Ignore, go_match};
use rbx_oci::EntryKind;
use rbx_store::KeyHasher;

use crate::error::BuildError;
use crate::mode::Chmod;
use crate::tree::{Node, Tree, base_name, clean, join, resolve};

/// How files are copied: what the flags of one instruction say.
#[derive(Debug, Clone, Default)]
pub(crate) struct CopyOptions {
    /// Owner of everything copied; what the source says if none.
    pub(crate) owner: Option<(u32, u32)>,
    pub(crate) chmod: Option<Chmod>,
    pub(crate) exclude: Vec<String>,
    /// Keep the source's directories below the destination.
    pub(crate) parents: bool,
    /// Time of directories that are made on the way, in seconds since the epoch.
    pub(crate) now: i64,
}

/// One source path of a `COPY`, matched against a tree.
#[derive(Debug)]
pub(crate) struct Selected {
    /// The name a file gets in a directory: the last part of the path as it was matched.
    pub(crate) name: Vec<u8>,
    /// The path with its links followed; `None` for the whole root.
    pub(crate) path: Vec<u8>,
    /// With `parents`: what below `path` is meant.
    only: Option<String>,
}

impl Selected {
    /// A single file, under its own name.
    pub(crate) fn file(path: &[u8]) -> Self {
        Self { name: base_name(path).to_vec(), path: path.to_vec(), only: None }
    }

    /// Everything.
    pub(crate) fn everything() -> Self {
        Self { name: Vec::new(), path: Vec::new(), only: None }
    }
}

/// Finds what the source paths of an instruction mean in `tree`.
pub(crate) fn select(
    tree: &Tree,
    sources: &[String],
    options: &CopyOptions,
) -> Result<Vec<Vec<Selected>>, BuildError> {
    sources.iter().map(|source| select_one(tree, source, options.parents)).collect()
}

fn select_one(tree: &Tree, source: &str, parents: bool) -> Result<Vec<Selected>, BuildError> {
    if parents {
        let (pivot, pattern) = source.split_once("/./").unwrap_or(("/", source));
        let pivot = follow(tree, &clean(pivot.as_bytes()), pivot)?;
        let pattern = String::from_utf8_lossy(&clean(pattern.as_bytes())).into_owned();
        let wild = has_wildcard(&pattern);
        if !wild && tree.get(&join(&pivot, pattern.as_bytes())).is_none() {
            return Err(not_found(source));
        }
        return Ok(vec![Selected { name: Vec::new(), path: pivot, only: Some(pattern) }]);
    }
    let cleaned = clean(source.as_bytes());
    let (fixed, wild) = split_wildcards(&cleaned);
    if wild.is_empty() {
        let path = follow(tree, &cleaned, source)?;
        if !path.is_empty() && tree.get(&path).is_none() {
            return Err(not_found(source));
        }
        return Ok(vec![Selected { name: base_name(&cleaned).to_vec(), path, only: None }]);
    }
    let directory = follow(tree, &fixed, source)?;
    let pattern = String::from_utf8_lossy(&wild).into_owned();
    let mut selected: Vec<Selected> = Vec::new();
    let mut inside: Option<Vec<u8>> = None;
    for node in &tree.nodes()[tree.subtree(&directory)] {
        let path = &node.entry.path;
        if *path == directory || inside.as_deref().is_some_and(|matched| lies_below(path, matched)) {
            continue;
        }
        let relative = if directory.is_empty() { path } else { &path[directory.len() + 1..] };
        if go_match(&pattern, &String::from_utf8_lossy(relative)).unwrap_or(false) {
            // What lies in a matched directory is copied with it.
            inside = node.is_directory().then(|| path.clone());
            let path = follow(tree, path, source)?;
            selected.push(Selected { name: base_name(&node.entry.path).to_vec(), path, only: None });
        }
    }
    Ok(selected)
}

fn follow(tree: &Tree, path: &[u8], source: &str) -> Result<Vec<u8>, BuildError> {
    resolve(path, true, |path| tree.get(path).map(|node| &node.entry))
        .ok_or_else(|| BuildError::invalid(format!("too many levels of symbolic links: {source:?}")))
}

fn not_found(source: &str) -> BuildError {
    let path = if source.starts_with('/') { source.to_owned() } else { format!("/{source}") };
    BuildError::invalid(format!("{path:?}: not found"))
}

fn lies_below(path: &[u8], directory: &[u8]) -> bool {
    path.len() > directory.len() && path.starts_with(directory) && path[directory.len()] == b'/'
}

fn has_wildcard(path: &str) -> bool {
    let mut escaped = false;
    path.bytes().any(|byte| {
        let wild = !escaped && matches!(byte, b'*' | b'?' | b'[');
        escaped = !escaped && byte == b'\\';
        wild
    })
}

/// Divides a path before its first part with a wildcard.
fn split_wildcards(path: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let parts: Vec<&[u8]> = path.split(|&byte| byte == b'/').collect();
    let at =
        parts.iter().position(|part| has_wildcard(&String::from_utf8_lossy(part))).unwrap_or(parts.len());
    (parts[..at].join(&b'/'), parts[at..].join(&b'/'))
}

/// The paths of a tree that have to be known to match `sources`: for a scan that reads no more than it needs.
pub(crate) fn wanted_paths(sources: &[String], parents: bool) -> Vec<Vec<u8>> {
    sources
        .iter()
        .map(|source| {
            let source = if parents { source.replace("/./", "/") } else { source.clone() };
            split_wildcards(&clean(source.as_bytes())).0
        })
        .collect()
}

/// What is copied, in the order of copying: each node with its path below the selected one.
pub(crate) fn walk<'a>(
    tree: &'a Tree,
    selected: &Selected,
    exclude: &Ignore,
) -> Result<Vec<(&'a [u8], &'a Node)>, BuildError> {
    let only = match &selected.only {
        Some(pattern) => Some(Ignore::from_patterns([pattern]).map_err(BuildError::failed)?),
        None => None,
    };
    let mut found: Vec<(&[u8], &Node, bool)> = Vec::new();
    let mut excluded_by = Nested::new(exclude);
    let mut included_by = only.as_ref().map(Nested::new);
    for node in &tree.nodes()[tree.subtree(&selected.path)] {
        let path = node.entry.path.as_slice();
        let relative = if selected.path.is_empty() {
            path
        } else if path == selected.path {
            found.push((&[], node, true));
            continue;
        } else {
            &path[selected.path.len() + 1..]
        };
        let excluded = excluded_by.matches(relative);
        let included = included_by.as_mut().is_none_or(|only| only.matches(relative));
        found.push((relative, node, included && !excluded));
    }
    // A directory that does not match itself is made when something in it does.
    let lazily = only.is_some() || !exclude.is_empty();
    let mut kept = Vec::with_capacity(found.len());
    let mut next: Option<&[u8]> = None;
    for (relative, node, meant) in found.into_iter().rev() {
        let leads = lazily
            && node.is_directory()
            && next.is_some_and(|next| lies_below(next, relative) || relative.is_empty());
        if meant || leads {
            next = Some(relative);
            kept.push((relative, node));
        }
    }
    kept.reverse();
    Ok(kept)
}

/// Matches the paths of one walk, keeping what is known of the directories the walk is in.
struct Nested<'a> {
    patterns: &'a Ignore,
    stack: Vec<(Vec<u8>, DirState)>,
}

impl<'a> Nested<'a> {
    fn new(patterns: &'a Ignore) -> Self {
        Self { patterns, stack: Vec::new() }
    }

    fn matches(&mut self, path: &[u8]) -> bool {
        if self.patterns.is_empty() {
            return false;
        }
        while self.stack.last().is_some_and(|(directory, _)| !lies_below(path, directory)) {
            self.stack.pop();
        }
        let root = self.patterns.root();
        let state = self.stack.last().map_or(&root, |(_, state)| state);
        let verdict = self.patterns.child(state, &String::from_utf8_lossy(path));
        self.stack.push((path.to_vec(), verdict.state));
        verdict.excluded
    }
}

pub(crate) fn excludes(options: &CopyOptions) -> Result<Ignore, BuildError> {
    Ignore::from_patterns(&options.exclude).map_err(|error| BuildError::invalid(error.to_string()))
}

/// All regular files that a selection copies.
pub(crate) fn selected_files<'a>(
    tree: &'a Tree,
    selected: &'a [Vec<Selected>],
    options: &CopyOptions,
) -> Result<Vec<&'a Node>, BuildError> {
    let exclude = excludes(options)?;
    let mut files = Vec::new();
    for selected in selected.iter().flatten() {
        let walked = walk(tree, selected, &exclude)?;
        files.extend(
            walked
                .into_iter()
                .map(|(_, node)| node)
                .filter(|node| matches!(node.entry.kind, EntryKind::File { .. })),
        );
    }
    Ok(files)
}

/// Adds to a cache key what a selection copies: names, types, modes, owners, links, attributes and bytes. No
/// time is in it: what was merely touched stays what it was. Every file's digest must be known.
pub(crate) fn hash_selection(
    hasher: &mut KeyHasher,
    tree: &Tree,
    selected: &[Vec<Selected>],
    options: &CopyOptions,
) -> Result<(), BuildError> {
    let exclude = excludes(options)?;
    for source in selected {
        hasher.number(source.len() as u64);
        for selected in source {
            hasher.field(&selected.name);
            let walked = walk(tree, selected, &exclude)?;
            hasher.number(walked.len() as u64);
            let mut groups: BTreeMap<&[u8], &[u8]> = BTreeMap::new();
            for (relative, node) in walked {
                hasher.field(relative);
                hash_node(hasher, node);
                if let Some(group) = &node.link_group {
                    hasher.field(groups.entry(group).or_insert(relative));
                }
            }
        }
    }
    Ok(())
}

fn hash_node(hasher: &mut KeyHasher, node: &Node) {
    let entry = &node.entry;
    hasher.number(u64::from(entry.mode)).number(u64::from(entry.uid)).number(u64::from(entry.gid));
    match &entry.kind {
        EntryKind::File { .. } => {
            hasher.field("file");
            if let Some(content) = node.content.get() {
                hasher.field(content.as_bytes());
            }
        }
        EntryKind::Symlink { target } => {
            hasher.field("symlink").field(target);
        }
        EntryKind::CharDevice { major, minor } => {
            hasher.field("character device").number(u64::from(*major)).number(u64::from(*minor));
        }
        EntryKind::BlockDevice { major, minor } => {
            hasher.field("block device").number(u64::from(*major)).number(u64::from(*minor));
        }
        EntryKind::Directory => {
            hasher.field("directory");
        }
        EntryKind::Fifo => {
            hasher.field("fifo");
        }
        EntryKind::Hardlink { .. } | EntryKind::Whiteout | EntryKind::OpaqueDirectory => {}
    }
    hasher.number(entry.xattrs.len() as u64);
    for (name, value) in &entry.xattrs {
        hasher.field(name).field(value);
    }
}

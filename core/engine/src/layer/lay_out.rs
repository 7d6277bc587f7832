//! A merged file system as one directory: what a cache begins with.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use rbx_oci::EntryKind;
use rbx_store::IdMap;
use rustix::fs::{AtFlags, Mode, OFlags};

use super::materialise::{set_metadata, write_special};
use super::origin::{open_beneath, open_root};
use crate::error::LayerError;
use crate::tree::{Node, Tree, base_name, parent};

/// Writes what a directory of a file system holds into an empty directory, which gets the other's metadata, too: all
/// as it is there, with owners, times and hard links. `part` is the directory's path, empty for the root, which has
/// no metadata of its own.
///
/// Owners that are none of `ids` are root, and devices that cannot be made are left out.
pub(crate) fn lay_out(tree: &Tree, part: &[u8], ids: &IdMap, directory: &Path) -> Result<(), LayerError> {
    let failed = |path: &[u8], error| LayerError::write(path, error);
    let root = open_root(directory).map_err(|error| failed(part, error))?;
    let nodes = &tree.nodes()[tree.subtree(part)];
    let mut links: BTreeMap<Arc<[u8]>, &[u8]> = BTreeMap::new();
    for node in nodes {
        let path = below(part, &node.entry.path);
        if !path.is_empty() {
            write(&root, path, node, ids, &mut links).map_err(|error| failed(&node.entry.path, error))?;
        }
    }
    // Last, since writing into a directory changes its times.
    for node in nodes.iter().rev().filter(|node| node.is_directory()) {
        let path = below(part, &node.entry.path);
        let set = || -> io::Result<()> {
            let (above, name) = place(&root, path)?;
            set_metadata(&above, name, &node.entry, ids)
        };
        set().map_err(|error| failed(&node.entry.path, error))?;
    }
    Ok(())
}

/// A path as seen from the directory `part`.
fn below<'p>(part: &[u8], path: &'p [u8]) -> &'p [u8] {
    let rest = path.strip_prefix(part).unwrap_or(path);
    rest.strip_prefix(b"/").unwrap_or(rest)
}

/// The directory a path lies in, and its name there.
fn place<'p>(root: &OwnedFd, path: &'p [u8]) -> io::Result<(OwnedFd, &'p [u8])> {
    let above = parent(path).filter(|above| !above.is_empty()).unwrap_or(b".");
    let above = open_beneath(root, above, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC)?;
    Ok((above, if path.is_empty() { b"." } else { base_name(path) }))
}

fn write<'t>(
    root: &OwnedFd,
    path: &'t [u8],
    node: &'t Node,
    ids: &IdMap,
    links: &mut BTreeMap<Arc<[u8]>, &'t [u8]>,
) -> io::Result<()> {
    let (above, name) = place(root, path)?;
    if let Some(group) = &node.link_group {
        if let Some(first) = links.get(group) {
            let (directory, first) = place(root, first)?;
            return Ok(rustix::fs::linkat(&directory, first, &above, name, AtFlags::empty())?);
        }
        links.insert(group.clone(), path);
    }
    match &node.entry.kind {
        EntryKind::Directory => Ok(rustix::fs::mkdirat(&above, name, Mode::from_raw_mode(0o700))?),
        EntryKind::File { .. } => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut file = File::from(rustix::fs::openat(&above, name, flags, Mode::from_raw_mode(0o600))?);
            let source = node.source().ok_or(io::ErrorKind::NotFound)?;
            io::copy(&mut source.open()?, &mut file)?;
            set_metadata(&above, name, &node.entry, ids)
        }
        _ => write_special(&above, name, &node.entry, ids),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use rbx_oci::Entry;
    use rbx_store::{IndexEntry, LayerIndex};

    use super::*;
    use crate::layer::Origin;

    #[test]
    fn a_directory_is_written_as_it_is() {
        let source = tempfile::tempdir().expect("a directory");
        std::fs::create_dir_all(source.path().join("d/e")).expect("directories");
        std::fs::write(source.path().join("d/f"), "four").expect("a file");
        std::fs::write(source.path().join("other"), "other").expect("a file");
        let me = rustix::process::getuid().as_raw();
        let item = |path: &str, kind, mode, mtime| IndexEntry {
            entry: Entry { mode, mtime, uid: me, ..Entry::new(path, kind) },
            content: None,
        };
        let entries = vec![
            item("d", EntryKind::Directory, 0o711, 3),
            item("d/e", EntryKind::Directory, 0o500, 4),
            item("d/f", EntryKind::File { size: 4 }, 0o640, 5),
            item("d/g", EntryKind::Hardlink { target: b"d/f".to_vec() }, 0o640, 5),
            item("d/l", EntryKind::Symlink { target: b"/outside".to_vec() }, 0o777, 6),
            item("other", EntryKind::File { size: 5 }, 0o600, 7),
        ];
        let origin = Origin::directory(source.path()).expect("an origin");
        let tree = Tree::from_layers([(&LayerIndex { entries }, Some(origin))]);
        let into = tempfile::tempdir().expect("a directory");
        lay_out(&tree, b"d", &IdMap::whole(), into.path()).expect("files");

        let stat = |name: &str| std::fs::symlink_metadata(into.path().join(name)).expect("metadata");
        let told = |name: &str| (stat(name).mode() & 0o7777, stat(name).mtime());
        assert_eq!((told("."), told("e"), told("f")), ((0o711, 3), (0o500, 4), (0o640, 5)));
        assert_eq!(std::fs::read(into.path().join("g")).expect("a file"), b"four");
        assert_eq!(stat("f").ino(), stat("g").ino());
        assert_eq!(stat("l").mtime(), 6);
        assert_eq!(std::fs::read_dir(into.path()).expect("names").count(), 4, "nothing else");

        lay_out(&tree, b"", &IdMap::whole(), &into.path().join("e")).expect("files");
        assert_eq!(std::fs::read(into.path().join("e/other")).expect("a file"), b"other");
        assert_eq!(std::fs::read(into.path().join("e/d/g")).expect("a file"), b"four");
    }
}

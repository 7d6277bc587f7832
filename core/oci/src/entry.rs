//! The universal record of a file system: one member of a layer or tree.

use std::collections::BTreeMap;

/// One member of a layer or tree: what a tar header says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it is, relative to the root: no leading or trailing slash, no empty part, no `.` or `..`. Empty for
    /// the root itself. Bytes, since file names need not be UTF-8.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits with set-user-ID, set-group-ID and sticky: at most `0o7777`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Owning group.
    pub gid: u32,
    /// Modification time in whole seconds since 1970, UTC.
    pub mtime: i64,
    /// Extended attributes by full name, such as `security.capability`.
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

/// What an [`Entry`] is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File {
        /// Its length in bytes.
        size: u64,
    },
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink {
        /// What it points to, as it stands: it may be absolute, dangling or lead out of the root.
        target: Vec<u8>,
    },
    /// Another name of a file that came earlier in the same layer or in a lower one.
    Hardlink {
        /// That file's path, of the same form as [`Entry::path`].
        target: Vec<u8>,
    },
    /// A character device.
    CharDevice {
        /// Major number, 12 bits on Linux.
        major: u32,
        /// Minor number, 20 bits on Linux.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number, 12 bits on Linux.
        major: u32,
        /// Minor number, 20 bits on Linux.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// What lower layers have at [`Entry::path`] is deleted: the member `.wh.<name>` of a layer.
    Whiteout,
    /// What lower layers have inside the directory at [`Entry::path`] is deleted: the member `.wh..wh..opq` of a
    /// layer. A record beside the directory's own, which may come before or after it, or be missing.
    OpaqueDirectory,
}

impl Entry {
    /// A record of `kind` at `path`, owned by root, without permissions, from 1970.
    pub fn new(path: impl Into<Vec<u8>>, kind: EntryKind) -> Entry {
        Entry { path: path.into(), kind, mode: 0, uid: 0, gid: 0, mtime: 0, xattrs: BTreeMap::new() }
    }

    /// The last part of the path; empty for the root.
    pub fn name(&self) -> &[u8] {
        split_path(&self.path).1
    }

    /// The path of the directory it is in; empty for what is in the root, and for the root.
    pub fn parent(&self) -> &[u8] {
        split_path(&self.path).0
    }

    /// Whether it is a regular file, under its own name or as a hard link.
    pub fn is_file(&self) -> bool {
        matches!(self.kind, EntryKind::File { .. } | EntryKind::Hardlink { .. })
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        matches!(self.kind, EntryKind::Directory)
    }

    /// Whether it deletes something of the layers below rather than being something itself.
    pub fn is_deletion(&self) -> bool {
        matches!(self.kind, EntryKind::Whiteout | EntryKind::OpaqueDirectory)
    }

    /// Bytes of content that follow it in an archive: 0 for all but files.
    pub fn size(&self) -> u64 {
        match self.kind {
            EntryKind::File { size } => size,
            _ => 0,
        }
    }
}

/// Divides a path into the directory and the name in it.
pub(crate) fn split_path(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&b| b == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divides_paths() {
        let parts = |path: &str| {
            let entry = Entry::new(path, EntryKind::Directory);
            (
                String::from_utf8(entry.parent().to_vec()).unwrap(),
                String::from_utf8(entry.name().to_vec()).unwrap(),
            )
        };
        assert_eq!(parts("a/b/c"), ("a/b".into(), "c".into()));
        assert_eq!(parts("a"), (String::new(), "a".into()));
        assert_eq!(parts(""), (String::new(), String::new()));
    }
}

//! Removal of trees that build steps have made, which may be unreadable, or nested deeper than paths can be long.

use std::ffi::{CStr, CString};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

/// Removes a tree that this user may not.
pub(crate) type TreeRemover = Box<dyn Fn(&Path) -> io::Result<()> + Send + Sync>;

/// Directories are open at once down to this depth; deeper ones are first moved up.
const DEPTH: usize = 32;

/// Removes a file, or a directory with everything in it; nothing being there is success. Symbolic links are removed,
/// not followed. Where permission is missing, `remover` is asked.
pub(crate) fn remove_tree(path: &Path, remover: Option<&TreeRemover>) -> io::Result<()> {
    match remove(path) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => match remover {
            Some(remover) => remover(path),
            None => Err(error),
        },
        result => result,
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::IsADirectory => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        result => return result,
    }
    let name = CString::new(path.as_os_str().as_bytes())?;
    let mut removal = Removal { top: open_directory(rustix::fs::CWD, &name)?, moved: 0 };
    removal.empty(&removal.top.try_clone()?, 0)?;
    // Each round empties what the one before moved up, which may move up more.
    while removal.moved > 0 {
        removal.moved = 0;
        removal.empty(&removal.top.try_clone()?, 0)?;
    }
    std::fs::remove_dir(path)
}

struct Removal {
    top: OwnedFd,
    moved: u64,
}

impl Removal {
    fn empty(&mut self, directory: &OwnedFd, depth: usize) -> io::Result<()> {
        for entry in Dir::read_from(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let is_directory = match entry.file_type() {
                FileType::Unknown => {
                    let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
                    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
                }
                kind => kind == FileType::Directory,
            };
            if !is_directory {
                allowing(directory, || rustix::fs::unlinkat(directory, name, AtFlags::empty()))?;
            } else if depth < DEPTH {
                let inner = open_directory(directory, name)?;
                self.empty(&inner, depth + 1)?;
                allowing(directory, || rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR))?;
            } else {
                self.move_up(directory, name)?;
            }
        }
        Ok(())
    }

    /// Gives a directory an unused name at the top.
    fn move_up(&mut self, directory: &OwnedFd, name: &CStr) -> io::Result<()> {
        loop {
            let new = format!(".moved.{}", self.moved);
            self.moved += 1;
            let flags = rustix::fs::RenameFlags::NOREPLACE;
            match allowing(directory, || {
                rustix::fs::renameat_with(directory, name, &self.top, new.as_str(), flags)
            }) {
                Err(Errno::EXIST) => {}
                result => return Ok(result?),
            }
        }
    }
}

/// Opens a directory to list it, giving its owner access where that was taken away.
fn open_directory(parent: impl AsFd, name: &CStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(&parent, name, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            // Follows no link: `name` was a directory a moment ago, in a tree nobody else changes any more.
            rustix::fs::chmodat(&parent, name, Mode::RWXU, AtFlags::empty())?;
            Ok(rustix::fs::openat(&parent, name, flags, Mode::empty())?)
        }
        result => Ok(result?),
    }
}

/// Tries again with write permission on the directory.
fn allowing(directory: &OwnedFd, operation: impl Fn() -> Result<(), Errno>) -> Result<(), Errno> {
    match operation() {
        Err(Errno::ACCESS) => {
            rustix::fs::fchmod(directory, Mode::RWXU)?;
            operation()
        }
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn removes_unreadable_trees_and_leaves_what_links_point_to() {
        let temp = tempfile::tempdir().unwrap();
        let outside = temp.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "").unwrap();
        let tree = temp.path().join("tree");
        fs::create_dir_all(tree.join("a/b/c")).unwrap();
        fs::write(tree.join("a/b/file"), "").unwrap();
        symlink(&outside, tree.join("a/link")).unwrap();
        for path in ["a/b/c", "a/b", "a"] {
            fs::set_permissions(tree.join(path), fs::Permissions::from_mode(0o000)).unwrap();
        }
        remove_tree(&tree, None).unwrap();
        assert!(!tree.exists());
        assert!(outside.join("kept").exists());
        remove_tree(&tree, None).unwrap();
    }

    #[test]
    fn removes_trees_deeper_than_paths_are_long() {
        let temp = tempfile::tempdir().unwrap();
        let tree = temp.path().join("tree");
        fs::create_dir(&tree).unwrap();
        let name = c"a-directory-with-a-name-of-a-certain-length";
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let mut directory = rustix::fs::open(&tree, flags, Mode::empty()).unwrap();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&directory, name, Mode::RWXU).unwrap();
            directory = rustix::fs::openat(&directory, name, flags, Mode::empty()).unwrap();
        }
        drop(directory);
        remove_tree(&tree, None).unwrap();
        assert!(!tree.exists());
    }
}

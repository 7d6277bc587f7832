//! Which documents are Dockerfiles; of those that are not open, where they are in the folders of the client, and what is
//! written in them.

use std::cell::Cell;
use std::collections::HashSet;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::SystemTime;

use rbx_project::dockerfiles;
use tower_lsp::ls_types::TextDocumentItem;

use crate::commands;

/// What editors call the language of Dockerfiles.
const LANGUAGES: [&str; 2] = ["dockerfile", "containerfile"];
/// Dockerfiles of a workspace that are read, at most.
pub(crate) const FILES: usize = 2000;
/// Files and directories that are looked at for Dockerfiles, at most.
const ENTRIES: usize = 200_000;
/// Bytes of a Dockerfile, at most.
const LONGEST: u64 = 2 << 20;

/// Whether a document is a Dockerfile: by its language, else by its name.
pub(crate) fn is_dockerfile(document: &TextDocumentItem) -> bool {
    LANGUAGES.iter().any(|language| document.language_id.eq_ignore_ascii_case(language))
        || rbx_project::is_dockerfile(&commands::name(&document.uri))
}

/// The Dockerfiles in folders and below, each once, as they are found. What cannot be searched has none. The search ends
/// when `stop` says so, which is asked for every file there is.
pub(crate) fn find(folders: &[PathBuf], stop: impl Fn() -> bool + Copy) -> impl Iterator<Item = PathBuf> {
    let looked_at = Rc::new(Cell::new(0));
    let of_folder = move |folder| {
        let looked_at = Rc::clone(&looked_at);
        let stop = move || stop() || looked_at.replace(looked_at.get() + 1) >= ENTRIES;
        dockerfiles(folder, stop).flatten()
    };
    let mut seen = HashSet::new();
    folders.iter().map(PathBuf::as_path).flat_map(of_folder).filter(move |path| seen.insert(path.clone()))
}

/// The text of a file, and what tells whether it has changed. Nothing of a file that is too long for a Dockerfile.
pub(crate) fn read(path: &Path) -> Option<((Option<SystemTime>, u64), String)> {
    let file = fs::File::open(path).ok()?;
    let data = file.metadata().ok().filter(|data| data.is_file() && data.len() <= LONGEST)?;
    let mut bytes = Vec::new();
    file.take(LONGEST).read_to_end(&mut bytes).ok()?;
    Some(((data.modified().ok(), data.len()), String::from_utf8_lossy(&bytes).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_once_until_nobody_wants_them() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir(root.join("sub")).unwrap();
        for name in ["Dockerfile", "sub/Dockerfile"] {
            fs::write(root.join(name), "").unwrap();
        }
        let folders = [root.to_owned(), root.join("sub"), root.join("not there")];
        assert_eq!(find(&folders, || false).count(), 2);
        assert_eq!(find(&folders, || true).count(), 0);
    }

    #[test]
    fn what_is_too_long_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("Dockerfile");
        fs::write(&path, b"FROM \xff").unwrap();
        assert_eq!(read(&path).unwrap().1, "FROM \u{fffd}");
        fs::File::create(&path).unwrap().set_len(LONGEST + 1).unwrap();
        assert_eq!(read(&path), None);
        assert_eq!(read(directory.path()), None);
    }
}

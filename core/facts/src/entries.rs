//! What is in a directory of the build context on this machine.

use std::fs;
use std::path::Path;

use rbx_dockerfile::Ignore;

use crate::context::ignored;

/// Entries of a directory that are looked at, at most.
const MAX_ENTRIES: usize = 1000;
/// Names of a path, at most.
const MAX_DEPTH: usize = 64;

/// Something in a directory of a build context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// It is a directory.
    pub is_directory: bool,
}

/// What is in a directory of the context, by name: a path from the context's root, with `/` between its names. What
/// stays out of the context is left out, and so are names that are no Unicode. Links are not followed: there is nothing
/// behind one, and nothing where the path leads out of the context. An ignore file that makes no sense is an error.
pub fn entries(context: &Path, dockerfile: Option<&Path>, directory: &str) -> Result<Vec<Entry>, String> {
    let ignore: Ignore = ignored(context, dockerfile)?;
    let names: Vec<&str> = directory.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
    if names.len() > MAX_DEPTH || names.contains(&"..") {
        return Ok(Vec::new());
    }
    let mut at = context.to_owned();
    let mut path = String::new();
    let mut state = ignore.root();
    let is_directory = |path: &Path| fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    for name in names {
        at.push(name);
        path.push_str(name);
        let verdict = ignore.child(&state, &path);
        if verdict.excluded && !verdict.descend || !is_directory(&at) {
            return Ok(Vec::new());
        }
        state = verdict.state;
        path.push('/');
    }
    let Ok(found) = fs::read_dir(&at) else { return Ok(Vec::new()) };
    let mut all = Vec::new();
    for entry in found.flatten().take(MAX_ENTRIES) {
        let (Ok(name), Ok(kind)) = (entry.file_name().into_string(), entry.file_type()) else { continue };
        let verdict = ignore.child(&state, &format!("{path}{name}"));
        if !verdict.excluded || kind.is_dir() && verdict.descend {
            all.push(Entry { name, is_directory: kind.is_dir() });
        }
    }
    all.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(context: &Path, directory: &str) -> String {
        let all = entries(context, None, directory).unwrap();
        let name = |entry: &Entry| format!("{}{}", entry.name, if entry.is_directory { "/" } else { "" });
        all.iter().map(name).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn directories_are_listed_as_builds_see_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        for name in ["src/main.c", "src/a/b", "dist/keep/x", "dist/drop/x", "notes.md", ".env"] {
            fs::create_dir_all(path.join(name).parent().unwrap()).unwrap();
            fs::write(path.join(name), "").unwrap();
        }
        fs::write(path.join(".dockerignore"), "dist\n!dist/keep\n*.md\n.env").unwrap();
        symlink("/", path.join("root")).unwrap();
        symlink("src", path.join("link")).unwrap();
        assert_eq!(names(path, ""), ".dockerignore dist/ link root src/");
        assert_eq!(names(path, "./src/"), "a/ main.c");
        assert_eq!(names(path, "dist"), "keep/");
        assert_eq!(names(path, "dist/keep"), "x");
        for none in
            ["dist/drop", "missing", "link", "root/etc", "..", "src/../..", "notes.md", &"src/".repeat(100)]
        {
            assert_eq!(names(path, none), "", "{none}");
        }
        fs::write(path.join(".dockerignore"), "[").unwrap();
        assert!(entries(path, None, "").is_err());
    }

    #[test]
    fn large_directories_are_cut_short() {
        let directory = tempfile::tempdir().unwrap();
        for number in 0..MAX_ENTRIES + 5 {
            fs::write(directory.path().join(format!("f{number}")), "").unwrap();
        }
        assert_eq!(entries(directory.path(), None, "").unwrap().len(), MAX_ENTRIES);
    }
}

//! Dockerfiles in a directory.

use std::path::{Path, PathBuf};

use ignore::WalkBuilder;

/// Ends of names that are those of other files than Dockerfiles: ignore files, documents, templates, what editors leave.
const OTHERS: [&str; 15] = [
    "bak",
    "dockerignore",
    "erb",
    "in",
    "j2",
    "jinja",
    "jinja2",
    "json",
    "md",
    "orig",
    "rego",
    "rej",
    "swp",
    "template",
    "tmpl",
];
/// Ends of names of programs about Dockerfiles, which are in lower case.
const PROGRAMS: [&str; 12] = ["c", "cpp", "go", "h", "java", "js", "lua", "py", "rb", "rs", "ts", "vim"];

/// The Dockerfiles in a directory and below, as they are found. What git ignores is left out, and so are hidden
/// directories; links are not followed. The search ends when `stop` says so, which is asked for every file there is.
pub fn dockerfiles(
    directory: &Path,
    stop: impl Fn() -> bool,
) -> impl Iterator<Item = Result<PathBuf, String>> {
    let root = directory.to_owned();
    let entries = WalkBuilder::new(directory).build().take_while(move |_| !stop());
    entries.filter_map(move |entry| match entry {
        Ok(entry) => {
            let is_file = entry.file_type().is_some_and(|kind| kind.is_file());
            let is_wanted = is_file && entry.file_name().to_str().is_some_and(is_dockerfile);
            is_wanted.then(|| Ok(entry.into_path()))
        }
        Err(error) => Some(Err(format!("{error}: failed to search {}", root.display()))),
    })
}

/// Whether a file of that name is a Dockerfile.
pub fn is_dockerfile(name: &str) -> bool {
    let is_keyword = |part: &str| matches!(part.to_lowercase().as_str(), "dockerfile" | "containerfile");
    let Some((first, rest)) = name.split_once('.') else { return is_keyword(name) };
    let last = rest.rsplit('.').next().unwrap_or_default().to_lowercase();
    let program = first.starts_with(char::is_lowercase) && PROGRAMS.contains(&last.as_str());
    is_keyword(&last)
        || is_keyword(first) && !program && !OTHERS.contains(&last.as_str()) && !rest.ends_with('~')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockerfiles_are_known_by_their_names() {
        for name in [
            "Dockerfile",
            "dockerfile",
            "Containerfile",
            "Dockerfile.dev",
            "api.Dockerfile",
            "Dockerfile.a.b",
            "Dockerfile.go",
            "dockerfile.dev",
        ] {
            assert!(is_dockerfile(name), "{name}");
        }
        for name in [
            "Dockerfiles",
            "Dockerfile.dockerignore",
            "Dockerfile.j2",
            "Dockerfile.rego",
            "dockerfile.go",
            "Dockerfile~",
            "Dockerfile.x~",
            "a.txt",
        ] {
            assert!(!is_dockerfile(name), "{name}");
        }
    }

    #[test]
    fn directories_are_searched() {
        let directory = tempfile::tempdir().unwrap();
        for path in ["Dockerfile", "b/Dockerfile.dev", ".hidden/Dockerfile", "out/Dockerfile", "b/notes"] {
            let path = directory.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        std::fs::create_dir(directory.path().join(".git")).unwrap();
        std::fs::write(directory.path().join(".gitignore"), "out\n").unwrap();
        std::os::unix::fs::symlink("/", directory.path().join("root")).unwrap();
        let mut found: Vec<_> = dockerfiles(directory.path(), || false).map(Result::unwrap).collect();
        found.sort();
        let names: Vec<_> = found.iter().map(|path| path.strip_prefix(directory.path()).unwrap()).collect();
        assert_eq!(names, [Path::new("Dockerfile"), Path::new("b/Dockerfile.dev")]);
        assert_eq!(dockerfiles(directory.path(), || true).count(), 0);
    }
}

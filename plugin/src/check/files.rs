//! Where Dockerfiles come from: files, directories, standard input.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use ignore::WalkBuilder;

use crate::cli::check::CheckArgs;
use crate::env::Env;
use crate::errors::CliError;

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

/// Where a Dockerfile comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Source {
    Stdin,
    /// A file, and what the user would call it.
    File(PathBuf, String),
}

/// What the operands name: each once, in their order; the files of a directory in theirs.
pub(super) fn sources(args: &CheckArgs, env: &Env) -> Result<Vec<Source>, CliError> {
    let one = |name: &str| match name {
        "-" => Source::Stdin,
        name => Source::File(env.cwd.join(name), name.to_owned()),
    };
    if let Some(file) = &args.file {
        // The command line of a build: the path is its context.
        return match args.paths.as_slice() {
            [] => Ok(vec![one(file)]),
            [path] if env.cwd.join(path).is_dir() => Ok(vec![one(file)]),
            _ => Err(CliError::new("with --file there can be one PATH, and it must be a directory")),
        };
    }
    let here = [".".to_owned()];
    let paths = if args.paths.is_empty() { &here[..] } else { &args.paths };
    let mut sources: Vec<Source> = Vec::new();
    let mut known: HashSet<Source> = HashSet::new();
    for path in paths {
        let full = env.cwd.join(path);
        let found = if path != "-" && full.is_dir() {
            let found = dockerfiles(&full).map_err(CliError::new)?;
            if found.is_empty() {
                let hint =
                    "Dockerfiles are called Dockerfile, Containerfile, Dockerfile.NAME or NAME.Dockerfile";
                return Err(CliError::new(format!("no Dockerfile in {path}")).hint(hint));
            }
            let name = |file: &PathBuf| {
                let inside = file.strip_prefix(&full).unwrap_or(file);
                let name = if path == "." { inside.to_owned() } else { Path::new(path).join(inside) };
                name.to_string_lossy().into_owned()
            };
            found.into_iter().map(|file| Source::File(file.clone(), name(&file))).collect()
        } else {
            vec![one(path)]
        };
        sources.extend(found.into_iter().filter(|source| known.insert(source.clone())));
    }
    Ok(sources)
}

/// The Dockerfiles in a directory and below, in order. What git ignores is left out, and so are hidden directories;
/// links are not followed.
fn dockerfiles(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    for entry in WalkBuilder::new(directory).build() {
        let entry = entry.map_err(|error| format!("{error}: failed to search {}", directory.display()))?;
        let is_file = entry.file_type().is_some_and(|kind| kind.is_file());
        if is_file && entry.file_name().to_str().is_some_and(is_dockerfile) {
            found.push(entry.into_path());
        }
    }
    found.sort();
    Ok(found)
}

/// Whether a file of that name is a Dockerfile.
fn is_dockerfile(name: &str) -> bool {
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
        let found = dockerfiles(directory.path()).unwrap();
        let names: Vec<_> = found.iter().map(|path| path.strip_prefix(directory.path()).unwrap()).collect();
        assert_eq!(names, [Path::new("Dockerfile"), Path::new("b/Dockerfile.dev")]);
    }
}

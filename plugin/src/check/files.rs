//! Where Dockerfiles come from: files, directories, standard input.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use rbx_project::dockerfiles;

use crate::cli::check::CheckArgs;
use crate::env::Env;
use crate::errors::CliError;

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
            let mut found: Vec<PathBuf> =
                dockerfiles(&full, || false).collect::<Result<_, _>>().map_err(CliError::new)?;
            found.sort();
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

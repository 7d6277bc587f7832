//! What a Dockerfile's sources are in the build context on this machine.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rbx_dockerfile::{Ignore, go_match};
use rbx_lint::{Binary, ContextFacts, ContextFile, SourceFacts};

/// Bytes of an ignore file, at most.
const MAX_IGNORE: u64 = 4 << 20;
/// Entries of directories that are looked at for one source.
const MAX_ENTRIES: usize = 1000;
/// Files that a source's facts list.
const MAX_FILES: usize = 100;
/// Names of a path, at most.
const MAX_DEPTH: usize = 64;

/// Which ignore file holds for a Dockerfile: that of its own name beside it, else that of the context.
pub fn ignore_file(context: &Path, dockerfile: Option<&Path>) -> Option<PathBuf> {
    let beside = dockerfile.map(|path| {
        let mut name = OsString::from(path);
        name.push(".dockerignore");
        PathBuf::from(name)
    });
    let all = beside.into_iter().chain([context.join(".dockerignore")]);
    all.into_iter().find(|path| path.is_file())
}

/// Looks for the sources of a Dockerfile in its context. Of a directory only the programs right in it are looked at,
/// and links are not followed: what stands behind one is not known. An ignore file that cannot be read, or makes no
/// sense, is an error, since a build fails for it.
pub fn context(
    directory: &Path,
    dockerfile: Option<&Path>,
    sources: &BTreeSet<String>,
) -> Result<ContextFacts, String> {
    let mut facts = ContextFacts { ignore: ignored(directory, dockerfile)?, ..ContextFacts::default() };
    for source in sources {
        let mut search = Search {
            root: directory,
            ignore: &facts.ignore,
            left: MAX_ENTRIES,
            found: SourceFacts::default(),
        };
        let names: Vec<&str> = source.split('/').filter(|name| !name.is_empty()).collect();
        if names.len() <= MAX_DEPTH && search.find(Path::new(""), &names) {
            let found = search.found;
            facts.sources.insert(source.clone(), found);
        }
    }
    Ok(facts)
}

/// What stays out of a context.
pub(crate) fn ignored(context: &Path, dockerfile: Option<&Path>) -> Result<Ignore, String> {
    let Some(path) = ignore_file(context, dockerfile) else { return Ok(Ignore::none()) };
    let failed = |reason: String| format!("{reason}: failed to read {}", path.display());
    let bytes = read_ignore(&path).map_err(|error| failed(error.to_string()))?;
    Ignore::parse(&bytes).map_err(|error| failed(error.to_string()))
}

fn read_ignore(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(MAX_IGNORE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

struct Search<'a> {
    root: &'a Path,
    ignore: &'a Ignore,
    /// Entries that may still be looked at.
    left: usize,
    found: SourceFacts,
}

impl Search<'_> {
    /// Follows the names of a source from a directory on. `false` is a link on the way, behind which nothing is known.
    fn find(&mut self, at: &Path, names: &[&str]) -> bool {
        let Some((name, rest)) = names.split_first() else {
            // All of the context: what is in it says nothing about any of it.
            return true;
        };
        if !name.contains(['*', '?', '[', '\\']) {
            return self.step(&at.join(name), rest);
        }
        let mut matching = Vec::new();
        for (entry, _) in self.entries(at) {
            if go_match(name, &entry).unwrap_or(false) {
                matching.push(entry);
            }
        }
        // What a pattern matches that is a link is left out, and the rest is known.
        for entry in matching {
            self.step(&at.join(entry), rest);
        }
        true
    }

    fn step(&mut self, path: &Path, rest: &[&str]) -> bool {
        let Ok(metadata) = fs::symlink_metadata(self.root.join(path)) else { return true };
        if metadata.is_symlink() {
            return false;
        }
        if !rest.is_empty() {
            return !metadata.is_dir() || self.find(path, rest);
        }
        self.take(path, &metadata);
        if metadata.is_dir() {
            for (entry, metadata) in self.entries(path) {
                let path = path.join(entry);
                if metadata.is_file() && is_program(&path, &metadata) {
                    self.take(&path, &metadata);
                }
            }
        }
        true
    }

    /// What is in a directory, in order.
    fn entries(&mut self, at: &Path) -> Vec<(String, Metadata)> {
        let Ok(entries) = fs::read_dir(self.root.join(at)) else { return Vec::new() };
        let mut all = Vec::new();
        for entry in entries.flatten() {
            if self.left == 0 {
                self.found.more = true;
                break;
            }
            self.left -= 1;
            if let (Ok(name), Ok(metadata)) = (entry.file_name().into_string(), entry.metadata()) {
                all.push((name, metadata));
            }
        }
        all.sort_by(|one, other| one.0.cmp(&other.0));
        all
    }

    fn take(&mut self, path: &Path, metadata: &Metadata) {
        let Some(name) = path.to_str() else { return };
        if self.ignore.excludes(name) {
            return;
        }
        if self.found.files.len() >= MAX_FILES {
            self.found.more = true;
            return;
        }
        let binary = if metadata.is_file() && is_program(path, metadata) {
            head(&self.root.join(path)).ok().and_then(|head| Binary::read(&head))
        } else {
            None
        };
        self.found.files.push(ContextFile { path: name.to_owned(), is_directory: metadata.is_dir(), binary });
    }
}

/// Whether a file may be a program: it may be executed, or has the name of one.
fn is_program(path: &Path, metadata: &Metadata) -> bool {
    #[cfg(unix)]
    let executable = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o111 != 0;
    #[cfg(not(unix))]
    let executable = false;
    let extension = path.extension().map(OsStr::to_ascii_lowercase);
    let named = match extension.as_deref().and_then(|extension| extension.to_str()) {
        Some(extension) => matches!(extension, "so" | "exe" | "bin" | "dll"),
        None => true,
    };
    metadata.len() > 0 && (executable || named)
}

/// The first bytes of a file.
fn head(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(Binary::HEAD as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Opens a file that was seen to be one: if it was replaced since, no link is followed and no pipe waited for.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt as _;
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        options.custom_flags(flags.bits().cast_signed());
    }
    options.open(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    /// The start of a program for amd64.
    fn elf() -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        (bytes[16], bytes[18]) = (2, 62);
        bytes
    }

    fn directory(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        directory
    }

    fn look(directory: &Path, sources: &[&str]) -> Vec<String> {
        let sources = sources.iter().map(|&source| source.to_owned()).collect();
        let facts = context(directory, None, &sources).unwrap();
        let shown = |file: &ContextFile| match &file.binary {
            Some(binary) => format!("{} {binary}", file.path),
            None if file.is_directory => format!("{}/", file.path),
            None => file.path.clone(),
        };
        let lines = facts.sources.iter().map(|(source, found)| {
            format!("{source}: {}", found.files.iter().map(shown).collect::<Vec<_>>().join(", "))
        });
        lines.collect()
    }

    #[test]
    fn sources_are_looked_for() {
        let program = elf();
        let directory = directory(&[
            ("bin/app", &program),
            ("bin/app.debug", &program),
            ("bin/run.sh", b"#!/bin/sh"),
            ("lib/a/x.so", &program),
            ("lib/b/x.so", b"text"),
            ("notes.txt", &program),
            ("tool", &program),
            ("secret/app", &program),
            (".dockerignore", b"secret\n*.debug\nbin/*.debug"),
        ]);
        let path = directory.path();
        fs::set_permissions(path.join("bin/app.debug"), fs::Permissions::from_mode(0o755)).unwrap();
        let sources =
            ["", "bin", "bin/*.sh", "lib/*/x.so", "notes.txt", "tool", "missing/x", "secret/app", "tool/x"];
        assert_eq!(
            look(path, &sources),
            [
                ": ",
                "bin: bin/, bin/app linux/amd64",
                "bin/*.sh: bin/run.sh",
                "lib/*/x.so: lib/a/x.so linux/amd64, lib/b/x.so",
                "missing/x: ",
                "notes.txt: notes.txt",
                "secret/app: ",
                "tool: tool linux/amd64",
                "tool/x: ",
            ]
        );
    }

    #[test]
    fn links_are_not_followed() {
        let outside = directory(&[("app", &elf())]);
        let directory = directory(&[("d/app", &elf())]);
        let path = directory.path();
        symlink(outside.path(), path.join("out")).unwrap();
        symlink(outside.path().join("app"), path.join("app")).unwrap();
        symlink("d", path.join("own")).unwrap();
        symlink(outside.path().join("app"), path.join("d/link")).unwrap();
        assert_eq!(
            look(path, &["out/app", "app", "own/app", "d", "d/*"]),
            ["d: d/, d/app linux/amd64", "d/*: d/app linux/amd64"]
        );
    }

    #[test]
    fn what_is_looked_at_is_bounded() {
        let directory = tempfile::tempdir().unwrap();
        for number in 0..MAX_ENTRIES + 5 {
            fs::write(directory.path().join(format!("f{number}")), "").unwrap();
        }
        let sources = BTreeSet::from(["*".to_owned(), "a/".repeat(1000)]);
        let facts = context(directory.path(), None, &sources).unwrap();
        let found = &facts.sources["*"];
        assert!(found.more && found.files.len() == MAX_FILES && facts.sources.len() == 1);
    }

    #[test]
    fn the_ignore_file_of_the_own_name_comes_first() {
        let directory = directory(&[(".dockerignore", b"a"), ("x.Dockerfile.dockerignore", b"[")]);
        let path = directory.path();
        let none = BTreeSet::new();
        assert!(context(path, None, &none).unwrap().ignore.excludes("a"));
        assert!(context(path, Some(&path.join("Dockerfile")), &none).unwrap().ignore.excludes("a"));
        let error = context(path, Some(&path.join("x.Dockerfile")), &none).unwrap_err();
        assert!(error.starts_with("syntax error in pattern: ["), "{error}");
    }
}

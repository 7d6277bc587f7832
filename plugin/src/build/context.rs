//! Where a build reads from: the operand of `build`, `--file`, and `--build-context`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use rbx_oci::tar::begins_archive;
use rbx_request::{ArchiveStream, ContextSource, DockerfileSource};
use rbx_source::GitAddress;

use crate::errors::CliError;

/// Bytes of a Dockerfile from standard input, at most.
const DOCKERFILE_LIMIT: u64 = 4 << 20;
/// Bytes by which an archive is told from a Dockerfile.
const BLOCK: u64 = 512;
/// What a Dockerfile is called that nobody named.
const DOCKERFILE: &str = "Dockerfile";

/// Finds the context and the Dockerfile. Of standard input, a Dockerfile is read; an archive is left to be read.
pub(crate) fn find(
    context: &str,
    file: Option<&str>,
    cwd: &Path,
    mut stdin: Box<dyn Read + Send>,
) -> Result<(ContextSource, DockerfileSource), CliError> {
    let file = file.filter(|file| !file.is_empty());
    let directory = cwd.join(context);
    match context {
        "" => Err(CliError::new("please specify build context (e.g. \".\" for the current directory)")),
        "-" if file == Some("-") => {
            Err(CliError::new("invalid argument: can't use stdin for both build context and dockerfile"))
        }
        "-" => from_stdin(file, stdin),
        _ if directory.is_dir() => {
            let dockerfile = match file {
                Some("-") => DockerfileSource::Inline(read_dockerfile(&mut stdin)?),
                Some(file) if is_http(file) => DockerfileSource::Url(file.to_owned()),
                Some(file) => DockerfileSource::Path(either_case(cwd.join(file))),
                None => DockerfileSource::Path(either_case(directory.join(DOCKERFILE))),
            };
            Ok((ContextSource::Directory(directory), dockerfile))
        }
        _ if is_remote(context)? => {
            let dockerfile = match file {
                Some("-") => DockerfileSource::Inline(read_dockerfile(&mut stdin)?),
                Some(file) if Path::new(file).is_absolute() => {
                    DockerfileSource::Path(either_case(PathBuf::from(file)))
                }
                file => in_context(file),
            };
            Ok((ContextSource::Url(context.to_owned()), dockerfile))
        }
        _ => Err(CliError::new(format!("unable to prepare context: path {context:?} not found"))),
    }
}

/// Standard input is an archive of the context, or the Dockerfile alone.
fn from_stdin(
    file: Option<&str>,
    mut stdin: Box<dyn Read + Send>,
) -> Result<(ContextSource, DockerfileSource), CliError> {
    let mut head = Vec::new();
    (&mut stdin).take(BLOCK).read_to_end(&mut head).map_err(|error| unreadable(&error))?;
    if begins_archive(&head) {
        let archive = ArchiveStream::new(Cursor::new(head).chain(stdin));
        return Ok((ContextSource::Tar(archive), in_context(file)));
    }
    if file.is_some() {
        return Err(CliError::new(
            "ambiguous Dockerfile source: both stdin and flag correspond to Dockerfiles",
        ));
    }
    let dockerfile = read_dockerfile(&mut head.as_slice().chain(stdin))?;
    Ok((ContextSource::Empty, DockerfileSource::Inline(dockerfile)))
}

/// A Dockerfile that lies in a context from elsewhere, unless it has an address of its own.
fn in_context(file: Option<&str>) -> DockerfileSource {
    match file {
        Some(file) if is_http(file) => DockerfileSource::Url(file.to_owned()),
        file => DockerfileSource::InContext(file.unwrap_or(DOCKERFILE).to_owned()),
    }
}

fn read_dockerfile(stdin: &mut dyn Read) -> Result<Vec<u8>, CliError> {
    let mut text = Vec::new();
    stdin.take(DOCKERFILE_LIMIT + 1).read_to_end(&mut text).map_err(|error| unreadable(&error))?;
    if text.len() as u64 > DOCKERFILE_LIMIT {
        return Err(CliError::new(format!(
            "the Dockerfile on standard input has more than {DOCKERFILE_LIMIT} bytes"
        )));
    }
    Ok(text)
}

fn unreadable(error: &std::io::Error) -> CliError {
    CliError::new(format!("{error}: failed to read standard input"))
}

/// A path whose `Dockerfile` may be written `dockerfile`. The directory is listed, since on some systems both names
/// open the same file.
fn either_case(path: PathBuf) -> PathBuf {
    if path.file_name().is_none_or(|name| name != DOCKERFILE) {
        return path;
    }
    let entries = path.parent().map(fs::read_dir);
    let names = entries.into_iter().flatten().flatten().flatten().map(|entry| entry.file_name());
    let mut lower = false;
    for name in names {
        if name == DOCKERFILE {
            return path;
        }
        lower |= name == "dockerfile";
    }
    if lower { path.with_file_name("dockerfile") } else { path }
}

fn is_http(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

/// Whether a text is an address: HTTP, or git in any of its forms.
fn is_remote(text: &str) -> Result<bool, CliError> {
    let git = GitAddress::parse(text).map_err(|error| CliError::new(error.to_string()))?;
    Ok(git.is_some() || is_http(text))
}

/// Makes the directories of `--build-context` absolute, and requires that they exist.
pub(crate) fn resolve_named(contexts: &mut BTreeMap<String, String>, cwd: &Path) -> Result<(), CliError> {
    for (name, value) in contexts {
        if is_remote(value)? || value.starts_with("docker-image://") || value.starts_with("target:") {
            continue;
        }
        if let Some(layout) = value.strip_prefix("oci-layout://") {
            *value = format!("oci-layout://{}", cwd.join(layout).display());
            continue;
        }
        let path = cwd.join(&*value);
        match fs::metadata(&path) {
            Ok(found) if found.is_dir() => *value = path.display().to_string(),
            Ok(_) => {
                return Err(CliError::new(format!(
                    "failed to get build context path {{{value} <nil>}}: not a directory"
                )));
            }
            Err(error) => {
                let reason = match error.kind() {
                    std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
                    _ => error.to_string(),
                };
                return Err(CliError::new(format!(
                    "failed to get build context {name}: stat {value}: {reason}"
                )));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(files: &[&str]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for file in files {
            let path = directory.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "FROM scratch\n").unwrap();
        }
        directory
    }

    fn message(error: &CliError) -> String {
        let mut text = Vec::new();
        error.report(&mut text).unwrap();
        String::from_utf8(text).unwrap().trim_end().to_owned()
    }

    fn find_in(
        directory: &tempfile::TempDir,
        context: &str,
        file: Option<&str>,
        stdin: &[u8],
    ) -> Result<(ContextSource, DockerfileSource), String> {
        find(context, file, directory.path(), Box::new(Cursor::new(stdin.to_vec())))
            .map_err(|error| message(&error))
    }

    fn dockerfile(directory: &tempfile::TempDir, context: &str, file: Option<&str>) -> String {
        match find_in(directory, context, file, b"").unwrap().1 {
            DockerfileSource::Path(path) => path.strip_prefix(directory).unwrap().display().to_string(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn the_dockerfile_is_in_the_context_unless_named() {
        let directory = directory(&["a/Dockerfile", "b/dockerfile", "c/Dockerfile", "c/dockerfile", "d/x"]);
        assert_eq!(dockerfile(&directory, "a", None), "a/Dockerfile");
        assert_eq!(dockerfile(&directory, "b", None), "b/dockerfile");
        assert_eq!(dockerfile(&directory, "c", None), "c/Dockerfile");
        assert_eq!(dockerfile(&directory, "d", None), "d/Dockerfile");
        assert_eq!(dockerfile(&directory, "a", Some("d/x")), "d/x");
        assert_eq!(dockerfile(&directory, "a", Some("b/Dockerfile")), "b/dockerfile");
    }

    #[test]
    fn standard_input_is_a_dockerfile_or_an_archive() {
        let directory = directory(&["a/Dockerfile"]);
        let text = DockerfileSource::Inline(b"FROM x".to_vec());
        let (context, dockerfile) = find_in(&directory, "a", Some("-"), b"FROM x").unwrap();
        assert_eq!(
            (context, dockerfile),
            (ContextSource::Directory(directory.path().join("a")), text.clone())
        );
        assert_eq!(find_in(&directory, "-", None, b"FROM x").unwrap(), (ContextSource::Empty, text));

        let mut block = vec![0; 2048];
        block[0] = b'a';
        block[148..156].copy_from_slice(b"000541\0 ");
        let (context, dockerfile) = find_in(&directory, "-", Some("b"), &block).unwrap();
        let ContextSource::Tar(stream) = context else { panic!("{context:?}") };
        let mut all = Vec::new();
        stream.take().unwrap().read_to_end(&mut all).unwrap();
        assert_eq!(all, block, "what told the archive is part of it");
        assert!(stream.take().is_none(), "there is one to read");
        assert_eq!(dockerfile, DockerfileSource::InContext("b".to_owned()));
        let packed = find_in(&directory, "-", None, b"\x1f\x8b\x08\0").unwrap();
        assert!(matches!(packed.0, ContextSource::Tar(_)));

        assert_eq!(
            find_in(&directory, "-", Some("-"), b"").unwrap_err(),
            "ERROR: invalid argument: can't use stdin for both build context and dockerfile"
        );
        assert_eq!(
            find_in(&directory, "-", Some("x"), b"FROM x").unwrap_err(),
            "ERROR: ambiguous Dockerfile source: both stdin and flag correspond to Dockerfiles"
        );
    }

    #[test]
    fn what_is_no_directory_is_an_address_or_an_error() {
        let directory = directory(&["git@host:dir/Dockerfile", "file"]);
        for (file, dockerfile) in [
            (None, DockerfileSource::InContext("Dockerfile".to_owned())),
            (Some("d/x"), DockerfileSource::InContext("d/x".to_owned())),
            (Some("/d/x"), DockerfileSource::Path("/d/x".into())),
            (Some("-"), DockerfileSource::Inline(b"FROM y".to_vec())),
            (Some("http://h/x"), DockerfileSource::Url("http://h/x".to_owned())),
        ] {
            let found = find_in(&directory, "https://example.com/x.git", file, b"FROM y").unwrap();
            assert_eq!(found.1, dockerfile, "{file:?}");
        }
        let found = find_in(&directory, ".", Some("https://h/x"), b"").unwrap();
        assert_eq!(found.1, DockerfileSource::Url("https://h/x".to_owned()));
        assert_eq!(
            find_in(&directory, "https://h/x.git?ref=", None, b"").unwrap_err(),
            "ERROR: query \"ref\" has no value"
        );
        for address in [
            "https://example.com/x.tar.gz",
            "git://host/x.git#main:dir",
            "ssh://git@host/x",
            "github.com/a/b",
            "git@github.com:a/b.git",
        ] {
            let context = find_in(&directory, address, None, b"").unwrap().0;
            assert_eq!(context, ContextSource::Url(address.to_owned()));
        }
        let context = find_in(&directory, "git@host:dir", None, b"").unwrap().0;
        assert!(matches!(context, ContextSource::Directory(_)), "a directory goes before an address");
        for context in ["nowhere", "file", "a@b/c:d"] {
            assert_eq!(
                find_in(&directory, context, None, b"").unwrap_err(),
                format!("ERROR: unable to prepare context: path {context:?} not found")
            );
        }
        assert_eq!(
            find_in(&directory, "", None, b"").unwrap_err(),
            "ERROR: please specify build context (e.g. \".\" for the current directory)"
        );
    }

    #[test]
    fn named_contexts_are_absolute() {
        let directory = directory(&["dir/x"]);
        let root = directory.path().display();
        let named = |value: &str| {
            let mut contexts = BTreeMap::from([("name".to_owned(), value.to_owned())]);
            resolve_named(&mut contexts, directory.path()).map_err(|error| message(&error))?;
            Ok::<_, String>(contexts.remove("name").unwrap())
        };
        assert_eq!(named("dir").unwrap(), format!("{root}/dir"));
        assert_eq!(named("oci-layout://l:tag").unwrap(), format!("oci-layout://{root}/l:tag"));
        assert_eq!(named("oci-layout:///l@sha256:1").unwrap(), "oci-layout:///l@sha256:1");
        assert_eq!(named("docker-image://alpine").unwrap(), "docker-image://alpine");
        assert_eq!(named("https://example.com/x").unwrap(), "https://example.com/x");
        assert_eq!(
            named("nowhere").unwrap_err(),
            "ERROR: failed to get build context name: stat nowhere: no such file or directory"
        );
        assert!(named("dir/x").unwrap_err().ends_with("not a directory"));
    }
}

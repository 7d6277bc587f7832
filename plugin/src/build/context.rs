//! Where a build reads from: the operand of `build`, `--file`, and `--build-context`.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use rbx_request::{ContextSource, DockerfileSource};

use crate::errors::CliError;

/// Bytes of a Dockerfile from standard input, at most.
const DOCKERFILE_LIMIT: u64 = 4 << 20;
/// Bytes of a block of a tar archive.
const BLOCK: usize = 512;

/// Finds the context and the Dockerfile. What comes from standard input is read.
pub(crate) fn find(
    context: &str,
    file: Option<&str>,
    cwd: &Path,
    stdin: &mut dyn Read,
) -> Result<(ContextSource, DockerfileSource), CliError> {
    let file = file.filter(|file| !file.is_empty());
    if file.is_some_and(is_http) {
        return Err(CliError::new("--file: the embedded engine does not have remote Dockerfiles yet"));
    }
    let directory = cwd.join(context);
    match context {
        "" => Err(CliError::new("please specify build context (e.g. \".\" for the current directory)")),
        "-" if file == Some("-") => {
            Err(CliError::new("invalid argument: can't use stdin for both build context and dockerfile"))
        }
        "-" => from_stdin(file, stdin),
        _ if directory.is_dir() => {
            let dockerfile = match file {
                Some("-") => DockerfileSource::Inline(read_dockerfile(stdin)?),
                Some(file) => DockerfileSource::Path(either_case(cwd.join(file))),
                None => DockerfileSource::Path(either_case(directory.join("Dockerfile"))),
            };
            Ok((ContextSource::Directory(directory), dockerfile))
        }
        _ if is_remote(context) => {
            let dockerfile = match file {
                Some("-") => DockerfileSource::Inline(read_dockerfile(stdin)?),
                file => DockerfileSource::Path(PathBuf::from(file.unwrap_or("Dockerfile"))),
            };
            Ok((ContextSource::Url(context.to_owned()), dockerfile))
        }
        _ => Err(CliError::new(format!("unable to prepare context: path {context:?} not found"))),
    }
}

/// Standard input is an archive of the context, or the Dockerfile alone.
fn from_stdin(
    file: Option<&str>,
    stdin: &mut dyn Read,
) -> Result<(ContextSource, DockerfileSource), CliError> {
    let mut head = Vec::new();
    stdin.take(2 * BLOCK as u64).read_to_end(&mut head).map_err(|error| unreadable(&error))?;
    if is_archive(&head) {
        stdin.read_to_end(&mut head).map_err(|error| unreadable(&error))?;
        let dockerfile = DockerfileSource::Path(PathBuf::from(file.unwrap_or("Dockerfile")));
        return Ok((ContextSource::Tar(head), dockerfile));
    }
    if file.is_some() {
        return Err(CliError::new(
            "ambiguous Dockerfile source: both stdin and flag correspond to Dockerfiles",
        ));
    }
    let dockerfile = read_dockerfile(&mut head.as_slice().chain(stdin))?;
    Ok((ContextSource::Empty, DockerfileSource::Inline(dockerfile)))
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
    if path.file_name().is_none_or(|name| name != "Dockerfile") {
        return path;
    }
    let entries = path.parent().map(fs::read_dir);
    let names = entries.into_iter().flatten().flatten().flatten().map(|entry| entry.file_name());
    let mut lower = false;
    for name in names {
        if name == "Dockerfile" {
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
fn is_remote(text: &str) -> bool {
    let scp = || {
        // `user@host:path`
        let (user, rest) = text.split_once('@')?;
        let (host, path) = rest.split_once(':')?;
        let word = |text: &str| !text.is_empty() && !text.contains(['/', ' ', ':']);
        Some(word(user) && word(host) && !path.is_empty())
    };
    is_http(text)
        || ["git://", "ssh://", "github.com/"].iter().any(|scheme| text.starts_with(scheme))
        || scp().unwrap_or(false)
}

/// Whether bytes begin an archive, compressed or not.
fn is_archive(head: &[u8]) -> bool {
    const MAGIC: [&[u8]; 4] = [b"BZh", b"\x1f\x8b\x08", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"];
    MAGIC.iter().any(|magic| head.starts_with(magic)) || head.get(..BLOCK).is_some_and(is_tar_header)
}

/// A header of a tar archive has the sum of its bytes in it, whatever its dialect.
fn is_tar_header(block: &[u8]) -> bool {
    const SUM: std::ops::Range<usize> = 148..156;
    let sum: u64 = block
        .iter()
        .enumerate()
        .map(|(index, byte)| u64::from(if SUM.contains(&index) { b' ' } else { *byte }))
        .sum();
    let written = std::str::from_utf8(&block[SUM]).unwrap_or_default();
    u64::from_str_radix(written.trim_matches([' ', '\0']), 8) == Ok(sum)
}

/// Makes the directories of `--build-context` absolute, and requires that they exist.
pub(crate) fn resolve_named(contexts: &mut BTreeMap<String, String>, cwd: &Path) -> Result<(), CliError> {
    for (name, value) in contexts {
        if is_remote(value) || value.starts_with("docker-image://") || value.starts_with("target:") {
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
        mut stdin: &[u8],
    ) -> Result<(ContextSource, DockerfileSource), String> {
        find(context, file, directory.path(), &mut stdin).map_err(|error| message(&error))
    }

    fn dockerfile(directory: &tempfile::TempDir, context: &str, file: Option<&str>) -> String {
        match find_in(directory, context, file, b"").unwrap().1 {
            DockerfileSource::Path(path) => path.strip_prefix(directory).unwrap().display().to_string(),
            inline @ DockerfileSource::Inline(_) => format!("{inline:?}"),
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

        let mut block = [0; BLOCK];
        block[0] = b'a';
        block[148..156].copy_from_slice(b"000541\0 ");
        let (context, dockerfile) = find_in(&directory, "-", Some("b"), &block).unwrap();
        assert_eq!(context, ContextSource::Tar(block.to_vec()));
        assert_eq!(dockerfile, DockerfileSource::Path(PathBuf::from("b")));
        assert!(is_archive(b"\x1f\x8b\x08\0"));
        assert!(!is_archive(&[0; BLOCK]));

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

//! The Dockerfile of a build, with its ignore file.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rbx_dockerfile::{Dockerfile, Ignore};
use rbx_oci::Reference;
use rbx_request::{BuildRequest, DockerfileSource, EventSender, SourceRange, Warning};
use rustix::fs::{CWD, Mode, OFlags};

use crate::error::{BuildError, INSTEAD, unreadable};
use crate::fetch::{Fetcher, HttpSource, Remote};
use crate::main_context::MainContext;
use crate::progress::Task;

/// The build argument that names another front end than the Dockerfile does.
const SYNTAX: &str = "BUILDKIT_SYNTAX";
/// Bytes that a Dockerfile or an ignore file may have.
const TEXT_LIMIT: u64 = 4 << 20;

/// What a Dockerfile is called that nobody named.
const DOCKERFILE: &str = "Dockerfile";

/// The Dockerfile of a build.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) file: Dockerfile,
    /// The file, as people name it.
    pub(crate) name: String,
    pub(crate) text: Arc<str>,
    /// What of the context stays out.
    pub(crate) ignore: Ignore,
}

impl Source {
    /// Reads and parses what a request names, with its ignore file. Errors of the language are left for later.
    pub(crate) async fn load(
        request: &BuildRequest,
        context: &MainContext,
        fetcher: &Fetcher,
        events: &EventSender,
    ) -> Result<Self, BuildError> {
        let Text { name, bytes, beside } = Text::of(request, context, fetcher, events).await?;
        let text = String::from_utf8(bytes).unwrap_or_else(|error| {
            // What is not text is an unknown instruction, or part of a name that nothing has.
            String::from_utf8_lossy(error.as_bytes()).into_owned()
        });
        let file = rbx_dockerfile::parse(&text);
        let source = Source {
            file,
            name,
            text: Arc::from(text),
            ignore: load_ignore(context, events, beside.as_deref())?,
        };
        source.check_syntax(request)?;
        Ok(source)
    }

    /// The lines of a part of the file.
    pub(crate) fn range(&self, span: rbx_dockerfile::Span) -> SourceRange {
        let (first, last) = self.file.line_index.lines_of(span);
        SourceRange { file: self.name.clone(), text: self.text.clone(), first, last }
    }

    /// The error that a finding is. As in BuildKit its place is the whole instruction.
    pub(crate) fn error(&self, found: &rbx_dockerfile::Diagnostic) -> BuildError {
        let instruction = self.file.instruction_at(found.span.start);
        let span = instruction.map_or(found.span, |instruction| instruction.span.join(found.span));
        // What is at no place at all is at the very beginning.
        let range = (found.span.end > 0).then(|| self.range(span));
        let error = BuildError::invalid(self.file.error_text(found)).at(range);
        match &found.hint {
            // A replacement is part of the text already.
            Some(hint) if found.replacement.is_none() => error.hint(hint),
            _ => error,
        }
    }

    /// The warning that a finding is.
    pub(crate) fn warning(&self, found: &rbx_dockerfile::Diagnostic) -> Warning {
        let lines = self.file.line_index.lines_of(found.span);
        Warning {
            level: 1,
            short: found.to_string(),
            file: self.name.clone(),
            lines: vec![lines],
            source: self.text.to_string(),
            ..Warning::default()
        }
    }

    /// `# syntax=docker/dockerfile:…` means this front end; any other is an image that BuildKit would run. The build
    /// argument counts before the line.
    fn check_syntax(&self, request: &BuildRequest) -> Result<(), BuildError> {
        let (value, range) = match (request.build_args.get(SYNTAX), &self.file.directives.syntax) {
            (Some(value), _) => (value, None),
            (None, Some(directive)) => (&directive.value, Some(self.range(directive.span))),
            (None, None) => return Ok(()),
        };
        let image = value.split_whitespace().next().unwrap_or_default();
        if is_own_front_end(image) {
            return Ok(());
        }
        Err(BuildError::invalid(format!("the embedded engine cannot run the front end {image}"))
            .at(range)
            .hint(INSTEAD))
    }
}

/// A Dockerfile as it was read.
struct Text {
    name: String,
    bytes: Vec<u8>,
    /// Where it is on this machine, and with it perhaps an ignore file of its own.
    beside: Option<PathBuf>,
}

impl Text {
    async fn of(
        request: &BuildRequest,
        context: &MainContext,
        fetcher: &Fetcher,
        events: &EventSender,
    ) -> Result<Self, BuildError> {
        let load =
            |name: &str| Task::internal(events, &format!("[internal] load build definition from {name}"));
        let missing = |name: &str| {
            let reason = format!("failed to read dockerfile: open {name}: no such file or directory");
            BuildError::invalid(reason)
        };
        match &request.dockerfile {
            DockerfileSource::Inline(bytes) => {
                Ok(Self { name: DOCKERFILE.to_owned(), bytes: bytes.clone(), beside: None })
            }
            DockerfileSource::Path(path) => {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let read = read_text(path).and_then(|bytes| bytes.ok_or_else(|| missing(&name)));
                let bytes = load(&name).end(read)?;
                Ok(Self { name, bytes, beside: Some(path.clone()) })
            }
            DockerfileSource::Url(url) => {
                let task = Task::internal(events, &format!("[internal] load {}", rbx_source::redacted(url)));
                let remote = HttpSource { url: url.clone(), name: DOCKERFILE.to_owned(), checksum: None };
                let fetched = fetcher.fetch(&Remote::Http(remote), &task).await;
                let read = fetched.and_then(|it| fetcher.read(it.layer, DOCKERFILE, TEXT_LIMIT));
                let bytes = task.end(read)?.unwrap_or_default();
                Ok(Self { name: DOCKERFILE.to_owned(), bytes, beside: None })
            }
            DockerfileSource::InContext(path) => {
                let MainContext::Fetched { layer, dockerfile } = context else {
                    return Err(missing(path));
                };
                let path = dockerfile.unwrap_or(path);
                // As with a context of this machine, where nobody said otherwise.
                let lower =
                    path.strip_suffix(DOCKERFILE).filter(|above| above.is_empty() || above.ends_with('/'));
                let lower = lower.map(|above| format!("{above}{}", DOCKERFILE.to_lowercase()));
                let read = || {
                    for path in std::iter::once(path).chain(lower.as_deref()) {
                        if let Some(bytes) = fetcher.read(*layer, path, TEXT_LIMIT)? {
                            return Ok(bytes);
                        }
                    }
                    Err(missing(path))
                };
                let bytes = load(path).end(read())?;
                Ok(Self { name: path.to_owned(), bytes, beside: None })
            }
        }
    }
}

/// Whether an image is the front end of this language: in any version and channel, from any registry that mirrors it.
fn is_own_front_end(image: &str) -> bool {
    Reference::parse(image).is_ok_and(|reference| {
        let path = reference.path();
        ["docker/dockerfile", "docker/dockerfile-upstream"].iter().any(|own| {
            path.strip_suffix(own).is_some_and(|mirror| mirror.is_empty() || mirror.ends_with('/'))
        })
    })
}

/// The ignore file: that of the Dockerfile's own name, else that of the context.
fn load_ignore(
    context: &MainContext,
    events: &EventSender,
    dockerfile: Option<&Path>,
) -> Result<Ignore, BuildError> {
    let own = dockerfile.map(|path| {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".dockerignore");
        path.with_file_name(name)
    });
    let of_context = match context {
        MainContext::Directory(path) => path.as_ref().map(|path| path.join(".dockerignore")),
        MainContext::Fetched { .. } => return Ok(Ignore::none()),
    };
    let task = Task::internal(events, "[internal] load .dockerignore");
    let read = || -> Result<Ignore, BuildError> {
        for path in own.iter().chain(&of_context) {
            if let Some(bytes) = read_text(path)? {
                return Ignore::parse(&bytes).map_err(|error| {
                    BuildError::invalid(format!("{error}: failed to read {}", path.display()))
                });
            }
        }
        Ok(Ignore::none())
    };
    task.end(read())
}

/// Reads a text file of bounded size; `None` where there is none.
pub(crate) fn read_text(path: &Path) -> Result<Option<Vec<u8>>, BuildError> {
    // NONBLOCK: a FIFO must not hold the build up.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(std::io::Error::from);
    let file = match opened.map(std::fs::File::from) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(path, &error)),
    };
    let found = file.metadata().map_err(|error| unreadable(path, &error))?;
    if !found.is_file() && !found.is_dir() {
        return Err(unreadable(path, &std::io::Error::other("not a regular file")));
    }
    let mut bytes = Vec::new();
    file.take(TEXT_LIMIT + 1).read_to_end(&mut bytes).map_err(|error| unreadable(path, &error))?;
    if bytes.len() as u64 > TEXT_LIMIT {
        return Err(BuildError::invalid(format!("{} has more than {TEXT_LIMIT} bytes", path.display())));
    }
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::is_own_front_end;

    #[test]
    fn the_front_end_has_many_names() {
        for image in [
            "docker/dockerfile",
            "docker/dockerfile:1",
            "docker/dockerfile:1.20-labs",
            "docker.io/docker/dockerfile:labs",
            "index.docker.io/docker/dockerfile:latest",
            "docker/dockerfile-upstream:master-labs",
            "mirror.example:5000/docker/dockerfile:1",
            "mirror.example/docker-hub/docker/dockerfile:1",
            "docker/dockerfile:1@sha256:b6afd42430b15f2d2a4c5a02b919e98a525b785b1aaff16747d2f623364e39b6",
        ] {
            assert!(is_own_front_end(image), "{image}");
        }
        for image in [
            "dockerfile",
            "docker/dockerfile2",
            "a/dockerfile:1",
            "notdocker/dockerfile",
            "docker/Dockerfile",
            "",
            "/",
        ] {
            assert!(!is_own_front_end(image), "{image}");
        }
    }
}

//! The Dockerfile of a build, with its ignore file.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use rbx_dockerfile::{Dockerfile, Ignore};
use rbx_oci::Reference;
use rbx_request::{BuildRequest, ContextSource, DockerfileSource, EventSender, SourceRange, Warning};

use crate::error::{BuildError, INSTEAD, unreadable};
use crate::progress::Task;

/// Bytes that a Dockerfile or an ignore file may have.
const TEXT_LIMIT: u64 = 4 << 20;

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
    /// Reads and parses what a request names, with its ignore file.
    pub(crate) fn load(request: &BuildRequest, events: &EventSender) -> Result<Self, BuildError> {
        let (name, bytes, beside) = match &request.dockerfile {
            DockerfileSource::Inline(bytes) => ("Dockerfile".to_owned(), bytes.clone(), None),
            DockerfileSource::Path(path) => {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let task = Task::internal(events, &format!("[internal] load build definition from {name}"));
                let bytes = task.end(read_text(path).and_then(|bytes| {
                    bytes.ok_or_else(|| {
                        BuildError::invalid(format!(
                            "failed to read dockerfile: open {name}: no such file or directory"
                        ))
                    })
                }))?;
                (name, bytes, Some(path.clone()))
            }
        };
        let text = String::from_utf8(bytes).unwrap_or_else(|error| {
            // What is not text is an unknown instruction, or part of a name that nothing has.
            String::from_utf8_lossy(error.as_bytes()).into_owned()
        });
        let file = rbx_dockerfile::parse(&text);
        let source = Source {
            file,
            name,
            text: Arc::from(text),
            ignore: load_ignore(request, events, beside.as_deref())?,
        };
        source.check_syntax()?;
        if let Some(error) = source.file.first_error() {
            return Err(source.error(error));
        }
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

    /// `# syntax=docker/dockerfile:…` means this front end; any other is an image that BuildKit would run.
    fn check_syntax(&self) -> Result<(), BuildError> {
        let Some(directive) = &self.file.directives.syntax else { return Ok(()) };
        let image = directive.value.split_whitespace().next().unwrap_or_default();
        let ours = Reference::parse(image).is_ok_and(|it| {
            it.domain() == "docker.io"
                && matches!(it.path(), "docker/dockerfile" | "docker/dockerfile-upstream")
        });
        if ours {
            return Ok(());
        }
        Err(BuildError::invalid(format!("the embedded engine cannot run the front end {image}"))
            .at(Some(self.range(directive.span)))
            .hint(INSTEAD))
    }
}

/// The ignore file: that of the Dockerfile's own name, else that of the context.
fn load_ignore(
    request: &BuildRequest,
    events: &EventSender,
    dockerfile: Option<&Path>,
) -> Result<Ignore, BuildError> {
    let task = Task::internal(events, "[internal] load .dockerignore");
    let own = dockerfile.map(|path| {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".dockerignore");
        path.with_file_name(name)
    });
    let of_context = match &request.context {
        ContextSource::Directory(path) => Some(path.join(".dockerignore")),
        _ => None,
    };
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
fn read_text(path: &Path) -> Result<Option<Vec<u8>>, BuildError> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(path, &error)),
    };
    let mut bytes = Vec::new();
    file.take(TEXT_LIMIT + 1).read_to_end(&mut bytes).map_err(|error| unreadable(path, &error))?;
    if bytes.len() as u64 > TEXT_LIMIT {
        return Err(BuildError::invalid(format!("{} has more than {TEXT_LIMIT} bytes", path.display())));
    }
    Ok(Some(bytes))
}

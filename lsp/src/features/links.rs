//! What can be opened from a document: the pages of images, addresses, files of the context.

use std::fs;
use std::path::{Path, PathBuf};

use rbx_dockerfile::{Body, Files, Instruction, Keyword, Names, Span, Word, clean_path};
use rbx_oci::Reference;
use tower_lsp::ls_types::{DocumentLink, Uri};

use crate::commands;
use crate::documents::Snapshot;

/// Files that are looked for, at most.
const FILES: usize = 1000;

/// The links of a document. Looks for files: what is none is no link.
pub(crate) fn links(snapshot: &Snapshot, roots: &[PathBuf]) -> Vec<DocumentLink> {
    let tree = snapshot.tree();
    let mut links = Links { snapshot, context: None, left: FILES, found: Vec::new() };
    let path = commands::path(&snapshot.uri);
    links.context = path.and_then(|path| commands::context(&path, roots, &snapshot.configuration));
    if let Some(syntax) = &tree.directives.syntax {
        let image = syntax.value.split_whitespace().next().unwrap_or_default();
        let end = syntax.value_span.start.saturating_add(u32::try_from(image.len()).unwrap_or(0));
        links.image(Span { start: syntax.value_span.start, end }, image);
    }
    for instruction in &tree.instructions {
        links.instruction(snapshot.names(), instruction);
    }
    links.found
}

struct Links<'a> {
    snapshot: &'a Snapshot,
    context: Option<PathBuf>,
    left: usize,
    found: Vec<DocumentLink>,
}

impl Links<'_> {
    fn instruction(&mut self, names: &Names, instruction: &Instruction) {
        // What names a stage is no image.
        let is_stage = |span: Span| {
            names.at(span.start).is_some_and(|it| it.whole.start < span.end && it.span().end >= span.end)
        };
        let from = instruction.flag_value("from").filter(|_| instruction.keyword == Keyword::Copy);
        if let Some(word) = from.filter(|word| !is_stage(word.span) && word.text.parse::<i64>().is_err()) {
            self.image(word.span, &word.text);
        }
        for value in instruction
            .flags
            .iter()
            .filter(|flag| flag.name.text == "mount")
            .filter_map(|flag| flag.value.as_ref())
        {
            self.mount(value, &is_stage);
        }
        match &instruction.body {
            Body::From(body) if !is_stage(body.image.span) => self.image(body.image.span, &body.image.text),
            Body::Copy(files) if from.is_none() => self.files(instruction, files),
            Body::Add(files) => self.files(instruction, files),
            Body::Onbuild(trigger) => self.instruction(names, trigger),
            _ => {}
        }
    }

    fn mount(&mut self, value: &Word, is_stage: &impl Fn(Span) -> bool) {
        if value.span.len() != value.text.len() {
            return;
        }
        let mut start = value.span.start;
        for field in value.text.split(',') {
            let end = start + u32::try_from(field.len()).unwrap_or(0);
            if let Some(("from", image)) = field.split_once('=') {
                let span = Span { start: start + 5, end };
                if !is_stage(span) {
                    self.image(span, image);
                }
            }
            start = end + 1;
        }
    }

    /// The page of an image, where its registry has pages. A tag does not matter, and may be a variable.
    fn image(&mut self, span: Span, text: &str) {
        let fixed = text.split('$').next().unwrap_or_default();
        let name = if fixed.len() == text.len() {
            text
        } else {
            let Some((name, tag)) = fixed.rsplit_once(':') else { return };
            if tag.contains('/') {
                return;
            }
            name
        };
        let Some((site, address)) = page(name) else { return };
        self.add(span, &address, format!("{name} on {site}"));
    }

    fn files(&mut self, instruction: &Instruction, files: &Files) {
        for word in &files.sources {
            let is_heredoc = instruction.heredocs.iter().any(|heredoc| heredoc.word.span.encloses(word.span));
            if is_heredoc || word.text.contains(['$', '"', '\'', '\\', '`']) {
                continue;
            }
            if word.text.starts_with("https://") || word.text.starts_with("http://") {
                if instruction.keyword == Keyword::Add {
                    self.add(word.span, &word.text, word.text.clone());
                }
            } else if let Some(path) = self.file(&word.text) {
                self.found.extend(Uri::from_file_path(&path).map(|target| DocumentLink {
                    range: self.snapshot.range(word.span),
                    target: Some(target),
                    tooltip: Some(path.display().to_string()),
                    data: None,
                }));
            }
        }
    }

    /// A file of the context. What leads out of it is looked for inside, as a build does.
    fn file(&mut self, source: &str) -> Option<PathBuf> {
        self.left = self.left.checked_sub(1)?;
        let inside = clean_path(&format!("/{source}"));
        let path = self.context.as_deref()?.join(Path::new(&inside).strip_prefix("/").ok()?);
        fs::symlink_metadata(&path).is_ok_and(|file| file.is_file()).then_some(path)
    }

    fn add(&mut self, span: Span, address: &str, tooltip: String) {
        if let Ok(target) = address.parse::<Uri>() {
            let range = self.snapshot.range(span);
            self.found.push(DocumentLink { range, target: Some(target), tooltip: Some(tooltip), data: None });
        }
    }
}

/// The site that has a page about an image, and the page.
fn page(name: &str) -> Option<(&'static str, String)> {
    if name == "scratch" {
        return None;
    }
    let reference = Reference::parse(name).ok()?;
    let path = reference.path();
    Some(match (reference.domain(), path.strip_prefix("library/")) {
        ("docker.io", Some(official)) => ("Docker Hub", format!("https://hub.docker.com/_/{official}")),
        ("docker.io", None) => ("Docker Hub", format!("https://hub.docker.com/r/{path}")),
        ("ghcr.io", _) => ("GitHub", format!("https://ghcr.io/{path}")),
        ("quay.io", _) => ("Quay", format!("https://quay.io/repository/{path}")),
        ("mcr.microsoft.com", _) => {
            ("Microsoft's registry", format!("https://mcr.microsoft.com/artifact/mar/{path}"))
        }
        ("public.ecr.aws", _) => ("Amazon's public gallery", format!("https://gallery.ecr.aws/{path}")),
        _ => return None,
    })
}

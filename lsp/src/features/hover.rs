//! What the word under the cursor means.

mod images;
mod places;
mod variables;

use std::sync::Arc;

use rbx_dockerfile::{Body, Instruction, Keyword, Span, SubjectKind, Word};
use tower_lsp::ls_types::{Hover, HoverContents, Position};

use self::images::Asked;
use crate::documents::Snapshot;
use crate::features::manual;
use crate::features::page::Page;

/// What is at a place.
#[derive(Debug)]
pub(crate) struct Found {
    page: Page,
    span: Span,
    /// The images that it is, or stands on.
    images: Asked,
}

impl Found {
    fn new(page: Page, span: Span) -> Self {
        Self { page, span, images: Asked::default() }
    }
}

/// Finds what is at a place.
pub(crate) fn find(snapshot: &Snapshot, position: Position) -> Option<Found> {
    let offset = snapshot.offset(position);
    at(snapshot, offset).or_else(|| {
        let (page, span) = places::findings(snapshot, offset)?;
        Some(Found::new(page, span))
    })
}

/// Explains what was found, with what registries say of its images where they may be asked.
pub(crate) async fn explain(snapshot: &Arc<Snapshot>, found: Found) -> Hover {
    let Found { mut page, span, images } = found;
    if !images.is_empty() {
        page.paragraphs.extend(if let Some(online) = &snapshot.online {
            images.learned(online, snapshot).await
        } else {
            let snapshot = Arc::clone(snapshot);
            // What is remembered is read from files.
            let recall = tokio::task::spawn_blocking(move || images.recalled(&snapshot));
            recall.await.unwrap_or_default()
        });
    }
    let contents = HoverContents::Markup(page.markup(snapshot.abilities.markdown));
    Hover { contents, range: Some(snapshot.range(span)) }
}

fn at(snapshot: &Snapshot, offset: u32) -> Option<Found> {
    if let Some(found) = directive_at(snapshot, offset) {
        return Some(found);
    }
    if let Some((page, span)) = places::comment(snapshot, offset) {
        return Some(Found::new(page, span));
    }
    let instruction = snapshot.tree().instruction_at(offset)?;
    if let Some((page, span)) = keyword_at(instruction, offset) {
        return Some(Found::new(page, span));
    }
    named_at(snapshot, instruction, offset).or_else(|| image_at(snapshot, instruction, offset)).or_else(
        || {
            let plain = variables::expanded(snapshot, instruction, offset)
                .or_else(|| places::platform_flag(snapshot, instruction, offset))
                .or_else(|| places::word(instruction, offset))?;
            Some(Found::new(plain.0, plain.1))
        },
    )
}

fn directive_at(snapshot: &Snapshot, offset: u32) -> Option<Found> {
    let directives = &snapshot.tree().directives;
    if let Some(syntax) = directives.syntax.as_ref().filter(|syntax| touches(syntax.value_span, offset)) {
        let images = images::of_syntax(snapshot, &syntax.value);
        return Some(Found { page: Page::default(), span: syntax.value_span, images });
    }
    let named =
        [("syntax", &directives.syntax), ("escape", &directives.escape), ("check", &directives.check)];
    named.into_iter().find_map(|(name, directive)| {
        let directive = directive.as_ref().filter(|directive| touches(directive.name_span, offset))?;
        Some(Found::new(Page::entry(manual::directive(name)?), directive.name_span))
    })
}

fn keyword_at(instruction: &Instruction, offset: u32) -> Option<(Page, Span)> {
    if touches(instruction.keyword_span, offset) {
        return Some((Page::entry(manual::instruction(instruction.keyword)?), instruction.keyword_span));
    }
    if let Body::Onbuild(inner) = &instruction.body {
        return keyword_at(inner, offset);
    }
    instruction.flags.iter().find_map(|flag| {
        let span = Span { start: flag.span.start, end: flag.name.span.end };
        let entry = manual::flag(instruction.keyword, &flag.name.text).filter(|_| touches(span, offset))?;
        Some((Page::entry(entry), span))
    })
}

/// A variable, a stage or a here-document.
fn named_at(snapshot: &Snapshot, instruction: &Instruction, offset: u32) -> Option<Found> {
    let names = snapshot.names();
    let mention = names.at(offset)?;
    let subject = names.subject(mention)?;
    match subject.kind {
        SubjectKind::Variable => {
            Some(Found::new(variables::page(snapshot, &subject.name, instruction, mention), mention.span()))
        }
        SubjectKind::Stage { index, .. } => {
            let (page, images) = places::stage(snapshot, index)?;
            Some(Found { page, span: mention.span(), images })
        }
        SubjectKind::Heredoc { instruction, number } => {
            let instruction = snapshot.tree().instructions.get(instruction)?;
            let heredoc = instruction.heredocs.get(number)?;
            Some(Found::new(places::heredoc(snapshot, heredoc), mention.span()))
        }
    }
}

/// An image: of a `FROM`, of a `COPY --from=` or of a mount.
fn image_at(snapshot: &Snapshot, instruction: &Instruction, offset: u32) -> Option<Found> {
    if let Body::From(body) = &instruction.body {
        let word = Some(&body.image).filter(|word| touches(word.span, offset))?;
        if word.text == "scratch" {
            let page = Page {
                paragraphs: vec!["**scratch**: nothing, an empty image.".to_owned()],
                ..Page::default()
            };
            return Some(Found::new(page, word.span));
        }
        let images = Asked::bases(snapshot, instruction);
        if images.is_empty() {
            return None;
        }
        let (page, _) = variables::expanded(snapshot, instruction, offset).unwrap_or_default();
        return Some(Found { page, span: word.span, images });
    }
    if instruction.keyword != Keyword::Copy && instruction.keyword != Keyword::Run {
        return None;
    }
    let (name, span) = instruction.flags.iter().find_map(|flag| {
        let value = flag.value.as_ref().filter(|value| touches(value.span, offset))?;
        match flag.name.text.as_str() {
            "from" => Some((value.text.clone(), value.span)),
            "mount" => source_of_mount(snapshot, value, offset),
            _ => None,
        }
    })?;
    let is_image = !name.is_empty() && name != "scratch" && !name.contains('$');
    let is_context = snapshot.request().named_contexts.contains(&name);
    (is_image && !is_context).then(|| Found {
        page: Page::default(),
        span,
        images: Asked::source(snapshot, &name, instruction),
    })
}

/// The source of a mount, if a place is in it.
fn source_of_mount(snapshot: &Snapshot, value: &Word, offset: u32) -> Option<(String, Span)> {
    let written = value.span.slice(snapshot.text.as_str());
    let at = (offset - value.span.start) as usize;
    let start = written.get(..at)?.rfind(',').map_or(0, |at| at + 1);
    let end = written.get(start..)?.find(',').map_or(written.len(), |at| start + at);
    let name = written.get(start..end)?.strip_prefix("from=")?;
    let number = |n: usize| value.span.start + u32::try_from(n).unwrap_or(0);
    Some((name.to_owned(), Span { start: number(end - name.len()), end: number(end) }))
}

/// Whether a place is in a word or right after it.
fn touches(span: Span, offset: u32) -> bool {
    span.contains(offset) || (offset == span.end && !span.is_empty())
}

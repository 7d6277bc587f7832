//! What the word under the cursor means.

mod variables;

use rbx_dockerfile::{Body, Instruction, Span};
use tower_lsp::ls_types::{Hover, HoverContents, Position};

use crate::documents::Snapshot;
use crate::features::manual;
use crate::features::page::Page;

/// Explains what is at a place.
pub(crate) fn hover(snapshot: &Snapshot, position: Position) -> Option<Hover> {
    let offset = snapshot.offset(position);
    let (page, span) = at(snapshot, offset)?;
    let contents = HoverContents::Markup(page.markup(snapshot.abilities.markdown));
    Some(Hover { contents, range: Some(snapshot.range(span)) })
}

fn at(snapshot: &Snapshot, offset: u32) -> Option<(Page, Span)> {
    if let Some(found) = directive_at(snapshot, offset) {
        return Some(found);
    }
    let instruction = snapshot.tree().instruction_at(offset)?;
    variables::at(snapshot, instruction, offset)
        .or_else(|| instruction_at(instruction, offset))
        .or_else(|| variables::expanded(snapshot, instruction, offset))
}

fn directive_at(snapshot: &Snapshot, offset: u32) -> Option<(Page, Span)> {
    let directives = &snapshot.tree().directives;
    let named =
        [("syntax", &directives.syntax), ("escape", &directives.escape), ("check", &directives.check)];
    named.into_iter().find_map(|(name, directive)| {
        let directive = directive.as_ref().filter(|directive| touches(directive.name_span, offset))?;
        Some((Page::entry(manual::directive(name)?), directive.name_span))
    })
}

fn instruction_at(instruction: &Instruction, offset: u32) -> Option<(Page, Span)> {
    if touches(instruction.keyword_span, offset) {
        return Some((Page::entry(manual::instruction(instruction.keyword)?), instruction.keyword_span));
    }
    if let Body::Onbuild(inner) = &instruction.body {
        return instruction_at(inner, offset);
    }
    instruction.flags.iter().find_map(|flag| {
        let span = Span { start: flag.span.start, end: flag.name.span.end };
        let entry = manual::flag(instruction.keyword, &flag.name.text).filter(|_| touches(span, offset))?;
        Some((Page::entry(entry), span))
    })
}

/// Whether a place is in a word or right after it.
fn touches(span: Span, offset: u32) -> bool {
    span.contains(offset) || (offset == span.end && !span.is_empty())
}

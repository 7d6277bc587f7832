//! What the word under the cursor means.

use rbx_dockerfile::{Body, Instruction, Span};
use tower_lsp::ls_types::{Hover, HoverContents, MarkupContent, MarkupKind, Position};

use crate::documents::Snapshot;
use crate::features::manual::{self, Entry};

/// Explains the keyword, flag or parser directive at a place.
pub(crate) fn hover(snapshot: &Snapshot, position: Position) -> Option<Hover> {
    let offset = snapshot.offset(position);
    let (entry, span) = directive_at(snapshot, offset).or_else(|| {
        let instruction = snapshot.tree().instruction_at(offset)?;
        instruction_at(instruction, offset)
    })?;
    let contents = if snapshot.abilities.markdown {
        MarkupContent { kind: MarkupKind::Markdown, value: markdown(entry) }
    } else {
        MarkupContent { kind: MarkupKind::PlainText, value: plain(entry) }
    };
    Some(Hover { contents: HoverContents::Markup(contents), range: Some(snapshot.range(span)) })
}

fn directive_at(snapshot: &Snapshot, offset: u32) -> Option<(&'static Entry, Span)> {
    let directives = &snapshot.tree().directives;
    let named =
        [("syntax", &directives.syntax), ("escape", &directives.escape), ("check", &directives.check)];
    named.into_iter().find_map(|(name, directive)| {
        let directive = directive.as_ref().filter(|directive| touches(directive.name_span, offset))?;
        Some((manual::directive(name)?, directive.name_span))
    })
}

fn instruction_at(instruction: &Instruction, offset: u32) -> Option<(&'static Entry, Span)> {
    if touches(instruction.keyword_span, offset) {
        return Some((manual::instruction(instruction.keyword)?, instruction.keyword_span));
    }
    if let Body::Onbuild(inner) = &instruction.body {
        return instruction_at(inner, offset);
    }
    instruction.flags.iter().find_map(|flag| {
        let span = Span { start: flag.span.start, end: flag.name.span.end };
        let entry = manual::flag(instruction.keyword, &flag.name.text).filter(|_| touches(span, offset))?;
        Some((entry, span))
    })
}

/// Whether a place is in a word or right after it.
fn touches(span: Span, offset: u32) -> bool {
    span.contains(offset) || (offset == span.end && !span.is_empty())
}

fn markdown(entry: &Entry) -> String {
    format!("```dockerfile\n{}\n```\n\n{}\n\n[Reference]({})", entry.usage, entry.text, entry.link())
}

fn plain(entry: &Entry) -> String {
    format!("{}\n\n{}\n\n{}", entry.usage, entry.text.replace('`', ""), entry.link())
}

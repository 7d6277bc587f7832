//! Variables with what they are worth on each platform.

use rbx_dockerfile::{Body, Instruction, Mention, Span};

use super::touches;
use crate::documents::Snapshot;
use crate::features::known;
use crate::features::page::{Page, worth};
use crate::features::predefined::{is_automatic, predefined};

/// A variable that an instruction mentions.
pub(super) fn page(snapshot: &Snapshot, name: &str, instruction: &Instruction, mention: &Mention) -> Page {
    // Where it is set, what it is then.
    let values = if mention.is_definition() {
        snapshot.worth_after(name, instruction.span)
    } else {
        snapshot.worth(name, instruction.span.start)
    };
    let file = snapshot.tree();
    let mut paragraphs = vec![format!("**{name}**")];
    paragraphs.extend(predefined(name).map(|variable| variable.text.to_owned()));
    paragraphs.push(worth(&values, |offset| file.line_index.line_of(offset)));
    let is_global = || known::globals(file, u32::MAX).iter().any(|global| global.name == name);
    if values.iter().all(|worth| worth.value.is_none())
        && !mention.is_definition()
        && (is_automatic(name) || is_global())
    {
        paragraphs.push(format!("A stage has it after `ARG {name}`."));
    }
    Page { paragraphs, ..Page::default() }
}

/// What the word with variables comes to that is at a place, where the instruction expands it.
pub(super) fn expanded(snapshot: &Snapshot, instruction: &Instruction, offset: u32) -> Option<(Page, Span)> {
    let is_left_to_a_shell =
        matches!(instruction.body, Body::Run(_) | Body::Cmd(_) | Body::Entrypoint(_) | Body::Healthcheck(_));
    let words = if is_left_to_a_shell { Vec::new() } else { instruction.words() };
    let values = instruction.flags.iter().filter_map(|flag| flag.value.as_ref());
    let mut words = words.into_iter().chain(values);
    let word = words.find(|word| word.text.contains('$') && touches(word.span, offset))?;
    let values = snapshot.word_worth(&word.text, offset);
    let paragraphs = vec![format!("**{}**", word.text), worth(&values, |_| 0)];
    Some((Page { paragraphs, ..Page::default() }, word.span))
}

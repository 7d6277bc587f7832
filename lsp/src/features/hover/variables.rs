//! Variables with what they are worth on each platform.

use rbx_dockerfile::{Body, Instruction, Span};

use super::touches;
use crate::documents::Snapshot;
use crate::features::page::{Page, worth};
use crate::features::predefined::predefined;

/// The variable at a place: one that an instruction uses, or the name that an `ARG` or `ENV` sets.
pub(super) fn at(snapshot: &Snapshot, instruction: &Instruction, offset: u32) -> Option<(Page, Span)> {
    if let Some(span) = set(instruction, offset) {
        let name = span.slice(snapshot.text.as_str());
        let values = snapshot.worth_after(name, instruction.span);
        return Some((page(snapshot, name, &values), span));
    }
    let span = used(snapshot.text.as_str(), instruction, snapshot.tree().escape, offset)?;
    let name = span.slice(snapshot.text.as_str());
    Some((page(snapshot, name, &snapshot.worth(name, offset)), span))
}

fn page(snapshot: &Snapshot, name: &str, values: &[crate::meaning::Worth]) -> Page {
    let lines = &snapshot.tree().line_index;
    let mut paragraphs = vec![format!("**{name}**")];
    paragraphs.extend(predefined(name).map(|variable| variable.text.to_owned()));
    paragraphs.push(worth(values, |offset| lines.line_of(offset)));
    Page { paragraphs, ..Page::default() }
}

/// The name that an instruction sets, if the place is in it.
fn set(instruction: &Instruction, offset: u32) -> Option<Span> {
    let names: Vec<Span> = match &instruction.body {
        Body::Arg(list) => list.iter().map(|arg| arg.name.span).collect(),
        Body::Env(pairs) => pairs.iter().map(|pair| pair.name.span).collect(),
        _ => return None,
    };
    names.into_iter().find(|span| touches(*span, offset))
}

/// The name of the variable that stands at a place of an instruction as `$name` or `${name…}`.
fn used(text: &str, instruction: &Instruction, escape: char, offset: u32) -> Option<Span> {
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let bytes = text.as_bytes();
    let (first, last) = (instruction.span.start as usize, (instruction.span.end as usize).min(bytes.len()));
    let mut at = (offset as usize).clamp(first, last);
    // At the sign or the brace, the name is what follows.
    while at < last && matches!(bytes[at], b'$' | b'{') {
        at += 1;
    }
    let before = bytes[first..at].iter().rev().take_while(|byte| is_name(byte)).count();
    let after = bytes[at..last].iter().take_while(|byte| is_name(byte)).count();
    let (start, end) = (at - before, at + after);
    let sign = text[first..start].strip_suffix('{').unwrap_or(&text[first..start]).strip_suffix('$')?;
    let is_variable = start < end && !bytes[start].is_ascii_digit() && !sign.ends_with(escape);
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    is_variable.then(|| Span { start: number(start), end: number(end) })
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

//! Giving stages, variables and heredocs other names.
//!
//! A rename changes names and nothing else. So it is tried before it is answered: in the changed text everything must
//! name what it named before. What would be hidden, caught or misread shows there, whatever the reason.

use rbx_dockerfile::{
    Body, Dockerfile, Instruction, Keyword, Mention, Names, Role, Span, SubjectKind, is_predefined,
    is_stage_name, names as find, parse,
};
use rbx_lint::shell_reads;
use tower_lsp::jsonrpc::{Error, ErrorCode, Result};
use tower_lsp::ls_types::{LinkedEditingRanges, Position, PrepareRenameResponse, TextEdit, WorkspaceEdit};

use super::actions::workspace_edit;
use crate::documents::Snapshot;

/// The protocol's code for requests that are right, and cannot be fulfilled.
const REQUEST_FAILED: ErrorCode = ErrorCode::ServerError(-32803);

/// The name at a place, if it can be another one. Nothing where there is no name.
pub(crate) fn prepare(snapshot: &Snapshot, position: Position) -> Result<Option<PrepareRenameResponse>> {
    let names = snapshot.names();
    let Some(mention) = names.at(snapshot.offset(position)) else { return Ok(None) };
    may_change(snapshot, mention).map_err(refused)?;
    let placeholder = written(mention, snapshot.text.as_str());
    let range = snapshot.range(mention.span());
    Ok(Some(PrepareRenameResponse::RangeWithPlaceholder { range, placeholder }))
}

/// The edits that give what is named at a place another name.
pub(crate) fn rename(snapshot: &Snapshot, position: Position, name: &str) -> Result<WorkspaceEdit> {
    let names = snapshot.names();
    let mention = names.at(snapshot.offset(position)).ok_or_else(|| refused("here is no name".to_owned()))?;
    may_change(snapshot, mention).map_err(refused)?;
    let edits = edits(snapshot, mention, name).map_err(refused)?;
    let edits = edits.into_iter().map(|(span, text)| TextEdit::new(snapshot.range(span), text));
    Ok(workspace_edit(snapshot, edits.collect()))
}

/// The places that have the same name as the one at a place, and are edited with it: of stages and heredocs.
pub(crate) fn linked(snapshot: &Snapshot, position: Position) -> Option<LinkedEditingRanges> {
    let names = snapshot.names();
    let text = snapshot.text.as_str();
    let mention = names.at(snapshot.offset(position))?;
    let pattern = match names.subject(mention)?.kind {
        SubjectKind::Stage { .. } => "[A-Za-z][A-Za-z0-9._-]*",
        SubjectKind::Heredoc { .. } => "[A-Za-z0-9._-]+",
        SubjectKind::Variable => return None,
    };
    let name = mention.span().slice(text);
    let same = |other: &&Mention| other.role != Role::Number && other.span().slice(text) == name;
    let ranges: Vec<_> =
        names.mentions_of(mention.subject).filter(same).map(|it| snapshot.range(it.span())).collect();
    let linked = mention.role != Role::Number && ranges.len() > 1;
    linked.then(|| LinkedEditingRanges { ranges, word_pattern: Some(pattern.to_owned()) })
}

fn refused(reason: String) -> Error {
    Error { code: REQUEST_FAILED, message: reason.into(), data: None }
}

/// A name as it is written, without what continues its line.
fn written(mention: &Mention, text: &str) -> String {
    mention.pieces.iter().map(|piece| piece.slice(text)).collect()
}

/// Why a name cannot be another one, whichever.
fn may_change(snapshot: &Snapshot, mention: &Mention) -> std::result::Result<(), String> {
    let (names, tree) = (snapshot.names(), snapshot.tree());
    let Some(subject) = names.subject(mention) else { return Err("here is no name".to_owned()) };
    let name = &subject.name;
    let line = |mention: &Mention| tree.line_index.line_of(mention.span().start);
    let mut defined = false;
    for other in names.mentions_of(mention.subject) {
        defined |= other.is_definition();
        let is_name = other.role == Role::Number || written(other, &tree.text).eq_ignore_ascii_case(name);
        if !is_name {
            return Err(format!("{name} is written with escapes on line {}", line(other)));
        }
        if other.role == Role::PerhapsShell {
            return Err(format!("{name} is perhaps a variable of the shell on line {}", line(other)));
        }
    }
    if matches!(subject.kind, SubjectKind::Variable) {
        if is_predefined(name) {
            return Err(format!("{name} is the builder's name for it"));
        }
        if !defined {
            return Err(format!("nothing in this file sets {name}"));
        }
        let loose = |it: &&Mention| it.role == Role::Reference && it.target.is_none();
        if let Some(loose) = names.mentions_of(mention.subject).find(loose) {
            let line = line(loose);
            return Err(format!(
                "{name} is read on line {line} where nothing in this file sets it: it may be the base image's"
            ));
        }
    } else if !defined {
        return Err("the stage has no name".to_owned());
    }
    let guess = names.guesses.iter().find(|guess| guess.subjects.contains(&mention.subject));
    match guess {
        Some(guess) => {
            let line = tree.line_index.line_of(guess.span.start);
            Err(format!("{name} may be what {} means on line {line}", guess.span.slice(&tree.text)))
        }
        None => Ok(()),
    }
}

fn edits(
    snapshot: &Snapshot,
    mention: &Mention,
    name: &str,
) -> std::result::Result<Vec<(Span, String)>, String> {
    let (names, tree) = (snapshot.names(), snapshot.tree());
    let Some(subject) = names.subject(mention) else { return Ok(Vec::new()) };
    let identifier = |c: char| c.is_ascii_alphanumeric() || c == '_';
    match subject.kind {
        SubjectKind::Stage { .. } => {
            if !is_stage_name(&name.to_lowercase()) {
                return Err(format!(
                    "invalid name for build stage: \"{name}\", name can't start with a number or contain symbols"
                ));
            }
            let lower = name.to_lowercase();
            if ["scratch", "context"].contains(&lower.as_str()) {
                return Err(format!("{lower} is reserved"));
            }
            let other = names.subjects.iter().find(|it| it.name == lower && **it != *subject);
            if other.is_some_and(|it| matches!(it.kind, SubjectKind::Stage { .. })) {
                return Err(format!("there is a stage {lower} already"));
            }
            if let Some(line) = image(tree, names, &lower) {
                return Err(format!("{lower} is an image on line {line}"));
            }
        }
        SubjectKind::Variable => {
            if name.is_empty()
                || name.starts_with(|c: char| c.is_ascii_digit())
                || !name.chars().all(identifier)
            {
                return Err(format!("\"{name}\" is no name of a variable: letters, digits and underscores"));
            }
            if is_predefined(name) || name == "PATH" {
                return Err(format!("{name} has a meaning of its own"));
            }
            let clash = names.subjects.iter().find(|it| it.name == name && **it != *subject);
            if let Some(clash) = clash.filter(|it| matches!(it.kind, SubjectKind::Variable)) {
                let first = clash.mentions.first().and_then(|&first| names.mentions.get(first));
                let line = first.map_or(0, |first| tree.line_index.line_of(first.span().start));
                return Err(format!("there is a variable {name} already, on line {line}"));
            }
        }
        SubjectKind::Heredoc { .. } => {
            if name.is_empty() || !name.chars().all(|c| identifier(c) || matches!(c, '.' | '-')) {
                return Err(format!(
                    "\"{name}\" cannot end a heredoc: letters, digits, underscores, dots and dashes"
                ));
            }
        }
    }
    let mut edits = Vec::new();
    for other in names.mentions_of(mention.subject).filter(|other| other.role != Role::Number) {
        // A base is looked for as it is written, and stages are known in lower case.
        let of_base = tree.instructions.get(other.instruction).is_some_and(|it| it.keyword == Keyword::From);
        let lower =
            of_base && other.role == Role::Reference && !matches!(subject.kind, SubjectKind::Variable);
        let text = if lower { name.to_lowercase() } else { name.to_owned() };
        // On the last line of several: were nothing left there, the instruction would go on after it.
        if let Some((last, others)) = other.pieces.split_last() {
            edits.extend(others.iter().map(|piece| (*piece, String::new())));
            edits.push((*last, text));
        }
    }
    edits.sort_by_key(|(span, _)| *span);
    if name != subject.name && !keeps(tree, names, &edits) {
        return Err(format!("with the name {name} this file would mean something else"));
    }
    Ok(edits)
}

/// The line on which a name is used that is no stage, and would be one if there were one of it.
fn image(tree: &Dockerfile, names: &Names, name: &str) -> Option<u32> {
    let is_free = |span: Span| names.at(span.start).is_none_or(|mention| mention.whole.start >= span.end);
    let line = |span: Span| tree.line_index.line_of(span.start);
    let named = |instruction: &Instruction| {
        let sources = instruction.flags.iter().filter_map(|flag| {
            let value = flag.value.as_ref()?;
            let found = match flag.name.text.as_str() {
                "from" => value.text.eq_ignore_ascii_case(name),
                "mount" => value.text.split(',').any(|field| {
                    let field = field.split_once('=');
                    field.is_some_and(|(key, value)| {
                        key.eq_ignore_ascii_case("from") && value.eq_ignore_ascii_case(name)
                    })
                }),
                _ => false,
            };
            found.then_some(value.span)
        });
        let base = match &instruction.body {
            Body::From(body) if body.image.text == name => Some(body.image.span),
            _ => None,
        };
        base.into_iter().chain(sources).find(|span| is_free(*span)).map(line)
    };
    tree.instructions.iter().find_map(|instruction| match &instruction.body {
        Body::Onbuild(trigger) => named(trigger),
        _ => named(instruction),
    })
}

/// Whether everything names what it did before.
fn keeps(tree: &Dockerfile, names: &Names, edits: &[(Span, String)]) -> bool {
    let mut text = String::with_capacity(tree.text.len());
    let mut at = 0;
    for (span, new) in edits {
        text.push_str(tree.text.get(at..span.start as usize).unwrap_or_default());
        text.push_str(new);
        at = span.end as usize;
    }
    text.push_str(tree.text.get(at..).unwrap_or_default());
    let changed = parse(&text);
    let new = find(&changed, &shell_reads(&changed));
    let kinds = |file: &Dockerfile| -> Vec<(Keyword, Vec<bool>)> {
        let ended =
            |it: &Instruction| it.heredocs.iter().map(|heredoc| heredoc.terminator.is_some()).collect();
        file.instructions.iter().map(|it| (it.keyword, ended(it))).collect()
    };
    let mentions = |names: &Names| -> Vec<(usize, Role, Option<usize>, usize)> {
        names.mentions.iter().map(|it| (it.subject, it.role, it.target, it.instruction)).collect()
    };
    let guesses = |names: &Names| -> Vec<Vec<usize>> {
        names.guesses.iter().map(|guess| guess.subjects.clone()).collect()
    };
    kinds(tree) == kinds(&changed)
        && tree.diagnostics.len() == changed.diagnostics.len()
        && guesses(names) == guesses(&new)
        && mentions(names) == mentions(&new)
}

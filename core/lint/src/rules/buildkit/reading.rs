//! What BuildKit warns of while it reads instructions one after another: `NoEmptyContinuation`,
//! `MaintainerDeprecated`, `StageNameCasing`, `FromAsCasing`, `InvalidDefinitionDescription`

use std::collections::HashMap;
use std::ops::Range;

use rbx_dockerfile::{Body, Comment, Dockerfile, FromBody, Instruction, Keyword, Span, Word};

use super::{Checked, RULE, Turn, Warning, replace};
use crate::finding::{Edit, Fix};
use crate::place;
use crate::rule::Rule;
use crate::view::Found;

const EMPTY: &str = "NoEmptyContinuation";
const MAINTAINER: &str = "MaintainerDeprecated";
const DEPRECATED: &str = "Maintainer instruction is deprecated in favor of using label";
const STAGE: &str = "StageNameCasing";
const AS: &str = "FromAsCasing";
const DESCRIPTION: &str = "InvalidDefinitionDescription";

pub(crate) static RULES: &[Rule] = &[
    Rule {
        name: EMPTY,
        summary: "Empty continuation lines will become errors in a future release",
        explanation: include_str!("../../../rules/buildkit/NoEmptyContinuation.md"),
        ..RULE
    },
    Rule {
        name: MAINTAINER,
        aliases: &["DL4000"],
        summary: "The MAINTAINER instruction is deprecated, use a label instead to define an image author",
        explanation: include_str!("../../../rules/buildkit/MaintainerDeprecated.md"),
        changes: Some("the author is in a label of the image"),
        ..RULE
    },
    Rule {
        name: STAGE,
        summary: "Stage names should be lowercase",
        explanation: include_str!("../../../rules/buildkit/StageNameCasing.md"),
        ..RULE
    },
    Rule {
        name: AS,
        summary: "The 'as' keyword should match the case of the 'from' keyword",
        explanation: include_str!("../../../rules/buildkit/FromAsCasing.md"),
        ..RULE
    },
    Rule {
        name: DESCRIPTION,
        enabled: false,
        summary: "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. \
                  If this is not intended to be a description comment, add an empty line or comment between the \
                  instruction and the comment.",
        explanation: include_str!("../../../rules/buildkit/InvalidDefinitionDescription.md"),
        ..RULE
    },
];

pub(super) fn walk(checked: &Checked<'_>, all: &mut Vec<Warning>) {
    let file = checked.file;
    for instruction in &file.instructions {
        all.extend(empty(file, instruction));
    }
    let names = Names::of(file);
    for instruction in &file.instructions {
        let turn = |late| Turn::Reading { start: instruction.span.start, late };
        match &instruction.body {
            Body::From(body) => {
                all.extend(
                    stage(checked, instruction, body, &names)
                        .map(|found| Warning::new(STAGE, turn(false), instruction.span, found)),
                );
                all.extend(
                    casing(checked, instruction, body)
                        .map(|found| Warning::new(AS, turn(false), instruction.span, found)),
                );
                if let Some(name) = &body.name {
                    let names = [name.text.to_lowercase()];
                    let found = description(file, instruction, "FROM", &names, name);
                    all.extend(found.map(|it| Warning::new(DESCRIPTION, turn(true), instruction.span, it)));
                }
            }
            Body::Arg(list) => {
                let names: Vec<String> = list.iter().map(|arg| arg.name.text.clone()).collect();
                if let Some(first) = list.first() {
                    let found = description(file, instruction, "ARG", &names, &first.name);
                    all.extend(found.map(|it| Warning::new(DESCRIPTION, turn(true), instruction.span, it)));
                }
            }
            Body::Maintainer(author) => {
                let found = maintainer(file, instruction, author);
                all.push(Warning::new(MAINTAINER, turn(false), instruction.span, found));
            }
            // It is deprecated before anything is wrong with it.
            _ if instruction.keyword == Keyword::Maintainer => {
                let found = Found::new(instruction.keyword_span, DEPRECATED);
                all.push(Warning::new(MAINTAINER, turn(false), instruction.span, found));
            }
            _ => {}
        }
    }
}

/// BuildKit points at the last line that it has read of the instruction, here it is the first empty one.
fn empty(file: &Dockerfile, instruction: &Instruction) -> Option<Warning> {
    let first = *instruction.empty_continuations.first()?;
    let last = *instruction.empty_continuations.last()?;
    let end = instruction.source_of(instruction.code.len().saturating_sub(1));
    // A continuation that nothing follows is read to the end of the file.
    let place = if last.start > end {
        file.lines.last().map_or(last, |line| Span { start: line.span.start, end: line.span.start })
    } else {
        Span { start: end, end }
    };
    let mut found = Found::new(first, "Empty continuation line");
    let lines = instruction.empty_continuations.iter();
    let edits = lines.filter_map(|span| {
        let span = file.line_index.span_of(file.line_index.line_of(span.start))?;
        Some(Edit { span, text: String::new() })
    });
    found.fixes.push(Fix { title: "Remove empty lines".to_owned(), safe: true, edits: edits.collect() });
    Some(Warning::new(EMPTY, Turn::Lines, place, found).regardless())
}

fn maintainer(file: &Dockerfile, instruction: &Instruction, author: &Word) -> Found {
    let mut found = Found::new(instruction.keyword_span, DEPRECATED);
    let mut value = String::new();
    for c in author.text.chars() {
        // The author is not expanded, a label is.
        if matches!(c, '"' | '$') || c == file.escape {
            value.push(file.escape);
        }
        value.push(c);
    }
    let label = place::in_case_of(file, instruction, "LABEL");
    let text = format!("{label} org.opencontainers.image.authors=\"{value}\"");
    found.fixes.push(replace("Replace it with a label", true, instruction.span, text));
    found
}

fn stage(checked: &Checked<'_>, instruction: &Instruction, body: &FromBody, names: &Names) -> Option<Found> {
    let [_, _, name] = body.words.as_slice() else { return None };
    let lower = name.text.to_lowercase();
    if name.text == lower {
        return None;
    }
    let mut found = Found::new(name.span, format!("Stage name '{}' should be lowercase", name.text));
    if body.name.is_some() && name.span.slice(&checked.file.text) == name.text {
        let mut edits = vec![Edit { span: name.span, text: lower.clone() }];
        edits.extend_from_slice(names.uses(instruction, &lower));
        edits.sort_by_key(|edit| edit.span);
        found.fixes.push(Fix { title: format!("Rename it to {lower}"), safe: true, edits });
    }
    Some(found)
}

/// Stages by their names in lower case.
#[derive(Default)]
struct Names {
    /// Where the last of each name begins: the one that is meant.
    last: HashMap<String, u32>,
    /// Where they are copied or mounted from under a name that is not in lower case. Case means nothing there; as a base
    /// a stage is found by its name in lower case alone.
    uses: HashMap<String, Vec<Edit>>,
}

impl Names {
    fn of(file: &Dockerfile) -> Self {
        let mut names = Self::default();
        for instruction in &file.instructions {
            if let Body::From(FromBody { name: Some(name), .. }) = &instruction.body {
                names.last.insert(name.text.to_lowercase(), instruction.span.start);
            }
            for flag in &instruction.flags {
                let Some(value) = &flag.value else { continue };
                let text = value.span.slice(&file.text);
                let place = match (&instruction.body, flag.name.text.as_str()) {
                    (Body::Copy(_), "from") => Some(0..text.len()),
                    (Body::Run(_), "mount") => source(text),
                    _ => None,
                };
                let Some(place) = place else { continue };
                let (name, start) = (&text[place.clone()], value.span.start);
                let lower = name.to_lowercase();
                if name != lower
                    && let (Ok(from), Ok(to)) = (u32::try_from(place.start), u32::try_from(place.end))
                {
                    let span = Span { start: start + from, end: start + to };
                    names.uses.entry(lower.clone()).or_default().push(Edit { span, text: lower });
                }
            }
        }
        names
    }

    fn uses(&self, from: &Instruction, lower: &str) -> &[Edit] {
        let is_meant = self.last.get(lower) == Some(&from.span.start);
        self.uses.get(lower).filter(|_| is_meant).map_or(&[], Vec::as_slice)
    }
}

/// Where the value of `from=` stands among the options of a mount.
fn source(text: &str) -> Option<Range<usize>> {
    let mut at = 0;
    for field in text.split(',') {
        if let Some(name) = field.strip_prefix("from=") {
            let end = at + field.len();
            return Some(end - name.len()..end);
        }
        at += field.len() + 1;
    }
    None
}

fn casing(checked: &Checked<'_>, instruction: &Instruction, body: &FromBody) -> Option<Found> {
    let [_, word, _, ..] = body.words.as_slice() else { return None };
    let from = checked.keyword(instruction);
    let wanted = if from == from.to_lowercase() {
        word.text.to_lowercase()
    } else if from == from.to_uppercase() {
        word.text.to_uppercase()
    } else {
        return None;
    };
    if word.text == wanted {
        return None;
    }
    let message = format!("'{}' and '{from}' keywords' casing do not match", word.text);
    let mut found = Found::new(word.span, message);
    if body.as_keyword.is_some() && word.span.slice(&checked.file.text) == word.text {
        found.fixes.push(replace(format!("Write {wanted}"), true, word.span, wanted));
    }
    Some(found)
}

fn description(
    file: &Dockerfile,
    instruction: &Instruction,
    keyword: &str,
    names: &[String],
    at: &Word,
) -> Option<Found> {
    let comment = file.comments_of(instruction).last()?;
    let text = comment_text(file, comment);
    let first = text.split(' ').next().unwrap_or_default();
    if names.iter().any(|name| name == first) {
        return None;
    }
    let example = if let [name] = names { name } else { "<arg_key>" };
    let message = format!("Comment for {keyword} should follow the format: `# {example} <description>`");
    Some(Found::new(at.span, message))
}

/// A comment's text as BuildKit has it: of one that is indented, the `#` is a part.
fn comment_text<'a>(file: &'a Dockerfile, comment: &'a Comment) -> &'a str {
    let before = file.text.get(..comment.span.start as usize).unwrap_or_default();
    if before.ends_with([' ', '\t']) { comment.span.slice(&file.text).trim() } else { &comment.text }
}

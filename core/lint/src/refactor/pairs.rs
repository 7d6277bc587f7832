//! Changes of `ENV`, `LABEL`, `CMD` and `ENTRYPOINT`.

use rbx_dockerfile::{Body, CommandLine, Instruction, Keyword, Pair, Span};

use super::{Place, Refactoring, replace};
use crate::finding::Edit;

/// Characters of words that mean nothing to a shell.
const PLAIN: &str = "-_./:=,+@%";

/// `first` is the number of the first instruction of the place.
pub(super) fn changes(place: &Place<'_>, first: usize) -> Vec<Refactoring> {
    let mut all = Vec::new();
    for (index, instruction) in (first..).zip(place.instructions) {
        if matches!(instruction.body, Body::Env(_) | Body::Label(_)) {
            all.extend(merged(place, index, instruction));
        }
        if let Body::Cmd(line) | Body::Entrypoint(line) = &instruction.body
            && place.file.escape == '\\'
        {
            all.extend(other_form(place, instruction, line));
        }
    }
    // Every instruction of a row offers the same.
    all.dedup_by(|one, other| one.edits == other.edits);
    all
}

fn pairs(instruction: &Instruction, keyword: Keyword) -> Option<&[Pair]> {
    match &instruction.body {
        Body::Env(pairs) | Body::Label(pairs) if instruction.keyword == keyword => Some(pairs),
        _ => None,
    }
}

/// Joins a row of `ENV`s or `LABEL`s, if none reads what one before sets.
fn merged(place: &Place<'_>, index: usize, instruction: &Instruction) -> Option<Refactoring> {
    let file = place.file;
    let keyword = instruction.keyword;
    let fits = |at: usize| {
        let it = file.instructions.get(at)?;
        let pairs = pairs(it, keyword)?;
        // A value without quotes goes to the end of its line.
        (it.flags.is_empty() && !pairs.iter().any(|pair| pair.legacy)).then_some(it)
    };
    let mut start = index;
    while let Some(before) = start.checked_sub(1).filter(|&at| fits(at).is_some()) {
        start = before;
    }
    // What reads a variable of the row, or stands below a comment, begins another.
    let mut row: Vec<&Instruction> = Vec::new();
    for (at, it) in (start..).map_while(|at| Some((at, fits(at)?))) {
        let reads = |name: &str| keyword == Keyword::Env && it.code.contains('$') && it.code.contains(name);
        let mut names =
            row.iter().flat_map(|it| pairs(it, keyword).unwrap_or_default()).map(|pair| &pair.name.text);
        let has_comment = || {
            let between = row.last().map_or(it.span, |last| last.span.join(it.span));
            file.comments.iter().any(|comment| between.encloses(comment.span))
        };
        if names.any(|name| reads(name)) || has_comment() {
            if at > index {
                break;
            }
            row.clear();
        }
        row.push(it);
    }
    let (one, rest) = row.split_first().filter(|(_, rest)| !rest.is_empty())?;
    let between = one.span.join(rest.last()?.span);
    if file.diagnostics.iter().any(|found| between.encloses(found.span)) {
        return None;
    }
    let mut edits: Vec<Edit> = Vec::new();
    let mut end = one.span.end;
    for it in rest {
        let start = pairs(it, keyword)?.first()?.name.span.start;
        edits.push(replace(Span { start: end, end: start }, " \\\n    "));
        end = it.span.end;
    }
    if file.escape != '\\' || file.text.contains('\r') {
        return None;
    }
    Some(Refactoring::rewrite(format!("Join {} {} instructions into one", row.len(), keyword.name()), edits))
}

/// A command as a JSON array, or as the shell's text.
fn other_form(place: &Place<'_>, instruction: &Instruction, line: &CommandLine) -> Option<Refactoring> {
    let name = instruction.keyword.name();
    match line {
        CommandLine::Shell(word) => {
            let text = word.text.as_str();
            let is_plain = |c: char| c.is_ascii_alphanumeric() || PLAIN.contains(c) || c == ' ';
            let words: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).collect();
            let assigns = words.first().is_none_or(|word| word.contains('='));
            if !text.chars().all(is_plain) || assigns || BUILTINS.contains(&words[0]) {
                return None;
            }
            let array = words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
            Some(Refactoring::rewrite(
                format!("Start the program of {name} without a shell"),
                vec![replace(word.span, format!("[{array}]"))],
            ))
        }
        CommandLine::Exec { span, words } => {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || PLAIN.contains(c);
            let whole = span.slice(&place.file.text);
            let is_simple = words.iter().all(|word| !word.text.is_empty() && word.text.chars().all(is_plain));
            if words.is_empty() || !is_simple || words[0].text.contains('=') || whole.contains('\n') {
                return None;
            }
            let text = words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ");
            Some(Refactoring::rewrite(
                format!("Start the program of {name} by a shell"),
                vec![replace(*span, format!("exec {text}"))],
            ))
        }
    }
}

/// What only a shell can do.
const BUILTINS: [&str; 12] =
    [".", ":", "cd", "eval", "exec", "exit", "export", "set", "source", "trap", "ulimit", "umask"];

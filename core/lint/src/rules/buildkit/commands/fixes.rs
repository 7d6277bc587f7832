//! Remedies for what is found in commands. A word that is not written as it was read, for it runs over several lines or
//! has variables, is left alone.

use rbx_dockerfile::{Body, CommandLine, Dockerfile, Instruction, Span, Word};

use crate::finding::Fix;
use crate::place;
use crate::rules::buildkit::replace;
use crate::view::Found;

/// Characters that mean something to a shell, or to a Dockerfile.
fn is_plain(text: &str) -> bool {
    let plain = |c: char| c.is_alphanumeric() || "-_=+./:,@% ".contains(c);
    !text.is_empty() && text.chars().all(plain)
}

/// Replaces a word.
pub(super) fn word(
    mut found: Found,
    file: &Dockerfile,
    word: Option<&Word>,
    title: &str,
    text: String,
) -> Found {
    if let Some(word) = word.filter(|word| word.span.slice(&file.text) == word.text) {
        found.fixes.push(replace(title, true, word.span, text));
    }
    found
}

/// Makes the path of a `WORKDIR` begin at the root.
pub(super) fn absolute(mut found: Found, file: &Dockerfile, own: Option<&Instruction>, path: &str) -> Found {
    if let Some(Body::Workdir(word)) = own.map(|own| &own.body)
        && word.text == path
        && word.span.slice(&file.text) == path
    {
        let text = format!("/{}", path.trim_start_matches("./"));
        found.fixes.push(replace(format!("Use {text}"), false, word.span, text));
    }
    found
}

/// Puts `=` between a name and its value.
pub(super) fn equals(mut found: Found, file: &Dockerfile, own: Option<&Instruction>) -> Found {
    let Some(Body::Env(pairs) | Body::Label(pairs)) = own.map(|own| &own.body) else { return found };
    let [pair] = pairs.as_slice() else { return found };
    let span = pair.name.span.join(pair.value.span);
    let value = pair.value.text.as_str();
    let one_line = pair.value.span.slice(&file.text) == value && !span.slice(&file.text).contains('\n');
    // Quotes and escapes mean something else where a value ends at a space, unless there is none.
    let quoting = |c: char| matches!(c, '"' | '\'') || c == file.escape || c == '\\';
    let text = if !value.contains(char::is_whitespace) {
        format!("={value}")
    } else if value.contains(quoting) || value.contains('\\') {
        return found;
    } else {
        format!("=\"{value}\"")
    };
    if one_line {
        let span = Span { start: pair.name.span.end, end: pair.value.span.end };
        found.fixes.push(replace("Write key=value", true, span, text));
    }
    found
}

/// Writes a command that needs no shell as an array.
pub(super) fn array(mut found: Found, file: &Dockerfile, own: Option<&Instruction>) -> Found {
    if let Some(Body::Cmd(CommandLine::Shell(word)) | Body::Entrypoint(CommandLine::Shell(word))) =
        own.map(|own| &own.body)
        && is_plain(&word.text)
        && word.span.slice(&file.text) == word.text
        // The first would be a variable of the environment.
        && !word.text.split(' ').next().unwrap_or_default().contains('=')
    {
        let words: Vec<String> = word.text.split_whitespace().map(|word| format!("\"{word}\"")).collect();
        let text = format!("[{}]", words.join(", "));
        found.fixes.push(replace("Write it as an array", false, word.span, text));
    }
    found
}

/// Takes an instruction away.
pub(super) fn removed(file: &Dockerfile, instruction: Span) -> Option<Fix> {
    let edits = vec![place::without_lines(file, instruction)?];
    Some(Fix { title: "Remove the one that is not used".to_owned(), safe: false, edits })
}

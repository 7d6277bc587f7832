//! Changes of what `RUN` gives to a shell.

use std::ops::Range;

use rbx_dockerfile::{Body, Dockerfile, Span};

use super::{Place, Refactoring, newline, replace};
use crate::shell::{Arguments, Command, Context, Join, Purpose, Run, Word};

/// Commands that carry out more than their own words, or change how the rest is carried out.
const OPAQUE: [&str; 8] = [".", "source", "eval", "exec", "set", "trap", "return", "exit"];
/// Programs that install packages, what they are told, and their options with a word after them.
const MANAGERS: [(&str, &str, &[&str]); 8] = [
    ("apt-get", "install", &["-t", "--target-release", "-o", "--option", "-c", "--config-file"]),
    ("apt", "install", &["-t", "--target-release", "-o", "--option", "-c", "--config-file"]),
    ("apk", "add", &["-t", "--virtual", "-X", "--repository", "-p", "--root", "--arch", "--keys-dir"]),
    ("dnf", "install", &["-c", "--config", "--installroot", "--releasever", "--setopt", "-x", "--exclude"]),
    ("microdnf", "install", &["-c", "--config", "--installroot", "--releasever", "--setopt"]),
    ("yum", "install", &["-c", "--config", "--installroot", "--releasever", "--setopt", "-x", "--exclude"]),
    ("zypper", "install", &["-t", "--type", "-r", "--repo", "--from"]),
    ("tdnf", "install", &["-c", "--config", "--installroot", "--releasever", "--setopt"]),
];

pub(super) fn changes(place: &Place<'_>) -> Vec<Refactoring> {
    let mut all = Vec::new();
    let own = place.runs.iter().filter(|run| run.purpose == Purpose::Run && run.script.interpreter.is_none());
    for run in own {
        if !matches!(run.shell_name(), "sh" | "ash" | "bash" | "dash") || run.script.program.lost.is_some() {
            continue;
        }
        all.extend(to_heredoc(place.file, run));
        all.extend(from_heredoc(place.file, run));
        all.extend(sorted(place.file, run));
    }
    all
}

/// The commands of a list that is carried out one by one, as long as each succeeds: pipelines between `join`s.
fn list(run: &Run<'_>, join: Join) -> Option<Vec<Range<usize>>> {
    let program = &run.script.program;
    let is_own = |command: &&Command| command.parent.is_none();
    // A substitution of several commands would end at the first that fails.
    let inner = program.commands.iter().filter(|command| command.parent.is_some());
    let is_list = |command: &Command| command.before != Join::None || command.after != Join::None;
    if !program.functions.is_empty() || inner.clone().any(is_list) {
        return None;
    }
    let mut parts: Vec<Range<usize>> = Vec::new();
    let mut joined = true;
    for command in program.commands.iter().filter(is_own) {
        let name = command.words.first().and_then(Word::literal);
        let is_plain = command.context == Context::default()
            && !command.keyword
            && command.redirections.iter().all(|redirection| redirection.content.is_none())
            && name.is_none_or(|name| !OPAQUE.contains(&name) && name != "!");
        if !is_plain {
            return None;
        }
        match parts.last_mut().filter(|_| !joined) {
            Some(part) => part.end = command.range.end,
            None => parts.push(command.range.clone()),
        }
        joined = command.after == join;
        if !joined && command.after != Join::Pipe && command.after != Join::None {
            return None;
        }
    }
    // What stands between and around them is nothing else.
    let text = &run.script.text;
    let mark = if join == Join::And { "&&" } else { "" };
    let gaps = parts.windows(2).map(|two| text.get(two[0].end..two[1].start));
    let clean = gaps.into_iter().all(|gap| gap.is_some_and(|gap| gap.trim() == mark));
    let ends = text.get(..parts.first()?.start)?.trim().is_empty()
        && text.get(parts.last()?.end..)?.trim().is_empty();
    (clean && ends && parts.len() > 1).then_some(parts)
}

/// `RUN a && b` → a script that ends at the first command that fails.
fn to_heredoc(file: &Dockerfile, run: &Run<'_>) -> Option<Refactoring> {
    let instruction = run.instruction;
    let Body::Run(rbx_dockerfile::CommandLine::Shell(word)) = &instruction.body else { return None };
    if !instruction.heredocs.is_empty() || !has_heredocs(file) || instruction.code.contains("<<") {
        return None;
    }
    let parts = list(run, Join::And)?;
    let newline = newline(file, instruction.span.start);
    // With these line ends the script would have them, too.
    if newline != "\n" || file.escape != '\\' {
        return None;
    }
    let lines: Vec<String> = parts.iter().map(|part| one(run, part)).collect();
    let mut name = "EOF".to_owned();
    while lines.iter().any(|line| line.lines().any(|line| line == name)) {
        name.push('_');
    }
    let lost = file.comments.iter().any(|comment| {
        word.span.encloses(comment.span)
            && !lines.iter().any(|line| line.contains(comment.span.slice(&file.text)))
    });
    if lost {
        return None;
    }
    let script = lines.join("\n");
    Some(Refactoring::rewrite(
        "Write the commands as a heredoc, a line each",
        vec![replace(word.span, format!("<<{name}\nset -e\n{script}\n{name}"))],
    ))
}

/// A command as it is written, where a shell joins its lines as BuildKit does; else on one line.
fn one(run: &Run<'_>, part: &Range<usize>) -> String {
    let written = run.script.written(part);
    let text = run.script.text.get(part.clone()).unwrap_or_default();
    let joins = written.lines().rev().skip(1).all(|line| line.ends_with('\\'));
    let is_plain = joins && !written.contains(['\'', '#']) && written.replace("\\\n", "") == text;
    if is_plain { written.to_owned() } else { text.to_owned() }
}

/// Whether the front end of a file knows heredocs.
fn has_heredocs(file: &Dockerfile) -> bool {
    let Some(directive) = &file.directives.syntax else { return true };
    let image = directive.value.split([' ', '@']).next().unwrap_or_default();
    let tag = image.rsplit('/').next().and_then(|last| last.split_once(':')).map(|(_, tag)| tag);
    let version = tag.and_then(|tag| tag.split('-').next()).and_then(|version| version.split_once('.'));
    // `1` is the newest of them, and so is what has no number.
    version.is_none_or(|(major, minor)| {
        let minor = minor.split('.').next().and_then(|minor| minor.parse::<u32>().ok());
        major != "1" || minor.is_none_or(|minor| minor >= 4)
    })
}

/// A script that ends at the first command that fails → `RUN a && b`.
fn from_heredoc(file: &Dockerfile, run: &Run<'_>) -> Option<Refactoring> {
    let instruction = run.instruction;
    let [heredoc] = instruction.heredocs.as_slice() else { return None };
    let content = heredoc.content.slice(&file.text);
    let rest = content.strip_prefix("set -e\n")?;
    let lines: Vec<&str> = rest.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    // What a shell takes for more than a command, or for another one, when it is on one line with others.
    let odd = |line: &&str| {
        line.ends_with('\\')
            || line.contains(['#', ';', '&', '(', '{', '`', '\'', '"', '!', '<'])
            || line.contains("||")
    };
    let words =
        ["if", "for", "while", "until", "case", "do", "then", "fi", "done", "else", "elif", "esac", "in"];
    let opaque = |line: &&str| {
        let first = line.split([' ', '\t']).next().unwrap_or_default();
        words.contains(&first) || OPAQUE.contains(&first)
    };
    if lines.is_empty()
        || file.escape != '\\'
        || file.text.contains('\r')
        || lines.iter().any(|line| odd(line) || opaque(line))
    {
        return None;
    }
    let Body::Run(rbx_dockerfile::CommandLine::Shell(word)) = &instruction.body else { return None };
    (word.span == heredoc.word.span).then(|| {
        let span = Span { start: word.span.start, end: instruction.span.end };
        Refactoring::rewrite(
            "Write the commands as one list, joined by &&",
            vec![replace(span, lines.join(" \\\n    && "))],
        )
    })
}

/// Sorts packages that are installed, a line each.
fn sorted(file: &Dockerfile, run: &Run<'_>) -> Option<Refactoring> {
    let is_line = run.instruction.heredocs.is_empty();
    if file.escape != '\\' || file.text.contains('\r') {
        return None;
    }
    let mut edits = Vec::new();
    for command in &run.script.program.commands {
        let Some(call) = command.call() else { continue };
        let Some((_, action, with_value)) = MANAGERS.iter().find(|(name, ..)| *name == call.name) else {
            continue;
        };
        let arguments: Arguments<'_> = call.read(with_value);
        let Some((first, packages)) = arguments.operands.split_first() else { continue };
        if arguments.unsure || !first.is(action) || packages.len() < 2 || command.context.nested {
            continue;
        }
        let start = packages.iter().map(|word| word.range.start).min()?;
        let end = packages.iter().map(|word| word.range.end).max()?;
        let span = run.script.span(&(start..end));
        // Only if nothing else is among them: no option, no comment, no redirection.
        let written: Vec<&str> = packages.iter().map(|word| run.script.written(&word.range)).collect();
        let text = run.script.text.get(start..end)?;
        let alone = text.split_whitespace().eq(written.iter().copied());
        let comments = file.comments.iter().any(|comment| span.encloses(comment.span));
        let literal = packages.iter().all(|word| word.literal().is_some());
        if !alone || comments || !literal || !is_line && text.contains('#') {
            continue;
        }
        let mut sorted = written;
        sorted.sort_unstable();
        sorted.dedup();
        let before = run.script.span(&(0..start));
        let gap = file.text.get(before.start as usize..span.start as usize)?;
        let blank = gap.len() - gap.trim_end_matches([' ', '\t', '\\', '\n']).len();
        let start = span.start.saturating_sub(u32::try_from(blank).ok()?);
        let line =
            file.line_index.span_of(file.line_index.line_of(start)).unwrap_or_default().slice(&file.text);
        let indent = line.len() - line.trim_start_matches([' ', '\t']).len();
        let indent = format!("{}    ", line.get(..indent).unwrap_or_default());
        let line = format!(" \\\n{indent}");
        let list = sorted.iter().fold(String::new(), |list, package| list + &line + package);
        let span = Span { start, end: span.end };
        if span.slice(&file.text) != list {
            edits.push(replace(span, list));
        }
    }
    (!edits.is_empty()).then(|| Refactoring::rewrite("Sort the packages, a line each", edits))
}

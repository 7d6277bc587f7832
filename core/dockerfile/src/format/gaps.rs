//! White space of an instruction that means nothing.

use std::ops::Range;

use crate::instruction::{Body, CommandLine, Instruction};
use crate::span::Span;

/// Substitutions within substitutions, at most.
const MAX_DEPTH: usize = 50;

/// White space of an instruction's code that may be other white space.
pub(super) struct Gap {
    /// In [`Instruction::code`].
    pub(super) range: Range<usize>,
    /// Within a line it may be one blank; else it is free only where lines are joined in it.
    pub(super) between_words: bool,
}

/// The white space of an instruction that means nothing, in order. `is_posix` says that its shell splits words as `sh`
/// does.
pub(super) fn gaps(instruction: &Instruction, is_posix: bool) -> Vec<Gap> {
    if matches!(instruction.body, Body::Onbuild(_) | Body::Invalid(_)) {
        return Vec::new();
    }
    let code = &instruction.code;
    let mut fixed: Vec<Range<usize>> = vec![range(instruction, instruction.keyword_span)];
    fixed.extend(instruction.flags.iter().map(|flag| range(instruction, flag.span)));
    // Where the words end that BuildKit itself takes apart.
    let mut end = code.len();
    let mut gaps = Vec::new();
    match &instruction.body {
        Body::Run(line) | Body::Cmd(line) | Body::Entrypoint(line) => {
            end = command(instruction, line, is_posix, &mut gaps);
        }
        Body::Healthcheck(health) => {
            fixed.push(range(instruction, health.kind.span));
            if let Some(line) = &health.command {
                end = command(instruction, line, is_posix, &mut gaps);
            }
        }
        _ => {
            let words: Vec<_> =
                instruction.words().iter().map(|word| range(instruction, word.span)).collect();
            let first = words.iter().map(|word| word.start).min().unwrap_or(end);
            let before = fixed.iter().map(|word| word.end).max().unwrap_or(0);
            // `VOLUME`, `COPY`, `ADD` and `SHELL` may have arrays.
            if let Some(at) = code.get(before..first).and_then(|between| between.find('[')) {
                end = before + at;
                gaps.extend(outside(code, end..code.len(), &words, false));
            }
            fixed.extend(words);
        }
    }
    let mut all = outside(code, 0..end, &fixed, true);
    all.append(&mut gaps);
    all
}

/// Where a command begins; adds the gaps in it.
fn command(instruction: &Instruction, line: &CommandLine, is_posix: bool, gaps: &mut Vec<Gap>) -> usize {
    let code = &instruction.code;
    match line {
        CommandLine::Exec { span, words } => {
            let array = range(instruction, *span);
            let strings: Vec<_> = words.iter().map(|word| range(instruction, word.span)).collect();
            gaps.extend(outside(code, array.clone(), &strings, false));
            array.start
        }
        CommandLine::Shell(word) => {
            let start = code.len() - word.text.len().min(code.len());
            if is_posix && code.ends_with(&word.text) {
                let unquoted = |gap: Range<usize>| Gap {
                    range: gap.start + start..gap.end + start,
                    between_words: false,
                };
                gaps.extend(unquoted_blanks(&word.text).into_iter().map(unquoted));
            }
            start
        }
    }
}

/// The white space of a part of the code that no word has.
fn outside(code: &str, part: Range<usize>, words: &[Range<usize>], between_words: bool) -> Vec<Gap> {
    let mut words: Vec<_> = words.iter().filter(|word| !word.is_empty()).cloned().collect();
    words.sort_by_key(|word| word.start);
    let mut gaps = Vec::new();
    let mut add = |range| blanks(code, range, |range| gaps.push(Gap { range, between_words }));
    let mut at = part.start;
    for word in words {
        add(at..word.start.min(part.end).max(at));
        at = at.max(word.end);
    }
    add(at..part.end.max(at));
    gaps
}

/// Runs of blanks and tabs.
fn blanks(code: &str, part: Range<usize>, mut add: impl FnMut(Range<usize>)) {
    let bytes = code.as_bytes().get(part.clone()).unwrap_or_default();
    let mut start = None;
    for (at, byte) in bytes.iter().chain(b"x").enumerate() {
        if matches!(byte, b' ' | b'\t') {
            start.get_or_insert(at);
        } else if let Some(start) = start.take() {
            add(part.start + start..part.start + at);
        }
    }
}

/// Where a span of the text is in the code.
fn range(instruction: &Instruction, span: Span) -> Range<usize> {
    let code_of = |source: u32| {
        let index = instruction.pieces.partition_point(|&(_, start)| start <= source);
        let piece = index.checked_sub(1).and_then(|index| instruction.pieces.get(index));
        piece.map_or(0, |&(code, start)| (code + (source - start)) as usize).min(instruction.code.len())
    };
    if span.is_empty() {
        let at = code_of(span.start);
        return at..at;
    }
    let start = code_of(span.start);
    start..(code_of(span.end - 1) + 1).clamp(start, instruction.code.len())
}

/// The white space of a script that only parts its words. Of a script in which it is not certain what is quoted, only
/// what comes before that; of one with an open quote, none.
fn unquoted_blanks(script: &str) -> Vec<Range<usize>> {
    let bytes = script.as_bytes();
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let after_blank = found.last().is_some_and(|blank| blank.end == at);
        if matches!(byte, b' ' | b'\t') {
            let start = at;
            at += bytes[at..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
            found.push(start..at);
        } else if byte == b'#' && after_blank {
            return found;
        } else {
            at = match shell_piece(bytes, at, MAX_DEPTH) {
                Ok(end) => end,
                Err(Unclear::Open) => return Vec::new(),
                Err(Unclear::Quoting) => return found,
            };
        }
    }
    found
}

/// Why it is not certain what a shell takes as quoted.
enum Unclear {
    /// A quote has no end.
    Open,
    /// Other rules of quoting hold, or may hold.
    Quoting,
}

/// The end of a character, of a string, or of what is substituted, that begins at a place of a script.
fn shell_piece(script: &[u8], at: usize, depth: usize) -> Result<usize, Unclear> {
    match (script[at], script.get(at + 1)) {
        (b'\\', _) => Ok(at + 2),
        (b'\'', _) => until(script, at + 1, b'\'').ok_or(Unclear::Open),
        (b'"', _) => double_quoted(script, at + 1, depth),
        (b'$', Some(b'(' | b'{')) => substitution(script, at + 1, depth),
        (b'`', _) | (b'$', Some(b'\'')) => Err(Unclear::Quoting),
        _ => Ok(at + 1),
    }
}

fn until(script: &[u8], at: usize, end: u8) -> Option<usize> {
    Some(at + script.get(at..)?.iter().position(|&byte| byte == end)? + 1)
}

/// The end of a string, after its quote.
fn double_quoted(script: &[u8], mut at: usize, depth: usize) -> Result<usize, Unclear> {
    loop {
        at = match script.get(at) {
            None => return Err(Unclear::Open),
            Some(b'"') => return Ok(at + 1),
            Some(b'\'') => at + 1,
            Some(_) => shell_piece(script, at, depth)?,
        };
    }
}

/// The end of what is in parentheses or braces after a `$`; `at` is where these open.
fn substitution(script: &[u8], at: usize, depth: usize) -> Result<usize, Unclear> {
    let depth = depth.checked_sub(1).ok_or(Unclear::Quoting)?;
    let is_brace = script[at] == b'{';
    let start = at;
    let mut at = at + 1;
    let mut open = 1;
    loop {
        let byte = *script.get(at).ok_or(Unclear::Open)?;
        at = match byte {
            b'}' if is_brace => return Ok(at + 1),
            // In a string, what quotes do here depends on the shell.
            b'\'' | b'"' | b'\\' if is_brace => return Err(Unclear::Quoting),
            b'(' | b')' if !is_brace => {
                open = if byte == b'(' { open + 1 } else { open - 1 };
                if open == 0 {
                    // The patterns of a `case` have parentheses that nothing opens.
                    let has_case = script[start..at].windows(4).any(|word| word == b"case");
                    return if has_case { Err(Unclear::Quoting) } else { Ok(at + 1) };
                }
                at + 1
            }
            b'#' if !is_brace && matches!(script[at - 1], b' ' | b'\t') => return Err(Unclear::Quoting),
            _ => shell_piece(script, at, depth)?,
        };
    }
}

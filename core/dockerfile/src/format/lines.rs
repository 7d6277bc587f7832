//! Line by line.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::gaps::gaps;
use super::{Indent, Style};
use crate::diagnostic::{Diagnostic, Phase};
use crate::dockerfile::Dockerfile;
use crate::edit::Edit;
use crate::instruction::{Body, Instruction, Keyword};
use crate::line::{Line, LineKind, continuation};
use crate::span::Span;

/// Shells that split a script into words by the same rules.
const POSIX: [&str; 6] = ["sh", "ash", "bash", "dash", "ksh", "zsh"];

/// The edits of all lines.
pub(super) fn edits(file: &Dockerfile, style: &Style) -> Vec<Edit> {
    let mut writer = Writer { file, style, edits: Vec::new() };
    let lower = file.is_lower_case();
    let of_instruction = |found: &&Diagnostic| found.phase != Phase::Structure;
    let found = file.diagnostics.iter().filter(of_instruction);
    let wrong: HashSet<u32> =
        found.filter_map(|found| Some(file.instruction_at(found.span.start)?.span.start)).collect();
    let mut shells = Shells::default();
    let mut parts = Vec::new();
    let mut at = 0;
    let mut instructions = file.instructions.iter().peekable();
    while let Some(line) = file.lines.get(at) {
        let first = at;
        at += 1;
        let kind = match line.kind {
            LineKind::Instruction => {
                let Some(instruction) = instructions.next() else { break };
                at = match instructions.peek() {
                    Some(next) => file.lines.partition_point(|line| line.span.end <= next.span.start).max(at),
                    None => file.lines.len(),
                };
                at = first + writer.length(&file.lines[first..at]);
                let is_posix = shells.of(instruction, file);
                let wrong = is_odd(instruction) || wrong.contains(&instruction.span.start);
                if !wrong {
                    writer.instruction(instruction, &file.lines[first..at], lower, is_posix);
                }
                Part::Instruction(instruction.keyword, wrong)
            }
            LineKind::Blank => Part::Blank,
            LineKind::Comment => {
                writer.comment(line);
                Part::Comment
            }
            LineKind::Directive => {
                writer.trim(line);
                Part::Directive
            }
            LineKind::HeredocContent | LineKind::HeredocEnd => continue,
        };
        parts.push((kind, first));
    }
    writer.empty_lines(&parts);
    writer.last_line();
    writer.edits
}

/// Whether an instruction is written as nobody writes one.
fn is_odd(instruction: &Instruction) -> bool {
    let name = instruction.keyword.name();
    name.is_empty() || instruction.keyword_span.len() != name.len()
}

/// What a line is that stands for itself, or an instruction with all of its lines.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Blank,
    Comment,
    Directive,
    /// And whether something is wrong with it.
    Instruction(Keyword, bool),
}

struct Writer<'a> {
    file: &'a Dockerfile,
    style: &'a Style,
    edits: Vec<Edit>,
}

impl Writer<'_> {
    fn replace(&mut self, range: Range<usize>, text: &str) {
        let span = Span::of(range.start, range.end);
        if span.slice(&self.file.text) != text {
            self.edits.push(Edit { span, text: text.to_owned() });
        }
    }

    /// Where the content of a line begins, without a byte order mark, and where it ends, without its line end.
    fn content(&self, line: &Line) -> Range<usize> {
        let text = line.span.slice(&self.file.text);
        let mark =
            if line.span.start == 0 && text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        let start = line.span.start as usize;
        let end = start + text.trim_end_matches(['\r', '\n']).len();
        start + mark..end.max(start + mark)
    }

    /// How many lines an instruction has: those after it that belong to nothing else are not its own.
    fn length(&self, lines: &[Line]) -> usize {
        let mut open = false;
        let mut heredoc = false;
        let mut length = 0;
        for (index, line) in lines.iter().enumerate() {
            match line.kind {
                LineKind::Instruction if index == 0 || open => {
                    let content = self.content(line);
                    open = continuation(&self.file.text[content], self.file.escape).is_some();
                }
                LineKind::HeredocContent | LineKind::HeredocEnd => {
                    heredoc = true;
                    open = false;
                }
                LineKind::Blank | LineKind::Comment if open && !heredoc => {}
                _ => break,
            }
            length = index + 1;
        }
        length
    }

    /// Takes white space at the end of a line away.
    fn trim(&mut self, line: &Line) {
        let content = self.content(line);
        let text = &self.file.text[content.clone()];
        if self.style.trim_lines {
            self.replace(content.start + text.trim_end_matches([' ', '\t']).len()..content.end, "");
        }
    }

    /// A comment between instructions.
    fn comment(&mut self, line: &Line) {
        let content = self.content(line);
        let text = &self.file.text[content.clone()];
        let lead = blank_length(text);
        // Some comments count only where they begin a line.
        let name = text[lead..].strip_prefix('#').unwrap_or_default().trim_start();
        let checks = name.get(.."check".len()).is_some_and(|name| name.eq_ignore_ascii_case("check"));
        if !checks && !name.starts_with('!') {
            self.replace(content.start..content.start + lead, "");
        }
        self.trim(line);
    }

    fn instruction(&mut self, instruction: &Instruction, lines: &[Line], lower: bool, is_posix: bool) {
        let start = instruction.span.start as usize;
        if let Some(line) = lines.first() {
            let content = self.content(line);
            let lead = blank_length(&self.file.text[content.clone()]);
            if content.start + lead == start {
                self.replace(content.start..start, "");
            }
        }
        let cased = |word: &str| if lower { word.to_ascii_lowercase() } else { word.to_ascii_uppercase() };
        self.replace(instruction.keyword_span.range(), &cased(instruction.keyword.name()));
        if let Body::From(body) = &instruction.body
            && let Some(word) = &body.as_keyword
            && word.span.len() == word.text.len()
        {
            self.replace(word.span.range(), &cased("as"));
        }
        let leads = self.gaps(instruction, is_posix);
        self.inner_lines(instruction, lines, &leads);
    }

    /// Writes the white space of an instruction; answers by the beginnings of lines what they begin with.
    fn gaps(&mut self, instruction: &Instruction, is_posix: bool) -> HashMap<usize, String> {
        // Where lines are joined: in the code, and where the second one begins in the text.
        let joins: Vec<(usize, usize)> = instruction
            .pieces
            .iter()
            .skip(1)
            .map(|&(code, source)| (code as usize, source as usize))
            .collect();
        let gaps = gaps(instruction, is_posix);
        let mut free = Vec::new();
        for gap in &gaps {
            let from = joins.partition_point(|&(code, _)| code < gap.range.start);
            let to = joins.partition_point(|&(code, _)| code <= gap.range.end);
            let within = &joins[from..to];
            let Some(&(join, _)) = within.first() else {
                if gap.between_words {
                    let start = instruction.source_of(gap.range.start) as usize;
                    self.replace(start..start + gap.range.len(), " ");
                }
                continue;
            };
            let before = instruction.source_of(join - 1) as usize + 1;
            self.replace(before - (join - gap.range.start)..before, " ");
            let ends = within.iter().skip(1).map(|&(code, _)| code).chain([gap.range.end]);
            free.extend(within.iter().zip(ends).map(|(&(code, source), end)| source..source + (end - code)));
        }
        let steps = steps(&self.file.text, &free, self.style.indent);
        let mut leads = HashMap::new();
        for (lead, steps) in free.into_iter().zip(steps) {
            let text = self.style.indent.text(steps);
            leads.insert(lead.start, text.clone());
            self.replace(lead, &text);
        }
        leads
    }

    /// The ends of an instruction's lines, and what stands between these.
    fn inner_lines(&mut self, instruction: &Instruction, lines: &[Line], leads: &HashMap<usize, String>) {
        let code_end = instruction.source_of(instruction.code.len().saturating_sub(1)) as usize + 1;
        let mut lead = self.style.indent.text(1);
        let mut comments = Vec::new();
        for line in lines {
            let content = self.content(line);
            let text = &self.file.text[content.clone()];
            match line.kind {
                LineKind::Blank => self.replace(line.span.range(), ""),
                LineKind::Comment => {
                    comments.push(content.start..content.start + blank_length(text));
                    self.trim(line);
                }
                LineKind::Instruction => {
                    if let Some(text) = leads.get(&content.start) {
                        lead.clone_from(text);
                    }
                    for comment in comments.drain(..) {
                        self.replace(comment, &lead);
                    }
                    let Some(stop) = continuation(text, self.file.escape) else {
                        if code_end <= content.end {
                            self.trim(line);
                        }
                        continue;
                    };
                    let stop = content.start + stop;
                    // After the last word.
                    if (content.start..=stop).contains(&code_end)
                        && self.file.text[code_end..stop].bytes().all(|byte| matches!(byte, b' ' | b'\t'))
                    {
                        self.replace(code_end..stop, " ");
                    }
                    self.trim(line);
                }
                _ => {}
            }
        }
        for comment in comments {
            self.replace(comment, &lead);
        }
    }

    /// Empty lines between instructions.
    fn empty_lines(&mut self, parts: &[(Part, usize)]) {
        let mut from = false;
        let mut at = 0;
        while at < parts.len() {
            let count = parts[at..].iter().take_while(|(part, _)| *part == Part::Blank).count();
            let before = at.checked_sub(1).map(|before| parts[before].0);
            let next = parts.get(at + count).map(|(part, _)| *part);
            let keep = match (before, next) {
                // What would be on top may mean something there.
                (None, Some(Part::Instruction(_, false))) => 0,
                (Some(_), None) if self.style.trim_end => 0,
                (None, _) | (_, None) => count,
                (Some(_), Some(_)) => count.min(1),
            };
            for (index, (_, line)) in parts[at..at + count].iter().enumerate() {
                let line = &self.file.lines[*line];
                if index < keep {
                    self.trim(line);
                } else {
                    let start = self.content(line).start;
                    self.replace(start..line.span.end as usize, "");
                }
            }
            at += count;
            // A stage begins with the comments right above it.
            let comments = parts[at..].iter().take_while(|(part, _)| *part == Part::Comment).count();
            let stage = matches!(parts.get(at + comments), Some((Part::Instruction(Keyword::From, _), _)));
            if let Some((_, line)) = parts.get(at)
                && stage
                && from
                && count == 0
                && matches!(before, Some(Part::Instruction(..)))
            {
                let start = self.file.lines[*line].span.start as usize;
                let newline = if self.file.text[..start].ends_with("\r\n") { "\r\n" } else { "\n" };
                self.replace(start..start, newline);
            }
            from |= stage;
            at += comments.max(usize::from(count == 0));
        }
    }

    /// The end of the last line.
    fn last_line(&mut self) {
        let Some(last) = self.file.lines.last() else { return };
        let text = &self.file.text;
        let ends = text.ends_with('\n') || matches!(last.kind, LineKind::Blank | LineKind::HeredocContent);
        if self.style.final_newline && !ends {
            let newline = if text.contains("\r\n") { "\r\n" } else { "\n" };
            self.replace(text.len()..text.len(), newline);
        }
    }
}

/// How many steps lines are indented by: the least indented by one, the others by what they are deeper.
fn steps(text: &str, leads: &[Range<usize>], indent: Indent) -> Vec<u32> {
    let columns: Vec<u32> = leads.iter().map(|lead| indent.columns(&text[lead.clone()])).collect();
    let least = columns.iter().copied().filter(|&columns| columns > 0).min().unwrap_or(0);
    let width = indent.width.clamp(1, super::MAX_INDENT);
    let deeper = |columns: u32| (columns.saturating_sub(least) + width / 2) / width;
    // Deep enough for anything that is meant.
    columns.into_iter().map(|columns| 1 + deeper(columns).min(8)).collect()
}

/// How many blanks and tabs a text begins with.
pub(super) fn blank_length(text: &str) -> usize {
    text.len() - text.trim_start_matches([' ', '\t']).len()
}

/// Which instructions give their text to a shell that splits words as `sh` does.
#[derive(Default)]
struct Shells {
    now: bool,
    name: Option<String>,
    /// At the ends of stages.
    stages: HashMap<String, bool>,
}

impl Shells {
    /// Takes the next instruction; answers whether its shell is such a one.
    fn of(&mut self, instruction: &Instruction, file: &Dockerfile) -> bool {
        match &instruction.body {
            Body::From(body) => {
                let base = body.image.text.to_lowercase();
                let platform = instruction.flag_value("platform").map(|word| word.text.to_lowercase());
                let windows = |text: &str| text.contains("windows") || text.contains("nanoserver");
                self.now = self.stages.get(&base).copied().unwrap_or_else(|| {
                    file.escape == '\\' && !windows(&base) && !platform.as_deref().is_some_and(windows)
                });
                self.name = body.name.as_ref().map(|name| name.text.to_lowercase());
            }
            Body::Shell(words) => {
                let name = words.first().map_or("", |word| word.text.rsplit('/').next().unwrap_or_default());
                let takes_text =
                    words.last().is_some_and(|word| word.text.starts_with('-') && word.text.ends_with('c'));
                self.now = file.escape == '\\' && takes_text && POSIX.contains(&name);
            }
            _ => {}
        }
        if let Some(name) = &self.name {
            self.stages.insert(name.clone(), self.now);
        }
        self.now
    }
}

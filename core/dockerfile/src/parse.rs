//! From text to instructions: directives, comments, logical lines, heredocs.

use crate::body;
use crate::diagnostic::{Diagnostic, Phase};
use crate::dockerfile::{Comment, Directive, Directives, Dockerfile};
use crate::heredoc;
use crate::instruction::{Body, Heredoc, Instruction, Keyword};
use crate::line::{Line, LineKind, Lines, Logical, RawLine, continuation};
use crate::span::{LineIndex, Span};
use crate::syntax;

/// Bytes of a text, at most. A larger one gets a diagnostic and no instructions.
const MAX_TEXT: usize = 64 << 20;
/// Bytes of a line, at most: what BuildKit reads. A longer one gets a diagnostic.
const MAX_LINE: usize = 65535;
const BYTE_ORDER_MARK: &str = "\u{feff}";

/// Parses a Dockerfile. Whatever the text is, there is a tree: what is wrong stands in
/// [`Dockerfile::diagnostics`]. Takes time linear in the length of the text.
pub fn parse(text: &str) -> Dockerfile {
    let mut parser = Parser {
        lines: Lines { text, position: 0 },
        escape: '\\',
        directives: DirectiveState::Open,
        comments_start: 0,
        file: Dockerfile {
            text: text.to_owned(),
            directives: Directives::default(),
            escape: '\\',
            instructions: Vec::new(),
            comments: Vec::new(),
            diagnostics: Vec::new(),
            lines: Vec::new(),
            line_index: LineIndex::new(text),
        },
    };
    if text.len() > MAX_TEXT {
        parser.error(Span::of(0, 0), format!("dockerfile larger than {MAX_TEXT} bytes"));
        let whole = Line { span: Span::of(0, text.len()), kind: LineKind::Comment };
        parser.file.lines.push(whole);
        return parser.file;
    }
    parser.run();
    parser.finish()
}

/// Whether the next line may be a parser directive.
#[derive(Clone, Copy, PartialEq, Eq)]
enum DirectiveState {
    /// Yes.
    Open,
    /// After a `#!` line: `syntax` and `check`, which BuildKit looks for by themselves, but not `escape`.
    AfterShebang,
    /// Something else has been seen.
    Closed,
}

struct Parser<'a> {
    lines: Lines<'a>,
    escape: char,
    directives: DirectiveState,
    /// Index of the first comment that belongs to the next instruction.
    comments_start: usize,
    file: Dockerfile,
}

impl<'a> Parser<'a> {
    fn error(&mut self, span: Span, message: impl Into<String>) {
        self.file.diagnostics.push(Diagnostic::error(Phase::Syntax, span, message));
    }

    /// The next physical line. A byte order mark is left out of the first one's content.
    fn next_line(&mut self) -> Option<RawLine<'a>> {
        let mut line = self.lines.next()?;
        if line.content.len() > MAX_LINE {
            let message = format!("dockerfile line greater than max allowed size of {MAX_LINE}");
            self.error(Span::of(line.start, line.start), message);
        }
        if line.start == 0
            && let Some(content) = line.content.strip_prefix(BYTE_ORDER_MARK)
        {
            line.content = content;
            line.start = BYTE_ORDER_MARK.len();
        }
        Some(line)
    }

    /// Notes what a physical line is.
    fn note(&mut self, line: &RawLine<'_>, kind: LineKind) {
        let start = self.file.lines.last().map_or(0, |last| last.span.end);
        self.file.lines.push(Line { span: Span { start, end: line.span().end }, kind });
    }

    fn run(&mut self) {
        while let Some(line) = self.next_line() {
            if line.is_comment() {
                self.comment_or_directive(&line);
            } else {
                self.directives = DirectiveState::Closed;
                if line.is_blank() {
                    self.note(&line, LineKind::Blank);
                } else {
                    self.instruction(&line);
                }
            }
        }
    }

    fn comment_or_directive(&mut self, line: &RawLine<'_>) {
        if self.directives != DirectiveState::Closed {
            if self.file.lines.is_empty() && line.content.starts_with("#!") {
                self.directives = DirectiveState::AfterShebang;
            } else if self.directive(line) {
                self.note(line, LineKind::Directive);
                return;
            }
        }
        self.comment(line);
        if self.file.comments.last().is_some_and(|comment| comment.text.is_empty()) {
            self.comments_start = self.file.comments.len();
        }
    }

    fn comment(&mut self, line: &RawLine<'_>) {
        self.note(line, LineKind::Comment);
        let hash = line.start + (line.content.len() - line.content.trim_start().len());
        let span = Span { start: Span::of(hash, hash).start, end: line.content_span().end };
        let text = self.lines.text[hash + 1..line.start + line.content.len()].trim().to_owned();
        self.file.comments.push(Comment { span, text });
    }

    /// Reads `# name = value`. Answers whether it is a directive; if not, no directive follows.
    fn directive(&mut self, line: &RawLine<'_>) -> bool {
        let text = self.lines.text;
        let end = line.start + line.content.len();
        let hash = line.start + (line.content.len() - line.content.trim_start().len());
        let name_start = end - text[hash + 1..end].trim_start().len();
        let name_length =
            text[name_start..end].find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(end - name_start);
        let name = &text[name_start..name_start + name_length];
        let value = text[name_start + name_length..end].trim_start().strip_prefix('=').map(str::trim);
        let Some(value) = value.filter(|value| !value.is_empty()) else {
            self.directives = DirectiveState::Closed;
            return false;
        };
        let value_start = end - text[..end].len() + text[..end].rfind(value).unwrap_or(0);
        let found = Directive {
            span: Span::of(hash, end),
            name_span: Span::of(name_start, name_start + name_length),
            value_span: Span::of(value_start, value_start + value.len()),
            value: value.to_owned(),
        };
        let after_shebang = self.directives == DirectiveState::AfterShebang;
        let lower = name.to_ascii_lowercase();
        let slot = match lower.as_str() {
            "syntax" => &mut self.file.directives.syntax,
            "check" => &mut self.file.directives.check,
            "escape" if after_shebang => return false,
            "escape" => &mut self.file.directives.escape,
            _ => {
                self.directives = DirectiveState::Closed;
                return false;
            }
        };
        if slot.is_some() {
            self.error(found.span, format!("only one {lower} parser directive can be used"));
            return true;
        }
        if lower == "escape" {
            match value {
                "\\" => {}
                "`" => self.escape = '`',
                _ => {
                    let message = format!("invalid escape token '{value}' does not match ` or \\");
                    self.file.diagnostics.push(Diagnostic::error(Phase::Syntax, found.value_span, message));
                }
            }
            self.file.directives.escape = Some(found);
        } else {
            *slot = Some(found);
        }
        true
    }

    /// Reads the instruction that begins on `first`.
    fn instruction(&mut self, first: &RawLine<'a>) {
        let comments = self.comments_start..self.file.comments.len();
        let indent = first.content.len() - first.content.trim_start().len();
        let start = first.start + indent;
        let mut logical = Logical::default();
        let mut end = first.content_span().end;
        let mut empty_continuations = Vec::new();

        self.note(first, LineKind::Instruction);
        let mut continued = self.join(&mut logical, &first.content[indent..], start);
        while continued {
            let Some(line) = self.next_line() else { break };
            if line.is_comment() {
                self.comment(&line);
            } else if line.is_blank() {
                self.note(&line, LineKind::Blank);
                empty_continuations.push(line.content_span());
            } else {
                self.note(&line, LineKind::Instruction);
                end = line.content_span().end;
                continued = self.join(&mut logical, line.content, line.start);
            }
        }

        let mut instruction = body::instruction(&logical, self.escape, &mut self.file.diagnostics);
        instruction.comments = comments;
        instruction.empty_continuations = empty_continuations;
        instruction.span = Span { start: Span::of(start, start).start, end };
        if takes_heredocs(&instruction) && logical.text.contains("<<") {
            self.heredocs(&logical, &mut instruction);
        }
        self.comments_start = self.file.comments.len();
        self.file.instructions.push(instruction);
    }

    /// Adds a physical line to a logical one; answers whether another follows.
    fn join(&self, logical: &mut Logical, content: &str, start: usize) -> bool {
        let continued = continuation(content, self.escape);
        logical.push(&content[..continued.unwrap_or(content.len())], start);
        continued.is_some()
    }

    /// Reads the contents of the heredocs an instruction opens.
    fn heredocs(&mut self, logical: &Logical, instruction: &mut Instruction) {
        for (range, opening) in heredoc::openings(&logical.text) {
            let word = logical.word(range);
            let from = self.lines.position;
            let mut content = Span::of(from, from);
            let mut terminator = None;
            while let Some(line) = self.next_line() {
                let candidate =
                    if opening.strip_tabs { line.content.trim_start_matches('\t') } else { line.content };
                if candidate == opening.name {
                    self.note(&line, LineKind::HeredocEnd);
                    terminator = Some(line.content_span());
                    break;
                }
                self.note(&line, LineKind::HeredocContent);
                content.end = line.span().end;
            }
            if terminator.is_none() {
                self.error(word.span, "unterminated heredoc");
            }
            instruction.span.end = match terminator {
                Some(span) => span.end,
                None if content.is_empty() => instruction.span.end,
                None => content
                    .slice(self.lines.text)
                    .trim_end_matches(['\r', '\n'])
                    .len()
                    .try_into()
                    .map_or(content.end, |length: u32| content.start + length),
            };
            let heredoc = Heredoc {
                word,
                name: opening.name,
                file_descriptor: opening.file_descriptor,
                strip_tabs: opening.strip_tabs,
                expand: opening.expand,
                content,
                terminator,
            };
            if let Body::Onbuild(trigger) = &mut instruction.body {
                trigger.heredocs.push(heredoc.clone());
                trigger.span.end = instruction.span.end;
            }
            instruction.heredocs.push(heredoc);
        }
    }

    fn finish(mut self) -> Dockerfile {
        if self.file.directives.syntax.is_none() {
            self.file.directives.syntax = syntax::elsewhere(&self.file.text);
        }
        self.file.escape = self.escape;
        let end = self.file.text.len();
        if self.file.text.is_empty() {
            let empty = Diagnostic::error(Phase::Structure, Span::of(0, 0), "the Dockerfile cannot be empty");
            self.file.diagnostics.push(empty);
        } else if self.file.instructions.is_empty() {
            // The last line: where an instruction was still missing.
            let last = self.file.lines.last().map_or(Span::of(end, end), |line| line.span);
            self.error(last, "file with no instructions");
        }
        let mut staged = false;
        let mut outside = Vec::new();
        for instruction in &self.file.instructions {
            match instruction.keyword {
                Keyword::From => staged = true,
                Keyword::Arg | Keyword::Unknown => {}
                _ if !staged => outside.push(Diagnostic::error(
                    Phase::Structure,
                    instruction.keyword_span,
                    "no build stage in current context",
                )),
                _ => {}
            }
        }
        if !staged && outside.is_empty() && !self.file.instructions.is_empty() {
            outside.push(Diagnostic::error(
                Phase::Structure,
                Span::of(end, end),
                "dockerfile contains no stages to build",
            ));
        }
        self.file.diagnostics.extend(outside);
        // Within an instruction they keep the order in which BuildKit would come upon them.
        let file = &self.file;
        let mut found = file.diagnostics.clone();
        found.sort_by_cached_key(|diagnostic| {
            let at = diagnostic.span.start;
            file.instruction_at(at).map_or(at, |instruction| instruction.span.start)
        });
        self.file.diagnostics = found;
        self.file
    }
}

/// Whether an instruction, or the trigger in it, takes heredocs.
fn takes_heredocs(instruction: &Instruction) -> bool {
    match &instruction.body {
        Body::Onbuild(trigger) => takes_heredocs(trigger),
        Body::Run(command) => !command.is_exec(),
        Body::Copy(files) | Body::Add(files) => !files.exec,
        _ => false,
    }
}

#[cfg(test)]
mod tests;

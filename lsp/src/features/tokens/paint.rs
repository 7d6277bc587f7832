//! Tokens over tokens.

use std::cmp::Reverse;

use rbx_dockerfile::{
    Body, CommandLine, Dockerfile, ExpandOptions, Flag, Instruction, Span, Word, substitutions,
};
use tower_lsp::ls_types::SemanticToken;

use super::{DECLARATION, Kind};
use crate::text::{Encoding, Text, number};

/// Tokens as they come. One that lies in another one is seen, and the rest of that; of two in the same place the
/// later is seen.
#[derive(Default)]
pub(super) struct Paint {
    tokens: Vec<Token>,
}

#[derive(Clone, Copy)]
struct Token {
    span: Span,
    kind: Kind,
    modifiers: u32,
}

impl Paint {
    pub(super) fn add(&mut self, span: Span, kind: Kind, modifiers: u32) {
        if !span.is_empty() {
            self.tokens.push(Token { span, kind, modifiers });
        }
    }

    /// What remains to be seen, as the protocol has it.
    pub(super) fn finish(self, text: &Text, encoding: Encoding) -> Vec<SemanticToken> {
        let mut order: Vec<(Span, usize)> =
            self.tokens.iter().enumerate().map(|(index, token)| (token.span, index)).collect();
        order.sort_unstable_by_key(|&(span, index)| (span.start, Reverse(span.end), index));
        let mut line =
            Lines { text: text.as_str(), walk: text.walk(encoding), line: 0, start: 0, out: Vec::new() };
        let mut open: Vec<Token> = Vec::new();
        let mut at = 0;
        for (_, index) in order {
            let Some(mut token) = self.tokens.get(index).copied() else { continue };
            while let Some(last) = open.pop_if(|last| last.span.end <= token.span.start) {
                line.push(Span { start: at.max(last.span.start), end: last.span.end }, last);
                at = at.max(last.span.end);
            }
            if let Some(outer) = open.last().copied() {
                line.push(Span { start: at.max(outer.span.start), end: token.span.start }, outer);
                // One that reaches out of another one is cut.
                token.span.end = token.span.end.min(outer.span.end);
            }
            at = at.max(token.span.start);
            open.push(token);
        }
        while let Some(last) = open.pop() {
            line.push(Span { start: at.max(last.span.start), end: last.span.end }, last);
            at = at.max(last.span.end);
        }
        line.out
    }

    /// The words of the language.
    pub(super) fn language(&mut self, tree: &Dockerfile) {
        let directives = &tree.directives;
        for directive in [&directives.syntax, &directives.escape, &directives.check].into_iter().flatten() {
            self.add(directive.span, Kind::Comment, 0);
            self.add(directive.name_span, Kind::Decorator, 0);
            self.add(directive.value_span, Kind::String, 0);
        }
        for instruction in &tree.instructions {
            self.instruction(tree, instruction);
            for heredoc in &instruction.heredocs {
                let name = heredoc.word.text.rfind(heredoc.name.as_str()).unwrap_or(2);
                let start = heredoc.word.span.start;
                self.add(Span { start, end: start + number(name) }, Kind::Operator, 0);
                self.add(heredoc.terminator.unwrap_or_default(), Kind::Macro, 0);
            }
        }
    }

    fn instruction(&mut self, tree: &Dockerfile, instruction: &Instruction) {
        self.add(instruction.keyword_span, Kind::Keyword, 0);
        for flag in &instruction.flags {
            self.flag(tree, flag);
        }
        match &instruction.body {
            Body::From(body) => {
                self.image(&body.image);
                self.add(
                    body.as_keyword.as_ref().map_or(Span::default(), |word| word.span),
                    Kind::Keyword,
                    0,
                );
            }
            Body::Arg(list) => {
                for arg in list {
                    self.pair(tree, &arg.name, arg.value.as_ref(), Kind::Variable, DECLARATION);
                }
            }
            Body::Env(pairs) => {
                for pair in pairs {
                    self.pair(tree, &pair.name, Some(&pair.value), Kind::Variable, DECLARATION);
                }
            }
            Body::Label(pairs) => {
                for pair in pairs {
                    self.pair(tree, &pair.name, Some(&pair.value), Kind::Property, 0);
                }
            }
            Body::Copy(files) | Body::Add(files) => {
                for word in files.sources.iter().chain(&files.destination) {
                    let heredoc = instruction.heredocs.iter().any(|it| it.word.span.encloses(word.span));
                    if !heredoc {
                        self.value(word);
                    }
                }
                for heredoc in &instruction.heredocs {
                    self.add(heredoc.content, Kind::String, 0);
                }
            }
            Body::Run(line) | Body::Cmd(line) | Body::Entrypoint(line) => self.command(line),
            Body::Healthcheck(health) => {
                self.add(health.kind.span, Kind::Keyword, 0);
                if let Some(line) = &health.command {
                    self.command(line);
                }
            }
            Body::Expose(words) | Body::Volume(words) | Body::Shell(words) => {
                for word in words {
                    self.value(word);
                }
            }
            Body::User(word) | Body::Workdir(word) | Body::Maintainer(word) => self.value(word),
            Body::Stopsignal(word) => self.add(word.span, Kind::EnumMember, 0),
            Body::Onbuild(trigger) => self.instruction(tree, trigger),
            Body::Invalid(_) => {}
        }
    }

    /// The strings of a JSON array; what a shell reads is somebody else's.
    fn command(&mut self, line: &CommandLine) {
        if let CommandLine::Exec { words, .. } = line {
            for word in words {
                self.add(word.span, Kind::String, 0);
            }
        }
    }

    fn flag(&mut self, tree: &Dockerfile, flag: &Flag) {
        self.add(Span { start: flag.span.start, end: flag.name.span.end }, Kind::Property, 0);
        let Some(value) = &flag.value else { return };
        self.equals(tree, flag.name.span.end);
        if flag.name.text != "mount" || value.span.len() != value.text.len() {
            return self.value(value);
        }
        let mut start = value.span.start;
        for field in value.text.split(',') {
            let end = start + number(field.len());
            let key = field.find('=').map_or(end, |at| start + number(at));
            self.add(Span { start, end: key }, Kind::Property, 0);
            self.equals(tree, key);
            let rest = field.split_once('=').map_or("", |(_, rest)| rest);
            self.text(Span { start: end - number(rest.len()), end }, rest);
            if end < value.span.end {
                self.add(Span { start: end, end: end + 1 }, Kind::Operator, 0);
            }
            start = end + 1;
        }
    }

    fn pair(&mut self, tree: &Dockerfile, name: &Word, value: Option<&Word>, kind: Kind, modifiers: u32) {
        self.add(name.span, kind, modifiers);
        if let Some(value) = value {
            self.equals(tree, name.span.end);
            self.value(value);
        }
    }

    /// The `=` at a place, if there is one.
    fn equals(&mut self, tree: &Dockerfile, at: u32) {
        let span = Span { start: at, end: at.saturating_add(1) };
        if span.slice(&tree.text) == "=" {
            self.add(span, Kind::Operator, 0);
        }
    }

    fn value(&mut self, word: &Word) {
        self.text(word.span, &word.text);
    }

    fn text(&mut self, span: Span, text: &str) {
        let digits = text.strip_suffix("/tcp").or_else(|| text.strip_suffix("/udp")).unwrap_or(text);
        let is_number = digits.starts_with(|c: char| c.is_ascii_digit())
            && digits.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | '-'));
        self.add(span, if is_number { Kind::Number } else { Kind::String }, 0);
    }

    /// A reference: the name, the tag, the digest.
    fn image(&mut self, word: &Word) {
        let text = word.text.as_str();
        if word.span.len() != text.len() {
            return self.add(word.span, Kind::Class, 0);
        }
        // What a substitution has in it separates nothing.
        let mut masked = text.as_bytes().to_vec();
        for found in substitutions(text, ExpandOptions::new('\\')) {
            masked.get_mut(found.whole).unwrap_or_default().fill(b'x');
        }
        let digest = masked.iter().position(|&it| it == b'@').unwrap_or(text.len());
        masked.truncate(digest);
        let after_slash = masked.iter().rposition(|&it| it == b'/').map_or(0, |at| at + 1);
        let colon = masked.get(after_slash..).and_then(|rest| rest.iter().position(|&it| it == b':'));
        let tag = colon.map_or(digest, |at| after_slash + at);
        let place = |at: usize| word.span.start + number(at);
        self.add(Span { start: place(0), end: place(tag) }, Kind::Class, 0);
        for (from, to, kind) in [(tag, digest, Kind::EnumMember), (digest, text.len(), Kind::Number)] {
            if from < to {
                self.add(Span { start: place(from), end: place(from + 1) }, Kind::Operator, 0);
                self.add(Span { start: place(from + 1), end: place(to) }, kind, 0);
            }
        }
    }
}

/// Tokens on lines, each counted from the one before.
struct Lines<'a> {
    text: &'a str,
    walk: crate::text::Walk<'a>,
    line: u32,
    start: u32,
    out: Vec<SemanticToken>,
}

impl Lines<'_> {
    fn push(&mut self, span: Span, token: Token) {
        let slice = span.slice(self.text);
        let mut at = span.start as usize;
        for part in slice.split_inclusive(['\n', '\r']) {
            let start = at + (part.len() - part.trim_start().len());
            let end = at + part.trim_end().len();
            at += part.len();
            if start >= end {
                continue;
            }
            let (from, to) = (self.walk.position(start), self.walk.position(end));
            let delta_line = from.line - self.line;
            let delta_start = if delta_line == 0 { from.character - self.start } else { from.character };
            (self.line, self.start) = (from.line, from.character);
            self.out.push(SemanticToken {
                delta_line,
                delta_start,
                length: to.character - from.character,
                token_type: token.kind as u32,
                token_modifiers_bitset: token.modifiers,
            });
        }
    }
}

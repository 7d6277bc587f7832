//! The text as tokens without gaps.

use crate::dockerfile::Dockerfile;
use crate::instruction::{Body, Instruction};
use crate::line::{LineKind, continuation};
use crate::span::Span;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// The mark some editors put at the beginning.
    ByteOrderMark,
    /// Spaces and tabs, empty lines' included.
    Whitespace,
    /// `\n` or `\r\n`.
    Newline,
    /// A comment from its `#`.
    Comment,
    /// A parser directive from its `#`.
    Directive,
    /// An instruction's name.
    Keyword,
    /// A flag with its value.
    Flag,
    /// A word of the arguments, or the part of it on one line.
    Word,
    /// What stands between words and is no white space: `=`, brackets and commas.
    Punctuation,
    /// The escape character that continues a line.
    Continuation,
    /// A line of a heredoc's content.
    HeredocContent,
    /// The name that ends a heredoc, with tabs before it.
    HeredocEnd,
}

/// A piece of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token {
    /// What it is.
    pub kind: TokenKind,
    /// Where it is.
    pub span: Span,
}

impl Dockerfile {
    /// The text as tokens. Their spans, one after another, are the text; none runs over the end of a line.
    pub fn tokens(&self) -> Vec<Token> {
        let marks = self.marks();
        let mut tokens = Tokens { text: &self.text, list: Vec::new(), position: 0 };
        let mut next = 0;
        for line in &self.lines {
            let content = line.span.slice(&self.text).trim_end_matches(['\r', '\n']);
            let end = line.span.start as usize + content.len();
            if line.span.start == 0 && content.starts_with('\u{feff}') {
                tokens.push(TokenKind::ByteOrderMark, '\u{feff}'.len_utf8());
            }
            match line.kind {
                LineKind::Blank => {}
                LineKind::HeredocContent => tokens.push(TokenKind::HeredocContent, end),
                LineKind::HeredocEnd => tokens.push(TokenKind::HeredocEnd, end),
                LineKind::Comment | LineKind::Directive => {
                    tokens.blank(end);
                    let kind = if line.kind == LineKind::Comment {
                        TokenKind::Comment
                    } else {
                        TokenKind::Directive
                    };
                    tokens.push(kind, end);
                }
                LineKind::Instruction => {
                    let stop = continuation(content, self.escape)
                        .map_or(end, |length| line.span.start as usize + length);
                    while let Some(&(kind, span)) = marks.get(next) {
                        let (from, to) = (span.start as usize, span.end as usize);
                        if from >= stop {
                            break;
                        }
                        tokens.gap(from.max(tokens.position));
                        tokens.push(kind, to.min(stop));
                        if to > stop {
                            break;
                        }
                        next += 1;
                    }
                    tokens.gap(stop);
                    if stop < end {
                        tokens.push(TokenKind::Continuation, stop + self.escape.len_utf8());
                    }
                }
            }
            tokens.blank(end);
            tokens.push(TokenKind::Newline, line.span.end as usize);
        }
        tokens.list
    }

    /// The places of keywords, flags and words in order of the text.
    fn marks(&self) -> Vec<(TokenKind, Span)> {
        let mut marks = Vec::new();
        for instruction in &self.instructions {
            let from = marks.len();
            mark(instruction, &mut marks);
            marks[from..].sort_by_key(|&(_, span)| span);
        }
        marks.retain(|(_, span)| !span.is_empty());
        marks
    }
}

fn mark(instruction: &Instruction, marks: &mut Vec<(TokenKind, Span)>) {
    marks.push((TokenKind::Keyword, instruction.keyword_span));
    marks.extend(instruction.flags.iter().map(|flag| (TokenKind::Flag, flag.span)));
    match &instruction.body {
        Body::Onbuild(trigger) => mark(trigger, marks),
        body => marks.extend(body.words().into_iter().map(|word| (TokenKind::Word, word.span))),
    }
}

struct Tokens<'a> {
    text: &'a str,
    list: Vec<Token>,
    position: usize,
}

impl Tokens<'_> {
    /// A token up to `end`, if there is anything.
    fn push(&mut self, kind: TokenKind, end: usize) {
        if end > self.position {
            self.list.push(Token { kind, span: Span::of(self.position, end) });
            self.position = end;
        }
    }

    /// White space, if the text goes on with it, up to `end` at most.
    fn blank(&mut self, end: usize) {
        let rest = &self.text[self.position..end.max(self.position)];
        self.push(TokenKind::Whitespace, self.position + (rest.len() - rest.trim_start().len()));
    }

    /// What lies between words, up to `end`.
    fn gap(&mut self, end: usize) {
        while self.position < end {
            self.blank(end);
            let rest = &self.text[self.position..end];
            let length = rest.find(char::is_whitespace).unwrap_or(rest.len());
            self.push(TokenKind::Punctuation, self.position + length);
        }
    }
}

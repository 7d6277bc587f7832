//! Semantic tokens: what each word of a document is.
//!
//! The language's words and those of shells are painted one over another, as a text has variables in it; what is
//! answered is what remains to be seen, cut at the ends of lines, so that every client can take it.

mod paint;

use std::collections::HashMap;
use std::sync::Arc;

use rbx_dockerfile::{LineKind, Role, Span, SubjectKind, continuation, is_predefined};
use rbx_lint::{ShellToken, shell_tokens};
use tower_lsp::ls_types::{
    Range, SemanticToken, SemanticTokenModifier, SemanticTokenType, SemanticTokens, SemanticTokensDelta,
    SemanticTokensEdit, SemanticTokensFullDeltaResult, SemanticTokensLegend, Uri,
};

use self::paint::Paint;
use crate::documents::Snapshot;

/// What a token is. The order is that of [`TYPES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Keyword,
    Property,
    Namespace,
    Variable,
    Class,
    EnumMember,
    String,
    Number,
    Operator,
    Comment,
    Macro,
    Decorator,
    Function,
    Parameter,
}

const TYPES: [SemanticTokenType; 14] = [
    SemanticTokenType::KEYWORD,
    SemanticTokenType::PROPERTY,
    SemanticTokenType::NAMESPACE,
    SemanticTokenType::VARIABLE,
    SemanticTokenType::CLASS,
    SemanticTokenType::ENUM_MEMBER,
    SemanticTokenType::STRING,
    SemanticTokenType::NUMBER,
    SemanticTokenType::OPERATOR,
    SemanticTokenType::COMMENT,
    SemanticTokenType::MACRO,
    SemanticTokenType::DECORATOR,
    SemanticTokenType::FUNCTION,
    SemanticTokenType::PARAMETER,
];

const MODIFIERS: [SemanticTokenModifier; 3] = [
    SemanticTokenModifier::DECLARATION,
    SemanticTokenModifier::READONLY,
    SemanticTokenModifier::DEFAULT_LIBRARY,
];
/// A name is given.
pub(crate) const DECLARATION: u32 = 1;
/// The builder gives the name, and its value.
pub(crate) const PREDEFINED: u32 = 2 | 4;

/// What the numbers in tokens stand for.
pub(crate) fn legend() -> SemanticTokensLegend {
    SemanticTokensLegend { token_types: TYPES.to_vec(), token_modifiers: MODIFIERS.to_vec() }
}

/// What clients were answered last, so that they can be told what has changed since.
#[derive(Debug, Default)]
pub(crate) struct Answered {
    count: u64,
    last: HashMap<Uri, (String, Arc<[SemanticToken]>)>,
}

impl Answered {
    /// Keeps an answer; answers its name.
    pub(crate) fn keep(&mut self, uri: Uri, tokens: Arc<[SemanticToken]>) -> String {
        self.count += 1;
        let name = self.count.to_string();
        self.last.insert(uri, (name.clone(), tokens));
        name
    }

    /// The last answer about a document, if it has this name.
    pub(crate) fn named(&self, uri: &Uri, name: &str) -> Option<Arc<[SemanticToken]>> {
        self.last.get(uri).filter(|(last, _)| last == name).map(|(_, tokens)| Arc::clone(tokens))
    }

    /// Forgets a document.
    pub(crate) fn forget(&mut self, uri: &Uri) {
        self.last.remove(uri);
    }
}

/// Works out the tokens of a document.
pub(crate) fn tokens(snapshot: &Snapshot) -> Vec<SemanticToken> {
    let mut paint = Paint::default();
    let tree = snapshot.tree();
    paint.language(tree);
    for (span, token) in shell_tokens(tree) {
        let (kind, modifiers) = match token {
            ShellToken::Keyword => (Kind::Keyword, 0),
            ShellToken::Command => (Kind::Function, 0),
            ShellToken::Option => (Kind::Parameter, 0),
            ShellToken::Variable { set } => (Kind::Variable, if set { DECLARATION } else { 0 }),
            ShellToken::Text => (Kind::String, 0),
            ShellToken::Operator => (Kind::Operator, 0),
            ShellToken::Comment => (Kind::Comment, 0),
        };
        paint.add(span, kind, modifiers);
    }
    let names = snapshot.names();
    for mention in &names.mentions {
        let declaration = if mention.role == Role::Definition { DECLARATION } else { 0 };
        match names.subject(mention).map(|subject| (subject.kind, subject.name.as_str())) {
            Some((SubjectKind::Stage { .. }, _)) => {
                paint.add(mention.span(), Kind::Namespace, declaration);
            }
            Some((SubjectKind::Heredoc { .. }, _)) => paint.add(mention.span(), Kind::Macro, declaration),
            Some((SubjectKind::Variable, name)) => {
                let predefined = if is_predefined(name) { PREDEFINED } else { 0 };
                let end = mention.span().end;
                let closed = mention.whole.end == end + 1;
                let span = Span { start: mention.whole.start, end: if closed { end + 1 } else { end } };
                paint.add(span, Kind::Variable, declaration | predefined);
            }
            None => {}
        }
    }
    for comment in &tree.comments {
        paint.add(comment.span, Kind::Comment, 0);
    }
    for line in tree.lines.iter().filter(|line| line.kind == LineKind::Instruction) {
        let content = line.span.slice(&tree.text).trim_end_matches(['\r', '\n']);
        if let Some(length) = continuation(content, tree.escape) {
            let start = line.span.start + u32::try_from(length).unwrap_or(0);
            let end = start + u32::try_from(tree.escape.len_utf8()).unwrap_or(1);
            paint.add(Span { start, end }, Kind::Operator, 0);
        }
    }
    paint.finish(&snapshot.text, snapshot.abilities.encoding)
}

/// Those of a part of the document, relative to its beginning as all are.
pub(crate) fn in_range(tokens: &[SemanticToken], range: Range) -> Vec<SemanticToken> {
    let (mut line, mut start) = (0, 0);
    let mut found = Vec::new();
    let (mut last_line, mut last_start) = (0, 0);
    for token in tokens {
        start = if token.delta_line == 0 { start + token.delta_start } else { token.delta_start };
        line += token.delta_line;
        let after = (line, start) >= (range.end.line, range.end.character);
        if after {
            break;
        }
        if (line, start + token.length) > (range.start.line, range.start.character) {
            let delta_line = line - last_line;
            let delta_start = if delta_line == 0 { start - last_start } else { start };
            found.push(SemanticToken { delta_line, delta_start, ..*token });
            (last_line, last_start) = (line, start);
        }
    }
    found
}

/// What has to be done to some tokens to get others, or these if the first are not known.
pub(crate) fn delta(
    before: Option<&[SemanticToken]>,
    now: &[SemanticToken],
    result_id: String,
) -> SemanticTokensFullDeltaResult {
    let result_id = Some(result_id);
    let Some(before) = before else {
        return SemanticTokensFullDeltaResult::Tokens(SemanticTokens { result_id, data: now.to_vec() });
    };
    let same = before.iter().zip(now).take_while(|(before, now)| before == now).count();
    let (old, new) = (before.get(same..).unwrap_or_default(), now.get(same..).unwrap_or_default());
    let tail = old.iter().rev().zip(new.iter().rev()).take_while(|(before, now)| before == now).count();
    let deleted = old.len() - tail;
    let data = new.get(..new.len() - tail).unwrap_or_default().to_vec();
    let mut edits = Vec::new();
    if deleted > 0 || !data.is_empty() {
        // Counted in numbers, of which a token has five.
        let count = |tokens: usize| u32::try_from(5 * tokens).unwrap_or(u32::MAX);
        edits.push(SemanticTokensEdit {
            start: count(same),
            delete_count: count(deleted),
            data: Some(data).filter(|data| !data.is_empty()),
        });
    }
    SemanticTokensFullDeltaResult::TokensDelta(SemanticTokensDelta { result_id, edits })
}

//! What may stand at a place.

mod arguments;
mod comments;
mod flags;
mod instructions;
pub(crate) mod mounts;
mod paths;
pub(crate) mod tags;
mod variables;

use std::path::PathBuf;

use rbx_dockerfile::{Dockerfile, Keyword};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tower_lsp::ls_types::{
    CompletionItem, CompletionItemKind, CompletionList, CompletionTextEdit, Documentation, InsertReplaceEdit,
    InsertTextFormat, Position, Range, TextEdit,
};

use crate::documents::Snapshot;
use crate::features::cursor::{Arguments, Place, place};
use crate::features::manual;
use crate::features::page::{Page, worth};
use crate::features::predefined::predefined;

/// What brings up completion beside letters.
pub(crate) const TRIGGERS: [&str; 9] = [" ", "=", "$", "{", "-", ",", "/", ":", "#"];

/// What may stand at a place.
#[derive(Debug, Default)]
struct Item {
    label: String,
    kind: Kind,
    detail: Option<String>,
    /// What is inserted, if it is not the label.
    insert: Option<String>,
    /// What is inserted where the client has snippets.
    snippet: Option<String>,
    about: Option<About>,
    /// Bytes before the place that it replaces.
    replaces: usize,
    /// What else it changes.
    more: Option<TextEdit>,
}

/// What an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Kind {
    Keyword,
    Snippet,
    Flag,
    #[default]
    Value,
    Stage,
    Variable,
    Constant,
    File,
    Folder,
    Image,
    Rule,
}

impl Kind {
    fn of_protocol(self) -> CompletionItemKind {
        match self {
            Self::Keyword => CompletionItemKind::KEYWORD,
            Self::Snippet => CompletionItemKind::SNIPPET,
            Self::Flag => CompletionItemKind::PROPERTY,
            Self::Value => CompletionItemKind::VALUE,
            Self::Stage => CompletionItemKind::CLASS,
            Self::Variable => CompletionItemKind::VARIABLE,
            Self::Constant => CompletionItemKind::CONSTANT,
            Self::File => CompletionItemKind::FILE,
            Self::Folder => CompletionItemKind::FOLDER,
            Self::Image => CompletionItemKind::MODULE,
            Self::Rule => CompletionItemKind::EVENT,
        }
    }
}

impl Item {
    fn new(kind: Kind, label: impl Into<String>, replaces: usize) -> Self {
        Self { kind, label: label.into(), replaces, ..Self::default() }
    }

    fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    fn insert(mut self, text: impl Into<String>) -> Self {
        self.insert = Some(text.into());
        self
    }

    fn about(mut self, about: About) -> Self {
        self.about = Some(about);
        self
    }
}

/// What an item is explained by when the client asks for that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) enum About {
    Instruction(String),
    Flag(String, String),
    Directive(String),
    Rule(String),
    /// A variable, and a place where it is used.
    Variable(String, u32),
    /// An option of mounts.
    Mount(String),
}

/// The document, the place, and what is before it.
struct Here<'a> {
    snapshot: &'a Snapshot,
    file: &'a Dockerfile,
    offset: u32,
    /// The folders that the client has open.
    roots: &'a [PathBuf],
}

/// What may stand at a place.
pub(crate) fn completion(snapshot: &Snapshot, position: Position, roots: &[PathBuf]) -> CompletionList {
    let offset = snapshot.offset(position);
    let here = Here { snapshot, file: snapshot.tree(), offset, roots };
    let items = match place(here.file, offset) {
        Place::Comment { before, directive } => comments::items(&here, &before, directive),
        Place::Keyword { before, trigger } => instructions::items(&here, &before, trigger),
        Place::Arguments(arguments) => of_arguments(&here, &arguments),
        Place::Heredoc { keyword, before, expands } if expands => {
            variables::items(&here, keyword, &before).unwrap_or_default()
        }
        Place::Heredoc { .. } => Vec::new(),
    };
    let place = Around::new(snapshot, offset);
    let items = items.into_iter().enumerate();
    CompletionList {
        is_incomplete: false,
        items: items.map(|(number, item)| of_protocol(&here, &place, number, item)).collect(),
    }
}

fn of_arguments(here: &Here<'_>, arguments: &Arguments) -> Vec<Item> {
    if let Some(items) = variables::items(here, arguments.keyword, &arguments.current) {
        return items;
    }
    let can_be_flag = arguments.words.is_empty() && !arguments.keyword.flags().is_empty();
    if can_be_flag && arguments.current.starts_with("--") && arguments.current.contains('=') {
        return flags::values(here, arguments);
    }
    let mut items = arguments::items(here, arguments);
    if can_be_flag && "--".starts_with(arguments.current.get(..2).unwrap_or(&arguments.current)) {
        let flags = flags::names(arguments);
        if arguments.current.is_empty() {
            items.extend(flags);
        } else {
            items = flags;
        }
    }
    items
}

/// What is around the place of completion, as the client counts.
struct Around {
    /// The place.
    at: Position,
    /// The end of the word that it is in.
    end: Position,
    /// The first byte of its line, and of the line itself.
    line: usize,
}

impl Around {
    fn new(snapshot: &Snapshot, offset: u32) -> Self {
        let text = snapshot.text.as_str();
        let offset = text.floor_char_boundary(offset as usize);
        let ends = |c: char| c.is_whitespace() || "\"'=,;$}]".contains(c);
        let end = offset + text[offset..].find(ends).unwrap_or(text.len() - offset);
        let encoding = snapshot.abilities.encoding;
        Self {
            at: snapshot.text.position(offset, encoding),
            end: snapshot.text.position(end, encoding),
            line: text[..offset].rfind('\n').map_or(0, |at| at + 1),
        }
    }
}

fn of_protocol(here: &Here<'_>, around: &Around, number: usize, item: Item) -> CompletionItem {
    let abilities = here.snapshot.abilities.completion;
    // What is replaced is in one line.
    let start = (here.offset as usize).saturating_sub(item.replaces).max(around.line);
    let start = here.snapshot.text.position(start, here.snapshot.abilities.encoding);
    let snippet = item.snippet.filter(|_| abilities.snippets);
    let format = snippet.is_some().then_some(InsertTextFormat::SNIPPET);
    let new_text = snippet.or(item.insert).unwrap_or_else(|| item.label.clone());
    let insert = Range::new(start, around.at);
    let text_edit = if abilities.insert_replace {
        let replace = Range::new(start, around.end);
        CompletionTextEdit::InsertAndReplace(InsertReplaceEdit { new_text, insert, replace })
    } else {
        CompletionTextEdit::Edit(TextEdit::new(insert, new_text))
    };
    let data = |about| json!({ "uri": here.snapshot.uri, "about": about });
    CompletionItem {
        label: item.label,
        kind: Some(item.kind.of_protocol()),
        detail: item.detail,
        sort_text: Some(format!("{number:04}")),
        insert_text_format: format,
        text_edit: Some(text_edit),
        additional_text_edits: item.more.map(|edit| vec![edit]),
        data: item.about.map(data),
        ..CompletionItem::default()
    }
}

/// What the server has to know of an item to explain it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    pub(crate) uri: tower_lsp::ls_types::Uri,
    pub(crate) about: About,
}

impl Asked {
    /// Reads what the client sent back.
    pub(crate) fn read(data: Option<&Value>) -> Option<Self> {
        Self::deserialize(data?).ok()
    }
}

/// Explains an item.
pub(crate) fn resolve(snapshot: &Snapshot, about: &About) -> Option<Documentation> {
    let page = page(snapshot, about)?;
    Some(Documentation::MarkupContent(page.markup(snapshot.abilities.completion.markdown)))
}

fn page(snapshot: &Snapshot, about: &About) -> Option<Page> {
    Some(match about {
        About::Instruction(name) => Page::entry(manual::instruction(Keyword::parse(name))?),
        About::Flag(instruction, name) => Page::entry(manual::flag(Keyword::parse(instruction), name)?),
        About::Directive(name) => Page::entry(manual::directive(name)?),
        About::Rule(name) => Page::rule(rbx_lint::rule(name)?),
        About::Mount(key) => Page::of(mounts::text(key)?),
        About::Variable(name, offset) => {
            let lines = &snapshot.tree().line_index;
            let mut page = Page::default();
            page.paragraphs.extend(predefined(name).map(|variable| variable.text.to_owned()));
            let values = snapshot.worth(name, *offset);
            // It is offered although it has to be declared first.
            if values.iter().any(|worth| worth.value.is_some()) {
                page.paragraphs.push(worth(&values, |offset| lines.line_of(offset)));
            }
            page
        }
    })
}

#[cfg(test)]
mod tests;

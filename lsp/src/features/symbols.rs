//! The outline: stages, and in them their instructions.

use rbx_dockerfile::{Body, Instruction, Keyword, Span};
use tower_lsp::ls_types::{
    DocumentSymbol, DocumentSymbolResponse, Location, SymbolInformation, SymbolKind, Uri,
};

use crate::documents::Snapshot;

/// Characters of an instruction that are shown.
const SHOWN: usize = 80;

/// The outline as a tree if the client knows trees, else as a list.
pub(crate) fn symbols(snapshot: &Snapshot) -> DocumentSymbolResponse {
    let uri = &snapshot.uri;
    let entries = entries(snapshot);
    if snapshot.abilities.nested_symbols {
        let tree = entries.into_iter().map(|entry| entry.into_symbol(snapshot)).collect();
        return DocumentSymbolResponse::Nested(tree);
    }
    let mut list = Vec::new();
    for mut entry in entries {
        let children = std::mem::take(&mut entry.children);
        let container = entry.name.clone();
        list.push(entry.into_information(snapshot, uri, None));
        list.extend(
            children.into_iter().map(|child| child.into_information(snapshot, uri, Some(&container))),
        );
    }
    DocumentSymbolResponse::Flat(list)
}

/// One line of the outline.
struct Entry {
    name: String,
    detail: Option<String>,
    kind: SymbolKind,
    span: Span,
    selection: Span,
    children: Vec<Entry>,
}

/// Instructions before the first stage, then the stages.
fn entries(snapshot: &Snapshot) -> Vec<Entry> {
    let instructions = &snapshot.tree().instructions;
    let first = instructions.iter().position(|instruction| instruction.keyword == Keyword::From);
    let before = &instructions[..first.unwrap_or(instructions.len())];
    let mut entries: Vec<Entry> = before.iter().map(entry).collect();
    entries.extend(snapshot.tree().stages().enumerate().filter_map(|(number, stage)| {
        let (from, rest) = stage.split_first()?;
        let mut name = format!("stage {number}");
        let mut selection = from.keyword_span;
        if let Body::From(body) = &from.body
            && let Some(word) = body.name.as_ref().filter(|word| !word.text.is_empty())
        {
            name.clone_from(&word.text);
            selection = word.span;
        }
        let span = stage.iter().fold(from.span, |span, instruction| span.join(instruction.span));
        let children = rest.iter().map(entry).collect();
        let detail = Some(shortened(&from.code));
        Some(Entry { name, detail, kind: SymbolKind::NAMESPACE, span, selection, children })
    }));
    entries
}

fn entry(instruction: &Instruction) -> Entry {
    let name = shortened(&instruction.code);
    Entry {
        // Clients refuse symbols without a name.
        name: if name.is_empty() { "?".to_owned() } else { name },
        detail: None,
        kind: kind(instruction.keyword),
        span: instruction.span,
        selection: instruction.keyword_span,
        children: Vec::new(),
    }
}

fn kind(keyword: Keyword) -> SymbolKind {
    match keyword {
        Keyword::Arg | Keyword::Env => SymbolKind::VARIABLE,
        Keyword::Add | Keyword::Copy | Keyword::Volume | Keyword::Workdir => SymbolKind::FILE,
        Keyword::Run | Keyword::Cmd | Keyword::Entrypoint | Keyword::Healthcheck => SymbolKind::FUNCTION,
        Keyword::Onbuild => SymbolKind::EVENT,
        Keyword::Expose => SymbolKind::INTERFACE,
        Keyword::From => SymbolKind::NAMESPACE,
        Keyword::Label | Keyword::Maintainer | Keyword::Shell | Keyword::Stopsignal | Keyword::User => {
            SymbolKind::PROPERTY
        }
        Keyword::Unknown => SymbolKind::NULL,
    }
}

/// An instruction with single blanks, cut if it is long.
fn shortened(code: &str) -> String {
    let code = code.split_whitespace().collect::<Vec<_>>().join(" ");
    match code.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", code[..end].trim_end()),
        None => code,
    }
}

impl Entry {
    #[expect(deprecated, reason = "the field is part of the type")]
    fn into_symbol(self, snapshot: &Snapshot) -> DocumentSymbol {
        let children: Vec<DocumentSymbol> =
            self.children.into_iter().map(|child| child.into_symbol(snapshot)).collect();
        DocumentSymbol {
            name: self.name,
            detail: self.detail,
            kind: self.kind,
            tags: None,
            deprecated: None,
            range: snapshot.range(self.span),
            selection_range: snapshot.range(self.selection),
            children: (!children.is_empty()).then_some(children),
        }
    }

    #[expect(deprecated, reason = "the field is part of the type")]
    fn into_information(self, snapshot: &Snapshot, uri: &Uri, container: Option<&str>) -> SymbolInformation {
        SymbolInformation {
            name: self.name,
            kind: self.kind,
            tags: None,
            deprecated: None,
            location: Location::new(uri.clone(), snapshot.range(self.span)),
            container_name: container.map(str::to_owned),
        }
    }
}

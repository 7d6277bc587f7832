//! Stages and arguments of all Dockerfiles: those that are open, and those in the folders of the client.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use rbx_dockerfile::{Body, Dockerfile, Word, parse};
use tower_lsp::ls_types::{Location, SymbolInformation, SymbolKind, Uri};

use crate::commands;
use crate::documents::Snapshot;
use crate::files::{FILES, find, read};
use crate::text::{Encoding, Text};

/// Symbols that are answered, at most.
const SYMBOLS: usize = 1000;

/// The symbols whose names have the letters of `query` in them, in that order and in any case: those of open documents
/// first, as they are in the editor. Reads files, until `stop` says that nobody wants to know any more.
pub(crate) fn search(
    query: &str,
    open: &[Arc<Snapshot>],
    folders: &[PathBuf],
    encoding: Encoding,
    stop: impl Fn() -> bool + Copy,
) -> Vec<SymbolInformation> {
    let mut found = Vec::new();
    for snapshot in open {
        collect(query, &snapshot.uri, &snapshot.text, snapshot.tree(), encoding, &mut found);
    }
    let known: HashSet<PathBuf> = open.iter().filter_map(|snapshot| commands::path(&snapshot.uri)).collect();
    let files = find(folders, stop).filter(|path| !known.contains(path));
    for path in files.take(FILES) {
        if found.len() >= SYMBOLS {
            break;
        }
        if let Some(uri) = Uri::from_file_path(&path)
            && let Some((_, text)) = read(&path)
        {
            let tree = parse(&text);
            collect(query, &uri, &Text::new(text), &tree, encoding, &mut found);
        }
    }
    found.truncate(SYMBOLS);
    found
}

/// Those of one document. Arguments are told with their stage, all else with the name of the file.
fn collect(
    query: &str,
    uri: &Uri,
    text: &Text,
    tree: &Dockerfile,
    encoding: Encoding,
    found: &mut Vec<SymbolInformation>,
) {
    let file = commands::name(uri);
    let mut add = |word: &Word, kind: SymbolKind, container: &str| {
        if word.text.is_empty() || !matches(query, &word.text) {
            return;
        }
        #[expect(deprecated, reason = "the field is part of the type")]
        found.push(SymbolInformation {
            name: word.text.clone(),
            kind,
            tags: None,
            deprecated: None,
            location: Location::new(uri.clone(), text.range(word.span.range(), encoding)),
            container_name: Some(container.to_owned()),
        });
    };
    let (mut stage, mut stages) = (file.clone(), 0);
    for instruction in &tree.instructions {
        match &instruction.body {
            Body::From(body) => {
                let name = body.name.as_ref().filter(|name| !name.text.is_empty());
                stage = name.map_or_else(|| format!("stage {stages}"), |name| name.text.clone());
                stages += 1;
                if let Some(name) = name {
                    add(name, SymbolKind::NAMESPACE, &file);
                }
            }
            Body::Arg(list) => {
                for arg in list {
                    add(&arg.name, SymbolKind::VARIABLE, &stage);
                }
            }
            _ => {}
        }
    }
}

/// Whether a name has these letters in it, one after another.
fn matches(query: &str, name: &str) -> bool {
    let mut letters = name.chars().flat_map(char::to_lowercase);
    query.chars().flat_map(char::to_lowercase).all(|wanted| letters.any(|letter| letter == wanted))
}

//! Everything about names and shapes, asked at every place of many documents.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};
use tower_lsp::ls_types::{Position, Range};

use super::{folding, links, places, rename, selection, tokens};
use crate::capabilities::Abilities;
use crate::documents::Snapshot;
use crate::documents::tests::snapshot_of;
use crate::text::Encoding;

fn corpus() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/corpus");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().filter_map(|path| fs::read_to_string(path.join("Dockerfile")).ok()).collect()
}

fn open(text: &str, encoding: Encoding) -> Arc<Snapshot> {
    snapshot_of(
        text,
        &json!({}),
        Abilities { encoding, versioned_edits: true, links: true, ..Abilities::default() },
    )
}

/// Every range in an answer is one of the document.
fn ranges_are_inside(snapshot: &Snapshot, answer: &Value) {
    match answer {
        Value::Object(fields) if fields.contains_key("start") && fields.contains_key("end") => {
            let range: Range = serde_json::from_value(answer.clone()).unwrap();
            assert!(range.start <= range.end, "{range:?}");
            for position in [range.start, range.end] {
                let offset = snapshot.text.offset(position, snapshot.abilities.encoding);
                assert_eq!(snapshot.text.position(offset, snapshot.abilities.encoding), position);
            }
        }
        Value::Object(fields) => fields.values().for_each(|value| ranges_are_inside(snapshot, value)),
        Value::Array(items) => items.iter().for_each(|item| ranges_are_inside(snapshot, item)),
        _ => {}
    }
}

fn holds_at(snapshot: &Snapshot, position: Position) {
    // To rename is to try it, which takes its time: once for each name.
    let here = snapshot.offset(position);
    let is_name = snapshot.names().at(here).is_none_or(|mention| mention.span().start == here);
    let renamed = is_name.then(|| rename::rename(snapshot, position, "other_name").ok());
    let answers = [
        serde_json::to_value(places::definition(snapshot, position)),
        serde_json::to_value(places::declaration(snapshot, position)),
        serde_json::to_value(places::references(snapshot, position, true)),
        serde_json::to_value(places::highlights(snapshot, position)),
        serde_json::to_value(rename::linked(snapshot, position)),
        serde_json::to_value(rename::prepare(snapshot, position).ok()),
        serde_json::to_value(renamed),
    ];
    for answer in answers {
        ranges_are_inside(snapshot, &answer.unwrap());
    }
    let mut inner = &selection::selection(snapshot, &[position])[0];
    let offset = |position| snapshot.text.offset(position, snapshot.abilities.encoding);
    assert!(offset(inner.range.start) <= offset(position) && offset(position) <= offset(inner.range.end));
    while let Some(outer) = &inner.parent {
        assert!(outer.range.start <= inner.range.start && inner.range.end <= outer.range.end);
        assert_ne!(outer.range, inner.range);
        inner = outer;
    }
}

/// What is about the whole document.
fn holds(snapshot: &Snapshot) {
    ranges_are_inside(snapshot, &serde_json::to_value(links::links(snapshot, &[])).unwrap());
    let last = snapshot.text.position(usize::MAX, snapshot.abilities.encoding).line;
    for fold in folding::folding(snapshot) {
        assert!(fold.start_line < fold.end_line && fold.end_line <= last, "{fold:?}");
    }
    let all = snapshot.tokens();
    let (mut line, mut start, mut end) = (0, 0, 0);
    for token in all.iter() {
        if token.delta_line > 0 {
            (line, start, end) = (line + token.delta_line, 0, 0);
        }
        start += token.delta_start;
        assert!(start >= end && token.length > 0, "{token:?}");
        end = start + token.length;
        let place = |column| snapshot.text.offset(Position::new(line, column), snapshot.abilities.encoding);
        let text = &snapshot.text.as_str()[place(start)..place(end)];
        let length = match snapshot.abilities.encoding {
            Encoding::Utf8 => text.len(),
            Encoding::Utf16 => text.encode_utf16().count(),
        };
        assert_eq!(u32::try_from(length).unwrap(), token.length, "it ends within its line: {text:?}");
    }
    let whole = Range::new(Position::new(0, 0), Position::new(u32::MAX, 0));
    assert_eq!(tokens::in_range(&all, whole), all.to_vec());
}

#[test]
fn the_corpus_can_be_asked_everywhere() {
    let mut kinds = BTreeSet::new();
    for text in corpus() {
        for encoding in [Encoding::Utf8, Encoding::Utf16] {
            let snapshot = open(&text, encoding);
            holds(&snapshot);
            kinds.extend(snapshot.tokens().iter().map(|token| token.token_type));
            // Where all is ASCII the encodings are the same.
            let step = if encoding == Encoding::Utf8 && text.is_ascii() { 11 } else { 1 };
            for (offset, _) in text.char_indices().step_by(step) {
                holds_at(&snapshot, snapshot.text.position(offset, encoding));
            }
        }
    }
    assert!(kinds.len() >= 13, "{kinds:?}");
}

proptest! {
    #[test]
    fn anything_can_be_asked_anywhere(
        words in prop::collection::vec(
            prop::sample::select(vec![
                "FROM ", "ARG ", "ENV ", "COPY ", "RUN ", "CMD ", "ONBUILD ", "AS ", "a ", "B ", "=", "$B", "${B:-$a}",
                "--from=a ", "--mount=from=a,target=$B ", "\"", "'", "[\"x\"]", "\\\n", "\n", "\n", "\r\n", "\r",
                "# c\n", "# region\n", "# endregion\n", "<<E ", "<<-\"E\" ", "\nE\n", "if ", "; ", "&& ", "🐳", "ü",
                "$(", ")", "`", "\t", "# escape=`\n", "http://x/", "ghcr.io/b:$B",
            ]),
            0..24,
        ),
        places in prop::collection::vec((0..9_u32, 0..40_u32), 0..12),
        utf8: bool,
    ) {
        let snapshot = open(&words.concat(), if utf8 { Encoding::Utf8 } else { Encoding::Utf16 });
        holds(&snapshot);
        for (line, character) in places {
            holds_at(&snapshot, Position::new(line, character));
        }
        holds_at(&snapshot, Position::new(u32::MAX, u32::MAX));
    }
}

//! Edits that the server answers, made as an editor makes them.

use serde_json::Value;

/// A text after edits, which are in any order and do not overlap; `utf8` says how columns are counted.
pub(crate) fn made(text: &str, edits: &Value, utf8: bool) -> String {
    let offset = |place: &Value| {
        let line = usize::try_from(place["line"].as_u64().unwrap()).unwrap();
        let column = usize::try_from(place["character"].as_u64().unwrap()).unwrap();
        let start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
        let width = |c: char| if utf8 { c.len_utf8() } else { c.len_utf16() };
        let mut left = column;
        let within = text[start..].char_indices().find(|&(_, c)| {
            let ends = left == 0;
            left = left.saturating_sub(width(c));
            ends
        });
        start + within.map_or(text.len() - start, |(at, _)| at)
    };
    let place = |edit: &Value| (offset(&edit["range"]["start"]), offset(&edit["range"]["end"]));
    let mut edits: Vec<(usize, usize, &str)> = edits
        .as_array()
        .unwrap()
        .iter()
        .map(|edit| (place(edit).0, place(edit).1, edit["newText"].as_str().unwrap()))
        .collect();
    // Stable: what is put at one place stays in order.
    edits.sort_by_key(|edit| edit.0);
    let mut after = String::new();
    let mut at = 0;
    for (start, end, new) in edits {
        assert!(at <= start && start <= end, "edits overlap");
        after.push_str(&text[at..start]);
        after.push_str(new);
        at = end;
    }
    after + &text[at..]
}

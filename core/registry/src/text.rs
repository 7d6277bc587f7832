//! Text of servers and helpers, made fit to be shown.

/// The longest piece of foreign text that goes into a message, in characters.
const LIMIT: usize = 300;

/// Foreign bytes as one line without control characters, which could direct a terminal, cut to a sensible length.
pub(crate) fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let line = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let line = line.collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LIMIT) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_is_tamed() {
        assert_eq!(printable(b" a\r\n\x1b[31mred\x07\n"), "a [31mred");
        assert_eq!(printable(b"\xff"), "\u{fffd}");
        assert_eq!(printable("é".repeat(400).as_bytes()).chars().count(), LIMIT + 1);
    }
}

//! Small pieces of text: sizes, times, columns.

use jiff::SignedDuration;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// A size in decimal units with two digits, `1.23MB`; whole bytes below a thousand.
pub(crate) fn bytes(n: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    if n < 1000 {
        return format!("{n}B");
    }
    let mut unit = 0;
    let mut scale: u64 = 1;
    while n / scale >= 1000 {
        scale *= 1000;
        unit += 1;
    }
    #[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
    let value = n as f64 / scale as f64;
    format!("{value:.2}{}", UNITS[unit])
}

/// ` 1.2MB / 3MB` without the leading blank, ` 1.2MB` if the total is not known, nothing before the first byte.
pub(crate) fn amount(current: u64, total: u64) -> Option<String> {
    if total != 0 {
        Some(format!("{} / {}", bytes(current), bytes(total)))
    } else if current != 0 {
        Some(bytes(current))
    } else {
        None
    }
}

/// The time of a log line since its step began, in seconds: three digits below ten seconds, two below a
/// hundred, then one.
pub(crate) fn log_time(at: SignedDuration) -> String {
    let seconds = at.as_secs_f64().max(0.0);
    let digits = if seconds < 10.0 {
        3
    } else if seconds < 100.0 {
        2
    } else {
        1
    };
    format!("{seconds:.digits$}")
}

/// Text of one line that is safe to print: line ends and tabs become blanks; other control characters, and
/// those that turn the direction of writing, are left out.
pub fn clean(text: &str) -> String {
    text.chars()
        .filter_map(|c| match c {
            '\n' | '\t' => Some(' '),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => None,
            c if c.is_control() => None,
            c => Some(c),
        })
        .collect()
}

/// How many terminal columns a text takes.
pub(crate) fn columns(text: &str) -> usize {
    text.width()
}

/// As much of a text's beginning as fits into so many columns.
pub(crate) fn fit(text: &str, columns: usize) -> &str {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += c.width().unwrap_or(0);
        if used > columns {
            return &text[..at];
        }
    }
    text
}

/// `left` and `right` at the two ends of a line of so many columns, at least one blank between them.
pub(crate) fn spread(left: &str, right: &str, width: usize) -> String {
    let gap = width.saturating_sub(columns(left) + columns(right)).max(1);
    format!("{left}{:gap$}{right}", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_decimal() {
        let shown: Vec<_> = [0, 999, 1000, 1234, 999_999, 1_500_000, u64::MAX].map(bytes).into();
        assert_eq!(shown, ["0B", "999B", "1.00kB", "1.23kB", "1000.00kB", "1.50MB", "18.45EB"]);
        assert_eq!(amount(0, 0), None);
        assert_eq!(amount(5, 0).as_deref(), Some("5B"));
        assert_eq!(amount(0, 2000).as_deref(), Some("0B / 2.00kB"));
    }

    #[test]
    fn log_times_keep_four_digits() {
        let shown =
            [-3, 0, 9_999, 10_000, 99_990, 100_000].map(|ms| log_time(SignedDuration::from_millis(ms)));
        assert_eq!(shown, ["0.000", "0.000", "9.999", "10.00", "99.99", "100.0"]);
    }

    #[test]
    fn cutting_counts_columns_not_bytes() {
        assert_eq!(fit("héllo", 3), "hél");
        assert_eq!(fit("構築する", 5), "構築");
        assert_eq!(fit("構築", 4), "構築");
        assert_eq!(fit("e\u{301}e\u{301}", 1), "e\u{301}");
        assert_eq!(spread("構築", "end", 10), "構築   end");
        assert_eq!(spread("long text", "end", 4), "long text end");
    }

    #[test]
    fn names_lose_control_characters() {
        assert_eq!(clean("a\tb\nc\x1b[31md\u{9b}e\x07\u{202e}f"), "a b c[31mdef");
    }
}

//! A few lines of a file around the place that something is about.

use std::fmt::Write as _;

/// Characters of a line that are shown, at most.
const MAX_COLUMNS: usize = 1000;

/// The lines of a file that something is about, marked, with up to four lines around them, as BuildKit prints
/// them under errors and warnings:
///
/// ```text
/// Dockerfile:4
/// --------------------
///    3 |     WORKDIR /src
///    4 | >>> RUN false
///    5 |     COPY . .
/// --------------------
/// ```
///
/// `ranges` are first and last lines, counted from 1. Empty if they are outside the text.
pub fn snippet(file: &str, source: &str, ranges: &[(u32, u32)]) -> String {
    let lines: Vec<&str> = source.split('\n').collect();
    let count = u32::try_from(lines.len()).unwrap_or(u32::MAX);
    let first = ranges.iter().map(|&(first, _)| first).min().unwrap_or(0);
    let last = ranges.iter().map(|&(first, last)| first.max(last)).max().unwrap_or(0).min(count);
    if first == 0 || first > count {
        return String::new();
    }

    // Lines are added on both ends in turn; a single line gets more of them. A step counts even where there is
    // nothing left to add, which is how many lines users are used to.
    let wanted = if first == last { 4 } else { 2 };
    let (mut from, mut to, mut added) = (first, last, 0);
    while added < wanted {
        if from > 1 {
            from -= 1;
            added += 1;
        }
        if to < count {
            to += 1;
            added += 1;
        }
        added += 1;
    }

    let mut text = format!("{}:{first}\n--------------------\n", crate::text::clean(file));
    for number in from..=to {
        let marked = ranges.iter().any(|&(first, last)| (first..=first.max(last)).contains(&number));
        let mark = if marked { ">>>" } else { "   " };
        let line = lines.get(number as usize - 1).copied().unwrap_or_default();
        let _ = writeln!(text, " {number:3} | {mark} {}", printable(line));
    }
    text.push_str("--------------------\n");
    text
}

/// A line of source without control characters, indentation kept; of one that nobody can read, the beginning.
fn printable(line: &str) -> String {
    let mut chars = line.chars().filter(|c| *c == '\t' || !c.is_control());
    let mut text: String = chars.by_ref().take(MAX_COLUMNS).collect();
    if chars.next().is_some() {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "FROM a\nRUN one\nRUN two\nRUN three\nRUN four\nRUN five\nRUN six\n";

    #[test]
    fn one_line_has_two_around_it() {
        insta::assert_snapshot!(snippet("Dockerfile", SOURCE, &[(4, 4)]), @"
        Dockerfile:4
        --------------------
           2 |     RUN one
           3 |     RUN two
           4 | >>> RUN three
           5 |     RUN four
           6 |     RUN five
        --------------------
        ");
    }

    #[test]
    fn ranges_at_the_ends() {
        insta::assert_snapshot!(snippet("Dockerfile", SOURCE, &[(1, 2), (4, 0)]), @"
        Dockerfile:1
        --------------------
           1 | >>> FROM a
           2 | >>> RUN one
           3 |     RUN two
           4 | >>> RUN three
           5 |     RUN four
        --------------------
        ");
        insta::assert_snapshot!(snippet("Dockerfile", SOURCE, &[(7, 900)]), @"
        Dockerfile:7
        --------------------
           6 |     RUN five
           7 | >>> RUN six
           8 | >>> 
        --------------------
        ");
    }

    #[test]
    fn long_lines_are_cut() {
        let shown = snippet("Dockerfile", &"x".repeat(MAX_COLUMNS + 1), &[(1, 1)]);
        assert!(shown.contains(&format!(">>> {}…\n", "x".repeat(MAX_COLUMNS))));
        let shown = snippet("Dockerfile", &"x".repeat(MAX_COLUMNS), &[(1, 1)]);
        assert!(shown.contains(&format!(">>> {}\n", "x".repeat(MAX_COLUMNS))));
    }

    #[test]
    fn nothing_outside_the_text() {
        assert_eq!(snippet("Dockerfile", SOURCE, &[]), "");
        assert_eq!(snippet("Dockerfile", SOURCE, &[(0, 3)]), "");
        assert_eq!(snippet("Dockerfile", SOURCE, &[(99, 99)]), "");
    }
}

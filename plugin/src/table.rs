//! Columns as Go's `text/tabwriter` aligns them, in the two ways that Docker's programs use it.

use unicode_width::UnicodeWidthStr;

/// Aligns cells, which end in tabs, with spaces: each column is 10 wide at least, with 3 spaces after its longest cell.
pub(crate) fn spaces(text: &str) -> String {
    align(text, 10, 3, |cell, width| " ".repeat(width - cell))
}

/// Aligns cells, which end in tabs, with tabs to multiples of 8.
pub(crate) fn tabs(text: &str) -> String {
    align(text, 1, 1, |cell, width| "\t".repeat(width.next_multiple_of(8).saturating_sub(cell).div_ceil(8)))
}

/// Aligns cells, which end in tabs, with spaces: a space after the longest cell of each column.
pub(crate) fn columns(text: &str) -> String {
    align(text, 0, 1, |cell, width| " ".repeat(width - cell))
}

/// A column is a row of lines, without a gap, that have a cell at its place. What follows the last tab of a line is
/// no cell.
fn align(text: &str, least: usize, padding: usize, pad: impl Fn(usize, usize) -> String) -> String {
    let lines: Vec<Vec<&str>> = text.split('\n').map(|line| line.split('\t').collect()).collect();
    let cells = |line: &Vec<&str>| line.len() - 1;
    let mut widths: Vec<Vec<usize>> = lines.iter().map(|line| vec![0; cells(line)]).collect();
    let columns = lines.iter().map(cells).max().unwrap_or(0);
    for column in 0..columns {
        let mut start = 0;
        while start < lines.len() {
            let end = (start..lines.len()).find(|&at| cells(&lines[at]) <= column).unwrap_or(lines.len());
            let longest = lines[start..end].iter().map(|line| line[column].width()).max().unwrap_or(0);
            for width in &mut widths[start..end] {
                width[column] = (longest + padding).max(least);
            }
            start = end + 1;
        }
    }
    let mut out = String::new();
    for (at, (line, widths)) in lines.iter().zip(&widths).enumerate() {
        if at > 0 {
            out.push('\n');
        }
        for (cell, width) in line.iter().zip(widths) {
            out.push_str(cell);
            out.push_str(&pad(cell.width(), *width));
        }
        out.push_str(line.last().unwrap_or(&""));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        assert_eq!(
            spaces("ID\tSIZE\tX\nabcdefghij\t1\ty\n"),
            "ID           SIZE      X\nabcdefghij   1         y\n"
        );
        // A line without the column ends it.
        assert_eq!(spaces("a\tb\n\nabcdefghijk\tb"), "a         b\n\nabcdefghijk   b");
        assert_eq!(
            columns("Name:\tx\n\nStatus:\ty\nA:\n\tb:\tc\n\tde:\tf"),
            "Name: x\n\nStatus: y\nA:\n b:  c\n de: f"
        );
        assert_eq!(tabs("Shared:\t1\nReclaimable:\t2\n"), "Shared:\t\t1\nReclaimable:\t2\n");
        assert_eq!(tabs("Total:\t0B\n"), "Total:\t0B\n");
    }
}

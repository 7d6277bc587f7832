//! How a Dockerfile looks, without a change of what it means.
//!
//! Only white space between words, empty lines and the case of keywords are touched. What stands in quotes, in a
//! heredoc, in a JSON array or in a shell's words stays as it is; so does an instruction in which something is wrong.

mod gaps;
mod lines;

use crate::dockerfile::Dockerfile;
use crate::edit::Edit;
use crate::line::{LineKind, continuation};
use crate::span::Span;

/// Columns of an indent, at most.
const MAX_INDENT: u32 = 16;

/// What continued lines begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Indent {
    /// Columns of one step, 1 to 16; of a tab, too.
    pub width: u32,
    /// It is made of tabs.
    pub tabs: bool,
}

impl Indent {
    /// Its text for so many steps.
    fn text(self, steps: u32) -> String {
        if self.tabs {
            "\t".repeat(steps as usize)
        } else {
            " ".repeat((steps * self.width.clamp(1, MAX_INDENT)) as usize)
        }
    }

    /// Columns of white space.
    fn columns(self, blank: &str) -> u32 {
        let width = self.width.clamp(1, MAX_INDENT);
        blank
            .bytes()
            .fold(0, |columns, byte| if byte == b'\t' { (columns / width + 1) * width } else { columns + 1 })
    }
}

/// How a Dockerfile is to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// What continued lines begin with.
    pub indent: Indent,
    /// Lines do not end in white space.
    pub trim_lines: bool,
    /// The last line ends, too.
    pub final_newline: bool,
    /// There are no empty lines at the end.
    pub trim_end: bool,
}

/// Four spaces, and nothing that is not seen.
impl Default for Style {
    fn default() -> Self {
        Self {
            indent: Indent { width: 4, tabs: false },
            trim_lines: true,
            final_newline: true,
            trim_end: true,
        }
    }
}

/// The edits after which a Dockerfile looks as it should, in order of the text. Each is within one line, or takes a
/// line away, or puts an empty one before another; any part of them may be made without the others.
///
/// Keywords get the case that most of them have, as BuildKit counts, and `AS` that of its `FROM`. Between words is one
/// blank, as it is before the escape character at the end of a line. Continued lines are indented, deeper ones
/// deeper, and comments among them like the line that follows. There are no empty lines in an instruction, one before
/// a `FROM`, and nowhere more than one.
///
/// What a shell gets differs only in the white space around line ends, outside of quotes, and only if the shell is one
/// of those that begin with `sh`'s rules: what others get stays as it is. So do instructions with errors, and triggers.
pub fn format(file: &Dockerfile, style: &Style) -> Vec<Edit> {
    let mut edits = lines::edits(file, style);
    // What comes before something is put there before that changes.
    edits.sort_by_key(|edit| edit.span);
    edits
}

/// The white space that an empty line within an instruction begins with, where the user goes on to write; `None` for
/// another line. Lines count from 1.
pub fn indent_at(file: &Dockerfile, style: &Style, line: u32) -> Option<Edit> {
    let index = (line as usize).checked_sub(1)?;
    let blank = match file.lines.get(index) {
        Some(line) if line.kind == LineKind::Blank => line.span,
        None if index == file.lines.len() && !file.text.is_empty() => {
            let end = Span::of(file.text.len(), file.text.len());
            (index == 0 || file.text.ends_with('\n')).then_some(end)?
        }
        _ => return None,
    };
    let above = file.lines.get(..index)?;
    let last = above.iter().rposition(|line| !matches!(line.kind, LineKind::Blank | LineKind::Comment))?;
    let last = above.get(last).filter(|line| line.kind == LineKind::Instruction)?;
    let content = last.span.slice(&file.text).trim_end_matches(['\r', '\n']);
    continuation(content, file.escape)?;
    let begins = file
        .instruction_at(last.span.end.saturating_sub(1))
        .is_none_or(|it| it.span.start >= last.span.start);
    let lead = &content[..content.len() - content.trim_start_matches([' ', '\t']).len()];
    let text = if begins || lead.is_empty() { style.indent.text(1) } else { lead.to_owned() };
    let blank = Span {
        start: blank.start,
        end: blank.start + u32::try_from(lines::blank_length(blank.slice(&file.text))).unwrap_or(0),
    };
    (blank.slice(&file.text) != text).then_some(Edit { span: blank, text })
}

#[cfg(test)]
mod tests;

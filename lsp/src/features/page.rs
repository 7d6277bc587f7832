//! What is shown about a word: Markdown where the client has it, else the same as plain text.

use tower_lsp::ls_types::{MarkupContent, MarkupKind};

use super::manual::Entry;
use crate::meaning::{Origin, Worth};
use crate::platforms::names;

/// Characters of a value that are shown.
const MAX_VALUE: usize = 200;

/// What is shown about a word.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Page {
    /// How it is written, as a piece of a Dockerfile.
    pub(crate) usage: Option<String>,
    /// Paragraphs of Markdown that read well without rendering.
    pub(crate) paragraphs: Vec<String>,
    /// Where there is more about it.
    pub(crate) link: Option<String>,
}

impl Page {
    /// A page of one paragraph.
    pub(crate) fn of(text: impl Into<String>) -> Self {
        Self { paragraphs: vec![text.into()], ..Self::default() }
    }

    /// What a rule finds.
    pub(crate) fn rule(rule: &rbx_lint::Rule) -> Self {
        let mut page = Self::of(format!("**{}** ({})", rule.name, rule.family.name()));
        page.paragraphs.push(rule.explanation.trim().to_owned());
        page.link = rule.url();
        page
    }

    /// A piece of the manual.
    pub(crate) fn entry(entry: &Entry) -> Self {
        Self {
            usage: Some(entry.usage.to_owned()),
            paragraphs: vec![entry.text.to_owned()],
            link: Some(entry.link()),
        }
    }

    /// The page as a client has it.
    pub(crate) fn markup(&self, markdown: bool) -> MarkupContent {
        let mut parts = Vec::new();
        if markdown {
            parts.extend(self.usage.as_ref().map(|usage| format!("```dockerfile\n{usage}\n```")));
            parts.extend(self.paragraphs.iter().cloned());
            parts.extend(self.link.as_ref().map(|link| format!("[Reference]({link})")));
            return MarkupContent { kind: MarkupKind::Markdown, value: parts.join("\n\n") };
        }
        parts.extend(self.usage.clone());
        parts.extend(self.paragraphs.iter().map(|text| text.replace("**", "").replace('`', "")));
        parts.extend(self.link.clone());
        MarkupContent { kind: MarkupKind::PlainText, value: parts.join("\n\n") }
    }
}

/// A text as code, on one line and not too long.
pub(crate) fn code(text: &str) -> String {
    if text.is_empty() {
        return "empty".to_owned();
    }
    let mut shown: String =
        text.chars().take(MAX_VALUE).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    // A backtick would end the code.
    if shown.contains('`') { format!("`` {shown} ``") } else { format!("`{shown}`") }
}

/// What something is worth, a line for each value; `line` says in which line a place is.
pub(crate) fn worth(list: &[Worth], line: impl Fn(u32) -> u32) -> String {
    let origin = |origin: &Origin| match origin {
        Origin::Env(span) => format!(", by `ENV` in line {}", line(span.start)),
        Origin::Default(span) => format!(", the default in line {}", line(span.start)),
        Origin::Global(span) => format!(", by the global `ARG` in line {}", line(span.start)),
        Origin::BuildArg => ", given by `--build-arg`".to_owned(),
        Origin::Automatic => ", set by the builder".to_owned(),
        Origin::Image(image) => format!(", from the image {}", code(image)),
        Origin::Trigger => ", from a trigger of the base".to_owned(),
    };
    let text = |worth: &Worth| {
        let value = worth.value.as_deref().map_or_else(|| "unset".to_owned(), code);
        value + &worth.origin.as_ref().map(origin).unwrap_or_default()
    };
    match list {
        [one] if one.platforms.len() == 1 => text(one),
        [one] => format!("{}, on all platforms", text(one)),
        _ => {
            let lines = list.iter().map(|worth| format!("- {}: {}", names(&worth.platforms), text(worth)));
            lines.collect::<Vec<_>>().join("\n")
        }
    }
}

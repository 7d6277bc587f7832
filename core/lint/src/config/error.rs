//! What is wrong with a file.

use std::ops::Range;
use std::path::Path;

use rbx_dockerfile::nearest;

/// A file of settings that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct ConfigError {
    /// What is wrong.
    pub reason: String,
    /// Line and column, from 1, where they are known. Columns count characters.
    pub place: Option<(usize, usize)>,
    /// What may be meant.
    pub hint: Option<String>,
}

impl ConfigError {
    /// What is wrong with a file of that name: the reason, then the place.
    pub fn in_file(&self, path: &Path) -> String {
        match self.place {
            Some((line, column)) => format!("{}: {}:{line}:{column}", self.reason, path.display()),
            None => format!("{}: {}", self.reason, path.display()),
        }
    }

    /// Of a message of serde's, whose words for names that it does not know are put into those used elsewhere.
    pub(super) fn new(message: &str, place: Option<(usize, usize)>) -> Self {
        let message = message.trim().replace('\n', ", ");
        let (reason, hint) = match message.split_once(HINT) {
            Some((reason, hint)) => (reason.to_owned(), Some(hint.to_owned())),
            None => unknown(&message).unwrap_or((message, None)),
        };
        Self { reason, place, hint }
    }

    /// What serde is told of a name that is none.
    pub(super) fn message(reason: &str, hint: &str) -> String {
        format!("{reason}{HINT}{hint}")
    }
}

/// What parts a reason from its hint on the way through serde.
const HINT: &str = "\u{1f}";

/// Reads ``unknown field `a`, expected one of `b`, `c` ``.
fn unknown(message: &str) -> Option<(String, Option<String>)> {
    if let Some(name) = message.strip_prefix("missing field `") {
        return Some((format!("missing key {:?}", name.trim_end_matches('`')), None));
    }
    let (what, rest) = [("key", "unknown field `"), ("value", "unknown variant `")]
        .into_iter()
        .find_map(|(what, start)| Some((what, message.strip_prefix(start)?)))?;
    let (name, expected) = rest.split_once("`, expected ")?;
    let mut known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
    known.retain(|name| !name.is_empty());
    let hint = match nearest(name, known.iter().copied(), false) {
        Some(near) => Some(format!("did you mean {near:?}?")),
        None => (!known.is_empty()).then(|| format!("there are {}", known.join(", "))),
    };
    Some((format!("unknown {what} {name:?}"), hint))
}

/// Line and column of a place in a text.
pub(super) fn place(text: &str, span: &Range<usize>) -> (usize, usize) {
    let before = text.get(..span.start).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or_default();
    (before.matches('\n').count() + 1, line.chars().count() + 1)
}

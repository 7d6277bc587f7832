//! Comments of hadolint and of this program.
//!
//! | hadolint's                       | this program's             | holds for                              |
//! |----------------------------------|----------------------------|----------------------------------------|
//! | `# hadolint ignore=NAME,…`       | `# rbx: ignore=NAME,…`     | the instruction below                  |
//! | `# hadolint stage ignore=NAME,…` | `# rbx: ignore-stage=NAME` | the rest of the stage, or the one below |
//! | `# hadolint global ignore=NAME`  | `# rbx: ignore-file=NAME`  | the whole file                         |

use super::Names;

/// What a comment silences.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pragma {
    pub(crate) scope: Scope,
    pub(crate) names: Names,
}

/// Where a comment holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// In the instruction below it.
    Instruction,
    /// From there to the end of the stage; above a `FROM`, in that stage.
    Stage,
    /// In the whole file.
    File,
}

impl Pragma {
    /// Reads the text of a comment; `None` if it silences nothing.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let (scope, rest) = if let Some(rest) = own(text) {
            let rest = rest.strip_prefix("ignore")?;
            if let Some(rest) = rest.strip_prefix("-stage") {
                (Scope::Stage, rest)
            } else if let Some(rest) = rest.strip_prefix("-file") {
                (Scope::File, rest)
            } else {
                (Scope::Instruction, rest)
            }
        } else {
            let rest = hadolint(text)?;
            let (scope, rest) = if let Some(rest) = word(rest, "global") {
                (Scope::File, rest)
            } else if let Some(rest) = word(rest, "stage") {
                (Scope::Stage, rest)
            } else {
                (Scope::Instruction, rest)
            };
            (scope, rest.strip_prefix("ignore")?)
        };
        Some(Self { scope, names: Names::read(value(rest)?) })
    }
}

/// What follows `rbx:`.
fn own(text: &str) -> Option<&str> {
    Some(text.strip_prefix("rbx:")?.trim_start())
}

/// What follows `hadolint` and white space.
fn hadolint(text: &str) -> Option<&str> {
    word(text, "hadolint")
}

fn word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let rest = text.strip_prefix(word)?;
    let trimmed = rest.trim_start();
    (trimmed.len() < rest.len()).then_some(trimmed)
}

/// What follows `=`, without the remark that may come after it.
fn value(text: &str) -> Option<&str> {
    let value = text.trim_start().strip_prefix('=')?;
    Some(value.split('#').next().unwrap_or_default().trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        Pragma::read(text)
            .map_or_else(String::new, |pragma| format!("{:?} {}", pragma.scope, pragma.names.list.join(" ")))
    }

    #[test]
    fn comments_of_both_kinds_are_read() {
        assert_eq!(read("hadolint ignore=DL3008,SC2086"), "Instruction DL3008 SC2086");
        assert_eq!(read("hadolint\tignore = DL3008 , SC2086 # they are old"), "Instruction DL3008 SC2086");
        assert_eq!(read("hadolint global ignore=DL3008"), "File DL3008");
        assert_eq!(read("hadolint stage  ignore=DL3008"), "Stage DL3008");
        assert_eq!(read("rbx: ignore=a,b, c because of d, e"), "Instruction a b c");
        assert_eq!(read("rbx:ignore-file=all"), "File all");
        assert_eq!(read("rbx: ignore-stage=a"), "Stage a");
        for nothing in [
            "hadolint",
            "hadolintignore=a",
            "hadolint ignore",
            "hadolint globalignore=a",
            "rbx ignore=a",
            "rbx: ignored=a",
            "rbx: ignore-files=a",
            "ignore=a",
            "hadolint shell=bash",
        ] {
            assert_eq!(read(nothing), "", "{nothing}");
        }
    }
}

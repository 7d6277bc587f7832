//! What a step is asked about itself, and how the answers in two sandboxes are compared.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::compare::Difference;

/// The directory of the script that asks, and of what is explained.
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sandbox")
}

/// Compiles the program that asks, for any image: it needs no library of one.
pub fn compile(to: &Path) -> Result<(), String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/sandbox/examples/inside.rs");
    run(Command::new("rustc")
        .args(["--edition=2024", "-Copt-level=1", "-Ctarget-feature=+crt-static", "-Cstrip=symbols", "-o"])
        .arg(to)
        .arg(source))
}

/// Runs a command that has to succeed.
pub fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?} ended with {}:\n{}", output.status, String::from_utf8_lossy(&output.stderr)))
}

/// Lines by what they are about: the words before a colon, else the first two. Several about one thing are one.
pub fn lines(text: &str) -> BTreeMap<String, String> {
    let mut lines: BTreeMap<String, String> = BTreeMap::new();
    for line in text.lines() {
        let (about, fact) = line.split_once(": ").unwrap_or_else(|| {
            let end = line.match_indices(' ').nth(1).map_or(line.len(), |(end, _)| end);
            line.split_at(end)
        });
        let facts = lines.entry(about.to_owned()).or_default();
        facts.push_str(if facts.is_empty() { "" } else { "; " });
        facts.push_str(fact.trim());
    }
    lines
}

/// What is different in two reports that were made [`lines`] of.
pub fn compare(
    report: &str,
    left: &BTreeMap<String, String>,
    right: &BTreeMap<String, String>,
) -> Vec<Difference> {
    let mut abouts: Vec<&String> = left.keys().chain(right.keys()).collect();
    abouts.sort();
    abouts.dedup();
    let different = abouts.into_iter().filter(|about| left.get(*about) != right.get(*about));
    different
        .map(|about| Difference {
            place: format!("{report} {about}"),
            left: left.get(about).cloned(),
            right: right.get(about).cloned(),
        })
        .collect()
}

/// Holds differences against lines of `BEGINNING # REASON`, where a word may end in `*`. Which of them
/// occur depends on the kernel and on how its control groups are arranged.
pub fn unexplained(differences: &[Difference], explained: &str) -> Result<(), String> {
    let mut beginnings = Vec::new();
    for line in explained.lines().filter(|line| !line.trim().is_empty()) {
        let (beginning, reason) = line.split_once(" # ").ok_or_else(|| format!("no reason in {line:?}"))?;
        if reason.trim().is_empty() {
            return Err(format!("no reason in {line:?}"));
        }
        beginnings.push(beginning.split_whitespace().collect::<Vec<_>>());
    }
    let matches = |wanted: &str, word: &str| {
        wanted.strip_suffix('*').map_or(wanted == word, |beginning| word.starts_with(beginning))
    };
    let is_explained = |difference: &&Difference| {
        let words: Vec<&str> = difference.place.split_whitespace().collect();
        beginnings.iter().any(|beginning| {
            beginning.len() <= words.len()
                && beginning.iter().zip(&words).all(|(wanted, word)| matches(wanted, word))
        })
    };
    let rest: Vec<String> = differences
        .iter()
        .filter(|difference| !is_explained(difference))
        .map(Difference::to_string)
        .collect();
    if rest.is_empty() { Ok(()) } else { Err(rest.join("\n  ")) }
}

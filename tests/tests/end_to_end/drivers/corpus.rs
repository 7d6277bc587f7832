//! Cases of the corpus that depend on the client, built by docker-rbx on an Engine: the contexts it sends, what it
//! asks for and what it says of failures. buildx has built them on such an Engine before.

use rbx_tests::Registry;
use rbx_tests::builders::{Builder, Row};
use rbx_tests::corpus::Case;

/// The cases. All of the corpus come out alike, but for the addresses of git servers that two of them have in their
/// images; these are enough for every time.
const CASES: [&str; 14] = [
    "annotations",
    "context-modes",
    "context-tar",
    "copy-exclude",
    "copy-missing",
    "hard-links",
    "long-paths",
    "mounts-secret",
    "named-contexts",
    "run-fails",
    "special-files",
    "ssh-mount",
    "symlinks-in-context",
    "unicode-names",
];

/// Builds them; `$RBX_COLUMN` picks one.
pub(super) fn check() -> Result<(), String> {
    let (builder, registry) = (Builder::shared(Row::DockerContainerd), Registry::with_images());
    let only = std::env::var("RBX_COLUMN").ok();
    let is_wanted = |case: &Case| match &only {
        Some(only) => *only == case.name,
        None => CASES.contains(&case.name.as_str()),
    };
    let mut reports = Vec::new();
    for case in Case::all().into_iter().filter(is_wanted) {
        if let Err(report) = case.check_on(builder.engine(), &registry) {
            reports.push(format!("{}: {report}", case.name));
        }
    }
    if reports.is_empty() { Ok(()) } else { Err(reports.join("\n\n")) }
}

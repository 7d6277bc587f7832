//! BuildKit's comments: `# check=skip=NAME,…;error=true` on top of a file holds for all of it, and right above an
//! instruction for that.

use rbx_dockerfile::Dockerfile;

use super::Names;

/// What such a comment says.
#[derive(Debug, Default)]
pub(super) struct Check {
    pub(super) skipped: Names,
    /// `error=true`
    pub(super) errors: bool,
}

/// What the top of a file says.
pub(super) fn of_file(file: &Dockerfile) -> Option<Check> {
    read(&file.directives.check.as_ref()?.value)
}

/// What a comment above an instruction silences.
pub(super) fn of_comment(text: &str) -> Option<Names> {
    let value = text.strip_prefix("check")?.trim_start().strip_prefix('=')?.trim();
    // BuildKit reads up to the first space.
    Some(read(value.split(' ').next().unwrap_or_default())?.skipped)
}

/// Reads `skip=A,B;error=true`; `None` where BuildKit would not take it.
fn read(text: &str) -> Option<Check> {
    let mut check = Check::default();
    for part in text.trim().splitn(3, ';').filter(|part| !part.is_empty()) {
        let (key, value) = part.split_once('=')?;
        match key.trim() {
            "skip" => check.skipped = Names::read(value),
            "experimental" => {}
            "error" => {
                check.errors = matches!(value.trim(), "1" | "t" | "T" | "TRUE" | "true" | "True");
            }
            _ => return None,
        }
    }
    Some(check)
}

//! Changing files.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::Path;

use similar::TextDiff;

use super::Checked;
use super::text::plural;
use crate::cli::check::CheckArgs;
use crate::errors::CliError;

/// Lines around a change.
const CONTEXT: usize = 3;

/// What is done with fixes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fixing {
    /// Nothing.
    No,
    /// They are shown.
    Diff { unsafe_too: bool },
    /// They are made.
    Write { unsafe_too: bool },
}

impl Fixing {
    pub(super) fn of(args: &CheckArgs) -> Result<Self, CliError> {
        let unsafe_too = args.unsafe_fixes;
        match (args.fix, args.diff) {
            (_, true) if args.format != "text" => Err(CliError::new("--diff has a format of its own")),
            (_, true) => Ok(Self::Diff { unsafe_too }),
            (true, false) => Ok(Self::Write { unsafe_too }),
            (false, false) if unsafe_too => Err(CliError::new("--unsafe-fixes needs --fix or --diff")),
            (false, false) => Ok(Self::No),
        }
    }

    pub(super) fn is_diff(self) -> bool {
        matches!(self, Self::Diff { .. })
    }

    /// Whether fixes that are not safe are made, too. `None` where none are made.
    pub(super) fn unsafe_too(self) -> Option<bool> {
        match self {
            Self::No => None,
            Self::Diff { unsafe_too } | Self::Write { unsafe_too } => Some(unsafe_too),
        }
    }
}

/// How many findings were fixed; nothing if none was.
pub(super) fn summary(checked: &[Checked], fixing: Fixing) -> String {
    let fixed =
        || checked.iter().filter_map(|file| Some(file.result.as_ref().ok()?.fixed)).filter(|n| *n > 0);
    let (findings, files) = (fixed().sum::<usize>(), fixed().count());
    if findings == 0 {
        return String::new();
    }
    let verb = if fixing.is_diff() { "Would fix" } else { "Fixed" };
    format!("{verb} {} in {}.\n", plural(findings, "finding"), plural(files, "file"))
}

/// The difference of two texts in the unified format, as `git apply` takes it; nothing if there is none.
pub(super) fn diff(name: &str, old: &str, new: &str) -> String {
    let name = rbx_progress::clean(name.strip_prefix("./").unwrap_or(name.trim_start_matches('/')));
    let (from, to) = (format!("a/{name}"), format!("b/{name}"));
    TextDiff::from_lines(old, new).unified_diff().context_radius(CONTEXT).header(&from, &to).to_string()
}

/// Writes a file anew, at once: whoever reads it has the old text or the new one. Its mode and owner stay, and so do
/// links to it: the target of a symbolic link is written, and a file that has several names is written in place. A file
/// that is not any more what was read is left alone.
pub(super) fn write(path: &Path, old: &[u8], new: &str) -> io::Result<()> {
    let path = fs::canonicalize(path)?;
    let mut file = File::options().read(true).write(true).open(&path)?;
    let known = file.metadata()?;
    let mut now = Vec::with_capacity(old.len());
    (&mut file).take(old.len() as u64 + 1).read_to_end(&mut now)?;
    if now != old {
        return Err(io::Error::other("it was changed meanwhile"));
    }
    if known.nlink() > 1 {
        return in_place(file, new);
    }
    let directory = path.parent().unwrap_or(Path::new("/"));
    let mut temporary = match tempfile::Builder::new().prefix(".rbx-").tempfile_in(directory) {
        // The file may be written, but no other beside it.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return in_place(file, new),
        made => made?,
    };
    temporary.write_all(new.as_bytes())?;
    let made = temporary.as_file().metadata()?;
    if (made.uid(), made.gid()) != (known.uid(), known.gid())
        && fchown(temporary.as_file(), Some(known.uid()), Some(known.gid())).is_err()
    {
        return in_place(file, new);
    }
    temporary.as_file().set_permissions(known.permissions())?;
    temporary.as_file().sync_all()?;
    temporary.persist(&path)?;
    Ok(())
}

fn in_place(mut file: File, new: &str) -> io::Result<()> {
    io::Seek::rewind(&mut file)?;
    file.write_all(new.as_bytes())?;
    file.set_len(new.len() as u64)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn differences_are_unified() {
        let old = "FROM a\r\nRUN b\nRUN c\nRUN d\nRUN e\nRUN f";
        insta::assert_snapshot!(diff("./x/Docker\u{1b}file", old, &old.replace("b\n", "é\n")), @r"
        --- a/x/Dockerfile
        +++ b/x/Dockerfile
        @@ -1,5 +1,5 @@
         FROM a
        -RUN b
        +RUN é
         RUN c
         RUN d
         RUN e
        ");
        insta::assert_snapshot!(diff("x", "FROM a", "FROM b"), @r"
        --- a/x
        +++ b/x
        @@ -1 +1 @@
        -FROM a
        \ No newline at end of file
        +FROM b
        \ No newline at end of file
        ");
        assert_eq!(diff("x", old, old), "");
    }

    #[test]
    fn files_keep_their_mode_and_their_links() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("file"), "old").unwrap();
        fs::set_permissions(at("file"), fs::Permissions::from_mode(0o751)).unwrap();
        symlink("file", at("link")).unwrap();
        let before = fs::metadata(at("file")).unwrap().ino();
        write(&at("link"), b"old", "newer").unwrap();
        assert!(at("link").is_symlink());
        assert_eq!(fs::read_to_string(at("file")).unwrap(), "newer");
        let after = fs::metadata(at("file")).unwrap();
        assert_eq!(after.mode() & 0o7777, 0o751);
        assert_ne!(after.ino(), before, "it is another file in the place of the old one");

        fs::hard_link(at("file"), at("other")).unwrap();
        write(&at("other"), b"newer", "x").unwrap();
        assert_eq!(fs::read_to_string(at("file")).unwrap(), "x");
        assert_eq!(fs::metadata(at("other")).unwrap().ino(), after.ino());

        assert!(write(&at("file"), b"other", "y").is_err());
        assert_eq!(fs::read_to_string(at("file")).unwrap(), "x");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3, "nothing is left behind");
    }
}

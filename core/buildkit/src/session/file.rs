//! A file that is written as a whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::id::new_id;

/// A file that appears under its name when it is whole, and not at all if something fails before.
#[derive(Debug)]
pub(super) struct NewFile {
    path: PathBuf,
    /// Where it is until then; `None` where something else than a file is written to.
    temporary: Option<PathBuf>,
    file: BufWriter<File>,
}

impl NewFile {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let failed = |error: io::Error| {
            let reason = super::fsutil::reason(&error);
            io::Error::new(error.kind(), format!("{reason}: failed to write {}", path.display()))
        };
        let special = fs::metadata(path).is_ok_and(|found| !found.is_file());
        let (temporary, file) = if special {
            (None, OpenOptions::new().write(true).open(path).map_err(failed)?)
        } else {
            // Behind a link is the file that is meant.
            let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
            let name = target.file_name().ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
            let temporary = target.with_file_name(format!(".{}.{}.part", name.to_string_lossy(), new_id()));
            let file = File::create_new(&temporary).map_err(failed)?;
            (Some(temporary), file)
        };
        Ok(Self { path: path.to_owned(), temporary, file: BufWriter::with_capacity(256 << 10, file) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the file its name.
    pub(super) fn keep(mut self) -> io::Result<()> {
        self.file.flush()?;
        if let Some(temporary) = &self.temporary {
            let target = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
            fs::rename(temporary, target)?;
        }
        self.temporary = None;
        Ok(())
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            let _ = fs::remove_file(temporary);
        }
    }
}

//! From layers to what was asked for: images, archives, files.

mod archive;
mod files;
mod image;
mod options;
mod outputs;
mod placement;
mod push;
mod rewrite;
mod written;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

pub(crate) use archive::write_archive;
pub use image::BuiltImage;
pub(crate) use options::{ImageOptions, is_annotation, platform_split};
pub(crate) use outputs::Export;
pub(crate) use placement::Placement;

use crate::error::BuildError;

/// A file that appears under its name when it is whole, and not at all if something fails before.
pub(crate) struct NewFile {
    path: PathBuf,
    temporary: PathBuf,
    file: BufWriter<File>,
    kept: bool,
}

impl NewFile {
    pub(crate) fn create(path: &Path) -> Result<Self, BuildError> {
        let failed =
            |error: io::Error| BuildError::invalid(format!("{error}: failed to write {}", path.display()));
        if path.is_dir() {
            return Err(BuildError::invalid(format!("destination file {} is a directory", path.display())));
        }
        let name = path.file_name().ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
        let name = format!(".{}.{}.part", name.to_string_lossy(), std::process::id());
        let temporary = path.with_file_name(name);
        let file = File::create(&temporary).map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            temporary,
            file: BufWriter::with_capacity(1 << 20, file),
            kept: false,
        })
    }

    /// Gives the file its name.
    pub(crate) fn keep(mut self) -> io::Result<()> {
        self.file.flush()?;
        std::fs::rename(&self.temporary, &self.path)?;
        self.kept = true;
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
        if !self.kept {
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

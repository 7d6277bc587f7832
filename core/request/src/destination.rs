//! Where outputs are written.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};
use tempfile::TempPath;

use crate::words::reason;

/// How many links lead to a file at most, as in Linux.
const MOST_LINKS: usize = 40;
/// How much is written at once, in bytes.
const BUFFER: usize = 256 << 10;

/// An output cannot go where it should.
#[derive(Debug, thiserror::Error)]
pub enum DestinationError {
    /// A directory was expected.
    #[error("destination directory {} is a file", .0.display())]
    IsFile(PathBuf),
    /// A file was expected.
    #[error("destination file {} is a directory", .0.display())]
    IsDirectory(PathBuf),
    /// It cannot be written, or not be looked at.
    #[error("{}: invalid destination {}", reason(.1), .0.display())]
    Unusable(PathBuf, #[source] io::Error),
}

/// Finds out before a build whether its output can go to a path: into a directory, or to a file.
///
/// Directories that are missing are made when something is written, as by buildx.
pub fn check_destination(path: &Path, directory: bool) -> Result<(), DestinationError> {
    let unusable = |error| DestinationError::Unusable(path.to_owned(), error);
    let target = behind_links(path).map_err(unusable)?;
    match fs::metadata(&target) {
        Ok(found) if directory && !found.is_dir() => Err(DestinationError::IsFile(path.to_owned())),
        Ok(found) if !directory && found.is_dir() => Err(DestinationError::IsDirectory(path.to_owned())),
        Ok(_) => writable(&target)
            .or_else(|error| {
                // Another file can take its place.
                let parent = target.parent().filter(|_| !directory);
                parent.is_some_and(|parent| writable(parent).is_ok()).then_some(()).ok_or(error)
            })
            .map_err(unusable),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let mut above = target.as_path();
            loop {
                above = match above.parent() {
                    Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
                    Some(parent) => parent,
                    None => return Ok(()),
                };
                match fs::metadata(above) {
                    Ok(found) if !found.is_dir() => return Err(unusable(ErrorKind::NotADirectory.into())),
                    Ok(_) => return writable(above).map_err(unusable),
                    Err(error) if error.kind() == ErrorKind::NotFound && above != Path::new(".") => {}
                    Err(error) => return Err(unusable(error)),
                }
            }
        }
        Err(error) => Err(unusable(error)),
    }
}

fn writable(path: &Path) -> io::Result<()> {
    Ok(accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS)?)
}

/// The file that a path means, whether it is there or not.
fn behind_links(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        match fs::read_link(&path) {
            Ok(target) => path = path.parent().unwrap_or(Path::new("")).join(target),
            // It is no link, or nothing.
            Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::NotFound) => {
                return Ok(path);
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::from_raw_os_error(rustix::io::Errno::LOOP.raw_os_error()))
}

/// A file that appears under its name when it is whole, and not at all if something fails before.
///
/// What is there and no regular file, such as a device or a pipe, is written to as it is; a pipe waits for its reader.
/// So is a file in a directory where no other can be made. Behind a link is the file that is meant.
#[derive(Debug)]
pub struct NewFile {
    file: BufWriter<File>,
    /// Where it is until then, and where it goes; nowhere if it is written in its place.
    place: Option<(TempPath, PathBuf)>,
}

impl NewFile {
    /// Begins to write. Directories that are missing are made.
    ///
    /// # Errors
    ///
    /// What is in the way.
    pub fn create(path: &Path) -> io::Result<Self> {
        let target = behind_links(path)?;
        let found = fs::metadata(&target).ok();
        let in_place = || OpenOptions::new().write(true).truncate(true).open(&target);
        let (file, place) = if found.as_ref().is_some_and(|found| !found.is_file()) {
            (in_place()?, None)
        } else {
            match beside(&target) {
                Ok((file, temporary)) => {
                    if let Some(found) = found {
                        file.set_permissions(found.permissions())?;
                    }
                    (file, Some((temporary, target)))
                }
                Err(error) if found.is_some() && is_refusal(&error) => (in_place()?, None),
                Err(error) => return Err(error),
            }
        };
        Ok(Self { file: BufWriter::with_capacity(BUFFER, file), place })
    }

    /// Gives the file its name.
    ///
    /// # Errors
    ///
    /// It cannot be written or cannot have its name; nothing is left of it.
    pub fn keep(mut self) -> io::Result<()> {
        self.file.flush()?;
        match self.place {
            Some((temporary, target)) => Ok(temporary.persist(target)?),
            None => Ok(()),
        }
    }
}

/// A new file beside a path, with the mode that new files have.
fn beside(path: &Path) -> io::Result<(File, TempPath)> {
    let name = path.file_name().ok_or(ErrorKind::InvalidInput)?;
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if fs::metadata(parent).is_err_and(|error| error.kind() == ErrorKind::NotFound) {
        DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
    }
    let prefix = format!(".{}.", name.to_string_lossy());
    let mut builder = tempfile::Builder::new();
    let builder = builder.prefix(&prefix).suffix(".part").permissions(Permissions::from_mode(0o666));
    Ok(builder.tempfile_in(parent).map_err(without_path)?.into_parts())
}

fn is_refusal(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
}

/// The reason alone: the name of a temporary file tells nobody anything.
fn without_path(error: io::Error) -> io::Error {
    match error
        .get_ref()
        .and_then(|inner| inner.source())
        .and_then(|source| source.downcast_ref::<io::Error>())
    {
        Some(source) => {
            source.raw_os_error().map_or_else(|| source.kind().into(), io::Error::from_raw_os_error)
        }
        None => error,
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

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, symlink};

    use rustix::fs::{FileType, Mode, makedev, mknodat};

    use super::*;

    fn write(path: &Path, text: &str) -> io::Result<()> {
        let mut file = NewFile::create(path)?;
        file.write_all(text.as_bytes())?;
        file.keep()
    }

    fn names(directory: &Path) -> Vec<OsString> {
        let mut names: Vec<OsString> =
            fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_appears_when_it_is_whole() {
        let here = tempfile::tempdir().unwrap();
        let path = here.path().join("a/b/file");
        check_destination(&path, false).unwrap();
        let mut file = NewFile::create(&path).unwrap();
        file.write_all(b"new").unwrap();
        assert!(!path.exists());
        drop(file);
        assert!(names(path.parent().unwrap()).is_empty());
        write(&path, "first").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let before = fs::metadata(&path).unwrap();
        write(&path, "second").unwrap();
        let after = fs::metadata(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "second");
        assert_ne!(before.ino(), after.ino());
        assert_eq!(after.mode() & 0o7777, 0o640);
        assert_eq!(names(path.parent().unwrap()), ["file"]);
        assert!(write(here.path(), "").is_err());
    }

    #[test]
    fn links_lead_to_the_file_that_is_meant() {
        let here = tempfile::tempdir().unwrap();
        let at = |name: &str| here.path().join(name);
        fs::create_dir(at("d")).unwrap();
        fs::write(at("d/file"), "old").unwrap();
        symlink("d/file", at("link")).unwrap();
        symlink("link", at("other")).unwrap();
        symlink("d/absent", at("dangling")).unwrap();
        symlink("round", at("round")).unwrap();
        for (name, target) in [("other", "d/file"), ("dangling", "d/absent")] {
            check_destination(&at(name), false).unwrap();
            write(&at(name), name).unwrap();
            assert!(at(name).is_symlink());
            assert_eq!(fs::read_to_string(at(target)).unwrap(), name);
        }
        assert_eq!(names(&at("d")), ["absent", "file"]);
        let error = write(&at("round"), "").unwrap_err();
        assert_eq!(reason(&error), "too many levels of symbolic links");
        assert!(check_destination(&at("round"), false).is_err());
    }

    #[test]
    fn devices_and_pipes_stay_what_they_are() {
        let here = tempfile::tempdir().unwrap();
        let pipe = here.path().join("pipe");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        check_destination(&pipe, false).unwrap();
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || fs::read_to_string(pipe).unwrap()
        });
        write(&pipe, "through").unwrap();
        assert_eq!(reader.join().unwrap(), "through");
        assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());

        // One of the test's own that takes all, as `/dev/null`; users other than root may make none.
        let device = here.path().join("null");
        match mknodat(CWD, &device, FileType::CharacterDevice, Mode::from_raw_mode(0o666), makedev(1, 3)) {
            Err(rustix::io::Errno::PERM) => {}
            made => {
                made.unwrap();
                symlink("null", here.path().join("link")).unwrap();
                for name in ["null", "link"] {
                    check_destination(&here.path().join(name), false).unwrap();
                    write(&here.path().join(name), "nothing").unwrap();
                    assert!(fs::metadata(&device).unwrap().file_type().is_char_device());
                }
            }
        }
    }

    #[test]
    fn what_is_in_the_way_is_said_before() {
        let here = tempfile::tempdir().unwrap();
        let at = |name: &str| here.path().join(name);
        fs::write(at("file"), "").unwrap();
        let told = |name: &str, directory: bool| match check_destination(&at(name), directory) {
            Ok(()) => String::new(),
            Err(error) => error.to_string().replace(here.path().to_str().unwrap(), "HERE"),
        };
        assert_eq!(told("file", true), "destination directory HERE/file is a file");
        assert_eq!(told("", false), "destination file HERE/ is a directory");
        assert_eq!(told("file/a", false), "not a directory: invalid destination HERE/file/a");
        assert_eq!(told("file/a", true), "not a directory: invalid destination HERE/file/a");
        for (name, directory) in [("file", false), ("", true), ("a/b", false), ("a/b", true)] {
            assert_eq!(told(name, directory), "");
        }
        assert_eq!(check_destination(Path::new("a-file-of-this-directory"), false).map_err(drop), Ok(()));
        assert!(names(here.path()).len() == 1);
        assert_eq!(reason(&write(&at("file/a"), "").unwrap_err()), "not a directory");
    }
}

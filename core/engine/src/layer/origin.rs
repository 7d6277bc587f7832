//! Where the bytes of regular files are.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

/// A place that holds the bytes of regular files.
#[derive(Debug, Clone)]
pub(crate) enum Origin {
    /// Directories, topmost first: a file is opened below the first that has its path.
    Directories(Arc<[OwnedFd]>),
    /// One file's bytes, such as those of a heredoc.
    Inline(Arc<[u8]>),
}

/// One file's bytes: a place and the path there.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) origin: Origin,
    pub(crate) path: Vec<u8>,
}

/// An opened [`Source`].
pub(crate) enum Content {
    File(File),
    Inline(io::Cursor<Arc<[u8]>>),
}

impl io::Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read(buffer),
            Self::Inline(bytes) => bytes.read(buffer),
        }
    }
}

impl io::Seek for Content {
    fn seek(&mut self, position: io::SeekFrom) -> io::Result<u64> {
        match self {
            Self::File(file) => file.seek(position),
            Self::Inline(bytes) => bytes.seek(position),
        }
    }
}

impl Origin {
    /// The files below a directory.
    pub(crate) fn directory(path: &Path) -> io::Result<Self> {
        Self::directories(&[path])
    }

    /// The files below several directories, topmost first.
    pub(crate) fn directories(paths: &[impl AsRef<Path>]) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = |path: &_| Ok(rustix::fs::openat(CWD, AsRef::<Path>::as_ref(path), flags, Mode::empty())?);
        Ok(Self::Directories(paths.iter().map(open).collect::<io::Result<_>>()?))
    }
}

impl Source {
    /// Opens the bytes. No link is followed and nothing outside the directory is reached, whoever changes it
    /// meanwhile; a FIFO put in a file's place does not block.
    pub(crate) fn open(&self) -> io::Result<Content> {
        match &self.origin {
            Origin::Directories(directories) => open_in(directories, &self.path).map(Content::File),
            Origin::Inline(bytes) => Ok(Content::Inline(io::Cursor::new(bytes.clone()))),
        }
    }
}

fn open_in(directories: &[OwnedFd], path: &[u8]) -> io::Result<File> {
    let mut outcome = Err(io::ErrorKind::NotFound.into());
    for directory in directories {
        outcome = open_below(directory, path);
        if !outcome.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            break;
        }
    }
    outcome
}

fn open_below(directory: &OwnedFd, path: &[u8]) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    // The kernel answers EAGAIN when a rename anywhere raced with the walk; it means only "once more".
    for _ in 0..32 {
        match rustix::fs::openat2(directory, path, flags, Mode::empty(), resolve) {
            Ok(file) => return Ok(File::from(file)),
            Err(rustix::io::Errno::AGAIN) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(rustix::io::Errno::AGAIN.into())
}

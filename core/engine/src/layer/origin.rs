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

    /// Whether this is the very place that another value names.
    pub(crate) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Directories(one), Self::Directories(other)) => Arc::ptr_eq(one, other),
            (Self::Inline(one), Self::Inline(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }

    /// The files below several directories, topmost first.
    pub(crate) fn directories(paths: &[impl AsRef<Path>]) -> io::Result<Self> {
        let opened = paths.iter().map(|path| open_root(path.as_ref()));
        Ok(Self::Directories(opened.collect::<io::Result<_>>()?))
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
    open_beneath(directory, path, flags).map(File::from)
}

/// Opens a path below a directory; a link anywhere on the way is an error.
pub(crate) fn open_beneath(directory: &OwnedFd, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    // The kernel answers EAGAIN when a rename anywhere raced with the walk; it means only "once more".
    for _ in 0..32 {
        match rustix::fs::openat2(directory, path, flags, Mode::empty(), resolve) {
            Err(rustix::io::Errno::AGAIN) => {}
            answer => return Ok(answer?),
        }
    }
    Err(rustix::io::Errno::AGAIN.into())
}

/// A directory to reach others from.
pub(crate) fn open_root(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

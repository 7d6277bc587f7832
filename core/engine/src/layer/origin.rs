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
    /// A directory: files are opened below it by their path.
    Directory(Arc<OwnedFd>),
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
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self::Directory(Arc::new(rustix::fs::openat(CWD, path, flags, Mode::empty())?)))
    }
}

impl Source {
    /// Opens the bytes. No link is followed and nothing outside the directory is reached, whoever changes it
    /// meanwhile; a FIFO put in a file's place does not block.
    pub(crate) fn open(&self) -> io::Result<Content> {
        match &self.origin {
            Origin::Directory(directory) => open_below(directory, &self.path).map(Content::File),
            Origin::Inline(bytes) => Ok(Content::Inline(io::Cursor::new(bytes.clone()))),
        }
    }
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

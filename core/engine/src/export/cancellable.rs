//! Outputs whose writing ends with their build.

use std::io::{self, Write};

use rbx_request::Cancel;

/// A writer that fails once the build is cancelled, so that whoever writes much to it cleans up and ends.
#[derive(Debug)]
pub(super) struct Cancellable<W> {
    inner: W,
    cancel: Cancel,
}

impl<W> Cancellable<W> {
    pub(super) fn new(inner: W, cancel: &Cancel) -> Self {
        Self { inner, cancel: cancel.clone() }
    }

    pub(super) fn into_inner(self) -> W {
        self.inner
    }
}

impl<W: Write> Write for Cancellable<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.cancel.check().map_err(io::Error::other)?;
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use rbx_request::NewFile;

    use super::*;

    #[test]
    fn a_cancelled_build_leaves_no_part_of_its_output() {
        let folder = tempfile::tempdir().unwrap();
        let cancel = Cancel::default();
        let file = NewFile::create(&folder.path().join("out")).unwrap();
        let mut out = Cancellable::new(file, &cancel);
        out.write_all(b"some").unwrap();
        cancel.cancel();
        assert_eq!(out.write_all(b"more").unwrap_err().to_string(), "context canceled");
        drop(out);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

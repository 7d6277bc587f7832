//! Archives that decompress to far more than anybody would compress.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that any archive may decompress to: 16 GiB.
pub(super) const FREE: u64 = 16 << 30;
/// Past [`FREE`], how many times as many bytes as it has itself. Programs and data reach about 20; what is all zeros
/// reaches 1000 with gzip and far more with the others.
const RATIO: u64 = 256;

/// Counts what is read.
pub(super) struct Counted<R> {
    pub(super) inner: R,
    pub(super) count: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.count.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }
}

/// Ends with an error where too much comes out of what went in.
pub(super) struct Bounded<R> {
    pub(super) inner: R,
    /// How many bytes went in so far.
    pub(super) compressed: Arc<AtomicU64>,
    pub(super) given: u64,
    pub(super) free: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.given = self.given.saturating_add(length as u64);
        if self.given > self.free {
            let compressed = self.compressed.load(Ordering::Relaxed);
            if self.given / RATIO > compressed {
                return Err(io::Error::other(format!(
                    "archive decompresses to more than {} bytes and {RATIO} times its size",
                    self.free
                )));
            }
        }
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How much comes out of an archive of zeros before it is refused.
    fn given(size: usize, free: u64) -> (usize, Option<String>) {
        let mut bomb = Vec::new();
        let mut compressor = rbx_oci::MemberCompressor::new(rbx_oci::Compression::Zstd, 3);
        for _ in 0..size >> 20 {
            compressor.compress(&vec![0; 1 << 20], &mut bomb);
        }
        let compressed = Arc::new(AtomicU64::new(0));
        let counted = Counted { inner: io::Cursor::new(bomb), count: compressed.clone() };
        let inner = rbx_oci::decompress(counted).unwrap().1;
        let mut out = Vec::new();
        let ended = Bounded { inner, compressed, given: 0, free }.read_to_end(&mut out);
        (out.len(), ended.err().map(|error| error.to_string()))
    }

    #[test]
    fn bombs_are_noticed_early() {
        assert_eq!(given(8 << 20, 8 << 20), (8 << 20, None));
        let (length, error) = given(64 << 20, 8 << 20);
        assert!(length < 9 << 20, "{length}");
        insta::assert_snapshot!(error.unwrap(), @"archive decompresses to more than 8388608 bytes and 256 times its size");
    }
}

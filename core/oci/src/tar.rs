//! Layer archives: headers as Go's `archive/tar` writes them for containerd, and a reader that trusts nothing.

mod member;
mod read;
mod write;

pub(crate) use read::Members;
pub use read::{Limits, Summary, TarError, read_layer};
pub use write::{TRAILER, padding, write_header};

/// Headers and content stand in blocks of this many bytes.
const BLOCK: usize = 512;
const WHITEOUT_PREFIX: &[u8] = b".wh.";
/// Prefix of aufs' own files, which are no whiteouts, save for [`OPAQUE_MARKER`].
const WHITEOUT_META_PREFIX: &[u8] = b".wh..wh.";
const OPAQUE_MARKER: &[u8] = b".wh..wh..opq";
const XATTR_PREFIX: &[u8] = b"SCHILY.xattr.";

// Where fields stand in a header block: POSIX.1-1988 ustar.
mod field {
    use std::ops::Range;

    pub(super) const NAME: Range<usize> = 0..100;
    pub(super) const MODE: Range<usize> = 100..108;
    pub(super) const UID: Range<usize> = 108..116;
    pub(super) const GID: Range<usize> = 116..124;
    pub(super) const SIZE: Range<usize> = 124..136;
    pub(super) const MTIME: Range<usize> = 136..148;
    pub(super) const CHECKSUM: Range<usize> = 148..156;
    pub(super) const TYPE: usize = 156;
    pub(super) const LINK: Range<usize> = 157..257;
    pub(super) const MAGIC: Range<usize> = 257..265;
    pub(super) const MAJOR: Range<usize> = 329..337;
    pub(super) const MINOR: Range<usize> = 337..345;
    pub(super) const PREFIX: Range<usize> = 345..500;
}

/// Whether bytes begin an archive, compressed or not: the first 512 are enough to tell.
pub fn begins_archive(head: &[u8]) -> bool {
    const MAGIC: [&[u8]; 4] = [b"BZh", b"\x1f\x8b\x08", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"];
    let is_header = |block: &[u8; BLOCK]| {
        let written = std::str::from_utf8(&block[field::CHECKSUM]).unwrap_or_default();
        u32::from_str_radix(written.trim_matches([' ', '\0']), 8) == Ok(checksum(block))
    };
    MAGIC.iter().any(|magic| head.starts_with(magic)) || head.first_chunk().is_some_and(is_header)
}

/// The sum of a header's bytes, its checksum field counted as spaces.
fn checksum(block: &[u8; BLOCK]) -> u32 {
    let sum = |bytes: &[u8]| bytes.iter().map(|&b| u32::from(b)).sum::<u32>();
    let spaces = u32::from(b' ') * 8;
    sum(&block[..field::CHECKSUM.start]) + spaces + sum(&block[field::CHECKSUM.end..])
}

//! A layer's archive as a tree and an index.

use std::io::{self, BufReader, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rbx_oci::{Digest, Sha256Reader, decompress, tar};
use rbx_store::{LayerIndex, PreparedTree, Store};

use super::bomb::{Bounded, Counted, FREE};
use super::files::Files;
use crate::error::{LayerError, reasons};
use crate::tree::Tree;

/// A layer that was unpacked by itself: what it says of directories it does not name is not known yet.
pub(crate) struct Unpacked {
    tree: PreparedTree,
    pub(crate) diff_id: Digest,
    files: Files,
}

/// Reads a layer's archive, compressed in whatever way, into a new tree of the store.
pub(crate) fn unpack(
    store: &Store,
    archive: impl Read + Send + 'static,
    name: &str,
) -> Result<Unpacked, LayerError> {
    let tree = store.new_tree()?;
    let mut files =
        Files::new(tree.fs(), tree.work(), store.id_map()).map_err(|error| LayerError::write(b"", error))?;
    let failed = |reason: String| LayerError::Archive { layer: name.to_owned(), reason };
    let plain = plain(archive).map_err(|error| failed(error.to_string()))?;
    let mut reader = Sha256Reader::new(plain);
    tar::read_layer(&mut reader, &tar::Limits::default(), |entry, content| files.add(entry, content))
        .map_err(|error| failed(reasons(&error)))?;
    let (_, diff_id, _) = reader.finish();
    Ok(Unpacked { tree, diff_id, files })
}

impl Unpacked {
    /// Settles the layer over what lies below it: directories that the archive does not name are as they are there,
    /// and what lies below a name that is a link there goes where the link leads.
    pub(crate) fn settle(self, below: &Tree) -> Result<(PreparedTree, LayerIndex), LayerError> {
        let ids = self.files.ids.clone();
        let index = self.files.settle(below).map_err(|(path, error)| LayerError::write(&path, error))?;
        self.tree.set_unshown(&ids, &index.entries)?;
        Ok((self.tree, index))
    }
}

/// Whether a file is an archive that `ADD` unpacks: a tar, compressed or not. What begins with a whole tar header is
/// one, even where something is wrong with it later on.
pub(crate) fn is_archive(file: impl Read + Send + 'static) -> bool {
    let Ok(plain) = plain(file) else { return false };
    let mut found = false;
    let _ = tar::read_layer(plain, &tar::Limits::default(), |_, _| {
        found = true;
        Err(io::Error::other("the first entry is enough"))
    });
    found
}

/// Reads an archive decompressed, however large it is said to become.
fn plain(archive: impl Read + Send + 'static) -> io::Result<impl Read + Send> {
    let compressed = Arc::new(AtomicU64::new(0));
    let plain = all_streams(Counted { inner: archive, count: compressed.clone() })?;
    Ok(Bounded { inner: plain, compressed, given: 0, free: FREE })
}

/// Memory that the decompression of an archive may take. `xz -9` wants 65 MiB.
const MEMORY_LIMIT: u64 = 256 << 20;

/// Reads an archive decompressed, all streams of it: besides the ways that layers are compressed by, archives for
/// `ADD` come as bzip2 and xz.
fn all_streams(mut archive: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
    let mut start = Vec::with_capacity(6);
    archive.by_ref().take(6).read_to_end(&mut start)?;
    let whole = |start: Vec<u8>| Cursor::new(start).chain(archive);
    match &*start {
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => {
            let whole = BufReader::with_capacity(64 << 10, whole(start));
            Ok(Box::new(bzip2::bufread::MultiBzDecoder::new(whole)))
        }
        [0xfd, b'7', b'z', b'X', b'Z', 0] => {
            let whole = BufReader::with_capacity(64 << 10, whole(start));
            let stream =
                liblzma::stream::Stream::new_stream_decoder(MEMORY_LIMIT, liblzma::stream::CONCATENATED)?;
            Ok(Box::new(liblzma::bufread::XzDecoder::new_stream(whole, stream)))
        }
        _ => Ok(decompress(whole(start))?.1),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use rbx_oci::{Entry, EntryKind};

    use super::*;

    /// A tar of one file.
    fn archive(content: &[u8]) -> Vec<u8> {
        let mut tar = Vec::new();
        tar::write_header(&mut tar, &Entry::new("file", EntryKind::File { size: content.len() as u64 }));
        tar.extend_from_slice(content);
        tar.resize(tar.len() + tar::padding(content.len() as u64), 0);
        tar.extend_from_slice(&tar::TRAILER);
        tar
    }

    fn bzip2(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn xz(bytes: &[u8], dictionary: u32) -> Vec<u8> {
        let mut options = liblzma::stream::LzmaOptions::new_preset(1).unwrap();
        options.dict_size(dictionary);
        let mut filters = liblzma::stream::Filters::new();
        filters.lzma2(&options);
        let check = liblzma::stream::Check::Crc64;
        let stream = liblzma::stream::Stream::new_stream_encoder(&filters, check).unwrap();
        let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn all(bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        plain(Cursor::new(bytes))?.read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn streams_one_after_the_other_are_one_archive() {
        let tar = archive(&b"content ".repeat(1000));
        let (one, two) = tar.split_at(700);
        for packed in
            [tar.clone(), [bzip2(one), bzip2(two)].concat(), [xz(one, 1 << 20), xz(two, 1 << 16)].concat()]
        {
            assert_eq!(all(packed.clone()).unwrap(), tar);
            assert!(is_archive(Cursor::new(packed)));
        }
    }

    #[test]
    fn cut_and_damaged_streams_are_errors() {
        let tar = archive(&b"content ".repeat(1000));
        for packed in [bzip2(&tar), xz(&tar, 1 << 20)] {
            assert!(all(packed[..packed.len() - 1].to_vec()).is_err());
            let mut damaged = packed.clone();
            damaged[packed.len() / 2] ^= 0xff;
            assert!(all(damaged).is_err());
        }
    }

    #[test]
    fn memory_is_bounded() {
        // What is compressed is small; what it asks for is not.
        let mut packed = xz(b"x", 1 << 20);
        assert!(all(packed.clone()).is_ok());
        // The dictionary's size is a byte of the block header, which begins after the 12 bytes of the stream header.
        let (header, at) = (12..24, 16);
        assert_eq!(packed[at], 16, "a dictionary of 1 MiB");
        packed[at] = 40;
        let sum = crc32(&packed[header.start..header.end - 4]);
        packed[header.end - 4..header.end].copy_from_slice(&sum.to_le_bytes());
        let error = all(packed).unwrap_err().to_string();
        assert!(error.contains("memory"), "{error}");
    }

    fn crc32(bytes: &[u8]) -> u32 {
        bytes.iter().fold(!0, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1)))
        }) ^ !0
    }

    #[test]
    fn other_files_are_no_archives() {
        for other in
            [&b""[..], b"BZh9 is a text", b"just text", &[0; 2048], &bzip2(b"text"), &xz(b"text", 4096)]
        {
            assert!(!is_archive(Cursor::new(other.to_vec())), "{other:?}");
        }
        let mut old = archive(b"");
        old[257..265].fill(0);
        let sum: u32 = old[..512].iter().map(|byte| u32::from(*byte)).sum();
        let written: u32 = old[148..156].iter().map(|byte| u32::from(*byte)).sum();
        old[148..156].copy_from_slice(format!("{:06o}\0 ", sum - written + 8 * u32::from(b' ')).as_bytes());
        assert!(is_archive(Cursor::new(old)), "of a tar older than ustar");
    }
}

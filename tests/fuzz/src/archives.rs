//! Archives: compression, tar, layouts, and whether `ADD` unpacks them. The first byte says what is made of the rest.

use std::io::{self, Cursor, Read, Write};
use std::sync::OnceLock;

use rbx_oci::layout::Layout;
use rbx_oci::tar::{Limits, Summary, TarError, read_layer};
use rbx_oci::{Compression, Entry, EntryKind, decompress, decompress_member};
use rbx_platform::Platform;

use crate::bytes::Bytes;

/// Bytes of an archive that are read: enough for every kind of damage, and for a bomb to be seen as one.
const LIMITS: Limits = Limits { members: 1000, bytes: 4 << 20, path: 4096, extension: 64 << 10 };

pub(crate) fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    match bytes.byte() % 4 {
        0 => read(bytes.0.to_vec()),
        1 => read(with_checksums(bytes.0)),
        2 => {
            let how = bytes.byte();
            read(compress(how, &with_checksums(bytes.0)));
        }
        _ => {
            layout(&with_checksums(bytes.0));
            for compression in [Compression::Gzip, Compression::Zstd, Compression::Uncompressed] {
                let mut out = b"kept".to_vec();
                let whole = decompress_member(compression, bytes.0, &mut out);
                assert!(out.starts_with(b"kept") && (whole.is_ok() || out.len() == 4));
            }
        }
    }
}

fn read(archive: Vec<u8>) {
    rbx_engine::fuzz::is_archive(archive.clone());
    let Ok((_, plain)) = decompress(Cursor::new(archive)) else { return };
    let mut content = Vec::new();
    // A reader that fails has given what comes before the damage.
    let whole = plain.take(LIMITS.bytes + 1).read_to_end(&mut content);
    let in_one = listed(content.as_slice());
    if whole.is_ok() {
        assert_eq!(
            shown(&in_one),
            shown(&listed(Slow(content.as_slice()))),
            "it does not matter how reads are cut"
        );
    }
    let Ok((entries, summary)) = in_one else { return };
    assert!(summary.bytes <= LIMITS.bytes && summary.members <= LIMITS.members);
    assert_eq!(summary.bytes, content.len() as u64, "an archive is read to its end");
    let mut size = 0;
    for (entry, length) in &entries {
        assert_eq!(entry.size(), *length);
        size += length;
        inside(&entry.path);
        if let EntryKind::Hardlink { target } = &entry.kind {
            inside(target);
            assert!(!target.is_empty());
        }
        assert!(entry.mode <= 0o7777 && entry.uid != u32::MAX && entry.gid != u32::MAX);
        assert!(entry.xattrs.keys().all(|name| !name.is_empty() && !name.contains('\0')));
    }
    assert!(size <= LIMITS.bytes);
}

type Listed = Result<(Vec<(Entry, u64)>, Summary), TarError>;

fn listed(archive: impl Read) -> Listed {
    let mut entries = Vec::new();
    let summary = read_layer(archive, &LIMITS, |entry, content| {
        let length = io::copy(content, &mut io::sink())?;
        entries.push((entry, length));
        Ok(())
    })?;
    Ok((entries, summary))
}

fn shown(listed: &Listed) -> String {
    format!("{listed:?}")
}

fn inside(path: &[u8]) {
    let fine = |part: &[u8]| !part.is_empty() && part != b"." && part != b".." && !part.contains(&0);
    assert!(path.is_empty() || path.split(|&byte| byte == b'/').all(fine), "{path:?}");
    assert!(path.len() <= LIMITS.path);
}

/// A reader that gives one byte, then two, and so on to seven.
struct Slow<R>(R);

impl<R: Read> Read for Slow<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min(buffer.len() % 7 + 1);
        self.0.read(&mut buffer[..length])
    }
}

fn layout(archive: &[u8]) {
    static DIRECTORY: OnceLock<tempfile::TempDir> = OnceLock::new();
    let directory = DIRECTORY.get_or_init(crate::scratch).path();
    let path = directory.join(format!("{:?}", std::thread::current().id()));
    std::fs::write(&path, archive).unwrap();
    let Ok(layout) = Layout::open(&path) else { return };
    let platform = Platform::parse("linux/arm64/v8").unwrap();
    let Ok(chain) = layout.resolve(None, &platform) else { return };
    assert!(!chain.is_empty() && chain.len() <= 6);
    for descriptor in &chain {
        let _ = layout.document(descriptor);
        if let Ok(mut blob) = layout.blob(descriptor) {
            let _ = io::copy(&mut blob, &mut io::sink());
        }
    }
}

/// The same with a right checksum in every block that could be a header: nothing else gets past the first look.
pub(crate) fn with_checksums(data: &[u8]) -> Vec<u8> {
    let mut archive = data.to_vec();
    for block in archive.chunks_exact_mut(512) {
        if &block[257..262] == b"ustar" {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    archive
}

/// Compressed in one of the ways that are read, cut or prolonged by what `how` says.
fn compress(how: u8, data: &[u8]) -> Vec<u8> {
    let mut out = match how % 4 {
        0 => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(data).unwrap();
            encoder.finish().unwrap()
        }
        1 => {
            let mut out = Vec::new();
            rbx_oci::MemberCompressor::new(Compression::Zstd, 1).compress(data, &mut out);
            out
        }
        2 => {
            let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            encoder.write_all(data).unwrap();
            encoder.finish().unwrap()
        }
        _ => {
            let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
            encoder.write_all(data).unwrap();
            encoder.finish().unwrap()
        }
    };
    match how / 4 % 4 {
        1 => out.truncate(out.len() - out.len() / 4),
        2 => out.extend_from_within(..),
        3 => out.extend_from_slice(b"what follows"),
        _ => {}
    }
    out
}

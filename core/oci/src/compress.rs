//! Compression of layers: independent members out, streams of any kind in.

use std::fmt;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::str::FromStr;

use crate::media_type;

/// How much content one compressed member holds at most, by convention: small enough that a changed file costs
/// little to compress again, large enough to compress well.
pub const MEMBER_LIMIT: usize = 1 << 20;

/// What [`decompress_member`] makes of one member at most, so that a damaged length cannot take all memory.
const DECOMPRESSED_LIMIT: usize = 64 << 20;

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Compression {
    /// A plain tar archive.
    Uncompressed,
    /// RFC 1952, one or more members.
    Gzip,
    /// RFC 8878, one or more frames.
    Zstd,
}

impl Compression {
    /// What content that starts with `start` is compressed by; 4 bytes are enough to tell.
    pub fn detect(start: &[u8]) -> Compression {
        match start {
            [0x1f, 0x8b, ..] => Compression::Gzip,
            // A frame, or a skippable one before it.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
            _ => Compression::Uncompressed,
        }
    }

    /// What a layer of this media type is compressed by; none if it is not the type of a layer.
    pub fn of_media_type(media_type: &str) -> Option<Compression> {
        match media_type {
            media_type::OCI_LAYER | media_type::OCI_LAYER_NONDISTRIBUTABLE | media_type::DOCKER_LAYER => {
                Some(Compression::Uncompressed)
            }
            media_type::OCI_LAYER_GZIP
            | media_type::OCI_LAYER_NONDISTRIBUTABLE_GZIP
            | media_type::DOCKER_LAYER_GZIP
            | media_type::DOCKER_LAYER_FOREIGN => Some(Compression::Gzip),
            media_type::OCI_LAYER_ZSTD
            | media_type::OCI_LAYER_NONDISTRIBUTABLE_ZSTD
            | media_type::DOCKER_LAYER_ZSTD => Some(Compression::Zstd),
            _ => None,
        }
    }

    /// The OCI media type of a layer compressed so.
    pub const fn layer_media_type(self) -> &'static str {
        match self {
            Compression::Uncompressed => media_type::OCI_LAYER,
            Compression::Gzip => media_type::OCI_LAYER_GZIP,
            Compression::Zstd => media_type::OCI_LAYER_ZSTD,
        }
    }

    /// The name in `compression=`: `uncompressed`, `gzip` or `zstd`.
    pub const fn name(self) -> &'static str {
        match self {
            Compression::Uncompressed => "uncompressed",
            Compression::Gzip => "gzip",
            Compression::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A word that names no [`Compression`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unsupported compression: {0:?}, expected uncompressed, gzip or zstd")]
pub struct UnknownCompression(String);

impl FromStr for Compression {
    type Err = UnknownCompression;

    fn from_str(name: &str) -> Result<Compression, UnknownCompression> {
        [Compression::Uncompressed, Compression::Gzip, Compression::Zstd]
            .into_iter()
            .find(|compression| compression.name() == name)
            .ok_or_else(|| UnknownCompression(name.to_owned()))
    }
}

/// Compresses pieces of a layer into members that stand alone: their concatenation is the compressed layer, whoever
/// compressed which of them in what order. Keep one per thread, its memory is reused.
///
/// The same data gives the same bytes at any time and on any number of threads.
pub struct MemberCompressor(Kind);

enum Kind {
    Uncompressed,
    Gzip(libdeflater::Compressor),
    Zstd(zstd::bulk::Compressor<'static>),
}

impl MemberCompressor {
    /// A compressor at `level`: 0 to 12 for gzip (by libdeflate), 1 to 22 for zstd; levels outside are taken for
    /// the nearest.
    pub fn new(compression: Compression, level: i32) -> MemberCompressor {
        MemberCompressor(match compression {
            Compression::Uncompressed => Kind::Uncompressed,
            Compression::Gzip => {
                let level = libdeflater::CompressionLvl::new(level.clamp(0, 12)).expect("level is in range");
                Kind::Gzip(libdeflater::Compressor::new(level))
            }
            Compression::Zstd => {
                let level = level.clamp(1, 22);
                Kind::Zstd(zstd::bulk::Compressor::new(level).expect("level is in range"))
            }
        })
    }

    /// Appends `data` as one member to `out`.
    pub fn compress(&mut self, data: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        match &mut self.0 {
            Kind::Uncompressed => out.extend_from_slice(data),
            Kind::Gzip(compressor) => {
                out.resize(start + compressor.gzip_compress_bound(data.len()), 0);
                let written =
                    compressor.gzip_compress(data, &mut out[start..]).expect("the bound is enough space");
                out.truncate(start + written);
            }
            Kind::Zstd(compressor) => {
                out.resize(start + zstd::zstd_safe::compress_bound(data.len()), 0);
                let written = compressor
                    .compress_to_buffer(data, &mut out[start..])
                    .expect("the bound is enough space");
                out.truncate(start + written);
            }
        }
    }
}

impl fmt::Debug for MemberCompressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::Uncompressed => "MemberCompressor(uncompressed)",
            Kind::Gzip(_) => "MemberCompressor(gzip)",
            Kind::Zstd(_) => "MemberCompressor(zstd)",
        })
    }
}

/// Appends the content of one member of a [`MemberCompressor`] to `out`. Faster than [`decompress`], for members
/// that are in memory. Fails on anything else than one whole member of at most 64 MiB.
pub fn decompress_member(compression: Compression, member: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let damaged = |reason: &'static str| io::Error::new(io::ErrorKind::InvalidData, reason);
    let length = match compression {
        Compression::Uncompressed => {
            out.extend_from_slice(member);
            return Ok(());
        }
        // A member ends with the length of its content.
        Compression::Gzip => {
            let length = member.last_chunk().ok_or_else(|| damaged("gzip member is too short"))?;
            u64::from(u32::from_le_bytes(*length))
        }
        Compression::Zstd => zstd::zstd_safe::get_frame_content_size(member)
            .ok()
            .flatten()
            .ok_or_else(|| damaged("zstd frame does not say its length"))?,
    };
    let length = usize::try_from(length).ok().filter(|&length| length <= DECOMPRESSED_LIMIT);
    let length = length.ok_or_else(|| damaged("compressed member is too large"))?;

    let start = out.len();
    out.resize(start + length, 0);
    let written = match compression {
        Compression::Gzip => libdeflater::Decompressor::new().gzip_decompress(member, &mut out[start..]).ok(),
        _ => zstd::bulk::decompress_to_buffer(member, &mut out[start..]).ok(),
    };
    if written == Some(length) {
        Ok(())
    } else {
        out.truncate(start);
        Err(damaged("compressed member is damaged"))
    }
}

/// Reads `reader` decompressed, whichever way its first bytes say it is compressed, all members of it. Reads those
/// first bytes at once.
pub fn decompress(mut reader: impl Read + Send + 'static) -> io::Result<(Compression, Box<dyn Read + Send>)> {
    let mut start = Vec::with_capacity(4);
    reader.by_ref().take(4).read_to_end(&mut start)?;
    let compression = Compression::detect(&start);
    let whole = BufReader::with_capacity(64 << 10, Cursor::new(start).chain(reader));
    let decompressed = decoder(compression, whole)?;
    Ok((compression, decompressed))
}

fn decoder(
    compression: Compression,
    reader: impl BufRead + Send + 'static,
) -> io::Result<Box<dyn Read + Send>> {
    Ok(match compression {
        Compression::Uncompressed => Box::new(reader),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(reader)),
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(reader)?),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Compression; 3] = [Compression::Uncompressed, Compression::Gzip, Compression::Zstd];

    fn all_of(bytes: Vec<u8>) -> io::Result<(Compression, Vec<u8>)> {
        let (compression, mut reader) = decompress(Cursor::new(bytes))?;
        let mut out = Vec::new();
        reader.read_to_end(&mut out)?;
        Ok((compression, out))
    }

    #[test]
    fn members_are_deterministic_and_name_no_time_or_system() {
        let data = b"some text, some text".repeat(1000);
        let mut out = Vec::new();
        let mut compressor = MemberCompressor::new(Compression::Gzip, 3);
        compressor.compress(b"first", &mut out);
        let start = out.len();
        compressor.compress(&data, &mut out);
        // ID1 ID2 CM FLG, MTIME 0, XFL, OS 255.
        assert_eq!(out[start..start + 10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
        let mut fresh = Vec::new();
        MemberCompressor::new(Compression::Gzip, 3).compress(&data, &mut fresh);
        assert_eq!(fresh, out[start..]);
    }

    #[test]
    fn system_gzip_and_python_read_members() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.gz");
        let mut out = Vec::new();
        let mut compressor = MemberCompressor::new(Compression::Gzip, 6);
        compressor.compress(&b"abc".repeat(100_000), &mut out);
        compressor.compress(b"", &mut out);
        compressor.compress(b"end", &mut out);
        std::fs::write(&path, out).unwrap();
        let gzip = std::process::Command::new("gzip").arg("-t").arg(&path).status().unwrap();
        assert!(gzip.success());
        let program =
            "import gzip,sys; d=gzip.open(sys.argv[1]).read(); assert d==b'abc'*100000+b'end', len(d)";
        let python = std::process::Command::new("python3").args(["-c", program]).arg(&path).status().unwrap();
        assert!(python.success());
    }

    #[test]
    fn damaged_members_are_errors() {
        for compression in [Compression::Gzip, Compression::Zstd] {
            let mut member = Vec::new();
            MemberCompressor::new(compression, 3).compress(b"content content content", &mut member);
            let mut out = b"kept".to_vec();
            for bad in
                [&member[..0], &member[..3], &member[..member.len() - 1], &[member.as_slice(), b"x"].concat()]
            {
                assert!(decompress_member(compression, bad, &mut out).is_err(), "{compression} {bad:?}");
                assert_eq!(out, b"kept");
            }
            assert!(all_of(member[..member.len() - 1].to_vec()).is_err());
        }
        // 4 GiB by its own account.
        let mut member = Vec::new();
        MemberCompressor::new(Compression::Gzip, 3).compress(b"x", &mut member);
        let end = member.len();
        member[end - 4..].fill(0xff);
        let error = decompress_member(Compression::Gzip, &member, &mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "compressed member is too large");
    }

    #[test]
    fn names_and_media_types_agree() {
        for compression in ALL {
            assert_eq!(compression.name().parse(), Ok(compression));
            assert_eq!(Compression::of_media_type(compression.layer_media_type()), Some(compression));
        }
        assert!("bzip2".parse::<Compression>().is_err());
        assert_eq!(Compression::of_media_type(media_type::OCI_MANIFEST), None);
    }

    proptest! {
        #[test]
        fn pieces_compressed_alone_are_the_whole(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..2000), 1..5),
            level in -1..14,
        ) {
            let whole = pieces.concat();
            for compression in ALL {
                let mut compressor = MemberCompressor::new(compression, level);
                let mut out = Vec::new();
                for piece in &pieces {
                    let mut member = Vec::new();
                    compressor.compress(piece, &mut member);
                    let mut back = Vec::new();
                    decompress_member(compression, &member, &mut back).unwrap();
                    prop_assert_eq!(&back, piece);
                    out.extend(member);
                }
                if compression != Compression::Uncompressed {
                    prop_assert_eq!(all_of(out).unwrap(), (compression, whole.clone()));
                }
            }
        }
    }
}

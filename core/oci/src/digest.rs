//! Content digests, and readers and writers that compute or check them while bytes pass.

use std::fmt;
use std::io::{self, Read, Write};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// Why a text is not a digest. The wording is that of Go's `go-digest`, which Docker prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// Not `algorithm:hex`, or the hex part is not lower-case hexadecimal.
    #[error("invalid checksum digest format")]
    InvalidFormat,
    /// The hex part does not have the algorithm's length.
    #[error("invalid checksum digest length")]
    InvalidLength,
    /// Well-formed, but not SHA-256: content under it could not be checked here.
    #[error("unsupported digest algorithm")]
    Unsupported,
}

/// The SHA-256 digest of some content, written `sha256:<64 hex digits>`.
///
/// SHA-256 is the only algorithm accepted, since it is the only one whose content is verified.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Parses `sha256:<64 lower-case hex digits>`.
    pub fn parse(text: &str) -> Result<Digest, DigestError> {
        let (algorithm, encoded) = text.split_once(':').ok_or(DigestError::InvalidFormat)?;
        if algorithm.is_empty() || encoded.is_empty() {
            return Err(DigestError::InvalidFormat);
        }
        if algorithm != "sha256" {
            let well_formed = algorithm.split(['+', '.', '_', '-']).all(is_algorithm_component)
                && encoded.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'=' | b'_' | b'-'));
            return Err(if well_formed { DigestError::Unsupported } else { DigestError::InvalidFormat });
        }
        if encoded.len() != 64 {
            return Err(DigestError::InvalidLength);
        }
        if encoded.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(DigestError::InvalidFormat);
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(encoded, &mut bytes).map_err(|_| DigestError::InvalidFormat)?;
        Ok(Digest(bytes))
    }

    /// The digest of `content`.
    pub fn sha256_of(content: &[u8]) -> Digest {
        Digest(Sha256::digest(content).into())
    }

    /// The digest of everything `hasher` was given.
    pub fn from_hasher(hasher: Sha256) -> Digest {
        Digest(hasher.finalize().into())
    }

    /// The digest whose 32 bytes are `bytes`, as a database keeps them.
    pub const fn from_bytes(bytes: [u8; 32]) -> Digest {
        Digest(bytes)
    }

    /// The 32 bytes of the digest.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The algorithm's name: `sha256`.
    pub const fn algorithm(&self) -> &'static str {
        "sha256"
    }

    /// The 64 lower-case hex digits.
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }
}

fn is_algorithm_component(component: &str) -> bool {
    !component.is_empty() && component.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("sha256:{}", self.hex()))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Digest, DigestError> {
        Digest::parse(text)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        let text = String::deserialize(deserializer)?;
        Digest::parse(&text).map_err(|error| serde::de::Error::custom(format_args!("{error}: {text:?}")))
    }
}

/// Passes bytes on to a writer and computes their digest.
#[derive(Debug)]
pub struct Sha256Writer<W> {
    inner: W,
    hasher: Sha256,
    written: u64,
}

impl<W: Write> Sha256Writer<W> {
    /// A writer before `inner`.
    pub fn new(inner: W) -> Sha256Writer<W> {
        Sha256Writer { inner, hasher: Sha256::new(), written: 0 }
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// The inner writer, the digest of what was written to it, and how many bytes that was.
    pub fn finish(self) -> (W, Digest, u64) {
        (self.inner, Digest::from_hasher(self.hasher), self.written)
    }
}

impl<W: Write> Write for Sha256Writer<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(buf)?;
        self.hasher.update(&buf[..n]);
        self.written += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Passes bytes on from a reader and computes their digest.
#[derive(Debug)]
pub struct Sha256Reader<R> {
    inner: R,
    hasher: Sha256,
    bytes_read: u64,
}

impl<R: Read> Sha256Reader<R> {
    /// A reader behind `inner`.
    pub fn new(inner: R) -> Sha256Reader<R> {
        Sha256Reader { inner, hasher: Sha256::new(), bytes_read: 0 }
    }

    /// Bytes read so far.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// The inner reader, the digest of what was read from it, and how many bytes that was.
    pub fn finish(self) -> (R, Digest, u64) {
        (self.inner, Digest::from_hasher(self.hasher), self.bytes_read)
    }
}

impl<R: Read> Read for Sha256Reader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.hasher.update(&buf[..n]);
        self.bytes_read += n as u64;
        Ok(n)
    }
}

/// Passes on content whose digest and size are known beforehand, and fails where it is not that content.
///
/// The last read, the one that would report the end, fails with [`io::ErrorKind::InvalidData`] if the digest or
/// the size is another. A byte past the expected size fails at once. Content counts as checked only once a read
/// returned 0.
#[derive(Debug)]
pub struct VerifiedReader<R> {
    inner: R,
    hasher: Option<Sha256>,
    digest: Digest,
    size: u64,
    left: u64,
}

impl<R: Read> VerifiedReader<R> {
    /// Checks that `inner` is the `size` bytes whose digest is `digest`.
    pub fn new(inner: R, digest: Digest, size: u64) -> VerifiedReader<R> {
        VerifiedReader { inner, hasher: Some(Sha256::new()), digest, size, left: size }
    }

    fn end(&mut self) -> io::Result<usize> {
        let Some(hasher) = self.hasher.take() else { return Ok(0) };
        if self.left > 0 {
            return Err(invalid(format!(
                "content is too short: {} has {} of {} bytes",
                self.digest,
                self.size - self.left,
                self.size
            )));
        }
        let found = Digest::from_hasher(hasher);
        if found != self.digest {
            return Err(invalid(format!("digest mismatch: expected {}, found {found}", self.digest)));
        }
        Ok(0)
    }
}

impl<R: Read> Read for VerifiedReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let n = self.inner.read(buf)?;
        if n == 0 {
            return self.end();
        }
        let Some(hasher) = &mut self.hasher else {
            return Err(invalid(format!("content changed after its end: {}", self.digest)));
        };
        let Some(left) = self.left.checked_sub(n as u64) else {
            return Err(invalid(format!(
                "content is too long: {} has more than {} bytes",
                self.digest, self.size
            )));
        };
        self.left = left;
        hasher.update(&buf[..n]);
        Ok(n)
    }
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn parses_only_what_go_digest_accepts_as_sha256() {
        assert_eq!(Digest::parse(EMPTY).unwrap(), Digest::sha256_of(b""));
        assert_eq!(Digest::parse(EMPTY).unwrap().to_string(), EMPTY);
        for (text, error) in [
            ("", DigestError::InvalidFormat),
            ("sha256:", DigestError::InvalidFormat),
            (":e3b0", DigestError::InvalidFormat),
            ("sha256:e3b0", DigestError::InvalidLength),
            ("sha512:e3b0", DigestError::Unsupported),
            ("sha256+b64:e3b0", DigestError::Unsupported),
            ("SHA256:e3b0", DigestError::InvalidFormat),
            ("md5:../../x", DigestError::InvalidFormat),
        ] {
            assert_eq!(Digest::parse(text), Err(error), "{text:?}");
        }
        assert_eq!(
            Digest::parse(&EMPTY.to_uppercase().replace("SHA", "sha")),
            Err(DigestError::InvalidFormat)
        );
        assert_eq!(Digest::parse(&EMPTY.replace("b855", "b85g")), Err(DigestError::InvalidFormat));
        assert_eq!(Digest::parse(&EMPTY.replace("b855", "b8é")), Err(DigestError::InvalidFormat));
    }

    #[test]
    fn hashes_in_passing() {
        let mut writer = Sha256Writer::new(Vec::new());
        writer.write_all(b"some").unwrap();
        writer.write_all(b"thing").unwrap();
        let (inner, digest, written) = writer.finish();
        assert_eq!(
            (inner.as_slice(), digest, written),
            (&b"something"[..], Digest::sha256_of(b"something"), 9)
        );

        let mut reader = Sha256Reader::new(&b"something"[..]);
        io::copy(&mut reader, &mut io::sink()).unwrap();
        let (_, digest, read) = reader.finish();
        assert_eq!((digest, read), (Digest::sha256_of(b"something"), 9));
    }

    #[test]
    fn refuses_other_content() {
        let digest = Digest::sha256_of(b"abc");
        let read = |content: &[u8], size| {
            let mut out = Vec::new();
            VerifiedReader::new(content, digest, size).read_to_end(&mut out).map_err(|e| e.to_string())
        };
        assert_eq!(read(b"abc", 3), Ok(3));
        assert!(read(b"abd", 3).unwrap_err().starts_with("digest mismatch: expected sha256:ba78"));
        assert!(read(b"abcd", 3).unwrap_err().contains("more than 3 bytes"));
        assert!(read(b"ab", 3).unwrap_err().contains("2 of 3 bytes"));
        assert!(read(b"abc", 4).unwrap_err().contains("3 of 4 bytes"));
    }

    proptest! {
        #[test]
        fn parse_never_panics_and_display_round_trips(text in "(sha256:)?\\PC{0,70}", bytes: [u8; 32]) {
            let _ = Digest::parse(&text);
            let digest = Digest::from_bytes(bytes);
            prop_assert_eq!(Digest::parse(&digest.to_string()), Ok(digest));
            let json = serde_json::to_string(&digest).unwrap();
            prop_assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
        }
    }
}

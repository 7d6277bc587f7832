//! The names things have in the store.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::str::FromStr;

use crate::StoreError;

/// Cache keys: the BLAKE3 of what a result is made from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key([u8; 32]);

impl Key {
    /// Starts a key. `domain` says what kind of thing is keyed, so that equal fields of two kinds give two keys.
    pub fn hasher(domain: &str) -> KeyHasher {
        let mut hasher = KeyHasher(blake3::Hasher::new());
        hasher.field(domain);
        hasher
    }

    /// The key of a digest computed elsewhere.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Builds a [`Key`] from fields, each written with its length: `("ab", "c")` and `("a", "bc")` differ.
#[derive(Debug, Clone)]
pub struct KeyHasher(blake3::Hasher);

impl KeyHasher {
    /// Adds one field.
    pub fn field(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let bytes = bytes.as_ref();
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    /// Adds a number as a field of eight bytes.
    pub fn number(&mut self, number: u64) -> &mut Self {
        self.field(number.to_le_bytes())
    }

    /// The key of the fields so far.
    pub fn finish(&self) -> Key {
        Key(*self.0.finalize().as_bytes())
    }
}

/// BLAKE3 of a regular file's bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentDigest([u8; 32]);

impl ContentDigest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// A digest computed elsewhere.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// A layer's name: 128 random bits. Layers are named before what they hold is hashed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LayerId([u8; 16]);

impl LayerId {
    pub(crate) fn random() -> Result<Self, StoreError> {
        random_bytes().map(Self)
    }

    pub(crate) const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// A cache's name: 128 random bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CacheId([u8; 16]);

impl CacheId {
    pub(crate) fn random() -> Result<Self, StoreError> {
        random_bytes().map(Self)
    }

    pub(crate) const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// Text that is not the hexadecimal name it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not {length} lower-case hexadecimal digits: {text:?}")]
pub struct InvalidId {
    /// What was given.
    pub text: String,
    /// How many digits there should be.
    pub length: usize,
}

macro_rules! hex_text {
    ($name:ident, $bytes:literal) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut text = [0; $bytes * 2];
                hex::encode_to_slice(self.0, &mut text).map_err(|_| fmt::Error)?;
                f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let mut bytes = [0; $bytes];
                let invalid = || InvalidId { text: text.chars().take(100).collect(), length: $bytes * 2 };
                if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
                    return Err(invalid());
                }
                hex::decode_to_slice(text, &mut bytes).map_err(|_| invalid())?;
                Ok(Self(bytes))
            }
        }
    };
}

hex_text!(Key, 32);
hex_text!(ContentDigest, 32);
hex_text!(LayerId, 16);
hex_text!(CacheId, 16);

/// Sixteen random bytes of the kernel's.
pub(crate) fn random_bytes() -> Result<[u8; 16], StoreError> {
    fn read() -> io::Result<[u8; 16]> {
        let mut bytes = [0; 16];
        File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        Ok(bytes)
    }
    read().map_err(|source| StoreError::io("cannot read random bytes from", "/dev/urandom", source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_separate_fields_and_domains() {
        let key = |domain: &str, fields: &[&str]| {
            let mut hasher = Key::hasher(domain);
            for field in fields {
                hasher.field(field);
            }
            hasher.finish()
        };
        assert_eq!(key("run", &["ab", "c"]), key("run", &["ab", "c"]));
        assert_ne!(key("run", &["ab", "c"]), key("run", &["a", "bc"]));
        assert_ne!(key("run", &["a"]), key("copy", &["a"]));
        assert_ne!(key("run", &["a"]), key("run", &["a", ""]));
    }

    #[test]
    fn names_round_trip_as_text() {
        let id = LayerId::random().unwrap();
        assert_eq!(id.to_string().parse::<LayerId>().unwrap(), id);
        assert_ne!(LayerId::random().unwrap(), id);
        for bad in ["", "00", "../../etc/passwd", &"A".repeat(32), &"g".repeat(32), &"0".repeat(33)] {
            assert!(bad.parse::<LayerId>().is_err(), "{bad:?} was taken for a layer's name");
        }
    }
}

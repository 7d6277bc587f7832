//! Private keys from files, and signing with them.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use num_bigint::BigUint;
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RsaEncoding, RsaKeyPair};
use ssh_key::private::{KeypairData, RsaKeypair};
use ssh_key::{Algorithm, Mpint};

use crate::put_string;

/// Bytes of a key file that are read, as in buildx.
const LONGEST: u64 = 100 << 10;
/// Flags of a request for an RSA signature.
const SHA256: u32 = 2;
const SHA512: u32 = 4;

/// A key that signs.
pub struct PrivateKey {
    /// The public key in the form of RFC 4253.
    public: Vec<u8>,
    signer: Signer,
}

enum Signer {
    Rsa(Box<RsaKeyPair>),
    Ed25519(Box<Ed25519KeyPair>),
    Ssh(Box<ssh_key::PrivateKey>),
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PrivateKey").finish_non_exhaustive()
    }
}

/// Why a file is no key that can be used, in the words of Go's `ssh` package where it has some.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There is no PEM block in it.
    #[error("no key found")]
    None,
    /// Nobody is asked for a passphrase.
    #[error("this private key is passphrase protected")]
    Encrypted,
    /// A key, or another PEM block, that nothing can be signed with here.
    #[error("unsupported key type {0:?}")]
    Kind(String),
    /// What is in the block is not what its label says.
    #[error("{0}")]
    Damaged(String),
}

impl KeyError {
    /// What the user can do about it.
    pub(crate) fn hint(&self, path: &Path) -> String {
        match self {
            Self::None | Self::Damaged(_) => {
                "--ssh ID=PATH takes private keys, such as ~/.ssh/id_ed25519, or the socket of an agent"
                    .to_owned()
            }
            Self::Encrypted | Self::Kind(_) => {
                format!("add it to an agent (ssh-add {}) and use --ssh default", path.display())
            }
        }
    }
}

/// Reads a key file, as far as keys are long.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl PrivateKey {
    /// Reads a key in OpenSSH's own format, PKCS #1 (RSA) or PKCS #8 (RSA and Ed25519).
    pub(crate) fn parse(file: &[u8]) -> Result<Self, KeyError> {
        let text = std::str::from_utf8(file).map_err(|_| KeyError::None)?;
        let (label, body, whole) = block(text).ok_or(KeyError::None)?;
        if label == "OPENSSH PRIVATE KEY" {
            let key = ssh_key::PrivateKey::from_openssh(whole)
                .map_err(|error| KeyError::Damaged(error.to_string()))?;
            return Self::from_ssh(key);
        }
        if !matches!(label, "RSA PRIVATE KEY" | "PRIVATE KEY") {
            return Err(KeyError::Kind(label.to_owned()));
        }
        if body.contains("Proc-Type: 4,ENCRYPTED") {
            return Err(KeyError::Encrypted);
        }
        let body: String = body.split_whitespace().collect();
        let der = BASE64_STANDARD.decode(body).map_err(|error| KeyError::Damaged(error.to_string()))?;
        let rejected = |error: ring::error::KeyRejected| KeyError::Damaged(error.to_string());
        if label == "RSA PRIVATE KEY" {
            return RsaKeyPair::from_der(&der).map(Self::from_rsa).map_err(rejected);
        }
        if let Ok(key) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der) {
            let mut public = Vec::new();
            put_string(&mut public, b"ssh-ed25519");
            put_string(&mut public, key.public_key().as_ref());
            return Ok(Self { public, signer: Signer::Ed25519(Box::new(key)) });
        }
        RsaKeyPair::from_pkcs8(&der).map(Self::from_rsa).map_err(rejected)
    }

    fn from_ssh(key: ssh_key::PrivateKey) -> Result<Self, KeyError> {
        let name = || KeyError::Kind(key.algorithm().as_str().to_owned());
        match key.key_data() {
            KeypairData::Encrypted(_) => Err(KeyError::Encrypted),
            KeypairData::Rsa(pair) => rsa(pair).map(Self::from_rsa),
            KeypairData::Ed25519(_) | KeypairData::Ecdsa(_) => {
                let public = key.public_key().to_bytes().map_err(|_| name())?;
                Ok(Self { public, signer: Signer::Ssh(Box::new(key)) })
            }
            // DSA is gone from OpenSSH; keys in hardware sign there.
            _ => Err(name()),
        }
    }

    fn from_rsa(key: RsaKeyPair) -> Self {
        let mut public = Vec::new();
        put_string(&mut public, b"ssh-rsa");
        let components = PublicKeyComponents::<Vec<u8>>::from(key.public());
        for bytes in [components.e, components.n] {
            // The first bit is a sign.
            let sign = if bytes.first().is_some_and(|first| first & 0x80 != 0) { &[0][..] } else { &[] };
            put_string(&mut public, &[sign, &bytes].concat());
        }
        Self { public, signer: Signer::Rsa(Box::new(key)) }
    }

    /// The public key, which names this one.
    pub(crate) fn public(&self) -> &[u8] {
        &self.public
    }

    /// A signature in the form of RFC 4253. `None` where the flags ask for what is not made: RSA with SHA-1, which
    /// servers have not taken for years.
    pub(crate) fn sign(&self, data: &[u8], flags: u32) -> Option<Vec<u8>> {
        let named = |name: &str, signature: &[u8]| {
            let mut whole = Vec::new();
            put_string(&mut whole, name.as_bytes());
            put_string(&mut whole, signature);
            whole
        };
        match &self.signer {
            Signer::Rsa(key) => {
                let (name, padding): (_, &'static dyn RsaEncoding) = match flags {
                    flags if flags & SHA512 != 0 => ("rsa-sha2-512", &RSA_PKCS1_SHA512),
                    flags if flags & SHA256 != 0 => ("rsa-sha2-256", &RSA_PKCS1_SHA256),
                    _ => return None,
                };
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(padding, &SystemRandom::new(), data, &mut signature).ok()?;
                Some(named(name, &signature))
            }
            Signer::Ed25519(key) => Some(named("ssh-ed25519", key.sign(data).as_ref())),
            Signer::Ssh(key) => {
                let signature = signature::Signer::try_sign(&**key, data).ok()?;
                Some(named(Algorithm::as_str(&signature.algorithm()), signature.as_bytes()))
            }
        }
    }
}

/// OpenSSH's form of an RSA key lacks two numbers that make signing fast.
fn rsa(pair: &RsaKeypair) -> Result<RsaKeyPair, KeyError> {
    let number = |number: &Mpint| number.as_positive_bytes().map(BigUint::from_bytes_be);
    let (public, private) = (&pair.public, &pair.private);
    let components = || {
        let (d, p, q) = (number(&private.d)?, number(&private.p)?, number(&private.q)?);
        let one = BigUint::from(1u8);
        if p <= one || q <= one {
            return None;
        }
        Some(ring::rsa::KeyPairComponents {
            public_key: PublicKeyComponents {
                n: number(&public.n)?.to_bytes_be(),
                e: number(&public.e)?.to_bytes_be(),
            },
            dP: (&d % (&p - &one)).to_bytes_be(),
            dQ: (&d % (&q - &one)).to_bytes_be(),
            qInv: number(&private.iqmp)?.to_bytes_be(),
            d: d.to_bytes_be(),
            p: p.to_bytes_be(),
            q: q.to_bytes_be(),
        })
    };
    let components = components().ok_or_else(|| KeyError::Damaged("a number is missing".to_owned()))?;
    RsaKeyPair::from_components(&components).map_err(|error| KeyError::Damaged(error.to_string()))
}

/// The first PEM block: its label, what is in it, and all of it.
fn block(text: &str) -> Option<(&str, &str, &str)> {
    let begin = text.find("-----BEGIN ")?;
    let text = &text[begin..];
    let (label, rest) = text.strip_prefix("-----BEGIN ")?.split_once("-----")?;
    let end = format!("-----END {label}-----");
    let (body, _) = rest.split_once(&end)?;
    let length = "-----BEGIN -----".len() + label.len() + body.len() + end.len();
    Some((label, body, &text[..length]))
}

//! TLS of an Engine or a daemon: whom to trust, and who the client is.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::docker::TlsFiles;
use crate::error::DriverError;

/// Bound on a file of certificates or a key, in bytes.
const FILE_LIMIT: u64 = 1 << 20;

/// TLS, ready to be used. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Settings(Arc<ClientConfig>);

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the key.
        f.write_str("Settings")
    }
}

impl Settings {
    /// Reads the files. As for docker, authorities that are named are the only ones that are trusted, and the system's
    /// are if none is. `protocols` are what is spoken inside, for servers that ask (ALPN).
    pub(super) fn read(files: &TlsFiles, protocols: &[&str]) -> Result<Self, DriverError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = match &files.ca {
            _ if files.skip_verify => Arc::new(Anybody(Arc::clone(&provider))),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(path)? {
                    roots.add(certificate).map_err(|error| wrong(path, &error.to_string()))?;
                }
                let verifier =
                    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
                verifier.build().map_err(|error| wrong(path, &error.to_string()))?
            }
            None => {
                let verifier = rustls_platform_verifier::Verifier::new(Arc::clone(&provider));
                Arc::new(verifier.map_err(|error| DriverError::Tls(error.to_string()))?)
            }
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| DriverError::Tls(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match (&files.cert, &files.key) {
            (Some(cert), Some(key)) => builder
                .with_client_auth_cert(certificates(cert)?, private_key(key)?)
                .map_err(|error| wrong(key, &format!("the key does not fit the certificate: {error}")))?,
            (Some(cert), None) => return Err(wrong(cert, "a certificate without its key")),
            (None, Some(key)) => return Err(wrong(key, "a key without its certificate")),
            (None, None) => builder.with_no_client_auth(),
        };
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(Self(Arc::new(config)))
    }

    pub(super) fn config(&self) -> &Arc<ClientConfig> {
        &self.0
    }
}

fn wrong(path: &Path, reason: &str) -> DriverError {
    DriverError::Configuration { path: path.to_owned(), reason: reason.to_owned() }
}

fn read(path: &Path) -> Result<Vec<u8>, DriverError> {
    let mut content = Vec::new();
    let read = File::open(path).and_then(|file| {
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        file.take(FILE_LIMIT + 1).read_to_end(&mut content)
    });
    match read {
        Ok(_) if content.len() as u64 > FILE_LIMIT => Err(wrong(path, "file too large")),
        Ok(_) => Ok(content),
        Err(error) => Err(wrong(path, &error.to_string())),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, DriverError> {
    let content = read(path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&content).collect();
    let certificates = certificates.map_err(|error| wrong(path, &error.to_string()))?;
    if certificates.is_empty() {
        return Err(wrong(path, "no certificate in it"));
    }
    Ok(certificates)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, DriverError> {
    let content = read(path)?;
    PrivateKeyDer::from_pem_slice(&content).map_err(|_| {
        let text = String::from_utf8_lossy(&content);
        let encrypted = text.contains("ENCRYPTED");
        wrong(path, if encrypted { "private key is encrypted" } else { "no valid private key found" })
    })
}

/// Trusts whoever answers, as it was told to; that the server has the key of what it shows is still checked.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

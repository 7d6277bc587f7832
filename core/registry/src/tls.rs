//! Trust in servers: the system's certificates, read when the first server is to be verified.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_platform_verifier::Verifier;

use crate::error::RegistryError;

/// Verifies servers by the system's certificates and some more. Reading those of a Linux system takes about 10 ms,
/// which a client that never speaks TLS does not spend.
pub(crate) struct SystemTrust {
    provider: Arc<CryptoProvider>,
    extra: Vec<CertificateDer<'static>>,
    verifier: OnceLock<Result<Verifier, rustls::Error>>,
}

impl fmt::Debug for SystemTrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SystemTrust").field("extra", &self.extra.len()).finish_non_exhaustive()
    }
}

impl SystemTrust {
    /// Trust in the system's authorities and in those given in PEM.
    pub(crate) fn new(extra_ca: &[Vec<u8>]) -> Result<Arc<Self>, RegistryError> {
        let mut extra = Vec::new();
        for pem in extra_ca {
            let before = extra.len();
            for certificate in CertificateDer::pem_slice_iter(pem) {
                extra.push(certificate.map_err(|error| invalid(&error.to_string()))?);
            }
            if extra.len() == before {
                return Err(invalid("no certificate in it"));
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        Ok(Arc::new(Self { provider, extra, verifier: OnceLock::new() }))
    }

    /// TLS as reqwest takes it.
    pub(crate) fn client_config(self: &Arc<Self>) -> Result<ClientConfig, RegistryError> {
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| RegistryError::Configuration { reason: error.to_string() })?;
        let verifier: Arc<dyn ServerCertVerifier> = Arc::clone(self) as _;
        let mut config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }

    /// Reads the certificates unless that was done. Blocks on files.
    pub(crate) fn load(&self) -> Result<&Verifier, rustls::Error> {
        let load = || Verifier::new_with_extra_roots(self.extra.clone(), Arc::clone(&self.provider));
        self.verifier.get_or_init(load).as_ref().map_err(Clone::clone)
    }

    pub(crate) fn is_loaded(&self) -> bool {
        self.verifier.get().is_some()
    }
}

fn invalid(reason: &str) -> RegistryError {
    RegistryError::Configuration { reason: format!("cannot read a certificate of an authority: {reason}") }
}

impl ServerCertVerifier for SystemTrust {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.load()?.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

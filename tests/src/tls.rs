//! TLS before a Unix socket.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use tokio::net::{TcpListener, UnixStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// A relay on a free port of the loopback interface: what comes over TLS, from a client whose certificate it knows, goes
/// on to a Unix socket in clear. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct TlsRelay {
    directory: tempfile::TempDir,
    address: String,
    _runtime: Runtime,
}

impl TlsRelay {
    /// Starts one before a socket, with an authority and certificates of its own.
    pub(crate) fn start(socket: &Path) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        certify(directory.path());
        let config = Arc::new(configuration(directory.path()));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_io()
            .build()
            .expect("a runtime can be made");
        let listener = runtime
            .block_on(TcpListener::bind("127.0.0.1:0"))
            .expect("a port of the loopback interface is free");
        let address = listener.local_addr().expect("a bound socket has an address").to_string();
        let (acceptor, socket) = (TlsAcceptor::from(config), socket.to_owned());
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, socket) = (acceptor.clone(), socket.clone());
                tokio::spawn(async move {
                    let mut stream = acceptor.accept(stream).await?;
                    let mut upstream = UnixStream::connect(socket).await?;
                    tokio::io::copy_bidirectional(&mut stream, &mut upstream).await?;
                    io::Result::Ok(())
                });
            }
        });
        Self { directory, address, _runtime: runtime }
    }

    /// Where it listens: `127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// A file for clients: `ca.pem`, `client.pem`, `client.key`.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

fn configuration(directory: &Path) -> ServerConfig {
    let certificate =
        |name| CertificateDer::from_pem_file(directory.join(name)).expect("a certificate was made");
    let key = PrivateKeyDer::from_pem_file(directory.join("server.key")).expect("a key was made");
    let mut authorities = RootCertStore::empty();
    authorities.add(certificate("ca.pem")).expect("an authority was made");
    let verifier =
        WebPkiClientVerifier::builder(Arc::new(authorities)).build().expect("there is an authority");
    let mut config = ServerConfig::builder()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate("server.pem")], key)
        .expect("the key is the certificate's");
    // gRPC is HTTP/2, and its clients ask that this is agreed on.
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

/// Makes an authority, and certificates of a server and of a client that it has signed.
fn certify(directory: &Path) {
    const SCRIPT: &str = "
        key='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
        openssl req -x509 $key -days 30 -subj /CN=authority -keyout ca.key -out ca.pem
        for name in server client; do
            openssl req $key -subj /CN=$name -keyout $name.key -out $name.csr
            printf 'subjectAltName=IP:127.0.0.1\nbasicConstraints=critical,CA:FALSE\n' >$name.ext
            openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 \
                -extfile $name.ext -out $name.pem
        done";
    let output = Command::new("sh")
        .args(["-euc", SCRIPT])
        .current_dir(directory)
        .output()
        .expect("openssl can be run (`cargo xtask setup` installs it)");
    assert!(output.status.success(), "no certificates: {}", String::from_utf8_lossy(&output.stderr));
}

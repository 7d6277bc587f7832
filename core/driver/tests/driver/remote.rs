//! Daemons at addresses: the `BuildKit` of a real Engine behind sockets that are gRPC from the first byte on.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use rbx_driver::docker::{Endpoint, Engine};
use rbx_driver::{Driver, DriverKind, NodeSettings, Status, Surroundings, open};
use rbx_request::{Event, events};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;

use crate::connections::Certificates;
use crate::dockerd::Dockerd;

fn node(address: &str, options: &[(&str, String)]) -> Arc<dyn Driver> {
    let options = options.iter().map(|(key, value)| ((*key).to_owned(), value.clone()));
    let node = NodeSettings {
        name: "far0".to_owned(),
        address: address.to_owned(),
        engine: Endpoint::at(address),
        platforms: Vec::new(),
        options: options.collect(),
        flags: Vec::new(),
        files: BTreeMap::new(),
    };
    let surroundings = Surroundings { patience: Duration::from_millis(600), ..Surroundings::default() };
    open(DriverKind::Remote, &node, &surroundings).unwrap()
}

/// Passes one connection on to the `BuildKit` of an Engine.
async fn pass(mut near: impl AsyncRead + AsyncWrite + Unpin, engine: &Engine) {
    let mut far = engine.dial().dial().await.unwrap();
    let _ = copy_bidirectional(&mut near, &mut far).await;
}

/// What is said of a node that cannot be booted, with its hint, and that it is shown.
async fn refusal(node: &dyn Driver) -> String {
    assert_eq!(node.details().await.unwrap().status, Status::Inactive);
    let (sender, mut receiver) = events();
    let error = node.boot(&sender).await.unwrap_err();
    drop(sender);
    let mut shown = Vec::new();
    let mut batch = Vec::new();
    while receiver.recv_many(&mut batch, 16).await > 0 {}
    for event in batch {
        if let Event::Vertex(vertex) = event {
            assert_eq!(vertex.name, "[internal] waiting for connection");
            shown.push(vertex.error);
        }
    }
    assert!(shown.len() == 2 && shown[1].is_some(), "{shown:?}");
    format!("{error}\n{}", error.hint().unwrap_or_default())
}

#[tokio::test]
async fn at_a_socket() {
    let Some(dockerd) = Dockerd::start("{}", &[]).await else { return };
    let engine = Engine::connect(&dockerd.endpoint).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let address = format!("unix://{}", folder.path().join("far.sock").display());
    let far = node(&address, &[("default-load", "true".to_owned())]);
    let refused = refusal(far.as_ref()).await;
    assert!(refused.contains("No such file or directory") && refused.contains(&address), "{refused}");

    // It comes while it is waited for.
    let listener = UnixListener::bind(folder.path().join("far.sock")).unwrap();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let engine = engine.clone();
            tokio::spawn(async move { pass(near, &engine).await });
        }
    });
    let (sender, _receiver) = events();
    far.boot(&sender).await.unwrap();
    let details = far.details().await.unwrap();
    assert_eq!((details.status, details.error), (Status::Running, None));
    assert!(details.platforms.iter().any(|platform| platform.os == "linux"), "{:?}", details.platforms);
    assert!(!details.version.is_empty() && details.ids.len() == 1 && !details.gc_policies.is_empty());
    assert!(details.features.default_load && details.features.multi_platform);

    // The same daemon in its Engine, which keeps images in its graph driver.
    let docker = NodeSettings {
        name: "default".to_owned(),
        address: "default".to_owned(),
        engine: dockerd.endpoint.clone(),
        platforms: Vec::new(),
        options: BTreeMap::new(),
        flags: Vec::new(),
        files: BTreeMap::new(),
    };
    let docker = open(DriverKind::Docker, &docker, &Surroundings::default()).unwrap();
    let inside = docker.details().await.unwrap();
    assert_eq!((inside.status, inside.ids), (Status::Running, details.ids));
    assert!(inside.features.default_load && !inside.features.multi_platform);
}

/// Listens with TLS, for clients of our authority only if `asks`.
async fn listen(certificates: &Certificates, asks: bool, engine: Engine) -> String {
    let certificate = |name: &str| CertificateDer::from_pem_file(certificates.path(name)).unwrap();
    let key = PrivateKeyDer::from_pem_file(certificates.path("server-key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let config = config.with_safe_default_protocol_versions().unwrap();
    let config = if asks {
        let mut roots = RootCertStore::empty();
        roots.add(certificate("ca.pem")).unwrap();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        config.with_client_cert_verifier(verifier)
    } else {
        config.with_no_client_auth()
    };
    let config = config.with_single_cert(vec![certificate("server.pem")], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let (acceptor, engine) = (acceptor.clone(), engine.clone());
            tokio::spawn(async move {
                if let Ok(near) = acceptor.accept(near).await {
                    pass(near, &engine).await;
                }
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_tls() {
    let Some(dockerd) = Dockerd::start("{}", &[]).await else { return };
    let engine = Engine::connect(&dockerd.endpoint).unwrap();
    let certificates = Certificates::new();
    let open = listen(&certificates, false, engine.clone()).await;
    let closed = listen(&certificates, true, engine).await;
    let option = |key: &'static str, file: &str| (key, certificates.path(file).display().to_string());
    let ca = option("cacert", "ca.pem");
    let own = [ca.clone(), option("cert", "client.pem"), option("key", "client-key.pem")];

    assert_eq!(node(&open, std::slice::from_ref(&ca)).status().await.unwrap(), Status::Running);
    assert_eq!(node(&closed, &own).status().await.unwrap(), Status::Running);

    let refused = refusal(node(&open, &[option("cacert", "other-ca.pem")]).as_ref()).await;
    assert!(refused.contains("UnknownIssuer") && refused.contains("check ca.pem"), "{refused}");
    let name = ("servername", "elsewhere.test".to_owned());
    let refused = refusal(node(&open, &[ca.clone(), name]).as_ref()).await;
    assert!(refused.contains("for another name"), "{refused}");
    let refused = refusal(node(&closed, std::slice::from_ref(&ca)).as_ref()).await;
    assert!(refused.contains("check your TLS client certification settings"), "{refused}");
    let refused = refusal(node(&open, &[("cacert", "/nowhere/ca.pem".to_owned())]).as_ref()).await;
    assert!(refused.starts_with("No such file or directory (os error 2): /nowhere/ca.pem\n"), "{refused}");
    // Without TLS.
    let refused = refusal(node(&open, &[]).as_ref()).await;
    assert!(refused.contains("lost the connection to the builder"), "{refused}");
}

#[tokio::test]
async fn those_that_are_no_daemons() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let _ = near.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let refused = refusal(node(&address, &[]).as_ref()).await;
    assert!(refused.contains("lost the connection to the builder"), "{refused}");

    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tcp://{}", silent.local_addr().unwrap());
    tokio::spawn(async move {
        let _silent = silent;
        pending::<()>().await;
    });
    let (sender, _receiver) = events();
    let mute = node(&address, &[]);
    let booted = tokio::time::timeout(Duration::from_secs(15), mute.boot(&sender)).await.unwrap();
    assert!(booted.unwrap_err().to_string().contains("no answer within"), "{address}");

    for address in ["npipe:////./pipe/x", "docker-container://x", "kube-pod://x"] {
        let refused = refusal(node(address, &[]).as_ref()).await;
        assert_eq!(
            refused.trim_end(),
            format!("no way to reach a builder by this kind of address yet: {address}")
        );
    }
}

//! BuildKit's own socket, for the BuildKit of an Engine.

use std::io;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Runtime;

/// What asks an Engine for its BuildKit.
const UPGRADE: &[u8] =
    b"POST /grpc HTTP/1.1\r\nHost: engine\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n";

/// A Unix socket where an Engine's BuildKit answers as BuildKit's own daemon does: gRPC from the first byte on. When
/// the Engine ends a connection, or is killed, the one to the client ends, too. Dropping this ends it.
#[derive(Debug)]
pub(crate) struct BuildKitSocket {
    _directory: tempfile::TempDir,
    path: PathBuf,
    _runtime: Runtime,
}

impl BuildKitSocket {
    /// Starts one before an Engine's socket.
    pub(crate) fn start(engine: &Path) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("buildkit.sock");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_io()
            .build()
            .expect("a runtime can be made");
        let listener = {
            let _entered = runtime.enter();
            UnixListener::bind(&path).expect("a socket can be made")
        };
        let engine = engine.to_owned();
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let engine = engine.clone();
                // A client sees a connection that ends, as where a daemon is gone.
                tokio::spawn(async move { pass(client, &engine).await });
            }
        });
        Self { _directory: directory, path, _runtime: runtime }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

async fn pass(mut client: UnixStream, engine: &Path) -> io::Result<()> {
    let mut upstream = UnixStream::connect(engine).await?;
    upstream.write_all(UPGRADE).await?;
    let mut answer = Vec::new();
    // One by one: what comes next is for the client.
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(upstream.read_u8().await?);
    }
    if !answer.starts_with(b"HTTP/1.1 101 ") {
        return Err(io::Error::other(String::from_utf8_lossy(&answer).into_owned()));
    }
    let ((mut from_client, mut to_client), (mut from_engine, mut to_engine)) =
        (client.split(), upstream.split());
    tokio::select! {
        ended = tokio::io::copy(&mut from_client, &mut to_engine) => ended,
        ended = tokio::io::copy(&mut from_engine, &mut to_client) => ended,
    }
    .map(drop)
}

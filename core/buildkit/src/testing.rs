//! A dial to a real Engine.

use std::io;
use std::path::PathBuf;

use futures::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::{Dial, Io};

/// An Engine's BuildKit, behind upgrades of HTTP/1.1.
#[derive(Debug)]
pub(crate) struct EngineDial {
    pub(crate) socket: PathBuf,
    /// Sessions have connections of their own, as an Engine wants it; else they are tunnelled.
    pub(crate) sessions: bool,
}

impl EngineDial {
    pub(crate) fn new(engine: &rbx_tests::Engine) -> Self {
        Self { socket: engine.socket(), sessions: true }
    }

    async fn upgrade(&self, path: &str, headers: &[(String, String)]) -> io::Result<Box<dyn Io>> {
        let mut stream = UnixStream::connect(&self.socket).await?;
        let mut request =
            format!("POST {path} HTTP/1.1\r\nHost: e\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n");
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        stream.write_all((request + "\r\n").as_bytes()).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        if !head.starts_with(b"HTTP/1.1 101 ") {
            return Err(io::Error::other(String::from_utf8_lossy(&head).into_owned()));
        }
        Ok(Box::new(stream))
    }
}

impl Dial for EngineDial {
    fn dial(&self) -> BoxFuture<'_, io::Result<Box<dyn Io>>> {
        Box::pin(self.upgrade("/grpc", &[]))
    }

    fn session<'a>(
        &'a self,
        headers: &'a [(String, String)],
    ) -> BoxFuture<'a, Option<io::Result<Box<dyn Io>>>> {
        Box::pin(
            async move { if self.sessions { Some(self.upgrade("/session", headers).await) } else { None } },
        )
    }
}

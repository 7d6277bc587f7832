//! A dial to a real Engine.

use std::fmt::Write;
use std::io;
use std::path::PathBuf;
use std::sync::Mutex;

use futures::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

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
        let stream = UnixStream::connect(&self.socket).await;
        let mut stream = stream.map_err(|_| io::Error::other("no such Engine"))?;
        let mut request =
            format!("POST {path} HTTP/1.1\r\nHost: e\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n");
        for (name, value) in headers {
            write!(request, "{name}: {value}\r\n").unwrap();
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

/// A dial whose connections can be cut and held.
#[derive(Debug)]
pub(crate) struct CutDial {
    dial: EngineDial,
    /// What requests go over.
    pub(crate) connections: Scissors,
    /// What sessions go over.
    pub(crate) sessions: Scissors,
}

/// Cuts connections, or holds them: nothing comes through, and they stay open.
#[derive(Debug, Default)]
pub(crate) struct Scissors {
    cut: Mutex<CancellationToken>,
    hold: CancellationToken,
}

impl Scissors {
    /// Ends the connections that there are, not those to come.
    pub(crate) fn cut(&self) {
        std::mem::take(&mut *self.cut.lock().unwrap()).cancel();
    }

    /// Holds the connections that there are, and those to come.
    pub(crate) fn hold(&self) {
        self.hold.cancel();
    }

    /// The same connection, until it is cut.
    fn until_cut(&self, mut connection: Box<dyn Io>) -> Box<dyn Io> {
        let (near, mut far) = tokio::io::duplex(64 << 10);
        let (cut, hold) = (self.cut.lock().unwrap().clone(), self.hold.clone());
        tokio::spawn(async move {
            let copying = tokio::io::copy_bidirectional(&mut connection, &mut far);
            tokio::select! {
                _ = copying => return,
                () = cut.cancelled() => return,
                () = hold.cancelled() => {}
            }
            cut.cancelled().await;
        });
        Box::new(near)
    }
}

impl CutDial {
    pub(crate) fn new(dial: EngineDial) -> Self {
        Self { dial, connections: Scissors::default(), sessions: Scissors::default() }
    }
}

impl Dial for CutDial {
    fn dial(&self) -> BoxFuture<'_, io::Result<Box<dyn Io>>> {
        Box::pin(async move { Ok(self.connections.until_cut(self.dial.dial().await?)) })
    }

    fn session<'a>(
        &'a self,
        headers: &'a [(String, String)],
    ) -> BoxFuture<'a, Option<io::Result<Box<dyn Io>>>> {
        Box::pin(async move {
            let connection = self.dial.session(headers).await?;
            Some(connection.map(|connection| self.sessions.until_cut(connection)))
        })
    }
}

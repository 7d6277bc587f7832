//! What ends a build together with the server.
//!
//! The Docker CLI opens a socket for its plugins and closes it when they are to end; so does the kernel if it is
//! killed. `docker-rbx` listens to that, and here it is the server's.

use std::convert::Infallible;

use tokio_util::sync::CancellationToken;

/// The variable by which a plugin is told the name of the socket.
const VARIABLE: &str = "DOCKER_CLI_PLUGIN_SOCKET";

/// A socket that a build hears the wish to end by.
#[cfg(target_os = "linux")]
#[derive(Debug)]
pub(crate) struct Leash {
    listener: tokio::net::UnixListener,
    name: String,
}

#[cfg(target_os = "linux")]
impl Leash {
    /// Opens a socket, whose name has `word` in it.
    pub(crate) fn new(word: &str) -> std::io::Result<Self> {
        use std::os::linux::net::SocketAddrExt as _;
        use std::os::unix::net::{SocketAddr, UnixListener};

        let name = format!("rbx_lsp_{}_{word}", std::process::id());
        let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener: tokio::net::UnixListener::from_std(listener)?, name: format!("@{name}") })
    }

    /// What the build finds in its environment.
    pub(crate) fn variable(&self) -> (&'static str, Option<&str>) {
        (VARIABLE, Some(&self.name))
    }

    /// Holds the build until `cancel`, and ends it then. Ends it also if this is dropped.
    pub(crate) async fn hold(self, cancel: CancellationToken) -> Infallible {
        // Nothing is read: whoever else connects is held, too.
        let mut held = Vec::new();
        let accepting = async {
            loop {
                match self.listener.accept().await {
                    Ok((connection, _)) if held.len() < 64 => held.push(connection),
                    _ => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
                }
            }
        };
        tokio::select! {
            () = accepting => {}
            () = cancel.cancelled() => {}
        }
        drop(held);
        // It may have been started just now.
        loop {
            if self.listener.accept().await.is_err() {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        }
    }
}

/// Where there is no such socket, a build that is to end is killed.
#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
pub(crate) struct Leash;

#[cfg(not(target_os = "linux"))]
impl Leash {
    pub(crate) fn new(_: &str) -> std::io::Result<Self> {
        Ok(Self)
    }

    pub(crate) fn variable(&self) -> (&'static str, Option<&str>) {
        (VARIABLE, None)
    }

    pub(crate) async fn hold(self, _: CancellationToken) -> Infallible {
        std::future::pending().await
    }
}

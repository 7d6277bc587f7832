//! Raw connections: bytes to an Engine or a daemon, however it is reached.

mod command;
mod tls;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use rbx_buildkit::Io;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

pub(crate) use command::{Words, ssh_to_engine};

use crate::docker::{Endpoint, TlsFiles};
use crate::error::DriverError;

/// How long it may take until a connection is there.
const CONNECT_TIME: Duration = Duration::from_secs(30);
/// How long a connection may be silent before the machine asks whether the other side is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// A way to somebody who speaks some protocol: bytes, no more.
pub trait Connect: fmt::Debug + Send + Sync + 'static {
    /// A new connection.
    fn connect(&self) -> BoxFuture<'_, io::Result<Box<dyn Io>>>;
}

/// The way to an address.
#[derive(Debug)]
pub(crate) enum Way {
    /// A Unix socket.
    Socket(PathBuf),
    /// A named pipe of Windows.
    #[cfg(windows)]
    Pipe(String),
    /// `host:port`.
    Tcp(String),
    /// `host:port`, with TLS.
    Tls { address: String, name: ServerName<'static>, tls: tls::Settings },
    /// What a program reads and writes; it lives as long as the connection.
    Program(Vec<String>, Words),
}

impl Way {
    /// The way to an Engine. Reads its certificates; connects to nothing.
    pub(crate) fn to_engine(endpoint: &Endpoint) -> Result<Self, DriverError> {
        if let Some(command) = &endpoint.command {
            return Ok(Self::Program(command.clone(), Words::Engine));
        }
        let host = &endpoint.host;
        match host.split_once("://") {
            Some(("unix", path)) => Ok(Self::Socket(path.into())),
            #[cfg(windows)]
            Some(("npipe", path)) => Ok(Self::Pipe(path.replace('/', "\\"))),
            Some(("tcp", address)) => {
                // What follows the address is for HTTP proxies, and no Engine asks for it.
                let address = address.split('/').next().unwrap_or_default();
                match &endpoint.tls {
                    None => Ok(Self::Tcp(address.to_owned())),
                    Some(files) => Self::tls(address, None, files, &[]),
                }
            }
            Some(("ssh", _)) => Ok(Self::Program(endpoint.ssh_command()?, Words::Engine)),
            _ => Err(DriverError::UnsupportedHost {
                host: host.clone(),
                reason: "no way to reach an Engine by this kind of address",
            }),
        }
    }

    /// The way to a daemon of `BuildKit`, without TLS.
    pub(crate) fn to_daemon(address: &str) -> Result<Self, DriverError> {
        match address.split_once("://") {
            Some(("unix", path)) => Ok(Self::Socket(path.into())),
            Some(("tcp", address)) => Ok(Self::Tcp(address.split('/').next().unwrap_or_default().to_owned())),
            Some(("ssh", _)) => Ok(Self::Program(command::ssh_to_daemon(address)?, Words::Daemon)),
            _ => Err(DriverError::UnsupportedHost {
                host: address.to_owned(),
                reason: "no way to reach a builder by this kind of address yet",
            }),
        }
    }

    /// TLS to `host:port`, where the server shows a certificate for `name`, or for the host.
    pub(crate) fn tls(
        address: &str,
        name: Option<&str>,
        files: &TlsFiles,
        protocols: &[&str],
    ) -> Result<Self, DriverError> {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let name = name.unwrap_or_else(|| host.trim_start_matches('[').trim_end_matches(']')).to_owned();
        let name = ServerName::try_from(name).map_err(|_| DriverError::InvalidHost(address.to_owned()))?;
        Ok(Self::Tls { address: address.to_owned(), name, tls: tls::Settings::read(files, protocols)? })
    }

    async fn open(&self) -> io::Result<Box<dyn Io>> {
        match self {
            #[cfg(unix)]
            Self::Socket(path) => Ok(Box::new(tokio::net::UnixStream::connect(path).await?)),
            #[cfg(not(unix))]
            Self::Socket(_) => Err(io::Error::from(io::ErrorKind::Unsupported)),
            #[cfg(windows)]
            Self::Pipe(path) => {
                Ok(Box::new(tokio::net::windows::named_pipe::ClientOptions::new().open(path)?))
            }
            Self::Tcp(address) => Ok(Box::new(tcp(address).await?)),
            Self::Tls { address, name, tls } => {
                let connector = TlsConnector::from(Arc::clone(tls.config()));
                Ok(Box::new(connector.connect(name.clone(), tcp(address).await?).await?))
            }
            Self::Program(command, words) => Ok(Box::new(command::start(command, *words)?)),
        }
    }
}

impl Connect for Way {
    fn connect(&self) -> BoxFuture<'_, io::Result<Box<dyn Io>>> {
        Box::pin(within(CONNECT_TIME, self.open()))
    }
}

/// What is done within a time; else that nobody answered.
pub(crate) async fn within<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = || io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", limit.as_secs()));
    timeout(limit, work).await.unwrap_or_else(|_| Err(late()))
}

async fn tcp(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    // A step that says nothing for hours is no reason for a gateway in between to forget the connection.
    #[cfg(unix)]
    {
        rustix::net::sockopt::set_socket_keepalive(&stream, true)?;
        #[cfg(target_os = "linux")]
        {
            rustix::net::sockopt::set_tcp_keepidle(&stream, KEEP_ALIVE)?;
            rustix::net::sockopt::set_tcp_keepintvl(&stream, KEEP_ALIVE)?;
        }
    }
    Ok(stream)
}

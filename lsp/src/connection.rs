//! How a client is reached, and how a command line says so.

use std::io;
use std::path::PathBuf;

use tokio::net::{TcpListener, TcpStream};

/// What a command line asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// How the client is reached.
    pub connection: Connection,
    /// The client's process, with which the server ends.
    pub client_process: Option<u32>,
}

/// How the one client of a server is reached. The server ends with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Connection {
    /// By standard input and output.
    #[default]
    Stdio,
    /// By a port of this machine, at which the client listens.
    Socket(u16),
    /// By a Unix socket, at which the client listens.
    Pipe(PathBuf),
    /// By an address, `host:port` or a port of this machine, at which the server listens until the first client comes.
    Listen(String),
}

/// What `--help` says.
const HELP: &str = "\
Usage: rbx-lsp [OPTIONS]

The language server for Dockerfiles. It serves one client and ends with it.

Options:
      --stdio                  Speak over standard input and output, which is
                               what it does if nothing else is said
      --socket PORT            Connect to a port of this machine, at which the
                               editor listens
      --pipe PATH              Connect to a Unix socket, at which the editor
                               listens
      --listen [HOST:]PORT     Listen, and serve the first who connects; only
                               this machine can, unless HOST says otherwise.
                               With port 0 standard error has the address
      --clientProcessId PID    End when this process ends
      --help                   Show this
      --version                Show the version
";

impl Options {
    /// Reads the words of a command line. The error is what is to be printed, and whether it is what was asked for.
    pub fn read(words: impl IntoIterator<Item = String>) -> Result<Self, (String, bool)> {
        let mut options = Self::default();
        let mut words = words.into_iter();
        let wrong = |reason: String| (format!("ERROR: {reason}\n\nRun 'rbx-lsp --help'\n"), false);
        while let Some(word) = words.next() {
            let (flag, value) = match word.split_once('=') {
                Some((flag, value)) => (flag.to_owned(), Some(value.to_owned())),
                None => (word, None),
            };
            let mut value = || {
                let value = value.clone().or_else(|| words.next());
                value.ok_or_else(|| wrong(format!("flag needs an argument: {flag}")))
            };
            match flag.as_str() {
                "--help" | "-h" => return Err((HELP.to_owned(), true)),
                "--version" => {
                    let version = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"), "\n");
                    return Err((version.to_owned(), true));
                }
                "--stdio" => options.connection = Connection::Stdio,
                "--socket" => {
                    let port = value()?;
                    let port = port.parse().map_err(|_| wrong(format!("no port: {port:?}")))?;
                    options.connection = Connection::Socket(port);
                }
                "--pipe" => options.connection = Connection::Pipe(value()?.into()),
                "--listen" => options.connection = Connection::Listen(value()?),
                "--clientProcessId" => {
                    let id = value()?;
                    let id = id.parse().map_err(|_| wrong(format!("no process: {id:?}")))?;
                    options.client_process = Some(id);
                }
                _ => return Err(wrong(format!("unknown flag: {flag}"))),
            }
        }
        Ok(options)
    }
}

/// Connects to a port of this machine.
pub(crate) async fn connect(port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Listens at an address until the first client comes; tells `bound` at which.
pub(crate) async fn accept(address: &str, bound: impl FnOnce(&str)) -> io::Result<TcpStream> {
    let listener = match address.parse::<u16>() {
        Ok(port) => TcpListener::bind(("127.0.0.1", port)).await?,
        Err(_) => TcpListener::bind(address).await?,
    };
    bound(&listener.local_addr()?.to_string());
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Options, (String, bool)> {
        Options::read(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn flags_are_those_of_editors_clients() {
        let options = |connection, client_process| Ok(Options { connection, client_process });
        assert_eq!(read(""), options(Connection::Stdio, None));
        assert_eq!(read("--stdio --clientProcessId=7"), options(Connection::Stdio, Some(7)));
        assert_eq!(read("--socket=80"), options(Connection::Socket(80), None));
        assert_eq!(read("--socket 80"), options(Connection::Socket(80), None));
        assert_eq!(read("--pipe=/run/x=y"), options(Connection::Pipe("/run/x=y".into()), None));
        assert_eq!(read("--listen 0.0.0.0:1"), options(Connection::Listen("0.0.0.0:1".into()), None));
        assert!(read("--help").unwrap_err().1 && read("--version").unwrap_err().1);
        for wrong in ["--socket", "--socket=x", "--socket=70000", "--nothing", "x", "--clientProcessId=-1"] {
            let (said, was_asked) = read(wrong).unwrap_err();
            assert!(said.starts_with("ERROR: ") && !was_asked, "{wrong}: {said}");
        }
    }
}

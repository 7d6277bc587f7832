//! SSH agents for steps (`--ssh`): the user's own, of which steps see only what lists and signs, and one in memory for
//! keys that were given as files. The protocol is that of OpenSSH's `ssh-agent`
//! (draft-ietf-sshm-ssh-agent).
//!
//! ```no_run
//! # async fn example(step: tokio::net::UnixStream) -> Result<(), Box<dyn std::error::Error>> {
//! let forward = rbx_request::SshForward { id: "default".to_owned(), paths: vec!["/tmp/agent".into()] };
//! rbx_ssh::Agent::open(&forward)?.serve(step).await?;
//! # Ok(()) }
//! ```

mod keys;

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rbx_request::SshForward;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;

pub use self::keys::{KeyError, PrivateKey};

/// What an agent answers to what it will not do.
const FAILURE: u8 = 5;
/// What steps may ask for, and the answers.
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;
/// Bytes of a message, at most, as in OpenSSH.
const LONGEST: usize = 256 << 10;
/// Time in which the user's agent must take a connection.
const CONNECT: Duration = Duration::from_secs(2);

/// An agent that steps can be given.
#[derive(Debug)]
pub enum Agent {
    /// One that listens at this socket.
    Socket(PathBuf),
    /// These keys.
    Keys(Arc<Vec<PrivateKey>>),
}

/// Why what `--ssh` names cannot be used, in buildx's words.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// There is nothing at the path.
    #[error("stat {path}: {reason}", path = path.display())]
    Stat {
        /// What was named.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The file cannot be read.
    #[error("failed to read {path}: {reason}", path = path.display())]
    Read {
        /// What was named.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The file is no private key, or none that can be used.
    #[error("failed to parse {path}: ssh: {source}", path = path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: KeyError,
    },
    /// More was named after a socket.
    #[error("only single socket allowed: --ssh {0}")]
    Several(String),
    /// Two agents of one id.
    #[error("duplicate agent ID {0:?}")]
    Duplicate(String),
    /// Keys and a socket.
    #[error("invalid combination of keys and sockets: --ssh {0}")]
    Mixed(String),
}

impl AgentError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Key { path, source } => Some(source.hint(path)),
            _ => None,
        }
    }
}

impl Agent {
    /// Opens every agent of a build, by id. Blocks on files.
    pub fn open_all(forwards: &[SshForward]) -> Result<BTreeMap<String, Arc<Self>>, AgentError> {
        let mut agents = BTreeMap::new();
        for forward in forwards {
            if agents.insert(forward.id.clone(), Arc::new(Self::open(forward)?)).is_some() {
                return Err(AgentError::Duplicate(forward.id.clone()));
            }
        }
        Ok(agents)
    }

    /// Finds out what one `--ssh` names, and reads keys. Blocks on files.
    pub fn open(forward: &SshForward) -> Result<Self, AgentError> {
        let mut socket = None;
        let mut keys = Vec::new();
        for path in &forward.paths {
            if socket.is_some() {
                let paths: Vec<_> = forward.paths.iter().map(|path| path.to_string_lossy()).collect();
                return Err(AgentError::Several(format!("{}={}", forward.id, paths.join(","))));
            }
            let metadata = std::fs::metadata(path).map_err(|error| AgentError::Stat {
                path: path.clone(),
                reason: rbx_request::reason(&error),
            })?;
            if metadata.file_type().is_socket() {
                socket = Some(path.clone());
                continue;
            }
            let text = keys::read(path).map_err(|error| AgentError::Read {
                path: path.clone(),
                reason: rbx_request::reason(&error),
            })?;
            let key =
                PrivateKey::parse(&text).map_err(|source| AgentError::Key { path: path.clone(), source })?;
            keys.push(key);
        }
        match socket {
            Some(_) if !keys.is_empty() => Err(AgentError::Mixed(forward.id.clone())),
            Some(socket) => Ok(Self::Socket(socket)),
            None => Ok(Self::Keys(Arc::new(keys))),
        }
    }

    /// Answers a connection until it ends. What is no message ends it, too.
    pub async fn serve(&self, mut client: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
        let mut agent = match self {
            Self::Socket(path) => Some(connect(path).await?),
            Self::Keys(_) => None,
        };
        while let Some(request) = receive(&mut client).await? {
            let answer = match (request.first(), self, &mut agent) {
                (Some(&(REQUEST_IDENTITIES | SIGN_REQUEST)), _, Some(agent)) => {
                    send(agent, &request).await?;
                    receive(agent).await?.ok_or(io::ErrorKind::UnexpectedEof)?
                }
                (Some(&REQUEST_IDENTITIES), Self::Keys(keys), _) => identities(keys),
                (Some(&SIGN_REQUEST), Self::Keys(keys), _) => {
                    let keys = keys.clone();
                    // A signature takes milliseconds.
                    let signed = tokio::task::spawn_blocking(move || sign(&keys, &request[1..])).await?;
                    signed.unwrap_or_else(|| vec![FAILURE])
                }
                _ => vec![FAILURE],
            };
            send(&mut client, &answer).await?;
        }
        Ok(())
    }
}

async fn connect(path: &Path) -> io::Result<UnixStream> {
    tokio::time::timeout(CONNECT, UnixStream::connect(path)).await?
}

/// The next message without its length; `None` at the end.
async fn receive(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let length = match from.read_u32().await {
        Ok(length) => length as usize,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    if length > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message is too long"));
    }
    // Only as much memory as arrives.
    let mut message = Vec::new();
    from.take(length as u64).read_to_end(&mut message).await?;
    if message.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(message))
}

async fn send(to: &mut (impl AsyncWrite + Unpin), message: &[u8]) -> io::Result<()> {
    let mut framed = Vec::with_capacity(message.len() + 4);
    put_string(&mut framed, message);
    to.write_all(&framed).await
}

fn identities(keys: &[PrivateKey]) -> Vec<u8> {
    let mut answer = vec![IDENTITIES_ANSWER];
    put_number(&mut answer, keys.len());
    for key in keys {
        put_string(&mut answer, key.public());
        // A comment: buildx has none, and the file's says who the user is.
        put_string(&mut answer, b"");
    }
    answer
}

/// Signs what a request asks for; `None` if it is no request, or of a key that is not there.
fn sign(keys: &[PrivateKey], mut request: &[u8]) -> Option<Vec<u8>> {
    let public = take_string(&mut request)?;
    let data = take_string(&mut request)?;
    let flags = u32::from_be_bytes(*request.first_chunk()?);
    let key = keys.iter().find(|key| key.public() == public)?;
    let mut answer = vec![SIGN_RESPONSE];
    put_string(&mut answer, &key.sign(data, flags)?);
    Some(answer)
}

fn take_string<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = from.split_first_chunk()?;
    let (text, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    *from = rest;
    Some(text)
}

/// Adds a length and as many bytes. What is longer than 4 GiB is not made here.
fn put_string(to: &mut Vec<u8>, text: &[u8]) {
    put_number(to, text.len());
    to.extend_from_slice(text);
}

fn put_number(to: &mut Vec<u8>, number: usize) {
    to.extend_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes());
}

#[cfg(test)]
mod tests;

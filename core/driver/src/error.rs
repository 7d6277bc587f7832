//! What can go wrong with a driver.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use rustls::{AlertDescription, CertificateError};

use crate::kind::DriverKind;

/// Why a driver could not do what was asked. The wording is that of docker's CLI where it has one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DriverError {
    /// `--host` and `--context` both name an endpoint.
    #[error("conflicting options: cannot specify both --host and --context")]
    Conflict,
    /// There is no such context.
    #[error("context {name:?}: context not found: {path}", path = path.display())]
    ContextNotFound {
        /// The context.
        name: String,
        /// The file that should describe it.
        path: PathBuf,
    },
    /// A file of docker's configuration cannot be read, or is not what it should be.
    #[error("{reason}: {path}", path = path.display())]
    Configuration {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The context has no Docker endpoint.
    #[error("cannot find docker endpoint in context {0:?}")]
    NoEndpoint(String),
    /// Not the address of an Engine.
    #[error("invalid bind address format: {0}")]
    InvalidHost(String),
    /// The address of an Engine, in a way that this program cannot go.
    #[error("{reason}: {host}")]
    UnsupportedHost {
        /// The address.
        host: String,
        /// What is not supported.
        reason: &'static str,
    },
    /// Nobody answers.
    #[error("Cannot connect to the Docker daemon at {host}. Is the docker daemon running?")]
    Unavailable {
        /// The address.
        host: String,
        /// The cause.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The socket is not this user's.
    #[error("permission denied while trying to connect to the Docker daemon socket at {host}")]
    PermissionDenied {
        /// The address.
        host: String,
        /// The cause.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A connection was there, and came to nothing before the first answer.
    #[error("error during connect: {cause}: {host}")]
    Connect {
        /// The address.
        host: String,
        /// Why, in words.
        cause: String,
        /// What can be done about it.
        hint: Option<&'static str>,
        /// The cause.
        source: Box<dyn Error + Send + Sync>,
    },
    /// What answers has no `BuildKit`: an Engine of before its time, or something else that speaks an Engine's API.
    #[error("BuildKit not supported by daemon: {cause}: {host}")]
    NoBuildKit {
        /// The address.
        host: String,
        /// What it answered.
        cause: String,
    },
    /// No daemon of `BuildKit` can be reached at an address.
    #[error("cannot connect to the builder: {cause}: {host}")]
    Unreachable {
        /// The address.
        host: String,
        /// Why, in words.
        cause: String,
        /// What can be done about it.
        hint: Option<&'static str>,
        /// The cause.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A daemon of `BuildKit` answered that it cannot, or the connection to it was lost.
    #[error("{message}")]
    BuildKit {
        /// What it said, or what happened.
        message: String,
        /// There was no answer.
        lost: bool,
    },
    /// A node cannot be as it was described; the message says why, in buildx's words.
    #[error("{0}")]
    Refused(String),
    /// This program does not have the driver yet.
    #[error("the {0} driver cannot be used yet")]
    NotThere(DriverKind),
    /// The image of a builder is not there and cannot be brought there.
    #[error("{reason}: image {image}")]
    NoImage {
        /// Its name.
        image: String,
        /// Why, in the Engine's words.
        reason: String,
    },
    /// The image of a builder has neither of the daemons that build.
    #[error("the image has neither buildkitd nor dockerd: {0}")]
    NoDaemon(String),
    /// Settings of `BuildKit` that an Engine has not.
    #[error("an Engine in a container has nothing for: {0}: buildkitd.toml or flags of the builder")]
    NotForEngines(String),
    /// The container of a builder does not start, or ends at once.
    #[error("{}", [std::slice::from_ref(reason), log.as_slice()].concat().join("\n  "))]
    NotStarted {
        /// Why, in one line.
        reason: String,
        /// The end of the container's log.
        log: Vec<String>,
    },
    /// Platforms cannot be made runnable.
    #[error("{reason}: {platforms} cannot be run")]
    Emulation {
        /// Which, as a list.
        platforms: String,
        /// Why.
        reason: String,
    },
    /// TLS cannot be had on this machine.
    #[error("cannot set up TLS: {0}")]
    Tls(String),
    /// The Engine answered that it cannot.
    #[error("{message}: Docker daemon at {host}")]
    Engine {
        /// The address.
        host: String,
        /// What it said.
        message: String,
    },
    /// The archive to load could not be read or sent to its end.
    #[error("cannot load the image: {cause}: Docker daemon at {host}")]
    Load {
        /// The address.
        host: String,
        /// Why, in words.
        cause: String,
        /// The cause.
        source: Box<dyn Error + Send + Sync>,
    },
}

impl DriverError {
    /// What can be done about it, if that is known.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Connect { hint, .. } | Self::Unreachable { hint, .. } => *hint,
            Self::PermissionDenied { .. } => {
                Some("add yourself to the group that owns the socket, or use sudo")
            }
            Self::NoImage { .. } | Self::NoDaemon(_) => Some(
                "choose another image with `--driver-opt image=`: one of BuildKit (moby/buildkit), or one with an \
                 Engine of its own (docker:dind), that the Engine has or can pull",
            ),
            Self::NoBuildKit { .. } => Some(
                "Docker Engine has it from 18.09 on, and Podman has none: `docker rbx create --driver docker-container` \
                 makes a builder with it there, and `--builder embedded` builds without",
            ),
            Self::NotForEngines(_) => {
                Some("leave it out, or choose an image of BuildKit with `--driver-opt image=moby/buildkit`")
            }
            Self::Emulation { .. } => Some(
                "install QEMU on this machine (sudo apt-get install qemu-user-static), or choose an image that has \
                 it with `--driver-opt qemu.image=`; `--driver-opt qemu.install=false` leaves it alone",
            ),
            _ => None,
        }
    }

    /// The reason in one line.
    pub fn reason(&self) -> String {
        match self {
            Self::NotStarted { reason, .. } => reason.clone(),
            Self::Engine { message, .. } => message.clone(),
            _ => self.to_string(),
        }
    }

    /// Whether it may be otherwise in a moment, without anybody doing anything.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { hint, source, .. } => {
                let kind = root_cause(source.as_ref()).downcast_ref::<io::Error>().map(io::Error::kind);
                hint.is_none() && kind != Some(io::ErrorKind::PermissionDenied)
            }
            Self::BuildKit { lost, .. } => *lost,
            _ => false,
        }
    }

    /// Why a connection to a daemon did not come about.
    pub(crate) fn daemon_connection(host: &str, source: io::Error) -> Self {
        let root = root_cause(&source);
        let (cause, hint) = (root.to_string(), root.downcast_ref().and_then(tls_hint));
        let denied = Some("add yourself to the group that owns the socket, or use sudo");
        let hint = hint.or(denied.filter(|_| source.kind() == io::ErrorKind::PermissionDenied));
        Self::Unreachable { host: host.to_owned(), cause, hint, source: Box::new(source) }
    }

    /// What a daemon answered, or that it is lost, after words about what was asked.
    pub(crate) fn from_daemon(about: &str, error: &rbx_buildkit::Error) -> Self {
        let message = format!("{about}{error}");
        Self::BuildKit { message, lost: !matches!(error.kind(), rbx_buildkit::ErrorKind::Answer(_)) }
    }

    /// Why a connection to an Engine did not come about.
    pub(crate) fn connection(host: &str, source: Box<dyn Error + Send + Sync>) -> Self {
        let host = host.to_owned();
        let root = root_cause(source.as_ref());
        let Some(cause) = root.downcast_ref::<io::Error>() else {
            let (cause, hint) = (root.to_string(), None);
            return Self::Connect { host, cause, hint, source };
        };
        match cause.kind() {
            io::ErrorKind::PermissionDenied => Self::PermissionDenied { host, source },
            io::ErrorKind::NotFound
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::TimedOut
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable => Self::Unavailable { host, source },
            _ => {
                let (cause, hint) = (cause.to_string(), tls_hint(cause));
                Self::Connect { host, cause, hint, source }
            }
        }
    }
}

/// What is said where a server may want to know its client.
pub(crate) const CLIENT_CERTIFICATE: &str = "the server probably has client authentication (--tlsverify) enabled; check your TLS \
                                  client certification settings";

/// What the other side of a TLS connection missed, or this one.
fn tls_hint(error: &io::Error) -> Option<&'static str> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::HandshakeFailure,
        ) => Some(CLIENT_CERTIFICATE),
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            Some("the server's certificate is by no authority that is trusted: check ca.pem")
        }
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => Some("the server's certificate is for another name: check the address"),
        rustls::Error::InvalidMessage(_) => Some("the server may speak no TLS"),
        _ => None,
    }
}

/// The first cause of an error.
pub(crate) fn root_cause<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause
}

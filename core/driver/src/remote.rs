//! The driver `remote`: a `BuildKit` daemon at an address.

use std::future::ready;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use rbx_buildkit::{Client, Dial, Io, Worker};
use rbx_request::{EventSender, Features};
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::buildkit::{self, Details};
use crate::connection::{Connect as _, Way};
use crate::container::truth;
use crate::docker::TlsFiles;
use crate::driver::{Driver, NodeSettings, Status};
use crate::error::{CLIENT_CERTIFICATE, DriverError};
use crate::kind::DriverKind;
use crate::progress::Progress;

/// How long an answer may take until it is said that one is waited for.
const AT_ONCE: Duration = Duration::from_secs(1);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(250);
/// What is spoken inside TLS.
const PROTOCOLS: [&str; 1] = ["h2"];

/// A daemon at an address. Others start and end it.
#[derive(Debug)]
pub(crate) struct RemoteDriver {
    dial: Arc<RemoteDial>,
    /// A connection that has worked.
    client: OnceCell<Client>,
    default_load: bool,
    /// How long a daemon that is not there yet is waited for.
    patience: Duration,
}

impl RemoteDriver {
    /// The one of a node. Checks its options; connects to nothing, and reads nothing.
    pub(crate) fn new(node: &NodeSettings, patience: Duration) -> Result<Self, DriverError> {
        let refused = |reason: String| DriverError::Refused(reason);
        if !node.files.is_empty() {
            return Err(refused("setting config file is not supported for remote driver".to_owned()));
        }
        if !node.flags.is_empty() {
            return Err(refused("setting buildkit flags is not supported for remote driver".to_owned()));
        }
        let (mut files, mut server_name, mut default_load) = (TlsFiles::default(), None, false);
        let mut tls = false;
        for (key, value) in &node.options {
            let file = || {
                if !Path::new(value).is_absolute() {
                    return Err(refused(format!("non-absolute path '{value}' provided for {key}")));
                }
                Ok(Some(PathBuf::from(value)))
            };
            match key.as_str() {
                "servername" => server_name = Some(value.clone()).filter(|name| !name.is_empty()),
                "cacert" => files.ca = file()?,
                "cert" => files.cert = file()?,
                "key" => files.key = file()?,
                "default-load" => default_load = truth(value).map_err(refused)?,
                _ => return Err(refused(format!("invalid driver option {key} for remote driver"))),
            }
            tls |= key != "default-load";
        }
        let mut missing = Vec::new();
        if tls {
            missing.extend(files.ca.is_none().then_some("cacert"));
            missing.extend((files.cert.is_some() && files.key.is_none()).then_some("key"));
            missing.extend((files.key.is_some() && files.cert.is_none()).then_some("cert"));
        }
        if !missing.is_empty() {
            return Err(refused(format!("tls enabled, but missing keys {}", missing.join(", "))));
        }
        let host = node.address.split_once("://").map_or("", |(scheme, rest)| match scheme {
            "tcp" => rest.split('/').next().unwrap_or_default(),
            _ => "",
        });
        let authority = server_name.clone().unwrap_or_else(|| host.to_owned());
        let dial = RemoteDial {
            address: node.address.clone(),
            authority: Some(authority)
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| "localhost".to_owned()),
            tls: tls.then_some((files, server_name)),
        };
        Ok(Self { dial: Arc::new(dial), client: OnceCell::new(), default_load, patience })
    }

    async fn ask(&self) -> Result<Details, DriverError> {
        let client = self.client().await?;
        let asked = buildkit::ask(&client, |_| self.static_features()).await;
        if asked.is_ok() {
            // It may be there by now.
            let _ = self.client.set(client);
        }
        asked.map_err(|error| match error {
            // With TLS 1.3 a server hangs up after the connection came about, if it misses something.
            DriverError::BuildKit { message, lost: true } if self.dial.lacks_certificate() => {
                DriverError::Unreachable {
                    host: self.dial.address.clone(),
                    hint: Some(CLIENT_CERTIFICATE),
                    source: Box::new(io::Error::from(io::ErrorKind::ConnectionAborted)),
                    cause: message,
                }
            }
            error => error,
        })
    }

    fn static_features(&self) -> Features {
        Features { default_load: self.default_load, ..DriverKind::Remote.features(true) }
    }

    /// Waits until it answers.
    async fn wait(&self) -> Result<(), DriverError> {
        let end = Instant::now() + self.patience;
        loop {
            let asked = timeout_at(end, self.ask()).await;
            match asked {
                Ok(Ok(_)) => return Ok(()),
                // Time mends what is not there yet, and nothing else.
                Ok(Err(error)) if !error.may_pass() || Instant::now() + PAUSE > end => return Err(error),
                Ok(Err(_)) => sleep(PAUSE).await,
                Err(_) => {
                    let late = io::Error::from(io::ErrorKind::TimedOut);
                    return Err(DriverError::Unreachable {
                        host: self.dial.address.clone(),
                        cause: format!("no answer within {} s", self.patience.as_secs()),
                        hint: None,
                        source: Box::new(late),
                    });
                }
            }
        }
    }
}

impl Driver for RemoteDriver {
    fn kind(&self) -> DriverKind {
        DriverKind::Remote
    }

    fn dial(&self) -> Arc<dyn Dial> {
        Arc::clone(&self.dial) as _
    }

    fn client(&self) -> BoxFuture<'_, Result<Client, DriverError>> {
        Box::pin(async {
            match self.client.get() {
                Some(client) => Ok(client.clone()),
                None => buildkit::connect(Arc::clone(&self.dial) as _).await,
            }
        })
    }

    fn status(&self) -> BoxFuture<'_, Result<Status, DriverError>> {
        Box::pin(async { Ok(self.details().await?.status) })
    }

    fn details(&self) -> BoxFuture<'_, Result<Details, DriverError>> {
        Box::pin(async {
            Ok(self.ask().await.unwrap_or_else(|error| {
                tracing::debug!("{error}");
                Details::of(Status::Inactive, self.static_features())
            }))
        })
    }

    fn boot<'a>(&'a self, events: &'a EventSender) -> BoxFuture<'a, Result<(), DriverError>> {
        Box::pin(async {
            // Who is there is not talked about.
            if timeout(AT_ONCE.min(self.patience), self.ask()).await.is_ok_and(|asked| asked.is_ok()) {
                return Ok(());
            }
            let progress = Progress::start(events, "[internal] waiting for connection", &self.dial.address);
            progress.end(self.wait().await)
        })
    }

    fn features<'a>(&'a self, _: &'a [Worker]) -> BoxFuture<'a, Result<Features, DriverError>> {
        Box::pin(ready(Ok(self.static_features())))
    }
}

/// The way to a daemon.
#[derive(Debug)]
struct RemoteDial {
    address: String,
    authority: String,
    /// Certificates, and the name that the server's is for.
    tls: Option<(TlsFiles, Option<String>)>,
}

impl RemoteDial {
    fn way(&self) -> Result<Way, DriverError> {
        let tls = self.tls.as_ref().map(|(files, name)| (files, name.as_deref()));
        match (self.address.split_once("://"), tls) {
            (Some(("tcp", address)), Some((files, name))) => Way::tls(address, name, files, &PROTOCOLS),
            _ => Way::to_daemon(&self.address),
        }
    }

    /// Whether it goes by TLS and the client has nothing to show.
    fn lacks_certificate(&self) -> bool {
        self.tls.as_ref().is_some_and(|(files, _)| files.cert.is_none())
    }

    async fn open(&self) -> io::Result<Box<dyn Io>> {
        // Certificates are read each time: a daemon that is there for weeks has others by then.
        let way = self.way().map_err(io::Error::other)?;
        way.connect().await.map_err(|error| {
            io::Error::new(error.kind(), DriverError::daemon_connection(&self.address, error))
        })
    }
}

impl Dial for RemoteDial {
    fn dial(&self) -> BoxFuture<'_, io::Result<Box<dyn Io>>> {
        Box::pin(self.open())
    }

    fn authority(&self) -> String {
        self.authority.clone()
    }
}

//! The user's wish to end a build: a signal, or docker's socket.

use std::time::Duration;

use rbx_request::Cancel;
use tokio_util::sync::CancellationToken;

use crate::docker;
use crate::env::Env;
use crate::errors::CliError;

/// How long a build may take to end once it was asked to.
const PATIENCE: Duration = Duration::from_secs(5);

/// Ends what is going on: the engine's work, and what waits here.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interrupt {
    engine: Cancel,
    token: CancellationToken,
}

impl Interrupt {
    /// Listens to signals and to docker. The second signal ends the program at once.
    pub(crate) fn listen(env: &Env) -> Result<Self, CliError> {
        let interrupt = Self::default();
        let told = interrupt.clone();
        docker::watch(env, move || told.happen());
        let mut signals =
            Signals::new().map_err(|error| CliError::new(format!("{error}: failed to listen to signals")))?;
        let signalled = interrupt.clone();
        tokio::spawn(async move {
            signals.next().await;
            signalled.happen();
            signals.next().await;
            leave();
        });
        Ok(interrupt)
    }

    fn happen(&self) {
        self.token.cancel();
        self.engine.cancel();
    }

    /// What the engine asks.
    pub(crate) fn engine(&self) -> &Cancel {
        &self.engine
    }

    /// Waits until it has happened and what it ended should have ended. A disk or a pipe can hold that up.
    pub(crate) async fn overdue(&self) {
        self.token.cancelled().await;
        tokio::time::sleep(PATIENCE).await;
    }

    /// Waits for it.
    pub(crate) async fn happened(&self) {
        self.token.cancelled().await;
    }
}

#[expect(clippy::exit, reason = "the user asked twice; whatever hangs must not keep the program")]
fn leave() {
    std::process::exit(i32::from(crate::errors::INTERRUPTED));
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};

        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        let _ = tokio::signal::ctrl_c().await;
    }
}

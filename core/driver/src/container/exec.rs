//! Processes in a container.

use std::io;
use std::time::Duration;

use bollard::exec::CreateExecOptions;
use futures::future::BoxFuture;
use hyper::Request;
use hyper::header::CONTENT_TYPE;
use rbx_buildkit::Io;
use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;

use super::demux::Demuxed;
use crate::connection::Connect;
use crate::docker::{Engine, switch};
use crate::error::DriverError;

/// How long a command may take that is run for what it answers.
const COMMAND_TIME: Duration = Duration::from_mins(1);
/// How much is kept of what such a command writes, in bytes.
const OUTPUT: u64 = 64 << 10;

/// A command that is run in a container, as often as a connection is wanted: what it reads and writes.
#[derive(Debug, Clone)]
pub(super) struct Exec {
    pub(super) engine: Engine,
    pub(super) container: String,
    pub(super) command: Vec<String>,
}

impl Exec {
    pub(super) fn new(engine: &Engine, container: &str, command: &[&str]) -> Self {
        let command = command.iter().map(|word| (*word).to_owned()).collect();
        Self { engine: engine.clone(), container: container.to_owned(), command }
    }

    /// Starts it; answers what it is called, too.
    async fn start(&self) -> io::Result<(String, Demuxed)> {
        let options = CreateExecOptions {
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            cmd: Some(self.command.clone()),
            ..CreateExecOptions::default()
        };
        let created = self.engine.docker().create_exec(&self.container, options).await;
        let id = created.map_err(|error| io::Error::other(self.engine.failure(error)))?.id;
        let request = Request::post(format!("/exec/{id}/start"))
            .header(CONTENT_TYPE, "application/json")
            .body(r#"{"Detach":false,"Tty":false}"#.to_owned())
            .map_err(io::Error::other)?;
        let io = switch(self.engine.way().connect().await?, request, "tcp").await?;
        Ok((id, Demuxed::new(io)))
    }

    /// Runs it to its end. Fails with what it complains about if it fails.
    pub(super) async fn run(&self) -> Result<String, DriverError> {
        let run = async {
            let (id, mut demuxed) = self.start().await.map_err(|error| self.failed(&error.to_string()))?;
            let mut output = Vec::new();
            let read = (&mut demuxed).take(OUTPUT).read_to_end(&mut output).await;
            let complaints = demuxed.complaints();
            drop(demuxed);
            let ended = self.engine.docker().inspect_exec(&id).await;
            let ended = ended.map_err(|error| self.engine.failure(error))?;
            match (ended.exit_code, read) {
                (Some(0), _) => Ok(String::from_utf8_lossy(&output).into_owned()),
                (_, Err(error)) => Err(self.failed(&error.to_string())),
                (code, Ok(_)) if complaints.is_empty() => {
                    Err(self.failed(&format!("exit code {}", code.unwrap_or(-1))))
                }
                _ => Err(self.failed(&complaints)),
            }
        };
        timeout(COMMAND_TIME, run).await.unwrap_or_else(|_| Err(self.failed("it does not end")))
    }

    /// Runs it to its end, for its exit status alone; one that cannot be started has one, too.
    pub(super) async fn status(&self) -> Result<Option<i64>, DriverError> {
        let run = async {
            let (id, mut demuxed) = self.start().await.map_err(|error| self.failed(&error.to_string()))?;
            let mut output = Vec::new();
            // What cannot be started says so here.
            let _ = (&mut demuxed).take(OUTPUT).read_to_end(&mut output).await;
            let ended = self.engine.docker().inspect_exec(&id).await;
            Ok(ended.map_err(|error| self.engine.failure(error))?.exit_code)
        };
        timeout(COMMAND_TIME, run).await.unwrap_or_else(|_| Err(self.failed("it does not end")))
    }

    fn failed(&self, reason: &str) -> DriverError {
        let program = self.command.first().map(String::as_str).unwrap_or_default();
        DriverError::Refused(format!("{reason}: {program} in container {}", self.container))
    }

    /// Starts it, and waits until it has something to say.
    pub(super) async fn begun(&self) -> io::Result<Box<dyn Io>> {
        let (_, mut demuxed) = self.start().await?;
        demuxed.begin().await?;
        Ok(Box::new(demuxed))
    }
}

impl Connect for Exec {
    fn connect(&self) -> BoxFuture<'_, io::Result<Box<dyn Io>>> {
        Box::pin(async { Ok(Box::new(self.start().await?.1) as Box<dyn Io>) })
    }
}

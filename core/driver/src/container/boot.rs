//! Booting a node: its container is made, started, and waited for.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bollard::body_full;
use bollard::container::LogOutput;
use bollard::errors::Error as BollardError;
use bollard::query_parameters::{
    InspectContainerOptions, LogsOptionsBuilder, StartContainerOptions, UploadToContainerOptionsBuilder,
};
use futures::StreamExt as _;
use rbx_request::EventSender;
use tar::{Builder, EntryType, Header};
use tokio::time::{sleep, timeout_at};

use super::create::SETTINGS;
use super::daemon::{DAEMON_JSON, Daemon, engine_files};
use super::{ContainerDriver, image};
use crate::error::DriverError;
use crate::progress::Progress;

/// How often a daemon may end and be started again by the Engine before it counts as one that does not start.
const RESTARTS: i64 = 2;
/// How long another process may take from making a container to starting it.
const OTHERS_TIME: Duration = Duration::from_secs(5);
/// Between two looks at a daemon that starts: at first, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// How many lines of a container's log are read, and bytes of them.
const LOG: (&str, usize) = ("500", 64 << 10);
/// The configuration of BuildKit among the files of a node.
const BUILDKITD_TOML: &str = "buildkitd.toml";
/// How many lines of it are shown.
const SHOWN: usize = 12;

/// What there is of a node's container.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// It runs, or is about to be started again by the Engine.
    pub(super) running: bool,
    /// What its state was the last time it ended.
    exit_code: i64,
    error: String,
    out_of_memory: bool,
    /// How often the Engine started it again.
    restarts: i64,
    /// What runs in it.
    pub(super) daemon: Daemon,
    /// What it was made by, if this program made it.
    settings: Option<String>,
}

impl ContainerDriver {
    /// Looks at the container.
    pub(super) async fn find(&self) -> Result<Option<Found>, DriverError> {
        let found =
            self.engine.docker().inspect_container(&self.container, None::<InspectContainerOptions>).await;
        let found = match found {
            Ok(found) => found,
            Err(BollardError::DockerResponseServerError { status_code: 404, .. }) => return Ok(None),
            Err(error) => return Err(self.engine.failure(error)),
        };
        let daemon = Daemon::of_container(&found);
        let state = found.state.unwrap_or_default();
        Ok(Some(Found {
            running: state.running == Some(true) || state.restarting == Some(true),
            exit_code: state.exit_code.unwrap_or(0),
            error: state.error.unwrap_or_default(),
            out_of_memory: state.oom_killed == Some(true),
            restarts: found.restart_count.unwrap_or(0),
            daemon,
            settings: found.config.and_then(|config| config.labels?.remove(SETTINGS)),
        }))
    }

    /// Makes it run, unless it does.
    pub(super) async fn boot_now(&self, events: &EventSender) -> Result<(), DriverError> {
        let found = self.find().await?;
        if found.as_ref().is_some_and(|found| found.running) && self.dial.try_once().await.is_ok() {
            return Ok(());
        }
        let progress = Progress::start(events, "[internal] booting buildkit", &self.container);
        let result = self.boot_from(found, &progress).await;
        progress.end(result)
    }

    async fn boot_from(&self, found: Option<Found>, progress: &Progress) -> Result<(), DriverError> {
        let name = &self.container;
        let found = match found {
            // Its state is in the volume.
            Some(found) if !found.running && self.is_outdated(&found) => {
                let remove = self.engine.remove_container(name);
                progress
                    .step(&format!("removing container {name}, which has other settings"), remove)
                    .await?;
                None
            }
            found => found,
        };
        match found {
            Some(found) if found.running => {
                progress.step(&format!("waiting for container {name}"), self.wait()).await
            }
            Some(found) => {
                let start = async {
                    self.start(found.daemon).await?;
                    self.wait().await
                };
                progress.step(&format!("starting container {name}"), start).await
            }
            None => self.make(progress).await,
        }
    }

    /// Whether a container was made by other settings than those of now. What others made is taken as it is.
    fn is_outdated(&self, found: &Found) -> bool {
        found.settings.as_ref().is_some_and(|settings| *settings != self.settings())
    }

    async fn make(&self, progress: &Progress) -> Result<(), DriverError> {
        let credentials = self.surroundings.credentials.as_deref();
        let image = image::provide(&self.engine, &self.options.image, credentials, progress).await?;
        let daemon = image.daemon(&self.engine).await?;
        if daemon == Daemon::Engine {
            // What it cannot be told is said before it is there.
            self.engine_files(None)?;
        }
        let make = async {
            self.dial.forget();
            if self.create(&image, daemon).await? || !self.starts_by_itself().await? {
                self.start(daemon).await?;
            }
            self.wait().await
        };
        progress.step(&format!("creating container {}", self.container), make).await
    }

    /// Whether another process, which made the container, starts it, too; it may have been killed in between.
    async fn starts_by_itself(&self) -> Result<bool, DriverError> {
        let begin = Instant::now();
        while begin.elapsed() < OTHERS_TIME {
            if self.find().await?.is_some_and(|found| found.running) {
                return Ok(true);
            }
            sleep(PAUSES.0).await;
        }
        Ok(false)
    }

    /// Puts the daemon's files into the container, and starts it.
    async fn start(&self, daemon: Daemon) -> Result<(), DriverError> {
        let (engine, name) = (&self.engine, &self.container);
        let files = match daemon {
            Daemon::BuildKit => self.buildkit_files(),
            Daemon::Engine => {
                let path = format!("/etc/{DAEMON_JSON}");
                let own = image::read(engine, name, &path).await?;
                self.engine_files(own.as_deref())?
            }
        };
        if !files.is_empty() {
            self.put("/etc", &files, 0o644).await?;
        }
        match engine.docker().start_container(name, None::<StartContainerOptions>).await {
            // It runs already.
            Ok(()) | Err(BollardError::DockerResponseServerError { status_code: 304, .. }) => Ok(()),
            Err(BollardError::DockerResponseServerError { message, .. }) => {
                Err(self.not_started(format!("container {name} does not start: {message}")).await)
            }
            Err(error) => Err(engine.failure(error)),
        }
    }

    /// What an Engine gets: its configuration, and the certificates that are named in it.
    fn engine_files(&self, image: Option<&[u8]>) -> Result<Vec<(String, Vec<u8>)>, DriverError> {
        let toml = self.node.files.get(BUILDKITD_TOML).map(Vec::as_slice);
        let mut files = engine_files(image, &self.node.flags, toml)?;
        let certificates = self.node.files.iter().filter(|(name, _)| *name != BUILDKITD_TOML);
        files.extend(certificates.map(|(name, content)| (format!("buildkit/{name}"), content.clone())));
        Ok(files)
    }

    fn buildkit_files(&self) -> Vec<(String, Vec<u8>)> {
        let github = self.surroundings.github_context.as_ref().filter(|_| self.options.provenance_add_gha);
        let github = github.map(|context| ("provenance.d/github_actions_context.json", context.as_slice()));
        let own = self.node.files.iter().map(|(name, content)| (name.as_str(), content.as_slice()));
        own.chain(github).map(|(name, content)| (format!("buildkit/{name}"), content.to_vec())).collect()
    }

    /// Puts files below a directory of the container.
    pub(super) async fn put(
        &self,
        below: &str,
        files: &[(String, Vec<u8>)],
        mode: u32,
    ) -> Result<(), DriverError> {
        let archive = archive(files, mode).map_err(|error| {
            DriverError::Refused(format!("{error}: files for container {}", self.container))
        })?;
        let options = UploadToContainerOptionsBuilder::new().path(below).build();
        let docker = self.engine.docker();
        let put = docker.upload_to_container(&self.container, Some(options), body_full(archive.into())).await;
        put.map_err(|error| self.engine.failure(error))
    }

    /// Waits until the daemon answers.
    async fn wait(&self) -> Result<(), DriverError> {
        let deadline = tokio::time::Instant::now() + self.surroundings.patience;
        let mut pause = PAUSES.0;
        loop {
            let late = match timeout_at(deadline, self.dial.try_once()).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer".to_owned(),
            };
            let name = &self.container;
            let Some(found) = self.find().await? else {
                return Err(self.not_started(format!("container {name} was removed while it started")).await);
            };
            if !found.running || found.restarts > RESTARTS {
                return Err(self.not_started(found.ended(name)).await);
            }
            if tokio::time::Instant::now() + pause >= deadline {
                let limit = self.surroundings.patience.as_secs();
                return Err(self
                    .not_started(format!("{late}: container {name} is not ready after {limit} s"))
                    .await);
            }
            sleep(pause).await;
            pause = (pause * 3 / 2).min(PAUSES.1);
        }
    }

    /// The error for a container that does not start, with the end of its log.
    async fn not_started(&self, reason: String) -> DriverError {
        DriverError::NotStarted { reason, log: self.log().await }
    }

    /// The end of the container's log.
    async fn log(&self) -> Vec<String> {
        let options = LogsOptionsBuilder::new().stdout(true).stderr(true).tail(LOG.0).build();
        let mut pieces = std::pin::pin!(self.engine.docker().logs(&self.container, Some(options)));
        let mut text = Vec::new();
        while let Some(Ok(piece)) = pieces.next().await {
            if let LogOutput::StdOut { message }
            | LogOutput::StdErr { message }
            | LogOutput::Console { message } = piece
            {
                text.extend_from_slice(&message);
            }
            let excess = text.len().saturating_sub(LOG.1);
            text.drain(..excess);
        }
        end_of_log(&String::from_utf8_lossy(&text))
    }
}

impl Found {
    /// How it ended.
    fn ended(&self, name: &str) -> String {
        if self.out_of_memory {
            return format!("container {name} had too little memory");
        }
        let error = if self.error.is_empty() { String::new() } else { format!(": {}", self.error) };
        format!("container {name} exited with code {}{error}", self.exit_code)
    }
}

/// The last lines of a log that say something. What is indented is help: a daemon prints it after the flag that it does
/// not know.
fn end_of_log(text: &str) -> Vec<String> {
    let lines: Vec<&str> =
        text.lines().filter(|line| !line.is_empty() && !line.starts_with([' ', '\t'])).collect();
    lines[lines.len().saturating_sub(SHOWN)..].iter().map(|line| (*line).to_owned()).collect()
}

/// An archive of files and the directories that they are in, which are root's.
fn archive(files: &[(String, Vec<u8>)], mode: u32) -> std::io::Result<Vec<u8>> {
    let mut archive = Builder::new(Vec::new());
    let directories: BTreeSet<&str> =
        files.iter().flat_map(|(name, _)| name.match_indices('/').map(|(at, _)| &name[..at])).collect();
    let header = |kind: EntryType, mode: u32, size: usize| {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(size as u64);
        header
    };
    for directory in directories {
        let mut header = header(EntryType::Directory, 0o755, 0);
        archive.append_data(&mut header, format!("{directory}/"), &[][..])?;
    }
    for (name, content) in files {
        archive.append_data(
            &mut header(EntryType::Regular, mode, content.len()),
            name,
            content.as_slice(),
        )?;
    }
    archive.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_have_the_directories_of_files_once() {
        let files = [("buildkit/buildkitd.toml", "a"), ("buildkit/certs/x/ca.pem", "b")];
        let files = files.map(|(name, content)| (name.to_owned(), content.as_bytes().to_vec()));
        let archive = archive(&files, 0o600).unwrap();
        let mut archive = tar::Archive::new(archive.as_slice());
        let names: Vec<String> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let header = entry.header();
                assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
                format!("{} {:o}", entry.path().unwrap().display(), header.mode().unwrap())
            })
            .collect();
        assert_eq!(
            names,
            [
                "buildkit/ 755",
                "buildkit/certs/ 755",
                "buildkit/certs/x/ 755",
                "buildkit/buildkitd.toml 600",
                "buildkit/certs/x/ca.pem 600"
            ]
        );
        // No name leads out of the directory.
        assert!(super::archive(&[("../x".to_owned(), Vec::new())], 0o600).is_err());
    }

    #[test]
    fn the_end_of_a_log_is_what_says_something() {
        let help = "  --flag string\n".repeat(50);
        let log = format!("started\nunknown flag: --x\n\nUsage:\n{help}\tmore\n");
        assert_eq!(end_of_log(&log), ["started", "unknown flag: --x", "Usage:"]);
        assert_eq!(end_of_log(&"a\n".repeat(99)).len(), SHOWN);
        assert_eq!(end_of_log(""), [""; 0]);
    }

    #[test]
    fn ends_are_told_in_one_line() {
        let found = Found {
            running: false,
            exit_code: 2,
            error: String::new(),
            out_of_memory: false,
            restarts: 0,
            daemon: Daemon::BuildKit,
            settings: None,
        };
        assert_eq!(found.ended("x"), "container x exited with code 2");
        assert_eq!(Found { out_of_memory: true, ..found }.ended("x"), "container x had too little memory");
    }
}

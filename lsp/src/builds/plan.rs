//! How a document is built: which program, in which directory, with which words.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rbx_platform::Platform;
use rbx_request::{BuildFailure, Metadata};
use tempfile::TempDir;
use tokio::process::Command;

use crate::commands;
use crate::documents::Snapshot;
use crate::surroundings::Surroundings;

/// Longest file of answers, and of patterns to ignore, in bytes.
const LIMIT: u64 = 16 << 20;
/// The directories of a build's files: of those that it reads, and of those that it writes.
const QUESTION: &str = "file";
const ANSWERS: &str = "answers";
/// Set by docker for a plugin that it runs.
pub(crate) const RUN_BY_DOCKER: &str = "DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND";

/// What is to be done.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The document's file.
    path: PathBuf,
    /// Its name, without directories.
    pub(crate) name: String,
    /// What it is built for.
    pub(crate) platforms: Vec<Platform>,
    /// The stage that is built, if it is not the last.
    pub(crate) target: Option<String>,
    program: PathBuf,
    context: PathBuf,
    /// Relative paths in flags are from here.
    directory: PathBuf,
    flags: Vec<String>,
    /// The builder that was chosen, if one was.
    pub(crate) builder: Option<String>,
    docker_config: Option<PathBuf>,
}

impl Plan {
    /// Plans the build of a document; an error is a line for the user.
    pub(crate) fn new(
        snapshot: &Snapshot,
        platforms: Vec<Platform>,
        target: Option<String>,
        roots: &[PathBuf],
        surroundings: &Surroundings,
    ) -> Result<Self, String> {
        let path = commands::path(&snapshot.uri);
        let configuration = &snapshot.configuration;
        let places =
            |path| Some((commands::root(path, roots)?, commands::context(path, roots, configuration)?));
        let found = path.as_ref().and_then(|path| Some((path, places(path)?)));
        let Some((path, (root, context))) = found else {
            return Err(format!("{} is not a file", snapshot.uri.as_str()));
        };
        let platforms = if platforms.is_empty() { snapshot.platforms().list } else { platforms };
        Ok(Self {
            name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            platforms,
            target,
            program: surroundings.builder(configuration.program.as_deref())?,
            context,
            directory: root.to_owned(),
            flags: configuration.build_flags.clone(),
            builder: configuration.builder.clone(),
            docker_config: surroundings.docker_config.clone(),
            path: path.clone(),
        })
    }

    /// Lays the text out, and the patterns that belong to it, as it is in the editor: what is built is what is seen.
    pub(crate) fn lay_out(&self, text: &str) -> io::Result<Files> {
        let directory = tempfile::Builder::new().prefix("rbx-lsp-").tempdir()?;
        fs::create_dir(directory.path().join(ANSWERS))?;
        fs::create_dir(directory.path().join(QUESTION))?;
        let dockerfile = directory.path().join(QUESTION).join(&self.name);
        fs::write(&dockerfile, text)?;
        let ignore = with_suffix(&self.path, ".dockerignore");
        if ignore.is_file() {
            let mut patterns = Vec::new();
            fs::File::open(&ignore)?.take(LIMIT).read_to_end(&mut patterns)?;
            fs::write(with_suffix(&dockerfile, ".dockerignore"), patterns)?;
        }
        Ok(Files { directory, dockerfile })
    }

    /// The build as a command.
    pub(crate) fn command(&self, files: &Files, socket: (&str, Option<&str>)) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("build").args(["--progress=rawjson", "--file"]).arg(&files.dockerfile);
        command.arg("--metadata-file").arg(files.metadata()).arg("--failure-file").arg(files.failure());
        self.finish(command, socket)
    }

    /// A dry run of the build as a command.
    pub(crate) fn dry_run(&self, files: &Files, socket: (&str, Option<&str>)) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("build").args(["--call=dry-run,format=json", "--progress=none", "--file"]);
        command.arg(&files.dockerfile);
        self.finish(command, socket)
    }

    /// Adds what builds and dry runs have in common.
    fn finish(&self, mut command: Command, socket: (&str, Option<&str>)) -> Command {
        let platforms = self.platforms.iter().map(Platform::format_all);
        command.args(platforms.flat_map(|platform| ["--platform".to_owned(), platform]));
        command.args(self.target.iter().flat_map(|target| ["--target", target]));
        command.args(&self.flags).args(self.builder.iter().flat_map(|name| ["--builder", name]));
        command.arg("--").arg(&self.context);
        command.current_dir(&self.directory).env_remove(RUN_BY_DOCKER).env_remove(socket.0);
        command.envs(socket.1.map(|name| (socket.0, name)));
        command.envs(self.docker_config.as_ref().map(|directory| ("DOCKER_CONFIG", directory)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        #[cfg(unix)]
        {
            // A server that is part of docker-rbx starts itself by a name that says nothing, and a Ctrl-C in the
            // editor's terminal is for the editor.
            command.arg0("docker-rbx").process_group(0);
        }
        command
    }

    /// The build in a line, for people.
    pub(crate) fn description(&self) -> String {
        let target = self.target.iter().flat_map(|target| ["--target", target]);
        let platforms = self.platforms.iter().map(Platform::format_all).collect::<Vec<_>>().join(",");
        let builder = self.builder.iter().flat_map(|name| ["--builder", name]);
        let words: Vec<&str> = target.chain(self.flags.iter().map(String::as_str)).chain(builder).collect();
        let space = if words.is_empty() { "" } else { " " };
        format!(
            "docker-rbx build --platform {platforms} --file {} {}{space}{}",
            self.path.display(),
            words.join(" "),
            self.context.display()
        )
    }
}

/// A path with something after its name.
fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// The files of a build, which are gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Files {
    directory: TempDir,
    dockerfile: PathBuf,
}

impl Files {
    /// A word that no other build's files have in their name.
    pub(crate) fn word(&self) -> String {
        self.directory.path().file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    fn metadata(&self) -> PathBuf {
        self.directory.path().join(ANSWERS).join("metadata.json")
    }

    fn failure(&self) -> PathBuf {
        self.directory.path().join(ANSWERS).join("failure.json")
    }

    /// What the build answered, if it did.
    pub(crate) fn read_metadata(&self) -> Option<Metadata> {
        read(&self.metadata())
    }

    /// Why the build failed, if it said so.
    pub(crate) fn read_failure(&self) -> Option<BuildFailure> {
        read(&self.failure())
    }
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    let mut text = Vec::new();
    fs::File::open(path).ok()?.take(LIMIT).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

//! A home with a store, a context, and the programs.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rbx_tests::{Parts, embedded};

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_docker-rbx");

/// A directory that is home, configuration and current directory in one.
pub(crate) struct World {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) parts: Parts,
}

/// What a program did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl World {
    /// Both plugins are installed, and `context` has a Dockerfile on a busybox that is named `base`.
    pub(crate) fn new() -> Self {
        let parts = Parts::locate();
        let directory = tempfile::tempdir().unwrap();
        let plugins = directory.path().join("config/cli-plugins");
        fs::create_dir_all(&plugins).unwrap();
        symlink(parts.program("docker-buildx"), plugins.join("docker-buildx")).unwrap();
        symlink(PROGRAM, plugins.join("docker-rbx")).unwrap();
        fs::create_dir(directory.path().join("context")).unwrap();
        let world = Self { directory, parts };
        world.write("context/Dockerfile", "FROM base\nRUN echo hello >/greeting\n");
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// A program in this world, with no Engine.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", self.parts.path())
            .env("HOME", self.directory.path())
            .env("DOCKER_CONFIG", self.path("config"))
            .env("RBX_ROOT", self.path("store"))
            .current_dir(self.directory.path());
        command
    }

    /// The program under test, run alone, with the embedded builder.
    pub(crate) fn rbx(&self, words: &[&str]) -> Ran {
        ran(embedded(&mut self.command(Path::new(PROGRAM)), &self.path("store")).args(words))
    }

    /// `build` with the embedded builder, where `base` is the busybox.
    pub(crate) fn build(&self, words: &[&str]) -> Command {
        let mut command = self.command(Path::new(PROGRAM));
        embedded(&mut command, &self.path("store"));
        command.args(["build", &self.base(), "--progress=plain"]).args(words);
        command
    }

    /// The flag that makes `base` the busybox of the parts.
    pub(crate) fn base(&self) -> String {
        format!("--build-context=base=oci-layout://{}", self.parts.layout("busybox").display())
    }

    /// The docker CLI, whose builder is the embedded one.
    pub(crate) fn docker(&self, words: &[&str]) -> Ran {
        let mut docker = self.command(&self.parts.program("docker"));
        ran(embedded(&mut docker, &self.path("store")).args(words))
    }

    /// buildx, run alone.
    pub(crate) fn buildx(&self, words: &[&str]) -> Ran {
        ran(self.command(&self.parts.program("docker-buildx")).args(words))
    }
}

/// Runs a command to its end.
pub(crate) fn ran(command: &mut Command) -> Ran {
    command.output().unwrap().into()
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Ran {
    /// Requires success.
    pub(crate) fn well(self) -> Self {
        assert_eq!(self.code, Some(0), "{}{}", self.stdout, self.stderr);
        self
    }

    /// Standard error without progress: from the first line that begins so.
    pub(crate) fn stderr_from(&self, start: &str) -> &str {
        let at = if self.stderr.starts_with(start) {
            Some(0)
        } else {
            self.stderr.find(&format!("\n{start}")).map(|at| at + 1)
        };
        at.map_or_else(|| panic!("no line {start:?} in:\n{}", self.stderr), |at| &self.stderr[at..])
    }
}

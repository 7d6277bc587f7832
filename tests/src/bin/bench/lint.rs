//! Checking Dockerfiles. BuildKit and other linters evaluate one platform or none, docker-rbx two.

use std::fmt::{self, Write as _};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rbx_tests::rbx_program;

use crate::measure::{Bench, Sample, Side};
use crate::workload::Numbers;

/// Lines of a stage.
const STAGE: usize = 50;
/// Files that are checked in one call.
const FILES: usize = 1000;

/// Another linter, or docker-rbx with the help of another program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// With shellcheck, which is a part of it.
    Hadolint,
    /// With shellcheck, which is a part of it; without what asks registries.
    Tally,
    /// The same, without shellcheck.
    TallyAlone,
    /// docker-rbx asked for information, too, where `shellcheck` is installed, which then looks at the scripts.
    RbxShellCheck,
}

impl Peer {
    pub(crate) const ALL: [Self; 4] = [Self::Hadolint, Self::Tally, Self::TallyAlone, Self::RbxShellCheck];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Hadolint => "hadolint",
            Self::Tally => "tally",
            Self::TallyAlone => "tally without shellcheck",
            Self::RbxShellCheck => "rbx, info and shellcheck",
        }
    }
}

/// Where other linters are, and what is checked.
#[derive(Debug, Clone, Default)]
pub(crate) struct Peers {
    pub(crate) hadolint: Option<PathBuf>,
    pub(crate) tally: Option<PathBuf>,
    /// A directory of files that take the place of those that are made.
    pub(crate) dockerfiles: Option<PathBuf>,
}

impl Peers {
    /// The program of a peer, if it is there.
    fn program(&self, peer: Peer) -> Option<PathBuf> {
        match peer {
            Peer::Hadolint => self.hadolint.clone(),
            Peer::Tally | Peer::TallyAlone => self.tally.clone(),
            Peer::RbxShellCheck => shellcheck().map(|_| rbx_program()),
        }
    }

    /// Those that are there.
    pub(crate) fn present(&self) -> impl Iterator<Item = Peer> {
        Peer::ALL.into_iter().filter(|peer| self.program(*peer).is_some())
    }
}

/// Who is measured, with versions, and who is not.
impl fmt::Display for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, program, absent) in [
            ("hadolint", self.hadolint.clone(), "name it by --hadolint"),
            ("tally", self.tally.clone(), "name it by --tally"),
            ("shellcheck", shellcheck(), "it is not in PATH"),
        ] {
            let Some(program) = program else {
                writeln!(f, "{name} is not measured: {absent}")?;
                continue;
            };
            let output = Command::new(&program).arg("--version").output();
            let version = output.map(|output| String::from_utf8_lossy(&output.stdout).replace('\n', " "));
            writeln!(f, "{name}: {}", version.unwrap_or_else(|error| error.to_string()).trim())?;
        }
        Ok(())
    }
}

/// The first `shellcheck` in the caller's `PATH`.
fn shellcheck() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|it| it.join("shellcheck")).find(|program| program.is_file())
}

/// The directory of a Dockerfile of so many lines in which nothing is wrong, then that file.
pub(crate) fn context(bench: &Bench, lines: usize) -> Vec<PathBuf> {
    let context = bench.context(&format!("check-{lines}"), &[("Dockerfile", &dockerfile(lines))]);
    let file = context.join("Dockerfile");
    vec![context, file]
}

/// A directory, then Dockerfiles: those of the directory that is given, else some that are always the same.
pub(crate) fn thousand(bench: &Bench) -> Vec<PathBuf> {
    let context = bench.context("check-1000", &[]);
    let mut files: Vec<PathBuf> = Vec::new();
    if let Some(directory) = &bench.peers().dockerfiles {
        let directory = fs::canonicalize(directory).expect("the directory of Dockerfiles is there");
        let entries = fs::read_dir(&directory).expect("the directory of Dockerfiles can be read");
        files.extend(entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()));
        files.sort();
        files.truncate(FILES);
    } else {
        let mut numbers = Numbers(7);
        for number in 0..FILES {
            let name = format!("check-1000/service-{number:04}");
            let service = bench.context(&name, &[("Dockerfile", &variation(number, &mut numbers))]);
            files.push(service.join("Dockerfile"));
        }
    }
    files.insert(0, context);
    files
}

/// Checks all files once.
pub(crate) fn check(bench: &Bench, side: Side, contexts: &[PathBuf]) -> Result<Sample, String> {
    let [context, files @ ..] = contexts else { return Err("there is nothing to check".to_owned()) };
    let mut command = match side {
        Side::BuildKit => return bench.run(side, &["build", "--check", &context.display().to_string()]),
        Side::Rbx | Side::Peer(Peer::RbxShellCheck) => {
            let mut command = bench.rbx();
            command.env("PATH", "").args(["check", "--exit-zero", "--platform=linux/amd64,linux/arm64"]);
            if side != Side::Rbx
                && let Some(programs) = shellcheck().as_deref().and_then(Path::parent)
            {
                // What it finds is information, and it is asked only where that is to be shown.
                command.env("PATH", programs).arg("--severity=info");
            }
            command
        }
        Side::Peer(peer) => {
            let mut command = Command::new(bench.peers().program(peer).ok_or("it is not there")?);
            command.env_clear().env("HOME", bench.home()).env("LC_ALL", "C.UTF-8");
            if peer == Peer::Hadolint {
                command.arg("--no-fail");
            } else {
                let config = "[file-validation]\nmax-file-size = 0\n";
                let config = bench.context("tally", &[("tally.toml", config)]).join("tally.toml");
                command.args(["lint", "--slow-checks=off", "--fail-level=none", "--config"]).arg(config);
            }
            if peer == Peer::TallyAlone {
                command.arg("--ignore=shellcheck/*");
            }
            command
        }
    };
    command.args(files);
    bench.sample(side, command)
}

fn dockerfile(lines: usize) -> String {
    let mut text = String::new();
    for stage in 0..lines / STAGE {
        let _ = writeln!(
            text,
            "FROM registry.test/busybox AS stage-{stage}\nARG TARGETARCH\n\
             ENV MODE=release \\\n    LEVEL={stage}\nWORKDIR /app"
        );
        for part in 0..(STAGE - 5) / 9 {
            let _ = writeln!(
                text,
                "# Part {part} of what this stage makes.\n\
                 COPY --chown=1000:1000 part-{part}/ ./part-{part}/\n\
                 RUN apt-get update \\\n    && apt-get install -y --no-install-recommends curl=7.88.1-{part} \\\n    \
                 && rm -rf /var/lib/apt/lists/*\n\
                 RUN --mount=type=cache,id=part-$TARGETARCH,target=/root/.cache \\\n    \
                 make -C part-{part} ARCH=\"$TARGETARCH\" MODE=\"$MODE\" install\n\
                 ENV PART_{part}=/app/part-{part}\n"
            );
        }
    }
    text
}

/// The names of base images, with the package manager of each.
const BASES: [(&str, &str); 6] = [
    ("debian:12-slim", "apt-get update && apt-get install -y --no-install-recommends"),
    ("ubuntu", "apt-get update && apt-get install -y"),
    ("alpine:3.20", "apk add --no-cache"),
    ("python:3.12-slim", "pip install --no-cache-dir"),
    ("node:22", "npm install -g"),
    ("golang:1.23", "go install"),
];

/// One of many Dockerfiles of 10 to 60 lines, with a finding here and there.
fn variation(number: usize, numbers: &mut Numbers) -> String {
    let mut text = format!("# syntax=docker/dockerfile:1\n# Service {number}.\nARG VERSION=1.{number}\n");
    let stages = 1 + numbers.below(3);
    for stage in 0..stages {
        let (base, install) = pick(&BASES, numbers);
        let platform = if stage + 1 < stages { "--platform=$BUILDPLATFORM " } else { "" };
        let _ =
            writeln!(text, "FROM {platform}{base} AS stage{stage}\nARG TARGETOS TARGETARCH\nWORKDIR /src");
        for step in 0..=numbers.below(6) {
            let _ = match numbers.below(8) {
                0 => writeln!(text, "RUN {install} tool{step} curl && \\\n    rm -rf /var/lib/apt/lists/*"),
                1 => writeln!(text, "ENV MODE{step}=release \\\n    LEVEL={step}"),
                2 => writeln!(text, "COPY --chown=1000:1000 part{step}/ ./part{step}/"),
                3 => writeln!(
                    text,
                    "RUN --mount=type=cache,target=/root/.cache \\\n    \
                     GOOS=$TARGETOS GOARCH=$TARGETARCH go build -o /out/app{step} ./cmd/app{step}"
                ),
                4 => writeln!(
                    text,
                    "RUN curl -fsSL https://example.com/v$VERSION/tool-linux-$TARGETARCH.tar.gz | tar xz"
                ),
                5 => writeln!(
                    text,
                    "RUN <<EOF\nset -e\nfor part in a b c; do\n  echo \"$part\" >> list\ndone\nEOF"
                ),
                6 => writeln!(text, "LABEL org.example.step{step}=\"{number}\""),
                _ => {
                    writeln!(text, "# What follows is for service {number}.\nRUN make -C part{step} install")
                }
            };
        }
        if stage > 0 {
            let _ = writeln!(text, "COPY --from=stage{} /out /out", stage - 1);
        }
    }
    let end =
        ["USER 1000\nCMD [\"/out/app\"]\n", "EXPOSE 8080/tcp\nCMD /out/app\n", "ENTRYPOINT [\"/out/app\"]\n"];
    text + pick(&end, numbers)
}

fn pick<T: Copy>(list: &[T], numbers: &mut Numbers) -> T {
    let index = usize::try_from(numbers.below(list.len() as u64)).unwrap_or_default();
    list[index]
}

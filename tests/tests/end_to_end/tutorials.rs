//! The examples of tutorials about buildx, typed as they are there, with `docker rbx` for `docker buildx`: base
//! images are found by their names on Docker Hub, through a mirror.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use libtest_mimic::{Failed, Trial};
use rbx_emulation::Architecture;
use rbx_tests::binfmt::Registered;
use rbx_tests::{Engine, Registry, Store, rbx_program};
use serde_json::json;

/// The tests of this module.
pub(crate) fn trials() -> Vec<Trial> {
    let trial = |name: &str, test: fn() -> Result<(), String>| {
        Trial::test(format!("tutorials::{name}"), move || test().map_err(Failed::from))
    };
    vec![trial("a_go_program_is_cross_compiled", a_go_program_is_cross_compiled)]
}

/// The program: small, since a compiler under emulation is slow.
const MAIN: &str = r#"package main

import (
	"runtime"
	"syscall"
)

func main() {
	println("served by", runtime.GOOS+"/"+runtime.GOARCH, "for", syscall.Getuid())
}
"#;

/// The Dockerfile of the Go program, as it is done without emulation.
const CROSS_COMPILED: &str = r#"FROM --platform=$BUILDPLATFORM golang:latest AS builder
ARG TARGETOS TARGETARCH

LABEL maintainer="Wesley Willians"

WORKDIR /app
COPY . .
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -ldflags="-s -w" -o server main.go

# Final stage
FROM scratch
USER 1001
COPY --from=builder /app/server /server
ENTRYPOINT ["./server"]
"#;

/// A project's directory, a Docker CLI with the plugin and an Engine, and registries.
struct World {
    engine: Engine,
    registry: Registry,
    _hub: Registry,
    directory: tempfile::TempDir,
}

impl World {
    fn new(files: &[(&str, &str)]) -> Self {
        let (engine, hub) = (Engine::start(Store::Containerd), Registry::docker_hub());
        engine.install_plugin(&rbx_program());
        let config = engine.config().join("rbx");
        fs::create_dir(&config).expect("a directory");
        let settings = json!({ "registries": { "docker.io": { "mirrors": [hub.address()] } } });
        fs::write(config.join("config.json"), settings.to_string()).expect("a configuration");
        let directory = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(directory.path().join("project")).expect("a project");
        for (name, text) in files {
            fs::write(directory.path().join("project").join(name), text).expect("a file");
        }
        Self { engine, registry: Registry::start(), _hub: hub, directory }
    }

    /// Runs a line of a tutorial in the project, and gives what it printed. `REGISTRY` in it is a registry's address.
    fn run(&self, line: &str) -> Result<String, String> {
        let line = line.replace("REGISTRY", self.registry.address());
        let mut words = line.split(' ');
        if words.next() != Some("docker") {
            return Err(format!("not docker: {line}"));
        }
        let mut command = self.engine.docker();
        command.args(words).current_dir(self.directory.path().join("project"));
        run(command.env("RBX_ROOT", self.directory.path().join("store")))
    }

    /// The digest of an image of the registry for arm64.
    fn digest(&self, name: &str) -> Result<String, String> {
        let name = name.replace("REGISTRY", self.registry.address());
        run(self.registry.crane().args(["digest", "--platform=linux/arm64", &name]))
    }

    /// Whether an image of the registry runs, on each of the platforms as what it was built for.
    fn runs(&self, name: &str, architectures: &[Architecture]) -> Result<(), String> {
        let name = name.replace("REGISTRY", self.registry.address());
        for architecture in architectures {
            let platform = format!("--platform=linux/{}", architecture.name());
            run(self.engine.docker().args(["pull", "--quiet", &platform, &name]))?;
            let foreign = (*architecture != Architecture::Amd64).then(|| Registered::qemu(&[*architecture]));
            let said = run(self.engine.docker().args(["run", "--rm", "--network=none", &platform, &name]))?;
            drop(foreign);
            expect(&said, &format!("served by linux/{} for 1001", architecture.name()), 1)?;
        }
        Ok(())
    }
}

/// What a command printed; an error if it failed.
fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| error.to_string())?;
    let printed =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    if output.status.success() {
        Ok(printed)
    } else {
        Err(format!("{command:?} ended with {}:\n{printed}", output.status))
    }
}

/// How many lines are to end in these words. One that is said again counts once.
fn expect(text: &str, words: &str, times: usize) -> Result<(), String> {
    let found = text.lines().filter(|line| line.ends_with(words)).collect::<BTreeSet<_>>().len();
    if found == times { Ok(()) } else { Err(format!("{found} lines end in {words:?}, not {times}:\n{text}")) }
}

fn a_go_program_is_cross_compiled() -> Result<(), String> {
    let world = World::new(&[("Dockerfile", CROSS_COMPILED), ("main.go", MAIN)]);
    let name = "REGISTRY/meu-repositorio/minha-aplicacao-go:latest";
    let line = format!("docker rbx build --platform linux/amd64,linux/arm64 -t {name} --push .");
    let said = world.run(&line)?;
    // Both are compiled on this machine's platform, from one copy of the files.
    expect(&said, "[linux/amd64 builder 3/4] COPY . .", 1)?;
    for architecture in ["amd64", "arm64"] {
        let step = format!(
            "[linux/amd64 builder 4/4] RUN CGO_ENABLED=0 GOOS=linux GOARCH={architecture} go build \
             -ldflags=\"-s -w\" -o server main.go"
        );
        expect(&said, &step, 1)?;
    }
    world.runs(name, &[Architecture::Amd64, Architecture::Arm64])?;
    let digest = world.digest(name)?;
    // The other tutorial has the flags in another order. Built alone, the image is what it was beside another.
    world.run(&format!("docker rbx build --platform linux/arm64 -t {name} . --push"))?;
    let alone = world.digest(name)?;
    if alone == digest { Ok(()) } else { Err(format!("{alone} is not {digest}")) }
}

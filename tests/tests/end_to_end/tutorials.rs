//! The examples of tutorials about buildx, typed as they are there, with `docker rbx` for `docker buildx`: base
//! images are found by their names on Docker Hub, through a mirror.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use libtest_mimic::{Failed, Trial};
use rbx_emulation::Architecture;
use rbx_tests::binfmt::Registered;
use rbx_tests::{Engine, Image, Parts, Registry, Server, Store, User, embedded, rbx_as, rbx_program};
use serde_json::json;

/// The tests of this module.
pub(crate) fn trials() -> Vec<Trial> {
    let trial = |name: &str, test: fn() -> Result<(), String>| {
        Trial::test(format!("tutorials::{name}"), move || test().map_err(Failed::from))
    };
    vec![
        trial("a_go_program_is_compiled_under_emulation", a_go_program_is_compiled_under_emulation),
        trial("a_go_program_is_cross_compiled", a_go_program_is_cross_compiled),
        trial("packages_are_installed_for_another_platform", packages_are_installed_for_another_platform),
        trial("packages_are_installed_by_an_ordinary_user", packages_are_installed_by_an_ordinary_user),
    ]
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

/// The Dockerfile of the Go program.
const EMULATED: &str = r#"FROM golang:latest AS builder

LABEL maintainer="Wesley Willians"

WORKDIR /app
COPY . .
RUN CGO_ENABLED=0 go build -ldflags="-s -w" -o server main.go

# Final stage
FROM scratch
USER 1001
COPY --from=builder /app/server /server
ENTRYPOINT ["./server"]
"#;

/// The same, as it is done without emulation.
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

/// The Dockerfile for one platform that is not this machine's.
const PACKAGED: &str = r#"FROM arm64v8/ubuntu
RUN apt-get update && apt-get install -y build-tools
COPY . /app
WORKDIR /app
RUN make build
CMD ["./your-app"]
"#;

/// What is built there: a program that says where.
const MAKEFILE: &str = r"build:
	printf '#!/bin/sh\necho made on %s, run on $$(uname -m)\n' $$(uname -m) > your-app
	chmod +x your-app
";

/// A project's directory, a Docker CLI with the plugin and an Engine, and registries.
struct World {
    engine: Engine,
    registry: Registry,
    _hub: Registry,
    _packages: Server,
    directory: tempfile::TempDir,
}

impl World {
    fn new(store: Store, files: &[(&str, &str)]) -> Self {
        let (parts, engine) = (Parts::locate(), Engine::start(store));
        let (hub, packages) = (Registry::docker_hub(), Server::start(&parts.repository()));
        engine.install_plugin(&rbx_program());
        configure(&engine.config(), &parts, &hub, &packages);
        let directory = tempfile::tempdir().expect("a temporary directory");
        project(directory.path(), files);
        Self { engine, registry: Registry::start(), _hub: hub, _packages: packages, directory }
    }

    /// Runs a line of a tutorial in the project, and gives what it printed. `REGISTRY` in it is a registry's address.
    /// Questions are answered with yes.
    fn run(&self, line: &str) -> Result<String, String> {
        let line = line.replace("REGISTRY", self.registry.address());
        let mut words = line.split(' ');
        if words.next() != Some("docker") {
            return Err(format!("not docker: {line}"));
        }
        let mut command = self.engine.docker();
        let answer = self.directory.path().join("answer");
        fs::write(&answer, "y\n").map_err(|error| error.to_string())?;
        command.stdin(File::open(answer).map_err(|error| error.to_string())?);
        command.args(words).current_dir(self.directory.path().join("project"));
        run(embedded(&mut command, &self.directory.path().join("store")))
    }

    /// Runs an image for arm64 by the Engine, with this QEMU on the host for as long as that takes.
    fn run_on_arm64(&self, words: &[&str]) -> Result<String, String> {
        let _handlers = Registered::qemu(&[Architecture::Arm64]);
        let command = ["run", "--rm", "--network=none", "--platform=linux/arm64"];
        run(self.engine.docker().args(command).args(words))
    }

    /// The digest of an image of the registry for arm64.
    fn digest(&self, name: &str) -> Result<String, String> {
        let name = name.replace("REGISTRY", self.registry.address());
        run(self.registry.crane().args(["digest", "--platform=linux/arm64", &name]))
    }

    /// Whether the Go program runs on both platforms from the registry, as what it was built for.
    fn go_runs(&self, name: &str) -> Result<(), String> {
        let name = name.replace("REGISTRY", self.registry.address());
        let here = ["run", "--rm", "--network=none", "--platform=linux/amd64", &name];
        expect(&run(self.engine.docker().args(here))?, "served by linux/amd64 for 1001", 1)?;
        run(self.engine.docker().args(["pull", "--quiet", "--platform=linux/arm64", &name]))?;
        expect(&self.run_on_arm64(&[&name])?, "served by linux/arm64 for 1001", 1)
    }
}

/// A directory with the files of a project.
fn project(directory: &Path, files: &[(&str, &str)]) {
    fs::create_dir(directory.join("project")).expect("a project");
    for (name, text) in files {
        fs::write(directory.join("project").join(name), text).expect("a file");
    }
}

/// Docker's configuration directory of someone who has a mirror, a proxy for what is fetched in steps, and QEMU.
fn configure(config: &Path, parts: &Parts, hub: &Registry, packages: &Server) {
    let proxy =
        json!({ "proxies": { "default": { "httpProxy": format!("http://{}", packages.address()) } } });
    let qemu = parts.program("qemu-aarch64");
    let settings = json!({
        "registries": { "docker.io": { "mirrors": [hub.address()] } },
        "emulation": { "registration": "namespace", "qemu": { "directories": [qemu.parent()] } },
    });
    fs::create_dir_all(config.join("rbx")).expect("a directory");
    fs::write(config.join("config.json"), proxy.to_string()).expect("a configuration");
    fs::write(config.join("rbx/config.json"), settings.to_string()).expect("a configuration");
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

/// What the tutorial calls the image, and the two lines that build it: flags come in any order.
const GO_IMAGE: &str = "REGISTRY/meu-repositorio/minha-aplicacao-go:latest";
const GO_LINES: [&str; 2] = [
    "docker rbx build --platform linux/amd64,linux/arm64 -t REGISTRY/meu-repositorio/minha-aplicacao-go:latest --push .",
    "docker rbx build --platform linux/arm64 -t REGISTRY/meu-repositorio/minha-aplicacao-go:latest . --push",
];

fn a_go_program_is_compiled_under_emulation() -> Result<(), String> {
    let world = World::new(Store::Containerd, &[("Dockerfile", EMULATED), ("main.go", MAIN)]);
    let said = world.run(GO_LINES[0])?;
    // The tutorial's stage could do without.
    let qemu = Parts::locate().program("qemu-aarch64");
    expect(&said, &format!("[internal] linux/arm64: steps are emulated by {}", qemu.display()), 1)?;
    let hint = "WARN: stage \"builder\" is emulated for linux/arm64: if it can cross-compile, FROM \
                --platform=$BUILDPLATFORM makes it native (line 1)";
    expect(&said, hint, 1)?;
    for architecture in ["amd64", "arm64"] {
        let step = format!(
            "[linux/{architecture} builder 4/4] RUN CGO_ENABLED=0 go build -ldflags=\"-s -w\" -o server main.go"
        );
        expect(&said, &step, 1)?;
    }
    world.go_runs(GO_IMAGE)
}

fn a_go_program_is_cross_compiled() -> Result<(), String> {
    let world = World::new(Store::Containerd, &[("Dockerfile", CROSS_COMPILED), ("main.go", MAIN)]);
    let said = world.run(GO_LINES[0])?;
    if said.contains("emulated") {
        return Err(said);
    }
    // Both are compiled on this machine's platform, from one copy of the files.
    expect(&said, "[linux/amd64 builder 3/4] COPY . .", 1)?;
    for (platforms, architecture) in [("linux/amd64", "amd64"), ("linux/amd64->arm64", "arm64")] {
        let step = format!(
            "[{platforms} builder 4/4] RUN CGO_ENABLED=0 GOOS=linux GOARCH={architecture} go build \
             -ldflags=\"-s -w\" -o server main.go"
        );
        expect(&said, &step, 1)?;
    }
    world.go_runs(GO_IMAGE)?;
    let digest = world.digest(GO_IMAGE)?;
    // Built alone, the image is what it was beside another.
    world.run(GO_LINES[1])?;
    let alone = world.digest(GO_IMAGE)?;
    if alone != digest {
        return Err(format!("{alone} is not {digest}"));
    }
    // All was used in the last 24 hours, and all can be made again.
    expect(&world.run("docker rbx prune --filter=until=24h")?, "Total:\t0B", 1)?;
    world.run("docker rbx prune -a")?;
    expect(&world.run("docker rbx du")?, "Reclaimable:\t0B", 1)
}

fn packages_are_installed_for_another_platform() -> Result<(), String> {
    let world = World::new(Store::Graph, &[("Dockerfile", PACKAGED), ("Makefile", MAKEFILE)]);
    world.run("docker rbx build --platform linux/arm64 -t your-username/your-app:tag .")?;
    // It was loaded into the Engine, which has no use for a registry.
    let image = "your-username/your-app:tag";
    expect(&world.run_on_arm64(&[image])?, "made on aarch64, run on aarch64", 1)?;
    let script = "stat -c '%u:%g %a' /var/lib/build-tools /usr/bin/build-tools; dpkg -s build-tools";
    let said = world.run_on_arm64(&[image, "sh", "-c", script])?;
    for line in ["1001:1002 2750", "0:1002 4750", "Status: install ok installed"] {
        expect(&said, line, 1)?;
    }
    world.run("docker rbx build --platform linux/arm64 -t REGISTRY/your-username/your-app:tag . --push")?;
    let name = format!("{}/your-username/your-app:tag", world.registry.address());
    run(world.registry.crane().args(["validate", "--remote", &name])).map(drop)
}

fn packages_are_installed_by_an_ordinary_user() -> Result<(), String> {
    let (parts, user) = (Parts::locate(), User::with_ranges());
    let (hub, packages) = (Registry::docker_hub(), Server::start(&parts.repository()));
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    user.own(directory.path());
    project(directory.path(), &[("Dockerfile", PACKAGED), ("Makefile", MAKEFILE)]);
    configure(&directory.path().join("config"), &parts, &hub, &packages);
    let mut command = rbx_as(&user, &parts, directory.path());
    command.args(["build", "--platform=linux/arm64", "--output=type=oci,dest=../image.tar", "."]);
    command.current_dir(directory.path().join("project"));
    run(&mut command)?;
    let image = Image::read_all(&directory.path().join("image.tar")).pop().ok_or("no image")?;
    let root = image.root();
    let program = root.get("app/your-app").and_then(|file| file.content.clone()).unwrap_or_default();
    expect(&program.replace("\\n", "\n"), "made on aarch64, run on $(uname -m)", 1)?;
    for (path, expected) in
        [("var/lib/build-tools", (1001, 1002, 0o2750)), ("usr/bin/build-tools", (0, 1002, 0o4750))]
    {
        let found = root.get(path).map(|entry| (entry.uid, entry.gid, entry.mode));
        if found != Some(expected) {
            return Err(format!("{path}: {found:?}"));
        }
    }
    Ok(())
}

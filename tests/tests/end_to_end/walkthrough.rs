//! The commands of tutorials about buildx, all of them in their order, typed into the docker CLI with `rbx` for
//! `buildx`.
//!
//! The image of the driver `docker-container` has an Engine in it: there is no registry here that has BuildKit's. It
//! bears that one's name, so that nobody has to name it. The Engine of tests has no bridge, and its builders are told to
//! have the network of the machine, where the registries are.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use libtest_mimic::{Failed, Trial};
use rbx_tests::binfmt::Registered;
use rbx_tests::dind::DIND;
use rbx_tests::{Engine, Parts, Registry, Store, rbx_program};
use serde_json::json;

/// The tests of this module.
pub(crate) fn trials() -> Vec<Trial> {
    let trial = |name: &str, test: fn() -> Result<(), String>| {
        Trial::test(format!("walkthrough::{name}"), move || test().map_err(Failed::from))
    };
    vec![trial("in_portuguese", in_portuguese), trial("in_chinese", in_chinese)]
}

/// The name of the image that the driver has where nobody names one.
const IMAGE: &str = "moby/buildkit:buildx-stable-1";

/// A small project, whose step says where it runs. There is no bridge that it could be on.
const DOCKERFILE: &str = "FROM REGISTRY/busybox\nRUN --network=none uname -m > /made-on\nCOPY Dockerfile /\nCMD [\"cat\", \"/made-on\"]\n";

/// A project, a docker CLI with the plugin, an Engine, and registries.
struct World {
    engine: Engine,
    registry: Registry,
    images: Registry,
    directory: tempfile::TempDir,
    /// Until the end: what is bootstrapped there is taken away.
    _handlers: Registered,
}

impl World {
    fn new() -> Self {
        let mut handlers = Registered::hold();
        handlers.expect_qemu();
        let (engine, parts) = (Engine::start(Store::Containerd), Parts::locate());
        engine.load_dind();
        engine.install_plugin(&rbx_program());
        let qemu = parts.program("qemu-aarch64");
        let settings = json!({ "emulation": { "qemu": { "directories": [qemu.parent()] } } });
        let config = engine.config().join("rbx");
        fs::create_dir_all(&config).expect("a directory");
        fs::write(config.join("config.json"), settings.to_string()).expect("a configuration");
        let directory = tempfile::tempdir().expect("a temporary directory");
        let images = Registry::with_images();
        let world = Self { engine, registry: Registry::start(), images, directory, _handlers: handlers };
        fs::create_dir(world.project()).expect("a project");
        let dockerfile = DOCKERFILE.replace("REGISTRY", world.images.address());
        fs::write(world.project().join("Dockerfile"), dockerfile).expect("a file");
        world
    }

    fn project(&self) -> PathBuf {
        self.directory.path().join("project")
    }

    /// Types a line. `REGISTRY` in it is the address of a registry.
    fn command(&self, line: &str) -> Command {
        let line = line.replace("REGISTRY", self.registry.address());
        let mut words = line.split(' ');
        assert_eq!(words.next(), Some("docker"), "{line}");
        let mut command = self.engine.docker();
        command.args(words).current_dir(self.project()).stdin(Stdio::null());
        command.env("RBX_ROOT", self.directory.path().join("store"));
        command
    }

    /// What a line prints; it has to end well.
    fn well(&self, line: &str) -> Result<String, String> {
        said(&mut self.command(line), true)
    }

    /// What a line prints that has to fail.
    fn fails(&self, line: &str) -> Result<String, String> {
        said(&mut self.command(line), false)
    }

    /// The same where a question is answered with yes.
    fn agreed(&self, line: &str) -> Result<String, String> {
        let answer = self.directory.path().join("answer");
        fs::write(&answer, "y\n").map_err(|error| error.to_string())?;
        let answer = fs::File::open(answer).map_err(|error| error.to_string())?;
        said(self.command(line).stdin(answer), true)
    }

    /// What is in a file of a pushed image for a platform.
    fn file(&self, name: &str, platform: &str, path: &str) -> Result<String, String> {
        let name = name.replace("REGISTRY", self.registry.address());
        let archive = self.directory.path().join("files.tar");
        let mut crane = self.registry.crane();
        said(crane.args(["export", "--platform", platform, &name]).arg(&archive), true)?;
        said(Command::new("tar").arg("-xOf").arg(&archive).arg(path), true)
    }
}

fn said(command: &mut Command, well: bool) -> Result<String, String> {
    let output = command.output().map_err(|error| error.to_string())?;
    let text =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    if output.status.success() == well {
        return Ok(text);
    }
    Err(format!("{command:?} ended with {}:\n{text}", output.status))
}

/// Requires all of these words.
fn expect(what: &str, text: &str, words: &[&str]) -> Result<(), String> {
    match words.iter().find(|word| !text.contains(**word)) {
        Some(missing) => Err(format!("{what}: no {missing:?} in:\n{text}")),
        None => Ok(()),
    }
}

fn in_portuguese() -> Result<(), String> {
    let world = World::new();
    said(world.engine.docker().args(["tag", DIND, IMAGE]), true)?;

    let create =
        "docker rbx create --name meu-builder --driver docker-container --driver-opt network=host --use";
    expect("create", &world.well(create)?, &["meu-builder"])?;
    let inspected = world.well("docker rbx inspect --bootstrap")?;
    expect(
        "inspect",
        &inspected,
        &["Name:          meu-builder", "docker-container", "running", "linux/arm64"],
    )?;
    expect("inspect", &inspected, &["[internal] installing emulators", "registering"])?;
    let listed = world.well("docker rbx ls")?;
    expect("ls", &listed, &["meu-builder*", "docker-container", "running", "default"])?;
    world.well("docker rbx use default")?;
    world.well("docker rbx use meu-builder")?;
    expect("ls after use", &world.well("docker rbx ls")?, &["meu-builder*"])?;

    let image = "REGISTRY/meu-repositorio/minha-imagem:latest";
    world.well(&format!("docker rbx build --platform linux/amd64,linux/arm64 -t {image} --push ."))?;
    for (platform, machine) in [("linux/amd64", "x86_64\n"), ("linux/arm64", "aarch64\n")] {
        expect(platform, &world.file(image, platform, "made-on")?, &[machine])?;
    }

    world.well(
        "docker rbx build --cache-to type=local,dest=./cache --cache-from type=local,src=./cache -t minha-imagem .",
    )?;
    if !world.project().join("cache/index.json").exists() {
        return Err("there is no local cache".to_owned());
    }
    let cached = format!(
        "docker rbx build --cache-to type=registry,ref={image}-cache,mode=max --cache-from \
         type=registry,ref={image}-cache -t minha-imagem ."
    );
    world.well(&cached)?;
    expect("prune -a", &world.agreed("docker rbx prune -a")?, &["Total:"])?;
    for cached in [&cached[..], "docker rbx build --cache-from type=local,src=./cache -t minha-imagem ."] {
        let text = world.well(cached)?;
        let step = text.lines().find(|line| line.contains("uname -m")).unwrap_or_default();
        let number = step.split(' ').next().unwrap_or_default();
        if !text.lines().any(|line| line == format!("{number} CACHED")) {
            return Err(format!("nothing came of the cache:\n{text}"));
        }
        world.agreed("docker rbx prune -a")?;
    }
    world.well("docker rbx build --load -t minha-imagem .")?;
    let printed = said(world.engine.docker().args(["run", "--rm", "--network=none", "minha-imagem"]), true)?;
    expect("the loaded image", &printed, &["x86_64"])?;
    // All was used in the last 24 hours.
    expect("prune", &world.agreed("docker rbx prune --filter=until=24h")?, &["Total:"])?;
    expect("what is kept", &world.well("docker rbx du")?, &["Total:"])?;

    // The error about contexts, and the way out.
    world.well("docker context create desktop-linux --docker host=unix:///nowhere/docker.sock")?;
    expect("contexts", &world.well("docker context ls")?, &["desktop-linux"])?;
    expect("contexts as builders", &world.well("docker rbx ls")?, &["desktop-linux"])?;
    let refused = world.fails("docker rbx rm desktop-linux")?;
    let words = "failed to remove desktop-linux: context builder cannot be removed, run `docker context rm \
                 desktop-linux` to remove this context";
    expect("rm of a context", &refused, &[words])?;
    world.well("docker context rm desktop-linux")?;
    if world.well("docker rbx ls")?.contains("desktop-linux") {
        return Err("the context is still a builder".to_owned());
    }
    expect("rm", &world.well("docker rbx rm meu-builder")?, &["meu-builder removed"])?;
    let left = said(world.engine.docker().args(["ps", "--all", "--quiet"]), true)?;
    if left.is_empty() { Ok(()) } else { Err(format!("containers are left: {left}")) }
}

fn in_chinese() -> Result<(), String> {
    let world = World::new();
    said(world.engine.docker().args(["tag", DIND, IMAGE]), true)?;

    expect("--version", &world.well("docker rbx --version")?, &["rbx", env!("CARGO_PKG_VERSION")])?;
    expect(
        "create with no driver",
        &world.well("docker rbx create --name mybuilder --driver-opt network=host --use")?,
        &["mybuilder"],
    )?;
    let inspected = world.well("docker rbx inspect mybuilder --bootstrap")?;
    expect("inspect", &inspected, &["mybuilder", "docker-container", "running", "linux/arm64"])?;

    // Nothing says where the image is to go.
    let built = world.well("docker rbx build --platform linux/arm64 -t your-username/your-app:tag .")?;
    expect("build", &built, &["No output specified with docker-container driver."])?;
    world.well("docker rbx build --platform linux/arm64 -t REGISTRY/your-username/your-app:tag . --push")?;
    let made_on = world.file("REGISTRY/your-username/your-app:tag", "linux/arm64", "made-on")?;
    expect("flags after the path", &made_on, &["aarch64"])?;

    // Results go to another daemon, too.
    let other = Engine::start(Store::Graph);
    world.well(&format!("docker context create far --docker host={}", other.host()))?;
    world.well("docker rbx build --output type=docker,context=far -t your-username/your-app:far .")?;
    let run = ["run", "--rm", "--network=none", "your-username/your-app:far"];
    expect("the other Engine", &said(other.docker().args(run), true)?, &["x86_64"])?;
    world.well("docker rbx rm mybuilder").map(drop)
}

//! Builders in containers, with an Engine of their own or an image that stands for BuildKit's: how they come, run and
//! go, beside buildx, and the tutorials' commands about builders.

use std::io::Write as _;
use std::process::Command;

use libtest_mimic::{Failed, Trial};
use rbx_emulation::Architecture;
use rbx_tests::binfmt::Registered;
use rbx_tests::builders::buildkit_image;
use rbx_tests::dind::{BUILDKIT, DIND};

use rbx_tests::{Engine, Image, Parts, Registry, Store, rbx_program};
use serde_json::{Value, json};

/// The tests of this module.
pub(crate) fn trials() -> Vec<Trial> {
    let trial = |name: &str, test: fn() -> Result<(), String>| {
        Trial::test(format!("container::{name}"), move || test().map_err(Failed::from))
    };
    vec![
        trial("the_tutorials_make_use_and_remove_builders", the_tutorials_make_use_and_remove_builders),
        trial("an_engine_in_a_container_builds", an_engine_in_a_container_builds),
        trial("platforms_are_made_runnable", platforms_are_made_runnable),
        trial("a_container_is_as_buildx_makes_it", a_container_is_as_buildx_makes_it),
        trial("either_program_uses_what_the_other_made", either_program_uses_what_the_other_made),
        trial("many_boot_one_container", many_boot_one_container),
        trial("settings_that_changed_count_after_a_stop", settings_that_changed_count_after_a_stop),
        trial("what_does_not_start_says_why", what_does_not_start_says_why),
        trial("a_real_image_of_buildkit_is_booted", a_real_image_of_buildkit_is_booted),
    ]
}

/// An Engine with images, and the plugin in its docker CLI.
struct World {
    engine: Engine,
    home: tempfile::TempDir,
}

impl World {
    fn new(store: Store) -> Self {
        let engine = Engine::start(store);
        engine.install_plugin(&rbx_program());
        engine.load_buildkit();
        Self { engine, home: tempfile::tempdir().expect("a temporary directory") }
    }

    /// A command line of docker, with `DIND` and `BUILDKIT` for the images' names.
    fn command(&self, line: &str) -> Command {
        let line = line.replace("DIND", DIND).replace("BUILDKIT", BUILDKIT);
        let mut words = line.split(' ');
        assert_eq!(words.next(), Some("docker"), "not docker: {line}");
        let mut command = self.engine.docker();
        command.args(words).env("HOME", self.home.path()).env("RBX_ROOT", self.home.path().join("store"));
        command
    }

    /// What it prints, if it does well.
    fn run(&self, line: &str) -> Result<String, String> {
        let (well, said) = self.said(line)?;
        if well { Ok(said) } else { Err(format!("{line}:\n{said}")) }
    }

    /// What it prints if it fails, as it should.
    fn fail(&self, line: &str) -> Result<String, String> {
        let (well, said) = self.said(line)?;
        if well { Err(format!("{line} did well:\n{said}")) } else { Ok(said) }
    }

    fn said(&self, line: &str) -> Result<(bool, String), String> {
        let output = self.command(line).output().map_err(|error| error.to_string())?;
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Ok((output.status.success(), said.concat()))
    }

    /// What the Engine has of a container, without what differs by itself and without labels.
    fn inspect(&self, container: &str) -> Result<Value, String> {
        let text = self.run(&format!("docker inspect {container}"))?;
        let mut found: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        let container = found[0].take();
        let mut config = container["Config"].clone();
        let fields = config.as_object_mut().ok_or("no configuration")?;
        fields.remove("Labels");
        fields.remove("Hostname");
        Ok(serde_json::json!({
            "path": container["Path"],
            "args": container["Args"],
            "config": config,
            "host": container["HostConfig"],
        }))
    }

    /// The IDs of all containers, each with its name.
    fn containers(&self) -> Result<String, String> {
        self.run("docker ps --all --format {{.ID}}/{{.Names}}")
    }
}

fn expect(said: &str, words: &str) -> Result<(), String> {
    if said.contains(words) { Ok(()) } else { Err(format!("{words:?} is not in\n{said}")) }
}

/// Without platforms to make runnable, which the machine's handlers decide.
const QUIET: &str = "--driver-opt qemu.install=false,network=host";

fn the_tutorials_make_use_and_remove_builders() -> Result<(), String> {
    let world = World::new(Store::Containerd);
    let image = format!("{QUIET},image=DIND");
    world.run(&format!("docker rbx create --name meu-builder --driver docker-container --use {image}"))?;
    let said = world.run("docker rbx inspect --bootstrap")?;
    expect(&said, "#1 [internal] booting buildkit\n")?;
    expect(&said, "#1 creating container buildx_buildkit_meu-builder0")?;
    expect(&said, "Driver:        docker-container\n")?;
    expect(&said, "Status:                running\n")?;
    expect(&world.run("docker rbx ls")?, "meu-builder*")?;
    // No driver is this driver.
    world.run(&format!("docker rbx create --name mybuilder --use {image}"))?;
    expect(&world.run("docker rbx inspect mybuilder --bootstrap")?, "Driver:        docker-container\n")?;
    world.run("docker rbx use meu-builder")?;
    expect(&world.run("docker rbx ls")?, "meu-builder*")?;
    expect(&world.run("docker rbx rm meu-builder")?, "meu-builder removed")?;
    expect(&world.run("docker rbx rm mybuilder")?, "mybuilder removed")?;
    let left = world.containers()? + &world.run("docker volume ls --quiet")?;
    if left.trim().is_empty() { Ok(()) } else { Err(format!("left behind: {left}")) }
}

/// A tutorial's build on an Engine in a container, whose steps have the container's network, and whose registries and
/// rules are those of a `buildkitd.toml`; and again after the container was killed, with what is left of the first.
fn an_engine_in_a_container_builds() -> Result<(), String> {
    const CONTAINER: &str = "buildx_buildkit_builds0";
    let world = World::new(Store::Containerd);
    let context = world.home.path().join("context");
    std::fs::create_dir(&context).map_err(|error| error.to_string())?;
    std::fs::write(
        context.join("Dockerfile"),
        "FROM mirrored.test/busybox AS steps\nRUN readlink /proc/self/ns/net >/own; head -c 16 /dev/urandom | od >/once\n\
         RUN --network=none readlink /proc/self/ns/net >/none\n\
         FROM steps\nCOPY greeting /\nRUN cp /greeting /copied\n",
    )
    .map_err(|error| error.to_string())?;
    let greet = |text: &str| {
        std::fs::write(context.join("greeting"), text).map_err(|error| error.to_string())?;
        Ok::<_, String>(())
    };
    greet("first")?;
    let registry = Registry::with_images();
    let config = world.home.path().join("buildkitd.toml");
    std::fs::write(
        &config,
        format!(
            "[registry.\"mirrored.test\"]\nmirrors = [\"{}\"]\n[[worker.oci.gcpolicy]]\n\
             filters = [\"type==source.local\"]\nkeepDuration = \"48h\"\nmaxUsedSpace = \"7GB\"\n",
            registry.address()
        ),
    )
    .map_err(|error| error.to_string())?;
    let platform = rbx_platform::Platform::host();
    let build =
        format!("docker rbx build --progress=plain --platform {platform} --tag hello {}", context.display());
    let file = |name: &str| world.run(&format!("docker run --rm --network none hello cat /{name}"));

    world.run(&format!(
        "docker rbx create --name builds --driver docker-container {QUIET},image=DIND --use --buildkitd-config {}",
        config.display()
    ))?;
    // It is booted by the build.
    let said = world.run(&format!("{build} --load"))?;
    expect(&said, "creating container buildx_buildkit_builds0")?;
    expect(&file("copied")?, "first")?;
    let inspected = world.run("docker rbx inspect")?;
    for words in ["type==source.local", "48h0m0", "7GiB"] {
        expect(&inspected, words)?;
    }
    // No scanner would find a network.
    let said = world.fail(&format!("{build} --sbom=true --output type=cacheonly"))?;
    expect(
        &said,
        "ERROR: failed to build: SBOM attestations are not supported by the Engine in the container",
    )?;
    let own = world.run(&format!("docker exec {CONTAINER} readlink /proc/self/ns/net"))?;
    if file("own")? != own || file("none")? == own {
        return Err(format!("steps are not in {own}: {}{}", file("own")?, file("none")?));
    }
    let once = file("once")?;

    world.run(&format!("docker kill {CONTAINER}"))?;
    greet("second")?;
    let archive = world.home.path().join("image.tar");
    let said = world
        .run(&format!("{build} --load --provenance=false --output type=oci,dest={}", archive.display()))?;
    expect(&said, "starting container buildx_buildkit_builds0")?;
    expect(&file("copied")?, "second")?;
    if file("once")? != once {
        return Err(format!("a step ran again:\n{said}"));
    }
    let images = Image::read_all(&archive);
    let [image] = images.as_slice() else { return Err(format!("{} images", images.len())) };
    if !image.root().contains_key("copied") {
        return Err("not in the archive: /copied".to_owned());
    }
    world.run("docker rbx rm builds").map(drop)
}

/// Removes what a builder registered, whatever comes.
fn registered() -> Registered {
    let mut registered = Registered::hold();
    for architecture in Architecture::all() {
        registered.expect(&format!("rbx-{}", architecture.qemu()));
    }
    registered
}

fn platforms_are_made_runnable() -> Result<(), String> {
    let world = World::new(Store::Containerd);
    let image = "--driver-opt network=host,image=DIND";
    // Nothing is installed where that is forbidden.
    {
        let _handlers = registered();
        world.run(&format!("docker rbx create --name none --bootstrap {image},qemu.install=false"))?;
        let said = world.run("docker rbx inspect --bootstrap none")?;
        if said.contains("arm64") {
            return Err(said);
        }
        world.run("docker rbx rm none")?;
    }
    {
        let _handlers = registered();
        let platforms = "--platform linux/amd64,linux/arm64";
        let said = world.run(&format!("docker rbx create --name some --bootstrap {platforms} {image}"))?;
        let qemu = Parts::locate().program("qemu-aarch64");
        expect(&said, &format!("registering {} for linux/arm64", qemu.display()))?;
        if said.contains("riscv64") || said.contains("WARN") {
            return Err(said);
        }
        // What is there already is not touched.
        let again = world.run("docker rbx inspect --bootstrap some")?;
        if again.contains("registering") {
            return Err(again);
        }
        world.run("docker rbx rm some")?;
    }
    {
        // One that the machine has is enough.
        let _handlers = Registered::qemu(&[Architecture::Arm64]);
        let said = world
            .run(&format!("docker rbx create --name other --bootstrap --platform linux/arm64 {image}"))?;
        if said.contains("registering") {
            return Err(said);
        }
        world.run("docker rbx rm other")?;
    }
    {
        let _handlers = registered();
        world.run(&format!("docker rbx create --name all --use {image}"))?;
        let said = world.run("docker rbx inspect --bootstrap")?;
        for platform in ["linux/arm64", "linux/riscv64", "linux/s390x"] {
            expect(&said, &format!("for {platform}"))?;
        }
        world.run("docker rbx rm all")?;
    }
    // Neither this machine nor an image has any.
    let _handlers = registered();
    let image = "--driver-opt network=host,image=DIND,qemu.image=localhost:1/none";
    let mut command =
        world.command(&format!("docker rbx create --name lost --platform linux/mips64 --bootstrap {image}"));
    let settings = world.engine.config().join("rbx");
    std::fs::create_dir_all(&settings).map_err(|error| error.to_string())?;
    std::fs::write(settings.join("config.json"), r#"{"emulation":{"qemu":{"directories":[]}}}"#)
        .map_err(|error| error.to_string())?;
    let output = command.output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        return Err(said);
    }
    expect(&said, "localhost:1/none: linux/mips64 cannot be run\ninstall QEMU on this machine")?;
    expect(&world.run("docker rbx inspect lost")?, "Status:                running\n")
}

fn a_container_is_as_buildx_makes_it() -> Result<(), String> {
    let world = World::new(Store::Containerd);
    let file = world.home.path().join("buildkitd.toml");
    std::fs::write(&file, "debug = true\n").map_err(|error| error.to_string())?;
    let options = "image=BUILDKIT,network=host,memory=512m,memory-swap=1g,cpu-period=100000,cpu-quota=50000,\
                   cpu-shares=100,cpuset-cpus=0,cpuset-mems=0,cgroup-parent=/docker/buildx/own,\
                   restart-policy=on-failure:3,env.A=b,default-load=true";
    let create = |program: &str, name: &str| {
        let config = file.display();
        world.run(&format!(
            "docker {program} create --name {name} --node n --bootstrap --driver-opt {options} --buildkitd-config {config}"
        ))?;
        let found = world.inspect("buildx_buildkit_n")?;
        world.run(&format!("docker {program} rm {name}"))?;
        Ok::<_, String>(found)
    };
    // Emulators are not buildx's: none is missing.
    let _handlers =
        Registered::qemu(&Architecture::all().filter(|it| *it != Architecture::Amd64).collect::<Vec<_>>());
    let (theirs, ours) = (create("buildx", "theirs")?, create("rbx", "ours")?);
    if theirs == ours { Ok(()) } else { Err(format!("buildx:\n{theirs:#}\nrbx:\n{ours:#}")) }
}

fn either_program_uses_what_the_other_made() -> Result<(), String> {
    let world = World::new(Store::Graph);
    let options = "--driver-opt image=BUILDKIT,network=host";
    world.run(&format!("docker buildx create --name theirs --bootstrap {options}"))?;
    let before = world.containers()?;
    let said = world.run("docker rbx inspect theirs")?;
    expect(&said, "Status:                running\n")?;
    world.run("docker rbx stop theirs")?;
    expect(&world.run("docker buildx inspect theirs")?, "stopped")?;
    // It is started, and not made anew.
    world.run(&format!(
        "docker rbx create --name theirs --node theirs0 {options},env.A=b,qemu.install=false"
    ))?;
    expect(
        &world.run("docker rbx inspect --bootstrap theirs")?,
        "starting container buildx_buildkit_theirs0",
    )?;
    let after = world.containers()?;
    if after != before {
        return Err(format!("{before} became {after}"));
    }
    world.run("docker rbx rm theirs")?;

    world.run(&format!("docker rbx create --name ours {options}"))?;
    expect(&world.run("docker buildx inspect --bootstrap ours")?, "running")?;
    expect(&world.run("docker rbx inspect ours")?, "Status:                running\n")?;
    world.run("docker buildx rm ours")?;
    let left = world.containers()?;
    if left.trim().is_empty() { Ok(()) } else { Err(format!("left behind: {left}")) }
}

fn many_boot_one_container() -> Result<(), String> {
    let world = World::new(Store::Containerd);
    world.run(&format!("docker rbx create --name many --driver docker-container {QUIET},image=DIND"))?;
    let mut running = Vec::new();
    for _ in 0..6 {
        let mut command = world.command("docker rbx inspect --bootstrap --timeout 60s many");
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped());
        running.push(command.spawn().map_err(|error| error.to_string())?);
    }
    for child in running {
        let output = child.wait_with_output().map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
    }
    let found = world.containers()?;
    if found.lines().count() == 1 { Ok(()) } else { Err(found) }
}

fn settings_that_changed_count_after_a_stop() -> Result<(), String> {
    let world = World::new(Store::Containerd);
    let create = |more: &str| {
        world.run(&format!(
            "docker rbx create --name it --node n --driver docker-container {QUIET},image=DIND{more}"
        ))
    };
    create(",memory=512m,cgroup-parent=/docker/buildx/own,restart-policy=on-failure:3")?;
    world.run("docker rbx inspect --bootstrap it")?;
    let before = world.containers()?;
    let said = create(",env.A=b")?;
    expect(&said, "new settings may not be used until builder is restarted")?;
    world.run("docker rbx inspect --bootstrap it")?;
    if world.containers()? != before {
        return Err("a container that runs is left alone".to_owned());
    }
    let found = world.inspect("buildx_buildkit_n")?["host"].take();
    for (field, wanted) in [
        ("NetworkMode", "host".into()),
        ("Memory", (512 << 20).into()),
        ("CgroupParent", "/docker/buildx/own".into()),
        ("RestartPolicy", json!({ "Name": "on-failure", "MaximumRetryCount": 3 })),
    ] {
        if found[field] != wanted {
            return Err(format!("{field}: {} for {wanted}", found[field]));
        }
    }
    world.run("docker rbx stop it")?;
    expect(
        &world.run("docker rbx inspect --bootstrap it")?,
        "removing container buildx_buildkit_n, which has other settings",
    )?;
    let found = world.inspect("buildx_buildkit_n")?;
    expect(&found["config"]["Env"].to_string(), "\"A=b\"")?;
    // Whoever keeps the state finds it again, and whoever keeps the daemon has it running.
    world.run("docker rbx rm --keep-state it")?;
    expect(&world.run("docker volume ls --quiet")?, "buildx_buildkit_n_state")?;
    expect(&create("")?, "it")?;
    world.run("docker rbx inspect --bootstrap it")?;
    world.run("docker rbx rm --keep-daemon it")?;
    create("")?;
    expect(&world.run("docker rbx inspect it")?, "Status:                running\n")?;
    // What is not running goes with the rest.
    world.run("docker rbx stop it")?;
    expect(&world.run("docker rbx rm --all-inactive --force")?, "it removed")?;
    let left = world.containers()? + &world.run("docker volume ls --quiet")?;
    if left.trim().is_empty() { Ok(()) } else { Err(format!("left behind: {left}")) }
}

fn what_does_not_start_says_why() -> Result<(), String> {
    let world = World::new(Store::Graph);
    let said = world.fail("docker rbx create --name gone --bootstrap --driver-opt image=localhost:1/gone")?;
    expect(&said, "image localhost:1/gone\nHint: choose another image with `--driver-opt image=`")?;
    expect(&world.run("docker rbx ls")?, "gone")?;
    // A flag that the daemon does not know: the reason, and the end of its log.
    for (image, words) in
        [("DIND", "unknown flag: --nonsense"), ("BUILDKIT", "flag provided but not defined: --nonsense")]
    {
        let said = world.fail(&format!(
            "docker rbx create --name bad --bootstrap --buildkitd-flags=--nonsense {QUIET},image={image}"
        ))?;
        expect(&said, "ERROR: container buildx_buildkit_bad0 exited with code ")?;
        let (_, after) = said.rsplit_once("\nERROR: ").ok_or("no error")?;
        expect(after, words)?;
        world.run("docker rbx rm bad")?;
    }
    let config = world.home.path().join("buildkitd.toml");
    std::fs::write(&config, "[worker.oci]\nmax-parallelism = 4\n").map_err(|error| error.to_string())?;
    let said = world.fail(&format!(
        "docker rbx create --name told --bootstrap --buildkitd-config {} {QUIET},image=DIND",
        config.display()
    ))?;
    expect(&said, "an Engine in a container has nothing for: worker.oci.max-parallelism: buildkitd.toml")?;
    world.run("docker rbx rm told")?;
    let said =
        world.fail("docker rbx create --name odd --bootstrap --driver-opt network=missing,image=DIND")?;
    expect(&said, "network missing not found")
}

fn a_real_image_of_buildkit_is_booted() -> Result<(), String> {
    let Some(archive) = buildkit_image() else {
        let why = "container::a_real_image_of_buildkit_is_booted did not run: no $RBX_BUILDKIT_IMAGE";
        let _ = writeln!(std::io::stdout(), "{why}");
        return Ok(());
    };
    let engine = Engine::start(Store::Containerd);
    engine.install_plugin(&rbx_program());
    let world = World { engine, home: tempfile::tempdir().map_err(|error| error.to_string())? };
    let loaded = world.run(&format!("docker load --input {}", archive.display()))?;
    let image =
        loaded.lines().find_map(|line| line.strip_prefix("Loaded image: ")).ok_or("an image without name")?;
    world.run(&format!("docker rbx create --name real --bootstrap {QUIET},image={image}"))?;
    let said = world.run("docker rbx inspect real")?;
    expect(&said, "Status:                running\n")?;
    world.run("docker rbx stop real")?;
    world.run("docker rbx inspect --bootstrap real")?;
    world.run("docker rbx rm real").map(drop)
}

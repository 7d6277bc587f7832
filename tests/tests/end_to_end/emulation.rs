//! Steps for other platforms: what they run under, what is said of it, and how they fail.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use rbx_emulation::Architecture;
use rbx_tests::binfmt::{Registered, Untouched};
use rbx_tests::{Image, Parts, Registry, User, rbx, rbx_as};
use serde_json::{Value, json};

/// A build that lasts this long hangs.
const LONGEST: Duration = Duration::from_mins(3);

/// The tests of this module.
pub(crate) fn trials() -> Vec<Trial> {
    let trial = |name: &str, test: fn() -> Result<(), String>| {
        Trial::test(format!("emulation::{name}"), move || test().map_err(Failed::from))
    };
    vec![
        trial("root_runs_every_platform", || every_platform(None)),
        trial("users_run_every_platform", || every_platform(Some(User::with_ranges()))),
        trial("users_with_one_id_run_every_platform", || every_platform(Some(User::with_one_id()))),
        trial("what_the_cpu_runs_is_emulated_on_demand", what_the_cpu_runs_is_emulated_on_demand),
        trial("handlers_of_the_host_are_used", handlers_of_the_host_are_used),
        trial("what_nothing_runs_is_an_error", what_nothing_runs_is_an_error),
        trial("qemu_comes_from_an_image", qemu_comes_from_an_image),
        trial("images_without_a_usable_qemu", images_without_a_usable_qemu),
        trial("native_builds_need_nothing", native_builds_need_nothing),
        trial("the_image_says_what_steps_run_on", the_image_says_what_steps_run_on),
        trial("hints_are_given_once", hints_are_given_once),
        trial("crashes_are_called_qemus", crashes_are_called_qemus),
        trial("killed_builds_leave_nothing", killed_builds_leave_nothing),
    ]
}

/// A context, and a home with settings, of root or a user.
struct Work {
    directory: tempfile::TempDir,
    user: Option<User>,
    parts: Parts,
}

/// What a build did and said.
struct Said {
    well: bool,
    text: String,
}

impl Work {
    fn new(user: Option<User>, dockerfile: &str) -> Self {
        let work =
            Self { directory: tempfile::tempdir().expect("a directory"), user, parts: Parts::locate() };
        for directory in ["config/rbx", "context"] {
            fs::create_dir_all(work.path(directory)).expect("a directory");
        }
        if let Some(user) = &work.user {
            user.own(work.directory.path());
        }
        work.dockerfile(dockerfile);
        work.set(&json!({}));
        work
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn dockerfile(&self, text: &str) {
        fs::write(self.path("context/Dockerfile"), text).expect("a Dockerfile");
    }

    /// The directory that has the QEMU of the parts.
    fn qemu(&self) -> PathBuf {
        let program = self.parts.program("qemu-aarch64");
        program.parent().expect("a program is in a directory").to_owned()
    }

    /// Settings of emulation, beside which QEMU is that of the parts and, so that handlers of the host play no part,
    /// in a namespace.
    fn set(&self, more: &Value) {
        let mut emulation = json!({
            "registration": "namespace",
            "qemu": { "directories": [self.qemu()], "image": "" },
        });
        for (name, value) in more.as_object().expect("an object") {
            emulation[name] = value.clone();
        }
        self.configure(&json!({ "emulation": emulation }));
    }

    fn configure(&self, settings: &Value) {
        fs::write(self.path("config/rbx/config.json"), settings.to_string()).expect("settings");
    }

    /// A build for these platforms whose stages may begin with `base`.
    fn command(&self, platforms: &str) -> Command {
        let mut command = match &self.user {
            Some(user) => rbx_as(user, &self.parts, self.directory.path()),
            None => rbx(&self.parts, self.directory.path()),
        };
        command.current_dir(self.directory.path());
        command.args(["build", "--builder=embedded", "--build-context"]);
        command.arg(format!("base=oci-layout://{}", self.parts.layout("busybox").display()));
        if !platforms.is_empty() {
            command.arg(format!("--platform={platforms}"));
        }
        command.arg("context");
        command
    }

    fn build(&self, platforms: &str, more: &[&str]) -> Said {
        Said::of(self.command(platforms).args(["--progress=plain"]).args(more))
    }

    /// A build that has to succeed: what it said.
    fn succeed(&self, platforms: &str, more: &[&str]) -> Result<String, String> {
        let said = self.build(platforms, more);
        if said.well { Ok(said.text) } else { Err(said.text) }
    }

    /// A build that has to fail: what it said.
    fn fail(&self, platforms: &str) -> Result<String, String> {
        let said = self.build(platforms, &["--output=type=cacheonly"]);
        if said.well { Err(format!("it succeeded:\n{}", said.text)) } else { Ok(said.text) }
    }

    /// The images that a build for these platforms makes, and what it said.
    fn images(&self, platforms: &str) -> Result<(Vec<Image>, String), String> {
        let archive = self.path("image.tar");
        let said = self.succeed(platforms, &[&format!("--output=type=oci,dest={}", archive.display())])?;
        Ok((Image::read_all(&archive), said))
    }
}

impl Said {
    /// Runs a build to its end, which has to come: a crash of QEMU has hung before.
    fn of(command: &mut Command) -> Self {
        let log = tempfile::NamedTempFile::new().expect("a file");
        let file = log.reopen().expect("a file");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::from(file)).spawn();
        let mut child = child.expect("docker-rbx runs");
        let started = Instant::now();
        let well = loop {
            match child.try_wait().expect("a child") {
                Some(status) => break status.success(),
                None if started.elapsed() > LONGEST => {
                    let _ = child.kill();
                    let _ = child.wait();
                    let said = fs::read_to_string(log.path()).unwrap_or_default();
                    panic!("it hangs:\n{said}");
                }
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        Self { well, text: fs::read_to_string(log.path()).expect("a log") }
    }
}

fn expect(said: &str, words: &[&str]) -> Result<(), String> {
    match words.iter().find(|words| !said.contains(**words)) {
        None => Ok(()),
        Some(missing) => Err(format!("{missing:?} is not in:\n{said}")),
    }
}

fn expect_not(said: &str, words: &[&str]) -> Result<(), String> {
    match words.iter().find(|words| said.contains(**words)) {
        None => Ok(()),
        Some(found) => Err(format!("{found:?} is in:\n{said}")),
    }
}

/// The error and its hint: what is said last.
fn error(said: &str) -> String {
    said.rfind("\nERROR: ").map_or_else(|| said.to_owned(), |at| said[at..].trim().to_owned())
}

/// A file of an image without the quotes that it is shown in.
fn text(image: &Image, path: &str) -> String {
    let root = image.root();
    let content = root.get(path).and_then(|entry| entry.content.clone()).unwrap_or_default();
    content.trim_matches('"').replace("\\n", "\n").trim().to_owned()
}

fn every_platform(user: Option<User>) -> Result<(), String> {
    let host = Untouched::hold();
    let many_ids = user
        .as_ref()
        .is_none_or(|user| fs::read(user.home().join("etc/subuid")).is_ok_and(|it| !it.is_empty()));
    let ids = if many_ids { "RUN chown 5:6 /machine\nUSER 1001:1002\nRUN id -u > /tmp/user\n" } else { "" };
    let work =
        Work::new(user, &format!("FROM base\nRUN mkdir -p -m 1777 /tmp && uname -m > /machine\n{ids}"));
    let platforms = [
        ("linux/arm64", "aarch64", "qemu-aarch64"),
        ("linux/arm/v7", "armv7l", "qemu-arm"),
        ("linux/riscv64", "riscv64", "qemu-riscv64"),
        ("linux/s390x", "s390x", "qemu-s390x"),
        ("linux/ppc64le", "ppc64le", "qemu-ppc64le"),
    ];
    if host.handlers().is_empty() {
        // As it is where nothing is set.
        work.set(&json!({ "registration": "auto" }));
    }
    let names: Vec<&str> = platforms.iter().map(|(platform, ..)| *platform).chain(["linux/386"]).collect();
    let (images, said) = work.images(&names.join(","))?;
    for (image, (platform, machine, qemu)) in images.iter().zip(platforms) {
        let found = text(image, "machine");
        if found != machine {
            return Err(format!("{platform} is {found:?}"));
        }
        let program = work.qemu().join(qemu);
        let notice = format!("[internal] {platform}: steps are emulated by {}\n", program.display());
        expect(&said, &[&notice, &format!("[{platform} 1/")])?;
        if many_ids {
            let owner = image.root().get("machine").map(|entry| (entry.uid, entry.gid));
            let user = text(image, "tmp/user");
            if owner != Some((5, 6)) || user != "1001" {
                return Err(format!("{platform}: {owner:?} {user:?}"));
            }
        }
    }
    expect(&said, &["[internal] linux/386: steps run natively, since this CPU runs them, too\n"])?;
    host.assert_same();

    // What was emulated is found again.
    let (again, said) = work.images(&names.join(","))?;
    if again.iter().map(|image| &image.descriptor).ne(images.iter().map(|image| &image.descriptor)) {
        return Err("the cached rebuild is another image".to_owned());
    }
    expect(&said, &["CACHED"])
}

fn what_the_cpu_runs_is_emulated_on_demand() -> Result<(), String> {
    let work = Work::new(None, "FROM base\nRUN uname -m > /machine\n");
    work.set(&json!({ "always": ["linux/386"] }));
    let (images, said) = work.images("linux/386,linux/amd64,linux/amd64/v2")?;
    let machines: Vec<String> = images.iter().map(|image| text(image, "machine")).collect();
    if machines != ["i686", "x86_64", "x86_64"] {
        return Err(format!("{machines:?}"));
    }
    expect(&said, &["[internal] linux/386: steps are emulated by "])?;
    expect_not(&said, &["linux/amd64: steps"])
}

fn handlers_of_the_host_are_used() -> Result<(), String> {
    let _host = Registered::qemu(&[Architecture::Arm64, Architecture::Riscv64]);
    // A device node can be made there, by root.
    let dockerfile = "FROM base\nRUN uname -m > /machine\nRUN mknod /device c 1 3\n";
    for settings in [json!({ "registration": "auto" }), json!({ "registration": "host" })] {
        let work = Work::new(None, dockerfile);
        work.set(&settings);
        let (images, said) = work.images("linux/arm64,linux/riscv64")?;
        let machines: Vec<String> = images.iter().map(|image| text(image, "machine")).collect();
        if machines != ["aarch64", "riscv64"] {
            return Err(format!("{machines:?}"));
        }
        expect(&said, &["[internal] linux/arm64: steps are emulated by ", "/qemu-aarch64 of the host\n"])?;
        expect_not(&said, &["load QEMU"])?;
    }
    // A user's build has the namespace before them, and them where it has to.
    let work = Work::new(Some(User::with_ranges()), "FROM base\nRUN uname -m > /machine\n");
    work.set(&json!({ "registration": "auto" }));
    let (_, said) = work.images("linux/arm64")?;
    expect(&said, &[": steps are emulated by "])?;
    expect_not(&said, &[" of the host\n"])?;
    work.set(&json!({ "registration": "host" }));
    work.dockerfile("FROM base\nRUN uname -m > /other\n");
    let (images, said) = work.images("linux/arm64")?;
    expect(&said, &[" of the host\n"])?;
    let machine = text(&images[0], "other");
    if machine == "aarch64" { Ok(()) } else { Err(machine) }
}

fn what_nothing_runs_is_an_error() -> Result<(), String> {
    let host = Untouched::hold();
    let dockerfile = "FROM base AS one\nRUN one\nFROM base\nCOPY --from=one / /\nRUN echo \\\n  two\n";
    let work = Work::new(None, dockerfile);
    work.set(&json!({ "registration": "auto", "qemu": { "directories": [], "image": "" } }));
    let said = work.fail("linux/amd64,linux/arm64,linux/s390x")?;
    expect_not(&said, &["FROM base@", "RUN one\n#"])?;
    insta::assert_snapshot!(said[said.find("Dockerfile:").unwrap_or(0)..].trim_end(), @r#"
    Dockerfile:2
    --------------------
       1 |     FROM base AS one
       2 | >>> RUN one
       3 |     FROM base
       4 |     COPY --from=one / /
    --------------------
    ERROR: failed to build: there is no qemu-aarch64 on this machine: cannot run [linux/arm64 one 1/2] RUN one for linux/arm64 on linux/amd64; there is no qemu-s390x on this machine: cannot run [linux/s390x one 1/2] RUN one for linux/s390x on linux/amd64
    Hint: sudo apt-get install qemu-user-static, or set emulation.qemu.image to an image that has QEMU, such as tonistiigi/binfmt; or cross-compile in a stage FROM --platform=$BUILDPLATFORM
    "#);
    // Nothing is run, and no image with QEMU is asked for.
    let on_host = json!({ "registration": "host", "qemu": { "image": "registry.invalid/qemu" } });
    work.set(&on_host);
    insta::assert_snapshot!(error(&work.fail("linux/arm64")?), @r#"
    ERROR: failed to build: the host has no handler for arm64: cannot run [one 1/2] RUN one for linux/arm64 on linux/amd64
    Hint: docker run --privileged --rm tonistiigi/binfmt --install arm64; or cross-compile in a stage FROM --platform=$BUILDPLATFORM
    "#);
    work.set(&json!({ "registration": "none" }));
    insta::assert_snapshot!(error(&work.fail("linux/arm64")?), @r#"
    ERROR: failed to build: emulation is switched off: cannot run [one 1/2] RUN one for linux/arm64 on linux/amd64
    Hint: set "emulation": {"registration": "auto"} in rbx/config.json; or cross-compile in a stage FROM --platform=$BUILDPLATFORM
    "#);
    // An OCI runtime runs what handlers of the host run.
    work.set(&json!({}));
    let said = Said::of(work.command("linux/arm64").args(["--progress=plain", "--oci-runtime=runc"]));
    insta::assert_snapshot!(error(&said.text), @r#"
    ERROR: failed to build: the host has no handler for arm64: cannot run [one 1/2] RUN one for linux/arm64 on linux/amd64
    Hint: docker run --privileged --rm tonistiigi/binfmt --install arm64; or leave --oci-runtime and RBX_OCI_RUNTIME away, so that none is needed; or cross-compile in a stage FROM --platform=$BUILDPLATFORM
    "#);
    host.assert_same();
    Ok(())
}

/// Builds an image with what is in a directory, and pushes it.
fn push(work: &Work, name: &str, dockerfile: &str, platform: &str) -> Result<(), String> {
    let context = work.path("image");
    fs::create_dir_all(&context).map_err(|error| error.to_string())?;
    fs::write(context.join("Dockerfile"), dockerfile).map_err(|error| error.to_string())?;
    let mut command = rbx(&work.parts, &work.path("pusher"));
    command.args([
        "build",
        "--builder=embedded",
        "--provenance=false",
        "--push",
        "--tag",
        name,
        "--platform",
        platform,
    ]);
    command
        .arg("--build-context")
        .arg(format!("base=oci-layout://{}", work.parts.layout("busybox").display()));
    let said =
        Said::of(command.arg("--build-context").arg(format!("qemu={}", work.qemu().display())).arg(context));
    if said.well { Ok(()) } else { Err(said.text) }
}

fn qemu_comes_from_an_image() -> Result<(), String> {
    let registry = Registry::start();
    for user in [None, Some(User::with_ranges())] {
        let work = Work::new(user, "FROM base\nRUN uname -m > /machine\n");
        // One of them is a link, which leads elsewhere from outside.
        let dockerfile = "FROM base AS link\nRUN mkdir -p /l/usr/bin && ln -s /opt/qemu /l/usr/bin/qemu-s390x\n\
                          FROM scratch\nCOPY --from=qemu qemu-aarch64 /usr/bin/\n\
                          COPY --from=qemu qemu-s390x /opt/qemu\nCOPY --from=link /l /\n";
        let name = format!("{}/tonistiigi/binfmt:latest", registry.address());
        push(&work, &name, dockerfile, "linux/amd64")?;
        let emulation = json!({ "registration": "namespace", "qemu": { "directories": [] } });
        let mirrors = json!({ "docker.io": { "mirrors": [registry.address()] } });
        work.configure(&json!({ "emulation": emulation, "registries": mirrors }));
        let (images, said) = work.images("linux/arm64,linux/s390x")?;
        let machines: Vec<String> = images.iter().map(|image| text(image, "machine")).collect();
        if machines != ["aarch64", "s390x"] {
            return Err(format!("{machines:?}"));
        }
        expect(
            &said,
            &[
                "[internal] linux/arm64: steps are emulated by QEMU of tonistiigi/binfmt\n",
                "[internal] load QEMU from docker.io/tonistiigi/binfmt:latest\n",
            ],
        )?;
        let loads = said.lines().filter_map(|line| line.split_once(" [internal] load QEMU"));
        if loads.map(|(vertex, _)| vertex).collect::<BTreeSet<_>>().len() != 1 {
            return Err(format!("it is loaded more than once:\n{said}"));
        }
        // What is found again needs no QEMU, and what does finds it in the store.
        work.configure(&json!({ "emulation": emulation }));
        expect_not(&work.images("linux/arm64,linux/s390x")?.1, &["load QEMU"])?;
        work.dockerfile("FROM base\nRUN uname -m > /machine && echo again\n");
        let (images, said) = work.images("linux/arm64")?;
        expect(&said, &["[internal] load QEMU from docker.io/tonistiigi/binfmt:latest\n"])?;
        if text(&images[0], "machine") != "aarch64" {
            return Err(said);
        }
    }
    Ok(())
}

fn images_without_a_usable_qemu() -> Result<(), String> {
    let registry = Registry::start();
    let work = Work::new(None, "FROM base\nRUN uname -m > /machine\n");
    let image = |name: &str| format!("{}/{name}", registry.address());
    let try_out = |name: &str| {
        work.set(&json!({ "qemu": { "directories": [], "image": image(name) } }));
        let said = work.fail("linux/arm64")?;
        Ok::<String, String>(error(&said).replace(registry.address(), "REGISTRY"))
    };
    insta::assert_snapshot!(try_out("none")?, @r#"
    ERROR: failed to build: failed to resolve source metadata for REGISTRY/none:latest: not found: REGISTRY/none:latest at REGISTRY: manifest unknown
    Hint: QEMU for arm64 is not on this machine and comes from that image: install it (sudo apt-get install qemu-user-static), or set emulation.qemu.image in rbx/config.json to an image that can be had
    "#);
    push(&work, &image("empty"), "FROM scratch\nCOPY --from=qemu qemu-arm /usr/bin/\n", "linux/amd64")?;
    insta::assert_snapshot!(try_out("empty")?, @r#"
    ERROR: failed to build: REGISTRY/empty:latest has no /usr/bin/qemu-aarch64
    Hint: QEMU for arm64 is not on this machine and comes from that image: install it (sudo apt-get install qemu-user-static), or set emulation.qemu.image in rbx/config.json to an image that can be had
    "#);
    let script = "FROM scratch\nCOPY --chmod=755 <<EOF /usr/bin/qemu-aarch64\n#!/bin/sh\nEOF\n";
    push(&work, &image("script"), script, "linux/amd64")?;
    insta::assert_snapshot!(try_out("script")?, @r#"
    ERROR: failed to build: it is no program of this machine's architecture: /usr/bin/qemu-aarch64 of REGISTRY/script:latest cannot be used
    Hint: QEMU for arm64 is not on this machine and comes from that image: install it (sudo apt-get install qemu-user-static), or set emulation.qemu.image in rbx/config.json to an image that can be had
    "#);
    let outside = "FROM base AS link\n\
                   RUN mkdir -p /l/usr/bin && ln -s ../../../../../../../../bin/busybox /l/usr/bin/qemu-aarch64\n\
                   FROM scratch\nCOPY --from=link /l /\n";
    push(&work, &image("outside"), outside, "linux/amd64")?;
    expect(&try_out("outside")?, &["has no /usr/bin/qemu-aarch64"])
}

fn native_builds_need_nothing() -> Result<(), String> {
    let work = Work::new(
        None,
        "FROM --platform=$BUILDPLATFORM base AS build\nARG TARGETARCH\nRUN echo $TARGETARCH > /made\n\
         FROM base\nCOPY --from=build /made /\n",
    );
    work.set(&json!({ "registration": "none", "qemu": { "directories": [], "image": "" } }));
    let (images, said) = work.images("linux/amd64,linux/arm64")?;
    let made: Vec<String> = images.iter().map(|image| text(image, "made")).collect();
    if made != ["amd64", "arm64"] {
        return Err(format!("{made:?}"));
    }
    expect_not(&said, &["emulated", "natively", "QEMU", "warning"])
}

/// `FROM arm64v8/debian` means arm64 whatever is built: there is no other such image.
fn the_image_says_what_steps_run_on() -> Result<(), String> {
    let registry = Registry::start();
    let work = Work::new(None, "");
    let name = format!("{}/arm64v8/busybox", registry.address());
    push(&work, &name, "FROM base\n", "linux/arm64")?;
    let build = |more: &str| {
        work.dockerfile(&format!("FROM {name} AS one\nFROM one\nRUN uname -m > /machine {more}\n"));
        let (images, said) = work.images("")?;
        expect(&said, &["[internal] linux/arm64: steps are emulated by "])?;
        let machine = text(&images[0], "machine");
        if machine == "aarch64" { Ok(()) } else { Err(format!("{machine:?}:\n{said}")) }
    };
    build("")?;
    // It is found again when nobody can be asked.
    drop(registry);
    build("&& true")
}

fn hints_are_given_once() -> Result<(), String> {
    let work = Work::new(
        None,
        "FROM base AS deps\nRUN echo deps\nFROM deps AS build\nRUN echo build > /made\n\
         FROM --platform=linux/arm64 base AS fixed-arm64\nRUN echo fixed > /fixed\n\
         FROM base AS runtime\nRUN echo runtime\n\
         FROM runtime\nCOPY --from=build /made /\nCOPY --from=fixed-arm64 /fixed /\nRUN true\n",
    );
    let said = work.succeed("linux/arm64,linux/riscv64", &["--output=type=cacheonly"])?;
    let last = said.split_once(" 1 warning found").map(|(_, last)| last.trim_end());
    insta::assert_snapshot!(last.unwrap_or(&said), @r#"
    (use docker --debug to expand):
    - stage "deps" is emulated for linux/arm64, linux/riscv64: if it can cross-compile, FROM --platform=$BUILDPLATFORM makes it native (line 1)
    "#);

    // Quiet is quiet, and JSON is JSON.
    let quiet =
        Said::of(work.command("linux/arm64").args(["--quiet", "--output=type=cacheonly", "--no-cache"]));
    if !quiet.well || !quiet.text.is_empty() {
        return Err(quiet.text);
    }
    let raw = Said::of(work.command("linux/riscv64").args(["--progress=rawjson", "--output=type=cacheonly"]));
    let lines = raw.text.lines().map(serde_json::from_str::<Value>);
    let lines = lines.collect::<Result<Vec<_>, _>>().map_err(|error| format!("{error}: {}", raw.text))?;
    let warnings: Vec<&Value> =
        lines.iter().filter_map(|line| line["warnings"].as_array()).flatten().collect();
    match warnings.as_slice() {
        [warning] if warning["level"] == 1 && warning["range"].is_array() => Ok(()),
        _ => Err(raw.text),
    }
}

/// A program for arm64 that does nothing but these instructions.
fn program(instructions: &[u32]) -> Vec<u8> {
    let (header, start) = (120_u64, 0x40_0000_u64);
    let size = header + 4 * instructions.len() as u64;
    let halves = |halves: &[u16]| halves.iter().flat_map(|half| half.to_le_bytes()).collect::<Vec<u8>>();
    let longs = |longs: &[u64]| longs.iter().flat_map(|long| long.to_le_bytes()).collect::<Vec<u8>>();
    [
        b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec(),
        halves(&[2, 183, 1, 0]),
        longs(&[start + header, 64, 0]),
        halves(&[0, 0, 64, 56, 1, 0, 0, 0]),
        halves(&[1, 0, 5, 0]),
        longs(&[0, start, start, size, size, 0x1000]),
        instructions.iter().flat_map(|instruction| instruction.to_le_bytes()).collect(),
    ]
    .concat()
}

fn crashes_are_called_qemus() -> Result<(), String> {
    // An instruction that there is not; a read at address 0; system call 9999, its error made the exit status.
    let illegal = program(&[0]);
    let fault = program(&[0xd280_0000, 0xf940_0001]);
    let call = program(&[0xd280_0008 | (9999 << 5), 0xd400_0001, 0xcb00_03e0, 0xd280_0ba8, 0xd400_0001]);
    let work = Work::new(None, "");
    for (name, bytes) in [("illegal", illegal), ("fault", fault), ("call", call)] {
        fs::write(work.path("context").join(name), bytes).map_err(|error| error.to_string())?;
    }
    let version = Command::new(work.parts.program("qemu-aarch64")).arg("--version").output();
    let version = String::from_utf8_lossy(&version.map_err(|error| error.to_string())?.stdout).into_owned();
    let version = version.split(' ').nth(2).unwrap_or_default().to_owned();
    let failure = |command: &str| {
        work.dockerfile(&format!("FROM base\nCOPY --chmod=755 illegal fault call /\nRUN {command}\n"));
        let said = error(&work.fail("linux/arm64")?);
        let qemu = work.qemu().display().to_string();
        Ok::<String, String>(said.replace(&version, "VERSION").replace(&qemu, "DIRECTORY"))
    };
    // As the first process of the step, in a shell, and lost on the way.
    insta::assert_snapshot!(failure(r#"["/fault"]"#)?, @r#"
    ERROR: failed to build: process "/fault" did not complete successfully: exit code: 139
    Hint: this is most likely a crash of QEMU VERSION (DIRECTORY/qemu-aarch64), which emulates linux/arm64 here: signal 11 (segmentation fault); a fault of the program itself would look the same; try a newer QEMU (emulation.qemu in rbx/config.json says where it is taken from, --pull renews an image), or cross-compile in a stage FROM --platform=$BUILDPLATFORM
    "#);
    expect(&failure("/fault")?, &["exit code: 139", "QEMU VERSION", "signal 11"])?;
    expect(&failure("/illegal; exit $?")?, &["exit code: 132", "QEMU VERSION", "signal 4"])?;
    expect(&failure("/fault; exit 1")?, &["exit code: 1\n", "QEMU VERSION", "signal 11"])?;
    insta::assert_snapshot!(failure("/call || { echo 'call: Function not implemented' >&2; exit 1; }")?, @r#"
    ERROR: failed to build: process "/bin/sh -c /call || { echo 'call: Function not implemented' >&2; exit 1; }" did not complete successfully: exit code: 1
    Hint: perhaps QEMU VERSION (DIRECTORY/qemu-aarch64), which emulates linux/arm64 here, does not know a system call: that is what "Function not implemented" means; try a newer QEMU (emulation.qemu in rbx/config.json says where it is taken from, --pull renews an image), or cross-compile in a stage FROM --platform=$BUILDPLATFORM
    "#);
    insta::assert_snapshot!(failure("mknod /device c 1 3")?, @r#"
    ERROR: failed to build: process "/bin/sh -c mknod /device c 1 3" did not complete successfully: exit code: 1
    Hint: emulated steps run in a user namespace of the build, where nobody can make device nodes; where the host has a handler for linux/arm64, steps of root can: docker run --privileged --rm tonistiigi/binfmt --install arm64
    "#);
    // What a program does by itself is nobody else's fault.
    expect_not(&failure("exit 1")?, &["Hint"])?;
    expect_not(&failure("kill -ABRT $$; exit 134")?, &["Hint"])
}

/// Processes that run a command.
fn processes(marker: &str) -> Vec<String> {
    let commands = fs::read_dir("/proc").into_iter().flatten().flatten();
    let commands = commands.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    let commands = commands.map(|command| String::from_utf8_lossy(&command).replace('\0', " "));
    commands.filter(|command| command.contains(marker)).collect()
}

fn killed_builds_leave_nothing() -> Result<(), String> {
    for user in [None, Some(User::with_ranges())] {
        let marker = format!("100{}", std::process::id());
        let work = Work::new(user, &format!("FROM base\nRUN sleep {marker}; true\n"));
        let mut command = work.command("linux/arm64,linux/s390x");
        command.args(["--progress=plain", "--output=type=cacheonly"]);
        let mut child =
            command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().map_err(|it| it.to_string())?;
        let sleeping =
            || processes(&marker).iter().filter(|it| it.contains("qemu-") && it.contains("sleep")).count();
        while sleeping() < 2 {
            if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
                return Err(format!("it ended with {status}"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        child.kill().map_err(|error| error.to_string())?;
        child.wait().map_err(|error| error.to_string())?;
        // The kernel takes a moment.
        let killed = Instant::now();
        while !processes(&marker).is_empty() {
            if killed.elapsed() > LONGEST {
                return Err(format!("these are left: {:?}", processes(&marker)));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(())
}

//! Builds for several platforms beside BuildKit's: what the flag takes, the index, files by platform, the choice of
//! base images, and how often a step is done.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use libtest_mimic::{Failed, Trial};
use rbx_tests::{Engine, Image, Parts, Registry, Store, compare, rbx, read_root};
use serde_json::Value;

/// The tests of this module.
pub(crate) fn trials() -> Vec<Trial> {
    let trial = |name: &str, test: fn() -> Result<(), String>| {
        Trial::test(format!("platforms::{name}"), move || test().map_err(Failed::from))
    };
    vec![
        trial("flags_mean_what_they_do_to_buildx", flags_mean_what_they_do_to_buildx),
        trial("indexes_are_buildkit_s", indexes_are_buildkit_s),
        trial("files_are_split_alike", files_are_split_alike),
        trial("bases_are_chosen_alike", bases_are_chosen_alike),
        trial("attributes_are_read_alike", attributes_are_read_alike),
        trial("steps_are_done_as_often", steps_are_done_as_often),
        trial("one_more_platform_is_its_own_work", one_more_platform_is_its_own_work),
        trial("what_was_killed_is_built_as_if_it_was_not", what_was_killed_is_built_as_if_it_was_not),
    ]
}

/// Both sides, with a context each that they share.
struct Sides {
    directory: tempfile::TempDir,
    parts: Parts,
    engine: Engine,
    /// Has the base images.
    images: Registry,
}

/// What a build came to.
struct Ran {
    output: Output,
    /// What was written to the output's place.
    written: PathBuf,
}

impl Ran {
    /// The last error, without what is put before a reason; empty if it was a success.
    fn error(&self) -> String {
        if self.output.status.success() {
            return String::new();
        }
        let said = String::from_utf8_lossy(&self.output.stderr);
        let line = said.lines().rfind(|line| line.starts_with("ERROR: ")).unwrap_or("failed without a word");
        line.replace("ERROR: failed to build: ", "").replace("failed to solve: ", "")
    }

    fn well(self) -> Result<Self, String> {
        if self.output.status.success() {
            return Ok(self);
        }
        Err(String::from_utf8_lossy(&self.output.stderr).into_owned())
    }
}

impl Sides {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let sides = Self {
            directory,
            parts: Parts::locate(),
            engine: Engine::start(Store::Containerd),
            images: Registry::with_images(),
        };
        fs::create_dir(sides.path("context")).expect("a context");
        fs::write(sides.path("context/file"), "content\n").expect("a file");
        sides
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn dockerfile(&self, text: &str) {
        let text = text.replace("registry.test", self.images.address());
        fs::write(self.path("context/Dockerfile"), text).expect("a Dockerfile");
    }

    fn rbx(&self) -> Command {
        let mut program = rbx(&self.parts, self.directory.path());
        program.args(["build", "--builder=embedded"]);
        program
    }

    fn buildkit(&self) -> Command {
        let mut program = self.engine.buildx();
        program.args(["build", "--provenance=false"]);
        program
    }

    /// Builds; `OUT` in the arguments is a place of this side's own.
    fn build(&self, mut program: Command, side: &str, arguments: &[&str]) -> Ran {
        let written = self.path(side);
        let _ = fs::remove_dir_all(&written);
        let _ = fs::remove_file(&written);
        let place = written.display().to_string();
        program
            .args(["--network=host"])
            .args(arguments.iter().map(|argument| argument.replace("OUT", &place)));
        if !arguments.iter().any(|argument| argument.starts_with("--progress")) {
            program.arg("--progress=plain");
        }
        let output = program.arg(self.path("context")).output().expect("the program can be run");
        Ran { output, written }
    }

    /// The same by BuildKit, then by docker-rbx.
    fn both(&self, arguments: &[&str]) -> (Ran, Ran) {
        (self.build(self.buildkit(), "theirs", arguments), self.build(self.rbx(), "ours", arguments))
    }
}

fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)))
}

/// All that went wrong, or nothing.
fn report(faults: &[String]) -> Result<(), String> {
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
}

/// How two archives differ.
fn archives(theirs: &Path, ours: &Path) -> Vec<String> {
    let mut differences = compare::indexes(&Image::read_indexes(theirs), &Image::read_indexes(ours));
    differences.extend(compare::archives(&Image::read_all(theirs), &Image::read_all(ours)));
    differences.iter().map(|difference| format!("  {difference}")).collect()
}

/// Values of the flag and of the variable: accepted as the same platforms, or refused in the same words.
fn flags_mean_what_they_do_to_buildx() -> Result<(), String> {
    let sides = Sides::new();
    sides.dockerfile("FROM scratch\nCOPY file /\n");
    let mut faults = Vec::new();
    let mut check = |variable: Option<&str>, flags: &[&str]| {
        let arguments = [flags, &["--output=type=oci,dest=OUT"]].concat();
        let mut programs = [sides.buildkit(), sides.rbx()];
        for program in &mut programs {
            program.envs(variable.map(|value| ("DOCKER_DEFAULT_PLATFORM", value)));
        }
        let [theirs, ours] = programs;
        let (theirs, ours) =
            (sides.build(theirs, "theirs", &arguments), sides.build(ours, "ours", &arguments));
        let asked = format!("{variable:?} {flags:?}");
        if theirs.error() != ours.error() {
            faults.push(format!("{asked}: {:?} | {:?}", theirs.error(), ours.error()));
        } else if theirs.error().is_empty() {
            let differences = archives(&theirs.written, &ours.written);
            faults.extend((!differences.is_empty()).then(|| format!("{asked}\n{}", differences.join("\n"))));
        }
    };
    for flags in [
        &["--platform=linux/arm64,linux/arm64/v8"][..],
        &["--platform=local,LOCAL,linux/x86_64"],
        &["--platform=linux/s390x", "--platform=linux/arm,windows/amd64", "--platform=darwin/aarch64"],
        &["--platform=arm64"],
        &["--platform=Linux/ARMHF,linux/armel,linux/i386,linux/amd64/v1"],
        &["--platform=linux/unheard-of"],
        &["--platform=linux"],
        &["--platform="],
        &["--platform=linux/amd64,"],
        &["--platform=linux/amd64, linux/arm64"],
        &["--platform=*"],
        &["--platform=nowhere"],
        &["--platform=linux/amd64/v2/x"],
        &["--platform=linux(10/amd64"],
        &["--platform=linux/amd?64"],
    ] {
        check(None, flags);
    }
    check(Some("linux/arm64,linux/riscv64"), &[]);
    check(Some("linux/arm64,linux/riscv64"), &["--platform=linux/s390x"]);
    check(Some("nowhere"), &[]);
    check(Some("nowhere"), &["--platform=linux/amd64"]);
    check(Some(""), &[]);
    report(&faults)
}

/// Every variant, in the order asked for; media types; annotations for one platform and for the index.
fn indexes_are_buildkit_s() -> Result<(), String> {
    let sides = Sides::new();
    sides.dockerfile("FROM scratch\nARG TARGETARCH TARGETVARIANT\nCOPY file /$TARGETARCH$TARGETVARIANT\n");
    let all = "--platform=linux/s390x,linux/arm/v7,linux/arm/v6,linux/arm/v5,linux/arm64,linux/amd64/v2,linux/amd64,\
               linux/amd64/v3,linux/386,linux/riscv64,linux/ppc64le,linux/arm64/v9,linux/mips64le,darwin/arm64,\
               windows/amd64,freebsd/amd64";
    let two = "--platform=linux/amd64,linux/arm64";
    let mut faults = Vec::new();
    for (output, more) in [
        ("", &[all][..]),
        ("", &["--platform=linux/arm/v6"]),
        ("", &["--platform=linux/arm/v6", "--build-arg=BUILDKIT_MULTI_PLATFORM=1"]),
        ("", &["--build-arg=BUILDKIT_MULTI_PLATFORM=true"]),
        ("", &[two, "--build-arg=BUILDKIT_MULTI_PLATFORM=0"]),
        ("", &[two, "--build-arg=BUILDKIT_MULTI_PLATFORM=2"]),
        (",oci-mediatypes=false", &[two]),
        (",compression=uncompressed,force-compression=true", &[two]),
        ("", &[two, "--tag=user/app:1", "--tag=registry.example/app"]),
        (
            "",
            &[
                two,
                "--annotation=all=1",
                "--annotation=manifest[linux/arm64]:only=2",
                "--annotation=index,manifest-descriptor:both=3",
                "--annotation=index-descriptor:outer=4",
                "--annotation=manifest-descriptor[linux/amd64]:own=5",
                "--annotation=manifest[linux/amd64]:all=6",
            ],
        ),
        (",annotation-index.a=b,annotation[linux/amd64].c=d", &[two]),
        ("", &[two, "--annotation=manifest[linux/s390x]:a=b"]),
        ("", &["--platform=linux/arm64", "--annotation=index:a=b"]),
        ("", &["--platform=linux/arm64", "--build-arg=BUILDKIT_MULTI_PLATFORM=1", "--annotation=index:a=b"]),
    ] {
        let output = format!("--output=type=oci,dest=OUT{output}");
        let (theirs, ours) = sides.both(&[&[output.as_str()], more].concat());
        let asked = format!("{output} {more:?}");
        if theirs.error() != ours.error() {
            faults.push(format!("{asked}: {:?} | {:?}", theirs.error(), ours.error()));
        } else if theirs.error().is_empty() {
            let differences = archives(&theirs.written, &ours.written);
            faults.extend((!differences.is_empty()).then(|| format!("{asked}\n{}", differences.join("\n"))));
        }
    }
    report(&faults)
}

/// `local` and `tar`, with and without directories for platforms.
fn files_are_split_alike() -> Result<(), String> {
    let sides = Sides::new();
    let mut faults = Vec::new();
    let packed = |path: &Path| -> Result<PathBuf, String> {
        if path.is_file() {
            return Ok(path.to_owned());
        }
        let tar = path.with_extension("tar");
        run(Command::new("tar").arg("-C").arg(path).arg("-cf").arg(&tar).arg("."))?;
        Ok(tar)
    };
    let own = "FROM scratch\nARG TARGETARCH\nCOPY file /d/$TARGETARCH\n";
    let same = "FROM scratch\nARG TARGETARCH\nCOPY file /d/$TARGETARCH\nCOPY file /same\n";
    for dockerfile in [own, same] {
        sides.dockerfile(dockerfile);
        for kind in ["local", "tar"] {
            for split in ["", "true", "false", "x"] {
                for platforms in ["linux/amd64,linux/arm/v7", "linux/arm/v7", "linux/386,linux/386"] {
                    // What the attribute says is read before the platforms are.
                    if !split.is_empty() && platforms.contains("386") || split == "x" && dockerfile == own {
                        continue;
                    }
                    let attribute =
                        if split.is_empty() { String::new() } else { format!(",platform-split={split}") };
                    let output = format!("--output=type={kind},dest=OUT{attribute}");
                    let platform = format!("--platform={platforms}");
                    let (theirs, ours) = sides.both(&[&output, &platform]);
                    let asked = format!("{output} {platform} {dockerfile:?}");
                    // Which of two platforms comes first is chance with BuildKit.
                    let error = |ran: &Ran| {
                        let error = ran.error();
                        let (begin, end) = (error.find(" from "), error.find(" when split"));
                        match (begin, end) {
                            (Some(begin), Some(end)) => format!("{}{}", &error[..begin], &error[end..]),
                            _ => error,
                        }
                    };
                    if error(&theirs) != error(&ours) {
                        faults.push(format!("{asked}: {:?} | {:?}", theirs.error(), ours.error()));
                    } else if theirs.error().is_empty() {
                        let roots =
                            (read_root(&packed(&theirs.written)?), read_root(&packed(&ours.written)?));
                        let differences = compare::roots(&roots.0, &roots.1);
                        faults.extend(differences.iter().map(|difference| format!("{asked}: {difference}")));
                    } else if fs::read_dir(&ours.written).is_ok_and(|mut entries| entries.next().is_some()) {
                        faults.push(format!("{asked}: something was written all the same"));
                    }
                }
            }
        }
    }
    report(&faults)
}

/// Which image of an index, or what in its place, a stage stands on.
fn bases_are_chosen_alike() -> Result<(), String> {
    let sides = Sides::new();
    let registry = Registry::start();
    let push = |name: &str, platforms: &str, more: &[&str]| {
        sides
            .dockerfile("FROM scratch\nARG TARGETARCH TARGETVARIANT\nCOPY file /$TARGETARCH$TARGETVARIANT\n");
        let mut program = sides.engine.buildx();
        let tag = format!("--tag={}/{name}", registry.address());
        program.args(["build", "--push", &tag, &format!("--platform={platforms}")]).args(more);
        run(program.arg(sides.path("context")))
    };
    push("old", "linux/386,linux/arm/v6,linux/arm/v7", &["--provenance=false"])?;
    push("variants", "linux/amd64,linux/amd64/v2,linux/amd64/v3,linux/arm64", &["--provenance=false"])?;
    push("lone", "linux/arm64", &["--provenance=false"])?;
    push("attested", "linux/amd64,linux/arm64", &["--provenance=true"])?;
    let mut faults = Vec::new();
    for (dockerfile, platforms) in [
        ("FROM old", "linux/amd64"),
        ("FROM old", "linux/arm64"),
        ("FROM old", "linux/arm64,linux/arm/v7,linux/arm/v6"),
        ("FROM old", "linux/arm/v5"),
        ("FROM old", "linux/s390x"),
        ("FROM variants", "linux/amd64/v2,linux/amd64,linux/amd64/v4"),
        ("FROM variants", "linux/386"),
        ("FROM lone", "linux/amd64,linux/arm64"),
        ("FROM lone", "windows/amd64"),
        ("FROM attested", "linux/arm64,linux/amd64"),
        ("FROM attested", "linux/riscv64"),
        ("FROM --platform=linux/amd64/v2 variants", "linux/amd64,linux/arm64"),
        ("FROM attested AS one\nFROM --platform=linux/arm64 one", "linux/amd64,linux/arm64"),
        ("FROM --platform=$TARGETPLATFORM attested", "linux/amd64,linux/arm64"),
        ("FROM --platform=$BUILDPLATFORM attested", "linux/arm64,linux/s390x"),
        ("FROM --platform=nowhere attested", "linux/arm64,linux/s390x"),
        ("FROM scratch\nCOPY --from=old / /from", "linux/amd64,linux/arm64"),
    ] {
        let mut text = dockerfile.to_owned();
        for name in ["old", "variants", "lone", "attested"] {
            let full = format!("{}/{name}", registry.address());
            text = text.replace(&format!(" {name}"), &format!(" {full}"));
            text = text.replace(&format!("--from={name}"), &format!("--from={full}"));
        }
        sides.dockerfile(&format!("{text}\nCOPY file /own\n"));
        let platform = format!("--platform={platforms}");
        let (theirs, ours) = sides.both(&["--output=type=oci,dest=OUT", &platform]);
        // What is missing is said with what there is, and BuildKit adds where it looked.
        let error = |ran: &Ran| match ran.error() {
            error if error.contains("no match for platform in manifest") => "no match".to_owned(),
            error => error,
        };
        if error(&theirs) != error(&ours) {
            faults.push(format!("{dockerfile} {platforms}: {:?} | {:?}", theirs.error(), ours.error()));
        } else if theirs.error().is_empty() {
            let differences = archives(&theirs.written, &ours.written);
            if !differences.is_empty() {
                faults.push(format!("{dockerfile} {platforms}\n{}", differences.join("\n")));
            }
        }
    }
    report(&faults)
}

/// Attributes of `type=image`: done, without meaning here, or refused in the same words.
fn attributes_are_read_alike() -> Result<(), String> {
    let sides = Sides::new();
    sides.dockerfile("FROM scratch\nCOPY file /\n");
    let registry = Registry::start();
    let mut faults = Vec::new();
    for attributes in [
        "name-canonical=true",
        "name-canonical=x",
        "store=x",
        "store=false,push=true",
        "push=x",
        "push-by-digest=x",
        "registry.insecure=x",
        "unpack=true",
        "unpack=true,rewrite-timestamp=true",
        "oci-artifact=true",
        "prefer-nondist-layers=true",
        "attestation-inline=true",
        "oci-mediatypes=x",
        "force-compression=x",
        "compression-level=x",
    ] {
        let output =
            |side| format!("--output=type=image,name={}/{side}/app:1,{attributes}", registry.address());
        let metadata = "--metadata-file=OUT";
        let theirs = sides.build(sides.buildkit(), "theirs", &[&output("theirs"), metadata]);
        let ours = sides.build(sides.rbx(), "ours", &[&output("ours"), metadata]);
        // Go says more of a number that is none.
        let error = |ran: &Ran| {
            let error = ran.error();
            error.split(": strconv.ParseInt").next().unwrap_or_default().to_owned()
        };
        if error(&theirs) != error(&ours) {
            faults.push(format!("{attributes}: {:?} | {:?}", theirs.error(), ours.error()));
            continue;
        }
        let name = |ran: &Ran| {
            let text = fs::read_to_string(&ran.written).unwrap_or_default();
            let metadata: Value = serde_json::from_str(&text).unwrap_or_default();
            metadata["image.name"].to_string().replace("/ours/", "/theirs/")
        };
        if name(&theirs) != name(&ours) {
            faults.push(format!("{attributes}: named {} | {}", name(&theirs), name(&ours)));
        }
    }
    report(&faults)
}

/// What a build reported of its vertices, by digest, as its messages in JSON have it.
fn vertices(said: &[u8]) -> BTreeMap<String, Value> {
    let mut vertices: BTreeMap<String, Value> = BTreeMap::new();
    for line in String::from_utf8_lossy(said).lines() {
        let Ok(message) = serde_json::from_str::<Value>(line) else { continue };
        for vertex in message["vertexes"].as_array().into_iter().flatten() {
            let digest = vertex["digest"].as_str().unwrap_or_default().to_owned();
            vertices.insert(digest, vertex.clone());
        }
    }
    vertices
}

/// The steps among them, without those that only look up, send or merge something.
fn steps(said: &[u8]) -> Vec<Value> {
    let name = |vertex: &Value| vertex["name"].as_str().unwrap_or_default().to_owned();
    let is_step = |vertex: &Value| {
        let name = name(vertex);
        let rest = name.split_once("] ").map_or("", |(_, rest)| rest);
        !name.contains("internal]")
            && !rest.starts_with("FROM ")
            && !rest.starts_with("LINK ")
            && !rest.is_empty()
    };
    vertices(said).into_values().filter(is_step).collect()
}

/// Dockerfiles in which more or less depends on the platform, and nothing foreign is run.
const SHARING: [&str; 10] = [
    "FROM --platform=$BUILDPLATFORM registry.test/busybox AS tools\nRUN echo shared > /shared\nFROM registry.test/busybox\n\
     COPY --from=tools /shared /\n",
    "FROM --platform=$BUILDPLATFORM registry.test/busybox AS tools\nRUN echo before > /before\nARG TARGETARCH\n\
     RUN echo $TARGETARCH > /arch\nCOPY file /\nFROM scratch\nCOPY --from=tools /arch /before /\n",
    "FROM --platform=linux/amd64 registry.test/busybox AS fixed\nRUN echo fixed > /fixed\nFROM registry.test/busybox\n\
     COPY --from=fixed /fixed /\n",
    "FROM scratch AS files\nCOPY file /one\nCOPY file /two\nFROM registry.test/busybox\nCOPY --from=files / /\n",
    "FROM scratch\nCOPY file /\nWORKDIR /w\nCOPY --link file /linked\n",
    "FROM registry.test/busybox AS base\nCOPY file /\nFROM base\nWORKDIR /w\nFROM base\nCOPY file /two\n",
    "FROM --platform=$BUILDPLATFORM registry.test/busybox AS one\nRUN echo one > /one\nFROM one AS two\n\
     ARG TARGETPLATFORM\nRUN echo $TARGETPLATFORM > /two\nFROM one AS three\nRUN echo three > /three\n\
     FROM scratch\nCOPY --from=two /two /\nCOPY --from=three /three /\n",
    "FROM --platform=$BUILDPLATFORM registry.test/busybox AS tools\nARG TARGETOS TARGETVARIANT\nENV A=1\n\
     RUN --mount=target=/src cp /src/file /copied\nFROM scratch\nCOPY --from=tools /copied /\n",
    "FROM --platform=$BUILDPLATFORM registry.test/busybox AS tools\nARG TARGETARCH\nENV ARCH=$TARGETARCH\nWORKDIR /w\n\
     COPY file ./\nFROM tools\nRUN echo $ARCH\n",
    "FROM scratch AS empty\nFROM --platform=$BUILDPLATFORM registry.test/busybox AS heredoc\nCOPY <<EOF /text\nline\nEOF\n\
     FROM empty\nCOPY --from=heredoc /text /\nCOPY <<EOF /own\nown\nEOF\n",
];

/// What does not depend on the platform is done once, as with BuildKit; what does, once for each.
fn steps_are_done_as_often() -> Result<(), String> {
    let sides = Sides::new();
    let mut faults = Vec::new();
    for dockerfile in SHARING {
        for platforms in ["linux/amd64,linux/arm64", "linux/arm64,linux/s390x,linux/arm/v7", "linux/amd64"] {
            sides.dockerfile(dockerfile);
            let platform = format!("--platform={platforms}");
            let arguments = ["--no-cache", "--progress=rawjson", "--output=type=cacheonly", &platform];
            let (theirs, ours) = sides.both(&arguments);
            let (theirs, ours) = (theirs.well()?, ours.well()?);
            let count = |ran: &Ran| {
                let mut counts: BTreeMap<String, usize> = BTreeMap::new();
                for vertex in steps(&ran.output.stderr) {
                    let name = vertex["name"].as_str().unwrap_or_default();
                    // One that several platforms share has the name of whichever comes first.
                    let (prefix, rest) = name.split_once("] ").unwrap_or(("", name));
                    let prefix = if rest.starts_with("RUN ") { prefix } else { "" };
                    *counts.entry(format!("{prefix}{rest}")).or_default() += 1;
                }
                counts
            };
            let (theirs, ours) = (count(&theirs), count(&ours));
            if theirs != ours {
                faults.push(format!("{platforms}\n{dockerfile}\n  {theirs:?}\n  {ours:?}"));
            }
        }
    }
    report(&faults)
}

/// Builds for two platforms are killed further and further on; the last, which is not, makes what one makes that was
/// never disturbed.
fn what_was_killed_is_built_as_if_it_was_not() -> Result<(), String> {
    let sides = Sides::new();
    sides.dockerfile(
        "FROM --platform=$BUILDPLATFORM registry.test/busybox AS tools\nCOPY file /\nRUN cat /file > /one\n\
         ARG TARGETARCH\nRUN echo $TARGETARCH > /arch\nFROM registry.test/busybox\nCOPY --from=tools /one /arch /\n\
         COPY file /w/\n",
    );
    fs::write(sides.path("context/file"), "content\n".repeat(500_000)).map_err(|error| error.to_string())?;
    let arguments = [
        "--platform=linux/amd64,linux/arm64",
        "--build-arg=SOURCE_DATE_EPOCH=1600000000",
        "--output=type=oci,rewrite-timestamp=true,dest=OUT",
    ];
    let undisturbed = sides.build(sides.rbx(), "undisturbed", &arguments).well()?;
    let whole = String::from_utf8_lossy(&undisturbed.output.stderr).lines().count();
    let program = || {
        let mut program = sides.rbx();
        program.env("RBX_ROOT", sides.path("another store"));
        program
    };
    for lines in (3..whole).step_by(5) {
        let mut killed = program();
        let place = sides.path("killed").display().to_string();
        killed.args(arguments.map(|argument| argument.replace("OUT", &place)));
        killed.args(["--network=host", "--progress=plain"]).arg(sides.path("context"));
        let mut killed = killed.stderr(Stdio::piped()).spawn().map_err(|error| error.to_string())?;
        let said = BufReader::new(killed.stderr.take().expect("a pipe"));
        // Whatever it has begun by then, and however far it is with it.
        said.lines().take(lines).for_each(drop);
        killed.kill().and_then(|()| killed.wait()).map_err(|error| error.to_string())?;
    }
    let last = sides.build(program(), "last", &arguments).well()?;
    let digest = |ran: &Ran| Image::read_indexes(&ran.written)[0]["manifests"][0]["digest"].clone();
    if digest(&last) == digest(&undisturbed) {
        return Ok(());
    }
    Err(archives(&undisturbed.written, &last.written).join("\n"))
}

/// A platform that is added to a build that was done costs what is its own, and none costs nothing.
fn one_more_platform_is_its_own_work() -> Result<(), String> {
    let sides = Sides::new();
    sides.dockerfile(
        "FROM --platform=$BUILDPLATFORM registry.test/busybox AS tools\nRUN echo shared > /shared\nARG TARGETARCH\n\
         RUN echo $TARGETARCH > /arch\nFROM registry.test/busybox\nCOPY --from=tools /shared /arch /\nWORKDIR /w\n",
    );
    let done = |platforms: &str| -> Result<Vec<String>, String> {
        let platform = format!("--platform={platforms}");
        let ran = sides
            .build(sides.rbx(), "ours", &["--progress=rawjson", "--output=type=oci,dest=OUT", &platform])
            .well()?;
        let done = steps(&ran.output.stderr).into_iter().filter(|vertex| vertex["cached"] != true);
        Ok(done.map(|vertex| vertex["name"].as_str().unwrap_or_default().to_owned()).collect())
    };
    let first = done("linux/amd64")?;
    if first.len() != 4 {
        return Err(format!("{first:?} where four steps were to be done"));
    }
    let mut second = done("linux/amd64,linux/arm64")?;
    second.sort();
    let wanted = [
        "[linux/amd64->arm64 tools 3/3] RUN echo arm64 > /arch",
        "[linux/arm64 stage-1 2/3] COPY --from=tools /shared /arch /",
        "[linux/arm64 stage-1 3/3] WORKDIR /w",
    ];
    if second != wanted {
        return Err(format!("{second:#?} where {wanted:#?} were to be done"));
    }
    let third = done("linux/arm64,linux/amd64")?;
    if third.is_empty() { Ok(()) } else { Err(format!("{third:?} were done again")) }
}

//! The rules about platforms, proven: what `docker rbx check` says of a Dockerfile happens when it is built for two
//! platforms, by docker-rbx and by BuildKit alike, and no longer happens after the fix.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use libtest_mimic::{Failed, Trial};
use rbx_emulation::Architecture;
use rbx_tests::binfmt::Registered;
use rbx_tests::{Engine, Image, Parts, Registry, Store, rbx};
use serde_json::Value;

/// The platforms of every build, and the build's own first.
const PLATFORMS: [&str; 2] = ["linux/amd64", "linux/arm64"];

/// The tests of this module.
pub(crate) fn trials() -> Vec<Trial> {
    let proof = |name: &str, proof: Proof| {
        Trial::test(format!("check::{name}"), move || proof.check().map_err(Failed::from))
    };
    vec![
        proof("platform_arg_default", ARG_DEFAULT),
        proof("platform_arg_default_before_from", ARG_DEFAULT_BEFORE_FROM),
        proof("platform_arg_undeclared", ARG_UNDECLARED),
        proof("platform_arg_undeclared_in_a_trigger", ARG_UNDECLARED_IN_A_TRIGGER),
        proof("stage_selector_missing", SELECTOR_MISSING),
        proof("final_stage_build_platform", FINAL_STAGE),
        proof("platform_flag_on_stage", FLAG_ON_STAGE),
        Trial::test("check::platform_flag_on_stage_of_a_step", || {
            FLAG_ON_STAGE_OF_A_STEP.check_emulated().map_err(Failed::from)
        }),
        Trial::test("check::safe_fixes_keep_the_image", || safe_fixes_keep_the_image().map_err(Failed::from)),
        Trial::test("check::scripts_by_shellcheck", || scripts_by_shellcheck().map_err(Failed::from)),
        Trial::test("check::what_is_silent_is_right", || what_is_silent_is_right().map_err(Failed::from)),
    ]
}

/// A Dockerfile with a fault, and what comes of it.
struct Proof {
    /// The rule that finds it.
    rule: &'static str,
    /// The platforms that it is true for.
    platforms: &'static [&'static str],
    /// The Dockerfile.
    wrong: &'static str,
    /// The Dockerfile after the fix, where the finding brings none.
    right: Option<&'static str>,
    /// The file in the image that tells.
    file: &'static str,
    /// What it has on each platform as it is, or what the build says where it fails.
    before: Outcome,
    /// What it has on each platform after the fix.
    after: [Content; 2],
}

/// What comes of a build.
enum Outcome {
    Built([Content; 2]),
    Failed(&'static str),
}

/// What is in a file.
#[derive(Clone, Copy)]
enum Content {
    /// This line.
    Line(&'static str),
    /// The busybox of a platform.
    Busybox(&'static str),
}

use Content::{Busybox, Line};

const ARG_DEFAULT: Proof = Proof {
    rule: "platform-arg-default",
    platforms: &["linux/arm64"],
    wrong: "FROM --platform=$BUILDPLATFORM registry.test/busybox AS fetch\n\
            ARG TARGETARCH=amd64\n\
            RUN echo \"a tool for $TARGETARCH\" > /tool\n\
            FROM scratch\n\
            COPY --from=fetch /tool /tool\n",
    right: None,
    file: "tool",
    before: Outcome::Built([Line("a tool for amd64"), Line("a tool for amd64")]),
    after: [Line("a tool for amd64"), Line("a tool for arm64")],
};

const ARG_DEFAULT_BEFORE_FROM: Proof = Proof {
    wrong: "ARG TARGETARCH=amd64\n\
            FROM --platform=$BUILDPLATFORM registry.test/busybox AS tool-amd64\n\
            RUN echo \"a tool for amd64\" > /tool\n\
            FROM --platform=$BUILDPLATFORM registry.test/busybox AS tool-arm64\n\
            RUN echo \"a tool for arm64\" > /tool\n\
            FROM tool-$TARGETARCH AS tool\n\
            FROM scratch\n\
            COPY --from=tool /tool /tool\n",
    ..ARG_DEFAULT
};

const ARG_UNDECLARED: Proof = Proof {
    rule: "platform-arg-undeclared",
    platforms: &PLATFORMS,
    wrong: "ARG TARGETARCH\n\
            FROM --platform=$BUILDPLATFORM registry.test/busybox AS fetch\n\
            RUN echo \"a tool for ${TARGETARCH}\" > /tool\n\
            FROM scratch\n\
            COPY --from=fetch /tool /tool\n",
    right: None,
    file: "tool",
    before: Outcome::Built([Line("a tool for "), Line("a tool for ")]),
    after: [Line("a tool for amd64"), Line("a tool for arm64")],
};

const ARG_UNDECLARED_IN_A_TRIGGER: Proof = Proof {
    wrong: "FROM --platform=$BUILDPLATFORM registry.test/busybox AS base\n\
            ONBUILD RUN echo \"a tool for ${TARGETARCH}\" > /tool\n\
            FROM base AS fetch\n\
            ARG TARGETARCH\n\
            FROM scratch\n\
            COPY --from=fetch /tool /tool\n",
    ..ARG_UNDECLARED
};

const SELECTOR_MISSING: Proof = Proof {
    rule: "stage-selector-missing",
    platforms: &["linux/arm64"],
    wrong: "FROM registry.test/busybox AS bin-amd64\n\
            FROM bin-${TARGETARCH}\n",
    right: Some(
        "FROM registry.test/busybox AS bin-amd64\n\
         FROM registry.test/busybox AS bin-arm64\n\
         FROM bin-${TARGETARCH}\n",
    ),
    file: "bin/busybox",
    before: Outcome::Failed("docker.io/library/bin-arm64:latest"),
    after: [Busybox("linux/amd64"), Busybox("linux/arm64")],
};

const FINAL_STAGE: Proof = Proof {
    rule: "final-stage-build-platform",
    platforms: &["linux/arm64"],
    wrong: "FROM --platform=$BUILDPLATFORM registry.test/busybox\n\
            LABEL a=b\n",
    right: None,
    file: "bin/busybox",
    before: Outcome::Built([Busybox("linux/amd64"), Busybox("linux/amd64")]),
    after: [Busybox("linux/amd64"), Busybox("linux/arm64")],
};

const FLAG_ON_STAGE: Proof = Proof {
    rule: "platform-flag-on-stage",
    platforms: &["linux/arm64"],
    wrong: "FROM registry.test/busybox AS base\n\
            FROM --platform=$BUILDPLATFORM base AS build\n\
            FROM scratch\n\
            COPY --from=build /bin/busybox /built-with\n",
    right: None,
    file: "built-with",
    before: Outcome::Built([Busybox("linux/amd64"), Busybox("linux/arm64")]),
    after: [Busybox("linux/amd64"), Busybox("linux/amd64")],
};

/// What the flag was for: the build's own platform runs the step, and no emulator.
const FLAG_ON_STAGE_OF_A_STEP: Proof = Proof {
    wrong: "FROM registry.test/busybox AS base\n\
            FROM --platform=$BUILDPLATFORM base AS build\n\
            RUN uname -m > /machine\n\
            FROM scratch\n\
            COPY --from=build /machine /machine\n",
    file: "machine",
    before: Outcome::Built([Line("x86_64"), Line("aarch64")]),
    after: [Line("x86_64"), Line("x86_64")],
    ..FLAG_ON_STAGE
};

impl Proof {
    /// The same where the machine runs arm64 under QEMU.
    fn check_emulated(&self) -> Result<(), String> {
        let _handlers = Registered::qemu(&[Architecture::Arm64]);
        self.check()
    }

    fn check(&self) -> Result<(), String> {
        let work = Work::new();
        let findings = work.check(self.wrong)?;
        let [finding] = findings.as_slice() else { return Err(format!("one finding: {findings:?}")) };
        expect("the rule", &finding["rule"].as_str(), &Some(self.rule))?;
        let platforms: Vec<&str> =
            finding["platforms"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        expect("the platforms", platforms.as_slice(), self.platforms)?;
        let right = self.right.map_or_else(|| fixed(self.wrong, finding), |right| Ok(right.to_owned()))?;
        expect("findings after the fix", &work.check(&right)?, &Vec::new())?;

        for builder in [Builder::Rbx, Builder::BuildKit] {
            let say = |what: &str, error: String| format!("{builder:?} {what}: {error}");
            let result = work.build(builder, self.wrong);
            match (&self.before, result) {
                (Outcome::Built(contents), Ok(images)) => {
                    work.compare(&images, self.file, *contents)
                        .map_err(|error| say("before the fix", error))?;
                }
                (Outcome::Failed(reason), Err(error)) if error.contains(reason) => {}
                (Outcome::Failed(_), Ok(_)) => {
                    return Err(say("before the fix", "the build did not fail".to_owned()));
                }
                (_, Err(error)) => return Err(say("before the fix", error)),
            }
            let images = work.build(builder, &right).map_err(|error| say("after the fix", error))?;
            work.compare(&images, self.file, self.after).map_err(|error| say("after the fix", error))?;
        }
        Ok(())
    }
}

/// The Dockerfile after the first fix of a finding.
fn fixed(dockerfile: &str, finding: &Value) -> Result<String, String> {
    let mut text = dockerfile.to_owned();
    let edits = finding["fixes"][0]["edits"].as_array().ok_or("the finding has no fix")?;
    // From the end, so that places stay what they are.
    for edit in edits.iter().rev() {
        let offset = |end: &str| edit[end]["offset"].as_u64().and_then(|offset| usize::try_from(offset).ok());
        let (Some(start), Some(end)) = (offset("start"), offset("end")) else { return Err(edit.to_string()) };
        text.replace_range(start..end, edit["text"].as_str().unwrap_or_default());
    }
    Ok(text)
}

#[derive(Debug, Clone, Copy)]
enum Builder {
    Rbx,
    BuildKit,
}

/// Builders, and where their base image is.
struct Work {
    directory: tempfile::TempDir,
    registry: Registry,
    /// What Docker Hub has: nothing.
    hub: Registry,
    engine: Engine,
    parts: Parts,
}

impl Work {
    fn new() -> Self {
        let work = Self {
            engine: Engine::start(Store::Containerd),
            directory: tempfile::tempdir().expect("a temporary directory"),
            registry: Registry::with_images(),
            hub: Registry::start(),
            parts: Parts::locate(),
        };
        fs::create_dir_all(work.path("config/rbx")).expect("a directory for the configuration");
        fs::create_dir(work.path("context")).expect("a context");
        let mirrors =
            serde_json::json!({ "registries": { "docker.io": { "mirrors": [work.hub.address()] } } });
        fs::write(work.path("config/rbx/config.json"), mirrors.to_string()).expect("a configuration");
        work
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What `check` finds in a Dockerfile. Its exit code has to fit.
    fn check(&self, dockerfile: &str) -> Result<Vec<Value>, String> {
        fs::write(self.path("context/Dockerfile"), dockerfile).map_err(|error| error.to_string())?;
        let mut program = rbx(&self.parts, self.directory.path());
        let platforms = format!("--platform={}", PLATFORMS.join(","));
        program.args(["check", "--format=json", &platforms]).arg(self.path("context"));
        let output = run(&mut program)?;
        let answer: Value =
            serde_json::from_slice(&output.stdout).map_err(|error| format!("{error}: {output:?}"))?;
        let findings =
            answer["files"][0]["findings"].as_array().cloned().ok_or_else(|| answer.to_string())?;
        expect("the exit code", &output.status.code(), &Some(i32::from(!findings.is_empty())))?;
        Ok(findings)
    }

    /// The images that a builder makes, one for each platform; or what it says.
    fn build(&self, builder: Builder, dockerfile: &str) -> Result<Vec<Image>, String> {
        let text = dockerfile.replace("registry.test", self.registry.address());
        fs::write(self.path("context/Dockerfile"), text).map_err(|error| error.to_string())?;
        let archive = self.path("image.tar");
        let _ = fs::remove_file(&archive);
        let mut program = match builder {
            Builder::Rbx => {
                let mut program = rbx(&self.parts, self.directory.path());
                program.args(["build", "--builder=embedded"]);
                program
            }
            Builder::BuildKit => {
                let mut program = self.engine.buildx();
                program.args(["build", "--provenance=false"]);
                program
            }
        };
        program.args(["--progress=plain", "--network=host", &format!("--platform={}", PLATFORMS.join(","))]);
        program.arg(format!("--output=type=oci,dest={}", archive.display())).arg(self.path("context"));
        let output = run(&mut program)?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        Ok(Image::read_all(&archive))
    }

    /// Compares a file of the image of each platform.
    fn compare(&self, images: &[Image], file: &str, wanted: [Content; 2]) -> Result<(), String> {
        expect("the number of images", &images.len(), &PLATFORMS.len())?;
        for (wanted, platform) in wanted.into_iter().zip(PLATFORMS) {
            let image = of(images, platform)?;
            let content = image.root().get(file).and_then(|entry| entry.content.clone());
            let wanted = match wanted {
                Line(line) => format!("{:?}", format!("{line}\n")),
                Busybox(platform) => self.busybox(platform)?,
            };
            expect(&format!("{file} on {platform}"), &content, &Some(wanted))?;
        }
        Ok(())
    }

    /// The digest of a platform's busybox.
    fn busybox(&self, platform: &str) -> Result<String, String> {
        let layout = self.path("busybox.tar");
        if !layout.exists() {
            let mut tar = Command::new("tar");
            tar.arg("-cf")
                .arg(&layout)
                .arg("-C")
                .arg(self.parts.layout("busybox"))
                .args(["index.json", "blobs"]);
            run(&mut tar)?;
        }
        let images = Image::read_all(&layout);
        let root = of(&images, platform)?.root();
        root.get("bin/busybox").and_then(|entry| entry.content.clone()).ok_or_else(|| "no busybox".to_owned())
    }
}

fn of<'a>(images: &'a [Image], platform: &str) -> Result<&'a Image, String> {
    let architecture = platform.rsplit('/').next().unwrap_or_default();
    let found = images.iter().find(|image| image.config["architecture"] == architecture);
    found.ok_or_else(|| format!("no image says that it is for {platform}"))
}

fn run(command: &mut Command) -> Result<Output, String> {
    command.output().map_err(|error| format!("{command:?}: {error}"))
}

fn expect<T: PartialEq + std::fmt::Debug + ?Sized>(what: &str, found: &T, wanted: &T) -> Result<(), String> {
    if found == wanted { Ok(()) } else { Err(format!("{what}: {found:?} where {wanted:?} should be")) }
}

/// Dockerfiles that look like the faults and have none: each rule says nothing, and each image is right.
fn what_is_silent_is_right() -> Result<(), String> {
    let work = Work::new();
    let right = [Line("a tool for amd64"), Line("a tool for arm64")];
    for (dockerfile, file, contents) in [
        // A stage has the arguments of the stage below.
        (
            "FROM --platform=$BUILDPLATFORM registry.test/busybox AS base\n\
             ARG TARGETARCH\n\
             FROM base AS fetch\n\
             RUN echo \"a tool for $TARGETARCH\" > /tool\n\
             FROM scratch\n\
             COPY --from=fetch /tool /tool\n",
            "tool",
            right,
        ),
        // Before the first FROM, automatic values are there for a default to take up.
        (
            "ARG TARGETARCH=${TARGETARCH:-amd64}\n\
             FROM --platform=$BUILDPLATFORM registry.test/busybox AS fetch\n\
             ARG TARGETARCH\n\
             RUN <<E\n\
             if [ -n \"$TARGETVARIANT\" ]; then exit 1; fi\n\
             echo \"a tool for $TARGETARCH\" > /tool\n\
             E\n\
             FROM scratch\n\
             COPY --from=fetch /tool /tool\n",
            "tool",
            right,
        ),
        // `scratch` has no platform, whatever the flag says, and a flag may say what is so anyway.
        (
            "# check=skip=RedundantTargetPlatform\n\
             FROM registry.test/busybox AS base\n\
             FROM --platform=$TARGETPLATFORM base AS run\n\
             FROM --platform=$BUILDPLATFORM scratch\n\
             COPY --from=run /bin/busybox /busybox\n",
            "busybox",
            [Busybox("linux/amd64"), Busybox("linux/arm64")],
        ),
        // A stage that is there for one platform may be about that platform only.
        (
            "FROM --platform=$BUILDPLATFORM registry.test/busybox AS tool-amd64\n\
             ARG TARGETARCH=amd64\n\
             RUN echo \"a tool for $TARGETARCH\" > /tool\n\
             FROM --platform=$BUILDPLATFORM registry.test/busybox AS tool-arm64\n\
             ARG TARGETARCH=arm64\n\
             RUN echo \"a tool for $TARGETARCH\" > /tool\n\
             FROM tool-$TARGETARCH AS tool\n\
             FROM scratch\n\
             COPY --from=tool /tool /tool\n",
            "tool",
            right,
        ),
    ] {
        let findings = work.check(dockerfile)?;
        expect("findings", &findings, &Vec::new())?;
        for builder in [Builder::Rbx, Builder::BuildKit] {
            let images = work.build(builder, dockerfile).map_err(|error| format!("{builder:?}: {error}"))?;
            work.compare(&images, file, contents)
                .map_err(|error| format!("{builder:?}: {error}\n{dockerfile}"))?;
        }
    }
    Ok(())
}

/// What `--fix` makes of a Dockerfile builds the same images, but for what they say of how they were made.
fn safe_fixes_keep_the_image() -> Result<(), String> {
    const UNTIDY: &str = "ARG base=registry.test/busybox\n\
                          FROM --platform=$BUILDPLATFORM ${base} as Tool\n\
                          maintainer somebody\n\
                          RUN mkdir /made && \\\n\n    echo one > /made/one\n\
                          run echo two > /made/two\n\
                          FROM --platform=$TARGETPLATFORM registry.test/busybox\n\
                          ENV mode very fast\n\
                          WORKDIR /srv\n\
                          COPY --from=Tool /made made\n\
                          EXPOSE 80/TCP\n\
                          ENTRYPOINT cat made/one\n";
    let work = Work::new();
    let path = work.path("Dockerfile");
    let mut fixed = String::new();
    for builder in [Builder::Rbx, Builder::BuildKit] {
        let before = work.build(builder, UNTIDY)?;
        fs::write(&path, UNTIDY).map_err(|error| error.to_string())?;
        let mut check = rbx(&work.parts, work.directory.path());
        check.args(["check", "--fix", "--platform", &PLATFORMS.join(",")]).arg(&path);
        let output = run(&mut check)?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        fixed = fs::read_to_string(&path).map_err(|error| error.to_string())?;
        if fixed == UNTIDY {
            return Err(format!("nothing is fixed: {said}"));
        }
        let after = work.build(builder, &fixed)?;
        let different: Vec<String> = rbx_tests::compare::archives(&before, &after)
            .into_iter()
            .filter(|it| !it.place.starts_with("config.history"))
            .map(|it| it.to_string())
            .collect();
        if !different.is_empty() {
            return Err(format!("{builder:?}: {}", different.join("\n")));
        }
    }
    let wanted = "ARG base=registry.test/busybox\n\
                  FROM --platform=$BUILDPLATFORM ${base} AS tool\n\
                  LABEL org.opencontainers.image.authors=\"somebody\"\n\
                  RUN mkdir /made && \\\n    echo one > /made/one\n\
                  RUN echo two > /made/two\n\
                  FROM registry.test/busybox\n\
                  ENV mode=\"very fast\"\n\
                  WORKDIR /srv\n\
                  COPY --from=tool /made made\n\
                  EXPOSE 80/tcp\n\
                  ENTRYPOINT cat made/one\n";
    expect("the file", fixed.as_str(), wanted)
}

/// The shellcheck of this machine looks at scripts, in the shells that run them, and its fixes are made in their places.
fn scripts_by_shellcheck() -> Result<(), String> {
    const TEXT: &str = "FROM a\nARG b\nRUN c && \\\n    # d\n    ls $b\nSHELL [\"/bin/bash\", \"-c\"]\nRUN <<E\n[[ a = \"$e\" ]]\nE\n";
    let parts = Parts::locate();
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let path = directory.path().join("Dockerfile");
    fs::write(&path, TEXT).map_err(|error| error.to_string())?;
    let check = |args: &[&str]| -> Result<Vec<String>, String> {
        let mut command = rbx(&parts, directory.path());
        let output =
            command.args(["check", "--select=shellcheck", "--format=github"]).args(args).arg(&path).output();
        let output = output.map_err(|error| error.to_string())?;
        if !output.stderr.is_empty() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(text.lines().filter(|line| line.starts_with("::")).map(str::to_owned).collect())
    };
    let has = |found: &[String], line: &str, name: &str| {
        found.iter().any(|it| it.contains(&format!("line={line},")) && it.contains(name))
    };
    let found = check(&[])?;
    // The variable of the ARG is set, the other is not; and bash has its tests.
    if !has(&found, "5", "SC2086") || !has(&found, "8", "SC2154") || found.len() != 2 {
        return Err(format!("shellcheck is said to find {found:#?}"));
    }
    let left = check(&["--fix", "--unsafe-fixes"])?;
    let fixed = fs::read_to_string(&path).map_err(|error| error.to_string())?;
    if fixed != TEXT.replace("$b", "\"$b\"") || left.len() != 1 {
        return Err(format!("what is fixed is {fixed:?}, and this is left: {left:#?}"));
    }
    Ok(())
}

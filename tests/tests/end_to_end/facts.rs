//! The rules that need facts, and others that are certain, proven: what `docker rbx check --online` says of a Dockerfile
//! happens when it is built, and no longer happens after the fix.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Output;

use libtest_mimic::{Failed, Trial};
use rbx_emulation::Architecture;
use rbx_tests::{Image, Parts, Registry, rbx};
use serde_json::{Value, json};

/// The tests of this module.
pub(crate) fn trials() -> Vec<Trial> {
    vec![Trial::test("facts::certain_rules_are_proven_by_builds", || {
        certain_rules_are_proven_by_builds().map_err(Failed::from)
    })]
}

/// What comes of a build.
enum Outcome {
    /// It ends with an error that has this in it.
    Fails(&'static str),
    /// The file `machine` of the image of each platform has this line.
    Has(&'static [&'static str]),
}

use Outcome::{Fails, Has};

/// A Dockerfile with a fault. `IMAGES` is the registry, and `SAYS` a command that writes for which CPU a program is.
struct Proof {
    rule: &'static str,
    platforms: &'static [&'static str],
    /// The platforms that the rule finds it for.
    found: &'static [&'static str],
    wrong: &'static str,
    before: Outcome,
    /// The Dockerfile after the fix, where `--fix` makes none.
    right: Option<&'static str>,
    after: &'static [&'static str],
}

/// `e_machine` of ELF.
const AMD64: &str = "62";
const ARM64: &str = "183";
const I386: &str = "3";

const TWO: &[&str] = &["linux/amd64", "linux/arm64"];

const PROOFS: &[Proof] = &[
    Proof {
        rule: "base-missing-platform",
        platforms: &["linux/amd64", "linux/arm/v7"],
        found: &["linux/arm/v7"],
        wrong: "FROM IMAGES/two\nRUN SAYS /bin/busybox\n",
        before: Fails("no match for platform in manifest"),
        right: Some("FROM IMAGES/all\nRUN SAYS /bin/busybox\n"),
        after: &[AMD64, "40"],
    },
    Proof {
        rule: "base-silent-fallback",
        platforms: TWO,
        found: &["linux/amd64"],
        wrong: "FROM IMAGES/narrow\nRUN SAYS /bin/busybox\n",
        before: Has(&[I386, ARM64]),
        right: Some("FROM IMAGES/all\nRUN SAYS /bin/busybox\n"),
        after: &[AMD64, ARM64],
    },
    Proof {
        rule: "base-digest-single-arch",
        platforms: TWO,
        found: &["linux/arm64"],
        wrong: "FROM IMAGES/all:latest@ONLY_AMD64\nRUN SAYS /bin/busybox\n",
        before: Has(&[AMD64, AMD64]),
        right: None,
        after: &[AMD64, ARM64],
    },
    Proof {
        rule: "base-config-mismatch",
        platforms: TWO,
        found: &["linux/arm64"],
        wrong: "FROM IMAGES/lying\nRUN SAYS /bin/busybox\n",
        before: Has(&[AMD64, AMD64]),
        right: Some("FROM IMAGES/two\nRUN SAYS /bin/busybox\n"),
        after: &[AMD64, ARM64],
    },
    Proof {
        rule: "cache-mount-shared-arch",
        platforms: TWO,
        found: TWO,
        // One after another, so that chance decides only which is the first.
        wrong: "FROM IMAGES/all\n\
                RUN --mount=type=cache,target=/app/node_modules,sharing=locked : npm ci; cd /app/node_modules && \
                { [ -e addon ] || cp /bin/busybox addon; } && SAYS addon\n",
        before: Has(&["one", "one"]),
        right: None,
        after: &[AMD64, ARM64],
    },
    Proof {
        rule: "copy-platform-flag",
        platforms: TWO,
        found: TWO,
        wrong: "FROM IMAGES/all\n\
                COPY --platform=linux/arm64 --from=IMAGES/all /bin/busybox /other\n\
                RUN SAYS /other\n",
        before: Fails("unknown flag: --platform"),
        right: None,
        after: &[ARM64, ARM64],
    },
    Proof {
        rule: "context-binary-arch",
        platforms: TWO,
        found: &["linux/arm64"],
        wrong: "FROM IMAGES/all\nCOPY app /app\nRUN SAYS /app\n",
        before: Has(&[AMD64, AMD64]),
        right: Some("FROM IMAGES/all\nARG TARGETARCH\nCOPY app-$TARGETARCH /app\nRUN SAYS /app\n"),
        after: &[AMD64, ARM64],
    },
    Proof {
        rule: "stage-selector-variant",
        platforms: &["linux/arm/v6", "linux/arm/v7"],
        found: &["linux/arm/v6"],
        wrong: "FROM scratch AS bin-arm\nCOPY app-armv7 /machine\nFROM bin-$TARGETARCH\n",
        before: Has(&["v7", "v7"]),
        right: Some(
            "FROM scratch AS bin-armv6\nCOPY app-armv6 /machine\n\
             FROM scratch AS bin-armv7\nCOPY app-armv7 /machine\n\
             FROM bin-$TARGETARCH$TARGETVARIANT\n",
        ),
        after: &["v6", "v7"],
    },
];

fn certain_rules_are_proven_by_builds() -> Result<(), String> {
    let work = Work::new()?;
    let mut faults = Vec::new();
    for proof in PROOFS {
        if let Err(error) = work.prove(proof) {
            faults.push(format!("{}: {error}", proof.rule));
        }
    }
    work.remembers()?;
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
}

/// A registry with images that are not for every platform, and a context.
struct Work {
    directory: tempfile::TempDir,
    registry: Registry,
    parts: Parts,
    only_amd64: String,
}

impl Work {
    fn new() -> Result<Self, String> {
        let mut work = Self {
            directory: tempfile::tempdir().map_err(|error| error.to_string())?,
            registry: Registry::start(),
            parts: Parts::locate(),
            only_amd64: String::new(),
        };
        for directory in ["config/rbx", "context"] {
            fs::create_dir_all(work.path(directory)).map_err(|error| error.to_string())?;
        }
        let qemu = work.parts.program("qemu-aarch64");
        let emulation =
            json!({ "registration": "namespace", "qemu": { "directories": [qemu.parent()], "image": "" } });
        work.write("config/rbx/config.json", json!({ "emulation": emulation }).to_string().as_bytes())?;
        work.write("context/app", &Architecture::Amd64.program())?;
        work.write("context/app-amd64", &Architecture::Amd64.program())?;
        work.write("context/app-arm64", &Architecture::Arm64.program())?;
        work.write("context/app-armv6", b"v6\n")?;
        work.write("context/app-armv7", b"v7\n")?;

        work.registry.push(&work.parts.layout("busybox"), "all");
        let all = format!("{}/all", work.registry.address());
        let index: Value =
            serde_json::from_str(&work.crane(&["manifest", &all])?).map_err(|error| error.to_string())?;
        let entries = index["manifests"].as_array().cloned().unwrap_or_default();
        let of = |name: &str| entries.iter().find(|entry| entry["platform"]["architecture"] == name).cloned();
        let (amd64, arm64, i386) = (of("amd64"), of("arm64"), of("386"));
        let digest = amd64.as_ref().and_then(|entry| entry["digest"].as_str());
        digest.unwrap_or_default().clone_into(&mut work.only_amd64);
        let lie = amd64.clone().map(|mut entry| {
            entry["platform"] = arm64.as_ref().map_or(Value::Null, |entry| entry["platform"].clone());
            entry
        });
        for (name, entries) in
            [("two", [&amd64, &arm64]), ("narrow", [&i386, &arm64]), ("lying", [&amd64, &lie])]
        {
            let index = json!({
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.index.v1+json",
                "manifests": entries,
            });
            // The registry wants an index's images in its own repository.
            for image in entries.into_iter().flatten() {
                let digest = image["digest"].as_str().unwrap_or_default();
                work.crane(&[
                    "copy",
                    &format!("{all}@{digest}"),
                    &format!("{}/{name}:part", work.registry.address()),
                ])?;
            }
            work.put(name, &index.to_string())?;
        }
        Ok(work)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<(), String> {
        fs::write(self.path(name), content).map_err(|error| format!("{error}: {name}"))
    }

    fn crane(&self, arguments: &[&str]) -> Result<String, String> {
        let output = self.registry.crane().args(arguments).output().map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(format!("crane {arguments:?}: {}", String::from_utf8_lossy(&output.stderr)));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Puts an index into the registry as it is.
    fn put(&self, name: &str, index: &str) -> Result<(), String> {
        let address = self.registry.address();
        let request = format!(
            "PUT /v2/{name}/manifests/latest HTTP/1.0\r\nHost: {address}\r\nContent-Length: {}\r\n\
             Content-Type: application/vnd.oci.image.index.v1+json\r\n\r\n{index}",
            index.len()
        );
        let mut answer = String::new();
        let mut stream = TcpStream::connect(address).map_err(|error| error.to_string())?;
        stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
        stream.read_to_string(&mut answer).map_err(|error| error.to_string())?;
        if answer.contains(" 201 ") { Ok(()) } else { Err(answer) }
    }

    fn dockerfile(&self, text: &str) -> Result<(), String> {
        let says = "od -An -tu1 -j18 -N1";
        let text = text
            .replace("SAYS /", "PRINT /")
            .replace("SAYS addon", "PRINT addon")
            .replace("ONLY_AMD64", &self.only_amd64)
            .replace("IMAGES", self.registry.address());
        // The number, without spaces.
        let text = text.lines().fold(String::new(), |all, line| {
            let line = match line.split_once("PRINT ") {
                Some((before, program)) => format!("{before}{says} {program} | tr -d ' ' >/machine"),
                None => line.to_owned(),
            };
            all + &line + "\n"
        });
        self.write("context/Dockerfile", text.as_bytes())
    }

    fn check(&self, proof: &Proof, more: &[&str]) -> Result<Output, String> {
        let mut program = rbx(&self.parts, self.directory.path());
        program.args(["check", &format!("--select={}", proof.rule), "--severity=warning"]);
        program.arg(format!("--platform={}", proof.platforms.join(","))).args(more).arg(self.path("context"));
        program.output().map_err(|error| error.to_string())
    }

    /// The platforms that the rule finds something for.
    fn found(&self, proof: &Proof, online: bool) -> Result<Vec<String>, String> {
        let flags: &[&str] = if online { &["--format=json", "--online"] } else { &["--format=json"] };
        let output = self.check(proof, flags)?;
        let answer: Value =
            serde_json::from_slice(&output.stdout).map_err(|error| format!("{error}: {output:?}"))?;
        if !output.stderr.is_empty() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let findings = answer["files"][0]["findings"].as_array().cloned().unwrap_or_default();
        if findings.len() > 1 {
            return Err(format!("one finding: {findings:?}"));
        }
        let platforms = findings.first().map(|finding| finding["platforms"].clone()).unwrap_or_default();
        Ok(platforms
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|it| Some(it.as_str()?.to_owned()))
            .collect())
    }

    fn build(&self, platforms: &[&str]) -> Result<Vec<String>, String> {
        let archive = self.path("image.tar");
        let mut program = rbx(&self.parts, self.directory.path());
        program.args(["build", "--builder=embedded", "--progress=plain"]);
        program.arg(format!("--platform={}", platforms.join(",")));
        program.arg(format!("--output=type=oci,dest={}", archive.display())).arg(self.path("context"));
        let output = program.output().map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let machine = |image: &Image| {
            let content = image.root().get("machine").and_then(|entry| entry.content.clone());
            content.unwrap_or_default().trim_matches('"').trim_end_matches("\\n").to_owned()
        };
        Ok(Image::read_all(&archive).iter().map(machine).collect())
    }

    fn prove(&self, proof: &Proof) -> Result<(), String> {
        self.dockerfile(proof.wrong)?;
        expect("the platforms", &self.found(proof, true)?, proof.found)?;
        match (&proof.before, self.build(proof.platforms)) {
            (Fails(reason), Err(error)) if error.contains(reason) => {}
            (Fails(_), answer) => return Err(format!("before the fix: {answer:?}")),
            (Has(["one", "one"]), Ok(machines)) if machines.len() == 2 && machines[0] == machines[1] => {}
            (Has(wanted), answer) => expect("before the fix", &answer?, wanted)?,
        }
        if let Some(right) = proof.right {
            self.dockerfile(right)?;
        } else {
            let output = self.check(proof, &["--online", "--fix"])?;
            if !output.status.success() {
                return Err(format!("--fix: {output:?}"));
            }
        }
        expect("findings after the fix", &self.found(proof, true)?, &[])?;
        expect("after the fix", &self.build(proof.platforms)?, proof.after)
    }

    /// What was learned is good without a registry, for a while.
    fn remembers(&self) -> Result<(), String> {
        let proof = &PROOFS[0];
        self.dockerfile(proof.wrong)?;
        expect("what is remembered", &self.found(proof, false)?, proof.found)?;
        fs::remove_dir_all(self.path("store/facts")).map_err(|error| error.to_string())?;
        expect("what is forgotten", &self.found(proof, false)?, &[])
    }
}

fn expect(what: &str, found: &[String], wanted: &[&str]) -> Result<(), String> {
    if found == wanted { Ok(()) } else { Err(format!("{what}: expected {wanted:?}, found {found:?}")) }
}

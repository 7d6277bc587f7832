//! What builds write besides OCI archives, beside what BuildKit writes, and in a real Engine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::{Failed, Trial};
use rbx_tests::compare::{self, Difference};
use rbx_tests::{Engine, Image, Parts, Registry, Store, rbx, read_root};

/// The tests of this module.
pub(crate) fn trials() -> Vec<Trial> {
    let trial = |name: &str, test: fn() -> Result<(), String>| {
        Trial::test(format!("outputs::{name}"), move || test().map_err(Failed::from))
    };
    vec![
        trial("containerd_loads_and_runs", || loads_and_runs(Store::Containerd)),
        trial("graph_loads_and_runs", || loads_and_runs(Store::Graph)),
        trial("directories_are_buildkit_s", directories_are_buildkit_s),
        trial("directory_is_written_over", directory_is_written_over),
        trial("compressed_layers_load", compressed_layers_load),
    ]
}

/// Every kind of file, deletions, and links across directories.
const FILES: &str = r"FROM --platform=$BUILDPLATFORM registry.test/busybox AS files
RUN mkdir -p /o/d/empty /o/gone && cd /o && echo one > d/file && ln d/file hard && ln -s d/file link \
 && ln -s /absent dangling && echo set > setuid && chown 5:6 setuid && chmod 6755 setuid && mkfifo fifo \
 && echo gone > gone/file && chmod 1777 d/empty && chmod 600 d/file \
 && touch -h -d '2015-01-02 03:04:05' link dangling setuid fifo d/empty && touch -d '2016-01-02 03:04:05' d/file d
FROM scratch AS copied
COPY --from=files /o /
COPY --from=files /o/setuid /o/link /two/
FROM registry.test/busybox AS deleted
COPY --from=files /o /o
RUN rm -r /o/gone /bin/vi && rm /o/hard && mkdir /o/gone
";

/// A directory with [`FILES`] as its Dockerfile, and programs that build it.
struct Work {
    directory: tempfile::TempDir,
    /// Runs as long as it is built from.
    _registry: Registry,
    parts: Parts,
}

impl Work {
    fn new(dockerfile: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let registry = Registry::with_images();
        let context = directory.path().join("context");
        fs::create_dir(&context).expect("a context");
        let dockerfile = dockerfile.replace("registry.test", registry.address());
        fs::write(context.join("Dockerfile"), dockerfile).expect("a Dockerfile");
        Self { directory, _registry: registry, parts: Parts::locate() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Builds with docker-rbx into `name`.
    fn rbx(&self, output: &str, name: &str, more: &[&str]) -> Result<PathBuf, String> {
        let mut program = rbx(&self.parts, self.directory.path());
        program.args(["build", "--builder=embedded"]);
        self.build(program, output, name, more)
    }

    /// Builds with BuildKit into `name`.
    fn buildkit(&self, engine: &Engine, output: &str, name: &str, more: &[&str]) -> Result<PathBuf, String> {
        let mut program = engine.buildx();
        program.args(["build", "--provenance=false"]);
        self.build(program, output, name, more)
    }

    fn build(
        &self,
        mut program: Command,
        output: &str,
        name: &str,
        more: &[&str],
    ) -> Result<PathBuf, String> {
        let path = self.path(name);
        program.args(["--progress=plain", "--network=host"]).args(more);
        program.arg(format!("--output={output},dest={}", path.display())).arg(self.path("context"));
        run(&mut program)?;
        Ok(path)
    }

    /// A directory as a tar, so that it is read as tars are.
    fn packed(&self, directory: &Path, entries: &[&str]) -> Result<PathBuf, String> {
        let name = directory.file_name().unwrap_or_default().to_string_lossy();
        let path = self.path(&format!("{name}.packed"));
        run(Command::new("tar")
            .arg("-C")
            .arg(directory)
            .arg("--xattrs")
            .arg("-cf")
            .arg(&path)
            .args(entries))?;
        Ok(path)
    }
}

fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| error.to_string())?;
    let (printed, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() {
        return Ok(printed.into_owned());
    }
    Err(format!("{command:?} ended with {}:\n{printed}{errors}", output.status))
}

fn expect(what: &str, left: &str, right: &str) -> Result<(), String> {
    if left == right { Ok(()) } else { Err(format!("{what}: {left:?} where {right:?} should be")) }
}

fn same(what: &str, differences: &[Difference]) -> Result<(), String> {
    let lines: Vec<String> = differences.iter().map(|difference| format!("  {difference}")).collect();
    if lines.is_empty() {
        Ok(())
    } else {
        Err(format!("{what}: BuildKit | docker-rbx\n{}", lines.join("\n")))
    }
}

/// What an image that was loaded prints, is configured as, and has as its layers.
const LOADED: &str = "FROM registry.test/busybox\nRUN echo made in a step > /step && rm /bin/vi\n\
                      COPY Dockerfile /copied/\nWORKDIR /work\nENV GREETING=hello\nLABEL of=test\nUSER 7:8\n\
                      CMD [\"sh\", \"-c\", \"cat /step; echo $GREETING; pwd; id -u; ls /copied; ls /bin/vi || true\"]\n";

fn loads_and_runs(store: Store) -> Result<(), String> {
    let work = Work::new(LOADED);
    let engine = Engine::start(store);
    let tags = ["--tag=first:1", "--tag=registry.example/second"];
    let archive = work.rbx("type=docker", "image.tar", &tags)?;
    let said = run(engine.docker().args(["load", "--input"]).arg(&archive))?;
    for name in ["first:1", "registry.example/second:latest"] {
        if !said.contains(name) {
            return Err(format!("docker load does not name {name}: {said}"));
        }
        let printed = run(engine.docker().args(["run", "--rm", "--network=none", name]))?;
        expect("what the image prints", &printed, "made in a step\nhello\n/work\n7\nDockerfile\n")?;
    }
    let label = run(engine.docker().args(["inspect", "--format={{.Config.Labels.of}}", "first:1"]))?;
    expect("the label", label.trim(), "test")
}

/// A context of files that are not to be compressed alike, in every compression an Engine has to read.
fn compressed_layers_load() -> Result<(), String> {
    let work = Work::new(LOADED);
    for store in [Store::Containerd, Store::Graph] {
        let engine = Engine::start(store);
        for attributes in [
            "compression=zstd,force-compression=true",
            "compression=uncompressed,force-compression=true",
            "compression=gzip,compression-level=9,oci-mediatypes=false",
        ] {
            let archive = work.rbx(&format!("type=docker,{attributes}"), "image.tar", &["--tag=packed"])?;
            run(engine.docker().args(["load", "--input"]).arg(&archive))
                .map_err(|error| format!("{store:?} {attributes}: {error}"))?;
            let printed =
                run(engine.docker().args(["run", "--rm", "--network=none", "packed", "cat", "/step"]))?;
            expect(attributes, &printed, "made in a step\n")?;
            run(engine.docker().args(["rmi", "--force", "packed"]))?;
        }
    }
    Ok(())
}

/// Without the differences that are meant: where BuildKit puts the files of each platform in a directory, it changes
/// the targets of absolute links, and an image copied from there has links that lead nowhere.
fn unexplained(mut differences: Vec<Difference>) -> Vec<Difference> {
    differences.retain(|difference| {
        let changed = (difference.left.as_deref(), difference.right.as_deref());
        !matches!(changed, (Some("/linux_amd64/absent" | "/linux_arm64/absent"), Some("/absent")))
    });
    differences
}

/// What `type=tar`, `type=local` and `type=oci,tar=false` write is what BuildKit writes.
fn directories_are_buildkit_s() -> Result<(), String> {
    let work = Work::new(FILES);
    let engine = Engine::start(Store::Containerd);
    let mut reports = Vec::new();
    for more in [
        &["--target=copied"][..],
        &["--target=deleted"],
        &["--target=copied", "--platform=linux/amd64,linux/arm64"],
        &["--target=copied", "--platform=linux/amd64", "--build-arg=SOURCE_DATE_EPOCH=1600000000"],
    ] {
        let name = |who: &str, kind: &str| format!("{who}-{kind}-{}-{}", more.len(), &more[0][9..]);
        let say = |kind: &str| format!("{kind} {}", more.join(" "));
        let theirs = work.buildkit(&engine, "type=tar", &name("b", "tar"), more)?;
        let ours = work.rbx("type=tar", &name("r", "tar"), more)?;
        let differences = compare::roots(&read_root(&theirs), &read_root(&ours));
        reports.extend(same(&say("tar"), &unexplained(differences)).err());

        let theirs = work.buildkit(&engine, "type=local", &name("b", "local"), more)?;
        let ours = work.rbx("type=local", &name("r", "local"), more)?;
        let all = |path: &Path| work.packed(path, &["."]);
        let differences = compare::roots(&read_root(&all(&theirs)?), &read_root(&all(&ours)?));
        reports.extend(same(&say("local"), &unexplained(differences)).err());

        let theirs = work.buildkit(&engine, "type=oci,tar=false", &name("b", "oci"), more)?;
        let ours = work.rbx("type=oci,tar=false", &name("r", "oci"), more)?;
        let layout = |path: &Path| work.packed(path, &["index.json", "oci-layout", "blobs"]);
        let (theirs, ours) = (Image::read_all(&layout(&theirs)?), Image::read_all(&layout(&ours)?));
        reports.extend(same(&say("oci"), &compare::archives(&theirs, &ours)).err());
    }
    if reports.is_empty() { Ok(()) } else { Err(reports.join("\n")) }
}

/// A directory that holds other things already, some of them in the way.
fn directory_is_written_over() -> Result<(), String> {
    let work = Work::new(FILES);
    let engine = Engine::start(Store::Containerd);
    for who in ["theirs", "ours"] {
        let stale = work.path(who);
        let made = "mkdir -p $0/setuid/full $0/d/empty && cd $0 && echo x > setuid/full/file && echo x > gone \
                    && echo x > stale && mkdir link outside && ln -s outside two && echo x > d/file && ln d/file kept";
        run(Command::new("sh").args(["-euc", made]).arg(&stale))?;
    }
    let more = ["--target=copied"];
    let theirs = work.buildkit(&engine, "type=local", "theirs", &more)?;
    let ours = work.rbx("type=local", "ours", &more)?;
    let all = |path: &Path| work.packed(path, &["."]);
    same("written over", &compare::roots(&read_root(&all(&theirs)?), &read_root(&all(&ours)?)))
}

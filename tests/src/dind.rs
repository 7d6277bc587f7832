//! Docker in Docker: an image with an Engine of its own, and one that stands for `BuildKit`'s.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tar::{Builder, Header};

use crate::images::{PATH, Tar, digest, system};
use crate::{Engine, Parts};

/// The name of the image with an Engine. Nobody answers at the registry that it names, at once: whoever pulls it has
/// to do with the Engine's own.
pub const DIND: &str = "localhost:1/dind:latest";
/// The name of the image that stands for `moby/buildkit`.
pub const BUILDKIT: &str = "localhost:1/buildkit:latest";

/// Changes when the image does, so that one made before is made anew.
const RECIPE: &str = "dind 3";

/// What the Engine needs of the parts.
const PROGRAMS: [&str; 4] = ["dockerd", "docker", "containerd", "containerd-shim-runc-v2"];
/// What it needs of the machine: the parts' own wants a newer libc, or is not there.
const OF_THE_MACHINE: [(&str, &str); 3] = [("runc", "runc"), ("tini-static", "docker-init"), ("git", "git")];
/// What BuildKit has git do that is not in the program itself.
const OF_GIT: [&str; 3] = ["git-submodule", "git-sh-setup", "git-sh-i18n"];

/// `buildkitd` of the image that stands for `BuildKit`'s: an Engine, whose `BuildKit` it is. It takes the flags that
/// such a container is started with, and fails on others.
const BUILDKITD: &str = r#"#!/bin/sh
[ "$1" != --version ] || exec echo buildkitd github.com/moby/buildkit v0.26.0-stand-in 0
echo "buildkitd was started with: $*"
while [ $# -gt 0 ]; do
    case $1 in
        --config) [ -f "$2" ] || { echo "buildkitd: $2: no such file"; exit 1; }; shift;;
        --allow-insecure-entitlement=*) ;;
        *) echo "flag provided but not defined: $1"; exit 1;;
    esac
    shift
done
# What an Engine that was killed leaves there, the next one would take itself for.
rm -rf /var/run/docker /var/run/docker.pid
mkdir -p /run/buildkit
exec dockerd --host=unix:///run/buildkit/docker.sock --data-root=/var/lib/buildkit --bridge=none --iptables=false \
    --ip6tables=false --userland-proxy=false --feature=containerd-snapshotter=true
"#;

/// `buildctl`, as far as drivers use it: buildx asks an Engine for its `BuildKit`, and passes on what that speaks.
const BUILDCTL: &str = r#"#!/bin/sh
export DOCKER_HOST=unix:///run/buildkit/docker.sock HOME=/root
case "$*" in
    dial-stdio) exec docker-buildx dial-stdio;;
    "debug workers") exec docker version --format {{.Server.Version}};;
    *) echo "no such command: $*" >&2; exit 1;;
esac
"#;

impl Parts {
    /// An archive for `docker load` that has the image [`DIND`]: an Engine, its command line, git, and busybox. It has no
    /// entrypoint, like an image that was imported. The first call makes it, in a few seconds.
    pub fn dind(&self) -> PathBuf {
        let directory = self.directory().join("dind");
        let recipe = format!("{RECIPE}\n{}", self.versions());
        self.make("dind", &recipe, || make(self, &directory));
        directory.join("image.tar")
    }
}

impl Engine {
    /// Loads the image [`DIND`] into this Engine, in about a second.
    ///
    /// # Panics
    ///
    /// If the Engine does not take it.
    pub fn load_dind(&self) {
        self.done(self.docker().args(["load", "--quiet", "--input"]).arg(Parts::locate().dind()));
    }

    /// Makes the image [`BUILDKIT`] in this Engine, from [`DIND`]. Only the image is not the real one: its `buildctl
    /// dial-stdio` speaks the protocol, with a real `BuildKit` behind it.
    ///
    /// # Panics
    ///
    /// If the Engine does not make it.
    pub fn load_buildkit(&self) {
        self.load_dind();
        let buildx = Parts::locate().program("docker-buildx");
        let dockerfile = format!(
            "FROM {DIND}\nCOPY --from=buildx docker-buildx /usr/local/bin/\n\
             COPY --chmod=755 <<\"END\" /usr/local/bin/buildkitd\n{BUILDKITD}END\n\
             COPY --chmod=755 <<\"END\" /usr/local/bin/buildctl\n{BUILDCTL}END\n\
             ENTRYPOINT [\"buildkitd\"]\n"
        );
        let context = tempfile::tempdir().expect("a temporary directory");
        fs::write(context.path().join("Dockerfile"), dockerfile).expect("a file can be written");
        let mut command = self.buildx();
        command.args(["build", "--quiet", "--load", "--provenance=false", "--tag", BUILDKIT]);
        let buildx = buildx.parent().expect("a program is in a directory").display();
        self.done(command.arg(format!("--build-context=buildx={buildx}")).arg(context.path()));
    }

    /// Runs a command that has to do what it is told.
    fn done(&self, command: &mut Command) {
        let output = command.output().expect("the command can be run");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {said}\n{}", self.log());
    }
}

/// Makes the archive.
fn make(parts: &Parts, directory: &Path) {
    let _ = fs::remove_dir_all(directory);
    fs::create_dir_all(directory).expect("a directory for an image can be made");
    let layer = layer(parts);
    let config = json!({
        "architecture": architecture(),
        "os": "linux",
        "config": { "Env": [PATH] },
        "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
    })
    .to_string();
    // Not compressed: that would take longer than to write it.
    let manifest: Value = json!([{ "Config": "config.json", "RepoTags": [DIND], "Layers": ["layer.tar"] }]);
    let file = File::create(directory.join("image.tar")).expect("an archive can be made");
    let mut archive = Builder::new(file);
    for (name, content) in [
        ("manifest.json", manifest.to_string().as_bytes()),
        ("config.json", config.as_bytes()),
        ("layer.tar", &layer),
    ] {
        let mut header = Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, name, content).expect("the archive can be written");
    }
    archive.finish().expect("the archive can be written");
}

/// The files of the image.
fn layer(parts: &Parts) -> Vec<u8> {
    let mut tar = system(parts, "amd64");
    let of_the_machine = OF_THE_MACHINE.map(|(name, called)| (on_path(name), called));
    let programs: Vec<(PathBuf, &str)> =
        PROGRAMS.iter().map(|name| (parts.program(name), *name)).chain(of_the_machine).collect();
    let mut libraries = BTreeSet::new();
    for (path, called) in &programs {
        tar.file(&format!("usr/local/bin/{called}"), 0o755, &read(path));
        libraries.extend(needed(path));
    }
    for library in libraries {
        add(&mut tar, &library);
    }
    let directory = git_directory();
    for name in OF_GIT {
        add(&mut tar, &directory.join(name));
    }
    tar.finish()
}

/// Adds a file of the machine where it is there.
fn add(tar: &mut Tar, path: &Path) {
    let name = path.to_str().and_then(|path| path.strip_prefix('/')).expect("it has an absolute path");
    for (at, _) in name.match_indices('/') {
        tar.directory(&name[..at], 0o755);
    }
    tar.file(name, 0o755, &read(path));
}

/// Where git of the machine looks for what is not in the program itself.
fn git_directory() -> PathBuf {
    let output = Command::new(on_path("git")).arg("--exec-path").output().expect("git can be run");
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
}

/// What `docker` calls the machine's architecture.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{error}: {}", path.display()))
}

/// A program of the machine.
fn on_path(name: &str) -> PathBuf {
    let directories = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    let mut paths = directories.iter().map(|directory| Path::new(directory).join(name));
    paths.find(|path| path.exists()).unwrap_or_else(|| panic!("{name} is not there: run `cargo xtask setup`"))
}

/// The libraries that a program needs, and what loads them; none if it is static.
fn needed(program: &Path) -> Vec<PathBuf> {
    let output = Command::new("ldd").arg(program).stderr(Stdio::null()).output().expect("ldd can be run");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let words = text.split_whitespace().filter(|word| word.starts_with('/') && !word.ends_with(':'));
    words.map(PathBuf::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;

    fn print(command: &mut Command) -> String {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    #[test]
    fn there_is_an_engine_in_the_image() {
        let engine = Engine::start(Store::Graph);
        engine.load_buildkit();
        let mut command = engine.docker();
        let run = ["run", "--detach", "--privileged", "--init", "--network=host", "--volume=/var/lib/docker"];
        let flags = ["--bridge=none", "--iptables=false", "--ip6tables=false", "--userland-proxy=false"];
        let id = print(command.args(run).args([DIND, "dockerd"]).args(flags));
        let inside = |arguments: &[&str]| {
            let output = engine.docker().args(["exec", &id, "docker"]).args(arguments).output().unwrap();
            output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        };
        let mut version = None;
        crate::daemon::Daemon::wait_until(std::time::Duration::from_secs(30), || {
            version = inside(&["version", "--format={{.Server.Version}}"]);
            version.is_some()
        });
        let log = print(engine.docker().args(["logs", &id]));
        assert!(version.is_some_and(|version| version.starts_with("28.5")), "{log}");
        print(engine.docker().args(["rm", "--force", "--volumes", &id]));
    }
}

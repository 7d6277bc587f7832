//! Images that are pushed, in real registries, and pulled from there by a real Engine.

use std::fs;
use std::path::Path;
use std::process::Command;

use libtest_mimic::{Failed, Trial};
use rbx_tests::{Engine, PASSWORD, Parts, Registry, RegistryOptions, Store, USER, rbx};

/// The tests of this module.
pub(crate) fn trials() -> Vec<Trial> {
    let trial = |name: &str, test: fn() -> Result<(), String>| {
        Trial::test(format!("push::{name}"), move || test().map_err(Failed::from))
    };
    vec![
        trial("pushed_images_run_elsewhere", pushed_images_run_elsewhere),
        trial("platforms_and_tags_are_there", platforms_and_tags_are_there),
        trial("a_password_over_tls_is_used", a_password_over_tls_is_used),
        trial("refusals_say_why", refusals_say_why),
    ]
}

const DOCKERFILE: &str = "FROM registry.test/busybox\nCOPY Dockerfile /copied/\nARG TARGETARCH\n\
                          LABEL architecture=$TARGETARCH\nCMD [\"ls\", \"/copied\"]\n";

/// A context with [`DOCKERFILE`], and where its base image is.
struct Work {
    directory: tempfile::TempDir,
    /// Runs as long as it is built from.
    _images: Registry,
    parts: Parts,
}

impl Work {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let images = Registry::with_images();
        fs::create_dir(directory.path().join("context")).expect("a context");
        let dockerfile = DOCKERFILE.replace("registry.test", images.address());
        fs::write(directory.path().join("context/Dockerfile"), dockerfile).expect("a Dockerfile");
        Self { directory, _images: images, parts: Parts::locate() }
    }

    /// A build that is pushed to `registry`.
    fn build(&self, registry: &Registry, more: &[&str]) -> Command {
        let mut program = rbx(&self.parts, self.directory.path());
        program.args(["build", "--builder=embedded", "--progress=plain", "--push"]).args(more);
        program.env("SSL_CERT_FILE", registry.certificate()).arg(self.directory.path().join("context"));
        program
    }
}

fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| error.to_string())?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(printed);
    }
    Err(format!(
        "{command:?} ended with {}:\n{printed}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    ))
}

fn expect(what: &str, left: &str, right: &str) -> Result<(), String> {
    if left == right { Ok(()) } else { Err(format!("{what}: {left:?} where {right:?} should be")) }
}

fn pushed_images_run_elsewhere() -> Result<(), String> {
    let (work, registry) = (Work::new(), Registry::start());
    let name = format!("{}/team/app:1", registry.address());
    let tag = format!("--tag={name}");
    run(&mut work.build(&registry, &[&tag]))?;
    for store in [Store::Containerd, Store::Graph] {
        let engine = Engine::start(store);
        let printed = run(engine.docker().args(["run", "--rm", "--network=none", "--pull=always", &name]))?;
        expect("what the image prints", printed.trim(), "Dockerfile")?;
    }
    // What is there already is neither sent nor changed.
    let digest = run(registry.crane().args(["digest", &name]))?;
    run(&mut work.build(&registry, &[&tag]))?;
    expect("the digest", &run(registry.crane().args(["digest", &name]))?, &digest)
}

/// The digest of what was built, from what `--metadata-file` has written.
fn digest_in(metadata: &Path) -> Result<String, String> {
    let text = fs::read_to_string(metadata).map_err(|error| error.to_string())?;
    let metadata: serde_json::Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    metadata["containerimage.digest"].as_str().map(str::to_owned).ok_or(text)
}

fn platforms_and_tags_are_there() -> Result<(), String> {
    let (work, registry) = (Work::new(), Registry::start());
    let names = ["team/app:1", "team/app:latest", "other/app:1"];
    let names = names.map(|name| format!("{}/{name}", registry.address()));
    let metadata = work.directory.path().join("metadata.json");
    let mut arguments: Vec<String> = names.iter().map(|name| format!("--tag={name}")).collect();
    arguments.push("--platform=linux/amd64,linux/s390x".to_owned());
    let to_file = format!("--metadata-file={}", metadata.display());
    arguments.push(to_file.clone());
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    run(&mut work.build(&registry, &arguments))?;
    let digest = digest_in(&metadata)?;
    for name in &names {
        expect(name, run(registry.crane().args(["digest", name]))?.trim(), &digest)?;
        // Reads every layer of every platform, and checks all digests.
        run(registry.crane().args(["validate", "--remote", name]))?;
        for architecture in ["amd64", "s390x"] {
            let platform = format!("--platform=linux/{architecture}");
            let config = run(registry.crane().args(["config", &platform, name]))?;
            let label = format!("\"architecture\":\"{architecture}\"");
            if config.matches(&label).count() != 2 {
                return Err(format!("{name} for {architecture} is {config}"));
            }
        }
    }
    // By digest alone there is no tag.
    let name = format!("{}/untagged", registry.address());
    let output = format!("--output=type=registry,name={name},push-by-digest=true");
    run(&mut work.build(&registry, &[&output, &to_file]))?;
    run(registry.crane().args(["validate", "--remote", &format!("{name}@{}", digest_in(&metadata)?)]))?;
    match run(registry.crane().args(["digest", &name])) {
        Err(error) if error.contains("NOT_FOUND") || error.contains("404") => Ok(()),
        other => Err(format!("a tag was pushed, too: {other:?}")),
    }
}

fn a_password_over_tls_is_used() -> Result<(), String> {
    let work = Work::new();
    let registry =
        Registry::with(RegistryOptions { password: true, tls: true, ..RegistryOptions::default() });
    let name = format!("{}/team/app", registry.address());
    let tag = format!("--tag={name}");
    let refused = run(&mut work.build(&registry, &[&tag])).err().unwrap_or_default();
    if !refused
        .contains("ERROR: failed to build: push access denied, repository does not exist or may require")
    {
        return Err(format!("without credentials: {refused}"));
    }
    let login = ["auth", "login", registry.address(), "-u", USER, "-p", PASSWORD];
    let config = work.directory.path().join("config");
    run(registry.crane().env("DOCKER_CONFIG", &config).args(login))?;
    run(&mut work.build(&registry, &[&tag]))?;
    run(registry.crane().env("DOCKER_CONFIG", &config).args(["validate", "--remote", &name])).map(drop)
}

fn refusals_say_why() -> Result<(), String> {
    let (work, images) = (Work::new(), Registry::with_images());
    let refused = run(&mut work.build(&images, &[])).err().unwrap_or_default();
    if !refused.contains("ERROR: failed to build: tag is needed when pushing to registry") {
        return Err(format!("without a name: {refused}"));
    }
    // This registry takes nothing.
    let tag = format!("--tag={}/team/app", images.address());
    let refused = run(&mut work.build(&images, &[&tag])).err().unwrap_or_default();
    let last = refused.lines().rfind(|line| line.starts_with("ERROR")).unwrap_or_default();
    if !last.contains("unexpected status 405") {
        return Err(format!("by a registry that only gives: {refused}"));
    }
    Ok(())
}

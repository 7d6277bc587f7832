//! docker-rbx installed as a plugin of the docker CLI.

use std::fs;
use std::process::{Command, Output};

use libtest_mimic::{Failed, Trial};
use rbx_tests::{Engine, Image, Parts, Store, rbx_program};

/// The tests of this module.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("plugin::docker_lists_it", || docker_lists_it().map_err(Failed::from)),
        Trial::test("plugin::help_and_version_reach_it", || {
            help_and_version_reach_it().map_err(Failed::from)
        }),
        Trial::test("plugin::it_builds_the_example", || it_builds_the_example().map_err(Failed::from)),
    ]
}

/// An Engine whose docker CLI has the plugin.
fn installed() -> Engine {
    let engine = Engine::start(Store::Containerd);
    engine.install_plugin(&rbx_program());
    engine
}

fn run(command: &mut Command) -> Result<Output, String> {
    let output = command.output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(output);
    }
    let (printed, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Err(format!("{command:?} ended with {}:\n{printed}{errors}", output.status))
}

fn text(command: &mut Command) -> Result<String, String> {
    Ok(String::from_utf8_lossy(&run(command)?.stdout).into_owned())
}

fn expect(holds: bool, what: &str, text: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("{what}:\n{text}")) }
}

fn docker_lists_it() -> Result<(), String> {
    let engine = installed();
    let plugins = text(engine.docker().args(["info", "--format", "{{json .ClientInfo.Plugins}}"]))?;
    let plugins: serde_json::Value = serde_json::from_str(&plugins).map_err(|error| error.to_string())?;
    let all = plugins.as_array().into_iter().flatten();
    let own =
        all.into_iter().find(|plugin| plugin["Name"] == "rbx").ok_or("docker info does not list rbx")?;
    expect(own["Err"].is_null(), "docker rejects the plugin", &own.to_string())?;
    expect(own["Vendor"].as_str().is_some_and(|vendor| !vendor.is_empty()), "a vendor", &own.to_string())?;
    let help = text(engine.docker().arg("--help"))?;
    expect(help.contains("rbx*"), "docker --help lists rbx", &help)
}

fn help_and_version_reach_it() -> Result<(), String> {
    let engine = installed();
    let help = text(engine.docker().args(["rbx", "--help"]))?;
    expect(help.contains("docker rbx"), "help speaks of docker rbx", &help)?;
    let version = text(engine.docker().args(["rbx", "version"]))?;
    expect(version.contains("rbx"), "version names rbx", &version)
}

fn it_builds_the_example() -> Result<(), String> {
    let engine = installed();
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/hello");
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let archive = directory.path().join("image.tar");
    run(engine
        .docker()
        .env("RBX_ROOT", directory.path().join("store"))
        .args(["rbx", "build", "--builder=embedded", "--build-context"])
        .arg(format!("base=oci-layout://{}", Parts::locate().layout("busybox").display()))
        .arg(format!("--output=type=oci,dest={}", archive.display()))
        .arg(example))?;
    expect(fs::metadata(&archive).is_ok(), "the archive is written", "")?;
    let images = Image::read_all(&archive);
    let [image] = images.as_slice() else { return Err(format!("{} images", images.len())) };
    let root = image.root();
    let greeting = root.get("hello/greeting.txt").and_then(|file| file.content.clone()).unwrap_or_default();
    expect(greeting.contains("Hello from linux/"), "the step ran", &greeting)
}

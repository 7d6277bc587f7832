//! `rbx-parts`: the real parts by hand.

#![expect(clippy::print_stdout, reason = "a developer's command line tool")]

use std::process::ExitCode;

use rbx_tests::corpus::{Case, Outcome};
use rbx_tests::{Engine, Entry, Image, Parts, Registry, Store};

const USAGE: &str = "\
Usage: rbx-parts COMMAND

  layout IMAGE     print the path of a base image as an OCI layout (busybox, configured, onbuild, debian)
  golden CASE      print what BuildKit makes of a case of the corpus
  engine [graph]   run an Engine and a registry with the base images until standard input ends
  hub              run a registry with base images under the names of Docker Hub until standard input ends
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["layout", "debian"] => println!("{}", Parts::locate().debian().display()),
        ["layout", image] => println!("{}", Parts::locate().layout(image).display()),
        ["golden", name] => {
            let Some(case) = Case::all().into_iter().find(|case| case.name == name) else {
                println!("there is no case {name:?}");
                return ExitCode::FAILURE;
            };
            match case.golden(&Parts::locate()) {
                Outcome::Built { images, .. } => images.iter().for_each(print),
                Outcome::Failed { status, error } => println!("failed with {status}\n{error}"),
            }
        }
        ["engine", ref store @ ..] => {
            let store = if store == ["graph"] { Store::Graph } else { Store::Containerd };
            let engine = Engine::start(store);
            let registry = Registry::with_images();
            println!("export DOCKER_HOST={}", engine.host());
            println!("export DOCKER_CONFIG={}", engine.config().display());
            println!("export REGISTRY={}", registry.address());
            wait();
        }
        ["hub"] => {
            let registry = Registry::docker_hub();
            let mirrors =
                format!(r#"{{"registries": {{"docker.io": {{"mirrors": ["{}"]}}}}}}"#, registry.address());
            println!("in $DOCKER_CONFIG/rbx/config.json: {mirrors}");
            wait();
        }
        _ => {
            print!("{USAGE}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Until whoever started this closes the pipe, or types Ctrl-D.
fn wait() {
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
}

fn print(image: &Image) {
    println!("{:#}", image.config);
    for (number, layer) in image.layers.iter().enumerate().filter(|(_, layer)| layer.len() < 100) {
        println!("layer {number}");
        for (path, entry) in layer {
            println!("  {}", line(path, entry));
        }
    }
}

fn line(path: &str, entry: &Entry) -> String {
    let Entry { kind, mode, uid, gid, mtime, size, content, link, device, xattrs } = entry;
    let mut words = vec![format!("{kind:9?} {mode:04o} {uid}:{gid} {mtime} {size} /{path}")];
    words.extend(link.iter().map(|link| format!("-> {link}")));
    words.extend(device.iter().map(|(major, minor)| format!("{major},{minor}")));
    words.extend(content.clone());
    words.extend(xattrs.iter().map(|(name, value)| format!("{name}={}", value.escape_ascii())));
    words.join(" ")
}

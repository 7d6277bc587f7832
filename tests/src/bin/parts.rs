//! `rbx-parts`: the real parts by hand.

#![expect(clippy::print_stdout, reason = "a developer's command line tool")]

use std::process::ExitCode;

use rbx_tests::{Engine, Parts, Registry, Store};

const USAGE: &str = "\
Usage: rbx-parts COMMAND

  layout IMAGE     print the path of a base image as an OCI layout (busybox, configured, onbuild)
  engine [graph]   run an Engine and a registry with the base images until standard input ends
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["layout", image] => println!("{}", Parts::locate().layout(image).display()),
        ["engine", ref store @ ..] => {
            let store = if store == ["graph"] { Store::Graph } else { Store::Containerd };
            let engine = Engine::start(store);
            let registry = Registry::with_images();
            println!("export DOCKER_HOST={}", engine.host());
            println!("export DOCKER_CONFIG={}", engine.config().display());
            println!("export REGISTRY={}", registry.address());
            // Whoever started this closes the pipe, or types Ctrl-D.
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        }
        _ => {
            print!("{USAGE}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

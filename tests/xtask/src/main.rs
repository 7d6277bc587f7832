//! `cargo xtask`: what a developer and the continuous integration run.
//!
//! Depends on nothing but the standard library, so that it compiles in seconds on a fresh checkout.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a developer's command line tool")]

mod bases;
mod example;
mod fuzz;
mod host;
mod parts;
mod run;
mod suite;
mod vscode;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use run::Outcome;

const USAGE: &str = "\
Usage: cargo xtask COMMAND

  setup            install what is needed from Debian and fetch the real parts that tests run on
  parts            fetch the real parts only (into target/parts, or $RBX_PARTS)
  example          build examples/hello with docker-rbx
  test [ARGS]      format, lints, all tests; ARGS go to the test runner
  fuzz NAME [ARGS] let libFuzzer look for inputs that break a target (`fuzz` lists them); ARGS go to libFuzzer
  stress [ARGS]    kill and interrupt builds at random moments, and do many at once (--builds, --seed, --at-once)
  vscode           try the extension for Visual Studio Code in a browser (wants Chromium; fetches VS Code from npm)
  bench-lsp [ARGS] measure the language server, beside others that are named (`bench-lsp --help`)
  bench [ARGS]     measure rbx and BuildKit side by side (`bench --help` lists the rows)
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) = match arguments.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", [].as_slice()),
    };
    let house = House::locate();
    let outcome = match command {
        "setup" => setup(&house),
        "parts" => parts::fetch(&house),
        "example" => setup(&house).and_then(|()| example::run(&house)),
        "test" => setup(&house).and_then(|()| suite::test(&house, rest)),
        "fuzz" => fuzz::run(&house, rest),
        "stress" => setup(&house).and_then(|()| suite::stress(&house, rest)),
        "vscode" => setup(&house).and_then(|()| vscode::tour(&house)),
        "bench" => setup(&house).and_then(|()| suite::bench(&house, rest)),
        "bench-lsp" => suite::bench_lsp(&house, rest),
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(())
        }
        other => Err(format!("unknown command {other:?}\n\n{USAGE}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("xtask: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// Installs what the host lacks, then fetches the parts.
fn setup(house: &House) -> Outcome {
    host::install()?;
    parts::fetch(house)
}

/// Where things are.
struct House {
    /// The workspace's root.
    root: PathBuf,
    /// Cargo's target directory.
    target: PathBuf,
    /// The real parts: `$RBX_PARTS`, else `target/parts`.
    parts: PathBuf,
}

impl House {
    fn locate() -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = here.ancestors().nth(2).expect("xtask lies two levels below the root").to_path_buf();
        let directory = |name, or: PathBuf| std::env::var_os(name).map_or(or, |value| root.join(value));
        let target = directory("CARGO_TARGET_DIR", root.join("target"));
        let parts = directory("RBX_PARTS", target.join("parts"));
        Self { root, target, parts }
    }

    /// Cargo, in the workspace and with the parts.
    fn cargo(&self) -> Command {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(&self.root).env("RBX_PARTS", &self.parts);
        command
    }
}

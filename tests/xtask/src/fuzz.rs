//! Fuzzing: `cargo fuzz` with its places set, for the targets of `tests/fuzz`.

use std::path::Path;
use std::process::Command;

use crate::House;
use crate::run::{self, Outcome};

/// Where cargo-fuzz finds the targets, from the root.
const PACKAGE: &str = "tests/fuzz/libfuzzer";

/// What a run is bounded by, where the arguments say nothing else: half an hour, 10 seconds for one input, 2 GiB.
const BOUNDS: [&str; 3] = ["-max_total_time=1800", "-timeout=10", "-rss_limit_mb=2048"];

/// Fuzzes one target, from its seeds and from what earlier runs found.
pub(crate) fn run(house: &House, arguments: &[String]) -> Outcome {
    let package = house.root.join(PACKAGE);
    let targets = targets(&package)?;
    let Some((target, rest)) = arguments.split_first() else {
        println!("{}", targets.join("\n"));
        return Ok(());
    };
    if !targets.contains(target) {
        return Err(format!("no target {target:?}; there are: {}", targets.join(", ")));
    }
    // The versions that are built and tested are those that are fuzzed.
    let copied = std::fs::copy(house.root.join("Cargo.lock"), package.join("Cargo.lock"));
    copied.map_err(|error| format!("cannot copy Cargo.lock: {error}"))?;
    let corpus = package.join("corpus").join(target);
    std::fs::create_dir_all(&corpus)
        .map_err(|error| format!("cannot create {}: {error}", corpus.display()))?;
    let seeds = house.root.join("tests/fuzz/seeds").join(target);
    // Nothing here is `unsafe`, and without a sanitizer twice as many inputs are tried.
    let mut command = Command::new("cargo");
    command.current_dir(&house.root).args(["+nightly", "fuzz", "run", "--sanitizer", "none"]);
    command.arg("--fuzz-dir").arg(&package).arg(target).arg(&corpus).arg(&seeds);
    if target == "parser" {
        command.arg(house.root.join("core/dockerfile/tests/corpus"));
    }
    let rest = rest.strip_prefix(&["--".to_owned()]).unwrap_or(rest);
    run::visibly(command.arg("--").args(BOUNDS).args(rest)).map_err(|reason| {
        format!("{reason}\n(it needs: rustup toolchain install nightly; cargo install --locked cargo-fuzz)")
    })
}

fn targets(package: &Path) -> Outcome<Vec<String>> {
    let listed = std::fs::read_dir(package.join("targets")).map_err(|error| error.to_string())?;
    let mut names: Vec<String> = listed
        .filter_map(|file| Some(file.ok()?.path().file_stem()?.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    Ok(names)
}

//! Running commands.

use std::process::{Command, Stdio};

use crate::House;

/// What a task ends with; the reason of a failure is for a person.
pub(crate) type Outcome<T = ()> = Result<T, String>;

/// Shows a command, runs it with the caller's output, and fails if it fails.
pub(crate) fn visibly(command: &mut Command) -> Outcome {
    println!("$ {}", shown(command));
    let status = command
        .stdin(Stdio::null())
        .status()
        .map_err(|error| format!("cannot run {}: {error}", shown(command)))?;
    if status.success() { Ok(()) } else { Err(format!("{} ended with {status}", shown(command))) }
}

/// Runs a command and gives its standard output; its standard error is part of the reason if it fails.
pub(crate) fn output(command: &mut Command) -> Outcome<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot run {}: {error}", shown(command)))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!(
        "{} ended with {}:\n{}",
        shown(command),
        output.status,
        String::from_utf8_lossy(&output.stderr).trim_end()
    ))
}

/// Builds `docker-rbx` and `rbx-parts`.
pub(crate) fn programs(house: &House) -> Outcome {
    let programs = ["-p", "docker-rbx", "-p", "rbx-tests", "--bin", "docker-rbx", "--bin", "rbx-parts"];
    visibly(house.cargo().arg("build").args(programs))
}

/// Where the OCI layout of a base image is; [`programs`] have to be there.
pub(crate) fn layout(house: &House, image: &str) -> Outcome<String> {
    let mut parts = Command::new(house.target.join("debug/rbx-parts"));
    let layout = output(parts.env("RBX_PARTS", &house.parts).args(["layout", image]))?;
    Ok(layout.trim().to_owned())
}

/// A command line as a person would type it, long ones cut.
fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let line = words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ");
    if line.chars().count() <= 160 { line } else { line.chars().take(157).chain("...".chars()).collect() }
}

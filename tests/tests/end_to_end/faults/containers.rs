//! Builders whose containers are taken away in the middle of a build.

use std::process::Command;

use rbx_tests::builders::{CONTAINER, Row};

use super::{Running, Work, expect, lossy};

/// The rows whose daemon is in a container.
pub(super) const ROWS: [Row; 2] = [Row::ContainerBuildKit, Row::ContainerDind];

/// What takes a daemon away: command lines of docker.
fn blows(row: Row) -> [&'static [&'static str]; 2] {
    // Killed alone, the daemon is started again by the Engine.
    let daemon: &[&str] = &["exec", CONTAINER, "sh", "-c", "kill -9 $(pidof dockerd)"];
    [&["kill", CONTAINER], if row == Row::ContainerDind { daemon } else { &["rm", "--force", CONTAINER] }]
}

/// Each build ends with one error, and the next one boots the container and finds what was built before.
pub(super) fn the_container_is_taken_away(row: Row) -> Result<(), String> {
    let work = Work::new(row);
    let once = || {
        work.dockerfile("FROM base\nRUN head -c 16 /dev/urandom > /once\n");
        let output = work.build("plain").output().map_err(|error| error.to_string())?;
        let said = lossy(&output.stderr);
        if output.status.success() { Ok(said) } else { Err(said) }
    };
    once()?;
    for blow in blows(row) {
        let at = |error: String| format!("{blow:?}: {error}");
        work.never_ending();
        let mut running = Running::start(work.build("plain"));
        running.begun().map_err(at)?;
        done(work.builder.engine().docker().args(blow)).map_err(at)?;
        let error = running.fails(1).map_err(at)?;
        expect(&error, &["lost", "gone"]).map_err(at)?;
        let again = once().map_err(at)?;
        if !again.contains("CACHED") {
            return Err(at(format!("nothing was kept:\n{again}")));
        }
        work.is_well().map_err(at)?;
        let containers = done(work.builder.engine().docker().args(["ps", "--all", "--format={{.Names}}"]))?;
        if containers.trim() != CONTAINER {
            return Err(at(format!("containers are left: {containers}")));
        }
    }
    Ok(())
}

fn done(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| error.to_string())?;
    if output.status.success() { Ok(lossy(&output.stdout)) } else { Err(lossy(&output.stderr)) }
}

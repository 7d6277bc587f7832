//! The extension for Visual Studio Code: checked like everything else, and tried in a real one.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::House;
use crate::run::{self, Outcome};

/// Checks its types and bundles it. Somebody who has no Node.js may do without.
pub(crate) fn check(house: &House) -> Outcome {
    let extension = extension(house);
    if run::output(npm(&extension).arg("--version")).is_err() && std::env::var_os("CI").is_none() {
        println!("NOT RUN: types and bundle of editors/vscode: there is no npm");
        return Ok(());
    }
    run::visibly(npm(&extension).args(["ci", "--silent", "--no-audit", "--no-fund"]))?;
    run::visibly(npm(&extension).args(["run", "--silent", "build"]))
}

/// Packages it, installs it in a VS Code in a browser, and does there what a user does. Pictures of that are left in
/// `target/vscode`.
pub(crate) fn tour(house: &House) -> Outcome {
    let extension = extension(house);
    let test = extension.join("test");
    run::visibly(npm(&extension).args(["ci", "--no-audit", "--no-fund"]))?;
    run::visibly(npm(&extension).args(["run", "package"]))?;
    run::visibly(npm(&test).args(["ci", "--no-audit", "--no-fund"]))?;
    run::programs(house)?;
    let layout = run::layout(house, "busybox")?;
    run::visibly(
        Command::new(test.join("node_modules/node/bin/node"))
            .current_dir(&extension)
            .arg("test/tour.mjs")
            .args([house.target.join("debug/docker-rbx"), layout.into()])
            .args([house.parts.join("root/usr/bin"), house.target.join("vscode")]),
    )
}

fn extension(house: &House) -> PathBuf {
    house.root.join("editors/vscode")
}

fn npm(directory: &Path) -> Command {
    let mut npm = Command::new("npm");
    npm.current_dir(directory);
    npm
}

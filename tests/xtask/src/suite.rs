//! Tests and benchmarks.

use std::process::Command;

use crate::run::{self, Outcome};
use crate::{House, vscode};

/// Everything that continuous integration checks, the cheap first. `arguments` go to the test runner.
pub(crate) fn test(house: &House, arguments: &[String]) -> Outcome {
    let cargo = |words: &[&str]| {
        let mut command = house.cargo();
        command.args(words);
        command
    };
    run::visibly(&mut cargo(&["fmt", "--all", "--check"]))?;
    run::visibly(&mut cargo(&["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    vscode::check(house)?;
    // End-to-end tests run these two programs as a user would.
    run::visibly(&mut cargo(&["build", "--quiet", "-p", "docker-rbx", "-p", "rbx-lsp"]))?;
    run::visibly(&mut cargo(&["test", "--quiet", "--workspace", "--doc"]))?;
    // Runners show nothing of tests that pass.
    match std::env::var("RBX_BUILDKIT_IMAGE") {
        Ok(archive) => println!("the driver docker-container is tried on the BuildKit image of {archive}"),
        Err(_) => println!(
            "NOT RUN: the driver docker-container on a real BuildKit image: no registry of packages has one. Set \
             RBX_BUILDKIT_IMAGE to an archive of it; an image with the BuildKit of an Engine stands in"
        ),
    }
    if run::output(&mut cargo(&["nextest", "--version"])).is_ok() {
        run::visibly(cargo(&["nextest", "run", "--workspace"]).args(arguments))
    } else {
        // The same tests in the runner that comes with Rust: no half hour of compiling another one first.
        println!("cargo-nextest is not installed (cargo install --locked cargo-nextest); using cargo test");
        run::visibly(
            cargo(&["test", "--workspace", "--no-fail-fast", "--lib", "--bins", "--tests"]).args(arguments),
        )
    }
}

/// Builds both sides in release mode and measures them.
pub(crate) fn bench(house: &House, arguments: &[String]) -> Outcome {
    run::visibly(house.cargo().args(["build", "--release", "-p", "docker-rbx", "-p", "rbx-tests"]))?;
    run::visibly(
        Command::new(house.target.join("release/rbx-bench"))
            .env("RBX_PARTS", &house.parts)
            .env("RBX_BIN", house.target.join("release/docker-rbx"))
            .args(arguments),
    )
}

/// Builds the language server in release mode, and measures it beside those that are named.
pub(crate) fn bench_lsp(house: &House, arguments: &[String]) -> Outcome {
    let packages = ["-p", "rbx-lsp", "-p", "rbx-tests", "--bin", "rbx-lsp", "--bin", "rbx-bench-lsp"];
    run::visibly(house.cargo().args(["build", "--release"]).args(packages))?;
    let release = house.target.join("release");
    let server = release.join("rbx-lsp");
    run::visibly(Command::new(release.join("rbx-bench-lsp")).arg("--rbx").arg(server).args(arguments))
}

/// Disturbs builds at random moments, and does many at once.
pub(crate) fn stress(house: &House, arguments: &[String]) -> Outcome {
    run::visibly(house.cargo().args(["build", "-p", "docker-rbx", "-p", "rbx-tests"]))?;
    run::visibly(
        Command::new(house.target.join("debug/rbx-stress")).env("RBX_PARTS", &house.parts).args(arguments),
    )
}

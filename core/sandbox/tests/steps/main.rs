//! Steps run for real: needs root and a static busybox.
//!
//! The test program is also its own helper, and the owner that is killed, so it has a `main` of its own.

mod command;
mod emulation;
mod escapes;
mod files;
mod life;
mod limits;
mod mounts;
mod nested;
mod rights;
mod rootless;
mod runtime;
mod world;

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Output;

use libtest_mimic::{Arguments, Failed, Trial};
use world::World;

/// A test with a name; those of a file are in its `TESTS`.
type Test = (&'static str, fn(&World));

fn main() {
    rbx_sandbox::enter();
    match std::env::args().nth(1).as_deref() {
        Some(rootless::SCENE) => return rootless::play(),
        Some(nested::SCENE) => return nested::play(),
        _ => {}
    }
    if let Some(scene) = std::env::args().nth(1).filter(|argument| argument.starts_with("scene-")) {
        if !limits::play(&scene) && !escapes::play(&scene) {
            life::play(&scene);
        }
        return;
    }
    let arguments = Arguments::from_args();
    libtest_mimic::run(&arguments, trials()).exit();
}

fn trials() -> Vec<Trial> {
    let root = std::fs::metadata("/proc/self").expect("/proc").uid() == 0;
    let trial = move |(name, test): Test| {
        Trial::test(name, move || {
            if !root {
                return Err(Failed::from("these tests run build steps, which need root"));
            }
            test(&World::new());
            Ok(())
        })
    };
    let tests = all().chain(
        [limits::TESTS, runtime::TESTS, escapes::TESTS, rootless::TESTS, emulation::TESTS, nested::TESTS]
            .into_iter()
            .flatten()
            .copied(),
    );
    let mut trials: Vec<Trial> = tests.map(trial).collect();
    // Measurements, for a quiet machine and release code.
    trials.push(trial(("overhead", life::overhead)).with_ignored_flag(true));
    trials.push(trial(("overhead_of_emulation", emulation::overhead)).with_ignored_flag(true));
    trials
}

/// The tests of steps, but for those of limits, which root of the host alone sets.
fn all() -> impl Iterator<Item = Test> {
    let tests = [command::TESTS, rights::TESTS, files::TESTS, mounts::TESTS, life::TESTS];
    tests.into_iter().flatten().copied()
}

/// Runs tests, in a process of their own: the first argument after the scene's name is where worlds are made, others
/// are names. Prints a line for each.
fn play_tests(tests: impl Iterator<Item = Test>) {
    let arguments: Vec<String> = std::env::args().skip(2).collect();
    let [place, names @ ..] = arguments.as_slice() else { panic!("no place") };
    world::PLACE.set(Path::new(place).to_owned()).expect("the first place");
    for (name, test) in tests.filter(|(name, _)| names.iter().any(|wanted| wanted == name)) {
        // The reason is printed by the panic.
        let passed = catch_unwind(AssertUnwindSafe(|| test(&World::new()))).is_ok();
        writeln!(std::io::stdout(), "{} {name}", if passed { "ok" } else { "FAILED" }).expect("output");
    }
}

/// Expects that all tests with these names have passed in such a process.
fn all_passed(names: &[&str], output: &Output) {
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let passed = said.lines().filter(|line| line.starts_with("ok ")).count();
    assert_eq!(passed, names.len(), "{said}{errors}");
}

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
mod rights;
mod rootless;
mod runtime;
mod world;

use std::os::unix::fs::MetadataExt;

use libtest_mimic::{Arguments, Failed, Trial};
use world::World;

/// A test with a name; those of a file are in its `TESTS`.
type Test = (&'static str, fn(&World));

fn main() {
    rbx_sandbox::enter();
    if std::env::args().nth(1).is_some_and(|argument| argument == rootless::SCENE) {
        rootless::play();
        return;
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
        [limits::TESTS, runtime::TESTS, escapes::TESTS, rootless::TESTS, emulation::TESTS]
            .into_iter()
            .flatten()
            .copied(),
    );
    let mut trials: Vec<Trial> = tests.map(trial).collect();
    // A measurement, for a quiet machine and release code.
    trials.push(trial(("overhead", life::overhead)).with_ignored_flag(true));
    trials
}

/// The tests of steps, but for those of limits, which root of the host alone sets.
fn all() -> impl Iterator<Item = Test> {
    let tests = [command::TESTS, rights::TESTS, files::TESTS, mounts::TESTS, life::TESTS];
    tests.into_iter().flatten().copied()
}

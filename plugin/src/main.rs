//! docker-rbx: builds container images for many platforms from one machine, as a plugin of the docker CLI or alone.

mod alias;
mod build;
mod builders;
mod check;
mod cli;
mod collection;
mod completion;
mod docker;
mod doctor;
mod editor;
mod env;
mod errors;
mod help;
mod rights;
mod storage;
mod table;
mod template;
mod threads;
mod units;
mod version;

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    // Started again by the sandbox, this does not return.
    rbx_sandbox::enter();
    let mut words = Vec::new();
    for word in std::env::args_os() {
        match word.into_string() {
            Ok(word) => words.push(word),
            Err(word) => return refuse(&format!("{}: not UTF-8", word.display())),
        }
    }
    let program = if words.is_empty() { String::new() } else { words.remove(0) };
    match env::Env::gather(program) {
        Ok(env) => cli::run(&words, &env),
        Err(error) => refuse(&format!("{error}: failed to find the current directory")),
    }
}

fn refuse(message: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "ERROR: {message}");
    ExitCode::FAILURE
}

//! `rbx-lsp`, the language server for Dockerfiles.

use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    rbx_sandbox::enter();
    // Words that are no text are none that it knows.
    let words = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    match rbx_lsp::Options::read(words) {
        Ok(options) => rbx_lsp::run(&options, rbx_lsp::Surroundings::gather()),
        Err((text, true)) => {
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err((text, false)) => {
            let _ = std::io::stderr().write_all(text.as_bytes());
            ExitCode::FAILURE
        }
    }
}

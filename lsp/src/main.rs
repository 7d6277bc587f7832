//! `rbx-lsp`, the language server for Dockerfiles, on standard input and output.

use std::process::ExitCode;

fn main() -> ExitCode {
    rbx_sandbox::enter();
    rbx_lsp::run(rbx_lsp::Surroundings::gather())
}

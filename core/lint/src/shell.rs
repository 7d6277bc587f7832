//! What shell scripts in a Dockerfile do: their commands, with places.
//!
//! This is no shell. It reads what the POSIX shell and bash take, and reads on where they would not: any text gives the
//! commands that can be made out, in time that grows with its length. Nothing is expanded: what a word is without
//! running anything is a text, and what is not is named.
//!
//! [`Scripts`] has the scripts of a file, each read once; [`Run`] is one of them with what is known of where it runs.

mod call;
mod compound;
mod expansion;
mod model;
mod outer;
mod parse;
mod reads;
mod redirection;
mod script;
mod tokens;
mod word;

pub(crate) use call::{Arguments, Call};
pub(crate) use model::{Assignment, Command, Context, Expansion, Join, Part, Program, Redirection, Word};
pub use outer::shell_reads;
pub(crate) use reads::{Otherwise, reads};
pub(crate) use script::{Purpose, Run, Script, Scripts, runs};
pub use tokens::{ShellToken, shell_tokens};

#[cfg(test)]
mod tests;

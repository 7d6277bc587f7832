//! The flags of `check`.

use clap::{Parser, ValueHint};

use super::Common;

/// What the help says after the flags.
const AFTER: &str = r##"A PATH is a Dockerfile, a directory to search for Dockerfiles, or "-" for standard
input; without one it is the current directory. A file is checked for the platforms
of the flags, else for those of its comment "# rbx: platforms=linux/amd64,…", else
for that of a build. "# rbx: ignore=RULE" above an instruction, or "# check=skip=RULE"
there or on top of the file, silences a rule.

The exit code is 0 if nothing was found, and 1 if anything was."##;

/// `check [OPTIONS] [PATH…]`
#[derive(Debug, Clone, Parser)]
#[command(after_help = AFTER)]
#[command(name = "check", disable_help_flag = true, args_override_self = true, no_binary_name = true)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) common: Common,

    /// Dockerfiles, directories that have some, or "-"
    #[arg(value_hint = ValueHint::AnyPath)]
    pub(crate) paths: Vec<String>,

    /// Set a variable of the Dockerfile's ARG (format: "name=value")
    #[arg(long, value_name = "stringArray")]
    pub(crate) build_arg: Vec<String>,

    /// Name another build context (format: "name=path")
    #[arg(long, value_name = "stringArray")]
    pub(crate) build_context: Vec<String>,

    /// Explain a rule (e.g., "platform-arg-default"); "all" lists them
    #[arg(long, value_name = "rule")]
    pub(crate) explain: Option<String>,

    /// Path of the Dockerfile, where PATH is a build context
    #[arg(long, short, value_name = "string", value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<String>,

    /// Format the output ("text", "json")
    #[arg(long, value_name = "string", default_value = "text")]
    pub(crate) format: String,

    /// Platform that is built for (format: "os/arch[/variant]"); several with commas, or by more flags
    #[arg(long, value_name = "stringArray")]
    pub(crate) platform: Vec<String>,

    /// Check only what this stage needs
    #[arg(long, value_name = "string")]
    pub(crate) target: Option<String>,
}

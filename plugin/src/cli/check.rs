//! The flags of `check`.

use clap::{Parser, ValueHint};

use super::Common;

/// What the help says after the flags.
const AFTER: &str = r##"A PATH is a Dockerfile, a directory to search for Dockerfiles, or "-" for standard
input; without one it is the current directory. A file is checked for the platforms
of the flags, else for those of its comment "# rbx: platforms=linux/amd64,…", else
for those of "rbx.toml", else for those of the GitHub workflow that builds it
(docker/build-push-action, or "docker build --platform"), else for that of a build.

"# rbx: ignore=RULE" or "# check=skip=RULE" above an instruction silences a rule there,
"# rbx: ignore-file=RULE" or, on top, "# check=skip=RULE" in the file. hadolint's
comments are read, too.

"rbx.toml" says how a project's files are checked. It is looked for beside the Dockerfile
and above, up to the root of the repository; without one, ".hadolint.yaml" is.

Registries are asked with --online only; what they said is good for a day. Files of
the context are looked at where the Dockerfile is, or in the PATH given with --file.

RULE is the name of a rule or another name of it, a family ("buildkit", "platform",
"hadolint", "shellcheck") or "all". Severities are "error", "warning", "info" and
"style". From "info" on, shellcheck looks at scripts of RUN where it is installed.

Exit codes:
  0   nothing was found that is as bad as --severity, or all of it was fixed
  1   something was found; with --diff, something would be fixed
  2   something could not be checked: a file was not read, or an option is wrong"##;

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

    /// Read how to check from this file, and look for no "rbx.toml" or ".hadolint.yaml"
    #[arg(long, value_name = "string", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<String>,

    /// Show what --fix would change, and change nothing
    #[arg(long)]
    pub(crate) diff: bool,

    /// Do not fail because of what was found
    #[arg(long)]
    pub(crate) exit_zero: bool,

    /// Explain a rule (e.g., "platform-arg-default"); "all" lists them
    #[arg(long, value_name = "rule")]
    pub(crate) explain: Option<String>,

    /// Path of the Dockerfile, where PATH is a build context
    #[arg(long, short, value_name = "string", value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<String>,

    /// Make the fixes that need nobody to look at them
    #[arg(long)]
    pub(crate) fix: bool,

    /// Format the output ("text", "json", "sarif", "github", "gitlab", "junit")
    #[arg(long, value_name = "string", default_value = "text")]
    pub(crate) format: String,

    /// Do not ask these rules; several with commas, or by more flags
    #[arg(long, value_name = "rules")]
    pub(crate) ignore: Vec<String>,

    /// Ask registries what their images are built for
    #[arg(long)]
    pub(crate) online: bool,

    /// Platform that is built for (format: "os/arch[/variant]"); several with commas, or by more flags
    #[arg(long, value_name = "stringArray")]
    pub(crate) platform: Vec<String>,

    /// Set the severity of a rule, or turn it on or off (format: "RULE=SEVERITY|on|off")
    #[arg(long, value_name = "stringArray")]
    pub(crate) rule: Vec<String>,

    /// Print the JSON schema of "rbx.toml"
    #[arg(long)]
    pub(crate) schema: bool,

    /// Ask these rules and no others; several with commas, or by more flags
    #[arg(long, value_name = "rules")]
    pub(crate) select: Vec<String>,

    /// Show what is so bad or worse (default "warning"; "style" with --select)
    #[arg(long, value_name = "severity")]
    pub(crate) severity: Option<String>,

    /// Check only what this stage needs
    #[arg(long, value_name = "string")]
    pub(crate) target: Option<String>,

    /// With --fix or --diff, make the other fixes, too
    #[arg(long)]
    pub(crate) unsafe_fixes: bool,
}

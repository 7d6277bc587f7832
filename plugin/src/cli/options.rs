//! Flags of no command in particular.

use clap::{Args, Parser, ValueHint};

/// Flags that every command takes, before its name or after.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Common {
    /// Use this builder instance
    #[arg(long, value_name = "string")]
    pub(crate) builder: Option<String>,

    /// Enable debug logging
    #[arg(long, short = 'D')]
    pub(crate) debug: bool,

    /// Print usage
    #[arg(long, short = 'h', hide = true)]
    pub(crate) help: bool,
}

/// Flags of the program itself.
#[derive(Debug, Parser)]
#[command(name = "rbx", disable_help_flag = true, args_override_self = true, no_binary_name = true)]
pub(crate) struct Root {
    #[command(flatten)]
    pub(crate) common: Common,

    /// Show version information
    #[arg(long, hide = true)]
    pub(crate) version: bool,
}

/// A command without flags of its own.
#[derive(Debug, Parser)]
#[command(name = "rbx", disable_help_flag = true, args_override_self = true, no_binary_name = true)]
pub(crate) struct NoOptions {
    #[command(flatten)]
    common: Common,
}

/// Flags of the language server.
#[derive(Debug, Parser)]
#[command(name = "rbx", disable_help_flag = true, args_override_self = true, no_binary_name = true)]
pub(crate) struct LspOptions {
    #[command(flatten)]
    common: Common,

    /// Speak over standard input and output, which it does if nothing else is said
    #[arg(long)]
    stdio: bool,

    /// Connect to a port of this machine, at which the editor listens
    #[arg(long, value_name = "port")]
    socket: Option<String>,

    /// Connect to a Unix socket, at which the editor listens
    #[arg(long, value_name = "path", value_hint = ValueHint::FilePath)]
    pipe: Option<String>,

    /// Listen at an address ("[host:]port"), and serve the first who connects
    #[arg(long, value_name = "address")]
    listen: Option<String>,

    /// End when this process ends
    // Editors' clients pass this to any server.
    #[arg(long = "clientProcessId", value_name = "pid", hide = true)]
    client_process: Option<String>,
}

impl LspOptions {
    /// The words that the server itself takes.
    pub(crate) fn words(&self) -> Vec<String> {
        let flags = [
            ("socket", &self.socket),
            ("pipe", &self.pipe),
            ("listen", &self.listen),
            ("clientProcessId", &self.client_process),
        ];
        let given = flags.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        given.map(|(name, value)| format!("--{name}={value}")).collect()
    }
}

/// docker's own flags, which come before the name of the plugin.
#[derive(Debug, Clone, Default, Parser)]
#[command(name = "docker", disable_help_flag = true, args_override_self = true, no_binary_name = true)]
pub(crate) struct DockerOptions {
    /// Location of client config files
    #[arg(long)]
    pub(crate) config: Option<String>,

    /// Name of the context to use
    #[arg(long, short = 'c')]
    pub(crate) context: Option<String>,

    /// Enable debug mode
    #[arg(long, short = 'D')]
    pub(crate) debug: bool,

    /// Print usage
    #[arg(long, short = 'h')]
    pub(crate) help: bool,

    /// Daemon socket to connect to
    #[arg(long, short = 'H')]
    pub(crate) host: Vec<String>,

    /// Set the logging level
    #[arg(long, short = 'l')]
    pub(crate) log_level: Option<String>,

    /// Use TLS
    #[arg(long)]
    pub(crate) tls: bool,

    /// Trust certificates signed only by this authority
    #[arg(long)]
    pub(crate) tlscacert: Option<String>,

    /// Path to the TLS certificate
    #[arg(long)]
    pub(crate) tlscert: Option<String>,

    /// Path to the TLS key
    #[arg(long)]
    pub(crate) tlskey: Option<String>,

    /// Use TLS and verify the remote
    #[arg(long)]
    pub(crate) tlsverify: bool,
}

//! The flags of commands about builders.

use std::time::Duration;

use clap::{Parser, ValueHint};

use super::Common;
use crate::units::parse_duration;

/// `create [OPTIONS] [CONTEXT|ENDPOINT]`
#[derive(Debug, Clone, Parser)]
#[command(name = "create", disable_help_flag = true, args_override_self = true, no_binary_name = true)]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    pub(crate) common: Common,

    /// A context of docker, or an address
    pub(crate) endpoint: Option<String>,

    /// Add a node to the builder
    #[arg(long)]
    pub(crate) append: bool,

    /// Start the builder
    #[arg(long)]
    pub(crate) bootstrap: bool,

    /// Configuration file of the builder's daemon
    #[arg(long, value_name = "string", value_hint = ValueHint::FilePath)]
    pub(crate) buildkitd_config: Option<String>,

    /// Flags of the builder's daemon
    #[arg(long, value_name = "string")]
    pub(crate) buildkitd_flags: Option<String>,

    /// The same as "--buildkitd-config"
    #[arg(long, hide = true, value_name = "string", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<String>,

    /// Driver to use ("docker-container", "kubernetes", "remote")
    #[arg(long, value_name = "string")]
    pub(crate) driver: Option<String>,

    /// Options for the driver (e.g., "image=moby/buildkit:master,network=host")
    #[arg(long, value_name = "stringArray")]
    pub(crate) driver_opt: Vec<String>,

    /// Remove a node from the builder
    #[arg(long)]
    pub(crate) leave: bool,

    /// Name of the builder
    #[arg(long, value_name = "string")]
    pub(crate) name: Option<String>,

    /// Name of the node to create or change
    #[arg(long, value_name = "string")]
    pub(crate) node: Option<String>,

    /// Platforms that the node is to build, whatever it says itself
    #[arg(long, value_name = "stringArray")]
    pub(crate) platform: Vec<String>,

    /// How long to wait for the builder
    #[arg(long, value_name = "duration", default_value = "20s", value_parser = parse_duration)]
    pub(crate) timeout: Duration,

    /// Use the builder from now on
    #[arg(long = "use")]
    pub(crate) use_it: bool,
}

/// `inspect [NAME]`
#[derive(Debug, Clone, Parser)]
#[command(name = "inspect", disable_help_flag = true, args_override_self = true, no_binary_name = true)]
pub(crate) struct InspectArgs {
    #[command(flatten)]
    pub(crate) common: Common,

    /// The builder
    pub(crate) name: Option<String>,

    /// Start the builder first
    #[arg(long)]
    pub(crate) bootstrap: bool,

    /// How long to wait for the builder
    #[arg(long, value_name = "duration", default_value = "20s", value_parser = parse_duration)]
    pub(crate) timeout: Duration,
}

/// `ls`
#[derive(Debug, Clone, Parser)]
#[command(name = "ls", disable_help_flag = true, args_override_self = true, no_binary_name = true)]
pub(crate) struct LsArgs {
    #[command(flatten)]
    pub(crate) common: Common,

    /// Format the output ("table", "json", or a Go template)
    #[arg(long, value_name = "string", default_value = "table")]
    pub(crate) format: String,

    /// Show all platforms
    #[arg(long)]
    pub(crate) no_trunc: bool,

    /// How long to wait for each builder
    #[arg(long, value_name = "duration", default_value = "20s", value_parser = parse_duration)]
    pub(crate) timeout: Duration,
}

/// `rm [OPTIONS] [NAME...]`
#[derive(Debug, Clone, Parser)]
#[command(name = "rm", disable_help_flag = true, args_override_self = true, no_binary_name = true)]
pub(crate) struct RmArgs {
    #[command(flatten)]
    pub(crate) common: Common,

    /// The builders
    pub(crate) names: Vec<String>,

    /// Remove all builders of which no node runs
    #[arg(long)]
    pub(crate) all_inactive: bool,

    /// Do not ask
    #[arg(long, short)]
    pub(crate) force: bool,

    /// Keep the builder's daemon running
    #[arg(long)]
    pub(crate) keep_daemon: bool,

    /// Keep the cache of the builder's daemon
    #[arg(long)]
    pub(crate) keep_state: bool,

    /// How long to wait for each builder
    #[arg(long, value_name = "duration", default_value = "20s", value_parser = parse_duration)]
    pub(crate) timeout: Duration,
}

/// `dial-stdio`
#[derive(Debug, Clone, Parser)]
#[command(name = "dial-stdio", disable_help_flag = true, args_override_self = true, no_binary_name = true)]
pub(crate) struct DialStdioArgs {
    #[command(flatten)]
    pub(crate) common: Common,

    /// The platform that the node has to build for
    #[arg(long, value_name = "string")]
    pub(crate) platform: Option<String>,

    /// How booting is shown ("auto", "none", "plain", "rawjson", "tty")
    #[arg(long, value_name = "string", default_value = "none")]
    pub(crate) progress: String,
}

/// `stop [NAME]`
#[derive(Debug, Clone, Parser)]
#[command(name = "stop", disable_help_flag = true, args_override_self = true, no_binary_name = true)]
pub(crate) struct StopArgs {
    #[command(flatten)]
    pub(crate) common: Common,

    /// The builder
    pub(crate) name: Option<String>,
}

/// `use [OPTIONS] NAME`
#[derive(Debug, Clone, Parser)]
#[command(name = "use", disable_help_flag = true, args_override_self = true, no_binary_name = true)]
pub(crate) struct UseArgs {
    #[command(flatten)]
    pub(crate) common: Common,

    /// The builder
    pub(crate) name: Option<String>,

    /// Use the builder also after another context was used
    #[arg(long)]
    pub(crate) default: bool,

    /// Use the builder with every context
    #[arg(long)]
    pub(crate) global: bool,
}

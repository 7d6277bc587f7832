//! The flags of `du` and `prune`.

use std::time::Duration;

use clap::Parser;
use rbx_request::{GrammarError, parse_size};

use super::Common;
use crate::storage::parse_filter;
use crate::units::parse_duration;

/// `du`
#[derive(Debug, Clone, Parser)]
#[command(name = "du", disable_help_flag = true, args_override_self = true, no_binary_name = true)]
pub(crate) struct DuArgs {
    #[command(flatten)]
    pub(crate) common: Common,

    /// Show only some records (e.g., "type=regular", "until=24h", "description~=golang")
    #[arg(long, value_name = "filter", value_parser = parse_filter)]
    pub(crate) filter: Vec<(String, String)>,

    /// Format the output ("table", "json", "pretty", or a Go template)
    #[arg(long, value_name = "string")]
    pub(crate) format: Option<String>,

    /// How long to wait for the builder
    #[arg(long, value_name = "duration", default_value = "20s", value_parser = parse_duration)]
    pub(crate) timeout: Duration,

    /// Same as "--format=pretty"
    #[arg(long)]
    pub(crate) verbose: bool,
}

/// `prune`
#[derive(Debug, Clone, Parser)]
#[command(name = "prune", disable_help_flag = true, args_override_self = true, no_binary_name = true)]
pub(crate) struct PruneArgs {
    #[command(flatten)]
    pub(crate) common: Common,

    /// Remove also what the builder keeps for itself, and images that were built
    #[arg(long, short)]
    pub(crate) all: bool,

    /// Remove only some records (e.g., "type=regular", "until=24h", "description~=golang")
    #[arg(long, value_name = "filter", value_parser = parse_filter)]
    pub(crate) filter: Vec<(String, String)>,

    /// Do not ask
    #[arg(long, short)]
    pub(crate) force: bool,

    /// Keep as much as this whatever the other limits
    #[arg(long, hide = true, value_name = "bytes", value_parser = parse_bytes)]
    pub(crate) keep_storage: Option<u64>,

    /// Keep no more than this
    #[arg(long, value_name = "bytes", value_parser = parse_bytes)]
    pub(crate) max_used_space: Option<u64>,

    /// Keep no more than leaves this much of the disk free
    #[arg(long, value_name = "bytes", value_parser = parse_bytes)]
    pub(crate) min_free_space: Option<u64>,

    /// Keep as much as this whatever the other limits
    #[arg(long, value_name = "bytes", value_parser = parse_bytes)]
    pub(crate) reserved_space: Option<u64>,

    /// How long to wait for the builder
    #[arg(long, value_name = "duration", default_value = "20s", value_parser = parse_duration)]
    pub(crate) timeout: Duration,

    /// Show all that is known of what is removed
    #[arg(long)]
    pub(crate) verbose: bool,
}

fn parse_bytes(text: &str) -> Result<u64, GrammarError> {
    parse_size(text)
}

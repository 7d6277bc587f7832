//! The flags of `doctor`.

use std::time::Duration;

use clap::Parser;

use super::Common;
use crate::units::parse_duration;

/// `doctor`
#[derive(Debug, Clone, Parser)]
#[command(name = "doctor", disable_help_flag = true, args_override_self = true, no_binary_name = true)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(crate) common: Common,

    /// Format the output ("pretty", "json", or a Go template)
    #[arg(long, value_name = "string", default_value = "pretty")]
    pub(crate) format: String,

    /// How long to wait for the Docker Engine
    #[arg(long, value_name = "duration", default_value = "20s", value_parser = parse_duration)]
    pub(crate) timeout: Duration,
}

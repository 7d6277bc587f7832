//! What runs asynchronous work.

use tokio::runtime::{Builder, Runtime};

use crate::errors::CliError;

/// A runtime for work that mostly waits: this thread alone.
pub(crate) fn one() -> Result<Runtime, CliError> {
    made(Builder::new_current_thread())
}

/// A runtime with a thread for each core.
pub(crate) fn many() -> Result<Runtime, CliError> {
    made(Builder::new_multi_thread())
}

fn made(mut builder: Builder) -> Result<Runtime, CliError> {
    let runtime = builder.enable_all().build();
    runtime.map_err(|error| CliError::new(format!("{error}: failed to start threads")))
}

//! Booting the nodes of a builder, and showing what is done.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use rbx_builder::{Builder, Kind};
use rbx_driver::{Driver, DriverError, DriverKind, Surroundings, open};
use rbx_platform::Platform;
use rbx_progress::{Colors, Options, display};
use rbx_request::EventSender;
use tokio::runtime::Handle;

use super::surroundings::surroundings;
use super::{Place, wait};
use crate::build::{progress_mode, warn};
use crate::cli::Context;
use crate::errors::CliError;

/// Boots all nodes of a builder and makes their platforms runnable: those that they were created for, else all that
/// can be. What cannot be made runnable is told, and is no failure: a builder may do without.
pub(super) fn boot(
    context: &Context<'_>,
    place: &Place,
    builder: &Builder,
    patience: Duration,
) -> Result<(), CliError> {
    let driver = match builder.kind {
        Kind::Embedded => return Ok(()),
        Kind::Context => DriverKind::Docker,
        Kind::Instance => builder
            .known_driver()
            .ok_or_else(|| CliError::new(format!("failed to find driver {:?}", builder.driver)))?,
    };
    let surroundings = Surroundings { patience, ..surroundings(context)? };
    let mut nodes = Vec::new();
    for node in &builder.nodes {
        let settings = node.settings(builder, &place.endpoints)?;
        nodes.push((open(driver, &settings, &surroundings)?, settings.platforms));
    }
    let mode = progress_mode("", false, context.env)?;
    let (colors, _) = Colors::from_settings(context.env.var("BUILDKIT_COLORS"), context.env.var("NO_COLOR"));
    let options = Options {
        title: "Booting".to_owned(),
        builder: format!("{driver}:{}", builder.name),
        colors,
        size: Box::new(|| crossterm::terminal::size().unwrap_or_default()),
        ..Options::default()
    };
    wait(context, async {
        let (events, receiver) = rbx_request::events();
        // On a thread of its own: a slow terminal holds up nothing else.
        let runtime = Handle::current();
        let shown = tokio::task::spawn_blocking(move || {
            runtime.block_on(display(mode, receiver, &mut io::stderr(), &options))
        });
        let booted =
            join_all(nodes.iter().map(|(node, platforms)| boot_node(node, platforms, &events))).await;
        drop(events);
        let _ = shown.await;
        for left in booted {
            if let Some(error) = left? {
                let hint = error.hint().map(|hint| format!("\n{hint}")).unwrap_or_default();
                warn(&format!("{error}{hint}"));
            }
        }
        Ok(())
    })
}

/// Answers why some platforms are not runnable.
async fn boot_node(
    node: &Arc<dyn Driver>,
    platforms: &[Platform],
    events: &EventSender,
) -> Result<Option<DriverError>, DriverError> {
    node.boot(events).await?;
    Ok(node.prepare(platforms, events).await.err())
}

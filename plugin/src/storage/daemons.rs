//! What daemons of `BuildKit` keep. All nodes of a builder are asked side by side.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::future::try_join_all;
use rbx_buildkit::{Client, PruneOptions};
use rbx_driver::{DriverKind, Status, Surroundings, open};
use tokio::time::timeout;

use super::filter::Filter;
use super::record::Record;
use crate::builders::{Selected, wait};
use crate::cli::Context;
use crate::errors::CliError;

/// The first version that takes limits for what is used and for what is free, `0.17`.
const WITH_LIMITS: (u64, u64) = (0, 17);

/// Lists what the nodes keep, node by node, the smallest first.
pub(super) fn usage(
    context: &Context<'_>,
    selected: &Selected,
    limit: Duration,
    filter: &Filter,
) -> Result<Vec<Record>, CliError> {
    wait(context, async {
        let clients = connect(selected, limit).await?;
        let asked = clients.iter().map(|client| client.usage(filter.texts(), Duration::ZERO));
        let mut all = Vec::new();
        for mut records in try_join_all(asked).await.map_err(|error| failed(&error))? {
            records.sort_by(|a, b| (a.size, &a.id).cmp(&(b.size, &b.id)));
            all.extend(records.into_iter().map(Record::from));
        }
        Ok(all)
    })
}

/// Has the nodes drop what they keep, and tells `each` record when it is gone.
pub(super) fn prune(
    context: &Context<'_>,
    selected: &Selected,
    limit: Duration,
    options: &PruneOptions,
    each: impl FnMut(Record) + Send,
) -> Result<(), CliError> {
    let each = &Mutex::new(each);
    wait(context, async {
        let clients = connect(selected, limit).await?;
        if options.max_used_space != 0 || options.min_free_space != 0 {
            for client in &clients {
                let version = client.info().await.map_err(|error| failed(&error))?;
                if !has_limits(version.as_ref().map(|version| version.version.as_str())) {
                    let needed =
                        "buildkit v0.17.0+ is required for max-used-space and min-free-space filters";
                    return Err(CliError::new(needed));
                }
            }
        }
        let pruned = clients.iter().map(|client| {
            client.prune(options, |record| {
                let mut each = each.lock().unwrap_or_else(PoisonError::into_inner);
                each(record.into());
            })
        });
        try_join_all(pruned).await.map_err(|error| failed(&error))?;
        Ok(())
    })
}

/// Connects to all nodes; none is started for it.
async fn connect(selected: &Selected, limit: Duration) -> Result<Vec<Client>, CliError> {
    let nodes = selected.builder.nodes.iter().map(|node| async {
        let settings = node.settings(&selected.builder, &selected.endpoints)?;
        let driver = open(selected.driver, &settings, &Surroundings::default())?;
        // Others say by themselves why they cannot be reached.
        if selected.driver == DriverKind::DockerContainer {
            let status = driver.status().await?;
            if status != Status::Running {
                let name = &selected.builder.name;
                let error = format!("node {} of builder {name} is {status}", node.name);
                return Err(
                    CliError::new(error).hint(format!("docker rbx inspect --bootstrap {name} starts it"))
                );
            }
        }
        Ok(driver.client().await?)
    });
    match timeout(limit, try_join_all(nodes)).await {
        Ok(clients) => clients,
        Err(_) => Err(CliError::new(format!(
            "builder {} does not answer: context deadline exceeded",
            selected.builder.name
        ))),
    }
}

/// Whether a daemon of this version knows limits. One that does not say which it is, is too old; one without numbers
/// was made from sources of some day since.
fn has_limits(version: Option<&str>) -> bool {
    let Some(version) = version else { return false };
    let mut numbers = version.trim_start_matches('v').splitn(3, '.').map(|part| part.parse::<u64>().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(0), Some(0)) | (None, _) | (_, None) => true,
        (Some(major), Some(minor)) => (major, minor) >= WITH_LIMITS,
    }
}

fn failed(error: &rbx_buildkit::Error) -> CliError {
    CliError::new(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_with_limits() {
        for (version, has) in [
            (Some("v0.17.0"), true),
            (Some("v0.16.9"), false),
            (Some("0.25.1"), true),
            (Some("v1.0.0-rc1"), true),
            (Some("v0.12.5+4d2f"), false),
            (Some("v0.0.0+unknown"), true),
            (Some("master"), true),
            (Some(""), true),
            (None, false),
        ] {
            assert_eq!(has_limits(version), has, "{version:?}");
        }
    }
}

//! `rm`.

use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::time::Duration;

use futures::future::join_all;
use rbx_builder::{Builder, BuilderError, Kind, builders, remove_node};
use rbx_driver::{DriverKind, Status};

use super::{Place, wait};
use crate::build::warn;
use crate::cli::builders::RmArgs;
use crate::cli::{Context, print};
use crate::errors::CliError;

pub(crate) fn rm(context: &Context<'_>, args: &RmArgs) -> Result<ExitCode, CliError> {
    let place = Place::new(context.called, context.env)?;
    if args.all_inactive {
        if !args.names.is_empty() {
            return Err(CliError::new("cannot specify builder name when --all-inactive is set"));
        }
        return if args.force || confirmed()? {
            rm_all_inactive(context, &place, args)
        } else {
            Ok(ExitCode::SUCCESS)
        };
    }
    let names: Vec<Option<&str>> = if args.names.is_empty() {
        vec![None]
    } else {
        args.names.iter().map(|name| Some(name.as_str())).collect()
    };
    let mut failed = false;
    for name in names {
        let chosen = place.choose(context, &args.common, name).map(|chosen| chosen.builder);
        let shown = name.map(str::to_owned);
        let shown = shown.or_else(|| chosen.as_ref().ok().map(|builder| builder.name.clone()));
        let removed =
            chosen.map_err(CliError::from).and_then(|builder| remove(context, &place, &builder, args));
        let shown = shown.unwrap_or_default();
        match removed {
            Ok(()) => say(&format!("{shown} removed")),
            Err(error) => {
                failed = true;
                say(&format!("failed to remove {shown}: {}", error.message()));
            }
        }
    }
    if failed {
        return Err(CliError::new("failed to remove one or more builders"));
    }
    Ok(ExitCode::SUCCESS)
}

/// A line on standard error, whether anybody reads it or not.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{}", rbx_progress::clean(line));
}

/// Asks the user. Nothing but `y` is a yes.
fn confirmed() -> Result<bool, CliError> {
    print(
        "WARNING! This will remove all builders that are not in running state. Are you sure you want to continue? \
         [y/N] ",
    )?;
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    Ok(read.is_ok() && answer.trim_end_matches(['\r', '\n']).eq_ignore_ascii_case("y"))
}

/// Removes what a builder runs in, then the builder: it goes in any case.
fn remove(context: &Context<'_>, place: &Place, builder: &Builder, args: &RmArgs) -> Result<(), CliError> {
    let name = &builder.name;
    match builder.kind {
        Kind::Instance => {}
        Kind::Context => {
            return Err(CliError::new(format!(
                "context builder cannot be removed, run `docker context rm {name}` to remove this context"
            )));
        }
        Kind::Embedded => return Err(CliError::new(format!("builder {name:?} is always there"))),
    }
    let nodes = if args.keep_daemon { Ok(()) } else { remove_nodes(context, place, builder, args) };
    // Nobody else would ever find what runs there.
    if builder.known_driver() == Some(DriverKind::Kubernetes) {
        nodes.as_ref().map_err(Clone::clone)?;
    }
    place.state.change()?.remove(name)?;
    nodes
}

fn remove_nodes(
    context: &Context<'_>,
    place: &Place,
    builder: &Builder,
    args: &RmArgs,
) -> Result<(), CliError> {
    let Some(driver) = builder.known_driver() else { return Ok(()) };
    let removed = builder.nodes.iter().map(|node| async {
        let work = remove_node(driver, builder, node, &place.endpoints, args.keep_state);
        match tokio::time::timeout(args.timeout.max(Duration::from_millis(1)), work).await {
            Ok(done) => done.map_err(|error| error.to_string()),
            Err(_) => Err("context deadline exceeded".to_owned()),
        }
    });
    let errors = wait(context, async {
        Ok(join_all(removed).await.into_iter().filter_map(Result::err).collect::<Vec<_>>())
    })?;
    if errors.is_empty() { Ok(()) } else { Err(CliError::new(errors.join("\n"))) }
}

fn rm_all_inactive(context: &Context<'_>, place: &Place, args: &RmArgs) -> Result<ExitCode, CliError> {
    let mut created = builders(&place.state, &place.endpoints)?;
    created.retain(|builder| builder.kind == Kind::Instance);
    let mut first_error = None;
    for loaded in place.load(context, created, args.timeout)? {
        let name = &loaded.builder.name;
        if let Some(error) = &loaded.error {
            first_error.get_or_insert_with(|| CliError::new(format!("cannot load {name}: {error}")));
            continue;
        }
        if loaded.builder.known_driver() == Some(DriverKind::Kubernetes) {
            let error =
                BuilderError::NotThere { driver: DriverKind::Kubernetes, what: "tell whether its nodes run" };
            warn(&format!("{error}: {name} is kept"));
            continue;
        }
        if loaded.nodes.iter().any(|node| node.details.status == Status::Running) {
            continue;
        }
        match remove(context, place, &loaded.builder, args) {
            Ok(()) => {}
            Err(error) => {
                first_error.get_or_insert(error);
            }
        }
        say(&format!("{name} removed"));
    }
    first_error.map_or(Ok(ExitCode::SUCCESS), Err)
}

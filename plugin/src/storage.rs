//! `du` and `prune`: what the builder keeps, and its removal.

mod filter;
mod list;

use std::io::{self, BufRead, Write};
use std::process::ExitCode;

use rbx_driver::DriverKind;
use rbx_engine::{BuildError, BuiltImages, Policy, Storage, UsageRecord};
use rbx_request::Failure;

use crate::build::interrupt::Interrupt;
use crate::build::{log_debug, store_root};
use crate::builders::{select, with_hint};
use crate::cli::storage::{DuArgs, PruneArgs};
use crate::cli::{Common, Context};
use crate::docker::prune_filters;
use crate::errors::CliError;
use crate::rights::become_root;
use crate::storage::filter::Filter;
use crate::storage::list::{Format, Row};

pub(crate) use filter::parse_flag as parse_filter;

/// Lists what the builder keeps.
pub(crate) fn du(context: &Context<'_>, args: &DuArgs) -> Result<ExitCode, CliError> {
    let format = Format::new(args.format.as_deref(), args.verbose)?;
    let filter = Filter::new(&args.filter, "diskusage").map_err(CliError::new)?;
    let unfiltered = args.filter.is_empty();
    let wanted = move |record: &UsageRecord, now: i64| {
        let age = filter.unused_for.map_or(0, |age| i64::try_from(age.as_nanos()).unwrap_or(i64::MAX));
        filter.matches(record) && now.saturating_sub(record.last_used) >= age
    };
    let records = work(context, &args.common, |storage| storage.usage())?;
    let now = list::now();
    let records: Vec<UsageRecord> =
        records.into_iter().filter(|record| wanted(record, list::nanoseconds(now))).collect();
    let mut text = format.write(&records, now)?;
    if unfiltered && format.has_summary() {
        text.push_str(&list::summary(&records));
    }
    crate::cli::print(&text)
}

/// Removes what the builder keeps.
pub(crate) fn prune(context: &Context<'_>, args: &PruneArgs) -> Result<ExitCode, CliError> {
    if args.keep_storage.is_some() {
        let notice =
            "Flag --keep-storage has been deprecated, keep-storage flag has been changed to reserved-space";
        let _ = writeln!(io::stderr(), "{notice}");
    }
    let mut flags = args.filter.clone();
    flags.extend(prune_filters(context.called.config_dir(context.env).as_deref())?);
    let filter = Filter::new(&flags, "prune").map_err(CliError::new)?;
    let common = args.common.clone();
    if !args.force && !confirmed(context, args, &filter)? {
        return Ok(ExitCode::SUCCESS);
    }
    let policy = Policy {
        all: args.all,
        built_images: if args.all { BuiltImages::Remove } else { BuiltImages::Keep },
        unused_for: filter.unused_for,
        reserved_space: args.reserved_space.or(args.keep_storage).unwrap_or(0),
        max_used_space: args.max_used_space.unwrap_or(0),
        min_free_space: args.min_free_space.unwrap_or(0),
    };
    let verbose = args.verbose;
    let total = work(context, &common, move |storage| {
        let (mut first, mut total) = (true, 0);
        let wanted = |record: &UsageRecord| filter.matches(record);
        storage.prune(&policy, &wanted, &mut |record| {
            total += record.size;
            let row = Row::new(&record, list::now());
            let text = if verbose { row.pruned_verbose() } else { row.pruned(first) };
            first = false;
            // Whether anybody reads it or not, what was begun is done.
            let _ = crate::cli::print(&text);
        })?;
        Ok(total)
    })?;
    crate::cli::print(&list::total(total))
}

/// Asks the user. Nothing but `y` is a yes.
fn confirmed(context: &Context<'_>, args: &PruneArgs, filter: &Filter) -> Result<bool, CliError> {
    let what = if args.all { "all build cache" } else { "all dangling build cache" };
    let mut notice = String::new();
    if args.all && filter.is_empty() {
        let images = work(context, &args.common, |storage| storage.built_images())?;
        if !images.is_empty() {
            let names: Vec<&str> = images.iter().map(String::as_str).collect();
            notice = format!("Images in the builder's store are removed, too: {}\n", names.join(", "));
        }
    }
    let question = format!("WARNING! This will remove {what}. Are you sure you want to continue? [y/N] ");
    crate::cli::print(&(notice + &question))?;
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    Ok(read.is_ok() && answer.trim_end_matches(['\r', '\n']).eq_ignore_ascii_case("y"))
}

/// Does something with what the builder keeps, until the user ends it: which can be done at any moment.
fn work<T: Send + 'static>(
    context: &Context<'_>,
    common: &Common,
    what: impl FnOnce(Storage) -> Result<T, BuildError> + Send + 'static,
) -> Result<T, CliError> {
    let selected = select(context, common)?;
    if selected.driver != DriverKind::Embedded {
        let (driver, name) = (selected.driver, &selected.builder.name);
        let message = format!(
            "the {driver} driver cannot list or remove cache yet: builder {name:?} ({})",
            selected.why
        );
        return Err(with_hint(CliError::new(message)));
    }
    let root = store_root(context.env)?;
    if common.debug || context.common.debug || context.called.debug() {
        log_debug();
    }
    // Without these rights, what belongs to other ids of the user's stays.
    let _ = become_root(context.env);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::new(format!("{error}: failed to start threads")))?;
    let done = runtime.block_on(async {
        let interrupt = Interrupt::listen(context.env)?;
        let work = tokio::task::spawn_blocking(move || what(Storage::open(&root)?));
        tokio::select! {
            done = work => done.map_err(|error| CliError::new(error.to_string()))?.map_err(failed),
            () = interrupt.happened() => Err(failed(BuildError::cancelled())),
        }
    });
    runtime.shutdown_background();
    done
}

/// Such an error is no failure to build.
pub(crate) fn failed(error: BuildError) -> CliError {
    let error = Failure::from(error);
    CliError::Failed(Box::new(crate::errors::Failure {
        message: error.reason,
        hint: error.hint,
        kind: Some(error.kind),
        ..crate::errors::Failure::default()
    }))
}

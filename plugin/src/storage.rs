//! `du` and `prune`: what the builder keeps, and its removal.

mod daemons;
mod filter;
mod list;
mod record;

use std::io::{self, BufRead, Write};
use std::process::ExitCode;

use rbx_buildkit::PruneOptions;
use rbx_driver::DriverKind;
use rbx_engine::{BuildError, BuiltImages, Policy, Storage, UsageRecord};
use rbx_request::Failure;

use crate::build::interrupt::Interrupt;
use crate::build::{log_debug, store_root};
use crate::builders::{Selected, select};
use crate::cli::storage::{DuArgs, PruneArgs};
use crate::cli::{Common, Context};
use crate::docker::prune_filters;
use crate::errors::CliError;
use crate::rights::become_root;
use crate::storage::filter::Filter;
use crate::storage::list::{Format, Row};
use crate::storage::record::{Record, nanoseconds};
use crate::threads;

pub(crate) use filter::parse_flag as parse_filter;

/// Lists what the builder keeps.
pub(crate) fn du(context: &Context<'_>, args: &DuArgs) -> Result<ExitCode, CliError> {
    let format = Format::new(args.format.as_deref(), args.verbose)?;
    let filter = Filter::new(&args.filter, "diskusage").map_err(CliError::new)?;
    let unfiltered = args.filter.is_empty();
    let selected = select(context, &args.common)?;
    let records = match selected.driver {
        DriverKind::Embedded => {
            let records = work(context, &args.common, |storage| storage.usage())?;
            records.into_iter().map(Record::from).collect()
        }
        _ => daemons::usage(context, &selected, args.timeout, &filter)?,
    };
    let now = list::now();
    let age = filter.unused_for.map_or(0, |age| i64::try_from(age.as_nanos()).unwrap_or(i64::MAX));
    let is_old =
        |record: &Record| record.last_used.is_none_or(|used| nanoseconds(now).saturating_sub(used) >= age);
    let wanted = |record: &Record| filter.matches(record) && is_old(record);
    let records: Vec<Record> = records.into_iter().filter(wanted).collect();
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
    let selected = select(context, &args.common)?;
    if !args.force && !confirmed(context, args, &selected, &filter)? {
        return Ok(ExitCode::SUCCESS);
    }
    let reserved_space = args.reserved_space.or(args.keep_storage).unwrap_or(0);
    let (max_used_space, min_free_space) =
        (args.max_used_space.unwrap_or(0), args.min_free_space.unwrap_or(0));
    let mut pruned = Pruned { verbose: args.verbose, first: true, total: 0 };
    if selected.driver == DriverKind::Embedded {
        let policy = Policy {
            all: args.all,
            built_images: if args.all { BuiltImages::Remove } else { BuiltImages::Keep },
            unused_for: filter.unused_for,
            reserved_space,
            max_used_space,
            min_free_space,
        };
        pruned = work(context, &args.common, move |storage| {
            let wanted = |record: &UsageRecord| filter.matches(&record.clone().into());
            storage.prune(&policy, &wanted, &mut |record| pruned.show(&record.into()))?;
            Ok(pruned)
        })?;
    } else {
        let bytes = |size: u64| i64::try_from(size).unwrap_or(i64::MAX);
        let options = PruneOptions {
            all: args.all,
            filters: filter.texts().to_vec(),
            keep_duration: filter.unused_for.unwrap_or_default(),
            reserved_space: bytes(reserved_space),
            max_used_space: bytes(max_used_space),
            min_free_space: bytes(min_free_space),
        };
        daemons::prune(context, &selected, args.timeout, &options, |record| pruned.show(&record))?;
    }
    crate::cli::print(&list::total(pruned.total))
}

/// What was removed so far.
struct Pruned {
    verbose: bool,
    first: bool,
    /// Bytes.
    total: u64,
}

impl Pruned {
    fn show(&mut self, record: &Record) {
        let row = Row::new(record, list::now());
        let text = if self.verbose { row.pruned_verbose() } else { row.pruned(self.first) };
        self.first = false;
        self.total += record.size;
        // Whether anybody reads it or not, what was begun is done.
        let _ = crate::cli::print(&text);
    }
}

/// Asks the user. Nothing but `y` is a yes.
fn confirmed(
    context: &Context<'_>,
    args: &PruneArgs,
    selected: &Selected,
    filter: &Filter,
) -> Result<bool, CliError> {
    let what = if args.all { "all build cache" } else { "all dangling build cache" };
    let mut notice = String::new();
    if selected.driver == DriverKind::Embedded && args.all && filter.is_empty() {
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

/// Does something with what the embedded builder keeps, until the user ends it: which can be done at any moment.
fn work<T: Send + 'static>(
    context: &Context<'_>,
    common: &Common,
    what: impl FnOnce(Storage) -> Result<T, BuildError> + Send + 'static,
) -> Result<T, CliError> {
    let root = store_root(context.env)?;
    if common.debug || context.common.debug || context.called.debug() {
        log_debug();
    }
    // Without these rights, what belongs to other ids of the user's stays.
    let _ = become_root(context.env);
    let runtime = threads::one()?;
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

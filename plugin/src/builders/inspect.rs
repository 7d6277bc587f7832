//! `inspect`.

use std::fmt::Write as _;
use std::process::ExitCode;

use rbx_builder::{Loaded, LoadedNode};
use rbx_driver::Details;

use super::boot::boot;
use super::{Place, platforms};
use crate::cli::builders::InspectArgs;
use crate::cli::{Context, print};
use crate::errors::CliError;
use crate::table;
use crate::units::{binary_size, go_duration, go_time};

pub(crate) fn inspect(context: &Context<'_>, args: &InspectArgs) -> Result<ExitCode, CliError> {
    let place = Place::new(context.called, context.env)?;
    let builder = place.choose(context, &args.common, args.name.as_deref())?.builder;
    let debug = args.common.debug || context.common.debug || context.called.debug();
    if args.bootstrap {
        boot(context, &place, &builder, args.timeout)?;
    }
    let loaded = place.load(context, vec![builder], args.timeout)?;
    print(&loaded.iter().map(|loaded| describe(loaded, debug)).collect::<String>())
}

fn describe(loaded: &Loaded, debug: bool) -> String {
    let builder = &loaded.builder;
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name}:\t{}", rbx_progress::clean(value));
    };
    line("Name", &builder.name);
    line("Driver", &builder.driver);
    if let Some(time) = builder.last_activity {
        line("Last Activity", &go_time(i64::try_from(time.as_nanosecond()).unwrap_or(0)));
    }
    if let Some(error) = &loaded.error {
        line("Error", error);
    } else {
        text.push_str("\nNodes:\n");
        let nodes: Vec<String> = loaded.nodes.iter().map(|node| describe_node(node, debug)).collect();
        text.push_str(&nodes.join("\n"));
    }
    table::columns(&text)
}

fn describe_node(loaded: &LoadedNode, debug: bool) -> String {
    let node = &loaded.node;
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(text, "{name}:\t{}", rbx_progress::clean(value));
        }
    };
    line("Name", &node.name);
    line("Endpoint", &node.endpoint);
    let options = node.driver_opts.iter().flatten().map(|(key, value)| format!("{key}={value:?}"));
    line("Driver Options", &options.collect::<Vec<_>>().join(" "));
    let status = match &loaded.status {
        Ok(status) => status,
        Err(error) => {
            line("Error", error);
            return text;
        }
    };
    line("Status", &status.to_string());
    line("BuildKit daemon flags", &node.flags.clone().unwrap_or_default().join(" "));
    let details = &loaded.details;
    line("BuildKit version", &details.version);
    line("Platforms", &platforms::marked(&node.platforms(), &details.platforms).join(", "));
    if debug {
        text.push_str("Features:\n");
        for (name, has) in details.features.list() {
            let _ = writeln!(text, "\t{name}:\t{has}");
        }
    }
    text.push_str(&describe_workers(details));
    for (name, content) in node.files() {
        let _ = writeln!(text, "File#{}:", rbx_progress::clean(name));
        for line in String::from_utf8_lossy(content).split('\n') {
            let _ = writeln!(text, "\t> {}", rbx_progress::clean(line));
        }
    }
    text
}

/// What workers say about themselves.
fn describe_workers(details: &Details) -> String {
    let mut text = String::new();
    // A title has lines below it and no value.
    let mut line = |depth: usize, name: &str, value: Option<&str>| {
        let value = value.map(|value| format!("\t{}", rbx_progress::clean(value))).unwrap_or_default();
        let _ = writeln!(text, "{}{}:{value}", "\t".repeat(depth), rbx_progress::clean(name));
    };
    if !details.labels.is_empty() {
        line(0, "Labels", None);
        details.labels.iter().for_each(|(name, value)| line(1, name, Some(value)));
    }
    if !details.devices.is_empty() {
        line(0, "Devices", None);
    }
    for device in &details.devices {
        line(1, "Name", Some(&device.name));
        if device.on_demand {
            line(1, "On-Demand", Some("true"));
        } else {
            line(1, "Automatically allowed", Some(&device.auto_allow.to_string()));
        }
        if !device.annotations.is_empty() {
            line(1, "Annotations", None);
            device.annotations.iter().for_each(|(name, value)| line(2, name, Some(value)));
        }
    }
    for (number, rule) in details.gc_policies.iter().enumerate() {
        line(0, &format!("GC Policy rule#{number}"), None);
        line(1, "All", Some(&rule.all.to_string()));
        if !rule.filters.is_empty() {
            line(1, "Filters", Some(&rule.filters.join(" ")));
        }
        if !rule.keep_duration.is_zero() {
            line(1, "Keep Duration", Some(&go_duration(rule.keep_duration)));
        }
        for (name, space) in [
            ("Reserved Space", rule.reserved_space),
            ("Max Used Space", rule.max_used_space),
            ("Min Free Space", rule.min_free_space),
        ] {
            if let Ok(space @ 1..) = u64::try_from(space) {
                line(1, name, Some(&binary_size(space)));
            }
        }
    }
    text
}

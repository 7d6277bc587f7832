//! `ls`.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use rbx_builder::{Kind, Loaded, LoadedNode, builders};
use rbx_driver::GcPolicy;
use serde_json::{Map, Value, json};

use super::{Place, platforms};
use crate::cli::builders::LsArgs;
use crate::cli::{Context, print};
use crate::docker::Proxies;
use crate::errors::CliError;
use crate::template::{Listing, refused};

const TABLE: &str = "table {{.Name}}\t{{.DriverEndpoint}}\t{{.Status}}\t{{.Buildkit}}\t{{.Platforms}}";

pub(crate) fn ls(context: &Context<'_>, args: &LsArgs) -> Result<ExitCode, CliError> {
    let place = Place::new(context.called, context.env)?;
    // Flags and variables do not make a builder the one that is used.
    let chosen = rbx_builder::choose(&place.state, &place.endpoints, None, None)?;
    let builders = builders(&place.state, &place.endpoints)?;
    let mut loaded = place.load(context, builders, args.timeout)?;
    loaded.sort_by_key(|builder| builder.error.is_some());

    let proxies = Proxies::of(context.called, context.env)?.as_map();
    let current = chosen.builder.name;
    let format = Format::new(&args.format, args.no_trunc)?;
    print(&format.write(&loaded, &current, &proxies)?)?;
    if format.listing.table {
        let mut notes = complaints(&loaded);
        if args.format == "table" {
            let _ = writeln!(notes, "\n{current:?} is used ({})", chosen.why);
        }
        let _ = io::stderr().write_all(notes.as_bytes());
    }
    Ok(ExitCode::SUCCESS)
}

/// A text of others without what could direct a terminal.
fn tame(text: &str) -> String {
    text.split('\n').map(rbx_progress::clean).collect::<Vec<_>>().join("\n")
}

/// What could not be learned.
fn complaints(loaded: &[Loaded]) -> String {
    let mut text = String::new();
    for builder in loaded {
        let name = &builder.builder.name;
        if let Some(error) = &builder.error {
            let error = tame(error.trim());
            let _ = writeln!(text, "Cannot load builder {name}: {error}");
        }
        for node in &builder.nodes {
            if let Err(error) = &node.status {
                let error = tame(error.trim());
                let _ = writeln!(text, "Failed to get status for {name} ({}): {error}", node.node.name);
            }
        }
    }
    if text.is_empty() { text } else { format!("\n{text}") }
}

/// How builders are written.
struct Format {
    listing: Listing,
    json: bool,
    whole: bool,
}

impl Format {
    fn new(format: &str, whole: bool) -> Result<Self, CliError> {
        let listing = Listing::parse(match format {
            "table" => TABLE,
            "json" => "{{json .}}",
            other => other,
        })?;
        Ok(Self { listing, json: format == "json", whole })
    }

    fn write(&self, loaded: &[Loaded], current: &str, proxies: &Value) -> Result<String, CliError> {
        let mut rows = String::new();
        for builder in loaded {
            let current = builder.builder.name == current;
            let json = builder_json(builder, current, proxies);
            let mut row = |node: Option<&LoadedNode>| {
                let value = self.row(builder, current, node);
                let row = self.listing.template.run_as(&value, &json, "*commands.lsContext");
                rows += &row.map_err(|error| refused(&error))?;
                rows.push('\n');
                Ok::<(), CliError>(())
            };
            row(None)?;
            if !self.json {
                builder.nodes.iter().try_for_each(|node| row(Some(node)))?;
            }
        }
        self.listing.lay_out(rows, &titles())
    }

    /// What templates see of a builder or of one node of it.
    fn row(&self, loaded: &Loaded, current: bool, node: Option<&LoadedNode>) -> Value {
        let builder = &loaded.builder;
        let inner = json!({
            "Name": builder.name,
            "Driver": builder.driver,
            "Current": current,
            "Dynamic": false,
            "DockerContext": builder.kind == Kind::Context,
            "LastActivity": builder.last_activity.map_or_else(String::new, rfc3339),
            "Nodes": loaded.nodes.iter().map(|node| json!({"Name": node.node.name, "Endpoint": node.node.endpoint})).collect::<Value>(),
        });
        let Some(node) = node else {
            let mark = if self.listing.table && current { "*" } else { "" };
            return json!({
                "Name": format!("{}{mark}", rbx_progress::clean(&builder.name)),
                "DriverEndpoint": rbx_progress::clean(&builder.driver),
                "LastActivity": builder.last_activity.map_or_else(String::new, rfc3339),
                "Status": if loaded.error.is_some() { "error" } else { "" },
                "Buildkit": "",
                "Platforms": "",
                "Error": loaded.error.as_deref().map_or_else(String::new, tame),
                "Builder": inner,
            });
        };
        let indent = if self.listing.table { " \\_ " } else { "" };
        let shown = platforms::marked(&node.node.platforms(), &node.details.platforms);
        let shown =
            if self.listing.table && !self.whole { platforms::shortened(&shown) } else { shown.join(", ") };
        json!({
            "Name": format!("{indent}{}", rbx_progress::clean(&node.node.name)),
            "DriverEndpoint": format!("{indent}{}", rbx_progress::clean(&node.node.endpoint)),
            "LastActivity": "",
            "Status": node.status.as_ref().map_or_else(|_| "error".to_owned(), ToString::to_string),
            "Buildkit": rbx_progress::clean(&node.details.version),
            "Platforms": rbx_progress::clean(&shown),
            "Error": node.status.as_ref().err().map_or_else(String::new, |error| tame(error)),
            "Builder": inner,
        })
    }
}

fn titles() -> Value {
    json!({
        "Name": "NAME/NODE",
        "DriverEndpoint": "DRIVER/ENDPOINT",
        "LastActivity": "LAST ACTIVITY",
        "Status": "STATUS",
        "Buildkit": "BUILDKIT",
        "Platforms": "PLATFORMS",
        // As Go writes what a map does not have.
        "Error": "<no value>",
        "Builder": "<no value>",
    })
}

/// A builder as JSON.
fn builder_json(loaded: &Loaded, current: bool, proxies: &Value) -> Value {
    let builder = &loaded.builder;
    let mut object = Map::new();
    object.insert("Current".to_owned(), current.into());
    object.insert("Driver".to_owned(), builder.driver.as_str().into());
    object.insert("Dynamic".to_owned(), false.into());
    if let Some(error) = &loaded.error {
        object.insert("Err".to_owned(), error.trim().into());
    }
    let time = builder.last_activity.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), rfc3339);
    object.insert("LastActivity".to_owned(), time.into());
    object.insert("Name".to_owned(), builder.name.as_str().into());
    let nodes: Vec<Value> = if loaded.error.is_some() {
        builder.nodes.iter().map(|_| json!({"Endpoint": "", "Name": ""})).collect()
    } else {
        loaded.nodes.iter().map(|node| node_json(node, proxies)).collect()
    };
    object.insert("Nodes".to_owned(), nodes.into());
    object.into()
}

fn node_json(loaded: &LoadedNode, proxies: &Value) -> Value {
    let node = &loaded.node;
    let files: Map<String, Value> =
        node.files().map(|(name, content)| (name.to_owned(), STANDARD.encode(content).into())).collect();
    let fixed = node.platforms();
    let mut platforms: Vec<String> = Vec::new();
    for platform in fixed.iter().chain(&loaded.details.platforms).map(ToString::to_string) {
        if !platforms.contains(&platform) {
            platforms.push(platform);
        }
    }
    let fields = [
        ("DriverOpts", json!(node.driver_opts)),
        ("Err", loaded.status.as_ref().err().map_or(Value::Null, |error| error.trim().into())),
        ("Files", files.into()),
        ("Flags", json!(node.flags)),
        ("GCPolicy", loaded.details.gc_policies.iter().map(rule_json).collect()),
        ("IDs", json!(loaded.details.ids)),
        ("Labels", json!(loaded.details.labels)),
        ("Platforms", json!(platforms)),
        ("ProxyConfig", proxies.clone()),
        ("Status", loaded.status.as_ref().map_or_else(|_| "error".to_owned(), ToString::to_string).into()),
        ("Version", loaded.details.version.as_str().into()),
    ];
    let mut object = Map::new();
    object.insert("Endpoint".to_owned(), node.endpoint.as_str().into());
    object.insert("Name".to_owned(), node.name.as_str().into());
    for (name, value) in fields {
        let empty = match &value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(fields) => fields.is_empty(),
            _ => false,
        };
        if !empty {
            object.insert(name.to_owned(), value);
        }
    }
    object.into()
}

fn rule_json(rule: &GcPolicy) -> Value {
    json!({
        "all": rule.all,
        "filter": Some(&rule.filters).filter(|filters| !filters.is_empty()),
        "keepDuration": u64::try_from(rule.keep_duration.as_nanos()).unwrap_or(u64::MAX),
        "maxUsedSpace": rule.max_used_space,
        "minFreeSpace": rule.min_free_space,
        "reservedSpace": rule.reserved_space,
    })
}

fn rfc3339(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

//! `install` and `uninstall`: whether `docker build` is this plugin's.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Map, Value};

use crate::cli::Context;
use crate::docker::NAME;
use crate::errors::CliError;

/// Makes `docker builder`, and so `docker build`, an alias of this plugin.
pub(crate) fn install(context: &Context<'_>) -> Result<ExitCode, CliError> {
    change(context, true, |config| {
        let aliases = config.entry("aliases").or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(aliases) = aliases {
            aliases.insert("builder".to_owned(), NAME.into());
        }
    })
}

/// Removes the alias, whichever plugin it is to.
pub(crate) fn uninstall(context: &Context<'_>) -> Result<ExitCode, CliError> {
    change(context, false, |config| {
        if let Some(Value::Object(aliases)) = config.get_mut("aliases") {
            aliases.shift_remove("builder");
            if aliases.is_empty() {
                config.shift_remove("aliases");
            }
        }
    })
}

/// Changes docker's `config.json`, of which everything else stays.
fn change(
    context: &Context<'_>,
    create: bool,
    change: impl FnOnce(&mut Map<String, Value>),
) -> Result<ExitCode, CliError> {
    let directory = context.called.config_dir(context.env).ok_or_else(|| {
        CliError::new("no directory for docker's configuration").hint("set DOCKER_CONFIG or HOME")
    })?;
    let path = directory.join("config.json");
    let failed = |reason: String| CliError::new(format!("{reason}: failed to change {}", path.display()));
    let mut config = match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|error| failed(error.to_string()))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound && create => Map::new(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(ExitCode::SUCCESS),
        Err(error) => return Err(failed(error.to_string())),
    };
    let before = config.clone();
    change(&mut config);
    if config != before {
        write(&path, &config).map_err(|error| failed(error.to_string()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Replaces the file as a whole; what it is a link to, if it is one.
fn write(path: &Path, config: &Map<String, Value>) -> io::Result<()> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let directory = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(directory)?;
    let mut text = Vec::new();
    let tabs = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, tabs);
    serde::Serialize::serialize(config, &mut serializer)?;
    let mut file = tempfile::Builder::new().prefix("config.json").tempfile_in(directory)?;
    file.write_all(&text)?;
    // Credentials are in it: nobody may read it who could not before.
    if let Ok(found) = fs::metadata(&path) {
        file.as_file().set_permissions(found.permissions())?;
    }
    file.persist(&path)?;
    Ok(())
}

//! The commands that clients have executed.

use std::path::{Path, PathBuf};

use rbx_platform::Platform;
use serde::Deserialize;
use serde_json::{Value, json};
use tower_lsp::jsonrpc::{Error, Result};
use tower_lsp::ls_types::{ExecuteCommandParams, Uri};

use crate::builds::Order;
use crate::configuration::{self, Configuration};
use crate::documents::Snapshot;
use crate::outlook::Runner;

/// Builds a document: of its argument `uri`, for `platforms` (else all that it is built for), up to the stage `target`
/// (else the last).
pub(crate) const BUILD: &str = "rbx.build";
/// Cancels the build of the document `uri`; answers whether there was one.
pub(crate) const CANCEL: &str = "rbx.cancel";
/// Answers what the document `uri` is built for: `platforms`, and in `source` who says so: `comment`, `configuration`
/// or `default`.
pub(crate) const PLATFORMS: &str = "rbx.platforms";

/// Looks at the document `uri` and at what is beside it anew; answers how much is wrong with it.
pub(crate) const CHECK: &str = "rbx.check";
/// Answers the builders that there are.
pub(crate) const BUILDERS: &str = "rbx.builders";
/// Builds by `builder` from now on, until the session ends; an empty name stands for the settings. Asks the user if none
/// is given. Answers the one that is chosen.
pub(crate) const SET_BUILDER: &str = "rbx.setBuilder";
/// Builds for `platforms` from now on. If the document `uri` says itself what it is built for, or with `write`, that is
/// an edit of the document; else it is for all documents until the session ends. Asks the user if none are given.
pub(crate) const SET_PLATFORMS: &str = "rbx.setPlatforms";
/// Answers what is known of the steps of the document `uri`.
pub(crate) const STATE: &str = "rbx.state";

/// All of them.
pub(crate) const NAMES: [&str; 8] =
    [BUILD, CANCEL, PLATFORMS, CHECK, BUILDERS, SET_BUILDER, SET_PLATFORMS, STATE];

/// What a command is told.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Argument {
    uri: Uri,
    #[serde(default)]
    platforms: Vec<String>,
    #[serde(default)]
    target: Option<String>,
    #[serde(default)]
    builder: Option<String>,
    #[serde(default)]
    write: bool,
}

/// A command with what it is told.
#[derive(Debug)]
pub(crate) enum Command {
    /// [`BUILD`]
    Build(Order),
    /// [`CANCEL`]
    Cancel(Uri),
    /// [`PLATFORMS`]
    Platforms(Uri),
    /// [`CHECK`]
    Check(Uri),
    /// [`BUILDERS`]
    Builders(Uri),
    /// [`SET_BUILDER`]
    SetBuilder(Uri, Option<String>),
    /// [`SET_PLATFORMS`]
    SetPlatforms {
        /// The document.
        uri: Uri,
        /// The platforms, if they are chosen already.
        platforms: Vec<Platform>,
        /// They are to be written into the document.
        write: bool,
    },
    /// [`STATE`]
    State(Uri),
}

/// Reads what the client sent.
pub(crate) fn read(params: ExecuteCommandParams) -> Result<Command> {
    let mut arguments = params.arguments;
    let (Some(argument), true) = (arguments.pop(), arguments.is_empty()) else {
        return Err(Error::invalid_params(format!("{} takes one argument, an object", params.command)));
    };
    let argument: Argument = serde_json::from_value(argument)
        .map_err(|error| Error::invalid_params(format!("{}: {error}", params.command)))?;
    match params.command.as_str() {
        BUILD => {
            let platforms = configuration::platforms(&argument.platforms).map_err(Error::invalid_params)?;
            let token = params.work_done_progress_params.work_done_token;
            let target = argument.target.filter(|target| !target.is_empty());
            Ok(Command::Build(Order { uri: argument.uri, platforms, target, token }))
        }
        CANCEL => Ok(Command::Cancel(argument.uri)),
        PLATFORMS => Ok(Command::Platforms(argument.uri)),
        CHECK => Ok(Command::Check(argument.uri)),
        BUILDERS => Ok(Command::Builders(argument.uri)),
        SET_BUILDER => Ok(Command::SetBuilder(argument.uri, argument.builder)),
        SET_PLATFORMS => {
            let platforms = configuration::platforms(&argument.platforms).map_err(Error::invalid_params)?;
            Ok(Command::SetPlatforms { uri: argument.uri, platforms, write: argument.write })
        }
        STATE => Ok(Command::State(argument.uri)),
        other => Err(Error::invalid_params(format!("unknown command: {other}"))),
    }
}

/// The answer to [`PLATFORMS`].
pub(crate) fn platforms(snapshot: &Snapshot) -> Value {
    let platforms = snapshot.platforms();
    let names: Vec<String> = platforms.list.iter().map(rbx_platform::Platform::format_all).collect();
    json!({ "platforms": names, "source": platforms.source.name() })
}

/// The answer to [`STATE`].
pub(crate) fn state(snapshot: &Snapshot) -> Value {
    let Some(outlook) = snapshot.outlook.as_deref() else { return Value::Null };
    let steps = outlook.steps.iter().map(|step| {
        let range = snapshot.text.range(step.place.clone(), snapshot.abilities.encoding);
        let platforms: Vec<String> = step.platforms.iter().map(Platform::format_all).collect();
        let (runner, emulator) = match &step.runner {
            Some(Runner::Native) => (Some("native"), None),
            Some(Runner::Emulated(emulator)) => (Some("emulated"), emulator.as_deref()),
            Some(Runner::Nothing(_)) => (Some("nothing"), None),
            None => (None, None),
        };
        json!({
            "range": range,
            "platforms": platforms,
            "state": step.state.name(),
            "reason": step.reason,
            "runner": runner,
            "emulator": emulator,
        })
    });
    json!({
        "version": snapshot.version,
        "builder": outlook.builder,
        "driver": outlook.driver,
        "lastBuild": outlook.of_last_build,
        "steps": steps.collect::<Vec<_>>(),
    })
}

/// The innermost of the folders that hold a file, else its directory.
pub(crate) fn root<'a>(file: &'a Path, roots: &'a [PathBuf]) -> Option<&'a Path> {
    let holding = roots.iter().filter(|root| file.starts_with(root));
    holding.max_by_key(|root| root.components().count()).map(PathBuf::as_path).or_else(|| file.parent())
}

/// The build context of a file, if it is a directory of this machine.
pub(crate) fn context(file: &Path, roots: &[PathBuf], configuration: &Configuration) -> Option<PathBuf> {
    match &configuration.context {
        Some(context) => Some(root(file, roots)?.join(context)),
        None => Some(file.parent()?.to_owned()),
    }
}

/// The last part of a document's name.
pub(crate) fn name(uri: &Uri) -> String {
    let path = uri.path().decode().to_string_lossy();
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

/// The file that a document is, if it is one.
pub(crate) fn path(uri: &Uri) -> Option<PathBuf> {
    let is_file = uri.scheme().as_str().eq_ignore_ascii_case("file");
    Some(
        uri.to_file_path()
            .filter(|path| is_file && path.is_absolute() && path.file_name().is_some())?
            .into_owned(),
    )
}

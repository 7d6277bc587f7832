//! The commands that clients have executed.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};
use tower_lsp::jsonrpc::{Error, Result};
use tower_lsp::ls_types::{ExecuteCommandParams, Uri};

use crate::builds::Order;
use crate::configuration::{self, Configuration};
use crate::documents::Snapshot;

/// Builds a document: of its argument `uri`, for `platforms` (else all that it is built for), up to the stage `target`
/// (else the last).
pub(crate) const BUILD: &str = "rbx.build";
/// Cancels the build of the document `uri`; answers whether there was one.
pub(crate) const CANCEL: &str = "rbx.cancel";
/// Answers what the document `uri` is built for: `platforms`, and in `source` who says so: `comment`, `configuration`
/// or `default`.
pub(crate) const PLATFORMS: &str = "rbx.platforms";

/// All of them.
pub(crate) const NAMES: [&str; 3] = [BUILD, CANCEL, PLATFORMS];

/// What a command is told.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Argument {
    uri: Uri,
    #[serde(default)]
    platforms: Vec<String>,
    #[serde(default)]
    target: Option<String>,
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
        other => Err(Error::invalid_params(format!("unknown command: {other}"))),
    }
}

/// The answer to [`PLATFORMS`].
pub(crate) fn platforms(snapshot: &Snapshot) -> Value {
    let platforms = snapshot.platforms();
    let names: Vec<String> = platforms.list.iter().map(rbx_platform::Platform::format_all).collect();
    json!({ "platforms": names, "source": platforms.source.name() })
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

/// The file that a document is, if it is one.
pub(crate) fn path(uri: &Uri) -> Option<PathBuf> {
    let is_file = uri.scheme().as_str().eq_ignore_ascii_case("file");
    Some(
        uri.to_file_path()
            .filter(|path| is_file && path.is_absolute() && path.file_name().is_some())?
            .into_owned(),
    )
}

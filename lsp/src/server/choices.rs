//! What the user chooses for a session: by which builder, and for what, documents are built.

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use rbx_lint::Severity;
use rbx_platform::Platform;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::time::timeout;
use tower_lsp::jsonrpc::{Error, Result};
use tower_lsp::ls_types::{MessageActionItem, MessageType, Position, Range, TextEdit, Uri, WorkspaceEdit};

use super::Backend;
use crate::builds::refresh;
use crate::configuration::Configuration;
use crate::documents::{Message, Snapshot};
use crate::platforms::names;

/// How long builders may take to tell of themselves, and how much of that is read.
const PATIENCE: Duration = Duration::from_secs(30);
const LIMIT: u64 = 4 << 20;
/// What stands for the builder of the settings.
const NONE_CHOSEN: &str = "(as set)";
/// Platforms that are offered beside those of the document.
const COMMON: [&str; 3] = ["linux/amd64", "linux/arm64", "linux/amd64,linux/arm64"];

/// What the user chose, on top of what is set.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    /// What is set.
    pub(super) configuration: Configuration,
    builder: Option<String>,
    platforms: Vec<Platform>,
}

impl Backend {
    fn chosen(&self) -> MutexGuard<'_, Chosen> {
        // Nothing panics while it holds the lock.
        self.chosen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is set or chosen; answers what counts then.
    pub(super) fn choose(&self, change: impl FnOnce(&mut Chosen)) -> Configuration {
        let mut chosen = self.chosen();
        change(&mut chosen);
        let mut configuration = chosen.configuration.clone();
        if chosen.builder.is_some() {
            configuration.builder.clone_from(&chosen.builder);
        }
        if !chosen.platforms.is_empty() {
            configuration.platforms.clone_from(&chosen.platforms);
        }
        configuration
    }

    /// Looks at a document anew; answers how much is wrong with it, and tells the user.
    pub(super) async fn check(&self, uri: Uri) -> Result<Option<Value>> {
        self.tell(Message::Look(uri.clone()));
        let count = |snapshot: &Snapshot| {
            let count = |wanted| snapshot.findings().iter().filter(|it| it.severity == wanted).count();
            let counts = [Severity::Error, Severity::Warning, Severity::Info, Severity::Style].map(count);
            (counts, names(&snapshot.platforms().list))
        };
        let Some((counts, platforms)) = self.answer_apart(uri.clone(), count).await? else { return Ok(None) };
        let words = ["error", "warning", "remark", "matter of style"];
        let said = counts.iter().zip(words).filter(|(count, _)| **count > 0).map(|(count, word)| {
            let plural = match (count, word) {
                (1, word) => word.to_owned(),
                (_, "matter of style") => "matters of style".to_owned(),
                (_, word) => format!("{word}s"),
            };
            format!("{count} {plural}")
        });
        let said: Vec<String> = said.collect();
        let said = if said.is_empty() { "nothing is wrong".to_owned() } else { said.join(", ") };
        let name = uri.as_str().rsplit('/').next().unwrap_or_default();
        self.client.show_message(MessageType::INFO, format!("{name} for {platforms}: {said}")).await;
        let [errors, warnings, information, style] = counts;
        Ok(Some(
            json!({ "errors": errors, "warnings": warnings, "information": information, "style": style }),
        ))
    }

    /// The builders that there are.
    pub(super) async fn builders(&self, uri: Uri) -> Result<Option<Value>> {
        let Some(snapshot) = self.snapshot(uri).await else { return Ok(None) };
        let listed = timeout(PATIENCE, self.list(&snapshot.configuration)).await;
        let listed = listed.unwrap_or_else(|_| Err("docker-rbx ls took too long".to_owned()));
        let builders = listed.map_err(|reason| Error {
            code: tower_lsp::jsonrpc::ErrorCode::InternalError,
            message: reason.into(),
            data: None,
        })?;
        Ok(Some(json!({ "builders": builders, "chosen": snapshot.configuration.builder })))
    }

    /// Asks `docker-rbx ls`.
    async fn list(&self, configuration: &Configuration) -> std::result::Result<Vec<Value>, String> {
        let surroundings = self.builds.surroundings();
        let mut command = Command::new(surroundings.builder(configuration.program.as_deref())?);
        command.args(["ls", "--format", "json"]).env_remove(crate::builds::RUN_BY_DOCKER);
        command.envs(surroundings.docker_config.as_ref().map(|directory| ("DOCKER_CONFIG", directory)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        #[cfg(unix)]
        command.arg0("docker-rbx").process_group(0);
        let mut child =
            command.spawn().map_err(|error| format!("{error}: docker-rbx could not be started"))?;
        let mut text = String::new();
        if let Some(output) = child.stdout.take() {
            let read = output.take(LIMIT).read_to_string(&mut text).await;
            read.map_err(|error| format!("{error}: the list of builders cannot be read"))?;
        }
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let builder = |line: Value| {
            let nodes = line["Nodes"].as_array().cloned().unwrap_or_default();
            let platforms: Vec<&Value> =
                nodes.iter().filter_map(|node| node["Platforms"].as_array()).flatten().collect();
            json!({
                "name": line["Name"],
                "driver": line["Driver"],
                "current": line["Current"],
                "platforms": platforms,
                "error": line["Err"],
            })
        };
        Ok(lines.map(builder).collect())
    }

    /// Chooses a builder, or lets the user choose one.
    pub(super) async fn choose_builder(&self, uri: Uri, name: Option<String>) -> Result<Option<Value>> {
        let name = if let Some(name) = name {
            name
        } else {
            let Some(listed) = self.builders(uri).await? else { return Ok(None) };
            let list = listed["builders"].as_array().cloned().unwrap_or_default();
            let names = list.iter().filter_map(|builder| builder["name"].as_str()).map(str::to_owned);
            let names: Vec<String> = names.chain([NONE_CHOSEN.to_owned()]).collect();
            let Some(name) = self.ask("Which builder is to build?", names).await else { return Ok(None) };
            if name == NONE_CHOSEN { String::new() } else { name }
        };
        let name = Some(name).filter(|name| !name.is_empty());
        let configuration = self.choose(|chosen| chosen.builder.clone_from(&name));
        let answer = json!({ "builder": configuration.builder });
        self.tell(Message::Configure(Arc::new(configuration)));
        refresh(&self.client, self.abilities()).await;
        Ok(Some(answer))
    }

    /// Chooses platforms, or lets the user choose some.
    pub(super) async fn choose_platforms(
        &self,
        uri: Uri,
        platforms: Vec<Platform>,
        write: bool,
    ) -> Result<Option<Value>> {
        let Some(snapshot) = self.snapshot(uri).await else { return Ok(None) };
        let platforms = if platforms.is_empty() {
            let now =
                snapshot.platforms().list.iter().map(Platform::format_all).collect::<Vec<_>>().join(",");
            let mut offers: Vec<String> = COMMON.map(str::to_owned).to_vec();
            if !offers.contains(&now) {
                offers.insert(0, now);
            }
            let Some(answer) = self.ask("For which platforms is it to be built?", offers).await else {
                return Ok(None);
            };
            crate::configuration::platforms(&[answer]).map_err(Error::invalid_params)?
        } else {
            platforms
        };
        let names: Vec<String> = platforms.iter().map(Platform::format_all).collect();
        let says_itself = !snapshot.tree().platforms().is_empty();
        if write || says_itself {
            let edit = written(&snapshot, &names.join(","));
            let changes = [(snapshot.uri.clone(), vec![edit])].into();
            let edit = WorkspaceEdit { changes: Some(changes), ..WorkspaceEdit::default() };
            let applied = self.client.apply_edit(edit).await?.applied;
            return Ok(Some(json!({ "platforms": names, "written": applied })));
        }
        let configuration = self.choose(|chosen| chosen.platforms = platforms);
        self.tell(Message::Configure(Arc::new(configuration)));
        refresh(&self.client, self.abilities()).await;
        Ok(Some(json!({ "platforms": names, "written": false })))
    }

    /// What the user picks.
    async fn ask(&self, question: &str, answers: Vec<String>) -> Option<String> {
        let item = |title| MessageActionItem { title, properties: HashMap::new() };
        let actions = answers.into_iter().map(item).collect();
        let picked = self.client.show_message_request(MessageType::INFO, question, Some(actions)).await;
        picked.ok().flatten().map(|item| item.title)
    }
}

/// The edit by which a document says what it is built for: of the words that say so, else a line at its top.
fn written(snapshot: &Snapshot, names: &str) -> TextEdit {
    let words = snapshot.tree().platforms();
    if let (Some(first), Some(last)) = (words.first(), words.last()) {
        return TextEdit { range: snapshot.range(first.span.join(last.span)), new_text: names.to_owned() };
    }
    // Directives for parsers have to stay on top.
    let directives = &snapshot.tree().directives;
    let all = [&directives.syntax, &directives.escape, &directives.check];
    let lines = all.into_iter().flatten().map(|it| snapshot.range(it.span).end.line + 1);
    let at = Position::new(lines.max().unwrap_or(0), 0);
    TextEdit { range: Range::new(at, at), new_text: format!("# rbx: platforms={names}\n") }
}

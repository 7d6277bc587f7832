//! What can be started from a document, and what is known of that beforehand.

use rbx_dockerfile::{Body, Instruction};
use rbx_platform::Platform;
use serde_json::{Value, json};
use tower_lsp::ls_types::{CodeLens, Command, Position, Range};

use super::hints::stage_bytes;
use crate::commands;
use crate::documents::Snapshot;
use crate::outlook::{Runner, State};
use crate::platforms::names;

/// At the top of a file: to build it for each of its platforms, and for all of them, to check it, and to choose what it
/// is built by and for. Above each stage of several: to build that.
pub(crate) fn lenses(snapshot: &Snapshot) -> Vec<CodeLens> {
    let stages: Vec<&Instruction> = snapshot.tree().stages().filter_map(<[Instruction]>::first).collect();
    if !snapshot.configuration.lenses || stages.is_empty() || commands::path(&snapshot.uri).is_none() {
        return Vec::new();
    }
    let platforms = snapshot.platforms().list;
    let build = |title, platforms: &[Platform]| {
        let platforms: Vec<String> = platforms.iter().map(Platform::format_all).collect();
        top(title, commands::BUILD, json!({ "uri": snapshot.uri, "platforms": platforms }))
    };
    let mut lenses: Vec<CodeLens> = platforms
        .iter()
        .map(|platform| build(format!("build for {platform}"), std::slice::from_ref(platform)))
        .collect();
    if platforms.len() > 1 {
        lenses.push(build("build all platforms".to_owned(), &platforms));
    }
    let about = || json!({ "uri": snapshot.uri });
    lenses.push(top("check".to_owned(), commands::CHECK, about()));
    let told = snapshot.outlook.as_deref().map(|outlook| outlook.builder.as_str());
    let builder = snapshot.configuration.builder.as_deref().or(told);
    let builder = builder.map_or_else(|| "choose builder".to_owned(), |name| format!("builder: {name}"));
    lenses.push(top(builder, commands::SET_BUILDER, about()));
    lenses.push(top(format!("platforms: {}", names(&platforms)), commands::SET_PLATFORMS, about()));
    let several = stages.len() > 1;
    for (number, from) in stages.into_iter().enumerate() {
        let name = match &from.body {
            Body::From(body) => body.name.as_ref().map(|name| name.text.clone()).filter(|it| !it.is_empty()),
            _ => None,
        };
        let known = known(snapshot, from);
        if !several && known.is_empty() {
            continue;
        }
        let target = name.unwrap_or_else(|| number.to_string());
        let title = if known.is_empty() {
            "build this stage".to_owned()
        } else {
            format!("build this stage ({known})")
        };
        let argument = json!({ "uri": snapshot.uri, "target": target });
        lenses.push(lens(snapshot.range(from.keyword_span).start, title, commands::BUILD, argument));
    }
    lenses
}

/// What is known of a stage's steps: how many are cached, and for which platforms they are emulated.
fn known(snapshot: &Snapshot, from: &Instruction) -> String {
    let Some(outlook) = snapshot.outlook.as_deref() else { return String::new() };
    let steps: Vec<_> = outlook
        .within(stage_bytes(snapshot, from))
        .filter(|step| step.place.start > from.span.range().start)
        .collect();
    if steps.is_empty() {
        return String::new();
    }
    let cached = steps.iter().filter(|step| step.state == State::Cached).count();
    let last = if outlook.of_last_build { "last build: " } else { "" };
    let mut said = vec![format!("{last}{cached} of {} cached", steps.len())];
    for (wanted, words) in [(true, "emulated"), (false, "cannot be run")] {
        let mut platforms: Vec<Platform> = Vec::new();
        for step in &steps {
            let is = match &step.runner {
                Some(Runner::Emulated(_)) => wanted,
                Some(Runner::Nothing(_)) => !wanted,
                Some(Runner::Native) | None => false,
            };
            for platform in step.platforms.iter().filter(|_| is) {
                if !platforms.contains(platform) {
                    platforms.push(platform.clone());
                }
            }
        }
        if !platforms.is_empty() {
            said.push(format!("{words} for {}", names(&platforms)));
        }
    }
    said.join(", ")
}

fn top(title: String, command: &str, argument: Value) -> CodeLens {
    lens(Position::new(0, 0), title, command, argument)
}

fn lens(start: Position, title: String, command: &str, argument: Value) -> CodeLens {
    let command = Command { title, command: command.to_owned(), arguments: Some(vec![argument]) };
    CodeLens { range: Range::new(start, start), command: Some(command), data: None }
}

//! What can be started from a document.

use rbx_dockerfile::Keyword;
use rbx_platform::Platform;
use serde_json::json;
use tower_lsp::ls_types::{CodeLens, Command, Position, Range};

use crate::commands;
use crate::documents::Snapshot;

/// At the top of a file: to build it for each of its platforms, and for all of them.
pub(crate) fn lenses(snapshot: &Snapshot) -> Vec<CodeLens> {
    let has_stages =
        snapshot.tree().instructions.iter().any(|instruction| instruction.keyword == Keyword::From);
    if !has_stages || commands::path(&snapshot.uri).is_none() {
        return Vec::new();
    }
    let platforms = snapshot.platforms().list;
    let mut lenses: Vec<CodeLens> = platforms
        .iter()
        .map(|platform| lens(snapshot, format!("build for {platform}"), std::slice::from_ref(platform)))
        .collect();
    if platforms.len() > 1 {
        lenses.push(lens(snapshot, "build all platforms".to_owned(), &platforms));
    }
    lenses
}

fn lens(snapshot: &Snapshot, title: String, platforms: &[Platform]) -> CodeLens {
    let platforms: Vec<String> = platforms.iter().map(Platform::format_all).collect();
    let argument = json!({ "uri": snapshot.uri, "platforms": platforms });
    let command = Command { title, command: commands::BUILD.to_owned(), arguments: Some(vec![argument]) };
    let start = Position::new(0, 0);
    CodeLens { range: Range::new(start, start), command: Some(command), data: None }
}

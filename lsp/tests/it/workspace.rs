//! Stages and arguments of all Dockerfiles of the folders that are open.

use std::fs;
use std::path::Path;

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::client::{Client, shown};

/// A folder with Dockerfiles, and what git ignores.
fn folder() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for folder in [".git", "sub", "out"] {
        fs::create_dir(directory.path().join(folder)).unwrap();
    }
    for (name, text) in [
        ("Dockerfile", "FROM a AS on-disk\n"),
        (
            "sub/a b.Dockerfile",
            "ARG Version\nFROM a AS build\nARG VERSION=1 OTHER\nFROM b\nENV X=1\nARG VERSION\n",
        ),
        ("sub/other.txt", "FROM a AS nothing\n"),
        ("out/Dockerfile", "FROM a AS ignored\n"),
        (".gitignore", "out\n"),
    ] {
        fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

fn uri(path: &Path) -> String {
    format!("file://{}", path.display())
}

/// A client with these folders open.
async fn with(folders: &[&Path], capabilities: Value) -> Client {
    let mut client = Client::connect();
    let folders: Vec<Value> = folders.iter().map(|path| json!({ "uri": uri(path), "name": "x" })).collect();
    client.initialize_with(json!({ "capabilities": capabilities, "workspaceFolders": folders })).await;
    client
}

/// What is found by a query: a line for each symbol. In order: that of files is the directories'.
async fn found(client: &mut Client, query: &str, root: &Path) -> String {
    let symbols = client.request("workspace/symbol", json!({ "query": query })).await;
    let mut lines = Vec::new();
    for symbol in symbols.as_array().unwrap() {
        let text = |field: &str| symbol[field].as_str().unwrap();
        let place = symbol["location"]["uri"].as_str().unwrap().replace(&uri(root), "");
        let range = shown(&symbol["location"]["range"]);
        let (name, container) = (text("name"), text("containerName"));
        lines.push(format!("{name} [{}] in {container}: {place} {range}", symbol["kind"]));
    }
    lines.sort();
    lines.join("\n")
}

#[tokio::test]
async fn symbols_of_all_files_are_found() {
    let directory = folder();
    let root = directory.path();
    let mut client = with(&[root, &root.join("sub")], json!({})).await;
    assert_snapshot!(found(&mut client, "DISK", root).await, @"on-disk [3] in Dockerfile: /Dockerfile 0:10-0:17");

    // What is open counts as it is in the editor, wherever it is.
    let other = "FROM a AS else\n";
    for (uri, text) in [
        (uri(&root.join("Dockerfile")).as_str(), "# 🐳\nFROM a🐳 AS opened\nARG 🐳=1 V"),
        ("untitled:Untitled-1", other),
    ] {
        let item = json!({ "uri": uri, "languageId": "dockerfile", "version": 1, "text": text });
        client.notify("textDocument/didOpen", json!({ "textDocument": item })).await;
    }
    assert_snapshot!(found(&mut client, "", root).await, @r"
    OTHER [13] in build: /sub/a%20b.Dockerfile 2:14-2:19
    V [13] in opened: /Dockerfile 2:9-2:10
    VERSION [13] in build: /sub/a%20b.Dockerfile 2:4-2:11
    VERSION [13] in stage 1: /sub/a%20b.Dockerfile 5:4-5:11
    Version [13] in a b.Dockerfile: /sub/a%20b.Dockerfile 0:4-0:11
    build [3] in a b.Dockerfile: /sub/a%20b.Dockerfile 1:10-1:15
    else [3] in Untitled-1: untitled:Untitled-1 0:10-0:14
    opened [3] in Dockerfile: /Dockerfile 1:12-1:18
    🐳 [13] in opened: /Dockerfile 2:4-2:6
    ");
    assert_snapshot!(found(&mut client, "vsn", root).await, @r"
    VERSION [13] in build: /sub/a%20b.Dockerfile 2:4-2:11
    VERSION [13] in stage 1: /sub/a%20b.Dockerfile 5:4-5:11
    Version [13] in a b.Dockerfile: /sub/a%20b.Dockerfile 0:4-0:11
    ");
    assert_snapshot!(found(&mut client, "nothing", root).await, @"");

    // As they are on disk again when they are closed, and without folders that are not open any more.
    let document = json!({ "uri": uri(&root.join("Dockerfile")) });
    client.notify("textDocument/didClose", json!({ "textDocument": document })).await;
    let removed = json!([{ "uri": uri(&root.join("sub")), "name": "x" }, { "uri": uri(root), "name": "x" }]);
    assert_snapshot!(found(&mut client, "d", root).await, @r"
    build [3] in a b.Dockerfile: /sub/a%20b.Dockerfile 1:10-1:15
    on-disk [3] in Dockerfile: /Dockerfile 0:10-0:17
    ");
    let change = json!({ "event": { "added": [], "removed": removed } });
    client.notify("workspace/didChangeWorkspaceFolders", change).await;
    assert_snapshot!(found(&mut client, "", root).await, @"else [3] in Untitled-1: untitled:Untitled-1 0:10-0:14");
}

#[tokio::test]
async fn clients_that_can_ask_for_places_need_not() {
    let directory = folder();
    let root = directory.path();
    let symbol = json!({ "resolveSupport": { "properties": ["location.range"] } });
    let capabilities = json!({
        "general": { "positionEncodings": ["utf-8"] },
        "workspace": { "symbol": symbol },
    });
    let mut client = with(&[root], capabilities).await;
    fs::write(root.join("Dockerfile"), "FROM 🐳 AS on-disk\n").unwrap();
    assert_snapshot!(found(&mut client, "disk", root).await, @"on-disk [3] in Dockerfile: /Dockerfile 0:13-0:20");
}

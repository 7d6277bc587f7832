//! What shellcheck says of the scripts of a document.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rbx_lsp::Surroundings;
use serde_json::{Value, json};

use crate::client::Client;

/// A program that finds `$c` wherever that stands at the third character of a script, and notes that it was asked.
const PROGRAM: &str = r#"#!/bin/sh
shift 2
echo x >> "${0%/*}/asked"
for name do
  case $(sed -n 5p "$name") in "b \$c"*) found=$name ;; esac
done
comment='"line":5,"endLine":5,"column":3,"endColumn":5,"level":"warning","code":2086,"message":"Quote it.","fix":null'
[ "$found" ] || { echo '{"comments":[]}'; exit 0; }
echo "{\"comments\":[{\"file\":\"$found\",$comment}]}"
exit 1
"#;

struct Project {
    directory: tempfile::TempDir,
    client: Client,
    uri: String,
}

impl Project {
    /// A document in a project whose findings of little weight are wanted, beside the program.
    async fn open(text: &str, settings: Value) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let program = path.join("shellcheck");
        fs::write(&program, PROGRAM).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(path.join(".git")).unwrap();
        fs::write(path.join("rbx.toml"), "severity = \"info\"\n\n[rules]\nDL3006 = \"off\"\n").unwrap();
        let surroundings = Surroundings { path: Some(path.into()), ..Surroundings::default() };
        let mut client = Client::connect_in(surroundings);
        client.initialize_with(json!({ "capabilities": {}, "initializationOptions": settings })).await;
        let uri = format!("file://{}/Dockerfile", path.display());
        let item = json!({ "uri": uri, "languageId": "dockerfile", "version": 1, "text": text });
        client.notify("textDocument/didOpen", json!({ "textDocument": item })).await;
        Self { directory, client, uri }
    }

    async fn change(&mut self, version: i32, text: &str) {
        let document = json!({ "uri": self.uri, "version": version });
        let params = json!({ "textDocument": document, "contentChanges": [{ "text": text }] });
        self.client.notify("textDocument/didChange", params).await;
    }

    /// What is published next: places and codes.
    async fn published(&mut self) -> Vec<String> {
        let published = self.client.notification("textDocument/publishDiagnostics").await;
        let shown = |finding: &Value| {
            let start = &finding["range"]["start"];
            format!("{}:{} {}", start["line"], start["character"], finding["code"].as_str().unwrap_or("-"))
        };
        published["diagnostics"].as_array().unwrap().iter().map(shown).collect()
    }
}

fn asked(directory: &Path) -> usize {
    fs::read_to_string(directory.join("asked")).map_or(0, |text| text.lines().count())
}

#[tokio::test]
async fn what_shellcheck_finds_comes_after_the_rest() {
    let mut project = Project::open("FROM a\nRUN b $c\n", json!({})).await;
    assert_eq!(project.published().await, [""; 0]);
    assert_eq!(project.published().await, ["1:6 SC2086"]);
    assert_eq!(asked(project.directory.path()), 1);

    // It goes where its script goes, and is not asked again about one that it knows.
    project.change(2, "FROM a\n\nWORKDIR /d\nRUN b $c\n").await;
    assert_eq!(project.published().await, ["3:6 SC2086"]);
    project.change(3, "FROM a\nRUN b\n").await;
    assert_eq!(project.published().await, [""; 0]);
    assert_eq!(project.client.end().await, rbx_lsp::Ended::Orderly);
}

#[tokio::test]
async fn it_is_not_asked_where_it_is_turned_off() {
    let mut project = Project::open("FROM a\nRUN b $c\n", json!({ "shellcheck": "off" })).await;
    assert_eq!(project.published().await, [""; 0]);
    project.change(2, "FROM a\nRUN b $c\nRUM d\n").await;
    assert_eq!(project.published().await, ["2:0 -"]);
    assert_eq!(asked(project.directory.path()), 0);
}

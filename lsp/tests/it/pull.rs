//! Diagnostics that a client asks for, and files that change beside its documents.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::client::{Client, URI, edit};

fn abilities() -> Value {
    json!({
        "textDocument": { "diagnostic": {}, "publishDiagnostics": {} },
        "workspace": {
            "diagnostics": { "refreshSupport": true },
            "didChangeWatchedFiles": { "dynamicRegistration": true },
        },
    })
}

fn uri(path: &Path) -> String {
    format!("file://{}", path.display())
}

impl Client {
    async fn pull(&mut self, before: Option<&Value>) -> Value {
        let mut params = json!({ "textDocument": { "uri": URI } });
        if let Some(id) = before {
            params["previousResultId"] = id.clone();
        }
        self.request("textDocument/diagnostic", params).await
    }

    /// A client that pulls, with a folder open.
    async fn in_folder(folder: &Path) -> Self {
        let mut client = Self::connect();
        let folders = json!([{ "uri": uri(folder), "name": "x" }]);
        let options = json!({ "platforms": "linux/amd64" });
        client
            .initialize_with(json!({ "capabilities": abilities(), "workspaceFolders": folders, "initializationOptions": options }))
            .await;
        client
    }
}

#[tokio::test]
async fn a_client_that_pulls_gets_nothing_pushed() {
    let mut client = Client::connect();
    let options = json!({ "platforms": "linux/amd64" });
    let answer = client
        .initialize_with(json!({ "capabilities": abilities(), "initializationOptions": options }))
        .await;
    assert_eq!(
        answer["capabilities"]["diagnosticProvider"],
        json!({ "identifier": "rbx", "interFileDependencies": false, "workspaceDiagnostics": true })
    );
    client.open("FROM a\nRUM make\n").await;
    let first = client.pull(None).await;
    assert_eq!(first["kind"], "full");
    assert_eq!(first["items"][0]["message"], "unknown instruction: RUM (did you mean RUN?)");
    let id = &first["resultId"];
    assert_eq!(client.pull(Some(id)).await, json!({ "kind": "unchanged", "resultId": id }));
    client.notify("textDocument/didChange", edit(2, (1, 2), (1, 3), "N")).await;
    let second = client.pull(Some(id)).await;
    assert_eq!((&second["kind"], &second["items"]), (&json!("full"), &json!([])));

    // What the client does not know by itself, it is told to ask for.
    let settings = json!({ "settings": { "rbx": { "platforms": ["linux/arm64"] } } });
    client.notify("workspace/didChangeConfiguration", settings).await;
    client.notification("workspace/diagnostic/refresh").await;
    assert_eq!(client.pushed(), 0);

    let unknown = json!({ "textDocument": { "uri": "file:///not/open" } });
    let answer = client.request("textDocument/diagnostic", unknown).await;
    assert_eq!(answer["items"], json!([]));
}

#[tokio::test]
async fn a_client_that_cannot_be_told_to_pull_again_gets_all_pushed() {
    let mut client = Client::connect();
    let abilities = json!({ "textDocument": { "diagnostic": {}, "publishDiagnostics": {} } });
    let answer = client.initialize(abilities).await;
    assert_eq!(answer["capabilities"].get("diagnosticProvider"), None);
    client.open("FROM a\nRUM b\n").await;
    let published = client.notification("textDocument/publishDiagnostics").await;
    assert_eq!(published["diagnostics"].as_array().unwrap().len(), 1);
}

/// The reports on files, in order: name, kind, and how much is wrong.
fn list(reports: &Value) -> Vec<String> {
    let one = |report: &Value| {
        let name = report["uri"].as_str().unwrap().rsplit('/').next().unwrap();
        let count = report["items"].as_array().map(|items| format!(" {}", items.len())).unwrap_or_default();
        format!("{name} {}{count}", report["kind"].as_str().unwrap())
    };
    let mut lines: Vec<String> = reports["items"].as_array().unwrap().iter().map(one).collect();
    lines.sort();
    lines
}

#[tokio::test]
async fn all_dockerfiles_of_the_folders_are_checked() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("Dockerfile", "FROM scratch\n");
    write("a/dev.Dockerfile", "FROM scratch\nRUM x\n");
    write("a/notes", "FORM scratch\n");
    let mut client = Client::in_folder(directory.path()).await;
    // What is open counts as it is in the editor.
    let open = uri(&directory.path().join("Dockerfile"));
    let item = json!({ "uri": open, "languageId": "dockerfile", "version": 7, "text": "RUM" });
    client.notify("textDocument/didOpen", json!({ "textDocument": item })).await;

    let all = client.request("workspace/diagnostic", json!({ "previousResultIds": [] })).await;
    assert_eq!(list(&all), ["Dockerfile full 2", "dev.Dockerfile full 1"]);
    let ids = |reports: &Value| -> Value {
        let items = reports["items"].as_array().unwrap().iter();
        items.map(|it| json!({ "uri": it["uri"], "value": it["resultId"] })).collect()
    };
    let before = ids(&all);
    let again = client.request("workspace/diagnostic", json!({ "previousResultIds": before })).await;
    assert_eq!(list(&again), ["Dockerfile unchanged", "dev.Dockerfile unchanged"]);

    // A client that takes reports one by one waits for news.
    let params = json!({ "previousResultIds": before, "partialResultToken": "t" });
    client.begin(50, "workspace/diagnostic", params).await;
    assert!(client.symbols().await.is_null(), "other requests are answered meanwhile");
    write("a/dev.Dockerfile", "FROM scratch\n");
    let changes = json!([{ "uri": uri(&directory.path().join("a/dev.Dockerfile")), "type": 2 }]);
    client.notify("workspace/didChangeWatchedFiles", json!({ "changes": changes })).await;
    let part = client.notification("$/progress").await;
    assert_eq!(part["token"], "t");
    assert_eq!(list(&part["value"]), ["dev.Dockerfile full 0"]);
    assert_eq!(client.answer(50).await, json!({ "items": [] }));

    // What is not there any more has no findings.
    fs::remove_file(directory.path().join("Dockerfile")).unwrap();
    let now = client.request("workspace/diagnostic", json!({ "previousResultIds": before })).await;
    assert_eq!(list(&now), ["Dockerfile full 0", "dev.Dockerfile full 0"]);

    // It can be cancelled.
    let items = now["items"].as_array().unwrap().iter().filter(|it| it["resultId"].is_string());
    let before = ids(&json!({ "items": items.collect::<Vec<_>>() }));
    client
        .begin(51, "workspace/diagnostic", json!({ "previousResultIds": before, "partialResultToken": "u" }))
        .await;
    client.notify("$/cancelRequest", json!({ "id": 51 })).await;
    assert_eq!(client.answer(51).await["code"], -32800);
}

#[tokio::test]
async fn files_that_change_are_looked_at_again() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join(".git")).unwrap();
    let path = directory.path().join("Dockerfile");
    let mut client = Client::connect();
    let watches = json!({ "workspace": { "didChangeWatchedFiles": { "dynamicRegistration": true } } });
    client.initialize(watches).await;
    let registered = client.notification("client/registerCapability").await;
    let registered = &registered["registrations"][0];
    assert_eq!(registered["method"], "workspace/didChangeWatchedFiles");
    assert!(registered["registerOptions"]["watchers"].as_array().unwrap().len() > 3);

    let item =
        json!({ "uri": uri(&path), "languageId": "dockerfile", "version": 1, "text": "FROM a\nRUM b" });
    client.notify("textDocument/didOpen", json!({ "textDocument": item })).await;
    let published = client.notification("textDocument/publishDiagnostics").await;
    assert_eq!(published["diagnostics"].as_array().unwrap().len(), 1);
    // The document itself is in the editor.
    let change = |path: &Path| json!({ "changes": [{ "uri": uri(path), "type": 1 }] });
    client.notify("workspace/didChangeWatchedFiles", change(&path)).await;
    let config = directory.path().join("rbx.toml");
    fs::write(&config, "ignore = ['/Dockerfile']").unwrap();
    for _ in 0..50 {
        client.notify("workspace/didChangeWatchedFiles", change(&config)).await;
    }
    let published = client.notification("textDocument/publishDiagnostics").await;
    assert_eq!(published["diagnostics"], json!([]));
    assert_eq!(client.pushed(), 0, "once");
}

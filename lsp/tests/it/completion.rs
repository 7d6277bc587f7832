//! What is offered, as clients get it.

use std::fs;

use insta::assert_json_snapshot;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::Client;

/// A client that knows snippets, with a document open in a directory.
async fn client(directory: &TempDir, text: &str, options: Value) -> (Client, String) {
    let mut client = Client::connect();
    let item =
        json!({ "snippetSupport": true, "insertReplaceSupport": true, "documentationFormat": ["markdown"] });
    let capabilities = json!({ "textDocument": { "completion": { "completionItem": item } } });
    let root = format!("file://{}", directory.path().display());
    let folders = json!([{ "uri": root, "name": "x" }]);
    client
        .initialize_with(json!({ "capabilities": capabilities, "initializationOptions": options, "workspaceFolders": folders }))
        .await;
    let uri = format!("{root}/docker/Dockerfile");
    let document = json!({ "uri": uri, "languageId": "dockerfile", "version": 1, "text": text });
    client.notify("textDocument/didOpen", json!({ "textDocument": document })).await;
    (client, uri)
}

async fn complete(client: &mut Client, uri: &str, line: u32, character: u32) -> Value {
    let position = json!({ "line": line, "character": character });
    client
        .request("textDocument/completion", json!({ "textDocument": { "uri": uri }, "position": position }))
        .await
}

fn labels(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["label"].as_str().unwrap()).collect()
}

fn project() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for name in ["src/main.c", "src/a b", "docker/run.sh", "dist/x", "Makefile"] {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    fs::write(directory.path().join(".dockerignore"), "dist\n").unwrap();
    directory
}

#[tokio::test]
async fn items_can_be_asked_about() {
    let directory = project();
    let (mut client, uri) = client(&directory, "FROM a\nRUN --mou", json!({})).await;
    let list = complete(&mut client, &uri, 1, 9).await;
    assert_eq!(list["isIncomplete"], false);
    let mut item = list["items"][0].clone();
    item["data"]["uri"] = "file:///x".into();
    assert_json_snapshot!(item, @r#"
    {
      "label": "--mount",
      "kind": 10,
      "detail": "--mount=type=<bind|cache|tmpfs|secret|ssh>[,<option>=<value>…]",
      "sortText": "0000",
      "textEdit": {
        "newText": "--mount=",
        "insert": {
          "start": {
            "line": 1,
            "character": 4
          },
          "end": {
            "line": 1,
            "character": 9
          }
        },
        "replace": {
          "start": {
            "line": 1,
            "character": 4
          },
          "end": {
            "line": 1,
            "character": 9
          }
        }
      },
      "data": {
        "uri": "file:///x",
        "about": {
          "flag": [
            "RUN",
            "mount"
          ]
        }
      }
    }
    "#);
    let explained = client.request("completionItem/resolve", list["items"][0].clone()).await;
    let text = explained["documentation"]["value"].as_str().unwrap();
    assert!(text.starts_with("```dockerfile\n--mount="), "{explained}");
    // Of a document that is not open, and of none that was offered, nothing is said.
    for data in [item["data"].clone(), json!(7), Value::Null] {
        let asked = json!({ "label": "x", "data": data });
        assert_eq!(client.request("completionItem/resolve", asked).await.get("documentation"), None);
    }
    assert_eq!(complete(&mut client, "file:///not/open", 0, 0).await, Value::Null);
    assert_eq!(labels(&complete(&mut client, &uri, 77, 4).await)[0], "--mount", "the end of the text");
}

#[tokio::test]
async fn sources_are_those_of_the_context() {
    let directory = project();
    let text = "FROM a\nCOPY src/\nCOPY ";
    let (mut first, uri) = client(&directory, text, json!({ "context": "." })).await;
    let list = complete(&mut first, &uri, 1, 9).await;
    assert_eq!(labels(&list), ["main.c"]);
    let edit = &list["items"][0]["textEdit"];
    assert_eq!(edit["insert"]["start"]["character"], 9, "{edit}");
    let list = complete(&mut first, &uri, 2, 5).await;
    let paths: Vec<&str> = labels(&list).into_iter().filter(|label| !label.starts_with("--")).collect();
    assert_eq!(paths, [".dockerignore", "Makefile", "docker/", "src/"]);
    // Without a setting the context is the directory of the file.
    let (mut second, uri) = client(&directory, text, json!({})).await;
    let list = complete(&mut second, &uri, 2, 5).await;
    let paths: Vec<&str> = labels(&list).into_iter().filter(|label| !label.starts_with("--")).collect();
    assert_eq!(paths, ["run.sh"]);
}

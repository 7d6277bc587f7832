//! Sessions as a client has them: what it sends, and what it gets.

use std::fmt::Write as _;

use insta::{assert_json_snapshot, assert_snapshot};
use rbx_lsp::Ended;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::client::{Client, URI, edit, framed};

/// The names of an outline, children in parentheses.
fn names(symbols: &Value) -> String {
    let name = |symbol: &Value| {
        let children = symbol.get("children").map(|children| format!("({})", names(children)));
        format!("{}{}", symbol["name"].as_str().unwrap(), children.unwrap_or_default())
    };
    symbols.as_array().unwrap().iter().map(name).collect::<Vec<_>>().join("; ")
}

/// An outline as an editor shows it, with the ranges.
fn outline(symbols: &Value, depth: usize) -> String {
    let place = |place: &Value| format!("{}:{}", place["line"], place["character"]);
    let range = |range: &Value| format!("{}-{}", place(&range["start"]), place(&range["end"]));
    let mut text = String::new();
    for symbol in symbols.as_array().unwrap() {
        let name = symbol["name"].as_str().unwrap();
        let ranges = format!("{} ({})", range(&symbol["range"]), range(&symbol["selectionRange"]));
        let detail = symbol["detail"].as_str().unwrap_or_default();
        let line = format!("{:indent$}{name} [{}] {ranges} {detail}", "", symbol["kind"], indent = 2 * depth);
        writeln!(text, "{}", line.trim_end()).unwrap();
        if let Some(children) = symbol.get("children") {
            text.push_str(&outline(children, depth + 1));
        }
    }
    text
}

#[tokio::test]
async fn the_server_says_what_it_can() {
    let mut client = Client::connect();
    let mut answer = client.initialize(json!({})).await;
    assert_eq!(answer["serverInfo"]["version"].take(), env!("CARGO_PKG_VERSION"));
    assert_json_snapshot!(answer, @r##"
    {
      "capabilities": {
        "positionEncoding": "utf-16",
        "textDocumentSync": {
          "openClose": true,
          "change": 2,
          "save": true
        },
        "selectionRangeProvider": true,
        "hoverProvider": true,
        "completionProvider": {
          "resolveProvider": true,
          "triggerCharacters": [
            " ",
            "=",
            "$",
            "{",
            "-",
            ",",
            "/",
            ":",
            "#"
          ]
        },
        "signatureHelpProvider": {
          "triggerCharacters": [
            " ",
            "=",
            ",",
            "[",
            ":",
            "/"
          ]
        },
        "definitionProvider": true,
        "referencesProvider": true,
        "documentHighlightProvider": true,
        "documentSymbolProvider": true,
        "workspaceSymbolProvider": true,
        "codeLensProvider": {},
        "documentFormattingProvider": true,
        "documentRangeFormattingProvider": true,
        "documentOnTypeFormattingProvider": {
          "firstTriggerCharacter": "\n",
          "moreTriggerCharacter": [
            "\\",
            "`"
          ]
        },
        "renameProvider": true,
        "documentLinkProvider": {},
        "foldingRangeProvider": true,
        "declarationProvider": true,
        "executeCommandProvider": {
          "commands": [
            "rbx.build",
            "rbx.cancel",
            "rbx.platforms",
            "rbx.check",
            "rbx.builders",
            "rbx.setBuilder",
            "rbx.setPlatforms",
            "rbx.state"
          ]
        },
        "workspace": {
          "workspaceFolders": {
            "supported": true,
            "changeNotifications": true
          }
        },
        "semanticTokensProvider": {
          "legend": {
            "tokenTypes": [
              "keyword",
              "property",
              "namespace",
              "variable",
              "class",
              "enumMember",
              "string",
              "number",
              "operator",
              "comment",
              "macro",
              "decorator",
              "function",
              "parameter"
            ],
            "tokenModifiers": [
              "declaration",
              "readonly",
              "defaultLibrary"
            ]
          },
          "range": true,
          "full": {
            "delta": true
          }
        },
        "linkedEditingRangeProvider": true,
        "inlayHintProvider": {
          "resolveProvider": true
        }
      },
      "serverInfo": {
        "name": "rbx-lsp",
        "version": null
      }
    }
    "##);
    assert_eq!(client.end().await, Ended::Orderly);
}

#[tokio::test]
async fn a_client_may_count_in_bytes() {
    let mut client = Client::connect();
    let answer = client.initialize(json!({ "general": { "positionEncodings": ["utf-16", "utf-8"] } })).await;
    assert_eq!(answer["capabilities"]["positionEncoding"], "utf-8");
    client.open("LABEL x=🐳\n").await;
    client.notify("textDocument/didChange", edit(2, (0, 8), (0, 12), "FROM y")).await;
    assert_eq!(names(&client.symbols().await), "LABEL x=FROM y");
}

#[tokio::test]
async fn an_end_without_goodbye() {
    let mut client = Client::connect();
    client.initialize(json!({})).await;
    client.send(&json!({ "jsonrpc": "2.0", "method": "exit" })).await;
    assert_eq!(client.server.await.unwrap(), Ended::Abrupt);
}

#[tokio::test]
async fn errors_are_published_and_taken_back() {
    let mut client = Client::with("FROM alpine\nRUM make\nCOPY --form=x a b\n").await;
    assert_json_snapshot!(client.notification("textDocument/publishDiagnostics").await, @r#"
    {
      "uri": "file:///work/Dockerfile",
      "diagnostics": [
        {
          "range": {
            "start": {
              "line": 1,
              "character": 0
            },
            "end": {
              "line": 1,
              "character": 3
            }
          },
          "severity": 1,
          "source": "rbx",
          "message": "unknown instruction: RUM (did you mean RUN?)",
          "data": {
            "platforms": [
              "linux/amd64"
            ]
          }
        },
        {
          "range": {
            "start": {
              "line": 2,
              "character": 7
            },
            "end": {
              "line": 2,
              "character": 11
            }
          },
          "severity": 1,
          "source": "rbx",
          "message": "unknown flag: --form (did you mean from?)",
          "data": {
            "platforms": [
              "linux/amd64"
            ]
          }
        }
      ],
      "version": 1
    }
    "#);
    client.notify("textDocument/didChange", edit(2, (1, 0), (1, 3), "RUN")).await;
    client.notify("textDocument/didChange", edit(3, (2, 7), (2, 11), "from")).await;
    let published = client.notification("textDocument/publishDiagnostics").await;
    assert_eq!(published, json!({ "uri": URI, "diagnostics": [], "version": 3 }));
    client.notify("textDocument/didClose", json!({ "textDocument": { "uri": URI } })).await;
    let published = client.notification("textDocument/publishDiagnostics").await;
    assert_eq!(published, json!({ "uri": URI, "diagnostics": [] }));
    assert_eq!(client.symbols().await, Value::Null);
}

#[tokio::test]
async fn columns_of_findings_are_utf16() {
    let mut client =
        Client::with("FROM a\r\nRUN echo 🐳🐳 \\\r\n  ü\r\nCOPY --chown=🐳 --nope=x a b\r\n").await;
    let published = client.notification("textDocument/publishDiagnostics").await;
    let range = &published["diagnostics"][0]["range"];
    assert_eq!(range["start"]["line"], 3, "{published}");
    assert_eq!(range["start"]["character"], 18, "{published}");
}

const OUTLINE: &str = "\
# syntax=docker/dockerfile:1
ARG VERSION=1.26
FROM --platform=$BUILDPLATFORM golang:${VERSION} AS build
ARG TARGETARCH
RUN --mount=type=cache,target=/root/.cache \\
    go build \\
      -o /out ./...

FROM scratch
COPY --from=build /out /
ENTRYPOINT [\"/out\"]
";

#[tokio::test]
async fn stages_hold_their_instructions() {
    let mut client = Client::with(OUTLINE).await;
    let symbols = client.symbols().await;
    assert_snapshot!(outline(&symbols, 0), @r#"
    ARG VERSION=1.26 [13] 1:0-1:16 (1:0-1:3)
    build [3] 2:0-6:19 (2:52-2:57) FROM --platform=$BUILDPLATFORM golang:${VERSION} AS build
      ARG TARGETARCH [13] 3:0-3:14 (3:0-3:3)
      RUN --mount=type=cache,target=/root/.cache go build -o /out ./... [12] 4:0-6:19 (4:0-4:3)
    stage 1 [3] 8:0-10:19 (8:0-8:4) FROM scratch
      COPY --from=build /out / [1] 9:0-9:24 (9:0-9:4)
      ENTRYPOINT ["/out"] [12] 10:0-10:19 (10:0-10:10)
    "#);
}

#[tokio::test]
async fn clients_without_trees_get_a_list() {
    let mut client = Client::connect();
    client.initialize(json!({})).await;
    client.open(OUTLINE).await;
    let symbols = client.symbols().await;
    let list: Vec<String> = symbols
        .as_array()
        .unwrap()
        .iter()
        .map(|symbol| {
            let container = symbol.get("containerName").and_then(Value::as_str).unwrap_or("-");
            format!(
                "{container}: {} @{}",
                symbol["name"].as_str().unwrap(),
                symbol["location"]["range"]["start"]["line"]
            )
        })
        .collect();
    assert_snapshot!(list.join("\n"), @r#"
    -: ARG VERSION=1.26 @1
    -: build @2
    build: ARG TARGETARCH @3
    build: RUN --mount=type=cache,target=/root/.cache go build -o /out ./... @4
    -: stage 1 @8
    stage 1: COPY --from=build /out / @9
    stage 1: ENTRYPOINT ["/out"] @10
    "#);
}

#[tokio::test]
async fn outlines_of_odd_files() {
    let mut client = Client::with("").await;
    assert_eq!(client.symbols().await, json!([]));
    client
        .notify(
            "textDocument/didChange",
            edit(2, (0, 0), (0, 0), "nonsense\n\nFROM\nFROM a AS\nRUN <<E\nx\n"),
        )
        .await;
    assert_eq!(names(&client.symbols().await), "nonsense; stage 0; stage 1(RUN <<E)");
}

#[tokio::test]
async fn hover_explains_keywords_and_flags() {
    let mut client = Client::with("# escape=`\nFROM a\nONBUILD copy --from=b --nope c d\n").await;
    // What rules find is explained, too.
    client.notification("textDocument/publishDiagnostics").await;
    assert_json_snapshot!(client.hover(1, 2).await, @r#"
    {
      "contents": {
        "kind": "markdown",
        "value": "```dockerfile\nFROM [--platform=<platform>] <image>[:<tag>|@<digest>] [AS <name>]\n```\n\nBegins a stage on top of an image, an earlier stage or `scratch`, which is empty. What follows, up to the next `FROM`, belongs to the stage. With `AS`, later instructions can refer to it: `FROM name`, `COPY --from=name`, `RUN --mount=from=name`. The last stage is built unless `--target` names another, and of the others only those that it needs.\n\nOnly an `ARG` before the first `FROM` can be used here.\n\n[Reference](https://docs.docker.com/reference/dockerfile/#from)"
      },
      "range": {
        "start": {
          "line": 1,
          "character": 0
        },
        "end": {
          "line": 1,
          "character": 4
        }
      }
    }
    "#);
    let usage =
        |hover: &Value| hover["contents"]["value"].as_str().unwrap().lines().nth(1).unwrap().to_owned();
    assert!(usage(&client.hover(0, 4).await).starts_with("# escape="));
    assert_eq!(usage(&client.hover(2, 0).await), "ONBUILD <instruction>");
    assert!(usage(&client.hover(2, 9).await).starts_with("COPY "));
    assert!(usage(&client.hover(2, 14).await).starts_with("--from="));
    for (line, character) in [(2, 20), (2, 24), (2, 30), (0, 9), (3, 0), (77, 7)] {
        assert_eq!(client.hover(line, character).await, Value::Null, "{line}:{character}");
    }
}

#[tokio::test]
async fn hover_without_markdown_is_plain() {
    let mut client = Client::connect();
    client.initialize(json!({})).await;
    client.open("STOPSIGNAL 9").await;
    assert_json_snapshot!(client.hover(0, 0).await, @r#"
    {
      "contents": {
        "kind": "plaintext",
        "value": "STOPSIGNAL <signal>\n\nThe signal that asks the container to stop, by name (SIGINT) or number. Without it, it is SIGTERM.\n\nhttps://docs.docker.com/reference/dockerfile/#stopsignal"
      },
      "range": {
        "start": {
          "line": 0,
          "character": 0
        },
        "end": {
          "line": 0,
          "character": 10
        }
      }
    }
    "#);
}

#[tokio::test]
async fn answers_are_about_the_newest_text() {
    let mut client = Client::with("FROM scratch AS s\n").await;
    let mut burst = String::new();
    for i in 0..1000 {
        let (from, to) = if i == 0 { ((0, 16), (0, 17)) } else { ((0, 16), (0, 16 + digits(i - 1))) };
        let params = edit(i + 2, from, to, &i.to_string());
        let message = json!({ "jsonrpc": "2.0", "method": "textDocument/didChange", "params": params });
        burst.push_str(&framed(&message));
    }
    let params = json!({ "textDocument": { "uri": URI } });
    let message =
        json!({ "jsonrpc": "2.0", "id": 77, "method": "textDocument/documentSymbol", "params": params });
    burst.push_str(&framed(&message));
    client.output.write_all(burst.as_bytes()).await.unwrap();
    assert_eq!(names(&client.answer(77).await), "999");
    loop {
        let published = client.notification("textDocument/publishDiagnostics").await;
        if published["version"] == 1001 {
            break;
        }
    }
}

fn digits(n: i32) -> u32 {
    u32::try_from(n.to_string().len()).unwrap()
}

#[tokio::test]
async fn many_edits_are_checked_once() {
    let mut client = Client::with("FROM a\n").await;
    for version in 2..=50 {
        client.notify("textDocument/didChange", edit(version, (1, 0), (1, 0), "RUN x\n")).await;
    }
    let mut versions = Vec::new();
    while versions.last() != Some(&50) {
        let published = client.notification("textDocument/publishDiagnostics").await;
        versions.push(published["version"].as_i64().unwrap());
    }
    assert!(versions.len() <= 5, "{versions:?}");
}

#[tokio::test]
async fn several_changes_in_one_message_follow_each_other() {
    let mut client = Client::with("FROM a\n").await;
    let change = json!({
        "textDocument": { "uri": URI, "version": 2 },
        "contentChanges": [
            { "text": "FROM 🐳 AS x\r\n" },
            { "range": { "start": { "line": 0, "character": 11 }, "end": { "line": 0, "character": 12 } }, "text": "yy" },
            { "range": { "start": { "line": 1, "character": 0 }, "end": { "line": 1, "character": 0 } }, "text": "USER 1" },
        ],
    });
    client.notify("textDocument/didChange", change).await;
    assert_eq!(names(&client.symbols().await), "yy(USER 1)");
}

#[tokio::test]
async fn unknown_requests_are_refused() {
    let mut client = Client::with("FROM a\n").await;
    let answer = client.request("textDocument/nonsense", json!({})).await;
    assert_eq!(answer["code"], -32601, "{answer}");
    assert_eq!(client.end().await, Ended::Orderly);
}

#[tokio::test]
async fn other_kinds_of_files_are_left_alone() {
    let mut client = Client::connect();
    client.initialize(json!({})).await;
    let open = |uri: &str, language: &str| {
        let item = json!({ "uri": uri, "languageId": language, "version": 1, "text": "FROM a\nRUM b\n" });
        json!({ "textDocument": item })
    };
    for (uri, language, is_one) in [
        ("file:///work/values.yaml", "yaml", false),
        ("file:///work/notes", "plaintext", false),
        ("file:///work/Dockerfile.md", "", false),
        ("untitled:Untitled-1", "plaintext", false),
        ("untitled:Untitled-2", "Dockerfile", true),
        ("file:///work/image.txt", "CONTAINERFILE", true),
        ("file:///work/api.Dockerfile", "", true),
        ("file:///work/%44ockerfile", "plaintext", true),
        ("file:///work/Containerfile", "docker", true),
    ] {
        client.notify("textDocument/didOpen", open(uri, language)).await;
        let document = json!({ "textDocument": { "uri": uri } });
        let outline = client.request("textDocument/documentSymbol", document).await;
        assert_eq!(!outline.is_null(), is_one, "{uri} {language}: {outline}");
        if is_one {
            // Nothing came of those before.
            let published = client.notification("textDocument/publishDiagnostics").await;
            assert_eq!(published["uri"], uri);
            assert_eq!(published["diagnostics"].as_array().unwrap().len(), 1);
        }
    }
    // Edits of others are no trouble, and a document may become another kind.
    let mut change = edit(2, (0, 0), (0, 1), "x");
    change["textDocument"]["uri"] = "file:///work/notes".into();
    client.notify("textDocument/didChange", change).await;
    client.notify("textDocument/didOpen", open("file:///work/image.txt", "plaintext")).await;
    let published = client.notification("textDocument/publishDiagnostics").await;
    assert_eq!(published, json!({ "uri": "file:///work/image.txt", "diagnostics": [] }));
    assert_eq!(client.pushed(), 0);
}

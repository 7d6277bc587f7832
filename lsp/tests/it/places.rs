//! Where names are given and used.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::client::{Client, shown};

/// What a method answers for each mark, one after another, each after an empty line.
async fn answers(method: &str, text: &str, more: Value) -> String {
    let (mut client, places) = Client::with_marks(text).await;
    let mut answers = Vec::new();
    for place in &places {
        answers.push(shown(&client.ask(method, place, more.clone()).await));
    }
    answers.join("\n\n")
}

/// Marks: the name of a base; `--from` by name and number; a mount; a base with a variable.
const STAGES: &str = "\
FROM golang AS Build-amd64
FROM ‸build-amd64 AS two
COPY --from=BUILD‸-amd64 --chown=1 a b
COPY --from=‸0 a b
RUN --mount=type=bind,from=two‸ true
FROM build-‸$TARGETARCH
COPY --from=‸2 a b
";

#[tokio::test]
async fn stages_are_found() {
    assert_snapshot!(answers("textDocument/definition", STAGES, json!({})).await, @r"
    0:15-0:26

    0:15-0:26

    0:15-0:26

    1:20-1:23

    0:15-0:26

    5:0-5:4
    ");
    let with = json!({ "context": { "includeDeclaration": true } });
    assert_snapshot!(answers("textDocument/references", "FROM a AS ‸x\nFROM x-$B\nFROM x\nCOPY --from=0 a b\nFROM $X-x\n", with).await, @r"
    0:10-0:11
    2:5-2:6
    3:12-3:13
    ");
}

/// Marks: a use, the `ARG` it means, the one before the first `FROM`, a shell's use, one of a `CMD`, one in a heredoc.
const VARIABLES: &str = "\
ARG VERSION=1
FROM golang:${‸VERSION}
ARG ‸VERSION
RUN echo \"$V‸ERSION\"
ENV V=${VERSION:-$NONE‸}
CMD echo $‸V
COPY <<EOF /x
‸$V
EOF‸
ARG ‸VERSION=2
";

#[tokio::test]
async fn variables_are_found() {
    assert_snapshot!(answers("textDocument/definition", VARIABLES, json!({})).await, @r"
    0:4-0:11

    0:4-0:11

    2:4-2:11

    null

    4:4-4:5

    4:4-4:5

    6:7-6:10

    9:4-9:11
    ");
    assert_snapshot!(answers("textDocument/declaration", VARIABLES, json!({})).await, @r"
    0:4-0:11

    0:4-0:11

    0:4-0:11

    null

    4:4-4:5

    4:4-4:5

    6:7-6:10

    9:4-9:11
    ");
    let with = json!({ "context": { "includeDeclaration": true } });
    let without = json!({ "context": { "includeDeclaration": false } });
    assert_snapshot!(answers("textDocument/references", "ARG A=$B\nFROM a:$‸A\nENV B=1\nRUN $B\n", with).await, @r"
    0:4-0:5
    1:8-1:9
    ");
    assert_snapshot!(answers("textDocument/references", VARIABLES, without).await, @r"
    1:14-1:21
    3:11-3:18
    4:8-4:15

    1:14-1:21
    3:11-3:18
    4:8-4:15

    1:14-1:21
    3:11-3:18
    4:8-4:15

    4:18-4:22

    5:10-5:11
    7:1-7:2

    5:10-5:11
    7:1-7:2

    8:0-8:3

    1:14-1:21
    3:11-3:18
    4:8-4:15
    ");
}

#[tokio::test]
async fn highlights_tell_writing_from_reading() {
    let text = "ARG A=1\nFROM a:$A AS s‸\nARG A\nENV A=${‸A}\nRUN <<‸X cat\n$A\nX\nFROM s\nFROM $A\n";
    assert_snapshot!(answers("textDocument/documentHighlight", text, json!({})).await, @r#"
    [
      {
        "range": "1:13-1:14",
        "kind": 3
      },
      {
        "range": "7:5-7:6",
        "kind": 2
      }
    ]

    [
      {
        "range": "0:4-0:5",
        "kind": 3
      },
      {
        "range": "1:8-1:9",
        "kind": 2
      },
      {
        "range": "2:4-2:5",
        "kind": 3
      },
      {
        "range": "3:4-3:5",
        "kind": 3
      },
      {
        "range": "3:8-3:9",
        "kind": 2
      },
      {
        "range": "5:1-5:2",
        "kind": 2
      },
      {
        "range": "8:6-8:7",
        "kind": 2
      }
    ]

    [
      {
        "range": "4:6-4:7",
        "kind": 3
      },
      {
        "range": "6:0-6:1",
        "kind": 1
      }
    ]
    "#);
}

#[tokio::test]
async fn clients_may_take_links() {
    let mut client = Client::connect();
    client.initialize(json!({ "textDocument": { "definition": { "linkSupport": true } } })).await;
    client.open("FROM a \\\n  AS x\nFROM x\n").await;
    let place = json!({ "line": 2, "character": 5 });
    assert_snapshot!(shown(&client.ask("textDocument/definition", &place, json!({})).await), @r#"
    [
      {
        "originSelectionRange": "2:5-2:6",
        "targetUri": "file:///work/Dockerfile",
        "targetRange": "0:0-1:6",
        "targetSelectionRange": "1:5-1:6"
      }
    ]
    "#);
}

#[tokio::test]
async fn images_addresses_and_files_can_be_opened() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("d")).unwrap();
    for name in ["a.txt", "d/b c"] {
        std::fs::write(directory.path().join(name), "").unwrap();
    }
    let text = "# syntax=docker/dockerfile:1 x\nFROM golang:$V AS s\nFROM s\nFROM ghcr.io/o/i:1\nFROM quay.io/a/b\nFROM mcr.microsoft.com/dotnet/sdk:9.0\nFROM public.ecr.aws/lambda/go\nFROM other.test/a\nFROM $X\nFROM scratch\nCOPY --from=s a.txt b\nCOPY --from=0 a.txt b\nCOPY --from=nginx a.txt /\nRUN --mount=type=bind,from=node:1,target=/x true\nCOPY a.txt d none ../d/b $Y <<E /\nE\nADD [\"/d/../d/b c\", \"https://example.test/x\", \"http://example.test/$Y\", \"/\"]\nONBUILD COPY ./a.txt /\n";
    let uri = format!("file://{}/Dockerfile", directory.path().display());
    let mut client = Client::connect();
    client.initialize(json!({})).await;
    let item = json!({ "uri": uri, "languageId": "dockerfile", "version": 1, "text": text });
    client.notify("textDocument/didOpen", json!({ "textDocument": item })).await;
    let links = client.request("textDocument/documentLink", json!({ "textDocument": { "uri": uri } })).await;
    let link = |link: &Value| format!("{} {}", shown(&link["range"]), link["target"].as_str().unwrap());
    let links: Vec<String> = links.as_array().unwrap().iter().map(link).collect();
    let place = directory.path().display().to_string();
    assert_snapshot!(links.join("\n").replace(&place, "$CONTEXT"), @r"
    0:9-0:28 https://hub.docker.com/r/docker/dockerfile
    1:5-1:14 https://hub.docker.com/_/golang
    3:5-3:18 https://ghcr.io/o/i
    4:5-4:16 https://quay.io/repository/a/b
    5:5-5:37 https://mcr.microsoft.com/artifact/mar/dotnet/sdk
    6:5-6:29 https://gallery.ecr.aws/lambda/go
    12:12-12:17 https://hub.docker.com/_/nginx
    13:27-13:33 https://hub.docker.com/_/node
    14:5-14:10 file://$CONTEXT/a.txt
    16:5-16:18 file://$CONTEXT/d/b%20c
    16:20-16:44 https://example.test/x
    17:13-17:20 file://$CONTEXT/a.txt
    ");
}

//! What belongs together: foldings, selections, places that are edited as one.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::client::{Client, URI, marked, shown};

async fn folds(client: &mut Client) -> String {
    let folds = client.request("textDocument/foldingRange", json!({ "textDocument": { "uri": URI } })).await;
    let fold = |fold: &Value| {
        let kind = fold["kind"].as_str().map(|kind| format!(" {kind}")).unwrap_or_default();
        format!("{}-{}{kind}", fold["startLine"], fold["endLine"])
    };
    folds.as_array().unwrap().iter().map(fold).collect::<Vec<_>>().join("\n")
}

const FOLDS: &str = "\
# one
# two
ARG A \\
  B
# region all of it
FROM a
RUN b \\
 # c
 # d
 e
#region: inner
RUN cat <<E \\
  f <<F && g
h
E
F
#endregion
FROM i
RUN <<J
k
J
# endregion
# l

# m
# endregion
RUN <<OPEN
n
";

#[tokio::test]
async fn parts_of_several_lines_can_be_folded() {
    let mut client = Client::with(FOLDS).await;
    assert_snapshot!(folds(&mut client).await, @r"
    0-1 comment
    2-3
    4-21 region
    5-15
    6-9
    7-8 comment
    10-16 region
    11-12
    12-14
    14-15
    17-27
    18-20
    26-27
    ");
    let mut client = Client::connect();
    client.initialize(json!({ "textDocument": { "foldingRange": { "rangeLimit": 3 } } })).await;
    client.open(FOLDS).await;
    assert_snapshot!(folds(&mut client).await, @r"
    4-21 region
    5-15
    17-27
    ");
    let mut client = Client::with("FROM a \\\r\n  AS b\r\nRUN <<E\r\nE\r\n").await;
    assert_snapshot!(folds(&mut client).await, @r"
    0-3
    0-1
    2-3
    ");
}

/// What a selection at each mark grows to, from the inside out.
async fn selections(text: &str) -> String {
    let (text, places) = marked(text);
    let mut client = Client::with(&text).await;
    let params = json!({ "textDocument": { "uri": URI }, "positions": places });
    let answer = client.request("textDocument/selectionRange", params).await;
    let mut lines = Vec::new();
    for chain in answer.as_array().unwrap() {
        let mut at = Some(chain);
        while let Some(range) = at {
            lines.push(shown(&range["range"]));
            at = range.get("parent");
        }
        lines.push(String::new());
    }
    lines.join("\n").trim_end().to_owned()
}

#[tokio::test]
async fn selections_grow() {
    assert_snapshot!(selections("# syntax=x\nFROM a\n# what\nRUN --mount=type=bind,fr‸om=x echo \"${V:-wor‸d}\" \\\n  && b\nFROM b\nENV A=1 ‸C=\"d e\"\n").await, @r"
    3:22-3:26
    3:12-3:28
    3:4-3:28
    3:0-3:48
    3:0-4:6
    2:0-4:6
    1:0-4:6
    0:0-7:0

    3:40-3:44
    3:39-3:44
    3:34-3:46
    3:0-3:48
    3:0-4:6
    2:0-4:6
    1:0-4:6
    0:0-7:0

    6:8-6:9
    6:8-6:12
    6:8-6:15
    6:4-6:15
    6:0-6:15
    5:0-6:15
    0:0-7:0
    ");
    assert_snapshot!(selections("FROM a\n# so‸me words\n\n‸\nRUN <<E\n ec‸ho 1\nE\n").await, @r"
    1:2-1:6
    1:0-1:12
    0:0-6:1
    0:0-7:0

    0:0-6:1
    0:0-7:0

    5:1-5:5
    5:1-5:7
    5:0-6:0
    5:0-6:1
    4:0-6:1
    1:0-6:1
    0:0-6:1
    0:0-7:0
    ");
    assert_snapshot!(selections("‸").await, @"0:0-0:0");
}

#[tokio::test]
async fn some_names_are_edited_together() {
    let text = "FROM a AS ‸x\nFROM x\nCOPY --from=X a b\nCOPY --from=‸0 a b\nARG ‸V=$V\nRUN <<'E‸ND'\n$V\nEND\nFROM b AS ‸alone\n";
    let (mut client, places) = Client::with_marks(text).await;
    let mut answers = Vec::new();
    for place in &places {
        answers.push(shown(&client.ask("textDocument/linkedEditingRange", place, json!({})).await));
    }
    assert_snapshot!(answers.join("\n"), @r#"
    {
      "ranges": [
        "0:10-0:11",
        "1:5-1:6"
      ],
      "wordPattern": "[A-Za-z][A-Za-z0-9._-]*"
    }
    null
    null
    {
      "ranges": [
        "5:7-5:10",
        "7:0-7:3"
      ],
      "wordPattern": "[A-Za-z0-9._-]+"
    }
    null
    "#);
}

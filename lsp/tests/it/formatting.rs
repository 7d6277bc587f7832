//! Documents as they are to look.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::client::{Client, URI};
use crate::edits::made;

const UNTIDY: &str = "\
FROM  alpine as build
# 🐳  \n  run  echo '🐳  🐳'  \\

 && echo  ü\\
\t&& true
FROM scratch


COPY  --from=build   /a /b
";

fn options() -> Value {
    json!({ "tabSize": 4, "insertSpaces": true })
}

impl Client {
    async fn formatted(&mut self, options: Value) -> Value {
        let params = json!({ "textDocument": { "uri": URI }, "options": options });
        self.request("textDocument/formatting", params).await
    }

    async fn range_formatted(&mut self, from: (u32, u32), to: (u32, u32)) -> Value {
        let place = |(line, character)| json!({ "line": line, "character": character });
        let range = json!({ "start": place(from), "end": place(to) });
        let params = json!({ "textDocument": { "uri": URI }, "range": range, "options": options() });
        self.request("textDocument/rangeFormatting", params).await
    }

    /// What is edited when a character was typed, after which the cursor is at a place.
    async fn typed(&mut self, character: &str, line: u32, column: u32) -> Value {
        let params = json!({
            "textDocument": { "uri": URI },
            "position": { "line": line, "character": column },
            "ch": character,
            "options": options(),
        });
        self.request("textDocument/onTypeFormatting", params).await
    }
}

#[tokio::test]
async fn a_document_is_formatted() {
    let mut client = Client::with(UNTIDY).await;
    let edits = client.formatted(options()).await;
    let after = made(UNTIDY, &edits, false);
    assert_snapshot!(after, @r"
    FROM alpine AS build
    # 🐳
    RUN echo '🐳  🐳' \
        && echo  ü \
            && true

    FROM scratch

    COPY --from=build /a /b
    ");
    let edits = client.formatted(json!({ "tabSize": 8, "insertSpaces": false })).await;
    assert!(made(UNTIDY, &edits, false).contains("\n\t&& echo  ü \\\n\t\t&& true"));
    // It is never the whole document, and an editor that wants lines as they are gets them so.
    let lines = |edit: &Value| {
        edit["range"]["end"]["line"].as_u64().unwrap() - edit["range"]["start"]["line"].as_u64().unwrap()
    };
    assert!(edits.as_array().unwrap().iter().all(|edit| lines(edit) <= 1));
    let keep = json!({ "tabSize": 4, "insertSpaces": true, "trimTrailingWhitespace": false });
    assert!(made(UNTIDY, &client.formatted(keep).await, false).contains("# 🐳  \n"));
}

#[tokio::test]
async fn columns_of_edits_may_be_bytes() {
    let mut client = Client::connect();
    client.initialize(json!({ "general": { "positionEncodings": ["utf-8"] } })).await;
    client.open(UNTIDY).await;
    let bytes = made(UNTIDY, &client.formatted(options()).await, true);
    let mut client = Client::with(UNTIDY).await;
    assert_eq!(bytes, made(UNTIDY, &client.formatted(options()).await, false));
}

#[tokio::test]
async fn a_range_is_formatted_and_nothing_else() {
    let mut client = Client::with(UNTIDY).await;
    let edits = client.range_formatted((4, 1), (6, 0)).await;
    assert_snapshot!(made(UNTIDY, &edits, false), @r"
    FROM  alpine as build
    # 🐳  
      run  echo '🐳  🐳'  \

        && echo  ü \
            && true
    FROM scratch


    COPY  --from=build   /a /b
    ");
    assert_eq!(client.range_formatted((7, 0), (7, 0)).await.as_array().unwrap().len(), 0);
    let everything = client.range_formatted((0, 0), (99, 0)).await;
    assert_eq!(everything, client.formatted(options()).await);
}

#[tokio::test]
async fn lines_are_indented_while_they_are_written() {
    let text = "FROM a\nRUN b \\\n\n";
    let mut client = Client::with(text).await;
    let edits = client.typed("\n", 2, 0).await;
    assert_eq!(made(text, &edits, false), "FROM a\nRUN b \\\n    \n");
    assert_eq!(client.typed("\n", 1, 0).await, json!([]));

    // What an escape character makes a part of the instruction, and what is parted by a new line.
    for (text, character, line, after) in [
        ("FROM a\nRUN b\\\n c\n", "\\", 1, "FROM a\nRUN b \\\n    c\n"),
        ("FROM a\nRUN b\\\n", "\\", 1, "FROM a\nRUN b \\\n"),
        ("FROM a\nRUN b\\\nc\n", "\\", 1, "FROM a\nRUN b\\\nc\n"),
        ("FROM a\nRUN b\\ c\n", "\\", 1, "FROM a\nRUN b\\ c\n"),
        ("FROM a\nRUN b \\\nc  d\n", "\n", 2, "FROM a\nRUN b \\\n    c  d\n"),
        ("# escape=`\nFROM a\nENV A=b`\n C=d\n", "`", 2, "# escape=`\nFROM a\nENV A=b `\n    C=d\n"),
        ("FROM a\nRUN b`\n", "`", 1, "FROM a\nRUN b`\n"),
        ("FROM a\nRUN <<E\n\n x\nE\n", "\n", 2, "FROM a\nRUN <<E\n\n x\nE\n"),
    ] {
        let mut client = Client::with(text).await;
        let edits = client.typed(character, line, 0).await;
        assert_eq!(made(text, &edits, false), after, "{text}");
    }
}

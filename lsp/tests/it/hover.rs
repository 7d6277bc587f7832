//! What is said about words.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::client::Client;

/// What is said at the mark, with its range before it.
async fn hover(text: &str) -> String {
    hover_for(text, "linux/amd64,linux/arm64,linux/arm/v7", "markdown").await
}

async fn hover_for(text: &str, platforms: &str, format: &str) -> String {
    let before = &text[..text.find('‸').unwrap()];
    let line = before.matches('\n').count();
    let column = before.rsplit('\n').next().unwrap().encode_utf16().count();
    let mut client = Client::connect();
    let capabilities = json!({ "textDocument": { "hover": { "contentFormat": [format] } } });
    let options = json!({ "platforms": platforms, "buildFlags": ["--build-arg", "GIVEN=yes"] });
    client.initialize_with(json!({ "capabilities": capabilities, "initializationOptions": options })).await;
    client.open(&text.replace('‸', "")).await;
    let answer = client.hover(u32::try_from(line).unwrap(), u32::try_from(column).unwrap()).await;
    if answer.is_null() {
        return "nothing".to_owned();
    }
    let place = |place: &Value| format!("{}:{}", place["line"], place["character"]);
    let range = &answer["range"];
    let value = answer["contents"]["value"].as_str().unwrap();
    format!("{}-{}\n{value}", place(&range["start"]), place(&range["end"]))
}

#[tokio::test]
async fn variables_have_their_values() {
    let text = "ARG V=1.2\nFROM a:${‸V} AS b\n";
    assert_snapshot!(hover(text).await, @"
    1:9-1:10
    **V**

    `1.2`, the default in line 1, on all platforms
    ");
    let text = "FROM a\nARG TARGETARCH\nARG TARGETVARIANT\nRUN get 🐳 $TARGET‸ARCH${TARGETVARIANT}\n";
    assert_snapshot!(hover(text).await, @"
    3:12-3:22
    **TARGETARCH**

    The architecture that the image is for: `arm` of `linux/arm/v7`.

    - linux/amd64: `amd64`, set by the builder
    - linux/arm64: `arm64`, set by the builder
    - linux/arm/v7: `arm`, set by the builder
    ");
    let text = "FROM a\nARG TARGETVARIANT\nRUN ${TARGETVARIANT‸:-none}\n";
    assert_snapshot!(hover(text).await, @"
    2:6-2:19
    **TARGETVARIANT**

    The variant of the architecture that the image is for: `v7` of `linux/arm/v7`. Often empty.

    - linux/amd64, linux/arm64: empty, set by the builder
    - linux/arm/v7: `v7`, set by the builder
    ");
    // Where it is set, what it is then.
    assert_snapshot!(hover("FROM a\nENV A=1\nENV A‸=$A:2 B=$A\n").await, @"
    2:4-2:5
    **A**

    `1:2`, by `ENV` in line 3, on all platforms
    ");
    assert_snapshot!(hover("FROM a\nARG GIVEN‸=no\n").await, @"
    1:4-1:9
    **GIVEN**

    `yes`, given by `--build-arg`, on all platforms
    ");
    // Not declared, with a value that is not for a line, and one that is no variable.
    assert_snapshot!(hover("ARG V=1\nFROM a\nCOPY $V‸ /\n").await, @"
    2:6-2:7
    **V**

    unset, on all platforms
    ");
    assert_snapshot!(hover("FROM a\nENV A=\"a`b\\\n c\"\nUSER $‸A\n").await, @"
    3:6-3:7
    **A**

    `` a`b c ``, by `ENV` in line 2, on all platforms
    ");
    assert_snapshot!(hover("FROM a\nENV A=\"\"\nRUN $A‸\n").await, @"
    2:5-2:6
    **A**

    empty, by `ENV` in line 2, on all platforms
    ");
    assert_snapshot!(hover("FROM a\nRUN \\$A‸ x\n").await, @"nothing");
}

#[tokio::test]
async fn words_are_expanded() {
    let text = "ARG V=1.2\nFROM tools‸-$TARGETARCH:$V AS b\n";
    assert_snapshot!(hover(text).await, @"
    1:5-1:25
    **tools-$TARGETARCH:$V**

    - linux/amd64: `tools-amd64:1.2`
    - linux/arm64: `tools-arm64:1.2`
    - linux/arm/v7: `tools-arm:1.2`
    ");
    assert_snapshot!(hover_for(text, "linux/s390x", "plaintext").await, @"
    1:5-1:25
    tools-$TARGETARCH:$V

    tools-s390x:1.2
    ");
    assert_snapshot!(hover("FROM a\nARG D=/d\nCOPY --from=b x $D/\\\n‸y\n").await, @"
    2:16-3:1
    **$D/y**

    `/d/y`, on all platforms
    ");
    assert_snapshot!(hover("FROM a\nUSER ${x‸").await, @"
    1:7-1:8
    **x**

    unset, on all platforms
    ");
}

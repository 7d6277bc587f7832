//! Names are changed.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::client::{Client, marked, shown};

/// A text with edits made, which come in order of the text.
fn applied(text: &str, edits: &Value) -> String {
    let mut lines: Vec<Vec<u16>> = text.split('\n').map(|line| line.encode_utf16().collect()).collect();
    for edit in edits.as_array().unwrap().iter().rev() {
        let number = |value: &Value| usize::try_from(value.as_u64().unwrap()).unwrap();
        let (start, end) = (&edit["range"]["start"], &edit["range"]["end"]);
        assert_eq!(start["line"], end["line"], "{edit}");
        let range = number(&start["character"])..number(&end["character"]);
        let new: Vec<u16> = edit["newText"].as_str().unwrap().encode_utf16().collect();
        lines[number(&start["line"])].splice(range, new);
    }
    lines.iter().map(|line| String::from_utf16(line).unwrap()).collect::<Vec<_>>().join("\n")
}

/// The text after what is at the mark got another name, or why not.
async fn renamed(text: &str, name: &str) -> String {
    let (mut client, places) = Client::with_marks(text).await;
    let answer = client.ask("textDocument/rename", &places[0], json!({ "newName": name })).await;
    match answer.get("message") {
        Some(message) => {
            assert_eq!(answer["code"], -32803);
            message.as_str().unwrap().to_owned()
        }
        None => applied(&marked(text).0, &answer["changes"][crate::client::URI]),
    }
}

#[tokio::test]
async fn stages_get_other_names() {
    let text = "FROM a AS ‸Build\nFROM build AS two\nCOPY --from=BUILD --chown=1 a b\nCOPY --from=0 a b\nRUN --mount=from=build,target=/b true\nFROM build\nFROM a AS xbuild\n";
    assert_snapshot!(renamed(text, "Compile").await, @r"
    FROM a AS Compile
    FROM compile AS two
    COPY --from=Compile --chown=1 a b
    COPY --from=0 a b
    RUN --mount=from=Compile,target=/b true
    FROM compile
    FROM a AS xbuild
    ");
    assert_snapshot!(renamed("FROM a AS x\nFROM x\nFROM b AS ‸x\nCOPY --from=x a b\n", "y").await, @r"
    FROM a AS x
    FROM x
    FROM b AS y
    COPY --from=y a b
    ");
    assert_snapshot!(renamed("# escape=`\nFROM a AS bu`\n  # why\nild\nCOPY --from=‸build a b\n", "x").await, @r"
    # escape=`
    FROM a AS `
      # why
    x
    COPY --from=x a b
    ");
}

#[tokio::test]
async fn variables_get_other_names() {
    let text = "ARG VERSION=1\nARG URL=http://x/$VERSION\nFROM go:${‸VERSION:-2}\nARG VERSION\nRUN echo \"$VERSION\" '$VERSION' $VERSION_ && cat <<E\n${VERSION#v} \\$VERSION\nE\nENV V=${VERSION}\nCOPY <<F /x\n$VERSION\nF\nFROM other\nARG VERSION=3\nENV X=$VERSION\n";
    assert_snapshot!(renamed(text, "NEW").await, @r#"
    ARG NEW=1
    ARG URL=http://x/$NEW
    FROM go:${NEW:-2}
    ARG NEW
    RUN echo "$NEW" '$VERSION' $VERSION_ && cat <<E
    ${NEW#v} \$VERSION
    E
    ENV V=${NEW}
    COPY <<F /x
    $NEW
    F
    FROM other
    ARG NEW=3
    ENV X=$NEW
    "#);
    assert_snapshot!(renamed("FROM a\nENV ‸A=1 B=2\nCMD echo $A $B\nONBUILD RUN echo $A\nFROM b\nENV A=1\nRUN $A\n", "X").await, @r"
    FROM a
    ENV X=1 B=2
    CMD echo $X $B
    ONBUILD RUN echo $X
    FROM b
    ENV A=1
    RUN $A
    ");
    // What a script sets itself is its own.
    assert_snapshot!(renamed("FROM a\nARG ‸A\nRUN A=${A#v} && echo $A\n", "X").await, @r"
    FROM a
    ARG X
    RUN A=${X#v} && echo $A
    ");
}

#[tokio::test]
async fn heredocs_get_other_names() {
    assert_snapshot!(renamed("FROM a\nRUN <<-‸EOF cat && cat <<'EOF'\nx\n\tEOF\n$EOF EOF\nEOF\n", "END").await, @r"
    FROM a
    RUN <<-END cat && cat <<'EOF'
    x
    	END
    $EOF EOF
    EOF
    ");
    assert_snapshot!(renamed("FROM a\nCOPY <<\"a.txt\" /x/\nb\na.txt‸\n", "b.txt").await, @r#"
    FROM a
    COPY <<"b.txt" /x/
    b
    b.txt
    "#);
}

#[tokio::test]
async fn renames_that_change_the_meaning_are_refused() {
    let cases = [
        ("‸FROM a", "x"),
        ("FROM ‸a", "x"),
        ("FROM a AS ‸x\n", "0x"),
        ("FROM a AS ‸x\n", "x y"),
        ("FROM a AS ‸x\n", "Scratch"),
        ("FROM a AS ‸x\nFROM b AS y\n", "Y"),
        ("FROM a AS ‸x\nFROM b\nCOPY --from=B /c /d\n", "b"),
        ("FROM a AS ‸x\nRUN --mount=type=bind,from=img true\n", "IMG"),
        ("FROM a AS x\nFROM b\nCOPY --from=‸0 c d\nFROM x-$TARGETARCH\n", "y"),
        ("FROM b\nFROM c\nCOPY --from=‸0 c d\n", "y"),
        ("FROM a AS b-‸x\nFROM b-$TARGETARCH\n", "y"),
        ("FROM a AS ‸x\nFROM b-$TARGETARCH\n", "b-arm64"),
        ("FROM a\nARG TARGETARCH‸\n", "ARCH"),
        ("FROM a\nARG ‸A\n", "TARGETARCH"),
        ("FROM a\nARG ‸A\n", "1A"),
        ("FROM a\nARG ‸A\n", "A-B"),
        ("FROM a\nARG ‸A\n", ""),
        ("FROM a\nARG ‸A B\n", "B"),
        ("FROM a\nENV ‸A=$A\n", "B"),
        ("FROM a\nRUN true\nUSER $‸A\n", "B"),
        ("FROM a\nARG ‸A\nRUN if b; then A=1; fi; echo $A\n", "B"),
        ("FROM a\nARG ‸A\nRUN . /etc/os-release && echo $A\n", "B"),
        ("FROM a\nARG ‸A\nRUN B=1 && echo $A $B\n", "B"),
        ("FROM a\nARG ‸A\nRUN for B in 1; do echo $A $B; done\n", "B"),
        ("FROM a\nARG ‸A\nRUN echo $B\n", "B"),
        ("FROM a\nARG A=1\nLABEL x=[\"\\u0041\"]\nVOLUME [\"$\\u0041\"]\nUSER $‸A\n", "B"),
        ("FROM a\nRUN <<‸A\nB\nA\n", "B"),
        ("FROM a\nRUN <<‸A\nB\nA\n", "B C"),
    ];
    let mut answers = Vec::new();
    for (text, name) in cases {
        answers.push(renamed(text, name).await);
    }
    assert_snapshot!(answers.join("\n"), @r#"
    here is no name
    here is no name
    invalid name for build stage: "0x", name can't start with a number or contain symbols
    invalid name for build stage: "x y", name can't start with a number or contain symbols
    scratch is reserved
    there is a stage y already
    b is an image on line 2
    img is an image on line 2
    FROM a AS y
    FROM b
    COPY --from=0 c d
    FROM x-$TARGETARCH

    the stage has no name
    b-x may be what b-$TARGETARCH means on line 2
    with the name b-arm64 this file would mean something else
    TARGETARCH is the builder's name for it
    TARGETARCH has a meaning of its own
    "1A" is no name of a variable: letters, digits and underscores
    "A-B" is no name of a variable: letters, digits and underscores
    "" is no name of a variable: letters, digits and underscores
    there is a variable B already, on line 2
    A is read on line 2 where nothing in this file sets it: it may be the base image's
    nothing in this file sets A
    A is perhaps a variable of the shell on line 3
    A is perhaps a variable of the shell on line 3
    with the name B this file would mean something else
    with the name B this file would mean something else
    with the name B this file would mean something else
    A is written with escapes on line 4
    with the name B this file would mean something else
    "B C" cannot end a heredoc: letters, digits, underscores, dots and dashes
    "#);
}

#[tokio::test]
async fn a_rename_can_be_prepared() {
    let text = "FROM ‸a AS ‸xy\nARG TARGETARCH‸ B\nRUN echo ${‸B}\n‸";
    let (mut client, places) = Client::with_marks(text).await;
    let mut answers = Vec::new();
    for place in &places {
        answers.push(shown(&client.ask("textDocument/prepareRename", place, json!({})).await));
    }
    assert_snapshot!(answers.join("\n"), @r#"
    null
    {
      "range": "0:10-0:12",
      "placeholder": "xy"
    }
    {
      "code": -32803,
      "message": "TARGETARCH is the builder's name for it"
    }
    {
      "range": "2:11-2:12",
      "placeholder": "B"
    }
    null
    "#);
}

#[tokio::test]
async fn edits_are_of_a_version_where_clients_know_versions() {
    let mut client = Client::connect();
    let capabilities = json!({
        "workspace": { "workspaceEdit": { "documentChanges": true } },
        "textDocument": { "rename": { "prepareSupport": true } },
    });
    let answer = client.initialize(capabilities).await;
    assert_eq!(answer["capabilities"]["renameProvider"], json!({ "prepareProvider": true }));
    client.open("FROM a AS 🐳x\nFROM b AS ü AS x\nARG A=🐳$B\nUSER '🐳'$A\n").await;
    let place = json!({ "line": 2, "character": 5 });
    assert_snapshot!(shown(&client.ask("textDocument/rename", &place, json!({ "newName": "NEW" })).await), @r#"
    {
      "documentChanges": [
        {
          "textDocument": {
            "uri": "file:///work/Dockerfile",
            "version": 1
          },
          "edits": [
            "2:4-2:5 \"NEW\"",
            "3:10-3:11 \"NEW\""
          ]
        }
      ]
    }
    "#);
}

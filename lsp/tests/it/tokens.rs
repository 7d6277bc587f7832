//! Semantic tokens.

use std::fmt::Write as _;

use insta::assert_snapshot;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::client::{Client, URI, edit};

/// A token with its place: line, column, length, type, modifiers.
type Token = [u64; 5];

impl Client {
    async fn tokens(&mut self, method: &str, more: Value) -> Value {
        let mut params = json!({ "textDocument": { "uri": URI } });
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.request(&format!("textDocument/semanticTokens/{method}"), params).await
    }
}

fn numbers(value: &Value) -> Vec<u64> {
    value.as_array().unwrap().iter().map(|number| number.as_u64().unwrap()).collect()
}

/// Tokens with places that are counted from the beginning.
fn placed(data: &[u64]) -> Vec<Token> {
    let (mut line, mut start) = (0, 0);
    data.chunks(5)
        .map(|token| {
            start = if token[0] == 0 { start + token[1] } else { token[1] };
            line += token[0];
            [line, start, token[2], token[3], token[4]]
        })
        .collect()
}

/// What a token covers.
fn slice(text: &str, token: &Token) -> String {
    let number = |n: u64| usize::try_from(n).unwrap();
    let line: Vec<u16> = text.split('\n').nth(number(token[0])).unwrap().encode_utf16().collect();
    String::from_utf16(&line[number(token[1])..number(token[1] + token[2])]).unwrap()
}

/// Each line of a text, and under it its tokens.
async fn painted(text: &str) -> String {
    let mut client = Client::connect();
    let answer = client.initialize(json!({})).await;
    let legend = &answer["capabilities"]["semanticTokensProvider"]["legend"];
    client.open(text).await;
    let answer = client.tokens("full", json!({})).await;
    let tokens = placed(&numbers(&answer["data"]));
    let mut out = String::new();
    let mut at = 0;
    for (number, line) in text.split('\n').enumerate() {
        writeln!(out, "{line}").unwrap();
        while let Some(token) = tokens.get(at).filter(|token| token[0] == u64::try_from(number).unwrap()) {
            let mut kind =
                legend["tokenTypes"][usize::try_from(token[3]).unwrap()].as_str().unwrap().to_owned();
            for (bit, modifier) in legend["tokenModifiers"].as_array().unwrap().iter().enumerate() {
                if token[4] & (1 << bit) != 0 {
                    write!(kind, ".{}", modifier.as_str().unwrap()).unwrap();
                }
            }
            writeln!(out, "    {kind} {}", slice(text, token)).unwrap();
            at += 1;
        }
    }
    assert_eq!(at, tokens.len());
    out
}

#[tokio::test]
async fn the_language_has_tokens() {
    let text = "# syntax=docker/dockerfile:1\n# a comment\nARG V=1.2 W=\"a $V\"\nFROM --platform=$BUILDPLATFORM ghcr.io:5000/a/b:${V}-x@sha256:0 AS build\nCOPY --from=build --chmod=755 a \"b $V\" /c\nRUN --mount=type=cache,target=/d,from=build true\nEXPOSE 80/tcp\nLABEL x.y=\"z\"\nHEALTHCHECK --retries=3 CMD e\nONBUILD USER $V\nENTRYPOINT [\"f\", \"g\"]\nSTOPSIGNAL SIGINT\nFROM build\nNOPE x\n";
    assert_snapshot!(painted(text).await, @r#"
    # syntax=docker/dockerfile:1
        comment #
        decorator syntax
        comment =
        string docker/dockerfile:1
    # a comment
        comment # a comment
    ARG V=1.2 W="a $V"
        keyword ARG
        variable.declaration V
        operator =
        number 1.2
        variable.declaration W
        operator =
        string "a
        variable $V
        string "
    FROM --platform=$BUILDPLATFORM ghcr.io:5000/a/b:${V}-x@sha256:0 AS build
        keyword FROM
        property --platform
        operator =
        variable.readonly.defaultLibrary $BUILDPLATFORM
        class ghcr.io:5000/a/b
        operator :
        variable ${V}
        enumMember -x
        operator @
        number sha256:0
        keyword AS
        namespace.declaration build
    COPY --from=build --chmod=755 a "b $V" /c
        keyword COPY
        property --from
        operator =
        namespace build
        property --chmod
        operator =
        number 755
        string a
        string "b
        variable $V
        string "
        string /c
    RUN --mount=type=cache,target=/d,from=build true
        keyword RUN
        property --mount
        operator =
        property type
        operator =
        string cache
        operator ,
        property target
        operator =
        string /d
        operator ,
        property from
        operator =
        namespace build
        function true
    EXPOSE 80/tcp
        keyword EXPOSE
        number 80/tcp
    LABEL x.y="z"
        keyword LABEL
        property x.y
        operator =
        string "z"
    HEALTHCHECK --retries=3 CMD e
        keyword HEALTHCHECK
        property --retries
        operator =
        number 3
        keyword CMD
        function e
    ONBUILD USER $V
        keyword ONBUILD
        keyword USER
        variable $V
    ENTRYPOINT ["f", "g"]
        keyword ENTRYPOINT
        string "f"
        string "g"
    STOPSIGNAL SIGINT
        keyword STOPSIGNAL
        enumMember SIGINT
    FROM build
        keyword FROM
        namespace build
    NOPE x
        keyword NOPE
    "#);
}

#[tokio::test]
async fn shells_have_tokens() {
    let text = "FROM a\nARG V\nRUN apt-get update \\\n  # why\n && apt-get install -y \"a=$V\" $HOME > /dev/null; \\\n  if [ -n \"${V:-x}\" ]; then A=1 b; fi\nRUN <<EOF\nset -e # c\nfor i in 1 2; do echo $i | sed 's/a/b/'; done\nEOF\nCOPY <<-\"E F\" <<G /x\n\t$V\n\tE F\n$V ü\nG\nSHELL [\"pwsh\", \"-c\"]\nRUN Write-Host $V\n";
    assert_snapshot!(painted(text).await, @r#"
    FROM a
        keyword FROM
        class a
    ARG V
        keyword ARG
        variable.declaration V
    RUN apt-get update \
        keyword RUN
        function apt-get
        operator \
      # why
        comment # why
     && apt-get install -y "a=$V" $HOME > /dev/null; \
        operator &&
        function apt-get
        parameter -y
        string "a=
        variable $V
        string "
        variable $HOME
        operator >
        operator ;
        operator \
      if [ -n "${V:-x}" ]; then A=1 b; fi
        keyword if
        function [
        parameter -n
        string "
        variable ${V
        operator :-
        string x}"
        operator ;
        keyword then
        variable.declaration A
        operator =
        function b
        operator ;
        keyword fi
    RUN <<EOF
        keyword RUN
        operator <<
        macro.declaration EOF
    set -e # c
        function set
        parameter -e
        comment # c
    for i in 1 2; do echo $i | sed 's/a/b/'; done
        keyword for
        variable.declaration i
        keyword in
        operator ;
        keyword do
        function echo
        variable $i
        operator |
        function sed
        string 's/a/b/'
        operator ;
        keyword done
    EOF
        macro EOF
    COPY <<-"E F" <<G /x
        keyword COPY
        operator <<-"
        macro.declaration E F
        operator <<
        macro.declaration G
        string /x
    	$V
        string $V
    	E F
        macro E F
    $V ü
        variable $V
        string ü
    G
        macro G
    SHELL ["pwsh", "-c"]
        keyword SHELL
        string "pwsh"
        string "-c"
    RUN Write-Host $V
        keyword RUN
    "#);
}

#[tokio::test]
async fn columns_of_tokens_are_counted_as_the_client_counts() {
    assert_snapshot!(painted("LABEL 🐳=\"ü🐳 $A\" b=1\r\nRUN echo '🐳\r\nü' \\\r\n  $B\r\n").await, @r#"
    LABEL 🐳="ü🐳 $A" b=1
        keyword LABEL
        property 🐳
        operator =
        string "ü🐳 $A"
        property b
        operator =
        number 1
    RUN echo '🐳
        keyword RUN
        function echo
    ü' \
        keyword ü'
        operator \
      $B
    "#);
    let mut client = Client::connect();
    client.initialize(json!({ "general": { "positionEncodings": ["utf-8"] } })).await;
    client.open("LABEL 🐳=ü").await;
    let answer = client.tokens("full", json!({})).await;
    assert_eq!(numbers(&answer["data"])[5..], [0, 6, 4, 1, 0, 0, 4, 1, 8, 0, 0, 1, 2, 6, 0]);
}

#[tokio::test]
async fn a_range_has_the_tokens_in_it() {
    let text = "FROM a AS b\nARG C=1\nRUN d \"$C\" e\nUSER f\n";
    let mut client = Client::with(text).await;
    let range = json!({ "start": { "line": 1, "character": 5 }, "end": { "line": 2, "character": 5 } });
    let answer = client.tokens("range", json!({ "range": range })).await;
    let found: Vec<String> =
        placed(&numbers(&answer["data"])).iter().map(|token| slice(text, token)).collect();
    assert_eq!(found, ["=", "1", "RUN", "d"]);
    let range = json!({ "start": { "line": 0, "character": 0 }, "end": { "line": 99, "character": 0 } });
    let all = client.tokens("full", json!({})).await;
    assert_eq!(client.tokens("range", json!({ "range": range })).await["data"], all["data"]);
}

const WORDS: [&str; 30] = [
    "FROM ",
    "ARG ",
    "ENV ",
    "COPY ",
    "RUN ",
    "LABEL ",
    "AS ",
    "a ",
    "B",
    "=",
    "$a",
    "${B:-$a}",
    "--from=a ",
    "\"",
    "'",
    "[\"x\"]",
    "\\\n",
    "\n",
    "\n",
    "\r\n",
    "# c\n",
    "<<E\n",
    "E\n",
    "if ",
    "; ",
    "&& ",
    "🐳",
    "ü",
    "$(",
    ") ",
];

#[tokio::test]
async fn what_has_changed_is_the_truth() {
    let mut runner = TestRunner::deterministic();
    let words = prop::collection::vec(prop::sample::select(WORDS.to_vec()), 0..12);
    let steps = prop::collection::vec((0..200_usize, 0..12_usize, words), 120);
    let steps = steps.new_tree(&mut runner).unwrap().current();

    let mut client = Client::with("FROM a\n").await;
    let mut text: Vec<char> = "FROM a\n".chars().collect();
    let answer = client.tokens("full", json!({})).await;
    let (mut id, mut data) = (answer["resultId"].clone(), numbers(&answer["data"]));
    let place = |text: &[char], at: usize| {
        let before: String = text[..at].iter().collect();
        let line = before.rsplit('\n').next().unwrap();
        (
            u32::try_from(before.matches('\n').count()).unwrap(),
            u32::try_from(line.encode_utf16().count()).unwrap(),
        )
    };
    let mut deltas = 0;
    for (version, (at, length, words)) in (2..).zip(steps) {
        let from = at.min(text.len());
        let to = (from + length).min(text.len());
        let splits = |i: usize| i > 0 && i < text.len() && text[i - 1] == '\r' && text[i] == '\n';
        if splits(from) || splits(to) {
            continue;
        }
        let new = words.concat();
        let params = edit(version, place(&text, from), place(&text, to), &new);
        text.splice(from..to, new.chars());
        client.notify("textDocument/didChange", params).await;
        let answer = client.tokens("full/delta", json!({ "previousResultId": id })).await;
        id = answer["resultId"].clone();
        for change in answer["edits"].as_array().unwrap() {
            let number = |name: &str| usize::try_from(change[name].as_u64().unwrap()).unwrap();
            let start = number("start");
            let new = change.get("data").map(numbers).unwrap_or_default();
            data.splice(start..start + number("deleteCount"), new);
            deltas += 1;
        }
        let mut other = Client::with(&text.iter().collect::<String>()).await;
        assert_eq!(data, numbers(&other.tokens("full", json!({})).await["data"]), "{text:?}");
    }
    assert!(deltas > 60, "{deltas}");
    // What the client has is not what was answered last.
    let answer = client.tokens("full/delta", json!({ "previousResultId": "x" })).await;
    assert_eq!(numbers(&answer["data"]), data);
    client.notify("textDocument/didClose", json!({ "textDocument": { "uri": URI } })).await;
    assert_eq!(client.tokens("full/delta", json!({ "previousResultId": id })).await, Value::Null);
}

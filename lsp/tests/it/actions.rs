//! What can be done to a document: each action with its kind, and the text after it.

use std::fmt::Write as _;

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::client::{Client, URI, edit, marked};
use crate::edits::made;

/// Everything that clients may know of actions.
fn capabilities() -> Value {
    json!({
        "textDocument": {
            "publishDiagnostics": { "codeDescriptionSupport": true, "tagSupport": { "valueSet": [1, 2] } },
            "codeAction": {
                "codeActionLiteralSupport": { "codeActionKind": { "valueSet": [] } },
                "isPreferredSupport": true,
                "disabledSupport": true,
                "dataSupport": true,
                "resolveSupport": { "properties": ["edit"] },
            },
        },
        "workspace": { "workspaceEdit": { "documentChanges": true } },
    })
}

/// A document with marks where the selection begins and ends, or at the cursor.
struct Selected {
    client: Client,
    text: String,
    range: Value,
    utf8: bool,
}

impl Selected {
    async fn open(text: &str, capabilities: Value) -> Self {
        let (text, places) = marked(text);
        let mut client = Client::connect();
        let utf8 = capabilities["general"].is_object();
        client.initialize(capabilities).await;
        client.open(&text).await;
        let range = json!({ "start": places[0], "end": places.last().unwrap() });
        Self { client, text, range, utf8 }
    }

    async fn actions(&mut self, context: Value) -> Vec<Value> {
        let params = json!({ "textDocument": { "uri": URI }, "range": self.range, "context": context });
        self.client.request("textDocument/codeAction", params).await.as_array().unwrap().clone()
    }

    /// Actions of a kind as they read in a menu, each with the text after it.
    async fn shown(&mut self, kind: &str) -> String {
        let mut shown = String::new();
        for action in self.actions(json!({ "diagnostics": [], "only": [kind] })).await {
            let preferred = if action["isPreferred"] == true { " (preferred)" } else { "" };
            writeln!(
                shown,
                "--- {} [{}]{preferred}",
                action["title"].as_str().unwrap(),
                action["kind"].as_str().unwrap()
            )
            .unwrap();
            match action["disabled"]["reason"].as_str() {
                Some(reason) => writeln!(shown, "not now: {reason}").unwrap(),
                None => shown.push_str(&self.after(&action)),
            }
        }
        shown
    }

    fn after(&self, action: &Value) -> String {
        let change = &action["edit"]["documentChanges"][0];
        assert_eq!(change["textDocument"], json!({ "uri": URI, "version": 1 }), "{action}");
        made(&self.text, &change["edits"], self.utf8)
    }
}

#[tokio::test]
async fn findings_are_mended_or_silenced() {
    let text = "FROM alpine:3 AS ‸Build\nFROM Build AS Other\n";
    let mut document = Selected::open(text, capabilities()).await;
    assert_snapshot!(document.shown("quickfix").await, @"
    --- Rename it to build [quickfix] (preferred)
    FROM alpine:3 AS build
    FROM Build AS Other
    --- Fix all 2 of StageNameCasing in this file [quickfix]
    FROM alpine:3 AS build
    FROM Build AS other
    --- Ignore StageNameCasing here [quickfix.suppress.rbx]
    # rbx: ignore=StageNameCasing
    FROM alpine:3 AS Build
    FROM Build AS Other
    --- Ignore StageNameCasing in this file [quickfix.suppress.rbx]
    # check=skip=StageNameCasing
    FROM alpine:3 AS Build
    FROM Build AS Other
    ");
    let automatic = document.actions(json!({ "diagnostics": [], "triggerKind": 2 })).await;
    assert!(!automatic.is_empty());
    assert!(
        automatic
            .iter()
            .all(|action| action.get("disabled").is_none() && action["kind"] != "source.fixAll.rbx")
    );
}

#[tokio::test]
async fn a_comment_that_is_there_gets_another_name() {
    let text = "# check=error=true\n# syntax=docker/dockerfile:1\nFROM alpine:3\n# Who\n‸MAINTAINER 🐳\n";
    let mut document = Selected::open(text, capabilities()).await;
    assert_snapshot!(document.shown("quickfix.suppress").await, @"
    --- Ignore MaintainerDeprecated here [quickfix.suppress.rbx]
    # check=error=true
    # syntax=docker/dockerfile:1
    FROM alpine:3
    # check=skip=MaintainerDeprecated
    # Who
    MAINTAINER 🐳
    --- Ignore MaintainerDeprecated in this file [quickfix.suppress.rbx]
    # check=skip=MaintainerDeprecated;error=true
    # syntax=docker/dockerfile:1
    FROM alpine:3
    # Who
    MAINTAINER 🐳
    ");
}

#[tokio::test]
async fn what_somebody_has_to_look_at_is_not_preferred() {
    let text = "# rbx: platforms=linux/amd64,linux/arm64\nFROM golang\nRUN ‸GOARCH=amd64 go build -o /a\n";
    let mut document = Selected::open(text, capabilities()).await;
    let actions = document.actions(json!({ "diagnostics": [], "only": ["quickfix"] })).await;
    let fix = actions.iter().find(|action| action["title"] == "Build for TARGETARCH").unwrap();
    assert_eq!(fix.get("isPreferred"), None);
}

#[tokio::test]
async fn all_that_is_safe_is_fixed_when_it_is_chosen() {
    let text = "‸FROM alpine:3 as Build\nMAINTAINER a\nexpose 80/TCP\n";
    let mut document = Selected::open(text, capabilities()).await;
    let only = json!({ "diagnostics": [], "only": ["source.fixAll"] });
    let mut actions = document.actions(only.clone()).await;
    assert_eq!((actions.len(), actions[0].get("edit")), (1, None));
    let chosen = document.client.request("codeAction/resolve", actions.remove(0)).await;
    assert_eq!(chosen["title"], "Fix all that can be fixed safely");
    assert_snapshot!(document.after(&chosen), @r#"
    FROM alpine:3 AS build
    LABEL org.opencontainers.image.authors="a"
    EXPOSE 80/tcp
    "#);

    // One for another text changes nothing.
    let mut old = document.actions(only.clone()).await;
    document.client.notify("textDocument/didChange", edit(2, (0, 0), (0, 0), "# x\n")).await;
    let chosen = document.client.request("codeAction/resolve", old.remove(0)).await;
    assert_eq!(chosen.get("edit"), None);

    // A client that cannot ask for them has the edits at once.
    let mut plain = capabilities();
    plain["textDocument"]["codeAction"]["resolveSupport"] = json!(null);
    let mut document = Selected::open(text, plain).await;
    let actions = document.actions(only).await;
    assert_eq!(
        document.after(&actions[0]),
        made(&document.text, &actions[0]["edit"]["documentChanges"][0]["edits"], false)
    );
}

#[tokio::test]
async fn a_run_is_written_in_other_ways() {
    let text = "FROM alpine:3\nRUN echo '🐳' && apk add ‸git curl\n";
    let mut document = Selected::open(text, capabilities()).await;
    let shown = document.shown("refactor").await;
    assert_snapshot!(shown, @r"
    --- Write the commands as a heredoc, a line each [refactor.rewrite]
    FROM alpine:3
    RUN <<EOF
    set -e
    echo '🐳'
    apk add git curl
    EOF
    --- Sort the packages, a line each [refactor.rewrite]
    FROM alpine:3
    RUN echo '🐳' && apk add \
        curl \
        git
    ");
    let mut bytes = capabilities();
    bytes["general"] = json!({ "positionEncodings": ["utf-8"] });
    assert_eq!(Selected::open(text, bytes).await.shown("refactor").await, shown);
    assert_eq!(document.shown("refactor.inline").await, "");
}

#[tokio::test]
async fn what_cannot_be_done_now_says_why() {
    let text = "FROM ‸golang:1.24 AS build\nFROM scratch\n";
    let mut document = Selected::open(text, capabilities()).await;
    assert_snapshot!(document.shown("refactor").await, @"
    --- Pin golang:1.24 to its digest [refactor.rewrite]
    not now: it is not known what golang:1.24 stands for: rbx.online lets the registry be asked
    --- Let --build-arg GOLANG_VERSION choose the tag of golang [refactor.extract]
    ARG GOLANG_VERSION=1.24
    FROM golang:${GOLANG_VERSION} AS build
    FROM scratch
    --- Run this stage on the build's own platform, to cross-compile for $TARGETOS/$TARGETARCH [refactor.rewrite]
    FROM --platform=$BUILDPLATFORM golang:1.24 AS build
    ARG TARGETOS TARGETARCH
    FROM scratch
    ");
    let mut without = capabilities();
    without["textDocument"]["codeAction"]["disabledSupport"] = json!(false);
    let mut document = Selected::open(text, without).await;
    assert!(!document.shown("refactor").await.contains("Pin"));
}

#[tokio::test]
async fn findings_link_to_pages_and_are_marked() {
    let text = "FROM alpine:3\nMAINTAINER a\nCMD a\n‸CMD [\"b\"]\n";
    let mut document = Selected::open(text, capabilities()).await;
    let published = document.client.notification("textDocument/publishDiagnostics").await;
    let line = |finding: &Value| {
        let page = finding["codeDescription"]["href"].as_str().unwrap_or("-");
        format!("{} {} {page}", finding["code"].as_str().unwrap(), finding["tags"])
    };
    let lines: Vec<String> = published["diagnostics"].as_array().unwrap().iter().map(line).collect();
    assert_snapshot!(lines.join("\n"), @"
    MaintainerDeprecated [2] https://docs.docker.com/go/dockerfile/rule/maintainer-deprecated/
    MultipleInstructionsDisallowed [1] https://docs.docker.com/go/dockerfile/rule/multiple-instructions-disallowed/
    JSONArgsRecommended null https://docs.docker.com/go/dockerfile/rule/json-args-recommended/
    ");
}

//! What is known of steps beforehand, as hints, lenses and data, of a builder that answers as it is told. That real
//! builders answer so is among the end-to-end tests.

use std::fs;

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::builds::{Work, until};
use crate::client::{Client, URI, compact, edit};

const PLATFORMS: &str = "# rbx: platforms=linux/amd64,linux/arm64\n";
const TEXT: &str = "# rbx: platforms=linux/amd64,linux/arm64\nFROM a AS build\nRUN make \\\n  all\nFROM scratch\nCOPY --from=build /x /\n";

fn step(lines: [u32; 2], platform: &str, state: &str, runner: Option<&str>) -> Value {
    let emulator = (runner == Some("emulated")).then_some("/usr/bin/qemu-aarch64");
    json!({
        "name": "x", "digest": "x", "kind": "run", "state": state, "reason": (state != "cached").then_some("why"),
        "lines": lines, "platforms": [platform], "runner": runner, "emulator": emulator,
    })
}

fn answer(steps: &[Value]) -> String {
    json!({ "builder": "embedded", "driver": "embedded", "platforms": [], "steps": steps }).to_string()
}

/// An answer for [`TEXT`].
fn all() -> String {
    answer(&[
        step([2, 2], "linux/amd64", "cached", None),
        step([3, 4], "linux/amd64", "cached", Some("native")),
        step([3, 4], "linux/arm64", "run", Some("emulated")),
        step([6, 6], "linux/amd64", "cached", None),
        step([6, 6], "linux/arm64", "unknown", None),
    ])
}

impl Client {
    /// The hints of the document, a line for each.
    async fn hints(&mut self, uri: &str) -> String {
        let range =
            json!({ "start": { "line": 0, "character": 0 }, "end": { "line": 1000, "character": 0 } });
        let params = json!({ "textDocument": { "uri": uri }, "range": range });
        let hints = self.request("textDocument/inlayHint", params).await;
        let line = |hint: &Value| {
            format!("{} {}", compact(&hint["position"]).as_str().unwrap(), hint["label"].as_str().unwrap())
        };
        hints.as_array().unwrap().iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// The tooltips of the hints.
    async fn tooltips(&mut self, uri: &str) -> String {
        let range =
            json!({ "start": { "line": 0, "character": 0 }, "end": { "line": 1000, "character": 0 } });
        let params = json!({ "textDocument": { "uri": uri }, "range": range });
        let hints = self.request("textDocument/inlayHint", params).await;
        let mut all = Vec::new();
        for hint in hints.as_array().unwrap() {
            let whole = self.request("inlayHint/resolve", hint.clone()).await;
            all.push(format!(
                "{}:\n{}",
                hint["label"].as_str().unwrap(),
                whole["tooltip"]["value"].as_str().unwrap()
            ));
        }
        all.join("\n")
    }

    async fn titles_of(&mut self, uri: &str) -> String {
        let lenses = self.request("textDocument/codeLens", json!({ "textDocument": { "uri": uri } })).await;
        let line = |lens: &Value| {
            format!(
                "{} {}",
                compact(&lens["range"]["start"]).as_str().unwrap(),
                lens["command"]["title"].as_str().unwrap()
            )
        };
        lenses.as_array().unwrap().iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// Waits until it is told that more is known.
    async fn refreshed(&mut self) {
        self.notification("workspace/inlayHint/refresh").await;
        self.notification("workspace/codeLens/refresh").await;
    }

    async fn edit_of(&mut self, uri: &str, mut change: Value) {
        change["textDocument"]["uri"] = uri.into();
        self.notify("textDocument/didChange", change).await;
    }
}

#[tokio::test]
async fn steps_are_told_where_they_stand() {
    let work = Work::new("");
    fs::write(work.path("answer"), all()).unwrap();
    let mut client = work.client(json!({ "buildFlags": ["--no-cache"] }), TEXT).await;
    let uri = work.uri();
    client.refreshed().await;
    assert_snapshot!(client.hints(&uri).await, @"
    1:15 linux/amd64 native, linux/arm64 emulated
    1:15 cached
    2:10 cached on linux/amd64; will run on linux/arm64
    4:12 linux/amd64, linux/arm64
    5:22 cached on linux/amd64; may run on linux/arm64
    ");
    assert_snapshot!(client.tooltips(&uri).await, @"
    linux/amd64 native, linux/arm64 emulated:
    built for linux/amd64: on linux/amd64

    built for linux/arm64: on linux/arm64
    cached:
    linux/amd64: cached
    builder embedded
    cached on linux/amd64; will run on linux/arm64:
    linux/amd64: cached
    linux/arm64: will run, emulated by /usr/bin/qemu-aarch64 (why)
    builder embedded
    linux/amd64, linux/arm64:
    built for linux/amd64: on linux/amd64

    built for linux/arm64: on linux/arm64
    cached on linux/amd64; may run on linux/arm64:
    linux/amd64: cached
    linux/arm64: may run (why)
    builder embedded
    ");
    assert_snapshot!(client.titles_of(&uri).await, @"
    0:0 build for linux/amd64
    0:0 build for linux/arm64
    0:0 build all platforms
    0:0 check
    0:0 builder: embedded
    0:0 platforms: linux/amd64, linux/arm64
    1:0 build this stage (1 of 2 cached, emulated for linux/arm64)
    4:0 build this stage (1 of 2 cached)
    ");
    let asked = work.read("asked");
    assert!(asked.contains("--call=dry-run,format=json --progress=none --file "), "{asked}");
    assert!(asked.contains("--platform linux/amd64 --platform linux/arm64 --no-cache -- "), "{asked}");
    let state = client.execute("rbx.state", json!([{ "uri": uri }])).await;
    assert_eq!((&state["builder"], &state["lastBuild"]), (&json!("embedded"), &json!(false)));
    assert_snapshot!(compact(&state["steps"][2]), @r#"{"range":"2:0-3:5","platforms":["linux/arm64"],"state":"run","reason":"why","runner":"emulated","emulator":"/usr/bin/qemu-aarch64"}"#);
}

#[tokio::test]
async fn what_was_known_is_forgotten_from_a_change_on() {
    let work = Work::new("");
    fs::write(work.path("answer"), all()).unwrap();
    let mut client = work.client(json!({ "hints": { "platforms": false }, "lenses": false }), TEXT).await;
    let uri = work.uri();
    client.refreshed().await;
    fs::remove_file(work.path("answer")).unwrap();
    fs::write(work.path("hold"), "").unwrap();
    client.edit_of(&uri, edit(2, (5, 0), (5, 0), "# ")).await;
    assert_snapshot!(client.hints(&uri).await, @"
    1:15 cached
    2:10 cached on linux/amd64; will run on linux/arm64
    ");
    client.edit_of(&uri, edit(3, (3, 2), (3, 5), "none")).await;
    assert_snapshot!(client.hints(&uri).await, @"1:15 cached");
    // Nothing is known after a dry run that came to nothing.
    fs::remove_file(work.path("hold")).unwrap();
    client.refreshed().await;
    assert_eq!(client.hints(&uri).await, "");
    assert_eq!(client.execute("rbx.state", json!([{ "uri": uri }])).await, Value::Null);
    // A file that is saved is asked about again.
    fs::write(work.path("answer"), answer(&[step([2, 2], "linux/amd64", "fetch", None)])).unwrap();
    client.notify("textDocument/didSave", json!({ "textDocument": { "uri": uri } })).await;
    client.refreshed().await;
    assert_snapshot!(client.hints(&uri).await, @"1:15 will be fetched");
    assert_eq!(client.titles_of(&uri).await, "", "they are off");
}

#[tokio::test]
async fn a_builder_that_cannot_be_asked_did_what_it_did() {
    let work = Work::new(
        r#"say '{"vertexes":[{"digest":"a","name":"[linux/amd64 2/2] RUN make","started":"2024-05-06T07:08:09Z","completed":"2024-05-06T07:08:09Z","cached":true}]}'
        say '{"vertexes":[{"digest":"b","name":"[linux/arm64 2/2] RUN make","started":"2024-05-06T07:08:09Z","completed":"2024-05-06T07:08:10Z"}]}'"#,
    );
    fs::write(work.path("answer"), json!({ "builder": "default", "driver": "docker" }).to_string()).unwrap();
    let mut client = work.client(json!({}), &format!("{PLATFORMS}FROM a\nRUN make\n")).await;
    let uri = work.uri();
    client.refreshed().await;
    assert_eq!(client.hints(&uri).await, "1:6 linux/amd64, linux/arm64");
    client.build(&work).await;
    client.said().await;
    client.refreshed().await;
    assert_snapshot!(client.hints(&uri).await, @"
    1:6 linux/amd64, linux/arm64
    2:8 last build: cached on linux/amd64; was run on linux/arm64
    ");
    assert_snapshot!(client.titles_of(&uri).await, @"
    0:0 build for linux/amd64
    0:0 build for linux/arm64
    0:0 build all platforms
    0:0 check
    0:0 builder: default
    0:0 platforms: linux/amd64, linux/arm64
    1:0 build this stage (last build: 1 of 2 cached)
    ");
    // It stays true of the lines that are the same, and only of this builder.
    client.edit_of(&uri, edit(2, (1, 0), (1, 0), "# a comment\n")).await;
    client.refreshed().await;
    assert_snapshot!(client.hints(&uri).await, @"
    2:6 linux/amd64, linux/arm64
    3:8 last build: cached on linux/amd64; was run on linux/arm64
    ");
    let chosen = client.execute("rbx.setBuilder", json!([{ "uri": uri, "builder": "other" }])).await;
    assert_eq!(chosen, json!({ "builder": "other" }));
    until(|| work.read("asked").contains("--builder other -- ")).await;
    client.refreshed().await;
    client.refreshed().await;
    assert_eq!(client.hints(&uri).await, "2:6 linux/amd64, linux/arm64");
}

#[tokio::test]
async fn builders_and_platforms_are_chosen() {
    let work = Work::new("");
    let builders = [
        json!({ "Name": "default", "Driver": "docker", "Current": true, "Nodes": [{ "Platforms": ["linux/amd64"] }] }),
        json!({ "Name": "embedded", "Driver": "embedded", "Current": false, "Nodes": [] }),
    ];
    fs::write(work.path("builders"), builders.map(|it| it.to_string()).join("\n")).unwrap();
    let mut client =
        work.client(json!({ "platforms": "linux/386" }), "# syntax=docker/dockerfile:1\nFROM a\n").await;
    let uri = work.uri();
    let list = client.execute("rbx.builders", json!([{ "uri": uri }])).await;
    assert_snapshot!(list, @r#"{"builders":[{"name":"default","driver":"docker","current":true,"platforms":["linux/amd64"],"error":null},{"name":"embedded","driver":"embedded","current":false,"platforms":[],"error":null}],"chosen":null}"#);
    client.picks = "embedded".into();
    let chosen = client.execute("rbx.setBuilder", json!([{ "uri": uri }])).await;
    assert_eq!(chosen, json!({ "builder": "embedded" }));
    client.build(&work).await;
    client.said().await;
    assert!(work.read("words").contains("--builder embedded -- "), "{}", work.read("words"));
    client.picks = "linux/amd64,linux/arm64".into();
    let chosen = client.execute("rbx.setPlatforms", json!([{ "uri": uri }])).await;
    assert_eq!(chosen, json!({ "platforms": ["linux/amd64", "linux/arm64"], "written": false }));
    assert_snapshot!(client.titles_of(&uri).await, @"
    0:0 build for linux/amd64
    0:0 build for linux/arm64
    0:0 build all platforms
    0:0 check
    0:0 builder: embedded
    0:0 platforms: linux/amd64, linux/arm64
    ");
    // What is set later does not undo what was chosen, but what is set for the rest counts.
    client
        .notify(
            "workspace/didChangeConfiguration",
            json!({ "settings": { "rbx": { "builder": "x", "platforms": [] } } }),
        )
        .await;
    let platforms = client.execute("rbx.platforms", json!([{ "uri": uri }])).await;
    assert_eq!(platforms["platforms"], json!(["linux/amd64", "linux/arm64"]));

    client.execute("rbx.setPlatforms", json!([{ "uri": uri, "platforms": ["arm64"], "write": true }])).await;
    let edit = client.notification("workspace/applyEdit").await["edit"]["changes"][&uri].take();
    assert_snapshot!(compact(&edit), @r##"["1:0-1:0 \"# rbx: platforms=linux/arm64\\n\""]"##);
    let refused = client.execute("rbx.setPlatforms", json!([{ "uri": uri, "platforms": ["a/b/c/d"] }])).await;
    assert_eq!(refused["code"], -32602);
}

#[tokio::test]
async fn a_document_that_says_what_it_is_for_is_edited() {
    let mut client = Client::with("# x\n# rbx: platforms=linux/amd64, linux/386\nFROM a\n").await;
    let chosen = client.execute("rbx.setPlatforms", json!([{ "uri": URI, "platforms": ["arm64"] }])).await;
    assert_eq!(chosen, json!({ "platforms": ["linux/arm64"], "written": true }));
    let edit = client.notification("workspace/applyEdit").await["edit"]["changes"][URI].take();
    assert_snapshot!(compact(&edit), @r#"["1:17-1:39 \"linux/arm64\""]"#);
}

#[tokio::test]
async fn a_check_counts() {
    let mut client = Client::with("FROM a\nRUN x\nmaintainer me\n").await;
    let counts = client.execute("rbx.check", json!([{ "uri": URI }])).await;
    assert_snapshot!(counts, @r#"{"errors":0,"warnings":2,"information":0,"style":0}"#);
    assert_snapshot!(client.said().await, @"Dockerfile for linux/amd64: 2 warnings");
}

#[tokio::test]
async fn arguments_and_platforms_come_to_something() {
    let text = "ARG BASE\nARG TAG=${TARGETARCH}-1\nFROM golang:$TAG AS build\nARG TARGETARCH\nARG GIVEN\nARG UNSET\nFROM --platform=$BUILDPLATFORM a AS native\nFROM unused AS unused\nFROM build\nCOPY --from=native /x /\n";
    let mut client = Client::connect();
    let options = json!({ "platforms": "linux/amd64,linux/arm64", "buildFlags": ["--build-arg=GIVEN=yes"] });
    client.initialize_with(json!({ "capabilities": {}, "initializationOptions": options })).await;
    client.open(text).await;
    assert_snapshot!(client.hints(URI).await, @"
    2:16 = golang:amd64-1 on linux/amd64; golang:arm64-1 on linux/arm64
    2:25 linux/amd64, linux/arm64
    3:14 = amd64 on linux/amd64; arm64 on linux/arm64
    4:9 = yes
    6:42 linux/amd64
    8:10 linux/amd64, linux/arm64
    ");
    assert_snapshot!(client.tooltips(URI).await, @"
    = golang:amd64-1 on linux/amd64; golang:arm64-1 on linux/arm64:
    linux/amd64: golang:amd64-1
    linux/arm64: golang:arm64-1
    linux/amd64, linux/arm64:
    built for linux/amd64: on linux/amd64

    built for linux/arm64: on linux/arm64
    = amd64 on linux/amd64; arm64 on linux/arm64:
    linux/amd64: amd64
    linux/arm64: arm64
    = yes:
    linux/amd64, linux/arm64: yes
    linux/amd64:
    built for linux/amd64: on linux/amd64

    built for linux/arm64: on linux/amd64
    linux/amd64, linux/arm64:
    built for linux/amd64: on linux/amd64

    built for linux/arm64: on linux/arm64
    ");
    let range = json!({ "start": { "line": 3, "character": 0 }, "end": { "line": 3, "character": 3 } });
    let params = json!({ "textDocument": { "uri": URI }, "range": range });
    let some = client.request("textDocument/inlayHint", params).await;
    assert_eq!(some.as_array().unwrap().len(), 1, "of the lines that are asked for");
    let off = json!({ "settings": { "rbx": { "hints": { "arguments": false, "platforms": false } } } });
    client.notify("workspace/didChangeConfiguration", off).await;
    assert_eq!(client.hints(URI).await, "");
}

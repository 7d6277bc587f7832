//! Builds as a client starts and watches them, of a builder that does as it is told. Real builds are among the
//! end-to-end tests.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use insta::assert_snapshot;
use rbx_lsp::{Ended, Surroundings};
use serde_json::{Value, json};

use crate::client::Client;

/// A directory with a Dockerfile, and a builder that is a script.
pub(crate) struct Work {
    directory: tempfile::TempDir,
}

impl Work {
    /// The script is run in the directory of the Dockerfile, when it is asked to build. What it answers to dry runs is
    /// in `answer`, once there is no `hold`, and what it lists is in `builders`. It can use `say`, with JSON for standard error, `$file`,
    /// `$failure` and `$metadata`.
    pub(crate) fn new(script: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let work = Self { directory };
        let head = r#"#!/bin/sh
            case "$*" in
                ls*) cat "$(dirname "$0")/builders"; exit ;;
                *--call=dry-run*)
                    echo "$@" >>asked
                    while [ -e hold ]; do sleep 0.02; done
                    cat answer
                    exit ;;
            esac
            echo "$@" >>words
            say() { echo "$1" >&2; }
            while [ "$1" != -- ]; do
                case "$1" in
                    --file) file=$2 ;;
                    --failure-file) failure=$2 ;;
                    --metadata-file) metadata=$2 ;;
                esac
                shift
            done
        "#;
        fs::write(work.path("builder"), format!("{head}\n{script}\n")).unwrap();
        fs::set_permissions(work.path("builder"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(work.path("Dockerfile"), "on disk").unwrap();
        work
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn uri(&self) -> String {
        format!("file://{}", self.path("Dockerfile").display())
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// What is in a text, without names that are different each time.
    fn tame(&self, text: &str) -> String {
        let text = text.replace(&self.directory.path().display().to_string(), "$WORK");
        let words: Vec<String> = text
            .split(' ')
            .map(|word| match word.find("/rbx-lsp-") {
                Some(at) => {
                    let rest = word[at + 1..].split_once('/').map_or("", |(_, rest)| rest);
                    format!("$TEMP/{rest}")
                }
                None => word.to_owned(),
            })
            .collect();
        words.join(" ")
    }

    pub(crate) async fn client(&self, options: Value, text: &str) -> Client {
        let surroundings = Surroundings { program: Some(self.path("builder")), ..Surroundings::default() };
        let mut client = Client::connect_in(surroundings);
        let refreshes = json!({ "refreshSupport": true });
        let capabilities = json!({
            "window": { "workDoneProgress": true },
            "workspace": { "inlayHint": refreshes, "codeLens": refreshes },
        });
        client
            .initialize_with(json!({
                "capabilities": capabilities,
                "initializationOptions": options,
                "workspaceFolders": [{ "uri": format!("file://{}", self.directory.path().display()), "name": "x" }],
            }))
            .await;
        let item = json!({ "uri": self.uri(), "languageId": "dockerfile", "version": 1, "text": text });
        client.notify("textDocument/didOpen", json!({ "textDocument": item })).await;
        client
    }
}

impl Client {
    pub(crate) async fn build(&mut self, work: &Work) {
        assert_eq!(self.execute("rbx.build", json!([{ "uri": work.uri() }])).await, Value::Null);
    }

    /// What is said when a build has ended.
    pub(crate) async fn said(&mut self) -> String {
        self.notification("window/showMessage").await["message"].as_str().unwrap().to_owned()
    }

    /// The next findings that are not of the version before.
    async fn findings(&mut self, version: i64) -> Vec<Value> {
        loop {
            let published = self.notification("textDocument/publishDiagnostics").await;
            if published["version"] == version {
                return published["diagnostics"].as_array().unwrap().clone();
            }
        }
    }
}

const PLATFORMS: &str = "# rbx: platforms=linux/amd64,linux/arm64\n";

#[tokio::test]
async fn the_builder_is_told_what_the_editor_shows() {
    let work = Work::new(
        r#"cp "$file" seen; cp "$file.dockerignore" ignored
        echo '{"containerimage.digest":"sha256:1"}' >"$metadata""#,
    );
    fs::write(work.path("Dockerfile.dockerignore"), "x").unwrap();
    let options = json!({ "buildFlags": ["--no-cache"], "context": "sub/.." });
    let text = format!("{PLATFORMS}FROM a");
    let mut client = work.client(options, &text).await;
    client.build(&work).await;
    assert_eq!(client.said().await, "built Dockerfile for linux/amd64, linux/arm64: sha256:1");
    assert_eq!(work.read("seen"), text, "not what is on disk");
    assert_eq!(work.read("ignored"), "x");
    let arguments = json!([{ "uri": work.uri(), "platforms": ["arm64"], "target": "x" }]);
    client.execute("rbx.build", arguments).await;
    assert_eq!(client.said().await, "built Dockerfile up to x for linux/arm64: sha256:1");
    assert_snapshot!(work.tame(&work.read("words")), @r"
    build --progress=rawjson --file $TEMP/file/Dockerfile --metadata-file $TEMP/answers/metadata.json --failure-file $TEMP/answers/failure.json --platform linux/amd64 --platform linux/arm64 --no-cache -- $WORK/sub/..
    build --progress=rawjson --file $TEMP/file/Dockerfile --metadata-file $TEMP/answers/metadata.json --failure-file $TEMP/answers/failure.json --platform linux/arm64 --target x --no-cache -- $WORK/sub/..
    ");
    assert_eq!(client.end().await, Ended::Orderly);
}

#[tokio::test]
async fn progress_is_begun_moved_and_ended() {
    let work = Work::new(
        r#"say '{"vertexes":[{"digest":"a","name":"[1/2] FROM a"},{"digest":"b","name":"[2/2] RUN b"}]}'
        say '{"vertexes":[{"digest":"a","name":"[1/2] FROM a","started":"2024-05-06T07:08:09Z","completed":"2024-05-06T07:08:09Z"}]}'
        say '{"vertexes":[{"digest":"b","name":"[2/2] RUN b","started":"2024-05-06T07:08:09Z"}]}'
        say '{"logs":[{"vertex":"b","stream":1,"data":"aGVsbG8K","timestamp":"2024-05-06T07:08:10Z"}]}'
        while [ ! -e go ]; do sleep 0.01; done"#,
    );
    let mut client = work.client(json!({}), "FROM a").await;
    client.build(&work).await;
    let created = client.notification("window/workDoneProgress/create").await;
    let begun = client.notification("$/progress").await;
    assert_eq!(begun["token"], created["token"]);
    assert_eq!(begun["value"]["kind"], "begin");
    assert_eq!(begun["value"]["cancellable"], true);
    assert!(begun["value"]["title"].as_str().unwrap().starts_with("building Dockerfile for "), "{begun}");
    loop {
        let moved = client.notification("$/progress").await["value"].take();
        assert_eq!(moved["kind"], "report");
        if moved["message"] == "[2/2] RUN b" {
            assert_eq!(moved["percentage"], 50);
            break;
        }
    }
    loop {
        let logged = client.notification("window/logMessage").await;
        if logged["message"].as_str().unwrap().contains("1.000 hello") {
            break;
        }
    }
    fs::write(work.path("go"), "").unwrap();
    loop {
        let value = client.notification("$/progress").await["value"].take();
        if value["kind"] == "end" {
            assert_eq!(value["message"], "done");
            break;
        }
    }
}

/// A builder that fails at line 3 for arm64.
const FAILS: &str = r#"
    name='[linux/arm64 2/2] RUN make'
    say '{"vertexes":[{"digest":"b","name":"'"$name"'","started":"2024-05-06T07:08:09Z"}]}'
    say '{"logs":[{"vertex":"b","stream":2,"data":"bm8gcnVsZSAbWzMxbXRvIG1ha2UK","timestamp":"2024-05-06T07:08:09Z"}]}'
    say '{"vertexes":[{"digest":"b","name":"'"$name"'","started":"2024-05-06T07:08:09Z","completed":"2024-05-06T07:08:09Z","error":"exit code: 2"}]}'
    [ -e mended ] && exit
    echo '{"reason":"exit code: 2","hint":"install make","step":"'"$name"'","file":"Dockerfile","lines":[3,3]}' >"$failure"
    exit 1
"#;

#[tokio::test]
async fn a_failed_step_is_a_finding_until_its_line_changes() {
    let work = Work::new(FAILS);
    let mut client = work.client(json!({}), &format!("{PLATFORMS}FROM a\n  RUN make")).await;
    assert_eq!(client.findings(1).await, [Value::Null; 0]);
    client.build(&work).await;
    assert_eq!(client.said().await, "failed to build Dockerfile for linux/amd64, linux/arm64: exit code: 2");
    let findings = client.findings(1).await;
    insta::assert_json_snapshot!(findings, @r#"
    [
      {
        "range": {
          "start": {
            "line": 2,
            "character": 2
          },
          "end": {
            "line": 2,
            "character": 10
          }
        },
        "severity": 1,
        "code": "build-failed",
        "source": "rbx",
        "message": "exit code: 2 (built for linux/arm64)\ninstall make\n  no rule to make",
        "data": {
          "platforms": [
            "linux/arm64"
          ]
        }
      }
    ]
    "#);

    let change = |version: i32, line: u32, character: u32, text: &str| {
        let mut params = crate::client::edit(version, (line, character), (line, character), text);
        params["textDocument"]["uri"] = work.uri().into();
        params
    };
    client.notify("textDocument/didChange", change(2, 0, 0, "\n")).await;
    let findings = client.findings(2).await;
    assert_eq!(findings[0]["range"]["start"], json!({ "line": 3, "character": 2 }), "it moved");
    client.notify("textDocument/didChange", change(3, 3, 7, "x")).await;
    assert_eq!(client.findings(3).await, [Value::Null; 0]);
}

#[tokio::test]
async fn a_failed_step_is_a_finding_until_it_is_built_for_the_same_platform() {
    let work = Work::new(FAILS);
    let mut client = work.client(json!({}), &format!("{PLATFORMS}FROM a\nRUN make")).await;
    client.findings(1).await;
    client.build(&work).await;
    assert_eq!(client.findings(1).await.len(), 1);
    fs::write(work.path("mended"), "").unwrap();
    client.execute("rbx.build", json!([{ "uri": work.uri(), "platforms": ["linux/amd64"] }])).await;
    assert_eq!(client.findings(1).await.len(), 1, "nothing is known of arm64");
    client.build(&work).await;
    assert_eq!(client.findings(1).await.len(), 0);
}

/// A builder that runs until it hears that it is to end.
const WAITS: &str = r#"
    echo '{"reason":"context canceled","cancelled":true}' >"$failure"
    say '{"vertexes":[{"digest":"a","name":"begun","started":"2024-05-06T07:08:09Z"}]}'
    exec perl -MSocket -e '
        socket(my $end, PF_UNIX, SOCK_STREAM, 0) or die;
        connect($end, sockaddr_un("\0" . substr($ENV{DOCKER_CLI_PLUGIN_SOCKET}, 1))) or die;
        open(F, ">held"); close(F);
        sysread($end, my $byte, 1);
        open(F, ">released"); close(F);
        exit 130'
"#;

pub(crate) async fn until(what: impl Fn() -> bool) {
    for _ in 0..2000 {
        if what() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("in vain");
}

#[tokio::test]
async fn a_build_is_cancelled_by_its_progress_or_by_a_command() {
    let work = Work::new(WAITS);
    let mut client = work.client(json!({}), "FROM a").await;
    for by_progress in [true, false] {
        client.build(&work).await;
        let token = client.notification("window/workDoneProgress/create").await["token"].take();
        until(|| work.path("held").exists()).await;
        // Edits and questions do not wait for a build, and a second build of the same document is not begun.
        let uri = json!({ "textDocument": { "uri": work.uri() } });
        assert!(client.request("textDocument/codeLens", uri).await.is_array());
        client.build(&work).await;
        assert_eq!(client.said().await, "Dockerfile is being built already: wait for that, or cancel it");
        if by_progress {
            client.notify("window/workDoneProgress/cancel", json!({ "token": token })).await;
        } else {
            assert_eq!(client.execute("rbx.cancel", json!([{ "uri": work.uri() }])).await, true);
        }
        assert!(client.said().await.starts_with("cancelled the build of Dockerfile for "));
        assert!(work.path("released").exists(), "it was asked to end, not killed");
        fs::remove_file(work.path("held")).unwrap();
        fs::remove_file(work.path("released")).unwrap();
        assert_eq!(client.execute("rbx.cancel", json!([{ "uri": work.uri() }])).await, false);
    }
}

#[tokio::test]
async fn builds_end_with_the_server() {
    let work = Work::new(&format!("dirname $(dirname \"$file\") >place\n{WAITS}"));
    let mut client = work.client(json!({}), "FROM a").await;
    client.build(&work).await;
    client.notification("window/workDoneProgress/create").await;
    until(|| work.path("held").exists()).await;
    assert_eq!(client.end().await, Ended::Orderly);
    until(|| work.path("released").exists()).await;
    assert!(!PathBuf::from(work.read("place").trim()).exists(), "its files are removed");
}

#[tokio::test]
async fn builders_may_be_missing_or_break() {
    let work = Work::new("say 'thread panicked'; kill -9 $$");
    let mut client = work.client(json!({}), "FROM a").await;
    client.build(&work).await;
    let said = client.said().await;
    assert!(said.ends_with(": docker-rbx ended with signal: 9 (SIGKILL): thread panicked"), "{said}");
    fs::remove_file(work.path("builder")).unwrap();
    client.build(&work).await;
    let said = client.said().await;
    assert!(said.contains("could not be started"), "{said}");

    let mut client = Client::with("FROM a").await;
    client.execute("rbx.build", json!([{ "uri": crate::client::URI }])).await;
    assert_snapshot!(client.said().await, @"docker-rbx is neither beside the language server, nor on the PATH, nor a plugin of docker: set rbx.program");
    client.execute("rbx.build", json!([{ "uri": "file:///work/other" }])).await;
    assert_eq!(client.said().await, "other is not open");
}

#[tokio::test]
async fn commands_with_wrong_arguments_are_refused() {
    let mut client = Client::with("FROM a").await;
    let uri = crate::client::URI;
    for (command, arguments) in [
        ("rbx.build", json!([])),
        ("rbx.build", json!([{ "uri": uri }, {}])),
        ("rbx.build", json!([{ "uri": uri, "platform": "x" }])),
        ("rbx.build", json!([{ "uri": uri, "platforms": ["a/b/c/d"] }])),
        ("rbx.cancel", json!(["x"])),
        ("rbx.nothing", json!([{ "uri": uri }])),
    ] {
        let answer = client.execute(command, arguments.clone()).await;
        assert_eq!(answer["code"], -32602, "{command} {arguments}: {answer}");
    }
}

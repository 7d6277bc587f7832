//! What the rules find for the platforms of a document, and what can be done about it.

use insta::{assert_json_snapshot, assert_snapshot};
use serde_json::{Value, json};

use crate::client::{Client, URI, edit};

/// Most of what the rules look for, for two platforms.
const WRONG: &str = "\
# rbx: platforms=linux/amd64,linux/arm64
FROM scratch AS bin-amd64
FROM bin-${TARGETARCH} AS bin
FROM --platform=$BUILDPLATFORM alpine AS build
ARG TARGETARCH=amd64
RUN make ARCH=$TARGETARCH OS=$TARGETOS
FROM --platform=linux/arm64 build AS tool-arm64
FROM --platform=linux/amd64 build AS image-amd64
COPY --from=bin /tool /tool
";

impl Client {
    /// A client that knows all about findings and their remedies.
    async fn knowing(text: &str) -> Self {
        let mut client = Self::connect();
        let capabilities = json!({
            "textDocument": {
                "publishDiagnostics": { "relatedInformation": true, "tagSupport": { "valueSet": [1, 2] } },
                "codeAction": {
                    "codeActionLiteralSupport": { "codeActionKind": { "valueSet": ["quickfix"] } },
                    "isPreferredSupport": true,
                },
            },
            "workspace": { "workspaceEdit": { "documentChanges": true } },
        });
        client.initialize(capabilities).await;
        client.open(text).await;
        client
    }

    async fn published(&mut self) -> Vec<Value> {
        let published = self.notification("textDocument/publishDiagnostics").await;
        published["diagnostics"].as_array().unwrap().clone()
    }

    async fn actions(&mut self, line: u32, only: Option<&str>) -> Value {
        let place = |character: u32| json!({ "line": line, "character": character });
        let mut context = json!({ "diagnostics": [] });
        if let Some(kind) = only {
            context["only"] = json!([kind]);
        }
        let params = json!({
            "textDocument": { "uri": URI },
            "range": { "start": place(0), "end": place(5) },
            "context": context,
        });
        self.request("textDocument/codeAction", params).await
    }
}

/// Findings as an editor lists them.
fn list(findings: &[Value]) -> String {
    let line = |finding: &Value| {
        let place = &finding["range"]["start"];
        let kind = if finding["severity"] == 1 { "error" } else { "warning" };
        let code = finding["code"].as_str().unwrap_or("-");
        let message = finding["message"].as_str().unwrap();
        format!("{}:{} {kind} {code}: {message}", place["line"], place["character"])
    };
    findings.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn findings_name_their_platforms() {
    let mut client = Client::knowing(WRONG).await;
    let findings = client.published().await;
    assert_snapshot!(list(&findings), @r#"
    2:5 error stage-selector-missing: No stage "bin-arm64" for FROM bin-${TARGETARCH} on linux/arm64 (fine on linux/amd64)
    4:4 warning platform-arg-default: Default "amd64" of ARG TARGETARCH replaces the automatic value on linux/arm64 (fine on linux/amd64)
    5:29 warning platform-arg-undeclared: RUN reads $TARGETOS, which is empty without ARG TARGETOS in this stage
    6:5 warning platform-flag-on-stage: --platform=linux/arm64 is ignored, because "build" is a stage
    7:0 warning final-stage-build-platform: The image gets files of linux/amd64, because its stage has --platform=$BUILDPLATFORM on linux/arm64 (fine on linux/amd64)
    "#);
    assert_json_snapshot!(findings[0], @r#"
    {
      "range": {
        "start": {
          "line": 2,
          "character": 5
        },
        "end": {
          "line": 2,
          "character": 22
        }
      },
      "severity": 1,
      "code": "stage-selector-missing",
      "source": "rbx",
      "message": "No stage \"bin-arm64\" for FROM bin-${TARGETARCH} on linux/arm64 (fine on linux/amd64)",
      "relatedInformation": [
        {
          "location": {
            "uri": "file:///work/Dockerfile",
            "range": {
              "start": {
                "line": 1,
                "character": 16
              },
              "end": {
                "line": 1,
                "character": 25
              }
            }
          },
          "message": "a stage for another platform"
        }
      ],
      "data": {
        "platforms": [
          "linux/arm64"
        ]
      }
    }
    "#);
    let without_effect = findings.iter().filter(|finding| finding["tags"] == json!([1]));
    let codes: Vec<&Value> = without_effect.map(|finding| &finding["code"]).collect();
    assert_eq!(codes, ["platform-flag-on-stage"]);

    // Other platforms, other findings.
    client.notify("textDocument/didChange", edit(2, (0, 27), (0, 39), "")).await;
    assert_snapshot!(list(&client.published().await), @r#"
    5:29 warning platform-arg-undeclared: RUN reads $TARGETOS, which is empty without ARG TARGETOS in this stage
    6:5 warning platform-flag-on-stage: --platform=linux/arm64 is ignored, because "build" is a stage
    "#);
}

#[tokio::test]
async fn clients_that_know_less_are_told_less() {
    let mut client = Client::with(WRONG).await;
    let findings = client.published().await;
    assert!(findings.len() > 3);
    for finding in findings {
        assert_eq!((finding.get("tags"), finding.get("relatedInformation")), (None, None), "{finding}");
    }
    let answer = client.initialize(json!({})).await;
    assert!(answer["capabilities"].get("codeActionProvider").is_none(), "{answer}");
}

#[tokio::test]
async fn remedies_are_edits() {
    let mut client = Client::knowing(WRONG).await;
    let actions = client.actions(4, Some("quickfix")).await;
    assert_json_snapshot!([&actions[0]], @r#"
    [
      {
        "title": "Remove the default of TARGETARCH",
        "kind": "quickfix",
        "diagnostics": [
          {
            "range": {
              "start": {
                "line": 4,
                "character": 4
              },
              "end": {
                "line": 4,
                "character": 20
              }
            },
            "severity": 2,
            "code": "platform-arg-default",
            "source": "rbx",
            "message": "Default \"amd64\" of ARG TARGETARCH replaces the automatic value on linux/arm64 (fine on linux/amd64)",
            "data": {
              "platforms": [
                "linux/arm64"
              ]
            }
          }
        ],
        "edit": {
          "documentChanges": [
            {
              "textDocument": {
                "uri": "file:///work/Dockerfile",
                "version": 1
              },
              "edits": [
                {
                  "range": {
                    "start": {
                      "line": 4,
                      "character": 14
                    },
                    "end": {
                      "line": 4,
                      "character": 20
                    }
                  },
                  "newText": ""
                }
              ]
            }
          ]
        },
        "isPreferred": true
      }
    ]
    "#);
    for (only, count) in [
        (Some("quickfix"), 3),
        (Some("source"), 1),
        (Some(""), 4),
        (Some("refactor"), 0),
        (Some("quickfix.x"), 0),
    ] {
        assert_eq!(client.actions(4, only).await.as_array().unwrap().len(), count, "{only:?}");
    }
    assert_eq!(client.actions(1, Some("quickfix")).await, json!([]));
}

#[tokio::test]
async fn words_that_are_wrong_are_replaced() {
    let mut client = Client::connect();
    let literals = json!({ "codeActionLiteralSupport": { "codeActionKind": { "valueSet": ["quickfix"] } } });
    client.initialize(json!({ "textDocument": { "codeAction": literals } })).await;
    client.open("# x\nFROM a\nRUM make\n").await;
    let mut actions = client.actions(2, Some("quickfix")).await;
    assert_eq!(actions[0]["title"], "Replace RUM with RUN");
    assert_json_snapshot!(actions[0]["edit"].take(), @r#"
    {
      "changes": {
        "file:///work/Dockerfile": [
          {
            "range": {
              "start": {
                "line": 2,
                "character": 0
              },
              "end": {
                "line": 2,
                "character": 3
              }
            },
            "newText": "RUN"
          }
        ]
      }
    }
    "#);
}

#[tokio::test]
async fn flags_of_builds_count() {
    let mut client = Client::connect();
    let options = json!({
        "platforms": ["linux/amd64", "linux/arm64"],
        "buildFlags": ["--build-context=bin-arm64=docker-image://x", "--build-arg", "BASE=nothing/"],
    });
    client.initialize_with(json!({ "capabilities": {}, "initializationOptions": options })).await;
    let text =
        "# check=skip=InvalidDefaultArgInFrom\nARG BASE\nFROM ${BASE} AS bin-amd64\nFROM bin-${TARGETARCH}\n";
    client.open(text).await;
    assert_eq!(list(&client.published().await), "");
    let without = json!({ "settings": { "rbx": { "buildFlags": [] } } });
    client.notify("workspace/didChangeConfiguration", without).await;
    assert_snapshot!(list(&client.published().await), @r#"
    2:5 error -: base name (${BASE}) should not be blank
    3:5 error stage-selector-missing: No stage "bin-arm64" for FROM bin-${TARGETARCH} on linux/arm64 (fine on linux/amd64)
    "#);
}

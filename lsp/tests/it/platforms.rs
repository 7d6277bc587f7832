//! Which platforms a document is built for, and the lenses for them.

use insta::assert_json_snapshot;
use rbx_lsp::Surroundings;
use rbx_platform::Platform;
use serde_json::{Value, json};

use crate::client::{Client, URI, edit};

const COMMENT: &str = "# rbx: platforms=linux/amd64,linux/arm64\nFROM a\n";

impl Client {
    async fn lenses(&mut self) -> Value {
        self.request("textDocument/codeLens", json!({ "textDocument": { "uri": URI } })).await
    }

    /// The titles of the lenses that build.
    async fn titles(&mut self) -> String {
        let lenses = self.lenses().await;
        let title = |lens: &Value| lens["command"]["title"].as_str().unwrap().to_owned();
        let titles = lenses.as_array().unwrap().iter().map(title);
        titles.filter(|title| title.starts_with("build ")).collect::<Vec<_>>().join("; ")
    }

    pub(crate) async fn execute(&mut self, command: &str, arguments: Value) -> Value {
        self.request("workspace/executeCommand", json!({ "command": command, "arguments": arguments })).await
    }

    async fn platforms(&mut self) -> String {
        let answer = self.execute("rbx.platforms", json!([{ "uri": URI }])).await;
        let names = answer["platforms"].as_array().unwrap().iter().map(|name| name.as_str().unwrap());
        format!("{}: {}", answer["source"].as_str().unwrap(), names.collect::<Vec<_>>().join(", "))
    }
}

#[tokio::test]
async fn a_lens_for_each_platform_and_one_for_all() {
    let mut client = Client::with(COMMENT).await;
    let lenses = client.lenses().await;
    assert_json_snapshot!(lenses[0], @r#"
    {
      "range": {
        "start": {
          "line": 0,
          "character": 0
        },
        "end": {
          "line": 0,
          "character": 0
        }
      },
      "command": {
        "title": "build for linux/amd64",
        "command": "rbx.build",
        "arguments": [
          {
            "uri": "file:///work/Dockerfile",
            "platforms": [
              "linux/amd64"
            ]
          }
        ]
      }
    }
    "#);
    assert_eq!(client.titles().await, "build for linux/amd64; build for linux/arm64; build all platforms");
    assert_eq!(lenses[2]["command"]["arguments"][0]["platforms"], json!(["linux/amd64", "linux/arm64"]));
    client.notify("textDocument/didChange", edit(2, (0, 27), (0, 39), "")).await;
    assert_eq!(client.titles().await, "build for linux/amd64");
    client.notify("textDocument/didChange", edit(3, (1, 0), (1, 4), "FORM")).await;
    assert_eq!(client.titles().await, "", "there is no stage");
}

#[tokio::test]
async fn what_is_no_file_has_no_lenses() {
    let mut client = Client::with("").await;
    let item =
        json!({ "uri": "untitled:Untitled-1", "languageId": "dockerfile", "version": 1, "text": "FROM a" });
    client.notify("textDocument/didOpen", json!({ "textDocument": item })).await;
    let params = json!({ "textDocument": { "uri": "untitled:Untitled-1" } });
    assert_eq!(client.request("textDocument/codeLens", params).await, json!([]));
    let params = json!({ "textDocument": { "uri": "file:///not/open" } });
    assert_eq!(client.request("textDocument/codeLens", params).await, Value::Null);
}

#[tokio::test]
async fn a_document_says_it_or_the_client_or_the_environment() {
    let surroundings =
        Surroundings { platforms: vec![Platform::parse("linux/s390x").unwrap()], ..Surroundings::default() };
    let mut client = Client::connect_in(surroundings);
    let options = json!({ "platforms": ["linux/arm64"], "buildFlags": [] });
    client.initialize_with(json!({ "capabilities": {}, "initializationOptions": options })).await;
    client.open(COMMENT).await;
    assert_eq!(client.platforms().await, "comment: linux/amd64, linux/arm64");
    client.notify("textDocument/didChange", edit(2, (0, 0), (1, 0), "")).await;
    assert_eq!(client.platforms().await, "configuration: linux/arm64");

    // What is pushed goes before what was said in the beginning.
    let push = |settings: Value| json!({ "settings": settings });
    let method = "workspace/didChangeConfiguration";
    client.notify(method, push(json!({ "rbx": { "platforms": "linux/386,local" } }))).await;
    assert_eq!(client.platforms().await, format!("configuration: linux/386, {}", Platform::host()));
    client.notify(method, push(json!({ "rbx": { "platforms": ["linux/arm/v9/x"], "context": 1 } }))).await;
    let said = client.notification("window/showMessage").await;
    assert_eq!(
        said["message"],
        "rbx.platforms: \"linux/arm/v9/x\": cannot parse platform specifier: invalid argument"
    );
    assert_eq!(client.notification("window/showMessage").await["message"], "rbx.context: not a text");
    assert_eq!(client.platforms().await, "configuration: linux/arm64", "what it said in the beginning");
    client.notify(method, push(json!({ "rbx": { "platforms": [] } }))).await;
    assert_eq!(client.platforms().await, "default: linux/s390x");
}

#[tokio::test]
async fn the_configuration_is_asked_for_and_lenses_are_to_be_asked_for_again() {
    let mut client = Client::connect();
    client.configuration = json!({ "platforms": ["linux/riscv64"] });
    let capabilities = json!({ "workspace": {
        "configuration": true,
        "didChangeConfiguration": { "dynamicRegistration": true },
        "codeLens": { "refreshSupport": true },
    } });
    client.initialize(capabilities).await;
    let registered = client.notification("client/registerCapability").await;
    assert_eq!(registered["registrations"][0]["method"], "workspace/didChangeConfiguration");
    assert_eq!(
        client.notification("workspace/configuration").await,
        json!({ "items": [{ "section": "rbx" }] })
    );
    client.notification("workspace/codeLens/refresh").await;
    client.open("FROM a").await;
    assert_eq!(client.titles().await, "build for linux/riscv64");

    // A client that can be asked is asked again, whatever it sends.
    client.configuration = json!({ "platforms": ["linux/ppc64le"] });
    client.notify("workspace/didChangeConfiguration", json!({ "settings": null })).await;
    client.notification("workspace/codeLens/refresh").await;
    assert_eq!(client.titles().await, "build for linux/ppc64le");
}

#[tokio::test]
async fn names_of_no_platform_are_findings() {
    let mut client = Client::with("# rbx: platforms=linux/amd64,linux/ar*m\nFROM a\n").await;
    let published = client.notification("textDocument/publishDiagnostics").await;
    assert_json_snapshot!(published["diagnostics"], @r#"
    [
      {
        "range": {
          "start": {
            "line": 0,
            "character": 29
          },
          "end": {
            "line": 0,
            "character": 39
          }
        },
        "severity": 2,
        "source": "rbx",
        "message": "\"linux/ar*m\": wildcards not yet supported: invalid argument"
      }
    ]
    "#);
}

#[tokio::test]
async fn the_workflow_of_a_repository_says_it() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(directory.path().join(".github/workflows")).unwrap();
    let step = "{ uses: docker/build-push-action@v6, with: { platforms: \"linux/amd64,linux/s390x\" } }";
    let workflow = format!("jobs: {{ a: {{ steps: [{step}] }} }}");
    std::fs::write(directory.path().join(".github/workflows/ci.yml"), workflow).unwrap();
    let uri = format!("file://{}/Dockerfile", directory.path().display());
    let mut client = Client::connect();
    client.initialize(json!({})).await;
    let item = json!({ "uri": uri, "languageId": "dockerfile", "version": 1, "text": "FROM a\n" });
    client.notify("textDocument/didOpen", json!({ "textDocument": item })).await;
    let answer = client.execute("rbx.platforms", json!([{ "uri": uri }])).await;
    assert_eq!(answer, json!({ "platforms": ["linux/amd64", "linux/s390x"], "source": "workflow" }));
}

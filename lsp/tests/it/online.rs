//! Registries, and when they are asked.

use rbx_lsp::Surroundings;
use rbx_oci::{Digest, media_type};
use serde_json::{Value, json};

use crate::client::Client;
use crate::server::{Reply, Server};

impl Client {
    /// The findings that are published next.
    async fn found(&mut self) -> Vec<String> {
        let published = self.notification("textDocument/publishDiagnostics").await;
        let found = published["diagnostics"].as_array().unwrap().iter();
        found.map(|finding| finding["message"].as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test]
async fn registries_are_asked_where_it_is_allowed() {
    let manifest = json!({
        "mediaType": media_type::OCI_MANIFEST,
        "digest": Digest::sha256_of(b"").to_string(),
        "size": 1,
        "platform": { "os": "linux", "architecture": "s390x" },
    });
    let index = json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [manifest] });
    let index = index.to_string().into_bytes();
    let server = Server::start(move |_, _| {
        Reply::ok(index.clone())
            .header("Content-Type", media_type::OCI_INDEX)
            .header("Docker-Content-Digest", Digest::sha256_of(&index).to_string())
    })
    .await;
    let kept = tempfile::tempdir().unwrap();
    let surroundings = Surroundings { registries: Some(kept.path().to_owned()), ..Surroundings::default() };
    let mut client = Client::connect_in(surroundings);
    let options = json!({ "platforms": "linux/amd64" });
    client.initialize_with(json!({ "capabilities": {}, "initializationOptions": options })).await;
    let image = format!("{}/team/app:1", server.authority());
    client.open(&format!("FROM {image}\n")).await;
    assert_eq!(client.found().await, [""; 0]);

    let allow = |online: Value| json!({ "settings": { "rbx": { "online": online } } });
    client.notify("workspace/didChangeConfiguration", allow("yes".into())).await;
    let said = client.notification("window/showMessage").await;
    assert_eq!(said["message"], "rbx.online: neither true nor false");
    assert_eq!(server.requests().len(), 0, "nobody was asked");

    client.notify("workspace/didChangeConfiguration", allow(true.into())).await;
    assert_eq!(client.found().await, [""; 0], "what is known already comes first");
    let found = client.found().await;
    assert!(found.len() == 1 && found[0].contains(&image), "{found:?}");
    let asked = server.lines().len();
    assert!(asked > 0);

    // What was learned is kept, and is not asked for again.
    client.notify("textDocument/didChange", crate::client::edit(2, (1, 0), (1, 0), "#")).await;
    assert_eq!(client.found().await, found);
    client.notify("workspace/didChangeConfiguration", allow(false.into())).await;
    assert_eq!(client.found().await, found);
    assert_eq!(server.lines().len(), asked);
}

#[tokio::test]
async fn tags_are_offered_after_the_colon() {
    let server = Server::start(|request, _| match request.target.as_str() {
        "/v2/team/app/tags/list?n=1000" => {
            let page = json!({ "name": "team/app", "tags": ["not a tag", "1.9", "1.10"] });
            Reply::ok(page.to_string())
                .header("Link", "</v2/team/app/tags/list?n=1000&last=1.10>; rel=\"next\"")
        }
        "/v2/team/app/tags/list?n=1000&last=1.10" => {
            Reply::ok(json!({ "name": "team/app", "tags": ["1.10-slim", "latest"] }).to_string())
        }
        _ => Reply::status(404),
    })
    .await;
    let mut client = Client::connect();
    let options = json!({ "platforms": "linux/amd64", "online": true });
    client.initialize_with(json!({ "capabilities": {}, "initializationOptions": options })).await;
    let image = format!("{}/team/app", server.authority());
    client.open(&format!("FROM {image}:\nCOPY --from={image}:1.1 a b\nCOPY --from={image}/none: a b")).await;
    let end = |text: String| u32::try_from(text.len()).unwrap();
    let first = client.completion(0, end(format!("FROM {image}:"))).await;
    assert_eq!(first, ["latest", "1.10-slim", "1.10", "1.9"]);
    let asked = server.lines().iter().filter(|line| line.contains("tags/list")).count();
    assert_eq!(client.completion(1, end(format!("COPY --from={image}:1.1"))).await, ["1.10-slim", "1.10"]);
    assert_eq!(server.lines().iter().filter(|line| line.contains("tags/list")).count(), asked);
    assert_eq!(client.completion(2, end(format!("COPY --from={image}/none:"))).await, [""; 0]);
    // Without permission nobody is asked, and there are none.
    client
        .notify("workspace/didChangeConfiguration", json!({ "settings": { "rbx": { "online": false } } }))
        .await;
    let asked = server.requests().len();
    assert!(!client.completion(0, end(format!("FROM {image}:"))).await.contains(&"latest".to_owned()));
    assert_eq!(server.requests().len(), asked);
}

impl Client {
    /// The labels of what is offered.
    async fn completion(&mut self, line: u32, character: u32) -> Vec<String> {
        let position = json!({ "line": line, "character": character });
        let params = json!({ "textDocument": { "uri": crate::client::URI }, "position": position });
        let list = self.request("textDocument/completion", params).await;
        let items = list["items"].as_array().unwrap().iter();
        items.map(|item| item["label"].as_str().unwrap().to_owned()).collect()
    }
}

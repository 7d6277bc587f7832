//! The other end of a session.

use std::time::Duration;

use rbx_lsp::{Ended, Surroundings, serve};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream, ReadHalf, WriteHalf};
use tokio::task::JoinHandle;

/// The document.
pub(crate) const URI: &str = "file:///work/Dockerfile";

/// An editor, which answers what the server asks.
pub(crate) struct Client {
    input: BufReader<ReadHalf<DuplexStream>>,
    pub(crate) output: WriteHalf<DuplexStream>,
    pub(crate) server: JoinHandle<Ended>,
    last_id: i64,
    /// Notifications that came while an answer was awaited.
    notifications: Vec<Value>,
    /// What it answers when it is asked for its configuration.
    pub(crate) configuration: Value,
}

impl Client {
    pub(crate) fn connect() -> Self {
        Self::connect_in(Surroundings::default())
    }

    pub(crate) fn connect_in(surroundings: Surroundings) -> Self {
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let (input, output) = tokio::io::split(theirs);
        let server = tokio::spawn(serve(input, output, surroundings));
        let (input, output) = tokio::io::split(ours);
        Self {
            input: BufReader::new(input),
            output,
            server,
            last_id: 0,
            notifications: Vec::new(),
            configuration: Value::Null,
        }
    }

    /// A client that knows everything, with a document open.
    pub(crate) async fn with(text: &str) -> Self {
        let mut client = Self::connect();
        let capabilities = json!({
            "textDocument": {
                "documentSymbol": { "hierarchicalDocumentSymbolSupport": true },
                "hover": { "contentFormat": ["markdown", "plaintext"] },
            }
        });
        let options = json!({ "platforms": "linux/amd64" });
        client
            .initialize_with(json!({ "capabilities": capabilities, "initializationOptions": options }))
            .await;
        client.open(text).await;
        client
    }

    pub(crate) async fn initialize(&mut self, capabilities: Value) -> Value {
        self.initialize_with(json!({ "capabilities": capabilities })).await
    }

    pub(crate) async fn initialize_with(&mut self, params: Value) -> Value {
        let answer = self.request("initialize", params).await;
        self.notify("initialized", json!({})).await;
        answer
    }

    pub(crate) async fn open(&mut self, text: &str) {
        let item = json!({ "uri": URI, "languageId": "dockerfile", "version": 1, "text": text });
        self.notify("textDocument/didOpen", json!({ "textDocument": item })).await;
    }

    pub(crate) async fn send(&mut self, message: &Value) {
        self.output.write_all(framed(message).as_bytes()).await.unwrap();
    }

    pub(crate) async fn notify(&mut self, method: &str, params: Value) {
        self.send(&json!({ "jsonrpc": "2.0", "method": method, "params": params })).await;
    }

    pub(crate) async fn request(&mut self, method: &str, params: Value) -> Value {
        self.last_id += 1;
        let id = self.last_id;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })).await;
        self.answer(id).await
    }

    pub(crate) async fn answer(&mut self, id: i64) -> Value {
        loop {
            let message = self.receive().await;
            if message["id"] == id && message.get("method").is_none() {
                return message.get("result").or(message.get("error")).cloned().unwrap_or_default();
            }
            self.notifications.push(message);
        }
    }

    pub(crate) async fn notification(&mut self, method: &str) -> Value {
        loop {
            if let Some(at) = self.notifications.iter().position(|message| message["method"] == method) {
                return self.notifications.remove(at)["params"].take();
            }
            let message = self.receive().await;
            self.notifications.push(message);
        }
    }

    pub(crate) async fn receive(&mut self) -> Value {
        let read = async {
            let mut length = 0;
            loop {
                let mut line = String::new();
                assert!(self.input.read_line(&mut line).await.unwrap() > 0, "the server went away");
                match line.trim_end().split_once(": ") {
                    Some(("Content-Length", value)) => length = value.parse().unwrap(),
                    Some(_) => {}
                    None => break,
                }
            }
            let mut body = vec![0; length];
            self.input.read_exact(&mut body).await.unwrap();
            serde_json::from_slice(&body).unwrap()
        };
        let message: Value =
            tokio::time::timeout(Duration::from_secs(20), read).await.expect("the server says nothing");
        if let (Some(id), Some(method)) = (message.get("id"), message.get("method")) {
            let result = match method.as_str() {
                Some("workspace/configuration") => json!([self.configuration]),
                _ => Value::Null,
            };
            self.send(&json!({ "jsonrpc": "2.0", "id": id, "result": result })).await;
        }
        message
    }

    pub(crate) async fn symbols(&mut self) -> Value {
        self.request("textDocument/documentSymbol", json!({ "textDocument": { "uri": URI } })).await
    }

    pub(crate) async fn hover(&mut self, line: u32, character: u32) -> Value {
        let position = json!({ "line": line, "character": character });
        self.request("textDocument/hover", json!({ "textDocument": { "uri": URI }, "position": position }))
            .await
    }

    pub(crate) async fn end(mut self) -> Ended {
        assert_eq!(self.request("shutdown", Value::Null).await, Value::Null);
        self.send(&json!({ "jsonrpc": "2.0", "method": "exit" })).await;
        tokio::time::timeout(Duration::from_secs(20), self.server).await.unwrap().unwrap()
    }
}

/// A message with its header.
pub(crate) fn framed(message: &Value) -> String {
    let body = message.to_string();
    format!("Content-Length: {}\r\n\r\n{body}", body.len())
}

/// An edit of the document: what is between two places becomes a text.
pub(crate) fn edit(version: i32, from: (u32, u32), to: (u32, u32), text: &str) -> Value {
    let place = |(line, character)| json!({ "line": line, "character": character });
    json!({
        "textDocument": { "uri": URI, "version": version },
        "contentChanges": [{ "range": { "start": place(from), "end": place(to) }, "text": text }],
    })
}

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
    /// What came while something else was awaited.
    notifications: Vec<Value>,
    /// What it answers when it is asked for its configuration.
    pub(crate) configuration: Value,
    /// What it picks of what it is offered.
    pub(crate) picks: Value,
    /// It does not answer what it is asked.
    pub(crate) silent: bool,
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
            picks: Value::Null,
            silent: false,
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

    /// The same for a text in which marks say what is asked about: see [`marked`].
    pub(crate) async fn with_marks(text: &str) -> (Self, Vec<Value>) {
        let (text, places) = marked(text);
        (Self::with(&text).await, places)
    }

    /// Asks about a place in the document. `more` are further parameters.
    pub(crate) async fn ask(&mut self, method: &str, place: &Value, more: Value) -> Value {
        let mut params = json!({ "textDocument": { "uri": URI }, "position": place });
        if let (Some(params), Value::Object(more)) = (params.as_object_mut(), more) {
            params.extend(more);
        }
        self.request(method, params).await
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

    /// Asks, and does not wait for the answer.
    pub(crate) async fn begin(&mut self, id: i64, method: &str, params: Value) {
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })).await;
    }

    /// How many publications came that nobody asked about.
    pub(crate) fn pushed(&self) -> usize {
        let is_push = |message: &&Value| message["method"] == "textDocument/publishDiagnostics";
        self.notifications.iter().filter(is_push).count()
    }

    pub(crate) async fn answer(&mut self, id: i64) -> Value {
        let came = |message: &Value| message["id"] == id && message.get("method").is_none();
        if let Some(at) = self.notifications.iter().position(came) {
            let message = self.notifications.remove(at);
            return message.get("result").or(message.get("error")).cloned().unwrap_or_default();
        }
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
        if let (Some(id), Some(method), false) = (message.get("id"), message.get("method"), self.silent) {
            let result = match method.as_str() {
                Some("workspace/configuration") => json!([self.configuration]),
                Some("window/showMessageRequest") => {
                    let offered = message["params"]["actions"].as_array().unwrap();
                    offered.iter().find(|action| action["title"] == self.picks).cloned().unwrap_or_default()
                }
                Some("workspace/applyEdit") => json!({ "applied": true }),
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

/// What stands in a text where something is asked about it. Lines of the text are numbered from 0.
pub(crate) const MARK: char = '‸';

/// A text without its marks, and where these stood, in UTF-16.
pub(crate) fn marked(text: &str) -> (String, Vec<Value>) {
    let mut places = Vec::new();
    let mut plain = String::new();
    for c in text.chars() {
        if c == MARK {
            let line = plain.rsplit('\n').next().unwrap_or_default();
            let (line, column) = (plain.matches('\n').count(), line.encode_utf16().count());
            places.push(json!({ "line": line, "character": column }));
        } else {
            plain.push(c);
        }
    }
    (plain, places)
}

/// An answer that is easy to read: positions are `1:4`, ranges `1:4-1:9`, and places in the document are ranges.
pub(crate) fn compact(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let keys: Vec<&str> = fields.keys().map(String::as_str).collect();
            match keys[..] {
                ["character", "line"] | ["line", "character"] => {
                    format!("{}:{}", value["line"], value["character"]).into()
                }
                ["start", "end"] | ["end", "start"] => range(value).into(),
                ["uri", "range"] | ["range", "uri"] if value["uri"] == URI => range(&value["range"]).into(),
                ["range", "newText"] | ["newText", "range"] => {
                    format!("{} {}", range(&value["range"]), value["newText"]).into()
                }
                _ => fields.iter().map(|(key, value)| (key.clone(), compact(value))).collect(),
            }
        }
        Value::Array(items) => items.iter().map(compact).collect(),
        other => other.clone(),
    }
}

/// [`compact`] for a snapshot: one line if it is a text, a line for each part of a list of texts, else indented JSON.
pub(crate) fn shown(value: &Value) -> String {
    let line = |value: &Value| value.as_str().map(str::to_owned);
    let value = compact(value);
    let lines = value.as_array().and_then(|items| items.iter().map(line).collect::<Option<Vec<_>>>());
    match lines.filter(|lines| !lines.is_empty()) {
        Some(lines) => lines.join("\n"),
        None => line(&value).unwrap_or_else(|| serde_json::to_string_pretty(&value).unwrap()),
    }
}

fn range(value: &Value) -> String {
    let place = |end: &str| format!("{}:{}", value[end]["line"], value[end]["character"]);
    format!("{}-{}", place("start"), place("end"))
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

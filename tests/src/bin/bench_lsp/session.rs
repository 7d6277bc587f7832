//! A session with a server, as an editor has it.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Why nothing is measured any more.
const OUT_OF_TIME: &str = "out of time";
/// The document.
pub(crate) const URI: &str = "file:///nowhere/Dockerfile";

/// A server that runs, and what it says.
pub(crate) struct Session {
    process: u32,
    child: Arc<Mutex<Child>>,
    /// Dropped at the end, which the thread that watches over the process waits for.
    _over: Sender<()>,
    input: ChildStdin,
    said: Receiver<(Instant, Value)>,
    deadline: Instant,
    ids: i64,
    version: i64,
    /// What it says it can.
    capabilities: Value,
}

impl Session {
    /// Starts a server, which is killed at `deadline`; answers how long that took until it had introduced itself.
    pub(crate) fn start(
        program: &Path,
        arguments: &[&str],
        deadline: Instant,
    ) -> Result<(Self, Duration), String> {
        if Instant::now() >= deadline {
            return Err(OUT_OF_TIME.to_owned());
        }
        let begun = Instant::now();
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("{error}: {}", program.display()))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("it has no pipes".to_owned());
        };
        let (sender, said) = channel();
        std::thread::spawn(move || {
            let mut output = BufReader::new(output);
            while let Some(message) = receive(&mut output) {
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let process = child.id();
        let child = Arc::new(Mutex::new(child));
        let (over, watched) = channel::<()>();
        let doomed = Arc::clone(&child);
        std::thread::spawn(move || {
            let left = deadline.saturating_duration_since(Instant::now());
            if watched.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
                // Else something could be written to it forever.
                end(&doomed);
            }
        });
        let mut session = Self {
            process,
            child,
            _over: over,
            input,
            said,
            deadline,
            ids: 0,
            version: 1,
            capabilities: Value::Null,
        };
        let dynamic = json!({ "dynamicRegistration": false });
        let params = json!({
            "processId": std::process::id(),
            "rootUri": null,
            "capabilities": {
                "workspace": { "configuration": true, "applyEdit": true },
                "textDocument": {
                    "synchronization": dynamic,
                    "publishDiagnostics": { "relatedInformation": true, "versionSupport": true },
                    "completion": { "completionItem": { "snippetSupport": true } },
                    "hover": { "contentFormat": ["markdown"] },
                    "documentSymbol": { "hierarchicalDocumentSymbolSupport": true },
                    "formatting": dynamic,
                    "semanticTokens": {
                        "requests": { "full": true, "range": true },
                        "tokenTypes": ["keyword", "comment", "parameter", "property", "namespace", "class",
                            "macro", "string", "variable", "operator", "number", "function"],
                        "tokenModifiers": ["declaration", "definition", "deprecated", "readonly"],
                        "formats": ["relative"],
                    },
                },
            },
        });
        let (_, answer) = session.request("initialize", &params)?;
        let took = begun.elapsed();
        session.capabilities = answer["capabilities"].clone();
        session.notify("initialized", &json!({}));
        Ok((session, took))
    }

    fn send(&mut self, message: &Value) {
        let body = message.to_string();
        // Who went away says nothing any more, which is noticed.
        let _ = write!(self.input, "Content-Length: {}\r\n\r\n{body}", body.len());
        let _ = self.input.flush();
    }

    pub(crate) fn notify(&mut self, method: &str, params: &Value) {
        self.send(&json!({ "jsonrpc": "2.0", "method": method, "params": params }));
    }

    /// Takes the next thing that the server says, and answers it if it is a question.
    fn next(&mut self, until: Instant) -> Result<(Instant, Value), String> {
        let left = until.min(self.deadline).saturating_duration_since(Instant::now());
        let (at, message) = self.said.recv_timeout(left).map_err(|error| match error {
            _ if Instant::now() >= self.deadline => OUT_OF_TIME.to_owned(),
            RecvTimeoutError::Timeout => "no answer".to_owned(),
            RecvTimeoutError::Disconnected => "it has ended".to_owned(),
        })?;
        if let (Some(id), Some(method)) = (message.get("id"), message["method"].as_str()) {
            let result = match method {
                "workspace/configuration" => {
                    let items = message["params"]["items"].as_array().map_or(0, Vec::len);
                    vec![Value::Null; items].into()
                }
                _ => Value::Null,
            };
            let answer = json!({ "jsonrpc": "2.0", "id": id, "result": result });
            self.send(&answer);
        }
        Ok((at, message))
    }

    /// Asks, and answers how long the answer took.
    pub(crate) fn request(&mut self, method: &str, params: &Value) -> Result<(Duration, Value), String> {
        self.ids += 1;
        let id = self.ids;
        let begun = Instant::now();
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        loop {
            let (at, mut message) = self.next(begun + PATIENCE)?;
            if message["id"] == id && message.get("method").is_none() {
                return match message.get("error") {
                    Some(error) => Err(error["message"].to_string()),
                    None => Ok((at - begun, message["result"].take())),
                };
            }
        }
    }

    /// Waits for findings that are as wanted; answers when they came, and how many publications came until then.
    pub(crate) fn findings(&mut self, wanted: impl Fn(&[Value]) -> bool) -> Result<(Instant, usize), String> {
        let until = Instant::now() + PATIENCE;
        let mut count = 0;
        loop {
            let (at, message) = self.next(until)?;
            if is_publication(&message) {
                count += 1;
                let list = message["params"]["diagnostics"].as_array();
                if list.is_some_and(|list| wanted(list)) {
                    return Ok((at, count));
                }
            }
        }
    }

    /// Lets the server say what it has to say for this long.
    pub(crate) fn rest(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while self.next(until).is_ok() {}
    }

    /// Waits until findings have come that are as wanted, and then no others for this long; answers when the last came,
    /// and how many did.
    pub(crate) fn settle(
        &mut self,
        quiet: Duration,
        wanted: impl Fn(&[Value]) -> bool,
    ) -> Result<(Instant, usize), String> {
        let (mut last, mut count) = (Instant::now(), 0);
        loop {
            let (at, number) = self.findings(&wanted)?;
            (last, count) = (at.max(last), count + number);
            let is_last = loop {
                match self.next(last + quiet) {
                    Ok((at, message)) if is_publication(&message) => {
                        (last, count) = (at, count + 1);
                        let list = message["params"]["diagnostics"].as_array();
                        if !list.is_some_and(|list| wanted(list)) {
                            break false;
                        }
                    }
                    Ok(_) => {}
                    Err(_) => break true,
                }
            };
            if is_last {
                return Ok((last, count));
            }
        }
    }

    /// Whether it says that it can answer this.
    pub(crate) fn can(&self, capability: &str) -> bool {
        !matches!(self.capabilities.get(capability), None | Some(Value::Null | Value::Bool(false)))
    }

    pub(crate) fn open(&mut self, text: &str) -> Instant {
        self.version += 1;
        let item = json!({ "uri": URI, "languageId": "dockerfile", "version": self.version, "text": text });
        let begun = Instant::now();
        self.notify("textDocument/didOpen", &json!({ "textDocument": item }));
        begun
    }

    pub(crate) fn close(&mut self) {
        self.notify("textDocument/didClose", &json!({ "textDocument": { "uri": URI } }));
    }

    /// Replaces columns of a line; where the server takes whole texts only, it gets `whole`.
    pub(crate) fn edit(&mut self, line: usize, columns: (usize, usize), text: &str, whole: &str) -> Instant {
        self.version += 1;
        let sync = &self.capabilities["textDocumentSync"];
        let kind = sync.as_i64().or_else(|| sync["change"].as_i64());
        let change = if kind == Some(2) {
            let place = |column: usize| json!({ "line": line, "character": column });
            let range = json!({ "start": place(columns.0), "end": place(columns.1) });
            json!({ "range": range, "text": text })
        } else {
            json!({ "text": whole })
        };
        let document = json!({ "uri": URI, "version": self.version });
        let begun = Instant::now();
        self.notify(
            "textDocument/didChange",
            &json!({ "textDocument": document, "contentChanges": [change] }),
        );
        begun
    }

    /// Memory of the process in MiB: now, and at most until now.
    pub(crate) fn memory(&self) -> (f64, f64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process)).unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            let kib: f64 = line.split_whitespace().next().and_then(|it| it.parse().ok()).unwrap_or_default();
            kib / 1024.0
        };
        (field("VmRSS:"), field("VmHWM:"))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        end(&self.child);
    }
}

fn end(child: &Mutex<Child>) {
    let mut child = child.lock().unwrap_or_else(PoisonError::into_inner);
    let _ = child.kill();
    let _ = child.wait();
}

fn is_publication(message: &Value) -> bool {
    message["method"] == "textDocument/publishDiagnostics" && message["params"]["uri"] == URI
}

/// A message, and when all of it had come.
fn receive(output: &mut impl BufRead) -> Option<(Instant, Value)> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if output.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().ok()?;
            }
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    output.read_exact(&mut body).ok()?;
    Some((Instant::now(), serde_json::from_slice(&body).ok()?))
}

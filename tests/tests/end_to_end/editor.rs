//! Builds that are started from an editor: over the protocol, and by a real one.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use rbx_tests::binfmt::Untouched;
use rbx_tests::{Engine, Parts, Store, User, rbx, rbx_as, rbx_program};
use serde_json::{Value, json};

/// A server that says nothing for so long hangs.
const LONGEST: Duration = Duration::from_mins(1);

/// The tests of this module.
pub(crate) fn trials() -> Vec<Trial> {
    let trial = |name: &str, test: fn() -> Result<(), String>| {
        Trial::test(format!("editor::{name}"), move || test().map_err(Failed::from))
    };
    vec![
        trial("a_build_fails_is_mended_and_cancelled", a_build_fails_is_mended_and_cancelled),
        trial("an_ordinary_user_builds", an_ordinary_user_builds),
        trial("an_engine_of_docker_builds", an_engine_of_docker_builds),
        trial("a_step_fails_where_it_is_emulated", a_step_fails_where_it_is_emulated),
        trial("a_build_ends_with_a_server_that_is_killed", a_build_ends_with_a_server_that_is_killed),
        trial("neovim_of_the_machine", || neovim(Path::new("nvim"))),
        trial("neovim_of_the_parts", || neovim(&Parts::locate().neovim())),
    ]
}

/// A server with one document, of which the test is the editor.
struct Editor {
    server: Child,
    input: ChildStdin,
    messages: Receiver<Value>,
    /// Notifications and requests of the server that the test did not look at yet.
    waiting: Vec<Value>,
    uri: String,
    version: i32,
    last_id: i64,
}

impl Editor {
    /// Starts `docker-rbx`, and opens a document in a directory.
    fn open(mut rbx: Command, directory: &Path, parts: &Parts, text: &str) -> Result<Self, String> {
        let mut server = rbx
            .arg("lsp")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("the server does not start: {error}"))?;
        let input = server.stdin.take().ok_or("no input")?;
        let mut output = BufReader::new(server.stdout.take().ok_or("no output")?);
        let (sender, messages) = channel();
        thread::spawn(move || {
            while let Some(message) = receive(&mut output) {
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let uri = format!("file://{}", directory.join("Dockerfile").display());
        let mut editor = Self { server, input, messages, waiting: Vec::new(), uri, version: 1, last_id: 0 };
        let base = format!("--build-context=base=oci-layout://{}", parts.layout("busybox").display());
        editor.request(
            "initialize",
            &json!({
                "capabilities": { "window": { "workDoneProgress": true } },
                "initializationOptions": { "buildFlags": [base, "--network=none"], "platforms": ["linux/amd64", "linux/arm64"] },
            }),
        )?;
        editor.notify("initialized", &json!({}))?;
        let item = json!({ "uri": editor.uri, "languageId": "dockerfile", "version": 1, "text": text });
        editor.notify("textDocument/didOpen", &json!({ "textDocument": item }))?;
        Ok(editor)
    }

    fn send(&mut self, message: &Value) -> Result<(), String> {
        let body = message.to_string();
        write!(self.input, "Content-Length: {}\r\n\r\n{body}", body.len())
            .and_then(|()| self.input.flush())
            .map_err(|error| format!("the server is gone: {error}"))
    }

    fn notify(&mut self, method: &str, params: &Value) -> Result<(), String> {
        self.send(&json!({ "jsonrpc": "2.0", "method": method, "params": params }))
    }

    fn request(&mut self, method: &str, params: &Value) -> Result<Value, String> {
        self.last_id += 1;
        let id = self.last_id;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }))?;
        loop {
            let mut message = self.receive()?;
            if message["id"] == id && message.get("method").is_none() {
                return Ok(message["result"].take());
            }
            self.waiting.push(message);
        }
    }

    fn receive(&mut self) -> Result<Value, String> {
        let message = self.messages.recv_timeout(LONGEST).map_err(|_| "the server says nothing")?;
        if let (Some(id), Some(_)) = (message.get("id"), message.get("method")) {
            let answer = json!({ "jsonrpc": "2.0", "id": id, "result": null });
            self.send(&answer)?;
        }
        Ok(message)
    }

    /// The next message with this method that is as wanted; what it says.
    fn next(&mut self, method: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value, String> {
        let is = |message: &Value| message["method"] == method && wanted(&message["params"]);
        loop {
            if let Some(at) = self.waiting.iter().position(is) {
                return Ok(self.waiting.remove(at)["params"].take());
            }
            let message = self.receive()?;
            self.waiting.push(message);
        }
    }

    /// Runs the lens with this title.
    fn run(&mut self, title: &str) -> Result<(), String> {
        let lenses =
            self.request("textDocument/codeLens", &json!({ "textDocument": { "uri": self.uri } }))?;
        let mut commands = lenses.as_array().into_iter().flatten().map(|lens| &lens["command"]);
        let command = commands.find(|command| command["title"] == title).cloned();
        let command = command.ok_or_else(|| format!("no lens {title:?} in {lenses}"))?;
        self.request("workspace/executeCommand", &command).map(|_| ())
    }

    /// What is shown to the user when a build has ended.
    fn shown(&mut self) -> Result<String, String> {
        let shown = self.next("window/showMessage", |_| true)?;
        Ok(shown["message"].as_str().unwrap_or_default().to_owned())
    }

    /// What a build has written, until it has written this.
    fn logged(&mut self, text: &str) -> Result<(), String> {
        let has = |params: &Value| params["message"].as_str().is_some_and(|said| said.contains(text));
        self.next("window/logMessage", has).map(|_| ())
    }

    /// Waits until this is known of the document's steps.
    fn knows(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<(), String> {
        let command = json!({ "command": "rbx.state", "arguments": [{ "uri": self.uri }] });
        let since = Instant::now();
        loop {
            let state = self.request("workspace/executeCommand", &command)?;
            if wanted(&state) {
                return Ok(());
            }
            check(since.elapsed() < LONGEST, what, &state)?;
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Makes the document another; the findings after that.
    fn change(&mut self, text: &str) -> Result<Vec<Value>, String> {
        self.version += 1;
        let document = json!({ "uri": self.uri, "version": self.version });
        let changes = json!({ "textDocument": document, "contentChanges": [{ "text": text }] });
        self.notify("textDocument/didChange", &changes)?;
        self.findings()
    }

    /// The next findings for the document as it is now.
    fn findings(&mut self) -> Result<Vec<Value>, String> {
        let version = self.version;
        let mut published =
            self.next("textDocument/publishDiagnostics", |params| params["version"] == version)?;
        serde_json::from_value(published["diagnostics"].take()).map_err(|error| error.to_string())
    }

    fn end(mut self) -> Result<(), String> {
        self.request("shutdown", &Value::Null)?;
        self.notify("exit", &Value::Null)?;
        let status = self.server.wait().map_err(|error| error.to_string())?;
        if status.success() { Ok(()) } else { Err(format!("the server ended with {status}")) }
    }
}

impl Drop for Editor {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn receive(output: &mut impl BufRead) -> Option<Value> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if output.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end().split_once(": ") {
            Some(("Content-Length", value)) => length = value.parse().ok()?,
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    output.read_exact(&mut body).ok()?;
    serde_json::from_slice(&body).ok()
}

fn check(holds: bool, what: &str, seen: &impl std::fmt::Debug) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("{what}: {seen:?}")) }
}

/// A Dockerfile for two platforms whose `RUN` is for the machine's.
fn dockerfile(run: &str) -> String {
    format!(
        "FROM --platform=$BUILDPLATFORM base AS build\nRUN {run}\nFROM base\nCOPY --from=build /etc/passwd /\nCOPY a /\n"
    )
}

fn project(directory: &Path) -> PathBuf {
    let project = directory.join("project");
    fs::create_dir(&project).expect("a directory");
    fs::write(project.join("a"), "a").expect("a file");
    project
}

/// Whether all steps are as wanted, of which there are some.
fn all_are(state: &Value, wanted: &[&str]) -> bool {
    let steps = state["steps"].as_array().filter(|steps| !steps.is_empty());
    let is = |step: &Value| step["state"].as_str().is_some_and(|state| wanted.contains(&state));
    steps.is_some_and(|steps| steps.iter().all(is))
}

/// Fails a build, mends it and builds again, and cancels one; `asked` is whether the builder can be asked what is cached.
fn session(mut editor: Editor, asked: bool) -> Result<(), String> {
    let first = editor.findings()?;
    check(first.is_empty(), "nothing is wrong", &first)?;

    editor.run("build all platforms")?;
    let begun = editor.next("$/progress", |params| params["value"]["kind"] == "begin")?;
    check(begun["value"]["cancellable"] == true, "the progress", &begun)?;
    let running = |params: &Value| {
        params["value"]["message"].as_str().is_some_and(|step| step.contains("RUN echo hello"))
    };
    let moved = editor.next("$/progress", running)?;
    check(moved["value"]["percentage"].as_u64().is_some_and(|it| it < 100), "the progress", &moved)?;
    editor.logged("hello from the step")?;
    let shown = editor.shown()?;
    check(
        shown.starts_with("failed to build Dockerfile for linux/amd64, linux/arm64: "),
        "a failure",
        &shown,
    )?;
    check(shown.ends_with("did not complete successfully: exit code: 3"), "a failure", &shown)?;
    let findings = editor.findings()?;
    check(findings.len() == 1, "a finding", &findings)?;
    check(findings[0]["range"]["start"] == json!({ "line": 1, "character": 0 }), "its place", &findings)?;
    check(findings[0]["data"]["platforms"] == json!(["linux/amd64"]), "its platforms", &findings)?;
    let message = findings[0]["message"].as_str().unwrap_or_default();
    check(message.ends_with("(built for linux/amd64)\n  hello from the step"), "its cause", &message)?;
    editor.next("$/progress", |params| params["value"]["kind"] == "end")?;

    let findings = editor.change(&dockerfile("echo hello from the step"))?;
    check(findings.is_empty(), "the line has changed", &findings)?;
    editor.run("build all platforms")?;
    let shown = editor.shown()?;
    let built = shown.starts_with("built Dockerfile for linux/amd64, linux/arm64: ");
    check(built && shown.contains("sha256:"), "an image", &shown)?;
    let is_of = |state: &Value| state["lastBuild"] == !asked;
    editor.knows("what is cached", |state| {
        is_of(state) && all_are(state, if asked { &["cached"] } else { &["cached", "run"] })
    })?;

    editor.change(&dockerfile("echo begun && sleep 60"))?;
    editor.run("build for linux/arm64")?;
    editor.logged("begun")?;
    let argument = json!({ "command": "rbx.cancel", "arguments": [{ "uri": editor.uri }] });
    let since = Instant::now();
    check(editor.request("workspace/executeCommand", &argument)? == true, "a build to cancel", &())?;
    let shown = editor.shown()?;
    check(shown == "cancelled the build of Dockerfile for linux/arm64", "the end", &shown)?;
    check(since.elapsed() < Duration::from_secs(30), "it ends soon", &since.elapsed())?;
    editor.end()
}

const FAILING: &str = "echo hello from the step; sleep 1; exit 3";

fn a_build_fails_is_mended_and_cancelled() -> Result<(), String> {
    let (parts, directory) = (Parts::locate(), tempfile::tempdir().expect("a temporary directory"));
    let project = project(directory.path());
    // What is on disk is not what is built.
    fs::write(project.join("Dockerfile"), "FROM nothing\n").expect("a Dockerfile");
    session(Editor::open(rbx(&parts, directory.path()), &project, &parts, &dockerfile(FAILING))?, true)
}

fn an_engine_of_docker_builds() -> Result<(), String> {
    let (parts, directory) = (Parts::locate(), tempfile::tempdir().expect("a temporary directory"));
    let engine = Engine::start(Store::Containerd);
    let mut rbx = engine.command(&rbx_program());
    rbx.env("BUILDX_BUILDER", "default");
    session(Editor::open(rbx, &project(directory.path()), &parts, &dockerfile(FAILING))?, false)
}

fn an_ordinary_user_builds() -> Result<(), String> {
    let (parts, user) = (Parts::locate(), User::with_ranges());
    let directory = tempfile::tempdir().expect("a temporary directory");
    user.own(directory.path());
    let project = project(directory.path());
    let rbx = rbx_as(&user, &parts, directory.path());
    session(Editor::open(rbx, &project, &parts, &dockerfile(FAILING))?, true)
}

/// Of two platforms, only the foreign one fails.
fn a_step_fails_where_it_is_emulated() -> Result<(), String> {
    let _host = Untouched::hold();
    let (parts, directory) = (Parts::locate(), tempfile::tempdir().expect("a temporary directory"));
    let project = project(directory.path());
    let qemu = parts.program("qemu-aarch64").parent().map(Path::to_owned);
    let settings = json!({ "emulation": { "qemu": { "directories": [qemu], "image": "" } } });
    fs::create_dir_all(directory.path().join("config/rbx")).expect("a directory");
    fs::write(directory.path().join("config/rbx/config.json"), settings.to_string()).expect("settings");

    let text = "FROM base\nRUN uname -m; test $(uname -m) != aarch64\n";
    let mut editor = Editor::open(rbx(&parts, directory.path()), &project, &parts, text)?;
    editor.findings()?;
    editor.run("build all platforms")?;
    editor.shown()?;
    let findings = editor.findings()?;
    check(findings.len() == 1, "a finding", &findings)?;
    check(findings[0]["data"]["platforms"] == json!(["linux/arm64"]), "its platform", &findings)?;
    let message = findings[0]["message"].as_str().unwrap_or_default();
    check(message.ends_with("(built for linux/arm64)\n  aarch64"), "what it wrote", &message)?;

    // A build for the other platform says nothing about this one.
    editor.run("build for linux/amd64")?;
    let shown = editor.shown()?;
    check(shown.starts_with("built Dockerfile for linux/amd64: sha256:"), "an image", &shown)?;
    let findings = editor.findings()?;
    check(findings.len() == 1, "the finding stays", &findings)?;
    editor.end()
}

/// Processes with this in their command line.
fn alive(mark: &str) -> usize {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let lines = processes.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| String::from_utf8_lossy(line).contains(mark)).count()
}

fn a_build_ends_with_a_server_that_is_killed() -> Result<(), String> {
    let (parts, directory) = (Parts::locate(), tempfile::tempdir().expect("a temporary directory"));
    let project = project(directory.path());
    let mark = format!("{}.25", 400_000 + std::process::id());
    let text = dockerfile(&format!("echo begun && sleep {mark}"));
    let mut rbx = rbx(&parts, directory.path());
    // A server that is killed leaves the files of its build there.
    rbx.env("TMPDIR", directory.path());
    let mut editor = Editor::open(rbx, &project, &parts, &text)?;
    editor.run("build for linux/amd64")?;
    editor.logged("begun")?;
    let is_building = || alive(&mark) > 0 || alive(&project.display().to_string()) > 0;
    check(is_building(), "a step", &mark)?;
    editor.server.kill().map_err(|error| error.to_string())?;
    let since = Instant::now();
    while is_building() {
        check(since.elapsed() < LONGEST, "the build goes on", &alive(&mark))?;
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// The session of the plugin's own tests.
fn neovim(nvim: &Path) -> Result<(), String> {
    let (parts, directory) = (Parts::locate(), tempfile::tempdir().expect("a temporary directory"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../editors/neovim/test/run.sh");
    let run = Command::new("sh")
        .arg(script)
        .args([Path::new("builds"), nvim, &rbx_program(), Path::new("lsp")])
        .env("RBX_ROOT", directory.path())
        .env("BUILDX_BUILDER", "embedded")
        .env("RBX_TEST_BASE", format!("oci-layout://{}", parts.layout("busybox").display()))
        .output()
        .map_err(|error| format!("sh: {error}"))?;
    let said = String::from_utf8_lossy(&run.stdout) + String::from_utf8_lossy(&run.stderr);
    check(run.status.success() && said.contains("ok: Neovim"), "the session", &said)
}

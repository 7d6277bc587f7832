//! What is measured.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::session::{Session, URI};

/// How long a server is left alone after a burst of edits, to see what else it says.
const AFTERWARDS: Duration = Duration::from_millis(500);
/// Edits of a burst.
const BURST: usize = 30;
/// Lines of a template that is repeated.
const TEMPLATE: usize = 50;
/// The line that is edited, and what it is in turn: the second is something that every server finds.
const EDITED: usize = 8;
const WORDS: [&str; 2] = ["LABEL maintained=\"by nobody\"", "MAINTAINER maintained=\"by nobody\""];

/// What was measured: a name, and all figures in its unit; or why there are none.
pub(crate) type Measured = Vec<(String, &'static str, Result<Vec<f64>, String>)>;

/// A file of this many lines, for two platforms, of which [`EDITED`] is one of [`WORDS`].
fn text(lines: usize, word: &str) -> String {
    let mut text = String::from("# rbx: platforms=linux/amd64,linux/arm64\n");
    for part in 0..lines.div_ceil(TEMPLATE) {
        let first = text.lines().count();
        let base = if part == 0 { "golang:1.25-alpine".to_owned() } else { format!("build{}", part - 1) };
        let _ = writeln!(
            text,
            "FROM {base} AS build{part}\nARG TARGETOS\nARG TARGETARCH\nARG VERSION{part}=1.{part}"
        );
        let _ = writeln!(text, "ENV CGO_ENABLED=0 GOFLAGS=-trimpath\nWORKDIR /src/{part}");
        if part == 0 {
            let _ = writeln!(text, "\n{word}\n");
        }
        for i in 0..6 {
            let _ = writeln!(text, "COPY --link go{i}.mod go{i}.sum ./{i}/");
            let _ = writeln!(
                text,
                "RUN --mount=type=cache,target=/root/.cache \\\n    cd {i} && go mod download && \\\n    echo \"$VERSION{part}\" > version"
            );
        }
        while text.lines().count() < first + TEMPLATE - 3 {
            let number = text.lines().count();
            let _ = writeln!(text, "ENV STEP_{number}=\"$VERSION{part}-{number}\"");
        }
        let _ = writeln!(text, "USER 1000:1000\nEXPOSE 80{:02}/tcp", part % 100);
        if part > 0 {
            text.push_str("STOPSIGNAL SIGTERM\n");
        }
    }
    let all: Vec<&str> = text.lines().take(lines).collect();
    all.join("\n") + "\n"
}

fn found(list: &[Value]) -> bool {
    let text = |finding: &Value| format!("{}{}", finding["message"], finding["code"]).to_lowercase();
    list.iter()
        .any(|finding| finding["range"]["start"]["line"] == EDITED && text(finding).contains("maintainer"))
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Measures one server.
pub(crate) fn measure(program: &Path, arguments: &[&str], runs: usize) -> Result<Measured, String> {
    let mut rows: Measured = Vec::new();
    let mut starts = Vec::new();
    for _ in 0..runs {
        starts.push(milliseconds(Session::start(program, arguments)?.1));
    }
    rows.push(("start → initialized".to_owned(), "ms", Ok(starts)));
    let (mut session, _) = Session::start(program, arguments)?;
    session.rest(Duration::from_millis(200));
    rows.push(("memory when initialized".to_owned(), "MiB", Ok(vec![session.memory().0])));
    for lines in [50, 5000] {
        let with = |what: &str| format!("{what}, {lines} lines");
        rows.push((with("open → diagnostics"), "ms", opened(&mut session, lines, runs)));
        session.open(&text(lines, WORDS[0]));
        rows.push((with("edit → diagnostics"), "ms", edited(&mut session, lines, runs)));
        for (what, capability, method, params) in requests(lines) {
            let figures = asked(&mut session, capability, method, &params, lines, runs);
            rows.push((with(what), "ms", figures));
        }
        let (current, publications) = match burst(&mut session, lines, runs) {
            Ok(figures) => figures.into_iter().map(|(time, count)| (Ok(time), Ok(count))).unzip(),
            Err(reason) => (vec![Err(reason.clone())], vec![Err(reason)]),
        };
        rows.push((with("burst of 30 edits → current"), "ms", current.into_iter().collect()));
        rows.push((with("publications of a burst"), "", publications.into_iter().collect()));
        session.close();
        session.rest(Duration::from_millis(200));
        rows.push((with("memory after"), "MiB", Ok(vec![session.memory().0])));
    }
    rows.push(("memory at most".to_owned(), "MiB", Ok(vec![session.memory().1])));
    Ok(rows)
}

/// The requests: what they are called, what a server says that can answer them, and what is asked.
fn requests(lines: usize) -> Vec<(&'static str, &'static str, &'static str, Value)> {
    let document = json!({ "uri": URI });
    let at = |line: usize, character: usize| json!({ "textDocument": document, "position": { "line": line, "character": character } });
    let of_it = json!({ "textDocument": document });
    let options = json!({ "tabSize": 4, "insertSpaces": true });
    let formatted = json!({ "textDocument": document, "options": options });
    let last = lines - 10;
    vec![
        ("completion of instructions", "completionProvider", "textDocument/completion", at(EDITED - 1, 0)),
        ("completion in a line", "completionProvider", "textDocument/completion", at(last, 4)),
        ("hover of an instruction", "hoverProvider", "textDocument/hover", at(last, 1)),
        ("hover of a stage or variable", "hoverProvider", "textDocument/hover", at(1, 24)),
        ("definition", "definitionProvider", "textDocument/definition", at(last, 16)),
        ("symbols", "documentSymbolProvider", "textDocument/documentSymbol", of_it.clone()),
        ("folding", "foldingRangeProvider", "textDocument/foldingRange", of_it.clone()),
        ("semantic tokens", "semanticTokensProvider", "textDocument/semanticTokens/full", of_it),
        ("formatting", "documentFormattingProvider", "textDocument/formatting", formatted),
    ]
}

fn opened(session: &mut Session, lines: usize, runs: usize) -> Result<Vec<f64>, String> {
    let text = text(lines, WORDS[1]);
    let mut figures = Vec::new();
    for _ in 0..runs.min(10) {
        let begun = session.open(&text);
        let (at, _) = session.findings(found)?;
        figures.push(milliseconds(at - begun));
        session.close();
        session.rest(Duration::from_millis(50));
    }
    Ok(figures)
}

/// Writes the one or the other word; answers when that began.
fn write(session: &mut Session, lines: usize, number: usize) -> std::time::Instant {
    let (old, new) = (WORDS[(number + 1) % 2], WORDS[number % 2]);
    session.edit(EDITED, (0, old.len()), new, &text(lines, new))
}

fn edited(session: &mut Session, lines: usize, runs: usize) -> Result<Vec<f64>, String> {
    session.findings(|list| !found(list))?;
    let mut figures = Vec::new();
    for number in 1..=2 * runs.div_ceil(2) {
        session.rest(Duration::from_millis(20));
        let begun = write(session, lines, number);
        let (at, _) = session.findings(|list| found(list) == (number % 2 == 1))?;
        figures.push(milliseconds(at - begun));
    }
    Ok(figures)
}

/// Each request comes after an edit whose findings were waited for: nothing is asked twice about the same text.
fn asked(
    session: &mut Session,
    capability: &str,
    method: &str,
    params: &Value,
    lines: usize,
    runs: usize,
) -> Result<Vec<f64>, String> {
    if matches!(session.capabilities.get(capability), None | Some(Value::Null | Value::Bool(false))) {
        return Err("cannot".to_owned());
    }
    let mut figures = Vec::new();
    for number in 1..=2 * runs.div_ceil(2) {
        write(session, lines, number);
        session.findings(|list| found(list) == (number % 2 == 1))?;
        session.rest(Duration::from_millis(5));
        figures.push(milliseconds(session.request(method, params)?.0));
    }
    Ok(figures)
}

/// Bursts of edits: how long it takes until the findings are those of the last text, and how often any came.
fn burst(session: &mut Session, lines: usize, runs: usize) -> Result<Vec<(f64, f64)>, String> {
    let mut figures = Vec::new();
    for _ in 0..runs.min(5) {
        session.rest(Duration::from_millis(50));
        let mut begun = None;
        for number in 1..BURST {
            let at = write(session, lines, number);
            begun.get_or_insert(at);
        }
        write(session, lines, BURST);
        let (at, count) = session.settle(AFTERWARDS)?;
        let begun = begun.ok_or("no edit")?;
        #[expect(clippy::cast_precision_loss, reason = "a few")]
        figures.push((milliseconds(at - begun), count as f64));
    }
    Ok(figures)
}

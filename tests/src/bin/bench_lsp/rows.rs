//! What is measured.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::session::{Session, URI};

/// How long a server is left alone after a burst of edits, to see what else it says.
const AFTERWARDS: Duration = Duration::from_millis(500);
/// Edits of a burst.
const BURST: usize = 30;
/// Lines of a template that is repeated.
const TEMPLATE: usize = 50;
/// Lines of the documents.
const LINES: [usize; 2] = [50, 5000];
/// The line that is edited, and what it is in turn: the second is something that every server finds.
const EDITED: usize = 8;
const WORDS: [&str; 2] = ["LABEL maintained=\"by nobody\"", "MAINTAINER maintained=\"by nobody\""];

/// What was measured: a name, and all figures in its unit; or why there are none.
pub(crate) type Measured = Vec<Row>;
/// A thing that was measured.
pub(crate) type Row = (String, &'static str, Figures);
type Figures = Result<Vec<f64>, String>;

/// A file of this many lines, for two platforms, of which [`EDITED`] is one of [`WORDS`].
fn text(lines: usize, word: &str) -> String {
    let mut all = vec!["# rbx: platforms=linux/amd64,linux/arm64".to_owned()];
    for part in 0..lines.div_ceil(TEMPLATE) {
        let first = all.len();
        let base = if part == 0 { "golang:1.25-alpine".to_owned() } else { format!("build{}", part - 1) };
        let mut head = format!("FROM {base} AS build{part}\nARG TARGETOS\nARG TARGETARCH\n");
        let _ = write!(
            head,
            "ARG VERSION{part}=1.{part}\nENV CGO_ENABLED=0 GOFLAGS=-trimpath\nWORKDIR /src/{part}"
        );
        if part == 0 {
            let _ = write!(head, "\n\n{word}\n");
        }
        for i in 0..6 {
            let _ = write!(
                head,
                "\nCOPY --link go{i}.mod go{i}.sum ./{i}/\nRUN --mount=type=cache,target=/root/.cache \\\n    cd {i} && go mod download && \\\n    echo \"$VERSION{part}\" > version"
            );
        }
        all.extend(head.split('\n').map(str::to_owned));
        while all.len() < first + TEMPLATE - 3 {
            all.push(format!("ENV STEP_{}=\"$VERSION{part}-{0}\"", all.len()));
        }
        all.extend(["USER 1000:1000".to_owned(), format!("EXPOSE 80{:02}/tcp", part % 100)]);
        if part > 0 {
            all.push("STOPSIGNAL SIGTERM".to_owned());
        }
    }
    all.truncate(lines);
    all.join("\n") + "\n"
}

/// The document of a session.
struct Document {
    lines: usize,
    /// As it is with each of [`WORDS`].
    texts: [String; 2],
    /// Which of them it is.
    now: usize,
}

impl Document {
    fn new(lines: usize) -> Self {
        Self { lines, texts: WORDS.map(|word| text(lines, word)), now: 0 }
    }

    /// Opens it with one of [`WORDS`]; answers when that began.
    fn open(&mut self, session: &mut Session, word: usize) -> Instant {
        self.now = word;
        session.open(&self.texts[word])
    }

    /// Replaces the word by one of [`WORDS`]; answers when that began.
    fn write(&mut self, session: &mut Session, word: usize) -> Instant {
        let old = std::mem::replace(&mut self.now, word);
        session.edit(EDITED, (0, WORDS[old].len()), WORDS[word], &self.texts[word])
    }

    /// The same with the other one.
    fn turn(&mut self, session: &mut Session) -> Instant {
        self.write(session, 1 - self.now)
    }

    /// Whether findings are of the text as it is.
    fn fits(&self, list: &[Value]) -> bool {
        found(list) == (self.now == 1)
    }
}

fn found(list: &[Value]) -> bool {
    let text = |finding: &Value| format!("{}{}", finding["message"], finding["code"]).to_lowercase();
    list.iter()
        .any(|finding| finding["range"]["start"]["line"] == EDITED && text(finding).contains("maintainer"))
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// A server that is measured, and what was found out.
struct Subject<'a, T> {
    /// Starts it.
    start: T,
    /// It, or why it does not run.
    session: Result<Session, String>,
    document: Document,
    runs: usize,
    rows: Measured,
    tell: &'a dyn Fn(&Row),
}

impl<T: Fn() -> Result<Session, String>> Subject<'_, T> {
    fn add(&mut self, what: &str, unit: &'static str, figures: Figures) {
        let row = (what.to_owned(), unit, figures);
        (self.tell)(&row);
        self.rows.push(row);
    }

    /// The same for a thing that is done with a document.
    fn add_of(&mut self, what: &str, unit: &'static str, figures: Figures) {
        self.add(&format!("{what}, {} lines", self.document.lines), unit, figures);
    }

    /// Measures things. If that fails, what comes next is done by a new process that has the document open.
    fn attempt<const N: usize>(
        &mut self,
        things: [(&str, &'static str); N],
        work: impl FnOnce(&mut Session, &mut Document, usize) -> Result<[Vec<f64>; N], String>,
    ) {
        let figures = match &mut self.session {
            Ok(session) => work(session, &mut self.document, self.runs),
            Err(reason) => Err(reason.clone()),
        };
        match figures {
            Ok(figures) => {
                for ((what, unit), figures) in things.into_iter().zip(figures) {
                    self.add_of(what, unit, Ok(figures));
                }
            }
            Err(reason) => {
                for (what, unit) in things {
                    self.add_of(what, unit, Err(reason.clone()));
                }
                self.session = (self.start)();
                if let Ok(session) = &mut self.session {
                    self.document.open(session, 0);
                    // What it has to say about it must not be taken for something else.
                    let _ = session.findings(|_| true);
                }
            }
        }
    }

    fn memory(&self) -> Result<(f64, f64), String> {
        self.session.as_ref().map(Session::memory).map_err(Clone::clone)
    }
}

/// Measures one server until `deadline`, and tells of each thing when it was measured.
pub(crate) fn measure(
    program: &Path,
    arguments: &[&str],
    runs: usize,
    deadline: Instant,
    tell: &dyn Fn(&Row),
) -> Result<Measured, String> {
    let begin = || Session::start(program, arguments, deadline);
    let start = || Ok(begin()?.0);
    let mut starts = Vec::new();
    for _ in 0..runs {
        starts.push(milliseconds(begin()?.1));
    }
    let mut session = start()?;
    session.rest(Duration::from_millis(200));
    let memory = session.memory().0;
    let document = Document::new(LINES[0]);
    let mut subject = Subject { start, session: Ok(session), document, runs, rows: Vec::new(), tell };
    subject.add("start → initialized", "ms", Ok(starts));
    subject.add("memory when initialized", "MiB", Ok(vec![memory]));
    for lines in LINES {
        subject.document = Document::new(lines);
        subject.attempt([("open → diagnostics", "ms")], opened);
        subject.attempt([("edit → diagnostics", "ms")], edited);
        for request in requests(lines) {
            if subject.session.as_ref().is_ok_and(|session| !session.can(request.capability)) {
                subject.add_of(request.what, "ms", Err("cannot".to_owned()));
            } else {
                subject.attempt([(request.what, "ms")], |session, document, runs| {
                    asked(session, document, runs, &request)
                });
            }
        }
        let current = format!("burst of {BURST} edits → current");
        subject.attempt([(&current, "ms"), ("publications of a burst", "")], burst);
        if let Ok(session) = &mut subject.session {
            session.close();
            session.rest(Duration::from_millis(200));
        }
        let memory = subject.memory().map(|(now, _)| vec![now]);
        subject.add_of("memory after", "MiB", memory);
    }
    let memory = subject.memory().map(|(_, most)| vec![most]);
    subject.add("memory at most", "MiB", memory);
    Ok(subject.rows)
}

/// A request.
struct Request {
    what: &'static str,
    /// What a server says that can answer it.
    capability: &'static str,
    method: &'static str,
    params: Value,
    /// It comes right behind an edit; else after the findings of the edit.
    at_once: bool,
}

fn requests(lines: usize) -> Vec<Request> {
    let document = json!({ "uri": URI });
    let at = |line: usize, character: usize| json!({ "textDocument": document, "position": { "line": line, "character": character } });
    let of_it = json!({ "textDocument": document });
    let options = json!({ "tabSize": 4, "insertSpaces": true });
    let formatted = json!({ "textDocument": document, "options": options });
    let last = lines - 10;
    let (completion, hover) = ("completionProvider", "hoverProvider");
    let all = [
        ("completion of instructions", completion, "textDocument/completion", at(EDITED - 1, 0), false),
        ("completion in a line", completion, "textDocument/completion", at(last, 4), false),
        ("completion behind an edit", completion, "textDocument/completion", at(last, 4), true),
        ("hover of an instruction", hover, "textDocument/hover", at(last, 1), false),
        ("hover of a stage", hover, "textDocument/hover", at(1, 24), false),
        ("hover of a variable", hover, "textDocument/hover", at(last, 16), false),
        ("hover behind an edit", hover, "textDocument/hover", at(last, 16), true),
        ("definition", "definitionProvider", "textDocument/definition", at(last, 16), false),
        ("symbols", "documentSymbolProvider", "textDocument/documentSymbol", of_it.clone(), false),
        ("folding", "foldingRangeProvider", "textDocument/foldingRange", of_it.clone(), false),
        ("semantic tokens", "semanticTokensProvider", "textDocument/semanticTokens/full", of_it, false),
        ("formatting", "documentFormattingProvider", "textDocument/formatting", formatted, false),
    ];
    all.map(|(what, capability, method, params, at_once)| Request {
        what,
        capability,
        method,
        params,
        at_once,
    })
    .into()
}

fn opened(session: &mut Session, document: &mut Document, runs: usize) -> Result<[Vec<f64>; 1], String> {
    let mut figures = Vec::new();
    for _ in 0..runs.min(10) {
        let begun = document.open(session, 1);
        let (at, _) = session.findings(|list| document.fits(list))?;
        figures.push(milliseconds(at - begun));
        session.close();
        session.rest(Duration::from_millis(50));
    }
    document.open(session, 0);
    session.findings(|list| document.fits(list))?;
    Ok([figures])
}

fn edited(session: &mut Session, document: &mut Document, runs: usize) -> Result<[Vec<f64>; 1], String> {
    let mut figures = Vec::new();
    for _ in 0..runs {
        session.rest(Duration::from_millis(20));
        let begun = document.turn(session);
        let (at, _) = session.findings(|list| document.fits(list))?;
        figures.push(milliseconds(at - begun));
    }
    Ok([figures])
}

/// Each request comes after an edit: nothing is asked twice about the same text.
fn asked(
    session: &mut Session,
    document: &mut Document,
    runs: usize,
    request: &Request,
) -> Result<[Vec<f64>; 1], String> {
    let mut figures = Vec::new();
    for _ in 0..runs {
        document.turn(session);
        if !request.at_once {
            session.findings(|list| document.fits(list))?;
            session.rest(Duration::from_millis(5));
        }
        figures.push(milliseconds(session.request(request.method, &request.params)?.0));
        if request.at_once {
            session.rest(AFTERWARDS / 2);
        }
    }
    Ok([figures])
}

/// Bursts of edits: how long it takes until the findings are those of the last text, and how often any came. The last
/// edit writes what is there, so that the text is another one than before.
fn burst(session: &mut Session, document: &mut Document, runs: usize) -> Result<[Vec<f64>; 2], String> {
    let mut figures = [Vec::new(), Vec::new()];
    for _ in 0..runs.min(5) {
        session.rest(Duration::from_millis(50));
        let begun = document.turn(session);
        for _ in 2..BURST {
            document.turn(session);
        }
        document.write(session, document.now);
        let (at, count) = session.settle(AFTERWARDS, |list| document.fits(list))?;
        figures[0].push(milliseconds(at - begun));
        #[expect(clippy::cast_precision_loss, reason = "a few")]
        figures[1].push(count as f64);
    }
    Ok(figures)
}

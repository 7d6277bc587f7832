//! The task that owns the documents.
//!
//! Messages reach it in the order in which the client sent them, so that a request is answered on the text as it
//! was when the client asked, however many edits came right before.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use rbx_dockerfile::{Dockerfile, Span};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tower_lsp::ls_types::{
    Position, PublishDiagnosticsParams, Range, TextDocumentContentChangeEvent, TextDocumentItem, Uri,
};

use crate::features::diagnostics;
use crate::text::{Encoding, Text};

/// Diagnostics are published when a document has not changed for this long …
const SETTLE: Duration = Duration::from_millis(30);
/// … or has changed for this long without a pause.
const LONGEST: Duration = Duration::from_millis(300);

/// What the client can do, as far as it matters.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Settings {
    /// The units of columns.
    pub(crate) encoding: Encoding,
    /// Outlines may be trees.
    pub(crate) nested_symbols: bool,
    /// Texts may be Markdown.
    pub(crate) markdown: bool,
}

/// What is told or asked of the task.
#[derive(Debug)]
pub(crate) enum Message {
    /// The client introduced itself.
    Configure(Settings),
    /// A document was opened.
    Open(TextDocumentItem),
    /// A document was edited.
    Change { uri: Uri, version: i32, changes: Vec<TextDocumentContentChangeEvent> },
    /// A document was closed.
    Close(Uri),
    /// A document as it is now is wanted; nothing is answered if it is not open.
    Snapshot(Uri, oneshot::Sender<Arc<Snapshot>>),
}

/// A document at one moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// What the client calls this state of the document.
    pub(crate) version: i32,
    /// What is written.
    pub(crate) text: Text,
    /// What it means.
    pub(crate) tree: Dockerfile,
    /// What the client can do.
    pub(crate) settings: Settings,
}

impl Snapshot {
    /// Where a span is, as the client counts.
    pub(crate) fn range(&self, span: Span) -> Range {
        self.text.range(span.range(), self.settings.encoding)
    }

    /// The byte at a place.
    pub(crate) fn offset(&self, position: Position) -> u32 {
        u32::try_from(self.text.offset(position, self.settings.encoding)).unwrap_or(u32::MAX)
    }
}

struct Document {
    version: i32,
    text: Text,
    snapshot: Option<Arc<Snapshot>>,
}

impl Document {
    fn snapshot(&mut self, settings: Settings) -> Arc<Snapshot> {
        let make = || {
            Arc::new(Snapshot {
                version: self.version,
                text: self.text.clone(),
                tree: rbx_dockerfile::parse(self.text.as_str()),
                settings,
            })
        };
        Arc::clone(self.snapshot.get_or_insert_with(make))
    }
}

/// Owns the documents until the other end of `inbox` is dropped.
pub(crate) async fn own(
    mut inbox: mpsc::UnboundedReceiver<Message>,
    publish: mpsc::UnboundedSender<PublishDiagnosticsParams>,
) {
    let mut documents = Documents::default();
    loop {
        let message = match documents.due() {
            Some(due) => tokio::time::timeout_at(due, inbox.recv()).await,
            None => Ok(inbox.recv().await),
        };
        match message {
            Ok(Some(message)) => documents.take(message),
            Ok(None) => break,
            Err(_) => {
                for params in documents.diagnostics() {
                    let _ = publish.send(params);
                }
            }
        }
    }
}

#[derive(Default)]
struct Documents {
    settings: Settings,
    open: HashMap<Uri, Document>,
    /// Documents whose diagnostics are out of date.
    dirty: BTreeSet<Uri>,
    /// When the first of these changed, and when the last.
    changed: Option<(Instant, Instant)>,
}

impl Documents {
    fn take(&mut self, message: Message) {
        match message {
            Message::Configure(settings) => self.settings = settings,
            Message::Open(item) => {
                let document = Document { version: item.version, text: Text::new(item.text), snapshot: None };
                self.open.insert(item.uri.clone(), document);
                self.touch(item.uri);
            }
            Message::Change { uri, version, changes } => {
                let Some(document) = self.open.get_mut(&uri) else {
                    tracing::warn!(uri = uri.as_str(), "edit of a document that is not open");
                    return;
                };
                for change in changes {
                    document.text.change(change, self.settings.encoding);
                }
                document.version = version;
                document.snapshot = None;
                self.touch(uri);
            }
            Message::Close(uri) => {
                if self.open.remove(&uri).is_some() {
                    self.touch(uri);
                }
            }
            Message::Snapshot(uri, answer) => {
                if let Some(document) = self.open.get_mut(&uri) {
                    let _ = answer.send(document.snapshot(self.settings));
                }
            }
        }
    }

    fn touch(&mut self, uri: Uri) {
        let now = Instant::now();
        self.dirty.insert(uri);
        self.changed = Some((self.changed.map_or(now, |(first, _)| first), now));
    }

    /// When diagnostics are to be published.
    fn due(&self) -> Option<Instant> {
        self.changed.map(|(first, last)| (last + SETTLE).min(first + LONGEST))
    }

    /// The diagnostics of the documents that changed; none of those that were closed.
    fn diagnostics(&mut self) -> Vec<PublishDiagnosticsParams> {
        self.changed = None;
        let mut all = Vec::new();
        for uri in std::mem::take(&mut self.dirty) {
            let (diagnostics, version) = match self.open.get_mut(&uri) {
                Some(document) => {
                    let snapshot = document.snapshot(self.settings);
                    (diagnostics::diagnostics(&snapshot), Some(snapshot.version))
                }
                None => (Vec::new(), None),
            };
            all.push(PublishDiagnosticsParams { uri, diagnostics, version });
        }
        all
    }
}

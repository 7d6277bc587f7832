//! Diagnostics that a client asks for: of one document, or of all Dockerfiles of its folders.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};
use tower_lsp::Client;
use tower_lsp::jsonrpc::{Error, ErrorCode, Result};
use tower_lsp::ls_types::notification::Notification;
use tower_lsp::ls_types::{
    Diagnostic, DocumentDiagnosticParams, DocumentDiagnosticReport, DocumentDiagnosticReportResult,
    FullDocumentDiagnosticReport, ProgressToken, RelatedFullDocumentDiagnosticReport,
    RelatedUnchangedDocumentDiagnosticReport, UnchangedDocumentDiagnosticReport, Uri,
    WorkspaceDiagnosticParams, WorkspaceDiagnosticReport, WorkspaceDiagnosticReportResult,
    WorkspaceDocumentDiagnosticReport, WorkspaceFullDocumentDiagnosticReport,
    WorkspaceUnchangedDocumentDiagnosticReport,
};

use crate::checker::Checker;
use crate::documents::{Message, Snapshot};
use crate::files::{FILES, find, read};

/// Dockerfiles that are told of at a time.
const BATCH: usize = 20;
/// How long a client that takes reports one by one waits for something to change.
const PATIENCE: Duration = Duration::from_secs(10);
/// The protocol's code for what a server gave up.
const SERVER_CANCELLED: i64 = -32802;

/// What is the same for all pulls of a session.
#[derive(Debug)]
pub(crate) struct Pulls {
    client: Client,
    checker: Checker,
    owner: mpsc::UnboundedSender<Message>,
    /// Moves on when documents may have other diagnostics without having been edited.
    generation: watch::Receiver<u64>,
    /// What was found in files that are not open.
    known: Mutex<HashMap<PathBuf, Known>>,
}

/// What was found in a file, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    stamp: (Option<SystemTime>, u64),
    generation: u64,
    id: String,
}

impl Pulls {
    pub(crate) fn new(
        client: Client,
        checker: Checker,
        owner: mpsc::UnboundedSender<Message>,
        generation: watch::Receiver<u64>,
    ) -> Self {
        Self { client, checker, owner, generation, known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<PathBuf, Known>> {
        // Nothing panics while it holds the lock.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is wrong with a document, or that it is what it was.
    pub(crate) async fn document(
        &self,
        params: DocumentDiagnosticParams,
        snapshot: impl Future<Output = Option<std::sync::Arc<Snapshot>>>,
    ) -> Result<DocumentDiagnosticReportResult> {
        let items = match snapshot.await {
            Some(snapshot) => self.checker.check(snapshot, false).await.ok_or_else(outdated)?,
            None => Vec::new(),
        };
        let id = result_id(&items);
        let report = if params.previous_result_id.as_ref() == Some(&id) {
            DocumentDiagnosticReport::Unchanged(RelatedUnchangedDocumentDiagnosticReport {
                related_documents: None,
                unchanged_document_diagnostic_report: UnchangedDocumentDiagnosticReport { result_id: id },
            })
        } else {
            DocumentDiagnosticReport::Full(RelatedFullDocumentDiagnosticReport {
                related_documents: None,
                full_document_diagnostic_report: FullDocumentDiagnosticReport { result_id: Some(id), items },
            })
        };
        Ok(DocumentDiagnosticReportResult::Report(report))
    }

    /// What is wrong with the Dockerfiles in these folders. A client that takes reports one by one gets them as they are
    /// worked out; if nothing is new, it waits for something to change.
    pub(crate) async fn workspace(
        &self,
        params: WorkspaceDiagnosticParams,
        roots: &[PathBuf],
    ) -> WorkspaceDiagnosticReportResult {
        let token = params.partial_result_params.partial_result_token;
        let mut before: HashMap<Uri, String> =
            params.previous_result_ids.into_iter().map(|it| (it.uri, it.value)).collect();
        let progress = match params.work_done_progress_params.work_done_token {
            Some(token) => Some(self.client.progress(token, "checking Dockerfiles").begin().await),
            None => None,
        };
        let mut generation = self.generation.clone();
        let items = loop {
            generation.mark_unchanged();
            let (items, news) = self.search(roots, &mut before, token.as_ref()).await;
            if token.is_none() || news {
                break items;
            }
            // The owner lives as long as the server.
            let _ = tokio::time::timeout(PATIENCE, generation.changed()).await;
        };
        if let Some(progress) = progress {
            progress.finish().await;
        }
        WorkspaceDiagnosticReportResult::Report(WorkspaceDiagnosticReport { items })
    }

    /// What is wrong with the Dockerfiles in these folders, without what was told already by `token`, and whether any of
    /// it is news.
    async fn search(
        &self,
        roots: &[PathBuf],
        before: &mut HashMap<Uri, String>,
        token: Option<&ProgressToken>,
    ) -> (Vec<WorkspaceDocumentDiagnosticReport>, bool) {
        let (sender, mut paths) = mpsc::channel(BATCH);
        let folders = roots.to_vec();
        tokio::task::spawn_blocking(move || {
            // It ends when nobody takes what it finds.
            let mut found = find(&folders, || sender.is_closed());
            found.try_for_each(|path| sender.blocking_send(path))
        });
        let (mut items, mut news, mut gone) = (Vec::new(), false, before.clone());
        let mut count = 0;
        while let Some(path) = paths.recv().await {
            if count == FILES {
                tracing::warn!("there are more than {FILES} Dockerfiles: the others are not checked");
                break;
            }
            count += 1;
            let Some(uri) = Uri::from_file_path(&path) else { continue };
            gone.remove(&uri);
            let Some(report) = self.file(&path, uri.clone(), before.get(&uri)).await else { continue };
            if let WorkspaceDocumentDiagnosticReport::Full(full) = &report {
                news = true;
                before.extend(full.full_document_diagnostic_report.result_id.clone().map(|id| (uri, id)));
            } else if token.is_some() {
                // What is as it was need not be told.
                continue;
            }
            items.push(report);
            if let Some(token) = token.filter(|_| items.len() == BATCH) {
                self.tell(token, std::mem::take(&mut items)).await;
            }
        }
        // Of what is not there any more, nothing is wrong.
        for uri in gone.into_keys() {
            before.remove(&uri);
            news = true;
            items.push(full(uri, None, String::new(), Vec::new()));
        }
        if let Some(token) = token.filter(|_| !items.is_empty()) {
            self.tell(token, std::mem::take(&mut items)).await;
        }
        (items, news)
    }

    /// What is wrong with a file; nothing if it cannot be read.
    async fn file(
        &self,
        path: &Path,
        uri: Uri,
        before: Option<&String>,
    ) -> Option<WorkspaceDocumentDiagnosticReport> {
        let generation = *self.generation.borrow();
        let (answer, snapshot) = oneshot::channel();
        let opened = path.to_owned();
        // What was seen does not count where it is open.
        let (stamp, text) = tokio::task::spawn_blocking(move || read(&opened)).await.ok()??;
        let _ = self.owner.send(Message::Standing(uri.clone(), text, answer));
        let snapshot = snapshot.await.ok()?;
        let is_open = snapshot.version != 0;
        let known = self.known().get(path).cloned();
        let known = known.filter(|known| !is_open && known.stamp == stamp && known.generation == generation);
        if let Some(id) = known.map(|known| known.id).filter(|id| Some(id) == before) {
            return Some(unchanged(uri, None, id));
        }
        let version = is_open.then(|| i64::from(snapshot.version));
        let found = self.checker.check(snapshot, true).await?;
        let id = result_id(&found);
        if !is_open {
            self.known().insert(path.to_owned(), Known { stamp, generation, id: id.clone() });
        }
        let is_same = before == Some(&id);
        Some(if is_same { unchanged(uri, version, id) } else { full(uri, version, id, found) })
    }

    async fn tell(&self, token: &ProgressToken, items: Vec<WorkspaceDocumentDiagnosticReport>) {
        let value = json!({ "token": token, "value": { "items": items } });
        self.client.send_notification::<Partial>(value).await;
    }
}

/// A part of an answer.
struct Partial;

impl Notification for Partial {
    type Params = Value;
    const METHOD: &'static str = "$/progress";
}

/// The document has changed: the client is to ask again.
fn outdated() -> Error {
    let code = ErrorCode::ServerError(SERVER_CANCELLED);
    let data = Some(json!({ "retriggerRequest": true }));
    Error { code, message: "the document has changed".into(), data }
}

/// A name for diagnostics: the same for the same.
fn result_id(items: &[Diagnostic]) -> String {
    let mut hasher = DefaultHasher::new();
    // A diagnostic is always valid JSON.
    serde_json::to_string(items).unwrap_or_default().hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

fn full(
    uri: Uri,
    version: Option<i64>,
    id: String,
    items: Vec<Diagnostic>,
) -> WorkspaceDocumentDiagnosticReport {
    let result_id = Some(id).filter(|id| !id.is_empty());
    WorkspaceDocumentDiagnosticReport::Full(WorkspaceFullDocumentDiagnosticReport {
        uri,
        version,
        full_document_diagnostic_report: FullDocumentDiagnosticReport { result_id, items },
    })
}

fn unchanged(uri: Uri, version: Option<i64>, result_id: String) -> WorkspaceDocumentDiagnosticReport {
    WorkspaceDocumentDiagnosticReport::Unchanged(WorkspaceUnchangedDocumentDiagnosticReport {
        uri,
        version,
        unchanged_document_diagnostic_report: UnchangedDocumentDiagnosticReport { result_id },
    })
}

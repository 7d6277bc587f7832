//! The task that works diagnostics out and publishes them.

use std::sync::Arc;

use tokio::sync::mpsc;
use tower_lsp::Client;
use tower_lsp::ls_types::{Diagnostic, Uri};

use crate::documents::{Dirty, Snapshot};
use crate::features::diagnostics::diagnostics;

/// Publishes the diagnostics of documents, one document at a time, at the pace at which the client takes them: only
/// those of the newest text of each.
pub(crate) async fn publish(client: Client, mut inbox: mpsc::UnboundedReceiver<Dirty>) {
    let mut waiting: Vec<Dirty> = Vec::new();
    loop {
        if waiting.is_empty() {
            let Some(dirty) = inbox.recv().await else { return };
            waiting.push(dirty);
        }
        take_newest(&mut waiting, &mut inbox);
        let Dirty { uri, snapshot } = waiting.remove(0);
        let version = snapshot.as_ref().map(|snapshot| snapshot.version);
        let found = match snapshot {
            Some(snapshot) => found(snapshot).await,
            None => Vec::new(),
        };
        take_newest(&mut waiting, &mut inbox);
        let outdated = |uri: &Uri| waiting.iter().any(|dirty| dirty.uri == *uri);
        if !outdated(&uri) {
            client.publish_diagnostics(uri, found, version).await;
        }
    }
}

/// Takes what has arrived, each in the place of older ones of the same document.
fn take_newest(waiting: &mut Vec<Dirty>, inbox: &mut mpsc::UnboundedReceiver<Dirty>) {
    while let Ok(dirty) = inbox.try_recv() {
        match waiting.iter_mut().find(|older| older.uri == dirty.uri) {
            Some(older) => *older = dirty,
            None => waiting.push(dirty),
        }
    }
}

/// What is wrong with a document, found on a thread on which nothing else waits.
async fn found(snapshot: Arc<Snapshot>) -> Vec<Diagnostic> {
    let found = tokio::task::spawn_blocking(move || diagnostics(&snapshot)).await;
    found.unwrap_or_else(|error| {
        tracing::error!(%error, "a document was not checked");
        Vec::new()
    })
}

//! The task that works diagnostics out and publishes them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc as blocking};

use tokio::sync::{mpsc, oneshot};
use tower_lsp::Client;
use tower_lsp::ls_types::{Diagnostic, Uri};

use crate::documents::{Dirty, Snapshot};
use crate::features::diagnostics::diagnostics;

/// Publishes the diagnostics of documents, one document at a time, at the pace at which the client takes them: only
/// those of the newest text of each.
/// Those for which registries may be asked go on to `learner`.
pub(crate) async fn publish(
    client: Client,
    mut inbox: mpsc::UnboundedReceiver<Dirty>,
    learner: mpsc::UnboundedSender<Arc<Snapshot>>,
) {
    let checker = match checker() {
        Ok(checker) => checker,
        Err(error) => return tracing::error!(%error, "there is no thread to check documents"),
    };
    let mut waiting: Vec<Dirty> = Vec::new();
    loop {
        if waiting.is_empty() {
            let Some(dirty) = inbox.recv().await else { return };
            waiting.push(dirty);
        }
        take_newest(&mut waiting, &mut inbox);
        let Dirty { uri, snapshot } = waiting.remove(0);
        let version = snapshot.as_ref().map(|snapshot| snapshot.version);
        let found = match &snapshot {
            Some(snapshot) => found(&checker, Arc::clone(snapshot)).await,
            None => Vec::new(),
        };
        take_newest(&mut waiting, &mut inbox);
        let outdated = |uri: &Uri| waiting.iter().any(|dirty| dirty.uri == *uri);
        if !outdated(&uri) {
            client.publish_diagnostics(uri, found, version).await;
            if let Some(snapshot) = snapshot.filter(|snapshot| snapshot.online.is_some()) {
                let _ = learner.send(snapshot);
            }
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

/// A document to be checked, and where the findings go.
type Job = (Arc<Snapshot>, oneshot::Sender<Vec<Diagnostic>>);

/// Starts a thread that checks documents, until nobody can ask it any more. It is one for all of them: the memory that a
/// check took is kept by the thread for the next one, and a pool of threads would keep several times as much.
fn checker() -> std::io::Result<blocking::Sender<Job>> {
    let (sender, jobs) = blocking::channel::<Job>();
    std::thread::Builder::new().name("check".to_owned()).spawn(move || {
        for (snapshot, answer) in jobs {
            let found = catch_unwind(AssertUnwindSafe(|| diagnostics(&snapshot))).unwrap_or_else(|_| {
                tracing::error!(uri = snapshot.uri.as_str(), "a document could not be checked");
                Vec::new()
            });
            // It goes where it was made.
            drop(snapshot);
            let _ = answer.send(found);
        }
    })?;
    Ok(sender)
}

/// What is wrong with a document.
async fn found(checker: &blocking::Sender<Job>, snapshot: Arc<Snapshot>) -> Vec<Diagnostic> {
    let (answer, found) = oneshot::channel();
    // The thread lives as long as this end of its channel.
    let _ = checker.send((snapshot, answer));
    found.await.unwrap_or_default()
}

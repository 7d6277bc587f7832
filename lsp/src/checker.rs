//! The thread that checks documents.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};

use tokio::sync::oneshot;
use tower_lsp::ls_types::Diagnostic;

use crate::documents::Snapshot;
use crate::features::diagnostics::diagnostics;

/// The thread that checks documents, one at a time, as long as somebody can ask it. It is one for all of them: the
/// memory that a check took is kept by the thread for the next one, and a pool of threads would keep several times as
/// much.
#[derive(Debug, Clone)]
pub(crate) struct Checker(mpsc::Sender<Job>);

#[derive(Debug)]
struct Job {
    snapshot: Arc<Snapshot>,
    /// It is done even if the document has changed.
    anyway: bool,
    answer: oneshot::Sender<Option<Vec<Diagnostic>>>,
}

impl Checker {
    pub(crate) fn start() -> io::Result<Self> {
        let (sender, jobs) = mpsc::channel::<Job>();
        std::thread::Builder::new().name("check".to_owned()).spawn(move || {
            for Job { snapshot, anyway, answer } in jobs {
                // Nobody waits for it any more.
                if answer.is_closed() {
                    continue;
                }
                let found = catch_unwind(AssertUnwindSafe(|| diagnostics(&snapshot, anyway)));
                let found = found.unwrap_or_else(|_| {
                    tracing::error!(uri = snapshot.uri.as_str(), "a document could not be checked");
                    Some(Vec::new())
                });
                // It goes where it was made.
                drop(snapshot);
                let _ = answer.send(found);
            }
        })?;
        Ok(Self(sender))
    }

    /// What is wrong with a document; nothing if it has changed in the meantime, unless it is to be checked `anyway`.
    pub(crate) async fn check(&self, snapshot: Arc<Snapshot>, anyway: bool) -> Option<Vec<Diagnostic>> {
        let (answer, found) = oneshot::channel();
        // The thread lives as long as this end of its channel.
        let _ = self.0.send(Job { snapshot, anyway, answer });
        found.await.unwrap_or_default()
    }
}

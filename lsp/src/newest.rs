//! A queue that keeps the newest of each document.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tower_lsp::ls_types::Uri;

/// What waits, the longest first: of each document, only the newest. So it is no longer than there are documents,
/// however slowly it is taken.
#[derive(Debug)]
pub(crate) struct Newest<T> {
    waiting: Mutex<Vec<(Uri, T)>>,
    came: Notify,
}

impl<T> Newest<T> {
    pub(crate) fn new() -> Self {
        Self { waiting: Mutex::new(Vec::new()), came: Notify::new() }
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<(Uri, T)>> {
        // Nothing panics while it holds the lock.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds something, in the place of what is older.
    pub(crate) fn put(&self, uri: Uri, new: T) {
        {
            let mut waiting = self.waiting();
            match waiting.iter_mut().find(|(other, _)| *other == uri) {
                Some((_, older)) => *older = new,
                None => waiting.push((uri, new)),
            }
        }
        self.came.notify_one();
    }

    /// Whether there is something newer of a document.
    pub(crate) fn has(&self, uri: &Uri) -> bool {
        self.waiting().iter().any(|(other, _)| other == uri)
    }

    /// Waits until something comes, if only one waits at a time.
    pub(crate) async fn came(&self) {
        self.came.notified().await;
    }

    /// Takes what waited the longest.
    pub(crate) async fn take(&self) -> (Uri, T) {
        loop {
            {
                let mut waiting = self.waiting();
                if !waiting.is_empty() {
                    return waiting.remove(0);
                }
            }
            self.came().await;
        }
    }
}

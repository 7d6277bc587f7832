//! Ending a build before it is done.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// The build was cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("context canceled")]
pub struct Cancelled;

/// Ends a build: everything that works for it asks this, or is told by it.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<Inner>);

/// Called when the build is cancelled.
type Listener = Box<dyn Fn() + Send>;

#[derive(Default)]
struct Inner {
    flag: AtomicBool,
    listeners: Mutex<Vec<(u64, Listener)>>,
    next: AtomicU64,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cancel").field("flag", &self.flag).finish_non_exhaustive()
    }
}

/// A listener that hears of a cancellation until this is dropped.
pub struct Listening<'a> {
    inner: &'a Inner,
    id: u64,
}

impl Cancel {
    /// Ends the build. Steps that are running are killed.
    pub fn cancel(&self) {
        self.0.flag.store(true, Ordering::SeqCst);
        for (_, listener) in self.0.listeners.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            listener();
        }
    }

    /// Whether the build is to end.
    pub fn is_cancelled(&self) -> bool {
        self.0.flag.load(Ordering::SeqCst)
    }

    /// The same, for code that polls.
    pub fn flag(&self) -> &AtomicBool {
        &self.0.flag
    }

    /// An error if the build is to end.
    pub fn check(&self) -> Result<(), Cancelled> {
        if self.is_cancelled() { Err(Cancelled) } else { Ok(()) }
    }

    /// The result of `work`, which is dropped where it is when the build is cancelled.
    pub async fn unless<T, E: From<Cancelled>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let cancelled = Arc::new(Notify::new());
        let _listening = self.on_cancel({
            let cancelled = cancelled.clone();
            move || cancelled.notify_one()
        });
        tokio::select! {
            result = work => result,
            () = cancelled.notified() => Err(Cancelled.into()),
        }
    }

    /// Calls `listener` when the build is cancelled, at once if it is already.
    pub fn on_cancel(&self, listener: impl Fn() + Send + 'static) -> Listening<'_> {
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        let mut listeners = self.0.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_cancelled() {
            listener();
        }
        listeners.push((id, Box::new(listener)));
        Listening { inner: &self.0, id }
    }
}

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        let mut listeners = self.inner.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|(id, _)| *id != self.id);
    }
}
